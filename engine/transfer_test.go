package engine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/hf"
	"palimpsest/engine/model"
	"palimpsest/engine/vfs"
)

func outputs(t *testing.T, dir string, ids ...int32) Outputs {
	t.Helper()
	m, err := OpenModel(dir, "cpu", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	out, err := m.Outputs(ids, false)
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Hidden) != len(ids)*m.Config.Model.Width || len(out.Logits) != len(ids)*int(m.Config.Model.Vocab) {
		t.Fatalf("%d hidden numbers, %d logits", len(out.Hidden), len(out.Logits))
	}
	return out
}

func mustExport(t *testing.T, o ExportOptions) *hf.Exported {
	t.Helper()
	o.FS = vfs.OS{}
	if o.DType == "" {
		o.DType, o.ShardSize = checkpoint.F32, 1<<40
	}
	e, err := Export(o)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// A run goes out as a Hugging Face folder, comes back with the same answers bit by bit, begins another run, and that one goes out
// with the companions of the first folder.
func TestModelsGoOutAndComeBack(t *testing.T) {
	data, dir := dataset(t, 300), t.TempDir()
	run, folder, back := filepath.Join(dir, "run"), filepath.Join(dir, "folder"), filepath.Join(dir, "back")
	c := tinyConfig(data, 4)
	c.Objective, c.Model = "clm", model.Config{Preset: "gpt2", Layers: 2, Width: 32, Heads: 2, KVHeads: 2, FF: 64, Context: 48, Vocab: 650}
	mustTrain(t, Options{Config: c, Out: run})
	e := mustExport(t, ExportOptions{From: run, Out: folder, Version: "v9"})
	if e.Architecture != "GPT2LMHeadModel" || len(e.Lost) > 0 {
		t.Errorf("%+v", e)
	}
	card, err := os.ReadFile(filepath.Join(folder, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"palimpsest v9", "objective: clm", "steps: 4", "| 4 |", "On held-out documents", "300 documents", "text-generation"} {
		if !strings.Contains(string(card), want) {
			t.Errorf("the model card does not mention %q", want)
		}
	}
	im, err := Import(vfs.OS{}, folder, back, 1)
	if err != nil {
		t.Fatal(err)
	}
	if im.Objective != "clm" || len(im.New) > 0 || im.Family != "gpt2" {
		t.Errorf("%+v", im)
	}
	a, b := outputs(t, run, 5, 9, 200, 7), outputs(t, back, 5, 9, 200, 7)
	if !slices.Equal(a.Logits, b.Logits) || !slices.Equal(a.Hidden, b.Hidden) {
		t.Error("the imported model answers differently")
	}
	if other := outputs(t, back, 5, 9, 200, 8); !slices.Equal(a.Logits[:3*650], other.Logits[:3*650]) || slices.Equal(a.Logits[3*650:], other.Logits[3*650:]) {
		t.Error("a causal model looks ahead")
	}

	config, err := os.ReadFile(filepath.Join(folder, "tokenizer_config.json"))
	if err != nil {
		t.Fatal(err)
	}
	next, out := filepath.Join(dir, "next"), filepath.Join(dir, "out")
	adapted := tinyConfig(data, 2)
	adapted.Objective, adapted.Model, adapted.Train.Init = "clm", Default().Model, back
	n := new(notes)
	mustTrain(t, Options{Config: adapted, Out: next, Observe: n})
	if !n.has("the model section is that of " + back) {
		t.Errorf("notes: %q", n.lines)
	}
	mustExport(t, ExportOptions{From: next, Out: out})
	if got, err := os.ReadFile(filepath.Join(out, "tokenizer_config.json")); err != nil || string(got) != string(config) {
		t.Errorf("the companions are lost: %v", err)
	}

	if _, err := Import(vfs.OS{}, folder, back, 1); fault.Of(err) != fault.Usage {
		t.Errorf("import over a model: %v", err)
	}
	if _, err := Export(ExportOptions{From: run, Out: folder, FS: vfs.OS{}}); fault.Of(err) != fault.Usage {
		t.Errorf("export over a folder: %v", err)
	}
	if _, err := Export(ExportOptions{From: filepath.Join(dir, "absent"), Out: filepath.Join(dir, "x"), FS: vfs.OS{}}); fault.Of(err) != fault.Checkpoint {
		t.Errorf("export of nothing: %v", err)
	}
	m, err := OpenModel(back, "cpu", 1)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if _, err := m.Evaluate("", "", 0); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "--data") {
		t.Errorf("evaluation without data: %v", err)
	}
	if l, err := m.Evaluate(data, "", 500); err != nil || !(l.Loss > 0) {
		t.Errorf("%+v, %v", l, err)
	}
	for _, ids := range [][]int32{{}, make([]int32, 49), {650}, {-1}} {
		if _, err := m.Outputs(ids, false); fault.Of(err) != fault.Data {
			t.Errorf("%d ids: %v", len(ids), err)
		}
	}
}

// An encoder that an import gave a new head goes out without it, until it was trained.
func TestHeadsThatNobodyTrained(t *testing.T) {
	data, dir := dataset(t, 300), t.TempDir()
	run, folder, body, back, next := filepath.Join(dir, "run"), filepath.Join(dir, "folder"), filepath.Join(dir, "body"), filepath.Join(dir, "back"), filepath.Join(dir, "next")
	c := tinyConfig(data, 2)
	c.Model = model.Config{Preset: "bert-tiny", Layers: 1, Width: 32, Heads: 2, KVHeads: 2, FF: 64, Context: 48, Vocab: 600}
	mustTrain(t, Options{Config: c, Out: run})
	if e := mustExport(t, ExportOptions{From: run, Out: folder}); e.Architecture != "BertForMaskedLM" {
		t.Errorf("%+v", e)
	}
	if e := mustExport(t, ExportOptions{From: run, Out: body, Head: "none"}); e.Architecture != "BertModel" {
		t.Errorf("%+v", e)
	}
	im, err := Import(vfs.OS{}, body, back, 1)
	if err != nil || len(im.New) != 5 {
		t.Fatalf("%+v, %v", im, err)
	}
	if e := mustExport(t, ExportOptions{From: back, Out: filepath.Join(dir, "again")}); e.Architecture != "BertModel" {
		t.Errorf("%+v", e)
	}
	c = tinyConfig(data, 2)
	c.Model, c.Train.Init = Default().Model, back
	mustTrain(t, Options{Config: c, Out: next})
	if e := mustExport(t, ExportOptions{From: next, Out: filepath.Join(dir, "trained")}); e.Architecture != "BertForMaskedLM" {
		t.Errorf("%+v", e)
	}
	c.Train.Init = filepath.Join(dir, "absent")
	if err := Train(Options{Config: c, Out: filepath.Join(dir, "x")}); fault.Of(err) != fault.Checkpoint || !strings.Contains(err.Error(), "train.init") {
		t.Errorf("%v", err)
	}
}
