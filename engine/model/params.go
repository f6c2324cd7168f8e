package model

import (
	"fmt"

	"gorgonia.org/tensor"
	"palimpsest/kernels"
	"palimpsest/kernels/philox"
)

// A Param is one named tensor of the model. Master is what the optimiser updates, Compute what products read (the same
// memory where the backend computes in the master's type), Grad the sum of gradients of the running update (absent in
// frozen weights). Tensor is the named, shaped handle over Master on host backends.
type Param struct {
	Name                  string
	Shape                 []int
	Offset                int  // of the tensor in the flat buffers of Weights
	Decay                 bool // weight decay applies: matrices, not norms and biases
	Tensor                *tensor.Dense
	Master, Compute, Grad kernels.Buf

	std  float64 // initial standard deviation; 0: constant
	fill float64 // initial constant
}

// Len returns the number of elements.
func (p *Param) Len() int { return length(p.Shape) }

func length(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// linear is a weight [out,in] with its bias [out], which may be nil.
type linear struct{ weight, bias *Param }

// norm is a gain [C] with its bias [C], which may be nil.
type norm struct{ gain, bias *Param }

type blockWeights struct {
	attnNorm, mlpNorm norm
	qkv, proj         linear
	up, down          linear // up is [2F,C] in gated MLPs
}

// headWeights is a head over the hidden state: an optional transform (dense, activation, norm), then logits.
type headWeights struct {
	transform     linear
	transformNorm norm
	logits        linear
}

// Weights are the parameters of one model, apart from any activations, so that a frozen reference can run beside it.
//
// All parameters lie in one allocation, those with weight decay first: whole-model ops (zeroing, the gradient norm, the
// optimiser's update) are then one or two calls over Master, Grad and Compute. Gaps between tensors stay zero.
type Weights struct {
	Config   Config
	Params   []*Param
	Master   kernels.Buf
	Compute  kernels.Buf
	Grad     kernels.Buf // absent when frozen
	DecayLen int         // elements of the flat buffers that belong to tensors with weight decay

	tokens, positions, types *Param
	embedNorm, finalNorm     norm
	blocks                   []blockWeights
	lm                       headWeights

	ropeTable kernels.Buf
}

// alignment of a tensor in the flat buffers, in elements: 64 bytes of float32.
const alignment = 16

// layout lists the parameters of a configuration in the order of the model and links them into w.
func (w *Weights) layout() {
	c := w.Config
	C, F := c.Width, c.FF
	add := func(name string, std, fill float64, decay bool, shape ...int) *Param {
		p := &Param{Name: name, Shape: shape, Decay: decay, std: std, fill: fill}
		w.Params = append(w.Params, p)
		return p
	}
	newLinear := func(name string, std float64, bias bool, out, in int) (l linear) {
		l.weight = add(name+".weight", std, 0, true, out, in)
		if bias {
			l.bias = add(name+".bias", 0, 0, false, out)
		}
		return l
	}
	newNorm := func(name string) (n norm) {
		n.gain = add(name+".weight", 0, 1, false, C)
		if c.Norm == "layernorm" && c.bias() {
			n.bias = add(name+".bias", 0, 0, false, C)
		}
		return n
	}
	w.tokens = add("embed.tokens.weight", c.InitStd, 0, true, int(c.Vocab), C)
	if c.Positions == "learned" {
		w.positions = add("embed.positions.weight", c.InitStd, 0, true, c.Context, C)
	}
	if c.Types > 0 {
		w.types = add("embed.types.weight", c.InitStd, 0, true, c.Types, C)
	}
	if c.EmbedNorm == on {
		w.embedNorm = newNorm("embed.norm")
	}
	up := F
	if c.gated() {
		up = 2 * F
	}
	for i := range c.Layers {
		prefix := fmt.Sprintf("layers.%d.", i)
		var b blockWeights
		b.attnNorm = newNorm(prefix + "attention.norm")
		b.qkv = newLinear(prefix+"attention.qkv", c.InitStd, c.bias(), c.qkvWidth(), C)
		b.proj = newLinear(prefix+"attention.proj", c.residualStd(), c.bias(), C, C)
		b.mlpNorm = newNorm(prefix + "mlp.norm")
		b.up = newLinear(prefix+"mlp.up", c.InitStd, c.bias(), up, C)
		b.down = newLinear(prefix+"mlp.down", c.residualStd(), c.bias(), C, F)
		w.blocks = append(w.blocks, b)
	}
	if c.Placement == "pre" {
		w.finalNorm = newNorm("final.norm")
	}
	if c.Transform == on {
		w.lm.transform = newLinear("head.lm.transform", c.InitStd, c.bias(), C, C)
		w.lm.transformNorm = newNorm("head.lm.norm")
	}
	w.lm.logits.weight = w.tokens
	if c.Tied != on {
		w.lm.logits.weight = add("head.lm.weight", c.InitStd, 0, true, int(c.Vocab), C)
	}
	if c.HeadBias == on {
		w.lm.logits.bias = add("head.lm.bias", 0, 0, false, int(c.Vocab))
	}
}

// NumParams returns the number of parameters of a resolved configuration, without allocating them.
func NumParams(c Config) int64 {
	w := Weights{Config: c}
	w.layout()
	var n int64
	for _, p := range w.Params {
		n += int64(p.Len())
	}
	return n
}

// ByName returns the parameter of that name, or nil.
func (w *Weights) ByName(name string) *Param {
	for _, p := range w.Params {
		if p.Name == name {
			return p
		}
	}
	return nil
}

// NewWeights allocates the parameters of a resolved configuration; trainable ones get gradients. They are zero until
// Init or a checkpoint fills them, and Publish must follow a change of Master from outside the optimiser.
func NewWeights(b kernels.Backend, c Config, trainable bool) *Weights {
	w := &Weights{Config: c}
	w.layout()
	total := 0
	for _, decay := range []bool{true, false} {
		for _, p := range w.Params {
			if p.Decay == decay {
				p.Offset = total
				total += (p.Len() + alignment - 1) / alignment * alignment
			}
		}
		if decay {
			w.DecayLen = total
		}
	}
	info := b.Info()
	w.Master = b.Alloc(info.Master, total)
	w.Compute = w.Master
	if info.Compute != info.Master {
		w.Compute = b.Alloc(info.Compute, total)
	}
	if trainable {
		w.Grad = b.Alloc(info.Master, total)
	}
	for _, p := range w.Params {
		from, to := p.Offset, p.Offset+p.Len()
		p.Master, p.Compute = w.Master.Slice(from, to), w.Compute.Slice(from, to)
		if trainable {
			p.Grad = w.Grad.Slice(from, to)
		}
		p.Tensor = handle(p.Master, p.Shape)
	}
	if c.Positions == "rope" {
		table := kernels.RopeTable[float64](c.Context, c.headWidth(), 1, c.RopeBase)
		w.ropeTable = b.Alloc(info.Master, len(table))
		b.Upload(w.ropeTable, table)
	}
	return w
}

// handle is the tensor over a host buffer; it shares the memory.
func handle(b kernels.Buf, shape []int) *tensor.Dense {
	switch b.Type() {
	case kernels.F32:
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(kernels.View[float32](b)))
	case kernels.F64:
		return tensor.New(tensor.WithShape(shape...), tensor.WithBacking(kernels.View[float64](b)))
	}
	panic(fmt.Sprintf("model: no tensor handle over %v", b.Type()))
}

// Init draws the initial parameters: normal with the tensor's standard deviation, cut at three of them, or its constant.
// Element e of tensor i is a function of (seed, i, e) alone.
func (w *Weights) Init(b kernels.Backend, seed uint64) {
	for i, p := range w.Params {
		values := make([]float32, p.Len())
		d := philox.New(seed, philox.StreamInit, uint64(i), 0)
		for e := range values {
			values[e] = float32(p.fill)
			if p.std > 0 {
				z := d.Normal()
				for z < -3 || z > 3 {
					z = d.Normal()
				}
				values[e] = float32(p.std * z)
			}
		}
		b.Upload(p.Master, values)
	}
	w.Publish(b)
}

// Publish brings the copy that products read up to date with Master.
func (w *Weights) Publish(b kernels.Backend) {
	if w.Compute != w.Master {
		values := make([]float32, w.Master.Len())
		b.Download(values, w.Master)
		b.Upload(w.Compute, values)
	}
}

// grad and compute return a parameter's buffers, absent for a nil parameter.
func (p *Param) grad() kernels.Buf {
	if p == nil {
		return kernels.Buf{}
	}
	return p.Grad
}

func (p *Param) compute() kernels.Buf {
	if p == nil {
		return kernels.Buf{}
	}
	return p.Compute
}

// master is for ops that read parameters in the master's type: norms.
func (p *Param) master() kernels.Buf {
	if p == nil {
		return kernels.Buf{}
	}
	return p.Master
}
