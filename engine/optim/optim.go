// Package optim updates parameters: AdamW with its schedule of learning rates. The arithmetic is kernels.AdamW; this
// package decides the numbers of each update.
package optim

import (
	"fmt"
	"math"

	"palimpsest/engine/model"
	"palimpsest/kernels"
)

// Config is the run file's section on the optimiser.
type Config struct {
	Kind         string     `yaml:"kind" enum:"adamw" doc:"optimiser"`
	LearningRate float64    `yaml:"learning_rate" min:"0" doc:"peak learning rate"`
	WeightDecay  float64    `yaml:"weight_decay" min:"0" doc:"decoupled decay of matrices and embeddings; norms and biases have none"`
	Betas        [2]float64 `yaml:"betas" doc:"decay rates of the two moments"`
	Eps          float64    `yaml:"eps" min:"0" doc:"added to the root of the second moment"`
	Clip         float64    `yaml:"clip" min:"0" doc:"largest global gradient norm; 0 means no limit"`
}

// Default is the configuration of a run file that says nothing.
func Default() Config {
	return Config{Kind: "adamw", LearningRate: 1e-3, WeightDecay: 0.1, Betas: [2]float64{0.9, 0.98}, Eps: 1e-8, Clip: 1}
}

// Validate returns what is wrong, each message beginning with the key.
func (c Config) Validate() (problems []error) {
	if !(c.LearningRate > 0) || math.IsInf(c.LearningRate, 0) {
		problems = append(problems, fmt.Errorf("learning_rate: want a number above 0, not %g", c.LearningRate))
	}
	for _, beta := range c.Betas {
		if !(beta >= 0 && beta < 1) {
			problems = append(problems, fmt.Errorf("betas: want numbers in [0,1), not %g", beta))
		}
	}
	if !(c.Eps > 0) {
		problems = append(problems, fmt.Errorf("eps: want a number above 0, not %g", c.Eps))
	}
	return problems
}

// AdamW holds the two moments of all parameters, laid out like model.Weights.
type AdamW struct {
	Config  Config
	M, V    kernels.Buf
	Updates int64 // applied so far, for the bias correction
}

// New allocates zero moments.
func New(b kernels.Backend, c Config, w *model.Weights) *AdamW {
	master := b.Info().Master
	return &AdamW{Config: c, M: b.Alloc(master, w.Master.Len()), V: b.Alloc(master, w.Master.Len())}
}

// Moment returns the part of a moment buffer that belongs to parameter p of w.
func Moment(moments kernels.Buf, w *model.Weights, p *model.Param) kernels.Buf {
	from := p.Offset
	return moments.Slice(from, from+p.Len())
}

// Step applies one update at the given learning rate, unless the guard holds a number that is not finite: then
// nothing changes, and the caller, who sees the same numbers later, calls Skip.
func (o *AdamW) Step(b kernels.Backend, w *model.Weights, guard kernels.Buf, rate float64) {
	o.Updates++
	beta1, beta2 := o.Config.Betas[0], o.Config.Betas[1]
	for _, part := range []struct {
		from, to int
		decay    float64
	}{{0, w.DecayLen, o.Config.WeightDecay}, {w.DecayLen, w.Master.Len(), 0}} {
		a := kernels.AdamW{
			P: w.Master.Slice(part.from, part.to), G: w.Grad.Slice(part.from, part.to),
			M: o.M.Slice(part.from, part.to), V: o.V.Slice(part.from, part.to), Guard: guard,
			LR: rate, B1: beta1, B2: beta2, Eps: o.Config.Eps, Decay: part.decay,
			Correction1: 1 - math.Pow(beta1, float64(o.Updates)), Correction2: 1 - math.Pow(beta2, float64(o.Updates)),
			GradScale: 1, Clip: o.Config.Clip,
		}
		if w.Compute != w.Master {
			a.Copy = w.Compute.Slice(part.from, part.to)
		}
		b.AdamW(a)
	}
}

// Skip takes back the count of an update that the guard refused.
func (o *AdamW) Skip() { o.Updates-- }
