package model

import (
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// Terms whose row weights come from their losses. Where every group of rows fits in a chunk, chunks end at the bounds of
// groups and all is done on one set of logits: their gradient is linear in the row's weight, so it is made with weight 1 and
// then scaled. A group that is longer than a chunk needs all its losses before the first gradient: the logits are computed
// twice.

// ruleBuffers are what a rule reads and writes, by row of a term.
type ruleBuffers struct {
	losses, shares, reference kernels.Buf // [R]
	nll                       kernels.Buf // [R]
	classes                   kernels.Buf // uint8 [R]
	groups                    kernels.Buf // int32 [N+1]
}

func (r *ruleBuffers) allocate(capacity Capacity, master kernels.DType, alloc func(kernels.DType, int) kernels.Buf) {
	r.losses, r.shares, r.reference = alloc(master, capacity.Rows), alloc(master, capacity.Rows), alloc(master, capacity.Rows)
	r.nll = alloc(master, capacity.Rows)
	r.classes, r.groups = alloc(kernels.U8, capacity.Rows), alloc(kernels.I32, capacity.Tokens+2)
}

// load uploads what the rule of a term reads.
func (r *ruleBuffers) load(b kernels.Backend, t *objectives.Term) {
	if !t.Options.Reweigh.On() {
		return
	}
	b.Upload(r.groups, t.Groups())
	b.Upload(r.reference, t.Reference)
	b.Upload(r.classes, t.RowClasses)
}

// A chunking walks over the rows of a term in chunks.
type chunking struct {
	rows, most int
	groups     []int32 // bounds that chunks must end at; nil: anywhere
	group      int     // groups before the next chunk
}

// chunks returns how the rows of a term are walked over, and whether its rule can be applied chunk by chunk.
func (a *Activations) chunks(t *objectives.Term) (c chunking, inPlace bool) {
	c = chunking{rows: len(t.Rows), most: a.head.chunk}
	if !t.Options.Reweigh.On() {
		return c, false
	}
	groups := t.Groups()
	for g := 1; g < len(groups); g++ {
		if int(groups[g]-groups[g-1]) > c.most {
			return c, false
		}
	}
	c.groups = groups
	return c, true
}

// next returns the end of the chunk that begins at row from, and the groups [first,last) in it.
func (c *chunking) next(from int) (to, first, last int) {
	if c.groups == nil {
		return min(from+c.most, c.rows), 0, 0
	}
	first = c.group
	for c.group+1 < len(c.groups) && int(c.groups[c.group+1])-from <= c.most {
		c.group++
	}
	return int(c.groups[c.group]), first, c.group
}

// weigh turns the losses of the groups [first,last) of a term into weights and shares of its loss.
func (a *Activations) weigh(index int, t *objectives.Term, first, last int) {
	bufs := a.terms[index]
	op := t.Options.Reweigh.Op()
	op.G, op.Offsets = last-first, bufs.rule.groups.Slice(first, last+1)
	op.Losses, op.Weights, op.Shares = bufs.rule.losses, bufs.weights, bufs.rule.shares
	if len(t.Reference) > 0 || t.NeedsReference {
		op.Reference = bufs.rule.reference
	}
	if len(t.RowClasses) > 0 {
		op.Classes = bufs.rule.classes
	}
	a.b.Reweigh(op)
}

// weighAhead makes the weights of a term in a pass of its own over all chunks.
func (a *Activations) weighAhead(w *Weights, index int, t *objectives.Term) {
	bufs, head := a.terms[index], a.headOf[index]
	c := chunking{rows: len(t.Rows), most: a.head.chunk}
	for from := 0; from < c.rows; {
		to, _, _ := c.next(from)
		a.b.GatherRows(a.head.h, a.hidden, bufs.rows.Slice(from, to), to-from, a.c.Width)
		a.head.ids = slice(bufs.originals, from, to)
		a.forwardHead(w, head, to-from, a.headDrop(head, from))
		ce := a.lossOf(index, t, w.heads[head].classes, from, to)
		ce.Loss = bufs.rule.losses.Slice(from, to)
		a.referenceLosses(index, t, ce.V, from, to)
		a.b.CrossEntropy(ce)
		from = to
	}
	a.weigh(index, t, 0, len(t.Groups())-1)
}
