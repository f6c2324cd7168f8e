package sweep

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"path/filepath"

	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

// Names in a sweep's folder.
const (
	RecordsFile = "sweep.jsonl" // a line for every run that came to its rung
	ResultFile  = "sweep.json"
	PageFile    = "sweep.html"
	ReportFile  = "report.html"
	BestFile    = "best.yaml"
	trialFile   = "trial.json" // in a trial's run folder: which trial it belongs to
)

// What became of a run or a trial.
const (
	Done     = "done"
	Stopped  = "stopped" // by successive halving
	Diverged = "diverged"
)

// Record is a line of sweep.jsonl: a run that was measured.
type Record struct {
	Trial      int               `json:"trial"`
	Seed       uint64            `json:"seed"`
	Rung       int               `json:"rung"`
	Step       int64             `json:"step"`
	Status     string            `json:"status"` // Done or Diverged
	Loss       *float64          `json:"loss,omitempty"`
	Accuracy   *float64          `json:"accuracy,omitempty"`
	Perplexity *float64          `json:"perplexity,omitempty"`
	TokensPerS float64           `json:"tokens_per_s"` // median of the log's lines
	Seconds    float64           `json:"seconds"`      // of training, up to here
	Values     map[string]string `json:"values"`
	Under      map[string]string `json:"under,omitempty"`
	Digest     string            `json:"digest"` // of the configuration
	Data       string            `json:"data"`   // hash of the data set
}

// metric is what the trials are compared by.
func (r *Record) metric(m Metric) *float64 {
	switch m.Name {
	case "accuracy":
		return r.Accuracy
	case "perplexity":
		return r.Perplexity
	}
	return r.Loss
}

// same says whether two records are of the same measurement.
func (r *Record) same(other *Record) bool {
	return r.Trial == other.Trial && r.Seed == other.Seed && r.Step == other.Step && sameText(r.Under, other.Under)
}

// book is sweep.jsonl, which is replaced as a whole with every record: it is short, and never half written.
type book struct {
	fs      vfs.FS
	path    string
	records []Record
}

func openBook(fsys vfs.FS, out string) (*book, error) {
	b := &book{fs: fsys, path: filepath.Join(out, RecordsFile)}
	data, err := fsys.ReadFile(b.path)
	if errors.Is(err, fs.ErrNotExist) {
		return b, nil
	}
	if err != nil {
		return nil, fault.Data.Wrap(err)
	}
	for n, line := range bytes.Split(bytes.TrimSuffix(data, []byte("\n")), []byte("\n")) {
		var r Record
		d := json.NewDecoder(bytes.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&r); err != nil || r.Status != Done && r.Status != Diverged || r.Status == Done && r.Loss == nil {
			if err == nil {
				err = errors.New("no result of a run")
			}
			return nil, fault.Data.Errorf("%s:%d: %w; hint: delete the file, and results are read from the trials' logs again", b.path, n+1, err)
		}
		b.records = append(b.records, r)
	}
	return b, nil
}

// find returns the record of the same measurement, nil when there is none.
func (b *book) find(like *Record) *Record {
	for i := range b.records {
		if b.records[i].same(like) {
			return &b.records[i]
		}
	}
	return nil
}

// add keeps a record for good.
func (b *book) add(r Record) error {
	b.records = append(b.records, r)
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetEscapeHTML(false)
	for i := range b.records {
		if err := e.Encode(&b.records[i]); err != nil {
			return err
		}
	}
	return fault.Write.Wrap(vfs.WriteAtomic(b.fs, b.path, text.Bytes()))
}

// claim makes sure that a run folder belongs to the trial: it signs a fresh one, and refuses another sweep's.
func claim(fsys vfs.FS, dir string, r *Record) error {
	type owner struct {
		Trial  int               `json:"trial"`
		Seed   uint64            `json:"seed"`
		Values map[string]string `json:"values"`
		Digest string            `json:"digest"`
	}
	path := filepath.Join(dir, trialFile)
	data, err := fsys.ReadFile(path)
	if err == nil {
		var was owner
		if err := json.Unmarshal(data, &was); err != nil {
			return fault.Data.Errorf("%s: %w; hint: delete the folder, and the trial runs again", path, err)
		}
		if was.Digest != r.Digest {
			return otherSweep(path, r, was.Values)
		}
		return nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return fault.Data.Wrap(err)
	}
	if data, err = json.Marshal(owner{r.Trial, r.Seed, r.Values, r.Digest}); err != nil {
		return err
	}
	if err := fsys.MkdirAll(dir, 0o777); err != nil {
		return fault.Write.Wrap(err)
	}
	return fault.Write.Wrap(vfs.WriteAtomic(fsys, path, append(data, '\n')))
}

// otherSweep says that what lies in the folder was made with other settings.
func otherSweep(path string, r *Record, was map[string]string) error {
	then, now := Trial{Values: was}, Trial{Values: r.Values}
	if then.Point() != now.Point() {
		return fault.Usage.Errorf("%s: trial %d was %s, and is %s now; hint: go back to those keys, or start another sweep (--out)",
			path, r.Trial, then.Point(), now.Point())
	}
	return fault.Usage.Errorf("%s: trial %d was made from another run file, or by another version of the program; hint: go back to that, or start another sweep (--out)",
		path, r.Trial)
}

func sameText(a, b map[string]string) bool {
	for k, v := range a {
		if w, ok := b[k]; !ok || w != v {
			return false
		}
	}
	return len(a) == len(b)
}
