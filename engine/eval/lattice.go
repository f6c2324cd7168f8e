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

// eachMask runs a plan of lattices and calls f, in order, with what is said of every expanded mask token: the number of its segment,
// what its states say together, and the distribution of the state that stands for it on the most likely path that
// visits one state of every token; nil without links.
func eachMask(a *model.Activations, w *model.Weights, p *objectives.Plan, mask int32, f func(segment int, together, onPath []float64)) error {
	if len(p.Terms) != 1 || p.Terms[0].Kind != objectives.Alignment {
		return fmt.Errorf("the plan has no lattices")
	}
	if err := a.Load(p, model.Step{}); err != nil {
		return err
	}
	a.Forward(w)
	t, segment := &p.Terms[0], 0
	return a.Lattices(w, 0, func(list []model.Lattice) {
		for _, l := range list {
			bounds := t.Lattices[l.Index]
			for t.Offsets[segment+1] <= bounds.Start {
				segment++
			}
			r, groups := newReader(l, t), expandedOf(p, t, bounds)
			visits, path := r.visits(), r.path(groups)
			for i, g := range groups {
				if g.seen != mask {
					continue
				}
				var onPath []float64
				if path != nil {
					onPath = r.state(path[i])
				}
				f(segment, r.token(g, visits), onPath)
			}
		}
	})
}

// FillLattices returns the top answers for every expanded mask token of the segments of a plan, by segment and mask: those of the
// states on the most likely path, or without links what a token's states emit together.
func FillLattices(a *model.Activations, w *model.Weights, p *objectives.Plan, mask int32, top int) ([][][]Answer, error) {
	answers := make([][][]Answer, len(p.Segments))
	err := eachMask(a, w, p, mask, func(segment int, together, onPath []float64) {
		if onPath != nil {
			together = onPath
		}
		answers[segment] = append(answers[segment], likeliest(together, top))
	})
	if err != nil {
		return nil, err
	}
	return answers, nil
}

// RecoverLattices is Recover of texts that a plan has as lattices: targets are those of the masks of all its segments, in order. What
// the states of a mask say together is what counts, as in evaluations of loss.
func RecoverLattices(a *model.Activations, w *model.Weights, p *objectives.Plan, mask int32, targets []int32) (r Recovery, err error) {
	err = eachMask(a, w, p, mask, func(_ int, together, _ []float64) {
		r.see(together, targets[r.Tokens])
	})
	r.mean()
	return r, err
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
