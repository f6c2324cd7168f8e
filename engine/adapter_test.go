package engine

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/report"
	"palimpsest/engine/vfs"
	"palimpsest/objectives"
)

// adaptable trains a small model and returns a configuration that adapts it.
func adaptable(t *testing.T, change func(*Config)) (base string, adapted Config) {
	t.Helper()
	data := dataset(t, 300)
	c := tinyConfig(data, 4)
	c.Objective, c.Model = "clm", model.Config{Preset: "gpt2", Layers: 2, Width: 32, Heads: 2, KVHeads: 2, FF: 64, Context: 48, Vocab: 650}
	if change != nil {
		change(&c)
	}
	base = filepath.Join(t.TempDir(), "base")
	mustTrain(t, Options{Config: c, Out: base})
	adapted = c
	adapted.Model, adapted.Train.Init, adapted.Train.Steps = Default().Model, base, 6
	adapted.Adapter.Rank, adapted.Adapter.Targets = 4, model.Config{}.AdapterTargets()
	return base, adapted
}

// newestTensors opens a file of a run's newest checkpoint.
func newestTensors(t *testing.T, run, file string) *checkpoint.Safetensors {
	t.Helper()
	c, _, err := checkpoint.Latest(vfs.OS{}, filepath.Join(run, "checkpoints"))
	if err != nil || c == nil {
		t.Fatalf("%s: %v", run, err)
	}
	s, err := c.Tensors(file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func tensorOf(t *testing.T, s *checkpoint.Safetensors, name string) []float32 {
	t.Helper()
	info, ok := s.Info(name)
	if !ok {
		t.Fatalf("there is no tensor %s", name)
	}
	values := make([]float32, info.Len())
	if err := s.ReadFloat32(name, values); err != nil {
		t.Fatal(err)
	}
	return values
}

// A run with adapters begins with the loss of the base, leaves every bit of it, keeps moments and averages of what it trains
// only, and goes on after a stop to the same bits.
func TestAdapterRun(t *testing.T) {
	base, c := adaptable(t, nil)
	c.EMA.Decay, c.Log.NormsEvery, c.Adapter.Dropout = 0.8, 2, 0.1
	full := c
	full.Adapter.Rank, full.EMA.Decay, full.Log.NormsEvery = 0, 0, 0
	straight, parts, all := filepath.Join(t.TempDir(), "straight"), filepath.Join(t.TempDir(), "parts"), filepath.Join(t.TempDir(), "all")
	n := new(notes)
	mustTrain(t, Options{Config: c, Out: straight, Observe: n})
	if !n.has("adapters of rank 4, scaled by 4, on attention.qkv, attention.proj, mlp.up, mlp.down: ") {
		t.Errorf("notes: %q", n.lines)
	}
	full.StopAfter = 1
	if err := Train(Options{Config: full, Out: all}); fault.Of(err) != fault.Preempted {
		t.Fatal(err)
	}
	loss := func(run string) float64 {
		log, err := report.ReadLog(filepath.Join(run, LogFile))
		if err != nil {
			t.Fatal(err)
		}
		return log.Steps[0].Loss
	}
	if a, b := loss(straight), loss(all); a != b {
		t.Errorf("the first loss is %v, of the base %v", a, b)
	}

	for i, stop := range []int64{2, 3} {
		c.StopAfter, c.Train.Recompute = stop, []string{"none", "layer"}[i]
		if err := Train(Options{Config: c, Out: parts}); fault.Of(err) != fault.Preempted {
			t.Fatalf("stop_after %d: %v", stop, err)
		}
	}
	c.StopAfter = 0
	mustTrain(t, Options{Config: c, Out: parts})
	if a, b := fingerprint(t, straight), fingerprint(t, parts); a != b {
		t.Errorf("straight\n%s\nresumed\n%s", a, b)
	}

	was, is := newestTensors(t, base, modelFile), newestTensors(t, straight, modelFile)
	moments, average := newestTensors(t, straight, optimizerFile), newestTensors(t, straight, averageFile)
	adapters := 0
	for _, name := range is.Names() {
		_, averaged := average.Info(name)
		_, first := moments.Info("m." + name)
		_, second := moments.Info("v." + name)
		if trained := model.IsAdapter(name); averaged != trained || first != trained || second != trained {
			t.Errorf("%s: averaged %v, moments %v %v", name, averaged, first, second)
		}
		if !model.IsAdapter(name) {
			if !slices.Equal(tensorOf(t, was, name), tensorOf(t, is, name)) {
				t.Errorf("%s is frozen and changed", name)
			}
			continue
		}
		adapters++
		if values := tensorOf(t, is, name); !slices.ContainsFunc(values, func(v float32) bool { return v != 0 }) {
			t.Errorf("%s was not trained", name)
		}
	}
	if adapters != 2*2*4 || len(is.Names()) != len(was.Names())+adapters {
		t.Errorf("%d tensors of adapters", adapters)
	}

	log, err := report.ReadLog(filepath.Join(straight, LogFile))
	if err != nil {
		t.Fatal(err)
	}
	best := slices.MinFunc(log.Evals, func(a, b report.Eval) int { return int(math.Copysign(1, a.Loss-b.Loss)) })
	m, err := OpenModel(straight, "cpu", 2)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	again, err := m.Evaluate("", "", m.Config.Eval.Tokens)
	if err != nil {
		t.Fatal(err)
	}
	if again.Loss != best.Loss {
		t.Errorf("the opened model has loss %v, training said %v", again.Loss, best.Loss)
	}
	norms := extraLines(t, straight)
	var line normsLine
	if err := json.Unmarshal([]byte(norms[len(norms)-1]), &line); err != nil {
		t.Fatal(err)
	}
	for _, l := range line.Layers {
		if l.Layer == "layers.1" && !(l.Grad > 0 && l.Weight > 0) || l.Layer == "embed" && !(l.Grad == 0 && l.Weight > 0) {
			t.Errorf("%+v", l)
		}
	}
}

// What is exported merged, and what a run begins with, answers as the model with its adapters does.
func TestAdaptersMerge(t *testing.T) {
	_, own := adaptable(t, nil)
	for _, scaling := range []string{"standard", "rank_stabilized"} {
		c := own
		c.Adapter.Scaling, c.Optimizer.LearningRate, c.Eval.Every = scaling, 2e-2, 0
		dir := t.TempDir()
		run, folder, back, next := filepath.Join(dir, "run"), filepath.Join(dir, "folder"), filepath.Join(dir, "back"), filepath.Join(dir, "next")
		mustTrain(t, Options{Config: c, Out: run})
		if e := mustExport(t, ExportOptions{From: run, Out: folder}); !slices.Contains(e.Notes, "the adapters are merged into the weights") {
			t.Errorf("%+v", e)
		}
		if _, err := Import(vfs.OS{}, folder, back, 1); err != nil {
			t.Fatal(err)
		}
		c.Adapter, c.Train.Init, c.Train.Steps, c.Optimizer.LearningRate = model.DefaultAdapter(), run, 1, 1e-12
		n := new(notes)
		mustTrain(t, Options{Config: c, Out: next, Observe: n})
		if !n.has("with its adapters merged into them") {
			t.Errorf("notes: %q", n.lines)
		}
		want := outputs(t, run, 5, 9, 200, 7)
		for _, model := range []string{back, next} {
			got, worst := outputs(t, model, 5, 9, 200, 7), 0.0
			for i := range want.Logits {
				worst = max(worst, math.Abs(float64(got.Logits[i]-want.Logits[i])))
			}
			if worst > 1e-5 {
				t.Errorf("%s: a logit is %g off", model, worst)
			}
		}
	}
}

// Classification heads are trained beside the adapters, unless they are to stay.
func TestAdapterHeads(t *testing.T) {
	data := labelledDataset(t, 200)
	c := tinyConfig(data, 3)
	c.Model.Vocab = 600
	base := filepath.Join(t.TempDir(), "base")
	mustTrain(t, Options{Config: c, Out: base})
	c.Objective, c.Train.Init, c.Adapter.Rank = "classify", base, 2
	c.Model = Default().Model
	c.Model.Classifiers = []objectives.Head{{Name: "label", Kind: "sequence", Classes: 3}}
	c.Adapter.Heads = false
	_, err := DryRun(Options{Config: c})
	wantFault(t, "a head that stays as it is drawn", err, fault.Usage, "head.cls.label", "adapter.heads")
	c.Adapter.Heads = true
	run, again := filepath.Join(t.TempDir(), "run"), filepath.Join(t.TempDir(), "again")
	mustTrain(t, Options{Config: c, Out: run})
	head := "head.cls.label.weight"
	moments := newestTensors(t, run, optimizerFile)
	if _, ok := moments.Info("m." + head); !ok {
		t.Error("the head is not trained")
	}
	c.Train.Init, c.Adapter.Heads, c.Model = run, false, Default().Model
	mustTrain(t, Options{Config: c, Out: again})
	c.Adapter.Heads = true
	if a, b := tensorOf(t, newestTensors(t, run, modelFile), head), tensorOf(t, newestTensors(t, again, modelFile), head); !slices.Equal(a, b) {
		t.Error("a head that was to stay was trained")
	}
}

// A language model's head that an import made up is not left as it was drawn.
func TestAdaptersOnAHeadThatNobodyTrained(t *testing.T) {
	base, c := adaptable(t, func(c *Config) {
		c.Objective, c.Train.Steps = "mlm", 1
		c.Model = model.Config{Preset: "bert-tiny", Layers: 1, Width: 32, Heads: 2, KVHeads: 2, FF: 64, Context: 48, Vocab: 600}
	})
	dir := t.TempDir()
	body, back := filepath.Join(dir, "body"), filepath.Join(dir, "back")
	mustExport(t, ExportOptions{From: base, Out: body, Head: "none"})
	if _, err := Import(vfs.OS{}, body, back, 1); err != nil {
		t.Fatal(err)
	}
	c.Train.Init = back
	_, err := DryRun(Options{Config: c})
	wantFault(t, "a new head", err, fault.Usage, "head.lm.transform.weight", "adapter.rank: 0")
	wantFault(t, "a new head", Train(Options{Config: c, Out: filepath.Join(dir, "run")}), fault.Usage, "head.lm.transform.weight")
}

func TestAdapterBadInput(t *testing.T) {
	_, c := adaptable(t, nil)
	c.StopAfter = 2
	run := filepath.Join(t.TempDir(), "run")
	if err := Train(Options{Config: c, Out: run}); fault.Of(err) != fault.Preempted {
		t.Fatal(err)
	}
	c.StopAfter = 0
	another := func(change func(*Config)) Config {
		c := c
		change(&c)
		return c
	}
	_, wide := adaptable(t, func(c *Config) { c.Model.Width, c.Train.Steps = 48, 1 })
	for _, x := range []struct {
		name  string
		c     Config
		out   string
		parts []string
	}{
		{"rank", another(func(c *Config) { c.Adapter.Rank = 33 }), "x", []string{"adapter.rank: 33", "attention.qkv", "[96,32]", "at most 32"}},
		{"another rank", another(func(c *Config) { c.Adapter.Rank = 2 }), run, []string{"another run", "adapter.rank: was 4, is 2"}},
		{"another scaling", another(func(c *Config) { c.Adapter.Alpha = 2 }), run, []string{"adapter.alpha: was 16.0, is 2.0"}},
		{"no adapters", another(func(c *Config) { c.Adapter.Rank = 0 }), run, []string{"adapter.rank: was 4, is 0"}},
		{"another base", another(func(c *Config) { c.Train.Init = wide.Train.Init }), run, []string{"train.init: was "}},
	} {
		out := x.out
		if out == "x" {
			out = filepath.Join(t.TempDir(), "x")
		}
		wantFault(t, x.name, Train(Options{Config: x.c, Out: out}), fault.Usage, x.parts...)
	}
	own := another(func(c *Config) {
		c.Model = model.Config{Preset: "gpt2", Layers: 2, Width: 32, Heads: 2, KVHeads: 2, FF: 64, Context: 48, Vocab: 650}
		c.Train.Init = wide.Train.Init
	})
	wantFault(t, "a base of other sizes", Train(Options{Config: own, Out: filepath.Join(t.TempDir(), "y")}), fault.Checkpoint, "embed.tokens.weight", "shape [650 48]")
	for parts, change := range map[string]func(*Config){
		"adapter.rank train.init":       func(c *Config) { c.Train.Init = "" },
		"adapter.rank -1":               func(c *Config) { c.Adapter.Rank = -1 },
		`adapter.targets "attention.q"`: func(c *Config) { c.Adapter.Targets = []string{"attention.q"} },
		"adapter.targets nothing":       func(c *Config) { c.Adapter.Targets = nil },
		"adapter.targets twice":         func(c *Config) { c.Adapter.Targets = []string{"mlp.up", "mlp.up"} },
		"adapter.alpha number":          func(c *Config) { c.Adapter.Alpha = math.NaN() },
	} {
		c := another(change)
		problems := fmt.Sprint(c.Validate())
		for part := range strings.FieldsSeq(parts) {
			if !strings.Contains(problems, part) {
				t.Errorf("%s is not in: %s", part, problems)
			}
		}
	}
	c = another(func(c *Config) { c.Adapter.Rank, c.Adapter.Alpha = 0, 8 })
	if !slices.Contains(c.unused(), "adapter") {
		t.Error("a section without adapters counts as used")
	}
}

// The dry run says what is trained, and how large memory and checkpoints get.
func TestAdapterDryRun(t *testing.T) {
	_, c := adaptable(t, nil)
	c.EMA.Decay = 0.9
	p, err := DryRun(Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	trained := int64(4 * 2 * (32 + 96 + 32 + 32 + 32 + 64 + 64 + 32))
	if p.Trained != trained || p.Memory.Weights != 4*p.Parameters+16*trained || !strings.Contains(p.Config, "rank: 4") {
		t.Errorf("%d of %d parameters, %d bytes", p.Trained, p.Parameters, p.Memory.Weights)
	}
	run := filepath.Join(t.TempDir(), "run")
	mustTrain(t, Options{Config: c, Out: run})
	var bytes int64
	files, err := filepath.Glob(filepath.Join(run, "checkpoints", "step-0000006", "*.safetensors"))
	if err != nil || len(files) != 3 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		info, err := os.Stat(f)
		if err != nil {
			t.Fatal(err)
		}
		bytes += info.Size()
	}
	if headers := bytes - p.Checkpoint; headers < 0 || headers > 20<<10 {
		t.Errorf("%d bytes of tensors, predicted %d", bytes, p.Checkpoint)
	}
}
