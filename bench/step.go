package bench

import (
	"palimpsest/engine/model"
	"palimpsest/engine/optim"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// A stepper runs whole updates of one model, as the trainer does: zeroing, forward, loss, backward, guard, optimiser.
type stepper struct {
	b       kernels.Backend
	weights *model.Weights
	a       *model.Activations
	opt     *optim.Optimizer
	dropout float32
	micro   uint32
	device  kernels.Device     // nil: the host
	filler  *objectives.Filler // of a device's plans
	single  bool               // a device gets every launch by itself
}

func newStepper(b kernels.Backend, c model.Config, capacity model.Capacity, o optim.Config, dropout float64) *stepper {
	s := &stepper{b: b, dropout: float32(dropout)}
	s.weights = model.NewWeights(b, c, true)
	s.weights.Init(b, 1)
	s.a = model.NewActivations(b, c, capacity, true)
	s.opt = optim.New(b, o, s.weights)
	if d, ok := b.(kernels.Device); ok {
		s.device, s.filler = d, objectives.NewFiller(capacity.Tokens, min(c.Context, capacity.Tokens))
	}
	return s
}

// update runs one update at a share of the peak rate and waits for it.
func (s *stepper) update(plans []*objectives.Plan, factor float64) error {
	if err := s.queue(plans, factor); err != nil {
		return err
	}
	return s.b.Sync()
}

// queue queues an update.
func (s *stepper) queue(plans []*objectives.Plan, factor float64) error {
	s.b.Zero(s.weights.Grad)
	s.a.ResetResults()
	for _, p := range plans {
		if s.filler != nil {
			s.filler.Fill(p)
		}
		if err := s.a.Load(p, model.Step{Dropout: s.dropout, Seed: 1, Micro: s.micro}); err != nil {
			return err
		}
		s.together(func() {
			s.a.Forward(s.weights)
			s.a.Loss(s.weights, true)
			s.a.Backward(s.weights)
		})
		s.micro++
	}
	s.together(func() { s.opt.Step(s.b, s.weights, s.a.Guard(s.weights), factor) })
	return nil
}

// together runs a part of an update as the trainer does.
func (s *stepper) together(work func()) {
	if s.device == nil || s.single {
		work()
	} else {
		s.device.Together(work)
	}
}
