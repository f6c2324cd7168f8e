package model

import (
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// Links is the transition head of ExLM (arXiv 2501.13397, after DA-Transformer, arXiv 2205.07459), which predicts the links
// between the states of a lattice: a state's features give queries, keys and the gate of a mixture of heads. Features are its
// hidden state and, where asked for, a learned vector of its place in the expanded text.
type Links struct {
	Features  string `yaml:"features" enum:",none,hidden,hidden+position" doc:"what the transition head of exlm reads of a state; none: there is no such head; open: the preset's, or as the section exlm says"`
	Heads     int    `yaml:"heads" min:"0" doc:"its heads; 0: exlm.link_heads, or as many as attention heads"`
	Positions int    `yaml:"positions" min:"0" doc:"rows of its table of places: longest expanded text; 0: exlm.max_positions"`
	States    int    `yaml:"states" min:"0" doc:"states that begin and end tokens have in fine-tuning (classify, tag) and its evaluations; 0: exlm.k in runs of exlm that expand them, else they are not expanded"`
}

// On reports whether there is a transition head.
func (l Links) On() bool { return l.Features == "hidden" || l.Features == "hidden+position" }

func (l Links) places() bool { return l.Features == "hidden+position" }

// resolve fills what is open, and clears what has no meaning.
func (l *Links) resolve(heads int) {
	if l.Features == "" {
		l.Features = "none"
	}
	if !l.On() {
		l.Heads, l.Positions = 0, 0
		return
	}
	if l.Heads == 0 {
		l.Heads = heads
	}
	switch {
	case !l.places():
		l.Positions = 0
	case l.Positions == 0:
		l.Positions = objectives.DefaultEXLM().MaxPositions
	}
}

func (c Config) checkLinks(bad func(format string, args ...any)) {
	l := c.Links
	switch {
	case !l.On():
	case l.Heads > c.Width || c.Width%l.Heads != 0:
		bad("links.heads: width %d is not a multiple of %d heads", c.Width, l.Heads)
	case l.Positions > 1<<20:
		bad("links.positions: %d is over the limit of %d", l.Positions, 1<<20)
	}
}

// linkWeights are the transition head's. The published maps of [hidden state; vector of the place] are written as the sum of one
// map of each, so that no row is copied together.
type linkWeights struct {
	qk, gate           linear // of the hidden state: queries and keys [2C,C], gate [heads,C]
	placeQK, placeGate linear // of the place, without biases
	places             *Param // [positions,C]
}

// LinksPrefix begins the names of the transition head's parameters.
const LinksPrefix = "head.links."

// layoutLinks lists the transition head's parameters.
func (w *Weights) layoutLinks(newLinear func(name string, std float64, bias bool, out, in int) linear, add func(name string, std, fill float64, decay bool, shape ...int) *Param) {
	c, C := w.Config, w.Config.Width
	if !c.Links.On() {
		return
	}
	w.links.qk = newLinear(LinksPrefix+"qk", c.InitStd, true, 2*C, C)
	w.links.gate = newLinear(LinksPrefix+"gate", c.InitStd, true, c.Links.Heads, C)
	if c.Links.places() {
		w.links.placeQK = newLinear(LinksPrefix+"place_qk", c.InitStd, false, 2*C, C)
		w.links.placeGate = newLinear(LinksPrefix+"place_gate", c.InitStd, false, c.Links.Heads, C)
		w.links.places = add(LinksPrefix+"places.weight", c.InitStd, 0, true, c.Links.Positions, C)
	}
}

// linkActivations are the transition head's, of a chunk of states.
type linkActivations struct {
	qk, dqk, gate, dgate kernels.Buf // [chunk,2C], [chunk,heads]
	place, dplace        kernels.Buf // [chunk,C]
	lse                  kernels.Buf // [chunk,heads]
	logE, dlogE          kernels.Buf // [S,S] of every lattice of the chunk
}

func (l *linkActivations) allocate(c Config, chunk, states int, train bool, compute, master kernels.DType, alloc func(kernels.DType, int) kernels.Buf) {
	row := func(width int) kernels.Buf { return alloc(compute, chunk*width) }
	// Without a backward pass dqk and dgate serve as the place's share of queries, keys and gates.
	l.qk, l.dqk, l.gate, l.dgate = row(2*c.Width), row(2*c.Width), row(c.Links.Heads), row(c.Links.Heads)
	if c.Links.places() {
		l.place = row(c.Width)
	}
	l.logE = alloc(master, chunk*states)
	if train {
		l.lse, l.dlogE = alloc(master, chunk*c.Links.Heads), alloc(master, chunk*states)
		if c.Links.places() {
			l.dplace = row(c.Width)
		}
	}
}

// forwardLinks predicts the links of a chunk of lattices over n states, whose hidden state is gathered in head.h.
func (a *Activations) forwardLinks(w *Weights, lattices []kernels.Lattice, places, groups kernels.Buf, n int) {
	c, l, h, p := a.c, &a.align.links, a.head.h, &w.links
	C, heads := c.Width, c.Links.Heads
	a.b.Linear(l.qk, h, p.qk.weight.compute(), p.qk.bias.compute(), kernels.Buf{}, n, C, 2*C, kernels.None)
	a.b.Linear(l.gate, h, p.gate.weight.compute(), p.gate.bias.compute(), kernels.Buf{}, n, C, heads, kernels.None)
	if c.Links.places() {
		a.b.Embed(l.place, places, kernels.Buf{}, p.places.compute(), kernels.Buf{}, kernels.Buf{}, n, C)
		a.b.Linear(l.dqk, l.place, p.placeQK.weight.compute(), kernels.Buf{}, kernels.Buf{}, n, C, 2*C, kernels.None)
		a.b.Add(l.qk.Slice(0, n*2*C), l.dqk.Slice(0, n*2*C))
		a.b.Linear(l.dgate, l.place, p.placeGate.weight.compute(), kernels.Buf{}, kernels.Buf{}, n, C, heads, kernels.None)
		a.b.Add(l.gate.Slice(0, n*heads), l.dgate.Slice(0, n*heads))
	}
	a.b.Links(kernels.Links{LogE: l.logE, LSE: l.lse, QK: l.qk, Gate: l.gate, Groups: groups, Lattices: lattices, Rows: n, H: heads, D: C / heads})
}

// backwardLinks takes the gradient of the links and adds that of the gathered hidden state to head.dh.
func (a *Activations) backwardLinks(w *Weights, lattices []kernels.Lattice, places, groups kernels.Buf, n int) {
	c, l, h, dh, p := a.c, &a.align.links, a.head.h, a.head.dh, &w.links
	C, heads := c.Width, c.Links.Heads
	a.b.LinksBackward(kernels.LinksBackward{DQK: l.dqk, DGate: l.dgate, DLogE: l.dlogE, LogE: l.logE, LSE: l.lse, QK: l.qk, Gate: l.gate, Groups: groups,
		Lattices: lattices, Rows: n, H: heads, D: C / heads})
	a.weightBackward(p.qk, l.dqk, h, n, C, 2*C)
	a.b.LinearBackwardInput(dh, l.dqk, p.qk.weight.compute(), kernels.Buf{}, n, C, 2*C, kernels.None, true)
	a.weightBackward(p.gate, l.dgate, h, n, C, heads)
	a.b.LinearBackwardInput(dh, l.dgate, p.gate.weight.compute(), kernels.Buf{}, n, C, heads, kernels.None, true)
	if !c.Links.places() || p.places.Frozen {
		return
	}
	a.weightBackward(p.placeQK, l.dqk, l.place, n, C, 2*C)
	a.b.LinearBackwardInput(l.dplace, l.dqk, p.placeQK.weight.compute(), kernels.Buf{}, n, C, 2*C, kernels.None, false)
	a.weightBackward(p.placeGate, l.dgate, l.place, n, C, heads)
	a.b.LinearBackwardInput(l.dplace, l.dgate, p.placeGate.weight.compute(), kernels.Buf{}, n, C, heads, kernels.None, true)
	a.b.EmbedBackward(p.places.grad(), kernels.Buf{}, kernels.Buf{}, l.dplace, places, kernels.Buf{}, n, C)
}

// Expansion is what becomes of begin and end tokens in fine-tuning.
func (c Config) Expansion() objectives.Expansion {
	return objectives.Expansion{K: c.Links.States, Flat: c.Positions != "rope2d"}
}
