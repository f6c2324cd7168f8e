package model

import (
	"slices"

	"palimpsest/kernels"
	"palimpsest/objectives"
)

// Capacity fixes the sizes of a step, so that every buffer is allocated once and a device can capture the step.
type Capacity struct {
	Tokens int // N packed tokens
	Rows   int // R loss rows of all terms
	States int // S of the longest lattice of terms of kind Alignment; 0: there are no such terms
	// Recompute makes blocks keep their input only; the backward pass computes the rest of a block again, to the same bits
	// (Chen and others, arXiv 1604.06174). It costs a forward pass of the blocks, without the last of them.
	Recompute bool

	chunk int // rows of the heads' chunks; 0: by size
}

// Step says how one micro-batch is run.
type Step struct {
	Dropout        float32 // probability, in the residual branches, the embedding and the attention probabilities; 0 in evaluation
	AdapterDropout float32 // the same in what adapters see of their layers' inputs
	Seed           uint64
	Micro          uint32 // number of the micro-batch in the whole run, for dropout
}

// drop returns the dropout of one site.
func (s Step) drop(site uint16) kernels.Drop {
	return kernels.Drop{P: s.Dropout, Seed: s.Seed, Step: s.Micro, Site: site}
}

// Dropout sites of a block are 4*layer + one of these; the embedding has its own.
const (
	siteAttention = iota // probabilities
	siteAttentionOut
	siteMLPOut
	siteRelative         // table of relative positions
	sitesPerBlock        = 4
	siteEmbed     uint16 = 0xFFFF
	siteHead      uint16 = 0xFFFE // minus the number of the classification head
	siteAdapters  uint16 = 0x8000 // plus 4*layer + the place in the block of the input that the adapter sees
)

// blockActivations are what one block keeps for its backward pass.
type blockActivations struct {
	attnSum, mlpSum   kernels.Buf // [N,C] inputs of the two norms
	attnIn, mlpIn     kernels.Buf // [N,C] outputs of the norms (pre) or inputs of the sub-layers (post)
	mean1, rstd1      kernels.Buf // [N]
	mean2, rstd2      kernels.Buf
	qkv, heads, lse   kernels.Buf // [N,(H+2K)D], [N,HD], [H,N]
	upPre, upAct, out kernels.Buf // [N,F] or [N,2F] before, [N,F] after the activation; [N,C] of post-norm blocks
	gate, gated       kernels.Buf // [N,C] the gate of attention before its activation, and what it leaves of the heads
	attnOut, midNorm  kernels.Buf // normformer: [N,C] input of the norm behind attention, [N,F] output of that in the MLP
	headsNorm         kernels.Buf // subln: [N,C] output of the norm before attention's projection
	mean3, rstd3      kernels.Buf
	mean4, rstd4      kernels.Buf
	distances         kernels.Buf    // relative: [P,(H+K)D] the table as queries and keys
	low               [5]kernels.Buf // of layers with adapters, in the order of AdapterTargets: [N,r] s x A^T
}

// Activations are the buffers of one step of a model on one backend, apart from its weights. Forward, Loss and Backward
// must follow Load in this order.
type Activations struct {
	b       kernels.Backend
	c       Config
	cap     Capacity
	train   bool
	step    Step
	plan    *objectives.Plan
	n       int // live tokens
	hidden  kernels.Buf
	asked   int               // rows in terms[0].rows that ForwardRows wants, 0: all
	cached  *Decoder          // set: attention goes through its cache
	narrow  []kernels.Segment // the plan's segments as local layers see them
	shifted []int32           // positions behind the table's offset
	rel     relativeActivations
	depth   depthActivations
	adapter adapterActivations
	frozen  *reference // nil: there is none

	ids, pos kernels.Buf // int32 [N], [N,2]
	embed    kernels.Buf // [N,C]
	embedSum kernels.Buf // [N,C] before the embedding's norm
	em, er   kernels.Buf // its statistics
	blocks   []blockActivations
	last     kernels.Buf // [N,C] input of the final norm
	fm, fr   kernels.Buf
	final    kernels.Buf // [N,C] output of the final norm
	delta    kernels.Buf // [N,C] output of the sub-layer at hand

	head    headActivations
	align   alignActivations
	headOf  []int       // by term: index into Weights.heads
	scalars kernels.Buf // float64: results of the step, see Results
	terms   []termBuffers

	dres, din, ddelta kernels.Buf // [N,C] gradients: residual stream, sub-layer input, sub-layer output
	dqkv, dheads      kernels.Buf
	dgate             kernels.Buf // of a gate of attention
	dup, dact         kernels.Buf
	dhidden           kernels.Buf
}

type termBuffers struct {
	rows, targets, weights kernels.Buf // [R]
	originals              kernels.Buf // [R] original tokens, where a detector reads them
	rule                   ruleBuffers
}

// NewActivations allocates the buffers of a step; those of the backward pass only when train is set.
func NewActivations(b kernels.Backend, c Config, capacity Capacity, train bool) *Activations {
	a := &Activations{b: b}
	a.allocate(c, capacity, train, b.Info().Compute, b.Info().Master, b.Alloc)
	a.upload()
	return a
}

// upload fills the constants.
func (a *Activations) upload() {
	if a.c.relative() {
		a.rel.upload(a.b, a.c)
	}
	if a.c.Adapter.On() {
		a.adapter.upload(a.b, a.c)
	}
}

// MemoryBytes returns what a training step needs: parameters, those that are trained with gradients and two moments, and all
// activations.
func MemoryBytes(c Config, capacity Capacity, compute, master kernels.DType) (weights, activations int64) {
	perParam := master.Size()
	if compute != master {
		perParam += compute.Size()
	}
	var a Activations
	a.allocate(c, capacity, true, compute, master, func(t kernels.DType, n int) kernels.Buf {
		activations += int64(t.Size()) * int64(n)
		return kernels.Buf{}
	})
	return NumParams(c)*int64(perParam) + NumTrained(c)*int64(3*master.Size()), activations
}

func (a *Activations) allocate(c Config, capacity Capacity, train bool, compute, master kernels.DType, alloc func(kernels.DType, int) kernels.Buf) {
	a.c, a.cap, a.train = c, capacity, train
	N, C := capacity.Tokens, c.Width
	row := func(width int) kernels.Buf { return alloc(compute, N*width) }
	stat := func() kernels.Buf { return alloc(master, N) }
	a.ids, a.pos = alloc(kernels.I32, N), alloc(kernels.I32, 2*N)
	if c.depthWeighted() {
		a.depth.allocate(c, N, train, compute, alloc)
		a.embed = a.depth.output(0)
	} else {
		a.embed = row(C)
	}
	a.delta = row(C)
	if c.EmbedNorm == on {
		a.embedSum, a.em, a.er = row(C), stat(), stat()
	}
	if c.preNorm() {
		a.last, a.final, a.fm, a.fr = row(C), row(C), stat(), stat()
	}
	up := c.upWidth()
	layers := c.Layers
	if !train { // nothing is kept from block to block: all of them share one set, but post-norm alternates two
		layers = min(layers, 2)
	}
	for i := range layers {
		if train && capacity.Recompute && i > 0 {
			a.blocks = append(a.blocks, a.blocks[0].withOwnInput(c, row))
			continue
		}
		var l blockActivations
		l.attnSum, l.mlpSum, l.mlpIn = row(C), row(C), row(C)
		if c.preNorm() {
			l.attnIn = row(C)
		} else {
			l.out = row(C)
		}
		l.mean1, l.rstd1, l.mean2, l.rstd2 = stat(), stat(), stat(), stat()
		l.qkv, l.heads, l.lse = row(c.qkvWidth()), row(C), alloc(master, c.Heads*N)
		l.upPre, l.upAct = row(up), row(c.FF)
		if c.gatedAttention() {
			l.gate, l.gated = row(C), row(C)
		}
		if c.midNorm() {
			l.midNorm = row(c.FF)
			l.mean3, l.rstd3, l.mean4, l.rstd4 = stat(), stat(), stat(), stat()
		}
		if c.normFormer() {
			l.attnOut = row(C)
		}
		if c.subLN() {
			l.headsNorm = row(C)
		}
		if c.relative() {
			l.distances = alloc(compute, c.relativeRows()*c.relativeWidth())
		}
		for slot, target := range AdapterTargets {
			if c.Adapter.On() && slices.Contains(c.Adapter.Targets, target) {
				l.low[slot] = row(c.Adapter.Rank)
			}
		}
		a.blocks = append(a.blocks, l)
	}
	if c.relative() {
		a.rel.allocate(c, train, compute, master, alloc)
	}
	if c.Adapter.On() {
		a.adapter.allocate(c, capacity, train, compute, master, alloc)
	}
	a.head.allocate(c, capacity, train, compute, master, alloc)
	a.align.allocate(c, capacity, a.head.chunk, train, compute, master, alloc)
	a.scalars = alloc(kernels.F64, scalarCount)
	a.headOf = make([]int, maxTerms)
	for range maxTerms {
		t := termBuffers{rows: alloc(kernels.I32, capacity.Rows), targets: alloc(kernels.I32, capacity.Rows), weights: alloc(master, capacity.Rows)}
		if c.readsTokens() {
			t.originals = alloc(kernels.I32, capacity.Rows)
		}
		t.rule.allocate(capacity, master, alloc)
		a.terms = append(a.terms, t)
	}
	if train {
		a.dres, a.din, a.ddelta, a.dhidden = row(C), row(C), row(C), row(C)
		a.dqkv, a.dheads = row(c.qkvWidth()), row(C)
		if c.gatedAttention() {
			a.dgate = row(C)
		}
		a.dup, a.dact = row(up), row(c.FF)
	}
}

// withOwnInput returns buffers that are shared with l but for the one that carries the residual stream from block to block.
func (l blockActivations) withOwnInput(c Config, row func(width int) kernels.Buf) blockActivations {
	if c.preNorm() {
		l.attnSum = row(c.Width)
	} else {
		l.out = row(c.Width)
	}
	return l
}

// block returns the buffers of layer i.
func (a *Activations) block(i int) *blockActivations { return &a.blocks[i%len(a.blocks)] }
