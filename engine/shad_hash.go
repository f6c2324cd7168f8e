package engine

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cespare/xxhash/v2"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/report"
	"palimpsest/engine/shad"
	"palimpsest/engine/shard"
	"palimpsest/objectives"
)

// weightsHash identifies the weights of a checkpoint that models are opened with.
func weightsHash(c *checkpoint.Checkpoint) (string, error) {
	all := sha256.New()
	for _, name := range c.Files() {
		if !strings.HasSuffix(name, ".safetensors") || name == optimizerFile {
			continue
		}
		sum, err := c.SHA256(name)
		if err != nil {
			return "", err
		}
		fmt.Fprintln(all, name, sum)
	}
	return hex.EncodeToString(all.Sum(nil)[:16]), nil
}

// hashOfModel is weightsHash of what a path opens.
func hashOfModel(path string) (string, error) {
	c, err := findCheckpoint(path)
	if err != nil {
		return "", err
	}
	return weightsHash(c)
}

// responsesHash identifies tokens, documents and responses of a data set, whatever other planes it has.
func responsesHash(ds *shard.Dataset) string {
	h, index := xxhash.New(), ds.Index()
	for _, s := range index.Shards {
		fmt.Fprintln(h, s.Documents, s.Tokens, uint64(s.Tok.RawXXH64), uint64(s.Len.RawXXH64))
		for i, p := range index.Planes {
			if p.Name == objectives.PlaneLoss {
				fmt.Fprintln(h, uint64(s.Planes[i].RawXXH64))
			}
		}
	}
	return fmt.Sprintf("%016x", h.Sum64())
}

// classOrigin is what the plane class keeps of how SHAD made it.
type classOrigin struct {
	Model     string   `json:"model"` // hashes
	Tuned     string   `json:"tuned"`
	Data      string   `json:"data"`
	Tokenizer string   `json:"tokenizer"`
	Length    int      `json:"length"`
	Threshold float64  `json:"threshold"`
	Deadzone  float64  `json:"deadzone"`
	Smooth    string   `json:"smooth"`
	Counts    [2]int64 `json:"tokens"` // boilerplate, reasoning
	Histogram []int64  `json:"histogram"`
}

// shadMark begins the provenance of a plane class that SHAD made.
const shadMark = "SHAD "

func (o classOrigin) String() string {
	text, err := json.Marshal(o)
	if err != nil {
		return err.Error() // numbers that are not finite were refused before
	}
	return shadMark + string(text)
}

// classOriginOf reads the provenance of a data set's plane class; made is false for classes that SHAD did not make.
func classOriginOf(ds *shard.Dataset) (o classOrigin, made bool, err error) {
	for _, p := range ds.Index().Planes {
		if text, ok := strings.CutPrefix(p.Provenance, shadMark); ok && p.Name == objectives.PlaneClass {
			if err := json.Unmarshal([]byte(text), &o); err != nil {
				return o, true, fault.Data.Errorf("the provenance of the plane class: %w; hint: make the plane again with 'palimpsest shad score --replace'", err)
			}
			return o, true, nil
		}
	}
	return o, false, nil
}

// checkClasses refuses classes that were made for other tokens than those of the data set, and notes where they come from.
func (j *job) checkClasses() error {
	uses := false
	for _, p := range j.phases {
		uses = uses || p.objective == "rft"
	}
	method := j.config.SHAD.Method
	if !uses {
		return nil
	}
	if !hasPlane(j.data, objectives.PlaneClass) {
		if j.config.SHAD.UsesClasses() {
			return fault.Data.Errorf("data set %s has no plane class, which shad.method: %s needs; hint: 'palimpsest shad run --model RUN --data %s --out DIR' makes it, or 'palimpsest data annotate' from patterns",
				j.config.Data.Train, method, j.config.Data.Train)
		}
		return nil
	}
	sets := []*shard.Dataset{j.data}
	if j.valid != j.data && hasPlane(j.valid, objectives.PlaneClass) {
		sets = append(sets, j.valid)
	}
	for i, ds := range sets {
		dir := []string{j.config.Data.Train, j.config.Data.Valid.Dir}[i]
		o, made, err := classOriginOf(ds)
		if err != nil {
			return fault.Of(err).Errorf("%s: %w", dir, err)
		}
		if i == 0 {
			switch {
			case made && method == "regex":
				return fault.Usage.Errorf("shad.method: regex wants classes from patterns, those of %s are SHAD's; hint: shad.method: rft, or a copy of the data set with 'palimpsest data annotate --plane class'", dir)
			case !made && method != "regex" && j.config.SHAD.UsesClasses():
				j.note("the classes of %s were not made by SHAD", dir)
			}
		}
		if !made {
			continue
		}
		if got := responsesHash(ds); got != o.Data {
			return fault.Data.Errorf("the plane class of %s was made for data %s, the data set is %s; hint: 'palimpsest shad score --replace' makes it again", dir, o.Data, got)
		}
		if got := ds.Index().Tokenizer.Hash; got != o.Tokenizer {
			return fault.Data.Errorf("the plane class of %s was made with tokenizer %s, the data set with %s; hint: 'palimpsest shad score --replace' makes it again", dir, o.Tokenizer, got)
		}
		if i > 0 {
			continue
		}
		j.classes = &o
		if err := o.contradicted(j.config.SHAD, dir); err != nil {
			return err
		}
		if c := j.config; c.Train.Init == "" && c.SHAD.UsesClasses() && !c.SHAD.AnyModel {
			return fault.Data.Errorf("train.init: the run begins with random weights, the plane class of %s was made with the model %s; hint: begin with that model, or accept its classes with shad.any_model: true", dir, o.Model)
		}
	}
	return nil
}

// contradicted refuses keys of scoring that ask for other classes than those that are there; open ones take any.
func (o *classOrigin) contradicted(s objectives.SHAD, dir string) error {
	if !s.UsesClasses() {
		return nil
	}
	free := objectives.DefaultSHAD()
	for _, k := range []struct {
		key           string
		set, open, is any
	}{{"threshold", s.Threshold, free.Threshold, o.Threshold}, {"deadzone", s.Deadzone, free.Deadzone, o.Deadzone}, {"smooth", s.Smooth, free.Smooth, o.Smooth}} {
		if k.set != k.open && k.set != k.is {
			return fault.Usage.Errorf("shad.%s: %v, but the plane class of %s was made with %v; hint: leave it out, or make the classes again with 'palimpsest shad score --replace --set shad.%s=%v'", k.key, k.set, dir, k.is, k.key, k.set)
		}
	}
	return nil
}

// line is the log's line on the classes.
func (o *classOrigin) line() report.Classes {
	c := report.Classes{Boilerplate: o.Counts[0], Reasoning: o.Counts[1]}
	for k, n := range o.Histogram {
		c.Bins = append(c.Bins, report.ClassBin{Name: shad.BinName(k), Count: n, Class: shad.BinClass(k, o.Threshold)})
	}
	return c
}

// checkClassModel refuses to begin with other weights than those that the classes are about.
func (j *job) checkClassModel(dir, hash string) error {
	if j.classes == nil || !j.config.SHAD.UsesClasses() || j.config.SHAD.AnyModel || j.classes.Model == hash {
		return nil
	}
	return fault.Data.Errorf("train.init: %s has the weights %s, the plane class of %s was made with %s; hint: begin with that model, make the classes again with 'palimpsest shad run', or accept them with shad.any_model: true",
		dir, hash, j.config.Data.Train, j.classes.Model)
}
