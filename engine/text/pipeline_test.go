package text_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/shard"
	"palimpsest/engine/text"
)

var errStop = errors.New("stopped")

// buildFrom builds, or goes on with, a data set in dir; stop > 0 leaves it after so many documents.
func buildFrom(t *testing.T, dir, input string, tok *text.Tokenizer, stop int) (index shard.Index, passed int64) {
	t.Helper()
	r, err := text.Open(text.ReaderOptions{Paths: []string{input}, Fields: map[string]string{"prompt": "question", "completion": "answer"}})
	if err != nil {
		t.Fatal(err)
	}
	o := text.EncodeOptions{BOS: -1, EOS: tok.EOS, Planes: r.Planes(), Workers: 2}
	var planes []shard.Plane
	for _, p := range o.Planes {
		planes = append(planes, shard.Plane{Name: p})
	}
	w, mark, err := shard.Resume(dir, shard.WriterOptions{TokenizerHash: tok.Hash(), Vocab: tok.Vocab(), BOS: -1, EOS: tok.EOS,
		FrameTokens: 200, ShardTokens: 1000, Planes: planes, Recipe: "pairs of " + input})
	if err != nil {
		t.Fatal(err)
	}
	if o.From, err = text.ParseMark(mark); err != nil {
		t.Fatal(err)
	}
	n := 0
	stats, err := text.EncodeAll(r, tok, o, func(e text.Encoded) error {
		if n++; n == stop {
			return errStop
		}
		if err := w.Mark(e.Mark.String()); err != nil {
			return err
		}
		return w.AppendWith(e.Tokens, e.Planes)
	})
	if errors.Is(err, errStop) {
		if err := w.Leave(); err != nil {
			t.Fatal(err)
		}
		return index, stats.Passed
	}
	for plane, provenance := range stats.Provenance {
		if err == nil {
			err = w.Describe(plane, provenance)
		}
	}
	if err == nil {
		index, err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return index, stats.Passed
}

// From records to tokens and planes on disk, straight through and with interruptions.
func TestBuildAndResume(t *testing.T) {
	input := filepath.Join(t.TempDir(), "pairs.jsonl")
	var lines strings.Builder
	for i := range 400 {
		fmt.Fprintf(&lines, "{\"question\":\"What is %d and %d?\",\"answer\":\"It is %d.\"}\n", i, i, 2*i)
	}
	if err := os.WriteFile(input, []byte(lines.String()), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := text.Open(text.ReaderOptions{Paths: []string{input}, Field: "question"})
	if err != nil {
		t.Fatal(err)
	}
	tok, _, err := text.Train(text.Texts(r.Documents()), text.TrainOptions{Vocab: 290})
	if err != nil {
		t.Fatal(err)
	}
	straight, _ := buildFrom(t, filepath.Join(t.TempDir(), "set"), input, tok, 0)
	dir := filepath.Join(t.TempDir(), "set")
	var places []int64
	for _, stop := range []int{150, 150, 1, 0} {
		index, passed := buildFrom(t, dir, input, tok, stop)
		places = append(places, passed)
		if stop == 0 && index.Hash != straight.Hash {
			t.Errorf("interrupted, the data set is another one")
		}
	}
	if places[0] != 0 || places[1] < 50 || places[2] <= places[1] || places[3] != places[2] {
		t.Errorf("went on behind %v documents", places)
	}
	ds, err := shard.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer ds.Close()
	if ds.Documents() != 400 || ds.Index().Planes[0].Provenance != "answers of records of the shape pair; a token with a byte of an answer is learned" {
		t.Errorf("%d documents, planes %v", ds.Documents(), ds.Index().Planes)
	}
	for i := range ds.Documents() {
		d, err := ds.Document(i, "loss")
		if err != nil {
			t.Fatal(err)
		}
		at := slices.Index(d.Planes["loss"], 1)
		context, answer := string(tok.Decode(d.Tokens[:at])), string(tok.Decode(d.Tokens[at:]))
		if context != fmt.Sprintf("What is %d and %d?\n", i, i) || answer != fmt.Sprintf("It is %d.</s>", 2*i) || slices.Contains(d.Planes["loss"][at:], 0) {
			t.Fatalf("document %d: context %q, answer %q, plane %v", i, context, answer, d.Planes["loss"])
		}
	}
}
