package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"palimpsest/engine/fault"
)

// sideVariable makes the test binary a side of a comparison in place of running tests; its value says how it behaves.
const sideVariable = "PALIMPSEST_TEST_SIDE"

func TestMain(m *testing.M) {
	switch behaviour := os.Getenv(sideVariable); behaviour {
	case "":
		os.Exit(m.Run())
	case "ours":
		if err := Serve(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	default:
		fakeSide(behaviour)
	}
}

// fakeSide answers as baselines/train.py does, with made-up numbers: losses of 10 and less by one a step.
func fakeSide(behaviour string) {
	requests, answers := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	step := 0
	for {
		var q request
		if requests.Decode(&q) != nil {
			return
		}
		r := reply{Library: "Fake 1.0", Parameters: 7}
		switch {
		case q.Setup != nil && behaviour == "no-torch":
			r = reply{Error: "No module named 'torch'", Missing: "torch"}
		case q.Setup != nil && behaviour == "other-model":
			r.Parameters = 8
		case q.Setup != nil && behaviour == "first":
			r.batch, r.Precision, r.Device = batch{Tokens: []int32{1, 2}, Rows: []int32{1}, Targets: []int32{5}}, "float32", "a processor"
		case q.Setup != nil: // what the first side answered must have arrived
			if !reflect.DeepEqual(q.Setup.batch, batch{[]int32{1, 2}, []int32{1}, []int32{5}}) || q.Setup.Precision != "float32" {
				r = reply{Error: "the batch did not arrive"}
			}
			r.Library += " " + q.Setup.Variant + " " + q.Setup.HeadRows
		case behaviour == "dies":
			fmt.Fprintln(os.Stderr, "killed by the test")
			os.Exit(3)
		default:
			for range q.Steps {
				loss := 10 - float64(step)
				if behaviour == "apart" && step == 2 {
					loss += 0.25
				}
				r.Losses = append(r.Losses, loss)
				step++
			}
			r.PeakMemory = 1 << 20
			if behaviour == "short" {
				r.Losses = nil
			}
		}
		answers.Encode(r)
	}
}

func sideCommand(t *testing.T, behaviour string) func() *exec.Cmd {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return func() *exec.Cmd {
		cmd := exec.Command(self)
		cmd.Env = append(os.Environ(), sideVariable+"="+behaviour)
		return cmd
	}
}

func casesNamed(t *testing.T, names ...string) []CompareCase {
	t.Helper()
	cases, err := CompareCases(names)
	if err != nil {
		t.Fatal(err)
	}
	return cases
}

func TestCompareTakesTurnsAndRatios(t *testing.T) {
	var results []CompareResult
	var told []string
	err := Compare(t.Context(), CompareOptions{Cases: casesNamed(t, "gpt2-tiny/128", "bert-tiny/128"), Variants: []string{"eager", "sdpa-all-rows"}, Device: "cpu", Threads: 1, Rounds: 3,
		Turn: time.Nanosecond, Version: "test", ours: sideCommand(t, "first"), theirs: sideCommand(t, "apart"),
		Progress: func(text string) { told = append(told, text) },
		Done:     func(r CompareResult) error { results = append(results, r); return nil }})
	if err != nil {
		t.Fatal(err)
	}
	if len(results) != 2 || results[0].Case != "gpt2-tiny/128" || results[0].Python != "Fake 1.0 eager all" || results[1].Python != "Fake 1.0 sdpa all" ||
		results[0].LossRows != 1 || results[0].Device != "a processor" || results[0].Parameters != 7 || results[0].Steps != 1 {
		t.Fatalf("%+v", results)
	}
	for i, want := range [][]string{{"palimpsest", "eager"}, {"palimpsest", "eager", "sdpa-all-rows"}} {
		r := results[i]
		if len(r.Sides) != len(want) {
			t.Fatalf("%+v", r)
		}
		for j, s := range r.Sides {
			if s.Name != want[j] || s.TokensPerS.Runs != 3 || s.TokensPerS.Median <= 0 || s.PeakMemory != 1<<20 || s.LossFirst != 10 || (s.Ratio == nil) != (j == 0) {
				t.Errorf("%+v", s)
			}
			if j > 0 && (s.LossApart != 0.25 || s.Ratio.Runs != 3 || s.Ratio.P10 > s.Ratio.Median || s.Ratio.Median > s.Ratio.P90) {
				t.Errorf("%+v", s)
			}
		}
	}
	var turns []string
	for _, text := range told {
		if name, ok := strings.CutPrefix(text, "gpt2-tiny/128: round "); ok {
			turns = append(turns, name)
		}
	}
	if want := []string{"1 of 3, palimpsest", "1 of 3, eager", "2 of 3, eager", "2 of 3, palimpsest", "3 of 3, palimpsest", "3 of 3, eager"}; !slices.Equal(turns, want) {
		t.Errorf("turns %q", turns)
	}
}

func TestCompareNamesWhatFails(t *testing.T) {
	for _, x := range []struct {
		ours, theirs string
		kind         fault.Kind
		says         []string
	}{
		{"first", "no-torch", fault.Usage, []string{"case gpt2-tiny/128", "eager", "No module named 'torch'", "--python", PythonVariable}},
		{"first", "other-model", fault.Device, []string{"8 parameters", "7"}},
		{"first", "dies", fault.Device, []string{"eager does not answer", "killed by the test"}},
		{"first", "short", fault.Device, []string{"0 losses of 1 steps"}},
		{"apart", "apart", fault.Device, []string{"the batch did not arrive"}},
	} {
		err := Compare(t.Context(), CompareOptions{Cases: casesNamed(t, "gpt2-tiny/128"), Rounds: 1, Turn: time.Nanosecond, ours: sideCommand(t, x.ours), theirs: sideCommand(t, x.theirs),
			Done: func(CompareResult) error { return nil }})
		if err == nil || fault.Of(err) != x.kind {
			t.Errorf("%s: %v", x.theirs, err)
			continue
		}
		for _, says := range x.says {
			if !strings.Contains(err.Error(), says) {
				t.Errorf("%s: %v lacks %q", x.theirs, err, says)
			}
		}
	}
	err := Compare(t.Context(), CompareOptions{Cases: casesNamed(t, "gpt2-tiny/128"), Rounds: 1, Turn: time.Nanosecond, ours: sideCommand(t, "first"),
		theirs: func() *exec.Cmd { return exec.Command(filepath.Join(t.TempDir(), "python")) }, Done: func(CompareResult) error { return nil }})
	if fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "--python") {
		t.Errorf("no such interpreter: %v", err)
	}
}

func TestCompareStopsWhenInterrupted(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	err := Compare(ctx, CompareOptions{Cases: casesNamed(t, "gpt2-tiny/128"), Variants: []string{"eager"}, Rounds: 1000, Turn: time.Nanosecond,
		ours: sideCommand(t, "first"), theirs: sideCommand(t, "apart"), Done: func(CompareResult) error { return nil },
		Progress: func(text string) {
			if strings.Contains(text, "round 3 ") {
				stop()
			}
		}})
	if err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("%v", err)
	}
}

func TestOurSideTrainsAndWritesItsWeights(t *testing.T) {
	s := setup{Device: "cpu", Threads: 1, Weights: filepath.Join(t.TempDir(), "w.safetensors"), Optimizer: setupOptimizer{LearningRate: 1e-3, Betas: [2]float64{0.9, 0.99}, Eps: 1e-8, Clip: 1}}
	if err := s.describe(casesNamed(t, "bert-tiny/128")[0]); err != nil {
		t.Fatal(err)
	}
	c, err := start(oursName, sideCommand(t, "ours")())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.ask(request{Steps: 1}); err == nil || !strings.Contains(err.Error(), "before a setup") {
		t.Errorf("steps before a setup: %v", err)
	}
	made, err := c.ask(request{Setup: &s})
	if err != nil {
		t.Fatal(err)
	}
	if len(made.Tokens) != 2048 || len(made.Rows) < 200 || len(made.Rows) > 400 || len(made.Targets) != len(made.Rows) || made.Precision != "float32" {
		t.Errorf("a batch of %d tokens, %d rows, %d targets; precision %s", len(made.Tokens), len(made.Rows), len(made.Targets), made.Precision)
	}
	if info, err := os.Stat(s.Weights); err != nil || info.Size() < 4*made.Parameters {
		t.Errorf("weights of %d parameters: %v, %v", made.Parameters, info, err)
	}
	r, err := c.ask(request{Steps: 2})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Losses) != 2 || math.Abs(r.Losses[0]-math.Log(30522)) > 0.3 || !(r.Losses[1] < r.Losses[0]) {
		t.Errorf("losses %v", r.Losses)
	}
	if err := c.close(); err != nil {
		t.Error(err)
	}
}

// The script embeds every key of a setup that it reads, so that neither side renames one alone.
func TestBaselineReadsTheKeysOfASetup(t *testing.T) {
	known := map[string]bool{}
	var collect func(reflect.Type)
	collect = func(s reflect.Type) {
		for _, f := range reflect.VisibleFields(s) {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			known[name] = true
			if f.Type.Kind() == reflect.Struct && !f.Anonymous {
				collect(f.Type)
			}
		}
	}
	collect(reflect.TypeFor[setup]())
	collect(reflect.TypeFor[request]())
	read := regexp.MustCompile(`\b(?:s|o|request)\["(\w+)"\]`).FindAllSubmatch(baseline, -1)
	if len(read) < 20 {
		t.Fatalf("%d keys are read", len(read))
	}
	for _, m := range read {
		if !known[string(m[1])] {
			t.Errorf("train.py reads %q, which a setup does not have", m[1])
		}
	}
}

func TestCompareCases(t *testing.T) {
	all := casesNamed(t)
	for _, k := range all {
		c, problems := k.Model.Resolve(k.Vocab)
		if len(problems) > 0 || k.Length > c.Context || k.Sequences < 1 || k.Length*k.Sequences < 512 {
			t.Errorf("%+v: %v", k, problems)
		}
	}
	if got := casesNamed(t, "/1024", "bert-base/128"); len(got) != 5 {
		t.Errorf("%d cases", len(got))
	}
	if _, err := CompareCases([]string{"gpt3"}); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "gpt2-tiny") {
		t.Errorf("%v", err)
	}
	if err := CheckVariants([]string{"sdpa", "fast"}); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "fast") {
		t.Errorf("%v", err)
	}
}

func TestCompareReports(t *testing.T) {
	r := CompareResult{Case: "gpt2/128", Python: "PyTorch 0", Parameters: 124e6, Length: 128, Sequences: 4, Conditions: Conditions{Device: "a processor", Threads: 2}, Sides: []CompareSide{
		{Name: oursName, TokensPerS: Spread{20000, 1, 2, 3}, PeakMemory: 1 << 30}, {Name: "sdpa", TokensPerS: Spread{10000, 1, 2, 3}, Ratio: &Spread{2, 1.5, 2.5, 3}, LossApart: 1e-6}}}
	busy := 0.25
	r.Others = &busy
	table := CompareTable([]CompareResult{r})
	for _, want := range []string{"| gpt2/128 | 124.0 M | 4 x 128 | palimpsest | 20 k | 1.00 |  |  |", "|  |  |  | sdpa | 10 k | 0.00 | 2.00 (1.50 to 2.50) | 1e-06 |", "PyTorch 0", "a processor", "up to 25 %"} {
		if !strings.Contains(table, want) {
			t.Errorf("the table lacks %q:\n%s", want, table)
		}
	}
	if text := CompareText(r); !strings.Contains(text, "2.00 times as fast (1.50 to 2.50)") || !strings.Contains(text, "other programs took 25 %") {
		t.Error(text)
	}
	path := filepath.Join(t.TempDir(), "x.png")
	if err := ComparePlot(path, []CompareResult{r}); err != nil {
		t.Fatal(err)
	}
	if data, err := os.ReadFile(path); err != nil || !bytes.HasPrefix(data, []byte("\x89PNG")) {
		t.Errorf("%v", err)
	}
	if err := ComparePlot(path, nil); fault.Of(err) != fault.Usage {
		t.Errorf("no results: %v", err)
	}
}
