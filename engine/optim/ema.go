package optim

import (
	"palimpsest/engine/model"
	"palimpsest/kernels"
)

// EMAConfig is the run file's section on the moving average of the weights.
type EMAConfig struct {
	Decay  float64 `yaml:"decay" min:"0" max:"<1" doc:"share of the old average that each update keeps; 0: no average. With an average, evaluations and everything that opens the run's checkpoints use it"`
	Warmup bool    `yaml:"warmup" doc:"keep at most (1 + t)/(10 + t) at update t, so that a short run forgets its initial weights"`
}

// DefaultEMA keeps no average.
func DefaultEMA() EMAConfig { return EMAConfig{Warmup: true} }

// EMA is an exponential moving average of the weights. It begins as the initial weights; update t = 1, 2, ... makes it
//
//	E = d*E + (1 - d)*P,  d = Decay, or with Warmup min(Decay, (1 + t)/(10 + t))
//
// of the parameters P after the update. Updates that the guard refuses leave it as it is and do not count.
type EMA struct {
	Config  EMAConfig
	Weights *model.Weights // the average; what adapters freeze it shares with the model
}

// NewEMA allocates the average of a model, or returns nil where none is asked for.
func NewEMA(b kernels.Backend, c EMAConfig, w *model.Weights) *EMA {
	if c.Decay == 0 {
		return nil
	}
	return &EMA{c, w.Fork(b)}
}

// Begin sets the average to the weights.
func (e *EMA) Begin(b kernels.Backend, w *model.Weights) {
	b.Copy(e.Weights.Master, w.Master)
	e.Weights.Publish(b)
}

// Update follows update number t of w.
func (e *EMA) Update(b kernels.Backend, w *model.Weights, guard kernels.Buf, t int64) {
	d := e.Config.Decay
	if e.Config.Warmup {
		d = min(d, float64(1+t)/float64(10+t))
	}
	average := e.Weights.Master
	b.Combine(kernels.Combine{Dst: average, X: average, Y: w.Master, Copy: copyOf(e.Weights, 0, average.Len()), Guard: guard, A: d, B: 1 - d})
}
