package eval

import (
	"math"
	"slices"

	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/kernels"
)

// PairScores is what a model gives one minimal pair.
type PairScores struct {
	Good, Bad Scores
	Tokens    [2]int // of the two sentences
	Alike     bool   // both have the same tokens, so that no score tells them apart
}

// ScorePairs scores both sentences of every pair, in one packed stream over all sets. encode makes tokens of a sentence,
// without special ones at its ends. A sentence that is longer than the model takes is an error: nothing is cut.
func ScorePairs(a *model.Activations, w *model.Weights, capacity model.Capacity, pairs []Pair, encode func(string) []int32, o Scoring, stop func() bool) ([]PairScores, error) {
	longest := min(w.Config.Context, capacity.Tokens)
	sentences, scored := make([][]int32, 0, 2*len(pairs)), make([]PairScores, len(pairs))
	for i, p := range pairs {
		for k, sentence := range []string{p.Good, p.Bad} {
			ids := encode(sentence)
			if n := o.length(len(ids)); len(ids) == 0 || n > longest {
				if runes := []rune(sentence); len(runes) > 80 {
					sentence = string(runes[:80]) + "..."
				}
				return nil, fault.Data.Errorf("%s: %q has %d tokens, %d with those at its ends, and the model takes 1 to %d", p.Place(), sentence, len(ids), n, longest)
			}
			sentences = append(sentences, ids)
			scored[i].Tokens[k] = len(ids)
		}
		scored[i].Alike = slices.Equal(sentences[2*i], sentences[2*i+1])
	}
	if err := o.Check(); err != nil {
		return nil, err
	}
	if o.Causal || o.Masked {
		scores, err := ScoreSentences(a, w, capacity, sentences, o, stop)
		if err != nil {
			return nil, err
		}
		for i := range scored {
			scored[i].Good, scored[i].Bad = scores[2*i], scores[2*i+1]
		}
	}
	if o.Prefix {
		return scored, scorePrefixes(a.Scorer(w), scored, sentences, o, stop)
	}
	return scored, nil
}

// scorePrefixes scores pairs as a prefix language model does. The prompt is what both sentences begin with, at most all but the
// last token of the shorter one; it runs once for both.
func scorePrefixes(d *model.Decoder, scored []PairScores, sentences [][]int32, o Scoring, stop func() bool) error {
	for i := range scored {
		if stop != nil && stop() {
			return ErrInterrupted
		}
		pair := sentences[2*i : 2*i+2]
		shared := 0
		for shared < min(len(pair[0]), len(pair[1]))-1 && pair[0][shared] == pair[1][shared] {
			shared++
		}
		prompt := append([]int32{o.BOS}, pair[0][:shared]...)
		d.Truncate(0, 0)
		if err := d.Append([]model.Tail{{Tokens: prompt}}, kernels.Bidirectional); err != nil {
			return err
		}
		to := [2]*Scores{&scored[i].Good, &scored[i].Bad}
		last := int32(shared)
		if err := d.RowNLL([]int32{last, last}, []int32{pair[0][shared], pair[1][shared]}, func(k int, nll float32) { to[k].Prefix -= float64(nll) }); err != nil {
			return err
		}
		for k, ids := range pair {
			rest := ids[shared:]
			d.Truncate(0, len(prompt))
			if n := len(rest) - 1; n > 0 {
				rows := make([]int32, n)
				for r := range rows {
					rows[r] = int32(r)
				}
				if err := d.Append([]model.Tail{{Tokens: rest[:n]}}, kernels.Causal); err != nil {
					return err
				}
				if err := d.RowNLL(rows, rest[1:], func(_ int, nll float32) { to[k].Prefix -= float64(nll) }); err != nil {
					return err
				}
			}
			if o.PerToken {
				to[k].Prefix /= float64(len(rest))
			}
		}
	}
	return nil
}

// Kinds of scores. Fused is the sum of the first two.
const (
	ScoreCausal = "clm"
	ScoreMasked = "mlm"
	ScoreFused  = "fused"
	ScorePrefix = "prefix"
)

// Kinds lists the scores that a scoring gives.
func (o Scoring) Kinds() (kinds []string) {
	if o.Causal {
		kinds = append(kinds, ScoreCausal)
	}
	if o.Masked {
		kinds = append(kinds, ScoreMasked)
	}
	if o.Causal && o.Masked {
		kinds = append(kinds, ScoreFused)
	}
	if o.Prefix {
		kinds = append(kinds, ScorePrefix)
	}
	return kinds
}

// Of returns one of the scores.
func (s Scores) Of(kind string) float64 {
	switch kind {
	case ScoreCausal:
		return s.Causal
	case ScoreMasked:
		return s.Masked
	case ScorePrefix:
		return s.Prefix
	}
	return s.Causal + s.Masked
}

// Right reports whether the good sentence scores higher. Equal scores are wrong.
func (p PairScores) Right(kind string) bool { return !p.Alike && p.Good.Of(kind) > p.Bad.Of(kind) }

// tied reports whether both sentences score the same.
func (p PairScores) tied(kind string) bool { return p.Alike || p.Good.Of(kind) == p.Bad.Of(kind) }

// PairAccuracy is the share of pairs that a score gets right. Of a group of sets it is the mean over the sets, with its
// standard error from those of the sets.
type PairAccuracy struct {
	Right    int     `json:"right"`
	Ties     int     `json:"ties"` // equal scores, counted as wrong
	Accuracy float64 `json:"accuracy"`
	StdErr   float64 `json:"standard_error"` // binomial: sqrt(p(1-p)/n)
}

// PairGroup is a set of pairs or a group of sets.
type PairGroup struct {
	Name   string                  `json:"name"`
	Field  string                  `json:"field,omitempty"`            // of a set
	Term   string                  `json:"linguistics_term,omitempty"` // of a set
	Sets   int                     `json:"sets"`
	Pairs  int                     `json:"pairs"`
	Alike  int                     `json:"alike"`  // pairs whose sentences have the same tokens
	Scores map[string]PairAccuracy `json:"scores"` // by kind
}

// PairSummary sums up scored pairs: by set, by the field and the phenomenon that sets belong to, and over all sets.
type PairSummary struct {
	Overall PairGroup   `json:"overall"`
	Fields  []PairGroup `json:"fields"`
	Terms   []PairGroup `json:"terms"`
	Sets    []PairGroup `json:"sets"`
}

// SummarisePairs groups pairs, whose sets are contiguous as ReadPairs gives them.
func SummarisePairs(pairs []Pair, scored []PairScores, kinds []string) PairSummary {
	var s PairSummary
	for from := 0; from < len(pairs); {
		to := from + 1
		for to < len(pairs) && pairs[to].UID == pairs[from].UID {
			to++
		}
		s.Sets = append(s.Sets, setOf(pairs[from], scored[from:to], kinds))
		from = to
	}
	s.Fields = groupsOf(s.Sets, kinds, func(g PairGroup) string { return g.Field })
	s.Terms = groupsOf(s.Sets, kinds, func(g PairGroup) string { return g.Term })
	s.Overall = meanOf("all sets", s.Sets, kinds)
	return s
}

func setOf(first Pair, scored []PairScores, kinds []string) PairGroup {
	g := PairGroup{Name: first.UID, Field: first.Field, Term: first.Term, Sets: 1, Pairs: len(scored), Scores: map[string]PairAccuracy{}}
	for _, p := range scored {
		if p.Alike {
			g.Alike++
		}
	}
	for _, kind := range kinds {
		var a PairAccuracy
		for _, p := range scored {
			if p.Right(kind) {
				a.Right++
			} else if p.tied(kind) {
				a.Ties++
			}
		}
		n := float64(len(scored))
		a.Accuracy = float64(a.Right) / n
		a.StdErr = math.Sqrt(a.Accuracy * (1 - a.Accuracy) / n)
		g.Scores[kind] = a
	}
	return g
}

// groupsOf gathers sets by a name, in the order of first occurrence; sets without one are in no group.
func groupsOf(sets []PairGroup, kinds []string, name func(PairGroup) string) []PairGroup {
	groups, order, members := []PairGroup{}, []string{}, map[string][]PairGroup{}
	for _, s := range sets {
		if n := name(s); n != "" {
			if members[n] == nil {
				order = append(order, n)
			}
			members[n] = append(members[n], s)
		}
	}
	for _, n := range order {
		groups = append(groups, meanOf(n, members[n], kinds))
	}
	return groups
}

// meanOf is the mean over sets.
func meanOf(name string, sets []PairGroup, kinds []string) PairGroup {
	g := PairGroup{Name: name, Sets: len(sets), Scores: map[string]PairAccuracy{}}
	for _, s := range sets {
		g.Pairs += s.Pairs
		g.Alike += s.Alike
	}
	n := math.Max(1, float64(len(sets)))
	for _, kind := range kinds {
		var mean PairAccuracy
		variance := 0.0
		for _, s := range sets {
			a := s.Scores[kind]
			mean.Right += a.Right
			mean.Ties += a.Ties
			mean.Accuracy += a.Accuracy / n
			variance += a.StdErr * a.StdErr
		}
		mean.StdErr = math.Sqrt(variance) / n
		g.Scores[kind] = mean
	}
	return g
}
