// Package optim updates parameters: AdamW, LAMB and Muon, the schedule of learning rates, and a moving average of the
// weights. The arithmetic is that of package kernels; this package decides the numbers of each update.
package optim

import (
	"fmt"
	"math"

	"palimpsest/engine/model"
	"palimpsest/kernels"
)

// Config is the run file's section on the optimiser.
type Config struct {
	Kind         string     `yaml:"kind" enum:"adamw,lamb,muon" doc:"optimiser: AdamW; LAMB, which scales the step of every matrix by its norm; Muon for the matrices of the blocks with AdamW for all else"`
	LearningRate float64    `yaml:"learning_rate" min:"0" doc:"peak learning rate"`
	WeightDecay  float64    `yaml:"weight_decay" min:"0" doc:"decoupled decay of matrices and embeddings; norms and biases have none"`
	Betas        [2]float64 `yaml:"betas" doc:"decay rates of the two moments"`
	Eps          float64    `yaml:"eps" min:"0" doc:"added to the root of the second moment"`
	Clip         float64    `yaml:"clip" min:"0" doc:"largest global gradient norm; 0 means no limit"`
	Reset        bool       `yaml:"reset" doc:"an ablation: the moments begin anew, at zero, with every phase; false: they go on"`
	LayerDecay   float64    `yaml:"layer_decay" min:">0" max:"1" doc:"factor from the rate of each block to that of the block below it; heads have the full rate, embeddings the lowest"`
	Muon         Muon       `yaml:"muon" doc:"for kind: muon"`
}

// Muon is the run file's section on Muon.
type Muon struct {
	LearningRate float64 `yaml:"learning_rate" min:">0" doc:"peak rate of the matrices of the blocks, on the same schedule"`
	Momentum     float64 `yaml:"momentum" min:"0" max:"<1" doc:"decay of the moment"`
	Nesterov     bool    `yaml:"nesterov" doc:"step along gradient + momentum * moment instead of the moment"`
	Steps        int     `yaml:"steps" min:"1" max:"20" doc:"Newton-Schulz iterations that orthogonalise a step"`
}

// Default is the configuration of a run file that says nothing.
func Default() Config {
	return Config{Kind: "adamw", LearningRate: 1e-3, WeightDecay: 0.1, Betas: [2]float64{0.9, 0.98}, Eps: 1e-8, Clip: 1,
		LayerDecay: 1, Muon: Muon{LearningRate: 0.02, Momentum: 0.95, Nesterov: true, Steps: 5}}
}

// Validate returns what is wrong, each message beginning with the key.
func (c Config) Validate() (problems []error) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if !(c.LearningRate > 0) || math.IsInf(c.LearningRate, 0) {
		bad("learning_rate: want a number above 0, not %g", c.LearningRate)
	}
	for _, beta := range c.Betas {
		if !(beta >= 0 && beta < 1) {
			bad("betas: want numbers in [0,1), not %g", beta)
		}
	}
	if !(c.Eps > 0) {
		bad("eps: want a number above 0, not %g", c.Eps)
	}
	if c.Kind == "muon" && math.IsInf(c.Muon.LearningRate, 0) {
		bad("muon.learning_rate: want a finite number")
	}
	return problems
}

// Optimizer holds the moments of all parameters that are trained. M is laid out like model.Weights; V has the parts that need a second
// moment, one behind the other.
type Optimizer struct {
	Config  Config
	M, V    kernels.Buf
	Updates int64 // applied so far
	Anew    int64 // of them before the last Reset: the bias correction counts from there

	parts   []part
	update  kernels.Buf    // LAMB, Muon: the step of one part
	squares kernels.Buf    // Muon: float64, the sum of squares of a step
	product [3]kernels.Buf // Muon: two Gram matrices and a step
}

// New allocates zero moments.
func New(b kernels.Backend, c Config, w *model.Weights) *Optimizer {
	master := b.Info().Master
	o := &Optimizer{Config: c, parts: partsOf(c, w), M: b.Alloc(master, w.TrainLen)}
	second, largest, side, step := 0, 0, 0, 0
	for i := range o.parts {
		p := &o.parts[i]
		largest = max(largest, p.to-p.from)
		if p.matrices == nil {
			p.second = second
			second += (p.to - p.from + alignment - 1) / alignment * alignment
		}
		for _, m := range p.matrices {
			side, step = max(side, min(m.rows, m.cols)), max(step, m.rows*m.cols)
		}
	}
	o.V = b.Alloc(master, second)
	if c.Kind != "adamw" {
		o.update = b.Alloc(master, largest)
	}
	if side > 0 {
		o.squares = b.Alloc(kernels.F64, 1)
		o.product = [3]kernels.Buf{b.Alloc(master, side*side), b.Alloc(master, side*side), b.Alloc(master, step)}
	}
	return o
}

// alignment of parts of V, in elements: 64 bytes of float32.
const alignment = 16

// A Moment is the part of a moment that belongs to one parameter: what a checkpoint keeps under Prefix + the parameter's name.
type Moment struct {
	Prefix string
	Param  *model.Param
	Buf    kernels.Buf
}

// State lists the moments of all parameters that are trained, always in the same order.
func (o *Optimizer) State() (list []Moment) {
	for _, p := range o.parts {
		for _, q := range p.params {
			list = append(list, Moment{"m.", q, Of(o.M, q)})
			if p.matrices == nil {
				from := p.second + q.Offset - p.from
				list = append(list, Moment{"v.", q, o.V.Slice(from, from+q.Len())})
			}
		}
	}
	return list
}

// Of returns the part of a flat buffer, laid out like model.Weights, that belongs to a parameter.
func Of(flat kernels.Buf, p *model.Param) kernels.Buf { return flat.Slice(p.Offset, p.Offset+p.Len()) }

// Rate is the learning rate that logs show, at a share of the peak.
func (o *Optimizer) Rate(factor float64) float64 { return o.Config.LearningRate * factor }

// Step applies one update at a share of the peak rate, unless the guard holds a number that is not finite: then
// nothing changes, and the caller, who sees the same numbers later, calls Skip.
func (o *Optimizer) Step(b kernels.Backend, w *model.Weights, guard kernels.Buf, factor float64) {
	o.Updates++
	c, t := o.Config, float64(o.Updates-o.Anew)
	for _, p := range o.parts {
		if p.matrices != nil {
			o.muon(b, w, guard, p, c.Muon.LearningRate*factor*p.scale)
			continue
		}
		size := p.to - p.from
		a := kernels.AdamW{
			P: w.Master.Slice(p.from, p.to), G: w.Grad.Slice(p.from, p.to),
			M: o.M.Slice(p.from, p.to), V: o.V.Slice(p.second, p.second+size), Guard: guard,
			LR: o.Rate(factor) * p.scale, B1: c.Betas[0], B2: c.Betas[1], Eps: c.Eps, Decay: p.decay,
			Correction1: 1 - math.Pow(c.Betas[0], t), Correction2: 1 - math.Pow(c.Betas[1], t),
			GradScale: 1, Clip: c.Clip, Copy: copyOf(w, p.from, p.to),
		}
		if c.Kind == "lamb" {
			b.LAMB(kernels.LAMB{AdamW: a, Update: o.update.Slice(0, size)})
		} else {
			b.AdamW(a)
		}
	}
}

// copyOf is the part of the weights that products read, where it is apart from the master.
func copyOf(w *model.Weights, from, to int) kernels.Buf {
	if w.Compute == w.Master {
		return kernels.Buf{}
	}
	return w.Compute.Slice(from, to)
}

// Reset sets the moments to zero, as before the first update.
func (o *Optimizer) Reset(b kernels.Backend) {
	b.Zero(o.M)
	b.Zero(o.V)
	o.Anew = o.Updates
}

// Skip takes back the count of an update that the guard refused.
func (o *Optimizer) Skip() { o.Updates-- }
