package bench

import (
	"context"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	_ "embed"

	"palimpsest/engine/fault"
)

//go:embed baselines/train.py
var baseline []byte

// CompareOptions say what Compare measures.
type CompareOptions struct {
	Cases    []CompareCase
	Variants []string      // of PyTorch: CompareVariants; nil: all that apply
	Python   string        // interpreter
	Device   string        // "cpu" or "cuda", of both sides
	Threads  int           // 0: all processors
	Rounds   int           // turns of every side
	Turn     time.Duration // least time of a turn of ours; the others take as many steps
	Version  string
	Progress func(string)                // told what is going on; may be nil
	Done     func(r CompareResult) error // takes every result as soon as it is there

	ours, theirs func() *exec.Cmd // tests: what to start in place of this program and of Python
}

// A variant is one way of running the PyTorch side.
type variant struct {
	name, variant, headRows string
	masked                  bool // for masked models alone: causal ones bear a loss on (nearly) all rows
	small                   bool // left out of models above largeModel, unless it is named
}

var variants = []variant{
	{"eager", "eager", "loss", false, true},
	{"sdpa", "sdpa", "loss", false, false},
	{"compile", "compile", "loss", false, false},
	{"sdpa-all-rows", "sdpa", "all", true, false},
}

// largeModel is the number of parameters above which attention written out costs minutes and was never ahead of sdpa.
const largeModel = 50e6

// CompareVariants names the ways of running PyTorch: attention written out; scaled_dot_product_attention; that under
// torch.compile; and, for masked models, with the head on all rows, as transformers runs it, where the others compute
// logits of the rows that bear a loss alone, as we do.
func CompareVariants() (names []string) {
	for _, v := range variants {
		names = append(names, v.name)
	}
	return names
}

// A CompareResult is one case: what was run, and how fast each side was.
type CompareResult struct {
	Conditions
	Case       string         `json:"case"`
	Objective  string         `json:"objective"`
	Precision  string         `json:"precision"`
	Python     string         `json:"python"` // library and its version
	Parameters int64          `json:"parameters"`
	Layers     int            `json:"layers"`
	Width      int            `json:"width"`
	Vocab      int            `json:"vocab"`
	Length     int            `json:"length"`
	Sequences  int            `json:"sequences"`
	LossRows   int            `json:"loss_rows"`
	Optimizer  setupOptimizer `json:"adamw"`
	Steps      int            `json:"steps_per_turn"`
	Others     *float64       `json:"other_programs_share,omitempty"` // of all processors' time during the rounds
	Sides      []CompareSide  `json:"sides"`                          // ours first
}

// A CompareSide is what one side did.
type CompareSide struct {
	Name       string  `json:"name"`
	TokensPerS Spread  `json:"tokens_per_s"` // by turns
	PeakMemory int64   `json:"peak_memory_bytes"`
	Products   float64 `json:"product_flops_per_s"`          // of a 1024-cubed product in that process
	Ratio      *Spread `json:"our_speed_over_its,omitempty"` // by rounds; above 1: we are faster
	LossFirst  float64 `json:"loss_first"`
	LossApart  float64 `json:"loss_apart"` // largest |difference| to ours over the first steps
}

// comparedLosses is over how many steps losses of the sides are compared; later ones drift apart by rounding alone.
const comparedLosses = 8

// busyShare is the share of other programs above which the report says that the machine was not quiet: PyTorch's threads
// wait for each other in loops, so that it loses more by them than we do.
const busyShare = 0.05

const oursName = "palimpsest"

// Compare runs every case on all sides in turn, each side in a process of its own that lives as long as the case, so that
// neither starting nor compiling is measured. All train the same weights on the same batch with the same AdamW. The
// order of the sides turns round from round to round; ratios are taken within rounds. The end of ctx ends the sides.
func Compare(ctx context.Context, o CompareOptions) error {
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Threads == 0 {
		o.Threads = runtime.GOMAXPROCS(0)
	}
	dir, err := os.MkdirTemp("", "palimpsest-compare-")
	if err != nil {
		return fault.Write.Wrap(err)
	}
	defer os.RemoveAll(dir)
	script := filepath.Join(dir, "train.py")
	if err := os.WriteFile(script, baseline, 0o600); err != nil {
		return fault.Write.Wrap(err)
	}
	if o.ours == nil {
		self, err := os.Executable()
		if err != nil {
			return err
		}
		o.ours = func() *exec.Cmd { return exec.Command(self, "bench", "compare", "--serve") }
		o.theirs = func() *exec.Cmd { return exec.Command(o.Python, "-u", script) }
	}
	for i, k := range o.Cases {
		o.Progress(fmt.Sprintf("%s (%d of %d)", k.Name, i+1, len(o.Cases)))
		r, err := o.compareCase(ctx, k, filepath.Join(dir, "weights.safetensors"))
		if ctx.Err() != nil {
			return fmt.Errorf("case %s: interrupted", k.Name)
		}
		if err != nil {
			return fmt.Errorf("case %s: %w", k.Name, err)
		}
		if err := o.Done(r); err != nil {
			return err
		}
	}
	return nil
}

// A contestant is a side while its case runs.
type contestant struct {
	*child
	products float64
	losses   []float64
	seconds  []float64 // by round
	peak     int64
}

// step trains n steps and returns the seconds that they took, by the clock of the parent.
func (c *contestant) step(n int) (float64, error) {
	started := time.Now()
	r, err := c.ask(request{Steps: n})
	seconds := time.Since(started).Seconds()
	if err != nil {
		return 0, err
	}
	if len(r.Losses) != n {
		return 0, fault.Device.Errorf("%s: %d losses of %d steps", c.name, len(r.Losses), n)
	}
	c.losses, c.peak = append(c.losses, r.Losses...), r.PeakMemory
	return seconds, nil
}

func (o *CompareOptions) compareCase(ctx context.Context, k CompareCase, weights string) (r CompareResult, err error) {
	s := setup{Device: o.Device, Threads: o.Threads, Weights: weights,
		Optimizer: setupOptimizer{LearningRate: 1e-4, Betas: [2]float64{0.9, 0.999}, Eps: 1e-8, WeightDecay: 0.01, Clip: 1}}
	if err := s.describe(k); err != nil {
		return r, err
	}
	var sides []*contestant
	defer func() {
		for _, c := range sides {
			if e := c.close(); err == nil && e != nil {
				err = fault.Device.Wrap(e)
			}
		}
	}()
	join := func(name string, cmd *exec.Cmd, s setup) (reply, error) {
		c, err := start(name, cmd)
		if err != nil {
			return reply{}, err
		}
		sides = append(sides, &contestant{child: c})
		context.AfterFunc(ctx, func() { c.cmd.Process.Kill() })
		r, err := c.ask(request{Setup: &s})
		sides[len(sides)-1].products = r.ProductRate
		return r, err
	}
	ours, err := join(oursName, o.ours(), s)
	if err != nil {
		return r, err
	}
	s.batch, s.Precision = ours.batch, ours.Precision
	r = CompareResult{Conditions: Conditions{time.Now().UTC().Format(time.RFC3339), o.Version, runtime.Version(), ours.Device, ours.Products, o.Threads},
		Case: k.Name, Objective: k.Objective, Precision: ours.Precision, Parameters: ours.Parameters, Layers: s.Layers, Width: s.Width, Vocab: s.Vocab, Length: k.Length,
		Sequences: k.Sequences, LossRows: len(ours.Rows), Optimizer: s.Optimizer}
	for _, v := range variants {
		if v.masked && s.Causal || o.Variants == nil && v.small && ours.Parameters > largeModel || o.Variants != nil && !slices.Contains(o.Variants, v.name) {
			continue
		}
		if s.Variant, s.HeadRows = v.variant, v.headRows; s.Causal {
			s.HeadRows = "all"
		}
		theirs, err := join(v.name, o.theirs(), s)
		if err != nil {
			return r, err
		}
		if r.Python = theirs.Library; theirs.Parameters != ours.Parameters {
			return r, fault.Device.Errorf("%s has %d parameters, we have %d", v.name, theirs.Parameters, ours.Parameters)
		}
	}
	if r.Steps, err = warmUp(sides, o.Turn); err != nil {
		return r, err
	}
	var processes []int
	for _, c := range sides {
		processes = append(processes, c.cmd.Process.Pid)
	}
	meter := newLoadMeter(processes...)
	for round := range o.Rounds {
		order := slices.Clone(sides)
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, c := range order {
			o.Progress(fmt.Sprintf("%s: round %d of %d, %s", k.Name, round+1, o.Rounds, c.name))
			seconds, err := c.step(r.Steps)
			if err != nil {
				return r, err
			}
			c.seconds = append(c.seconds, seconds)
		}
	}
	r.Others = meter.others()
	tokens := float64(k.Length * k.Sequences * r.Steps)
	for _, c := range sides {
		r.Sides = append(r.Sides, c.result(sides[0], tokens))
	}
	return r, nil
}

// warmUp runs two steps of every side, which touch all memory and compile, and returns how many make a turn of ours.
func warmUp(sides []*contestant, turn time.Duration) (steps int, err error) {
	for i, c := range sides {
		seconds := 0.0
		for range 2 {
			if seconds, err = c.step(1); err != nil {
				return 0, err
			}
		}
		if i == 0 {
			steps = max(1, int(math.Ceil(turn.Seconds()/seconds)))
		}
	}
	return steps, nil
}

func (c *contestant) result(ours *contestant, tokens float64) CompareSide {
	side := CompareSide{Name: c.name, PeakMemory: c.peak, Products: c.products, LossFirst: c.losses[0]}
	var speeds, ratios []float64
	for i, s := range c.seconds {
		speeds, ratios = append(speeds, tokens/s), append(ratios, s/ours.seconds[i])
	}
	side.TokensPerS = spread(speeds)
	if c == ours {
		return side
	}
	ratio := spread(ratios)
	side.Ratio = &ratio
	for i := range min(comparedLosses, len(c.losses), len(ours.losses)) {
		side.LossApart = max(side.LossApart, math.Abs(c.losses[i]-ours.losses[i]))
	}
	return side
}

// CheckVariants refuses names that are none of CompareVariants.
func CheckVariants(names []string) error {
	for _, n := range names {
		if !slices.Contains(CompareVariants(), n) {
			return fault.Usage.Errorf("--variants: there is no %q; want some of %s", n, strings.Join(CompareVariants(), ", "))
		}
	}
	return nil
}
