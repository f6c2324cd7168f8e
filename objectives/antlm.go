package objectives

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"palimpsest/kernels/philox"
)

// AntLM is the run file's section on the objective antlm, which mixes causal and masked language modelling.
type AntLM struct {
	Mix    map[string]float64 `yaml:"mix" min:"0" doc:"shares of clm, mlm and mntp; they are divided by their sum, so that {mntp: 15, clm: 1} is GPT-BERT's"`
	By     string             `yaml:"by" enum:"row,document,batch,step,device" doc:"what is of one kind: a row (a document, or the piece of one that fits), a micro-batch, or a whole step, in turns that keep the shares exactly; a document, by a draw in every epoch; device: the micro-batches of an update stand for GPT-BERT's devices, the first ones masked, the last ones causal"`
	Compat AntLMCompat        `yaml:"compat" doc:"behaviour of GPT-BERT's code that this program otherwise mends"`
}

// AntLMCompat switches on what GPT-BERT's code does otherwise in a mix.
type AntLMCompat struct {
	DeviceMean bool `yaml:"gptbert_device_mean" doc:"micro-batches, which stand for devices, are averaged each by itself, so that a label counts more in one that has few"`
	NoEOS      bool `yaml:"gptbert_no_eos" doc:"the end token is never a causal target, so that no end of text is learned"`
	Ties       bool `yaml:"gptbert_ties" doc:"the last masked unit is taken whole, though it exceeds mask.p; under mask.order: seldom all tokens whose score equals the last one's"`
}

// Modes lists what antlm can mix, in the order of its terms.
func Modes() []string { return []string{"clm", "mlm", "mntp"} }

// DefaultAntLM mixes both kinds evenly.
func DefaultAntLM() AntLM { return AntLM{Mix: map[string]float64{"clm": 1, "mlm": 1}, By: "row"} }

// Validate returns what is wrong, each message beginning with the key.
func (a AntLM) Validate() (problems []error) {
	if err := ValidateMix(a.Mix); err != nil {
		problems = append(problems, fmt.Errorf("mix: %w", err))
	}
	return problems
}

// ValidateMix reports what is wrong with shares of modes.
func ValidateMix(mix map[string]float64) error {
	sum := 0.0
	for _, name := range slices.Sorted(maps.Keys(mix)) {
		share := mix[name]
		if !slices.Contains(Modes(), name) {
			return fmt.Errorf("%s cannot be mixed; known: %s", name, strings.Join(Modes(), ", "))
		}
		if !(share >= 0) || math.IsInf(share, 0) {
			return fmt.Errorf("want shares of 0 or more, not %g for %s", share, name)
		}
		sum += share
	}
	if !(sum > 0) || math.IsInf(sum, 0) {
		return fmt.Errorf("want a share above 0 for at least one of %s: those given are all 0", strings.Join(Modes(), ", "))
	}
	return nil
}

// Parts lists the modes with a share, in the order of the terms.
func (a AntLM) Parts() (names []string) {
	for _, name := range Modes() {
		if a.Mix[name] > 0 {
			names = append(names, name)
		}
	}
	return names
}

// antLM trains one network with one head on causal and masked language modelling at once: AntLM (arXiv 2412.03275) alternates
// between them in phases, which are the run file's; this objective mixes them inside a step, as GPT-BERT does (arXiv 2410.24159).
//
// The loss of an update is the sum over modes of share times the mean over all its labelled positions of that mode, counted over
// all micro-batches (the reference code averages over devices instead, so that labels on a device with few of them weigh
// more). A mode without a labelled position in an update adds nothing, and its share is not given to the others; where a whole
// micro-batch or step is of one mode, the shares are those of the update's micro-batches. The z-loss is the mean over all
// labelled positions, whatever their mode; under compat.gptbert_device_mean it is weighed as the rest of its row, as there.
//
// By row, by batch and by step, turn r, counted over the whole run, belongs to the first mode when floor((r+1)*c) > floor(r*c)
// with c its share, and the turns that are left are dealt out among the others in the same way. By document a mode is drawn
// from (seed, epoch, document) instead: a plan does not depend on packing, nor on the order of the data.
type antLM struct {
	by     string
	alone  bool // each micro-batch's mean by itself
	seed   uint64
	parts  []mode
	shares []float64 // of the parts, 1 together
}

// A mode is a language-model objective that can be a part of antLM.
type mode interface {
	Objective
	Planes() []string
	lmTerm(p *Plan, name string) *Term
}

// modeSeed separates the draws of modes from those of masks.
const modeSeed = 1 << 63

func newAntLM(s Settings) (*antLM, error) {
	if err := ValidateMix(s.AntLM.Mix); err != nil {
		return nil, fmt.Errorf("objective antlm: mix: %w", err)
	}
	if !s.Held {
		s.compat = s.AntLM.Compat
	}
	if s.compat.DeviceMean && s.Loss.Reweigh.On() {
		return nil, fmt.Errorf("antlm.compat.gptbert_device_mean: rows are weighed by loss.reweigh.rule: %s already; hint: none", s.Loss.Reweigh.Rule)
	}
	a := &antLM{by: s.AntLM.By, seed: philox.Derive(s.Seed, modeSeed), alone: s.compat.DeviceMean}
	total := 0.0
	for _, name := range s.AntLM.Parts() {
		o, err := New(name, s)
		if err != nil {
			return nil, fmt.Errorf("objective antlm: %w", err)
		}
		a.parts, a.shares = append(a.parts, o.(mode)), append(a.shares, s.AntLM.Mix[name])
		total += s.AntLM.Mix[name]
	}
	for i := range a.shares {
		a.shares[i] /= total
	}
	return a, nil
}

func (a *antLM) Name() string   { return "antlm" }
func (a *antLM) Cost(n int) int { return n }

// Planes names what the modes read of the data set's planes.
func (a *antLM) Planes() (names []string) {
	for _, part := range a.parts {
		names = append(names, part.Planes()...)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// Begin empties the plan and declares the term of every mode with its share of the loss.
func (a *antLM) Begin(p *Plan) {
	p.Reset()
	for i, part := range a.parts {
		t := part.lmTerm(p, part.Name())
		t.Share, t.Alone, t.JointZ = a.share(i, p), a.alone, !a.alone
	}
}

// share is what a mode's mean loss counts in the update of the plan.
func (a *antLM) share(part int, p *Plan) float64 {
	n := int64(p.Batches)
	if a.by == "document" || a.by == "row" || n == 0 {
		return a.shares[part]
	}
	if a.by == "step" {
		n = 1
	}
	first, own := p.Batch/int64(p.Batches)*n, 0
	for r := first; r < first+n; r++ {
		if a.by == "device" && a.device(r-first, n) == part || a.by != "device" && a.turn(r) == part {
			own++
		}
	}
	return float64(own) / float64(n)
}

// Plan appends one document by the mode whose turn it is.
func (a *antLM) Plan(doc Document, p *Plan) {
	part := 0
	switch {
	case a.by == "document" || p.Batches == 0:
		d := draw(a.seed, philox.StreamMask, doc)
		part = a.pick(d.Float64())
	case a.by == "row":
		part = a.turn(p.FirstRow + int64(len(p.Segments)))
	case a.by == "step":
		part = a.turn(p.Batch / int64(p.Batches))
	case a.by == "device":
		part = a.device(p.Batch%int64(p.Batches), int64(p.Batches))
	default:
		part = a.turn(p.Batch)
	}
	a.parts[part].Plan(doc, p)
}

// pick returns the mode of a uniform number in [0,1).
func (a *antLM) pick(u float64) int {
	for i, share := range a.shares[:len(a.shares)-1] {
		if u -= share; u < 0 {
			return i
		}
	}
	return len(a.shares) - 1
}

// device returns the mode of micro-batch i of n, the last mode first: with 15 masked parts and a causal one, and n = 16, the
// first 15 are masked (GPT-BERT: rank * 16 < 15 * world).
func (a *antLM) device(i, n int64) int {
	const slack = 1e-9
	sum := 0.0
	for part := len(a.shares) - 1; part > 0; part-- {
		if sum += a.shares[part]; float64(i) < sum*float64(n)-slack {
			return part
		}
	}
	return 0
}

// turn returns the mode of turn r: of a row, a micro-batch or a step.
func (a *antLM) turn(r int64) int {
	const slack = 1e-9 // for shares such as 1/49, 49 of which are less than 1 in floating point
	left := 1.0
	for i, share := range a.shares[:len(a.shares)-1] {
		c := share / left
		before := int64(float64(r)*c + slack)
		if int64(float64(r+1)*c+slack) > before {
			return i
		}
		r -= before // turns of the others so far
		left -= share
	}
	return len(a.shares) - 1
}
