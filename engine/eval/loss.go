// Package eval measures models: loss and accuracy on held-out documents, answers for masked words, sampling.
package eval

import (
	"errors"
	"io"
	"math"

	"palimpsest/engine/model"
	"palimpsest/objectives"
)

// Loss is what a model gives on some plans. Means are over the rows that bear a loss, weighted as the objective says.
type Loss struct {
	Loss       float64 `json:"loss"`       // with every term of the objective
	NLL        float64 `json:"nll"`        // mean negative log-likelihood of the targets
	Perplexity float64 `json:"perplexity"` // exp(NLL); for masked models that of the masked tokens
	Accuracy   float64 `json:"accuracy"`   // share of rows whose target is the first choice
	Rows       int64   `json:"rows"`
	Tokens     int64   `json:"tokens"`

	BaselineLoss     float64 `json:"baseline_loss"`     // of the unigram distribution of the training tokens
	BaselineAccuracy float64 `json:"baseline_accuracy"` // of always answering its most frequent token
}

// termSum is what a term gave over all plans: its loss is its share of their quotient.
type termSum struct{ share, loss, weight float64 }

// ErrInterrupted is returned when stop asked to leave before the end.
var ErrInterrupted = errors.New("evaluation was interrupted")

// Run evaluates the plans that next yields until io.EOF, without dropout. baseline may be nil. stop, polled between
// plans, may be nil.
func Run(a *model.Activations, w *model.Weights, next func() (*objectives.Plan, error), baseline *Unigram, stop func() bool) (Loss, error) {
	var r Loss
	var nll, hits, baseNLL, baseHits float64
	var sums []termSum // by term
	for {
		if stop != nil && stop() {
			return r, ErrInterrupted
		}
		p, err := next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return r, err
		}
		objectives.SetDenominators([]*objectives.Plan{p})
		if err := a.Load(p, model.Step{}); err != nil {
			return r, err
		}
		a.ResetResults()
		a.Forward(w)
		a.Loss(w, false)
		names := make([]string, len(p.Terms))
		_, terms, err := a.Results(names)
		if err != nil {
			return r, err
		}
		for i, t := range terms {
			term := &p.Terms[i]
			if i == len(sums) {
				sums = append(sums, termSum{share: term.Share})
			}
			sums[i].loss += t.Loss
			sums[i].weight += term.Weight()
			if term.Head != p.Terms[0].Head { // all but the loss is about the first term's head
				continue
			}
			nll += t.NLL
			hits += t.Hits
			r.Rows += int64(len(term.Rows))
			if baseline != nil {
				h, n := baseline.Score(term.Targets)
				baseHits += h
				baseNLL += n
			}
		}
		r.Tokens += int64(len(p.Tokens))
	}
	if r.Rows == 0 {
		return r, errors.New("no held-out row bears a loss; hint: a larger data.valid or eval.tokens")
	}
	rows := float64(r.Rows)
	for _, s := range sums {
		r.Loss += s.share * s.loss / math.Max(s.weight, 1e-300)
	}
	r.NLL, r.Accuracy = nll/rows, hits/rows
	r.Perplexity = math.Exp(r.NLL)
	r.BaselineLoss, r.BaselineAccuracy = baseNLL/rows, baseHits/rows
	return r, nil
}

// Unigram is the distribution of single tokens, the baseline that a model must beat.
type Unigram struct {
	counts []int64
	total  int64
	best   int32
}

// NewUnigram returns an empty distribution over a vocabulary.
func NewUnigram(vocab int) *Unigram { return &Unigram{counts: make([]int64, vocab)} }

// Observe counts tokens, all but those that skip names (tokens that are never asked for); skip may be nil.
func (u *Unigram) Observe(tokens []int32, skip func(id int32) bool) {
	for _, id := range tokens {
		if skip != nil && skip(id) {
			continue
		}
		u.total++
		u.counts[id]++
		if u.counts[id] > u.counts[u.best] {
			u.best = id
		}
	}
}

// Score returns how many of the targets are the most frequent token, and the sum of their negative log-likelihoods with
// add-one smoothing.
func (u *Unigram) Score(targets []int32) (hits, nll float64) {
	for _, id := range targets {
		if id < 0 {
			continue
		}
		if id == u.best {
			hits++
		}
		nll -= math.Log(float64(u.counts[id]+1) / float64(u.total+int64(len(u.counts))))
	}
	return hits, nll
}
