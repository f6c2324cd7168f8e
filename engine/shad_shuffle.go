package engine

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strconv"

	"palimpsest/engine/fault"
	"palimpsest/engine/shad"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
	"palimpsest/engine/vfs"
	"palimpsest/objectives"
)

// ShuffleOptions say which pairs of prompt and response are shuffled. The source is a data set with the plane loss, or files
// of records, which stay records unless a tokenizer is given.
type ShuffleOptions struct {
	Data      string
	Records   text.ReaderOptions
	Tokenizer *text.Tokenizer // of records that become a data set
	Encode    text.EncodeOptions
	Fraction  float64
	Seed      uint64
	Out       string // folder of a data set, or a file of JSON lines
	Version   string // of the program
}

// Shuffled is what shuffling gave.
type Shuffled struct {
	Out      string `json:"out"`
	Source   string `json:"source"`
	Pairs    int64  `json:"pairs"` // of the source
	Sampled  int    `json:"sampled"`
	Repaired int    `json:"repaired"` // pairs whose first new response was equal to their own
	Dropped  int    `json:"dropped"`  // pairs for which there was no other response
	Written  int    `json:"written"`
	Tokens   int64  `json:"tokens,omitempty"` // of a data set
	Before   bool   `json:"was_done"`
}

// A pair is a prompt and its response: tokens with the plane loss, or texts.
type pair struct {
	prompt, response         []int32
	promptPlane, outputPlane []byte
	promptText, responseText string
}

func (p *pair) key() string {
	if p.response == nil {
		return p.responseText
	}
	key := make([]byte, 0, 4*len(p.response))
	for _, id := range p.response {
		key = binary.LittleEndian.AppendUint32(key, uint32(id))
	}
	return string(key)
}

// stageFile is where the record of shuffling lies: beside what was made.
func stageFile(out string) string { return filepath.Clean(out) + ".shad.json" }

// Shuffle writes a sample of the pairs whose responses are deranged: S' of SHAD. A shuffle that is done is not done again.
func Shuffle(o ShuffleOptions) (Shuffled, error) {
	r := Shuffled{Out: o.Out, Source: o.Data}
	source, err := o.open()
	if err != nil {
		return r, err
	}
	defer source.close()
	if r.Pairs, err = source.count(); err != nil {
		return r, err
	}
	if o.Data == "" {
		r.Source = fmt.Sprint(o.Records.Paths)
	}
	stage, err := shad.BeginStage(stageFile(o.Out), "shuffle", map[string]string{"data": source.hash(), "fraction": strconv.FormatFloat(o.Fraction, 'g', -1, 64),
		"seed": strconv.FormatUint(o.Seed, 10), "pairs": strconv.FormatInt(r.Pairs, 10), "tokenizer": o.tokenizerHash(source)})
	if err != nil {
		return r, err
	}
	written := exists(o.Out) && (o.records() || exists(filepath.Join(o.Out, "index.json")))
	if stage.Done && written {
		err := stage.Read(&r)
		r.Before, r.Out = true, o.Out
		return r, err
	}
	sample, err := shad.Sample(r.Pairs, o.Fraction, o.Seed)
	if err != nil {
		return r, err
	}
	pairs, err := source.take(sample)
	if err != nil {
		return r, err
	}
	numbers, keys := map[string]int{}, make([]int, len(pairs))
	for i := range pairs {
		key := pairs[i].key()
		if _, ok := numbers[key]; !ok {
			numbers[key] = len(numbers)
		}
		keys[i] = numbers[key]
	}
	d, err := shad.Derange(keys, o.Seed)
	if err != nil {
		return r, err
	}
	r.Sampled, r.Repaired, r.Dropped = len(pairs), d.Repaired, d.Dropped
	switch {
	case written && !stage.Begun():
		return r, fault.Usage.Errorf("%s exists already; hint: choose another --out", o.Out)
	case written && !o.records(): // complete, but its record was not finished
		return r, o.recount(&r, stage)
	}
	if err := stage.Write(nil); err != nil {
		return r, err
	}
	if o.records() {
		err = o.writeRecords(&r, pairs, d)
	} else {
		err = o.writeData(&r, pairs, d, source)
	}
	if err != nil {
		return r, err
	}
	return r, stage.Write(r)
}

// records reports whether the result is a file of records.
func (o *ShuffleOptions) records() bool { return o.Data == "" && o.Tokenizer == nil }

func (o *ShuffleOptions) tokenizerHash(s pairSource) string {
	if t := s.tokenizer(); t != nil {
		return t.Hash()
	}
	return "none"
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// recount fills in what a complete data set says of itself.
func (o *ShuffleOptions) recount(r *Shuffled, stage *shad.Stage) error {
	ds, err := shard.Open(o.Out)
	if err != nil {
		return err
	}
	defer ds.Close()
	r.Written, r.Tokens = int(ds.Documents()), ds.Tokens()
	return stage.Write(*r)
}

func (o *ShuffleOptions) writeRecords(r *Shuffled, pairs []pair, d shad.Derangement) error {
	var out bytes.Buffer
	for i, from := range d.From {
		if from < 0 {
			continue
		}
		line, err := jsonLine(map[string]string{"prompt": pairs[i].promptText, "completion": pairs[from].responseText})
		if err != nil {
			return err
		}
		out.Write(line)
		r.Written++
	}
	if err := os.MkdirAll(filepath.Dir(o.Out), 0o755); err != nil {
		return fault.Write.Wrap(err)
	}
	return fault.Write.Wrap(vfs.WriteAtomic(vfs.OS{}, o.Out, out.Bytes()))
}

func (o *ShuffleOptions) writeData(r *Shuffled, pairs []pair, d shad.Derangement, source pairSource) error {
	tokenizer := source.tokenizer()
	if exists(filepath.Join(o.Out, "UNFINISHED")) { // of an interrupted attempt, whose other files package shard removes
		if err := os.Remove(filepath.Join(o.Out, TokenizerFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fault.Write.Wrap(err)
		}
	}
	bos, eos := source.ends()
	w, err := shard.Create(o.Out, shard.WriterOptions{TokenizerHash: tokenizer.Hash(), Vocab: tokenizer.Vocab(), BOS: bos, EOS: eos, CreatedBy: o.Version,
		Source: "responses shuffled: " + r.Source, Planes: []shard.Plane{{Name: objectives.PlaneLoss, Provenance: "responses of other prompts are learned (SHAD's shuffled pairs)"}}})
	if err != nil {
		return err
	}
	for i, from := range d.From {
		if from < 0 {
			continue
		}
		tokens := append(append([]int32{}, pairs[i].prompt...), pairs[from].response...)
		plane := append(append([]byte{}, pairs[i].promptPlane...), pairs[from].outputPlane...)
		if err := w.AppendWith(tokens, map[string][]byte{objectives.PlaneLoss: plane}); err != nil {
			return errors.Join(err, w.Abort())
		}
		r.Written++
		r.Tokens += int64(len(tokens))
	}
	if err := tokenizer.Save(filepath.Join(o.Out, TokenizerFile)); err != nil {
		return errors.Join(err, w.Abort())
	}
	_, err = w.Close()
	return err
}

// split cuts a document at its first response token.
func split(place string, tokens []int32, plane []byte, t *text.Tokenizer) (p pair, err error) {
	at := bytes.IndexByte(plane, 1)
	if at < 0 {
		return p, fault.Data.Errorf("%s has no response: none of its %d tokens is to be learned (plane loss)", place, len(tokens))
	}
	own := func(ids []int32) bool { // holds more than special tokens
		for _, id := range ids {
			if !t.IsSpecial(id) || id == t.Unk {
				return true
			}
		}
		return false
	}
	if !own(tokens[at:]) {
		return p, fault.Data.Errorf("%s: the response is empty", place)
	}
	if !own(tokens[:at]) {
		return p, fault.Data.Errorf("%s has no prompt: its response begins with the first token", place)
	}
	return pair{prompt: tokens[:at], response: tokens[at:], promptPlane: plane[:at], outputPlane: plane[at:]}, nil
}

// A pairSource yields pairs by number.
type pairSource interface {
	count() (int64, error)
	take(sample []int64) ([]pair, error) // in the order of the sample
	hash() string                        // known once they were counted
	tokenizer() *text.Tokenizer
	ends() (bos, eos int32)
	close()
}

func (o *ShuffleOptions) open() (pairSource, error) {
	if o.Data == "" {
		return &recordPairs{o: o}, nil
	}
	ds, t, err := openResponses(o.Data)
	if err != nil {
		return nil, err
	}
	return &dataPairs{ds, t, o.Data}, nil
}

// openResponses opens a data set with its tokenizer; it must say which tokens are responses.
func openResponses(dir string) (*shard.Dataset, *text.Tokenizer, error) {
	ds, err := shard.Open(dir)
	if err != nil {
		return nil, nil, err
	}
	t, err := datasetTokenizer(dir, ds)
	if err == nil && !hasPlane(ds, objectives.PlaneLoss) {
		err = fault.Data.Errorf("data set %s has no plane loss, which tells responses from prompts; hint: build it from records, palimpsest data build --fields prompt=KEY,completion=KEY", dir)
	}
	if err != nil {
		ds.Close()
		return nil, nil, err
	}
	return ds, t, nil
}

// dataPairs are the documents of a data set.
type dataPairs struct {
	ds  *shard.Dataset
	t   *text.Tokenizer
	dir string
}

func (s *dataPairs) count() (int64, error)      { return s.ds.Documents(), nil }
func (s *dataPairs) hash() string               { return responsesHash(s.ds) }
func (s *dataPairs) tokenizer() *text.Tokenizer { return s.t }
func (s *dataPairs) ends() (bos, eos int32) {
	return s.ds.Index().Tokenizer.BOS, s.ds.Index().Tokenizer.EOS
}
func (s *dataPairs) close() { s.ds.Close() }

func (s *dataPairs) take(sample []int64) ([]pair, error) {
	pairs := make([]pair, len(sample))
	return pairs, chosen(s.ds, sample, func(i int, d shard.Document) (err error) {
		pairs[i], err = split(fmt.Sprintf("data set %s, document %d", s.dir, d.ID), d.Tokens, d.Planes[objectives.PlaneLoss], s.t)
		return err
	})
}

// chosen streams a data set once and yields the documents of a sample, with their place in it.
func chosen(ds *shard.Dataset, sample []int64, yield func(i int, d shard.Document) error) error {
	wanted := make(map[int64]int, len(sample))
	for i, id := range sample {
		wanted[id] = i
	}
	stream, err := ds.Stream(shard.StreamConfig{Epochs: 1, Planes: []string{objectives.PlaneLoss}}, shard.Cursor{})
	if err != nil {
		return err
	}
	defer stream.Close()
	for len(wanted) > 0 {
		d, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return fault.Data.Errorf("%d documents of the sample are not in the data set", len(wanted))
		}
		if err != nil {
			return err
		}
		if i, ok := wanted[d.ID]; ok {
			delete(wanted, d.ID)
			if err := yield(i, d); err != nil {
				return err
			}
		}
	}
	return nil
}

// heldPairs chooses up to n documents of a data set that are not in the sample of a shuffle.
func heldPairs(documents int64, fraction float64, seed uint64, n int) ([]int64, error) {
	sample, err := shad.Sample(documents, fraction, seed)
	if err != nil {
		return nil, err
	}
	m := int64(len(sample))
	more, err := shad.Sample(documents, math.Min(1, (float64(m)+float64(n))/float64(documents)), seed)
	if err != nil {
		return nil, err
	}
	return more[m:], nil
}
