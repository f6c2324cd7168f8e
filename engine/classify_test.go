package engine

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/objectives"
)

// labelledDataset builds shards whose documents carry a class: whether a paragraph declares a function.
func labelledDataset(t testing.TB, documents int) string {
	t.Helper()
	return datasetWith(t, documents, "label", func(doc []byte, tokens int) []byte {
		label := byte(0)
		if bytes.Contains(doc, []byte("func ")) {
			label = 1
		}
		return bytes.Repeat([]byte{label}, tokens)
	})
}

// A classifier begins with the weights of a language model, learns, is resumed with the same bits and measured.
func TestClassifierIsFineTuned(t *testing.T) {
	base, dir := t.TempDir(), labelledDataset(t, 600)
	pretrain := tinyConfig(dir, 8)
	mustTrain(t, Options{Config: pretrain, Out: base})

	c := tinyConfig(dir, 200)
	c.Objective, c.Train.Init, c.Data.Valid.Share, c.Eval.Every = "classify", base, 0.2, 50
	c.Model.Classifiers = []objectives.Head{{Name: "function", Kind: "sequence", Classes: 2}}
	n := new(notes)
	run := t.TempDir()
	mustTrain(t, Options{Config: c, Out: run, Observe: n})
	if !n.has("weights begin as") || !n.has("new: head.cls.function.transform.weight") {
		t.Errorf("notes: %q", n.lines)
	}
	m, err := OpenModel(run, "cpu", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	got, err := m.Classify("", "", 0)
	if err != nil {
		t.Fatal(err)
	}
	if got.Head != "function" || got.Rows < 60 || got.Accuracy < got.Majority+0.05 || got.Matthews < 0.3 || got.Pearson == nil {
		t.Errorf("%+v", got)
	}
	loss, err := m.Evaluate("", "", 0)
	if err != nil || loss.Accuracy != got.Accuracy || loss.BaselineAccuracy > got.Majority+1e-9 {
		t.Errorf("%+v, %v", loss, err)
	}

	c.StopAfter = 25
	again := t.TempDir()
	if err := Train(Options{Config: c, Out: again}); fault.Of(err) != fault.Preempted {
		t.Fatal(err)
	}
	c.StopAfter = 0
	mustTrain(t, Options{Config: c, Out: again})
	if fingerprint(t, again) != fingerprint(t, run) {
		t.Error("the resumed run has other bits")
	}
}

func TestInitRefusesAnotherModel(t *testing.T) {
	base, dir := t.TempDir(), labelledDataset(t, 200)
	mustTrain(t, Options{Config: tinyConfig(dir, 2), Out: base})
	for want, change := range map[string]func(c *Config){
		"head.cls":   nil,
		"has shape":  func(c *Config) { c.Model.FF = 96 },
		"no tensor":  func(c *Config) { c.Model.Layers = 3 },
		"no place":   func(c *Config) { c.Model.Layers = 1 },
		"checkpoint": func(c *Config) { c.Train.Init = filepath.Join(dir, "nothing") },
	} {
		c := tinyConfig(dir, 4)
		c.Objective, c.Train.Init = "classify", base
		c.Model.Classifiers = []objectives.Head{{Name: "function", Kind: "sequence", Classes: 2}}
		if change == nil {
			p, err := DryRun(Options{Config: c})
			if err != nil || !strings.Contains(strings.Join(p.Notes, "\n"), want) || !strings.Contains(p.Batch.Examples[0].Tokens[0].Target, "function ") {
				t.Errorf("dry run: %+v, %v", p, err)
			}
			continue
		}
		change(&c)
		err := Train(Options{Config: c, Out: t.TempDir()})
		if fault.Of(err) != fault.Checkpoint || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}
}
