package eval

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"sync"

	"palimpsest/engine/model"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// What a model with expanded states (ExLM) says of single masked tokens. In a graph a state u is visited with probability
//
//	v_0 = 1, v_w = sum_u v_u E_uw
//
// and the states of a masked token together say p(y) = sum_u v_u p_u(y) / sum_u v_u. Without links, the states of a token emit y
// with the probability of the CTC alignments that do, here over all y but the blank.

// Names of measures of masked tokens.
const (
	MeasureEntropy      = "entropy"           // mean entropy of what is predicted for masked tokens, in nats
	MeasurePathAccuracy = "path_accuracy"     // share of masked tokens whose first choice on the best path is right
	MeasureInvalidRows  = "exlm_invalid_rows" // texts without a path through their graph
)

// Astray is the note that the links of an evaluated model (of its nll, that of the unigram baseline, and its measures) lead past the
// masks; "" where they do not, or where there are none. Links are learned faster than what states say: a small model may
// settle on paths whose states stand elsewhere than the targets that they emit, and no path then teaches it better.
func Astray(nll, baseline float64, measures map[string]float64) string {
	if _, linked := measures[MeasurePathAccuracy]; !linked || !(nll > baseline) {
		return ""
	}
	return fmt.Sprintf("exlm: the states of masked tokens say less of them (%.2f nats) than the frequencies of tokens do (%.2f); the run is too short, or its links lead past the masks; hint: let a phase of mlm go before (phases: [{objective: mlm, ...}, {objective: exlm, ...}]), or train.init, or exlm.dag: sparse", nll, baseline)
}

// expanded is the states [from,to) of a lattice that stand for one token.
type expanded struct {
	from, to int
	target   int32
	seen     int32
}

func (e expanded) masked() bool { return e.seen != e.target }

// expandedOf lists the tokens of a lattice.
func expandedOf(p *objectives.Plan, t *objectives.Term, l kernels.Lattice) (list []expanded) {
	for r := int(l.Start); r < int(l.End); r++ {
		if r == int(l.Start) || t.Sources[r] != t.Sources[r-1] {
			row := t.Rows[r]
			list = append(list, expanded{from: r - int(l.Start), target: p.OriginalTokens[row], seen: p.Tokens[row]})
		}
		list[len(list)-1].to = r - int(l.Start) + 1
	}
	return list
}

// A reader turns what a model says of a lattice into what it says of tokens.
type reader struct {
	model.Lattice
	V     int
	blank int               // -1: there is none
	probs map[int][]float64 // by state, as they are asked for
}

func newReader(l model.Lattice, t *objectives.Term) *reader {
	r := &reader{Lattice: l, V: len(l.Logits) / l.States, blank: -1, probs: map[int][]float64{}}
	if t.Mode == kernels.CTC {
		r.blank = int(t.Blank)
	}
	return r
}

// state returns the distribution of a state.
func (r *reader) state(u int) []float64 {
	if p, ok := r.probs[u]; ok {
		return p
	}
	z := r.Logits[u*r.V:][:r.V]
	lse, p := logSumExp(z), make([]float64, r.V)
	for y, v := range z {
		p[y] = math.Exp(float64(v) - lse)
	}
	r.probs[u] = p
	return p
}

// visits returns the probability of visiting each state; nil without links.
func (r *reader) visits() []float64 {
	if r.LogE == nil {
		return nil
	}
	S := r.States
	v := make([]float64, S)
	v[0] = 1
	for u := range v {
		if v[u] == 0 {
			continue
		}
		for to := u + 1; to < S; to++ {
			v[to] += v[u] * math.Exp(float64(r.LogE[u*S+to]))
		}
	}
	return v
}

// token returns what the states of a group say together.
func (r *reader) token(g expanded, visits []float64) []float64 {
	sum := make([]float64, r.V)
	if visits == nil {
		r.emitted(sum, g)
	} else {
		for u := g.from; u < g.to; u++ {
			w := visits[u]
			for y, p := range r.state(u) {
				sum[y] += w * p
			}
		}
	}
	total := 0.0
	for _, p := range sum {
		total += p
	}
	if total == 0 { // no state is ever visited: they count alike
		for u := g.from; u < g.to; u++ {
			for y, p := range r.state(u) {
				sum[y] += p
			}
		}
		total = float64(g.to - g.from)
	}
	for y := range sum {
		sum[y] /= total
	}
	return sum
}

// emitted adds the probability that the states of a group emit each token alone: a run of it between blanks.
func (r *reader) emitted(sum []float64, g expanded) {
	n := g.to - g.from
	before, behind := make([]float64, n+1), make([]float64, n+1) // of blanks only
	before[0], behind[n] = 1, 1
	for i := range n {
		before[i+1] = before[i] * r.state(g.from + i)[r.blank]
	}
	for i := n - 1; i >= 0; i-- {
		behind[i] = behind[i+1] * r.state(g.from + i)[r.blank]
	}
	for first := range n {
		run := make([]float64, r.V)
		for y := range run {
			run[y] = before[first]
		}
		for last := first; last < n; last++ {
			for y, p := range r.state(g.from + last) {
				run[y] *= p
				sum[y] += run[y] * behind[last+1]
			}
		}
	}
	sum[r.blank] = 0
}

// path returns the state of each group on the most likely path that takes one of each, with the best token at every state; nil
// without links, or where there is no such path.
func (r *reader) path(groups []expanded) []int {
	if r.LogE == nil {
		return nil
	}
	S := r.States
	match := make([]float32, len(groups)*S)
	for i := range match {
		match[i] = float32(math.Inf(-1))
	}
	for i, g := range groups {
		for u := g.from; u < g.to; u++ {
			z := r.Logits[u*r.V:][:r.V]
			match[i*S+u] = float32(float64(slices.Max(z)) - logSumExp(z))
		}
	}
	path, _ := kernels.BestAlignment(match, r.LogE, len(groups), S)
	return path
}

// latticeSums are sums over masked tokens.
type latticeSums struct {
	rowSums
	entropy, pathHits float64
	paths             bool // there are links
}

func (s *latticeSums) merge(o latticeSums) {
	s.nll += o.nll
	s.hits += o.hits
	s.rows += o.rows
	s.baseNLL += o.baseNLL
	s.baseHits += o.baseHits
	s.entropy += o.entropy
	s.pathHits += o.pathHits
	s.paths = s.paths || o.paths
}

// score compares what a model says of the masked tokens of a lattice with what stood there.
func score(p *objectives.Plan, t *objectives.Term, l model.Lattice, baseline *Unigram) (s latticeSums) {
	r, groups := newReader(l, t), expandedOf(p, t, t.Lattices[l.Index])
	visits, path := r.visits(), r.path(groups)
	for i, g := range groups {
		if !g.masked() {
			continue
		}
		said := r.token(g, visits)
		best := 0
		for y, q := range said {
			if q > said[best] {
				best = y
			}
			if q > 0 {
				s.entropy -= q * math.Log(q)
			}
		}
		s.rows++
		s.nll -= math.Log(math.Max(said[g.target], math.SmallestNonzeroFloat64))
		if best == int(g.target) {
			s.hits++
		}
		if s.paths = s.paths || r.LogE != nil; path != nil {
			if z := r.Logits[path[i]*r.V:][:r.V]; slices.Index(z, slices.Max(z)) == int(g.target) {
				s.pathHits++
			}
		}
		if baseline != nil {
			h, n := baseline.Score([]int32{g.target})
			s.baseHits += h
			s.baseNLL += n
		}
	}
	return s
}

// scoreLattices adds what the model says of the masked tokens of a term of the loaded plan.
func scoreLattices(a *model.Activations, w *model.Weights, p *objectives.Plan, index int, sums *latticeSums, baseline *Unigram) error {
	t := &p.Terms[index]
	return a.Lattices(w, index, func(list []model.Lattice) {
		found := make([]latticeSums, len(list))
		each(len(list), func(i int) { found[i] = score(p, t, list[i], baseline) })
		for _, s := range found {
			sums.merge(s)
		}
	})
}

// each calls f for 0 to n-1 on all processors.
func each(n int, f func(i int)) {
	var group sync.WaitGroup
	next := make(chan int)
	for range min(n, runtime.GOMAXPROCS(0)) {
		group.Go(func() {
			for i := range next {
				f(i)
			}
		})
	}
	for i := range n {
		next <- i
	}
	close(next)
	group.Wait()
}

// eachLattice runs a plan of lattices, reads every one of them, several at a time, and calls use with what was read and the number
// of its segment, in order.
func eachLattice[T any](a *model.Activations, w *model.Weights, p *objectives.Plan, read func(r *reader, t *objectives.Term, l kernels.Lattice) T, use func(segment int, read T)) error {
	if len(p.Terms) != 1 || p.Terms[0].Kind != objectives.Alignment {
		return fmt.Errorf("the plan has no lattices")
	}
	if err := a.Load(p, model.Step{}); err != nil {
		return err
	}
	a.Forward(w)
	t, segment := &p.Terms[0], 0
	return a.Lattices(w, 0, func(list []model.Lattice) {
		all := make([]T, len(list))
		each(len(list), func(i int) { all[i] = read(newReader(list[i], t), t, t.Lattices[list[i].Index]) })
		for i, l := range list {
			for t.Offsets[segment+1] <= t.Lattices[l.Index].Start {
				segment++
			}
			use(segment, all[i])
		}
	})
}

// told is what a model says of an expanded mask token: what its states say together, and the distribution of the state that stands
// for it on the most likely path that visits one state of every token; nil without links.
type told struct{ together, onPath []float64 }

// eachMask runs a plan of lattices and calls f, in order, with the number of its segment and what is said of every expanded mask token.
func eachMask(a *model.Activations, w *model.Weights, p *objectives.Plan, mask int32, f func(segment int, s told)) error {
	return eachLattice(a, w, p, func(r *reader, t *objectives.Term, l kernels.Lattice) (list []told) {
		groups := expandedOf(p, t, l)
		visits, path := r.visits(), r.path(groups)
		for i, g := range groups {
			if g.seen != mask {
				continue
			}
			s := told{together: r.token(g, visits)}
			if path != nil {
				s.onPath = r.state(path[i])
			}
			list = append(list, s)
		}
		return list
	}, func(segment int, list []told) {
		for _, s := range list {
			f(segment, s)
		}
	})
}

// FillLattices returns the top answers for every expanded mask token of the segments of a plan, by segment and mask: those of the
// states on the most likely path, or without links what a token's states emit together.
func FillLattices(a *model.Activations, w *model.Weights, p *objectives.Plan, mask int32, top int) ([][][]Answer, error) {
	answers := make([][][]Answer, len(p.Segments))
	err := eachMask(a, w, p, mask, func(segment int, s told) {
		answer := s.together
		if s.onPath != nil {
			answer = s.onPath
		}
		answers[segment] = append(answers[segment], likeliest(answer, top))
	})
	if err != nil {
		return nil, err
	}
	return answers, nil
}

// RecoverLattices is Recover of texts that a plan has as lattices: targets are those of the masks of all its segments, in order. What
// the states of a mask say together is what counts, as in evaluations of loss.
func RecoverLattices(a *model.Activations, w *model.Weights, p *objectives.Plan, mask int32, targets []int32) (r Recovery, err error) {
	err = eachMask(a, w, p, mask, func(_ int, s told) { r.see(s.together, targets[r.Tokens]) })
	r.mean()
	return r, err
}

// RecallLattices returns the log-probability that the states of a mask together give each of its targets, for all masks of a plan, in
// order.
func RecallLattices(a *model.Activations, w *model.Weights, p *objectives.Plan, mask int32, targets [][]int32) (logP [][]float64, err error) {
	err = eachMask(a, w, p, mask, func(_ int, s told) {
		var list []float64
		for _, y := range targets[len(logP)] {
			list = append(list, math.Log(math.Max(s.together[y], math.SmallestNonzeroFloat64)))
		}
		logP = append(logP, list)
	})
	return logP, err
}

// A PathStep is a target of a text on the likeliest path through its graph, and the state that emits it. Places count tokens of the
// text, its ends included.
type PathStep struct {
	Target        int32
	Place         int     // of the token that is asked for
	Source        int     // of the token whose state emits it, which may be another one
	State, States int     // number of the state among those of its token, from 1
	Emission      float64 // log-probability of the target at the state
	Link          float64 // log-probability of the link from the state before; 0 for the first
	Share         float64 // of all paths, weighed by their probability: those on which this state emits this target
}

// An AlignedText is how the targets of a text align with its states.
type AlignedText struct {
	LogP, BestLogP float64    // of all paths, of the likeliest; -Inf where there is none
	Path           []PathStep // nil where there is none
}

// AlignLattices aligns the targets of every segment of a plan with the states of its graph, along the likeliest path. A segment
// without a graph has no path.
func AlignLattices(a *model.Activations, w *model.Weights, p *objectives.Plan) ([]AlignedText, error) {
	texts := make([]AlignedText, len(p.Segments))
	for i := range texts {
		texts[i].LogP, texts[i].BestLogP = math.Inf(-1), math.Inf(-1)
	}
	err := eachLattice(a, w, p, func(r *reader, t *objectives.Term, l kernels.Lattice) AlignedText {
		return r.align(expandedOf(p, t, l), t, l)
	},
		func(segment int, text AlignedText) { texts[segment] = text })
	return texts, err
}

// align sums over the paths that emit the targets of a graph and follows the likeliest.
func (r *reader) align(groups []expanded, t *objectives.Term, l kernels.Lattice) (a AlignedText) {
	S, M := r.States, len(groups)
	match, logE := make([]float64, M*S), make([]float64, S*S)
	for u := range S {
		z := r.Logits[u*r.V:][:r.V]
		lse := logSumExp(z)
		for i, g := range groups {
			match[i*S+u] = float64(z[g.target]) - lse
		}
	}
	for i, e := range r.LogE {
		logE[i] = float64(e)
	}
	logP, share := []float64{0}, make([]float64, M*S)
	kernels.NewRef64().Alignment(kernels.Alignment{LogP: kernels.HostBuf(logP), Match: kernels.HostBuf(match), LogE: kernels.HostBuf(logE),
		DMatch: kernels.HostBuf(share), DLogE: kernels.HostBuf(make([]float64, S*S)), Lattices: []kernels.Lattice{{End: int32(S), Last: int32(M)}},
		Mode: kernels.DAG, Grad: true, GradScale: -1})
	path, best := kernels.BestAlignment(match, logE, M, S)
	a.LogP, a.BestLogP = logP[0], best
	for i, u := range path {
		at := int(l.Start) + u
		s := PathStep{Target: groups[i].target, Place: int(t.Sources[int(l.Start)+groups[i].from]), Source: int(t.Sources[at]),
			Emission: match[i*S+u], Share: share[i*S+u]}
		for _, g := range groups {
			if g.from <= u && u < g.to {
				s.State, s.States = u-g.from+1, g.to-g.from
			}
		}
		if i > 0 {
			s.Link = logE[path[i-1]*S+u]
		}
		a.Path = append(a.Path, s)
	}
	return a
}

// likeliest returns the k most probable tokens; ties go to the smaller id.
func likeliest(p []float64, k int) (list []Answer) {
	for y, q := range p {
		if len(list) == k && !(q > list[k-1].Probability) {
			continue
		}
		at, _ := slices.BinarySearchFunc(list, q, func(a Answer, q float64) int {
			if a.Probability >= q {
				return -1
			}
			return 1
		})
		list = slices.Insert(list, at, Answer{int32(y), q})
		if len(list) > k {
			list = list[:k]
		}
	}
	return list
}

// TagExpanded is TagTokens of sequences in which begin and end tokens have several states, the first of which is asked. No expanded
// sequence may be longer than a step.
func TagExpanded(a *model.Activations, w *model.Weights, capacity model.Capacity, mask kernels.Mask, head string, sequences [][]int32, ends func(id int32) bool, e objectives.Expansion) ([][]byte, error) {
	tags := make([][]byte, len(sequences))
	for from := 0; from < len(sequences); {
		p, to := new(objectives.Plan), from
		var rows []int32
		for ; to < len(sequences); to++ {
			n := len(sequences[to])
			for _, id := range sequences[to] {
				if ends(id) {
					n += e.K - 1
				}
			}
			if n > capacity.Tokens {
				return nil, fmt.Errorf("sequence %d has %d tokens, and %d rows when its begin and end tokens are expanded; a step takes %d", to, len(sequences[to]), n, capacity.Tokens)
			}
			if len(p.Tokens)+n > capacity.Tokens {
				break
			}
			rows = append(rows, p.Lay(sequences[to], ends, mask, e)...)
		}
		if err := p.Check(int(w.Config.Vocab), w.Config.Context); err != nil {
			return nil, err
		}
		if err := a.Load(p, model.Step{}); err != nil {
			return nil, err
		}
		a.Forward(w)
		flat := make([]byte, len(rows))
		err := a.HeadLogits(w, head, rows, func(i int, logits []float32) {
			for c, v := range logits {
				if v > logits[flat[i]] {
					flat[i] = byte(c)
				}
			}
		})
		if err != nil {
			return nil, err
		}
		for ; from < to; from++ {
			n := len(sequences[from])
			tags[from], flat = flat[:n], flat[n:]
		}
	}
	return tags, nil
}
