package bench

import (
	"fmt"
	"math"

	"palimpsest/kernels"
	"palimpsest/kernels/philox"
)

// latticeSizes are what the cases below have in common: lattices of the same size, their states packed end to end.
type latticeSizes struct {
	Lattices int `json:"lattices"`
	States   int `json:"states"`  // of a lattice
	Targets  int `json:"targets"` // of a lattice
}

func (l latticeSizes) String() string {
	return fmt.Sprintf("%d x %d states, %d targets", l.Lattices, l.States, l.Targets)
}

// few keeps what the float64 oracle does in a moment.
func (l latticeSizes) few() latticeSizes {
	return latticeSizes{min(l.Lattices, 3), min(l.States, 210), min(l.Targets, 21)}
}

func (l latticeSizes) rows() int { return l.Lattices * l.States }

func (l latticeSizes) list() (list []kernels.Lattice) {
	for b := range int32(l.Lattices) {
		list = append(list, kernels.Lattice{Start: b * int32(l.States), End: (b + 1) * int32(l.States), First: b * int32(l.Targets), Last: (b + 1) * int32(l.Targets)})
	}
	return list
}

// emitted is how many tokens a lattice emits: its targets and, under ctc, the blank.
func (l latticeSizes) emitted(ctc bool) int {
	if ctc {
		return l.Targets + 1
	}
	return l.Targets
}

func modeOf(ctc bool) (kernels.AlignmentMode, string) {
	if ctc {
		return kernels.CTC, "ctc"
	}
	return kernels.DAG, "dag"
}

// emissionsCase gathers the log-probabilities of the targets at all states from logits, or turns their gradient into that
// of the logits, in place.
type emissionsCase struct {
	latticeSizes
	Vocab    int  `json:"vocab"`
	CTC      bool `json:"ctc"`
	Backward bool `json:"backward"`
}

func (a emissionsCase) op() string { return "emissions" + direction(a.Backward) }
func (a emissionsCase) shape() string {
	_, name := modeOf(a.CTC)
	return fmt.Sprintf("%v, vocabulary %d, %s", a.latticeSizes, a.Vocab, name)
}
func (a emissionsCase) flops() float64 { return 0 }

// bytes: logits in, and backward out; the match, a number a row and the targets once.
func (a emissionsCase) bytes(s sizes) float64 {
	logits := float64(a.rows()*a.Vocab) * s.compute
	if a.Backward {
		logits *= 2
	}
	return logits + float64(a.rows()*a.emitted(a.CTC)+a.rows())*s.master + 4*float64(a.Lattices*a.Targets)
}
func (a emissionsCase) small() kernel {
	a.latticeSizes = a.few()
	a.States, a.Vocab = min(a.States, 9), min(a.Vocab, 8192)
	a.Targets = min(a.Targets, a.States)
	return a
}

func (a emissionsCase) build(m *maker, b kernels.Backend) func() {
	R, mode := a.rows(), kernels.DAG
	if a.CTC {
		mode = kernels.CTC
	}
	f := kernels.Emissions{Logits: m.in(R * a.Vocab), Targets: m.indices(a.Lattices*a.Targets, a.Vocab-1), Lattices: a.list(), R: R, V: a.Vocab,
		Mode: mode, Blank: int32(a.Vocab - 1)}
	n := R * a.emitted(a.CTC)
	if !a.Backward {
		f.Match, f.LSE = m.freshMaster("match", n, 0), m.freshMaster("lse", R, 0)
		return func() { b.Emissions(f) }
	}
	f.Match, f.LSE = m.make(m.info.Master, n, contents{draw: unwritten}), m.make(m.info.Master, R, contents{draw: unwritten})
	m.first(func() { b.Emissions(f) })
	m.out("gradient", f.Logits, R*a.Vocab, float64(a.emitted(a.CTC)))
	m.consumed(f.Logits, R*a.Vocab)
	g := kernels.EmissionsBackward{Logits: f.Logits, DMatch: m.inMaster(n), LSE: f.LSE, Targets: f.Targets, Lattices: f.Lattices, R: R, V: a.Vocab,
		Mode: mode, Blank: f.Blank}
	return func() { b.EmissionsBackward(g) }
}

// alignmentCase sums over all paths of lattices, with both gradients.
type alignmentCase struct {
	latticeSizes
	CTC bool `json:"ctc"`
}

func (a alignmentCase) op() string { return "alignment" }
func (a alignmentCase) shape() string {
	_, name := modeOf(a.CTC)
	return fmt.Sprintf("%v, %s", a.latticeSizes, name)
}

// flops: 3 (addition, exponential, addition) a step of the dynamic program, and 3 times that with the gradients. There is a
// step for each target and pair of states, half of S^2, or under ctc for each state and of 2 M + 1 labels its three predecessors.
func (a alignmentCase) flops() float64 {
	S, M := float64(a.States), float64(a.Targets)
	steps := M * S * S / 2
	if a.CTC {
		steps = 3 * (2*M + 1) * S
	}
	return 3 * 3 * steps * float64(a.Lattices)
}

// bytes: the match and, unless ctc, the links with their gradients; four numbers a lattice; targets of ctc.
func (a alignmentCase) bytes(s sizes) float64 {
	n := float64(a.emitted(a.CTC) * a.States)
	targets := 4 * float64(a.Targets)
	if !a.CTC {
		n, targets = n+float64(a.States*a.States), 0
	}
	return float64(a.Lattices) * ((2*n+4)*s.master + targets)
}
func (a alignmentCase) small() kernel { a.latticeSizes = a.few(); return a }

func (a alignmentCase) build(m *maker, b kernels.Backend) func() {
	const blank = 5000
	mode := kernels.DAG
	if a.CTC {
		mode = kernels.CTC
	}
	n := a.rows() * a.emitted(a.CTC)
	unlikely := contents{draw: func(d *philox.Draw) float64 { return -4 * positive(d) }}
	f := kernels.Alignment{Match: m.make(m.info.Master, n, unlikely), Weights: m.positive(m.info.Master, a.Lattices), Lattices: a.list(), Mode: mode,
		LogP: m.freshMaster("logP", a.Lattices, 0), Loss: m.freshMaster("loss", a.Lattices, 0), Lost: m.freshMaster("lost", a.Lattices, 0),
		DMatch: m.freshMaster("dmatch", n, 0), Grad: true, GradScale: 1}
	if a.CTC {
		f.Targets, f.Blank = m.indices(a.Lattices*a.Targets, blank), blank
	} else {
		links := a.Lattices * a.States * a.States
		f.LogE, f.DLogE = m.repeated(links, a.links()), m.freshMaster("dlogE", links, 0)
	}
	return func() { b.Alignment(f) }
}

// links of a lattice: every later state is nearly as likely as any other, and the row adds up to about one. They are
// multiples of 2^-9.
func (a alignmentCase) links() []float64 {
	logE := make([]float64, 0, a.States*a.States)
	for u := range a.States {
		for v := range a.States {
			e := math.Inf(-1)
			if v > u {
				e = math.Round(512*(float64((u*5+v*3)%7-3)/16-math.Log(float64(a.States-1-u)))) / 512
			}
			logE = append(logE, e)
		}
	}
	return logE
}

// linksCase is ExLM's transition head behind its linear maps.
type linksCase struct {
	latticeSizes
	Heads    int  `json:"heads"`
	Width    int  `json:"width"`
	Group    int  `json:"group"` // sparse: states of a group, which have no links among them; 0: dense
	Backward bool `json:"backward"`
}

func (a linksCase) op() string { return "links" + direction(a.Backward) }
func (a linksCase) shape() string {
	s := fmt.Sprintf("%d x %d states, H %d, D %d", a.Lattices, a.States, a.Heads, a.Width)
	if a.Group > 0 {
		return s + fmt.Sprintf(", sparse by %d", a.Group)
	}
	return s
}

// flops: 2 D a head and link for the scores, backward as much again for the gradients of queries and of keys.
func (a linksCase) flops() float64 {
	S := float64(a.States)
	pairs := S * (S - 1) / 2
	if g := float64(a.Group); g > 1 {
		pairs -= S * (g - 1) / 2
	}
	f := 2 * float64(a.Width*a.Heads*a.Lattices) * pairs
	if a.Backward {
		return 3 * f
	}
	return f
}

// bytes: queries, keys and gates, the log-sum-exps, and all S^2 links; backward the gradients of all of them too.
func (a linksCase) bytes(s sizes) float64 {
	rows := float64(a.rows())
	in, lse, links := rows*float64((2*a.Width+1)*a.Heads)*s.compute, rows*float64(a.Heads)*s.master, rows*float64(a.States)*s.master
	if a.Group > 0 {
		in += 4 * rows
	}
	if a.Backward {
		return in + rows*float64((2*a.Width+1)*a.Heads)*s.compute + lse + 2*links
	}
	return in + lse + links
}
func (a linksCase) small() kernel {
	a.latticeSizes = a.few()
	a.States, a.Heads = min(a.States, 90), min(a.Heads, 2)
	return a
}

func (a linksCase) build(m *maker, b kernels.Backend) func() {
	rows, links := a.rows(), a.Lattices*a.States*a.States
	f := kernels.Links{QK: m.in(rows * 2 * a.Heads * a.Width), Gate: m.in(rows * a.Heads), Lattices: a.list(), Rows: rows, H: a.Heads, D: a.Width}
	if a.Group > 0 {
		groups := make([]int32, rows)
		for u := range groups {
			groups[u] = int32(u / a.Group)
		}
		f.Groups = m.list(groups)
	}
	fresh := contents{draw: unwritten}
	f.LogE, f.LSE = m.make(m.info.Master, links, fresh), m.make(m.info.Master, rows*a.Heads, fresh)
	if !a.Backward {
		m.outInfinite("logE", f.LogE, links)
		m.outInfinite("lse", f.LSE, rows*a.Heads)
		return func() { b.Links(f) }
	}
	m.first(func() { b.Links(f) })
	g := kernels.LinksBackward{DQK: m.fresh("dqk", rows*2*a.Heads*a.Width, 0), DGate: m.fresh("dgate", rows*a.Heads, 0), DLogE: m.inMaster(links),
		LogE: f.LogE, LSE: f.LSE, QK: f.QK, Gate: f.Gate, Groups: f.Groups, Lattices: f.Lattices, Rows: rows, H: a.Heads, D: a.Width}
	return func() { b.LinksBackward(g) }
}
