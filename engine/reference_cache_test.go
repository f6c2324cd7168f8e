package engine

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/engine/report"
)

// A run with the reference's logits from disk goes the way of one with the model beside it to rounding, resumed or not; with some of the
// logits it goes nearly the same way. What does not belong to the run is refused with the way to make it again.
func TestCachedReference(t *testing.T) {
	data := signedDataset(t, 120)
	init := beginning(t, data, nil)
	c := tntConfig(data, init, 4)
	c.TNT.Variant, c.Eval.Tokens = "TNRF", 0
	frozen := filepath.Join(t.TempDir(), "frozen")
	mustTrain(t, Options{Config: c, Out: frozen})
	c.Reference.Provider, c.Reference.Cache = "cached", filepath.Join(t.TempDir(), "rows")
	refuse := func(what string, c Config, kind fault.Kind, says ...string) {
		t.Helper()
		err := Train(Options{Config: c, Out: filepath.Join(t.TempDir(), "refused")})
		for _, part := range says {
			if fault.Of(err) != kind || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, want %q of kind %v", what, err, part, kind)
			}
		}
	}
	refuse("no rows yet", c, fault.Checkpoint, "reference.cache", "--cache-reference")
	made, err := CacheReference(Options{Config: c})
	if err != nil || made.Rows < 1000 || made.Bytes < made.Rows*600*4 {
		t.Fatalf("%+v, %v", made, err)
	}
	cached := filepath.Join(t.TempDir(), "cached")
	c.StopAfter = 2
	if err := Train(Options{Config: c, Out: cached}); fault.Of(err) != fault.Preempted {
		t.Fatal(err)
	}
	c.StopAfter = 0
	mustTrain(t, Options{Config: c, Out: cached})
	sameLosses(t, frozen, cached)
	if _, err := CacheReference(Options{Config: c}); fault.Of(err) != fault.Usage {
		t.Errorf("a cache over another: %v", err)
	}

	some := c
	some.Reference.TopK = 32
	refuse("other top_k", some, fault.Usage, "made for the top_k 0, the run's reference has 32", "--cache-reference")
	some.Reference.Cache = filepath.Join(t.TempDir(), "some")
	if _, err := CacheReference(Options{Config: some}); err != nil {
		t.Fatal(err)
	}
	partial, n := filepath.Join(t.TempDir(), "partial"), new(notes)
	mustTrain(t, Options{Config: some, Out: partial, Observe: n})
	if !n.has("which is an approximation") {
		t.Errorf("notes %q", n.lines)
	}
	a, b := lastLoss(t, frozen), lastLoss(t, partial)
	if d := a - b; a == b || d > 0.5 || d < -0.5 {
		t.Errorf("loss %g, with some logits %g", a, b)
	}

	other := c
	other.Train.Init = beginning(t, data, func(c *Config) { c.Train.Seed = 3 })
	refuse("other weights", other, fault.Usage, "was made for the weights", "--cache-reference")
	cut := c
	cut.Data.Length = 20
	refuse("other pieces", cut, fault.Data, "has no row for the first", "document", "--cache-reference")
	if _, err := DryRun(Options{Config: cut}); fault.Of(err) != fault.Data {
		t.Errorf("a rehearsal with other pieces: %v", err)
	}
	stream := c
	stream.Data.Packing = "cut"
	refuse("a stream", stream, fault.Usage, "data.packing: whole")
	for _, name := range []string{rowsFile, rowKeysFile} {
		file := filepath.Join(c.Reference.Cache, name)
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, raw[:len(raw)-4], 0o666); err != nil {
			t.Fatal(err)
		}
		refuse(name+" cut short", c, fault.Checkpoint, name, "--cache-reference")
		if err := os.WriteFile(file, raw, 0o666); err != nil {
			t.Fatal(err)
		}
	}
	for key, change := range map[string]func(*Reference){
		"cache":         func(r *Reference) { r.Cache = "" },
		"share_dropout": func(r *Reference) { r.ShareDropout = true },
	} {
		r := c.Reference
		change(&r)
		if problems := r.Validate(); len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), key+":") {
			t.Errorf("%s: %v", key, problems)
		}
	}
	for _, r := range []Reference{{Provider: "frozen", Cache: "x"}, {Provider: "frozen", TopK: 3}, {Provider: "adapter_off", Model: "x"}} {
		if len(r.Validate()) != 1 {
			t.Errorf("%+v is taken", r)
		}
	}
}

// sameLosses compares two runs step by step, to rounding: rows of a cache were made in products of other shapes, for which
// libraries may add in another order.
func sameLosses(t *testing.T, a, b string) {
	t.Helper()
	x, errA := report.ReadLog(filepath.Join(a, LogFile))
	y, errB := report.ReadLog(filepath.Join(b, LogFile))
	if err := errors.Join(errA, errB); err != nil || len(x.Steps) != len(y.Steps) || len(x.Evals) != len(y.Evals) || len(x.Evals) == 0 {
		t.Fatalf("%s and %s: %d and %d steps, %d and %d evaluations, %v", a, b, len(x.Steps), len(y.Steps), len(x.Evals), len(y.Evals), err)
	}
	near := func(what string, v, w float64) {
		if !(math.Abs(v-w) <= 1e-6*math.Abs(v)) {
			t.Errorf("%s: %g and %g", what, v, w)
		}
	}
	for i, s := range x.Steps {
		near(fmt.Sprintf("loss of step %d", s.Step), s.Loss, y.Steps[i].Loss)
		near(fmt.Sprintf("gradient norm of step %d", s.Step), s.GradNorm, y.Steps[i].GradNorm)
	}
	for i, e := range x.Evals {
		near(fmt.Sprintf("evaluation %d", i), e.Loss, y.Evals[i].Loss)
	}
}

func lastLoss(t *testing.T, run string) float64 {
	t.Helper()
	log, err := report.ReadLog(filepath.Join(run, LogFile))
	if err != nil {
		t.Fatal(err)
	}
	return log.Steps[len(log.Steps)-1].Loss
}
