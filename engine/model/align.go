package model

import (
	"fmt"

	"palimpsest/kernels"
	"palimpsest/objectives"
)

// Terms of kind Alignment: the likelihood of targets summed over their alignments with the states of lattices (ExLM). States are
// gathered, and walked over in chunks that end where a lattice does, so that emissions, links, the sum over paths and all
// gradients of a chunk are made on one set of logits. A chunk holds the longest lattice that the capacity names.

// alignActivations are those of a chunk of lattices, and what a term says of all its states.
type alignActivations struct {
	match, dmatch   kernels.Buf // [E,S] of every lattice of the chunk
	lse             kernels.Buf // [chunk]
	loss, lost      kernels.Buf // by lattice
	places, sources kernels.Buf // int32 [R]; sources: what sparse links go by
	links           linkActivations

	lattices []kernels.Lattice // of the chunk, as they lie in it
}

func (l *alignActivations) allocate(c Config, capacity Capacity, chunk int, train bool, compute, master kernels.DType, alloc func(kernels.DType, int) kernels.Buf) {
	if capacity.States == 0 {
		return
	}
	states := max(2, capacity.States) // of a state under CTC two tokens are asked: target and blank
	l.match, l.lse = alloc(master, chunk*states), alloc(master, chunk)
	l.loss, l.lost = alloc(master, chunk), alloc(master, chunk)
	l.places, l.sources = alloc(kernels.I32, capacity.Rows), alloc(kernels.I32, capacity.Rows)
	if train {
		l.dmatch = alloc(master, chunk*states)
	}
	if c.Links.On() {
		l.links.allocate(c, chunk, states, train, compute, master, alloc)
	}
}

// loadLattices takes a term of kind Alignment, of which a plan may have one.
func (a *Activations) loadLattices(t *objectives.Term) error {
	for i, l := range t.Lattices {
		if n := int(l.End - l.Start); n > a.cap.States {
			return fmt.Errorf("model: term %s lattice %d has %d states, the capacity is %d", t.Name, i, n, a.cap.States)
		}
	}
	if t.Mode == kernels.DAG && !a.c.Links.On() {
		return fmt.Errorf("model: term %s asks for links between states, and the model has no transition head; hint: model.links.features: hidden+position", t.Name)
	}
	for i, place := range t.Places {
		if t.Mode == kernels.DAG && a.c.Links.places() && int(place) >= a.c.Links.Positions {
			return fmt.Errorf("model: term %s state %d has place %d, the transition head knows %d; hint: model.links.positions", t.Name, i, place, a.c.Links.Positions)
		}
	}
	a.b.Upload(a.align.places, t.Places)
	a.b.Upload(a.align.sources, t.LinkGroups())
	return nil
}

// A latticeChunk is lattices [first,last) of a term over states [from,to), as they lie in the chunk.
type latticeChunk struct {
	first, last, from, to   int
	lattices                []kernels.Lattice
	rows, places, linked    kernels.Buf // linked: what links go by in sparse graphs, otherwise absent
	in                      kernels.Buf // input of the head's last product
	t                       *objectives.Term
	classes, index, n, head int
}

// latticeChunks calls f with every chunk of a term, whose logits are made and whose links are predicted.
func (a *Activations) latticeChunks(w *Weights, index int, f func(c *latticeChunk)) {
	t, h, bufs := &a.plan.Terms[index], &a.head, a.terms[index]
	for first := 0; first < len(t.Lattices); {
		c := latticeChunk{first: first, last: first + 1, from: int(t.Lattices[first].Start), t: t, index: index, head: a.headOf[index]}
		for c.last < len(t.Lattices) && int(t.Lattices[c.last].End)-c.from <= h.chunk {
			c.last++
		}
		c.to = int(t.Lattices[c.last-1].End)
		c.n, c.classes = c.to-c.from, w.heads[c.head].classes
		a.align.lattices = a.align.lattices[:0]
		for _, l := range t.Lattices[c.first:c.last] {
			l.Start, l.End = l.Start-int32(c.from), l.End-int32(c.from)
			a.align.lattices = append(a.align.lattices, l)
		}
		c.lattices, c.rows, c.places = a.align.lattices, bufs.rows.Slice(c.from, c.to), a.align.places.Slice(c.from, c.to)
		if t.Sparse {
			c.linked = a.align.sources.Slice(c.from, c.to)
		}
		a.b.GatherRows(h.h, a.hidden, c.rows, c.n, a.c.Width)
		c.in = a.forwardHead(w, c.head, c.n, kernels.Drop{})
		if t.Mode == kernels.DAG {
			a.forwardLinks(w, c.lattices, c.places, c.linked, c.n)
		}
		f(&c)
		first = c.last
	}
}

// alignment runs a term over its lattices: sums to the scalars, with gradient also to dhidden and the weights of both heads.
func (a *Activations) alignment(w *Weights, index int, t *objectives.Term, gradient bool) {
	h, l, targets := &a.head, &a.align, a.terms[index].targets
	a.latticeChunks(w, index, func(c *latticeChunk) {
		a.emit(c, gradient)
		for i, values := range []kernels.Buf{l.loss, l.lost} {
			a.b.Sum(a.scalars, scalarTerms+index*scalarsPerTerm+i, values, len(c.lattices), true)
		}
		if !gradient {
			return
		}
		a.b.EmissionsBackward(kernels.EmissionsBackward{Logits: h.logits, DMatch: l.dmatch, LSE: l.lse, Targets: targets, Lattices: c.lattices, R: c.n, V: c.classes, Mode: t.Mode, Blank: t.Blank})
		a.backwardHead(w, c.head, c.in, c.n, kernels.Drop{})
		if t.Mode == kernels.DAG {
			a.backwardLinks(w, c.lattices, c.places, c.linked, c.n)
		}
		a.b.ScatterAddRows(a.dhidden, h.dh, c.rows, c.n, a.c.Width)
	})
}

// emit sums over the paths of a chunk's lattices.
func (a *Activations) emit(c *latticeChunk, gradient bool) {
	l, t, bufs := &a.align, c.t, a.terms[c.index]
	a.b.Emissions(kernels.Emissions{Match: l.match, LSE: l.lse, Logits: a.head.logits, Targets: bufs.targets, Lattices: c.lattices, R: c.n, V: c.classes, Mode: t.Mode, Blank: t.Blank})
	op := kernels.Alignment{Loss: l.loss, Lost: l.lost, DMatch: l.dmatch, DLogE: l.links.dlogE, Match: l.match, LogE: l.links.logE, Weights: bufs.weights.Slice(c.first, c.last),
		Targets: bufs.targets, Lattices: c.lattices, Mode: t.Mode, Blank: t.Blank, Grad: gradient}
	if gradient {
		op.GradScale = t.Share / t.Den
	}
	a.b.Alignment(op)
}

// LostLater is the number of lattices without a path since ResetResults, at this point of the queue; nil where the loaded plan
// has no lattices, and so none can be lost.
func (a *Activations) LostLater() (wait func() (lost float64, err error)) {
	at := -1
	for i := range a.plan.Terms {
		if a.plan.Terms[i].Kind == objectives.Alignment {
			at = scalarTerms + i*scalarsPerTerm + 1
		}
	}
	if at < 0 {
		return nil
	}
	values := make([]float64, scalarCount)
	arrived := a.b.DownloadLater(values, a.scalars)
	return func() (float64, error) {
		err := arrived()
		return values[at], err
	}
}

// A Lattice is what the model says of a lattice of the loaded plan.
type Lattice struct {
	Index  int // in the term's list
	States int
	Logits []float32 // [S,V]
	LogE   []float32 // [S,S] log-probabilities of links; nil where there are none
}

// Lattices calls f with what the model says of the lattices of a term, a chunk of them at a time, in order, after Forward. The
// slices are valid during the call.
func (a *Activations) Lattices(w *Weights, index int, f func(list []Lattice)) error {
	var list []Lattice
	var logits, logE []float32
	var failed error
	a.latticeChunks(w, index, func(c *latticeChunk) {
		logits = append(logits[:0], make([]float32, c.n*c.classes)...)
		a.b.Download(logits, a.head.logits.Slice(0, len(logits)))
		logE = logE[:0]
		if c.t.Mode == kernels.DAG {
			logE = append(logE, make([]float32, kernels.LinksSize(c.lattices))...)
			a.b.Download(logE, a.align.links.logE.Slice(0, len(logE)))
		}
		if err := a.b.Sync(); err != nil {
			failed = err
			return
		}
		list = list[:0]
		links := logE
		for i, l := range c.lattices {
			m := Lattice{Index: c.first + i, States: int(l.End - l.Start), Logits: logits[int(l.Start)*c.classes : int(l.End)*c.classes]}
			if len(links) > 0 {
				m.LogE, links = links[:m.States*m.States], links[m.States*m.States:]
			}
			list = append(list, m)
		}
		f(list)
	})
	return failed
}

// linksFLOPs are the transition head's products, forward, a state of a term: its maps, and half of the pairs of a lattice.
func (c Config) linksFLOPs(t *objectives.Term) float64 {
	if t.Mode != kernels.DAG || len(t.Rows) == 0 {
		return 0
	}
	C, maps := float64(c.Width), 1.0
	if c.Links.places() {
		maps = 2
	}
	return maps*2*C*(2*C+float64(c.Links.Heads)) + C*float64(kernels.LinksSize(t.Lattices))/float64(len(t.Rows))
}

// FirstLost returns the first lattice of a term that has no path, -1 for none, after Forward.
func (a *Activations) FirstLost(w *Weights, index int) (first int, err error) {
	first = -1
	if a.plan.Terms[index].Kind != objectives.Alignment {
		return first, nil
	}
	a.latticeChunks(w, index, func(c *latticeChunk) {
		a.emit(c, false)
		lost := make([]float32, len(c.lattices))
		a.b.Download(lost, a.align.lost.Slice(0, len(lost)))
		if syncErr := a.b.Sync(); syncErr != nil && err == nil {
			err = syncErr
		}
		for i, v := range lost {
			if v != 0 && first < 0 {
				first = c.first + i
			}
		}
	})
	return first, err
}
