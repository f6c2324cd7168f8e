package model

import (
	"fmt"
	"runtime"
	"sync"

	"gorgonia.org/tensor"
	"palimpsest/kernels"
	"palimpsest/kernels/philox"
	"palimpsest/objectives"
)

// A Param is one named tensor of the model. Master is what the optimiser updates, Compute what products read (the same
// memory where the backend computes in the master's type), Grad the sum of gradients of the running update (absent in
// weights that are not trained). Tensor is the named, shaped handle over Master.
type Param struct {
	Name                  string
	Shape                 []int
	Offset                int  // of the tensor in the flat buffers of Weights, those of trained or of frozen parameters
	Decay                 bool // weight decay applies: matrices, not norms and biases
	Frozen                bool // never trained: behind an adapter
	Tensor                *tensor.Dense
	Master, Compute, Grad kernels.Buf

	std   float64 // initial standard deviation
	bound float64 // or bound of a uniform distribution around 0
	fill  float64 // or, where both are 0, the initial constant
	last  float64 // added to the last element
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

// linear is a weight [out,in] with its bias [out], which may be nil, as may be its adapter.
type linear struct {
	weight, bias *Param
	adapter      *adapter
}

// norm is a gain [C] with its bias [C], which may be nil.
type norm struct{ gain, bias *Param }

type blockWeights struct {
	attnNorm, mlpNorm norm
	qkv, proj         linear
	up, down          linear // up is [2F,C] in gated MLPs
	gate              linear // of attention's output
	outNorm, midNorm  norm   // normformer: behind attention's projection, behind the MLP's activation [F]
	headsNorm         norm   // subln: before attention's projection
	attnDepth         *Param // weights of the stream behind attention [2i+2] and behind the MLP [2i+3]
	mlpDepth          *Param
}

// headWeights is a head over the hidden state: an optional transform (dense, activation, norm), then logits.
type headWeights struct {
	name          string
	classes       int
	act           kernels.Activation // of the transform; None: there is none
	transform     linear
	transformNorm norm   // of nothing in a detector
	meta          *Param // of a detector: embedding of original tokens, [V,m]
	metaProj      linear // and its part of the transform, [C,m]
	logits        linear
}

// Weights are the parameters of one model, apart from any activations, so that a frozen reference can run beside it.
//
// All parameters that can be trained lie in one allocation, those with weight decay first: whole-model ops (zeroing, the
// gradient norm, the optimiser's update) are then one or two calls over Master, Grad and Compute. Gaps between tensors stay
// zero. What adapters freeze lies in an allocation of its own, which several Weights may share.
type Weights struct {
	Config   Config
	Params   []*Param
	Master   kernels.Buf
	Compute  kernels.Buf
	Grad     kernels.Buf // absent where nothing is trained
	TrainLen int         // elements of the flat buffers
	DecayLen int         // the first of them, which belong to tensors with weight decay

	frozen frozenWeights

	tokens, positions, types, relative *Param
	embedNorm, finalNorm, relativeNorm norm
	blocks                             []blockWeights
	heads                              []headWeights // LM head first, then Config.Classifiers
	links                              linkWeights

	ropeGlobal, ropeLocal kernels.Buf // cosines and sines by kind of layer
}

// frozenWeights are the flat buffers of parameters that adapters freeze; absent without any.
type frozenWeights struct {
	master, compute kernels.Buf
	shared          bool // with other Weights, which fill them
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
	affineNorm := func(name string, width int) (n norm) {
		n.gain = add(name+".weight", 0, 1, false, width)
		if c.Norm == "layernorm" && c.bias() {
			n.bias = add(name+".bias", 0, 0, false, width)
		}
		return n
	}
	newNorm := func(name string, width int) (n norm) {
		if c.affine() {
			n = affineNorm(name, width)
		}
		return n
	}
	w.tokens = add("embed.tokens.weight", c.InitStd, 0, true, int(c.Vocab), C)
	if c.Positions == "learned" {
		w.positions = add("embed.positions.weight", c.InitStd, 0, true, c.Context+c.PositionOffset, C)
	}
	if c.Types > 0 {
		w.types = add("embed.types.weight", c.InitStd, 0, true, c.Types, C)
	}
	if c.relative() {
		w.relative = add("embed.relative.weight", c.InitStd, 0, true, c.relativeRows(), C)
		w.relativeNorm = affineNorm("embed.relative.norm", C)
	}
	if c.EmbedNorm == on {
		w.embedNorm = newNorm("embed.norm", C)
	}
	up := c.upWidth()
	for i := range c.Layers {
		prefix := fmt.Sprintf("layers.%d.", i)
		proj, upStd, down := c.initStd(i)
		var b blockWeights
		if c.normed(i) {
			b.attnNorm = newNorm(prefix+"attention.norm", C)
		}
		b.qkv = newLinear(prefix+"attention.qkv", c.InitStd, c.bias(), c.qkvWidth(), C)
		if c.gatedAttention() {
			b.gate = newLinear(prefix+"attention.gate", c.InitStd, c.bias(), C, C)
		}
		if c.subLN() {
			b.headsNorm = newNorm(prefix+"attention.mid_norm", C)
		}
		b.proj = newLinear(prefix+"attention.proj", proj, c.bias(), C, C)
		if c.normFormer() {
			b.outNorm = affineNorm(prefix+"attention.out_norm", C)
		}
		b.mlpNorm = newNorm(prefix+"mlp.norm", C)
		b.up = newLinear(prefix+"mlp.up", upStd, c.mlpBias(), up, C)
		if c.midNorm() {
			b.midNorm = newNorm(prefix+"mlp.mid_norm", F)
		}
		b.down = newLinear(prefix+"mlp.down", down, c.mlpBias(), C, F)
		w.blocks = append(w.blocks, b)
	}
	if c.preNorm() {
		w.finalNorm = newNorm("final.norm", C)
	}
	lm := headWeights{name: objectives.HeadLM, classes: int(c.Vocab)}
	if c.Transform == on {
		lm.act = c.headActivation()
		lm.transform = newLinear("head.lm.transform", c.InitStd, c.bias(), C, C)
		lm.transformNorm = newNorm("head.lm.norm", C)
	}
	lm.logits.weight = w.tokens
	if c.Tied != on {
		lm.logits.weight = add("head.lm.weight", c.InitStd, 0, true, int(c.Vocab), C)
	}
	if c.HeadBias == on {
		lm.logits.bias = add("head.lm.bias", 0, 0, false, int(c.Vocab))
	}
	w.heads = append(w.heads, lm)
	for _, h := range c.Classifiers {
		prefix, head := ClassifierPrefix+h.Name, headWeights{name: h.Name, classes: h.Classes}
		if h.Kind == "sequence" {
			head.act = kernels.GELUErf
			head.transform = newLinear(prefix+".transform", c.InitStd, c.bias(), C, C)
			head.transformNorm = newNorm(prefix+".norm", C)
		}
		if h.Kind == "detector" {
			head.act = kernels.ReLU
			head.transform = newLinear(prefix+".transform", c.InitStd, true, C, C)
			if h.ReadsTokens() {
				head.meta = add(prefix+".meta.embedding.weight", 1, 0, true, int(c.Vocab), objectives.MetaWidth) // PyTorch's
				head.metaProj = newLinear(prefix+".meta", c.InitStd, false, C, objectives.MetaWidth)
			}
		}
		head.logits = newLinear(prefix, c.InitStd, true, h.Classes, C)
		w.heads = append(w.heads, head)
	}
	w.layoutLinks(newLinear, add)
	w.layoutDepth(add)
	w.layoutAdapters()
}

// layoutDepth adds the weights of the residual stream behind all other parameters, whose initial values then do not depend on
// them. GPT-BERT decays them as it does matrices.
func (w *Weights) layoutDepth(add func(name string, std, fill float64, decay bool, shape ...int) *Param) {
	if !w.Config.depthWeighted() {
		return
	}
	for i := range w.blocks {
		b, prefix := &w.blocks[i], fmt.Sprintf("layers.%d.", i)
		b.attnDepth = add(prefix+"attention.depth.weight", 0, 0, true, 2*i+2)
		b.mlpDepth = add(prefix+"mlp.depth.weight", 0, 0, true, 2*i+3)
		b.attnDepth.last, b.mlpDepth.last = 1, 1
	}
}

// ClassifierPrefix begins the names of the parameters of classification heads.
const ClassifierPrefix = "head.cls."

// Layout is a model's parameters with their places in the flat buffers, without memory.
func Layout(c Config) *Weights {
	w := &Weights{Config: c}
	w.layout()
	w.place()
	return w
}

// place gives every parameter its offset, those with weight decay first, and returns the length of the flat buffers of what is
// frozen. That of the others is TrainLen.
func (w *Weights) place() (frozen int) {
	for _, decay := range []bool{true, false} {
		for _, p := range w.Params {
			if p.Decay != decay {
				continue
			}
			end := &w.TrainLen
			if p.Frozen {
				end = &frozen
			}
			p.Offset = *end
			*end += (p.Len() + alignment - 1) / alignment * alignment
		}
		if decay {
			w.DecayLen = w.TrainLen
		}
	}
	return frozen
}

// NumParams returns the number of parameters of a resolved configuration, without allocating them.
func NumParams(c Config) int64 {
	var n int64
	for _, p := range Layout(c).Params {
		n += int64(p.Len())
	}
	return n
}

// NumTrained returns how many of them a run trains: all, or the adapters and what is trained beside them.
func NumTrained(c Config) (n int64) {
	for _, p := range Layout(c).Params {
		if !p.Frozen {
			n += int64(p.Len())
		}
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
	return newWeights(b, c, trainable, frozenWeights{})
}

// Fork allocates weights of the same model that are not trained, over the same frozen ones where there are any: an average, or
// an earlier state.
func (w *Weights) Fork(b kernels.Backend) *Weights {
	frozen := w.frozen
	frozen.shared = !frozen.master.Absent()
	return newWeights(b, w.Config, false, frozen)
}

func newWeights(b kernels.Backend, c Config, trainable bool, frozen frozenWeights) *Weights {
	w := &Weights{Config: c, frozen: frozen}
	w.layout()
	below := w.place()
	info := b.Info()
	alloc := func(n int) (master, compute kernels.Buf) {
		master = b.Alloc(info.Master, n)
		if info.Compute == info.Master {
			return master, master
		}
		return master, b.Alloc(info.Compute, n)
	}
	w.Master, w.Compute = alloc(w.TrainLen)
	if below > 0 && !frozen.shared {
		w.frozen.master, w.frozen.compute = alloc(below)
	}
	if trainable {
		w.Grad = b.Alloc(info.Master, w.TrainLen)
	}
	for _, p := range w.Params {
		from, to := p.Offset, p.Offset+p.Len()
		if p.Frozen {
			p.Master, p.Compute = w.frozen.master.Slice(from, to), w.frozen.compute.Slice(from, to)
		} else {
			p.Master, p.Compute = w.Master.Slice(from, to), w.Compute.Slice(from, to)
			if trainable {
				p.Grad = w.Grad.Slice(from, to)
			}
		}
		p.Tensor = b.Tensor(p.Master, p.Shape...)
	}
	if c.axes() > 0 {
		w.ropeGlobal = ropeTable(b, c, c.RopeBase)
		w.ropeLocal = w.ropeGlobal
		if base := c.Attention.LocalBase; base > 0 {
			w.ropeLocal = ropeTable(b, c, base)
		}
	}
	return w
}

// rope is the table of a layer.
func (w *Weights) rope(layer int) kernels.Buf {
	if w.Config.local(layer) {
		return w.ropeLocal
	}
	return w.ropeGlobal
}

// initChunk is how many elements of a tensor share a draw, so that chunks are independent work.
const initChunk = 1 << 16

// Init draws the initial parameters: normal with the tensor's standard deviation, cut at three of them, uniform, or its constant.
// An element is a function of the seed, its tensor and its place alone. The host holds a few chunks at a time, never a
// second copy of a tensor.
func (w *Weights) Init(b kernels.Backend, seed uint64) {
	workers := runtime.GOMAXPROCS(0)
	chunks := make([][]float32, workers)
	for i := range chunks {
		chunks[i] = make([]float32, initChunk)
	}
	for i, p := range w.Params {
		for wave := 0; wave < p.Len(); wave += workers * initChunk {
			var group sync.WaitGroup
			for k := range chunks {
				from := wave + k*initChunk
				chunks[k] = chunks[k][:max(0, min(initChunk, p.Len()-from))]
				group.Go(func() {
					p.initial(chunks[k], philox.New(seed, philox.StreamInit, uint64(i), uint32(from/initChunk)))
				})
			}
			group.Wait()
			for k, values := range chunks {
				from := wave + k*initChunk
				b.Upload(p.Master.Slice(min(from, p.Len()), min(from, p.Len())+len(values)), values)
			}
		}
	}
	w.Publish(b)
}

// InitialValues returns the values that Init gives to the parameter of that index, for a model that is put together outside
// any backend.
func (w *Weights) InitialValues(index int, seed uint64) []float32 {
	p := w.Params[index]
	values := make([]float32, p.Len())
	for from := 0; from < len(values); from += initChunk {
		p.initial(values[from:min(from+initChunk, len(values))], philox.New(seed, philox.StreamInit, uint64(index), uint32(from/initChunk)))
	}
	return values
}

// initial fills values with the tensor's initial distribution. A tensor with a last element of its own comes in one piece.
func (p *Param) initial(values []float32, d philox.Draw) {
	for e := 0; e < len(values); {
		if p.std == 0 {
			values[e] = float32(p.fill)
			if p.bound > 0 {
				values[e] = float32(p.bound * (2*d.Float64() - 1))
			}
			e++
			continue
		}
		x, y := d.NormalPair()
		for _, z := range [...]float64{x, y} {
			if z >= -3 && z <= 3 && e < len(values) {
				values[e] = float32(p.std * z)
				e++
			}
		}
	}
	if p.last != 0 && len(values) == p.Len() {
		values[len(values)-1] += float32(p.last)
	}
}

// Publish brings the copy that products read up to date with Master.
func (w *Weights) Publish(b kernels.Backend) {
	publish := func(compute, master kernels.Buf) {
		if compute != master {
			values := make([]float32, master.Len())
			b.Download(values, master)
			b.Upload(compute, values)
		}
	}
	publish(w.Compute, w.Master)
	if !w.frozen.shared {
		publish(w.frozen.compute, w.frozen.master)
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
