package hf

import (
	"cmp"
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/model"
	"palimpsest/engine/optim"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// Training against transformers and PyTorch on the CPU, in float32 on both sides, from cases that bench/hf/record_training.py
// made: the same weights, batches and settings of AdamW.
const (
	// A gradient may differ by this share of its tensor's largest element: sums of some hundred float32 products in another
	// order differ by a few units in the last place (6e-8), and they pass through every layer.
	gradientTolerance = 1e-5
	// A tensor's largest element counts as at least this share of the largest gradient of the whole model. It decides for
	// tensors whose gradient is zero but for rounding, such as the bias of keys, which softmax takes out.
	gradientFloor = 1e-2
	// Losses may differ by this share. The steps of Adam carry rounding on: where a gradient is near zero, its sign, and
	// with it the step, is decided by the last bit.
	lossTolerance = 1e-5
)

// A trainingCase is a folder of bench/hf/record_training.py.
type trainingCase struct {
	Variant string
	Seed    int64
	Causal  bool
	Steps   int
	Factors []float64
	Losses  []float64
	AdamW   struct {
		Rate  float64    `json:"learning_rate"`
		Betas [2]float64 `json:"betas"`
		Eps   float64    `json:"eps"`
		Decay float64    `json:"weight_decay"`
		Clip  float64    `json:"clip"`
	}
	dir  string
	data *checkpoint.Safetensors
}

// agreement is how far a case agrees; bench/hf/check.py reads it as JSON from the log.
type agreement struct {
	Variant  string    `json:"variant"`
	Device   string    `json:"device"`
	Seed     int64     `json:"seed"`
	Tensors  int       `json:"tensors"`
	Gradient float64   `json:"gradient"` // largest difference, in the unit of gradientTolerance
	Worst    string    `json:"worst"`    // its tensor
	Loss     float64   `json:"loss"`     // largest difference as a share
	Losses   []float64 `json:"losses"`
}

// TestRecordedTraining checks every parameter's gradient and the losses of ten steps. PALIMPSEST_HF_CASES names another folder
// of cases.
func TestRecordedTraining(t *testing.T) {
	root := cmp.Or(os.Getenv("PALIMPSEST_HF_CASES"), filepath.Join("testdata", "training"))
	folders, err := filepath.Glob(filepath.Join(root, "*", "case.json"))
	if err != nil || len(folders) == 0 {
		t.Fatalf("no cases in %s: %v", root, err)
	}
	for _, path := range folders {
		c := openCase(t, filepath.Dir(path))
		for _, device := range []string{"cpu", "ref32"} {
			t.Run(c.Variant+"/"+device, func(t *testing.T) {
				line, err := json.Marshal(c.check(t, device))
				if err != nil {
					t.Fatal(err)
				}
				t.Logf("agreement: %s", line)
			})
		}
	}
}

func openCase(t *testing.T, dir string) *trainingCase {
	t.Helper()
	c := &trainingCase{dir: dir}
	raw, err := os.ReadFile(filepath.Join(dir, "case.json"))
	if err == nil {
		err = json.Unmarshal(raw, c)
	}
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Losses) != c.Steps || len(c.Factors) != c.Steps || c.Steps == 0 {
		t.Fatalf("%s: %d steps, %d losses, %d factors", dir, c.Steps, len(c.Losses), len(c.Factors))
	}
	if c.data, err = checkpoint.OpenSafetensors(filepath.Join(dir, "case.safetensors")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.data.Close() })
	return c
}

// check imports the model, trains it and compares.
func (c *trainingCase) check(t *testing.T, device string) agreement {
	im, ours := imported(t, c.dir)
	if im.Causal != c.Causal || len(im.New) > 0 {
		t.Fatalf("causal %v, new %v", im.Causal, im.New)
	}
	b, err := kernels.Open(device, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	w := model.NewWeights(b, im.Model, true)
	for _, p := range w.Params {
		b.Upload(p.Master, readAll(t, ours, p.Name))
	}
	w.Publish(b)
	var plans []*objectives.Plan
	capacity := model.Capacity{}
	for step := range c.Steps {
		p := c.plan(t, im, step)
		capacity.Tokens, capacity.Rows = max(capacity.Tokens, len(p.Tokens)), max(capacity.Rows, p.Rows())
		plans = append(plans, p)
	}
	settings := optim.Default()
	settings.LearningRate, settings.Betas, settings.Eps, settings.WeightDecay, settings.Clip = c.AdamW.Rate, c.AdamW.Betas, c.AdamW.Eps, c.AdamW.Decay, c.AdamW.Clip
	a, o := model.NewActivations(b, im.Model, capacity, true), optim.New(b, settings, w)
	result := agreement{Variant: c.Variant, Device: device, Seed: c.Seed}
	for step, p := range plans {
		b.Zero(w.Grad)
		a.ResetResults()
		if err := a.Load(p, model.Step{Micro: uint32(step)}); err != nil {
			t.Fatal(err)
		}
		a.Forward(w)
		a.Loss(w, true)
		a.Backward(w)
		if step == 0 {
			c.compareGradients(t, c.gradients(t, im, b, w), &result)
		}
		o.Step(b, w, a.Guard(w), c.Factors[step])
		_, terms, err := a.Results([]string{p.Terms[0].Name})
		if err != nil {
			t.Fatal(err)
		}
		loss := terms[0].Loss / p.Terms[0].Den
		result.Losses = append(result.Losses, loss)
		off := math.Abs(loss-c.Losses[step]) / c.Losses[step]
		result.Loss = max(result.Loss, off)
		if !(off <= lossTolerance) {
			t.Errorf("step %d: the loss is %.7g, in PyTorch %.7g: %.1e of it, allowed %.0e", step, loss, c.Losses[step], off, lossTolerance)
		}
	}
	return result
}

// plan is a batch as the engine sees it: rows of different lengths end to end, each a segment.
func (c *trainingCase) plan(t *testing.T, im *Import, step int) *objectives.Plan {
	t.Helper()
	ints := func(name string) (values []int32) {
		name += "." + string(rune('0'+step))
		info, ok := c.data.Info(name)
		if !ok {
			t.Fatalf("%s: no tensor %s", c.dir, name)
		}
		wide := make([]int64, info.Len())
		if err := c.data.ReadInt64(name, wide); err != nil {
			t.Fatal(err)
		}
		for _, v := range wide {
			values = append(values, int32(v))
		}
		return values
	}
	mask := kernels.Bidirectional
	if c.Causal {
		mask = kernels.Causal
	}
	p := &objectives.Plan{Tokens: ints("tokens")}
	p.OriginalTokens = p.Tokens
	term := objectives.Term{Name: "lm", Kind: objectives.CrossEntropy, Head: objectives.HeadLM, Share: 1, Rows: ints("rows"), Targets: ints("targets"), Offsets: []int32{0}}
	end := int32(0)
	for _, n := range ints("lengths") {
		p.Segments = append(p.Segments, kernels.Segment{Start: end, End: end + n, Mask: mask})
		for i := range n {
			p.Pos = append(p.Pos, i, 0)
		}
		end += n
		before, _ := slices.BinarySearch(term.Rows, end)
		term.Offsets = append(term.Offsets, int32(before))
	}
	p.Terms = []objectives.Term{term}
	objectives.SetDenominators([]*objectives.Plan{p})
	if err := p.Check(int(im.Model.Vocab), im.Model.Context); err != nil {
		t.Fatal(err)
	}
	return p
}

// gradients are ours under Hugging Face's names and in its shapes: exported as if they were the parameters.
func (c *trainingCase) gradients(t *testing.T, im *Import, b kernels.Backend, w *model.Weights) map[string][]float32 {
	t.Helper()
	var tensors []checkpoint.Tensor
	for _, p := range w.Params {
		values := make([]float32, p.Len())
		b.Download(values, p.Grad)
		tensors = append(tensors, checkpoint.Tensor{Name: p.Name, DType: checkpoint.F32, Shape: p.Shape, Data: values})
	}
	if err := b.Sync(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "gradients.safetensors")
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := checkpoint.WriteSafetensors(file, tensors, nil); err != nil {
		t.Fatal(err)
	}
	ours, err := checkpoint.OpenSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	defer ours.Close()
	dir, _ := exported(t, options(im, ours))
	folder, _, err := openWeights(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer folder.close()
	list := map[string][]float32{}
	for _, name := range folder.names() {
		list[name] = readAll(t, folder.where[name], name)
	}
	return list
}

// compareGradients wants the same names on both sides and every element within the tolerances.
func (c *trainingCase) compareGradients(t *testing.T, ours map[string][]float32, result *agreement) {
	t.Helper()
	theirs := map[string][]float32{}
	for _, name := range c.data.Names() {
		if bare, ok := strings.CutPrefix(name, "gradient."); ok {
			theirs[bare] = readAll(t, c.data, name)
		}
	}
	names := slices.Sorted(maps.Keys(theirs))
	if have := slices.Sorted(maps.Keys(ours)); !slices.Equal(have, names) {
		t.Fatalf("gradients of %v, want %v", have, names)
	}
	largest := 0.0
	for _, name := range names {
		largest = max(largest, maxAbs(theirs[name]))
	}
	for _, name := range names {
		if len(ours[name]) != len(theirs[name]) {
			t.Fatalf("%s has %d elements, want %d", name, len(ours[name]), len(theirs[name]))
		}
		off, at := 0.0, 0
		for i, v := range theirs[name] {
			if d := math.Abs(float64(v) - float64(ours[name][i])); !(d <= off) {
				off, at = d, i
			}
		}
		off /= max(maxAbs(theirs[name]), gradientFloor*largest)
		if off > result.Gradient {
			result.Gradient, result.Worst = off, name
		}
		if !(off <= gradientTolerance) {
			t.Errorf("gradient of %s: element %d is %g, in PyTorch %g: off by %.1e of the tensor's largest, allowed %.0e",
				name, at, ours[name][at], theirs[name][at], off, gradientTolerance)
		}
	}
	result.Tensors = len(names)
}

func maxAbs(values []float32) (m float64) {
	for _, v := range values {
		m = max(m, math.Abs(float64(v)))
	}
	return m
}
