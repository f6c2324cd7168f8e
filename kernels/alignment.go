package kernels

import "math"

// A Lattice is one segment of an alignment: its states are rows [Start,End) and its targets are [First,Last). Matrices of a
// list of lattices lie one behind the other in the list's order: with S states and E emitted tokens, E the number of targets
// and, under CTC, one more for the blank, the match of a lattice is [E,S] and its links are [S,S].
type Lattice struct {
	Start, End, First, Last int32
}

func (l Lattice) states() int  { return int(l.End - l.Start) }
func (l Lattice) targets() int { return int(l.Last - l.First) }

// emitted is E of Lattice.
func (l Lattice) emitted(mode AlignmentMode) int {
	if mode == CTC {
		return l.targets() + 1
	}
	return l.targets()
}

// MatchSize and LinksSize are the elements of all lattices' match and links.
func MatchSize(lattices []Lattice, mode AlignmentMode) (n int) {
	for _, l := range lattices {
		n += l.emitted(mode) * l.states()
	}
	return n
}

// LinksSize is described at MatchSize.
func LinksSize(lattices []Lattice) (n int) {
	for _, l := range lattices {
		n += l.states() * l.states()
	}
	return n
}

// AlignmentMode says which paths through a lattice emit its targets.
type AlignmentMode uint8

// DAG: a path is strictly increasing from the first state to the last, emits a target at each state that it visits and pays
// the links between them (DA-Transformer, arXiv 2205.07459; ExLM, arXiv 2501.13397). CTC: every state emits a target or the
// blank, a run of states may emit one target, and equal neighbouring targets need a blank between them (Graves et al., 2006);
// there are no links. ExLM without transitions aligns each group of states to its one target so.
const (
	DAG AlignmentMode = iota + 1
	CTC
)

// Emissions gathers what an alignment reads of logits, in one pass over them: LSE[r] is the log-sum-exp of row r of Logits
// [R,V] and Match the log-probability of every emitted token of a lattice at each of its states,
//
//	match[i][u] = log softmax(z_u)[y_i]
//
// the blank being the last one under CTC. Rows outside of all lattices are not read.
type Emissions struct {
	Match, LSE, Logits, Targets Buf // Targets int32, Logits Compute, the rest Master
	Lattices                    []Lattice
	R, V                        int
	Mode                        AlignmentMode
	Blank                       int32 // of CTC
}

// EmissionsBackward writes the gradient by the logits over them, from that by the match:
//
//	dz_u = sum_i dmatch[i][u] (onehot(y_i) - softmax(z_u))
//
// Rows outside of all lattices get zeros, and so do rows without a gradient, whatever they hold. LSE is that of Emissions.
type EmissionsBackward struct {
	Logits, DMatch, LSE, Targets Buf
	Lattices                     []Lattice
	R, V                         int
	Mode                         AlignmentMode
	Blank                        int32
}

// Alignment sums over all paths of each lattice. With b the lattice and w its weight (Weights absent: 1),
//
//	LogP[b] = log of the sum over paths of the product of emissions and links
//	Loss[b] = -w * LogP[b]
//
// and, with Grad, DMatch = GradScale * d(sum of losses)/dMatch and DLogE the same for LogE, entries of no path exactly 0. A
// lattice that has targets but no path, or under CTC the blank among its targets, is lost: LogP is -Inf, Lost[b] is 1 (else
// 0), loss and gradients are 0. One without targets has LogP, loss and gradients 0. LogE, and DLogE with Grad, are for DAG
// alone; LogE is -Inf at (v,u) where no link goes from state v to u, which holds for all u <= v. Targets are read by CTC.
//
// The dynamic programs run in the logarithms, each step relative to its largest number, so that long and unlikely paths keep
// the precision of short ones.
type Alignment struct {
	LogP, Loss, Lost, DMatch, DLogE, Match, LogE, Weights, Targets Buf // Targets int32, the rest Master
	Lattices                                                       []Lattice
	Mode                                                           AlignmentMode
	Blank                                                          int32
	Grad                                                           bool
	GradScale                                                      float64
}

// lattices checks a list; rows and targets say how many there are.
func (c opCheck) lattices(list []Lattice, mode AlignmentMode, rows, targets int) {
	if mode != DAG && mode != CTC {
		c.fail("mode %d does not exist", mode)
	}
	end := int32(0)
	for b, l := range list {
		if l.Start < end || l.End < l.Start || int(l.End) > rows {
			c.fail("lattice %d has states [%d,%d), want them behind those before it and inside the %d rows", b, l.Start, l.End, rows)
		}
		if l.First < 0 || l.Last < l.First || int(l.Last) > targets {
			c.fail("lattice %d has targets [%d,%d), want them inside the %d targets", b, l.First, l.Last, targets)
		}
		end = l.End
	}
	n := max(MatchSize(list, mode), LinksSize(list))
	if mode == CTC { // whose programs have a label between any two targets
		n = 2 * MatchSize(list, mode)
	}
	if n > math.MaxInt32 {
		c.fail("the lattices' matrices have %d elements, want at most %d", n, math.MaxInt32)
	}
}

func (c opCheck) emissions(lattices []Lattice, mode AlignmentMode, match, lse, logits, targets Buf, R, V int, blank int32) {
	c.dims(0, "R", R)
	c.dims(1, "V", V)
	c.index("Targets", targets, 0)
	c.lattices(lattices, mode, R, targets.Len())
	c.activation("Logits", logits, R*V)
	c.master("LSE", lse, R)
	c.master("match", match, MatchSize(lattices, mode))
	if mode == CTC && (blank < 0 || int(blank) >= V) {
		c.fail("Blank = %d, want it in [0,%d)", blank, V)
	}
}

func (a *Emissions) check() {
	checkOp("Emissions", "Logits", a.Logits).emissions(a.Lattices, a.Mode, a.Match, a.LSE, a.Logits, a.Targets, a.R, a.V, a.Blank)
}

func (a *EmissionsBackward) check() {
	checkOp("EmissionsBackward", "Logits", a.Logits).emissions(a.Lattices, a.Mode, a.DMatch, a.LSE, a.Logits, a.Targets, a.R, a.V, a.Blank)
}

func (a *Alignment) check() {
	c := checkOp("Alignment", "Match", a.Match)
	targets := math.MaxInt32
	if a.Mode == CTC {
		c.index("Targets", a.Targets, 0)
		targets = a.Targets.Len()
	}
	c.lattices(a.Lattices, a.Mode, math.MaxInt32, targets)
	n, match := len(a.Lattices), MatchSize(a.Lattices, a.Mode)
	c.activation("Match", a.Match, match)
	optional(c.activation, "LogP", a.LogP, n)
	optional(c.activation, "Loss", a.Loss, n)
	optional(c.activation, "Lost", a.Lost, n)
	optional(c.activation, "Weights", a.Weights, n)
	if a.Mode == DAG {
		c.activation("LogE", a.LogE, LinksSize(a.Lattices))
	}
	if !a.Grad {
		return
	}
	c.activation("DMatch", a.DMatch, match)
	if a.Mode == DAG {
		c.activation("DLogE", a.DLogE, LinksSize(a.Lattices))
	}
	if math.IsNaN(a.GradScale) || math.IsInf(a.GradScale, 0) {
		c.fail("GradScale = %g", a.GradScale)
	}
}

// rowOwners returns the lattice of each of R rows, -1 where there is none.
func rowOwners(lattices []Lattice, R int) []int32 {
	owners := make([]int32, R)
	for r := range owners {
		owners[r] = -1
	}
	for b, l := range lattices {
		for r := l.Start; r < l.End; r++ {
			owners[r] = int32(b)
		}
	}
	return owners
}

// matrixOffsets returns where each lattice's match and links begin.
func matrixOffsets(lattices []Lattice, mode AlignmentMode) (match, links []int) {
	match, links = make([]int, len(lattices)), make([]int, len(lattices))
	m, e := 0, 0
	for b, l := range lattices {
		match[b], links[b] = m, e
		m, e = m+l.emitted(mode)*l.states(), e+l.states()*l.states()
	}
	return match, links
}

// token returns the i-th emitted token of a lattice.
func (l Lattice) token(i int, targets []int32, blank int32) int32 {
	if i == l.targets() {
		return blank
	}
	return targets[int(l.First)+i]
}

// BestAlignment returns the most likely path of a lattice under DAG, the state of each target, and its log-probability; nil
// and -Inf where there is none (Viterbi). match is [M,S], logE [S,S].
func BestAlignment[T float32 | float64](match, logE []T, M, S int) (path []int, logP float64) {
	if M == 0 || S == 0 {
		return nil, math.Inf(-1)
	}
	best, from := make([]float64, M*S), make([]int, M*S)
	for at := range best {
		best[at] = math.Inf(-1)
	}
	best[0] = float64(match[0])
	for i := 1; i < M; i++ {
		for u := i; u < S; u++ {
			at := i*S + u
			for v := i - 1; v < u; v++ {
				if p := best[at-u-S+v] + float64(logE[v*S+u]); p > best[at] {
					best[at], from[at] = p, v
				}
			}
			best[at] += float64(match[at])
		}
	}
	logP = best[M*S-1]
	if math.IsInf(logP, -1) {
		return nil, logP
	}
	path = make([]int, M)
	for i, u := M-1, S-1; i >= 0; i-- {
		path[i] = u
		u = from[i*S+u]
	}
	return path, logP
}
