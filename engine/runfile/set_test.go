package runfile

import (
	"palimpsest/engine/fault"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestSet(t *testing.T) {
	got := defaults()
	l := New(got)
	l.Decode("run.yaml", []byte(sample))
	l.Set("mask.replace=[1,0,0]", "phases.0.steps=5", "phases.1={objective: clm, steps: 3}", "note=C:\\x: #y", "model.vocab=512",
		"optimizer.learning_rate=3e-4", "weights.c=3", "dist.ranks=4", "verbose=false", "stop_after=1", "stop_after=2")
	l.Check()
	if err := l.Err(); err != nil {
		t.Fatal(err)
	}
	if got.Mask.Replace != [3]float64{1, 0, 0} || got.Phases[0].Steps != 5 || got.Phases[0].Objective != "clm" || got.Model.Vocab != 512 ||
		got.Note != `C:\x: #y` || got.Optimizer.LearningRate != 3e-4 || got.Weights["c"] != 3 || got.Weights["a"] != 1 ||
		got.Dist.Ranks != 4 || got.Dist.Wait != 5*time.Minute || got.Common != (common{2, false}) {
		t.Errorf("%+v", got)
	}
	// An item assigned as a whole keeps what it held, like any section; a new list starts from the items' defaults.
	if got.Phases[1].Steps != 3 || got.Phases[1].Weight != 0.5 {
		t.Errorf("%+v", got.Phases[1])
	}
	if err := Set(got, []string{"phases=[{objective: mlm, steps: 10}]", `note="a\tb"`, "dist=null", "weights="}); err == nil ||
		err.Error() != "--set weights=: expected a section of free names, got nothing" {
		t.Error(err)
	}
	if !reflect.DeepEqual(got.Phases, []phase{{"mlm", 10, 1, nil}}) || got.Note != "a\tb" || got.Dist != nil {
		t.Errorf("%+v", got)
	}
	fresh := defaults()
	if err := Set(fresh, []string{"dist.ranks=3"}); err != nil || fresh.Dist.Wait != 30*time.Second {
		t.Errorf("an optional section starts with its defaults: %v %+v", err, fresh.Dist)
	}
}

func TestSetMessages(t *testing.T) {
	err := Set(defaults(), []string{"stop_after", "optimizer.lerning_rate=1", "mask.p=x", "phases.0.steps=1", "note.x=1", "mask.replace=[1",
		"optimizer.betas.2=0.5", "phases=[{stepps: 1}]", "note=\xff"})
	want := `--set stop_after: expected KEY=VALUE, for example train.steps=100
--set optimizer.lerning_rate=1: unknown key; did you mean learning_rate?
--set mask.p=x: expected a number, got x
--set phases.0.steps=1: phases.0: phases has 0 items, so expected an index, got "0"; hint: phases=[...] replaces the list
--set note.x=1: note is text and has no key "x" under it
--set mask.replace=[1: the value [1: YAML syntax: sequence end token ']' not found
--set optimizer.betas.2=0.5: optimizer.betas has 2 items, so expected an index from 0 to 1, got "2"; hint: optimizer.betas=[...] replaces the list
--set phases=[{stepps: 1}]: phases.0.stepps: unknown key; did you mean steps?
--set note=` + "\xff" + `: the value is not UTF-8 text`
	if err == nil || err.Error() != want || fault.Of(err) != fault.Usage {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestCheckKnowsLinesAndComesOutTogether(t *testing.T) {
	l := New(defaults())
	l.Decode("preset.yaml", []byte("mask: {replace: [1, 1, 1]}\nphases:\n- {objective: clm}\n- {objective: mlm, steps: x}\n"))
	l.Decode("run.yaml", []byte("note: a\nmodle: {}\n"))
	l.Override("--steps -4", "stop_after", "-4")
	l.Check()
	l.Fail("model.width", "is not divisible by the heads")
	want := `preset.yaml:1: mask.replace: the shares sum to 3, expected 1
preset.yaml:3: phases.0.steps: a phase needs steps
preset.yaml:4: phases.1.steps: expected a whole number, got x
run.yaml:2: modle: unknown key; did you mean model?
--steps -4: stop_after: must not be negative, got -4
model.width: is not divisible by the heads`
	if err := l.Err(); err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
	if file, line := l.Origin("phases.0.objective"); file != "preset.yaml" || line != 3 || !l.Given("note") || l.Given("model.width") {
		t.Errorf("origin %s:%d", file, line)
	}

	l = New(defaults())
	l.Decode("run.yaml", []byte("mask: {replace: [1, 1, 1]}\n"))
	l.Set("mask.replace=[1,1,0]")
	l.Check()
	if err := l.Err(); err == nil || err.Error() != "--set mask.replace=[1,1,0]: the shares sum to 2, expected 1" {
		t.Errorf("a later source takes over the key: %v", err)
	}

	broken := defaults()
	broken.Mask.Replace = [3]float64{5, 1, 0}
	l = New(broken)
	l.Decode("run.yaml", []byte("mask: [\n"))
	l.Check()
	if err := l.Err(); err == nil || strings.Contains(err.Error(), "shares") {
		t.Errorf("checks ran over a file that could not be read: %v", err)
	}
	if err := Check(broken); err == nil || err.Error() != "mask.replace: the shares sum to 6, expected 1" {
		t.Error(err)
	}
}
