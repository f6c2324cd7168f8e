package engine

import (
	"runtime/debug"

	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/report"
	"palimpsest/engine/vfs"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// ProgramBytes is about what the process holds beside tensors and data: the program, the Go runtime, the kernels' scratch.
const ProgramBytes = 24 << 20

// collectAt is the garbage, in percent of what is alive, at which it is collected while training. Go's 100 would let a
// run hold twice its model; the collector has little to do here, as tensors hold no pointers.
const collectAt = 10

// frugal makes the collector keep to collectAt until the returned function is called.
func frugal() (restore func()) {
	before := debug.SetGCPercent(collectAt)
	return func() { debug.SetGCPercent(before) }
}

// dataBytes is about what the stream of documents holds: two windows of decoded frames, with the bytes they came from.
func (j *job) dataBytes() int64 {
	x := j.data.Index()
	frames := min(2*int64(j.config.Data.Window), x.Frames)
	perToken := int64(4 + x.Width())
	return frames * (x.Tokens/max(1, x.Frames) + 1) * perToken
}

// deviceNeed returns what a run takes of its device: the buffers, and the scratch of an update of full steps. Both are those
// of the real code, rehearsed. It fails where the device has less; nil is for a backend in the host's memory.
func (j *job) deviceNeed(b kernels.Backend) (*PreviewDevice, error) {
	d, ok := b.(kernels.Device)
	if !ok {
		return nil, nil
	}
	m, err := d.Memory()
	if err != nil {
		return nil, err
	}
	need := &PreviewDevice{Available: m.Available(), Total: m.Total, Host: m.Host}
	need.Need = d.Rehearse(func(b kernels.Backend) {
		t := &Trainer{job: j, fs: vfs.OS{}, b: b}
		t.allocate()
		u := &update{plans: []*objectives.Plan{j.fullPlan()}}
		t.forwardBackward(u)
		t.apply(u)
		measurePeak(b)
	})
	if need.Need > need.Available {
		weights, activations := model.MemoryBytes(j.config.Model, j.capacity(), b.Info().Compute, b.Info().Master)
		return need, fault.Device.Errorf("the run needs %s of device memory (weights, gradients and moments %s, activations of a step %s), and %s of %s are free; "+
			"hint: lower data.tokens_per_step (now %d) and raise train.accumulate as much, or train.recompute: layer, or a smaller model (layers, width, ff, vocab); nvidia-smi shows who else uses the device",
			report.Bytes(need.Need), report.Bytes(weights), report.Bytes(activations), report.Bytes(need.Available), report.Bytes(need.Total), j.config.Data.TokensPerStep)
	}
	return need, nil
}

// fullPlan is a step of as many tokens and loss rows as there may be.
func (j *job) fullPlan() *objectives.Plan {
	d := j.config.Data
	p := &objectives.Plan{Tokens: make([]int32, d.TokensPerStep), Pos: make([]int32, 2*d.TokensPerStep)}
	for from := 0; from < d.TokensPerStep; from += d.Length {
		p.Segments = append(p.Segments, kernels.Segment{Start: int32(from), End: int32(min(from+d.Length, d.TokensPerStep))})
		p.Documents = append(p.Documents, 0)
	}
	rows := make([]int32, d.TokensPerStep)
	p.Terms = []objectives.Term{{Head: objectives.HeadLM, Kind: objectives.CrossEntropy, Rows: rows, Targets: rows, Share: 1, Den: 1}}
	j.fullLattices(&p.Terms[0])
	if j.reference != nil {
		t := &p.Terms[0]
		t.Kind, t.Pulls, t.NeedsReference = objectives.ReferenceKL, objectives.Pulls{Unwanted: kernels.ForwardKL, Kept: kernels.ForwardKL}, true
		p.NeedsReference = true
	}
	return p
}

// deviceBytes is the device memory that the process holds; 0 on the host.
func (t *Trainer) deviceBytes() int64 {
	if d, ok := t.b.(kernels.Device); ok {
		if m, err := d.Memory(); err == nil {
			return m.Held
		}
	}
	return 0
}
