// Package eval measures models: loss and accuracy on held-out documents, answers for masked words, sampling.
package eval

import (
	"errors"
	"io"
	"math"

	"palimpsest/engine/model"
	"palimpsest/kernels"
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

	// Measures are further figures of the objective at hand, see MeasureKL and those behind it. Where an objective asks for
	// unwanted tokens, all figures above but Loss are of the others, if there are any.
	Measures map[string]float64 `json:"measures,omitempty"`
}

// Plain reports whether the objective's loss is the mean negative log-likelihood of the rows.
func (l Loss) Plain() bool { return math.Abs(l.Loss-l.NLL) <= 1e-9*math.Abs(l.NLL) }

// Names of measures of objectives with unwanted tokens or a frozen reference.
const (
	MeasureKL            = "kl"             // mean KL of the model from the reference, KL(reference || model), at kept tokens, in nats
	MeasureUnwantedLogP  = "unwanted_log_p" // mean log-probability of unwanted tokens where they stand
	MeasureUnwantedFirst = "unwanted_first" // share of unwanted tokens that are the first choice where they stand
	MeasureUnwantedRows  = "unwanted_rows"
)

// Names of measures of tokens of some kind, mean loss and share of right first choices: of objectives that tell boilerplate from
// reasoning, and under repeated masked modelling of the copies of tokens that have no copy left.
const (
	MeasureBoilerplate         = "boilerplate_loss"
	MeasureBoilerplateAccuracy = "boilerplate_accuracy"
	MeasureReasoning           = "reasoning_loss"
	MeasureReasoningAccuracy   = "reasoning_accuracy"
	MeasureLost                = "lost_nll"
	MeasureLostAccuracy        = "lost_accuracy"
)

// apart are the terms whose rows are also measured by themselves.
var apart = []struct{ term, loss, accuracy string }{
	{objectives.TermBoilerplate, MeasureBoilerplate, MeasureBoilerplateAccuracy},
	{objectives.TermReasoning, MeasureReasoning, MeasureReasoningAccuracy},
	{objectives.TermLost, MeasureLost, MeasureLostAccuracy},
}

// MeasureEntityF1 is the F1 of entities, as Entities decodes the tags of tokens, over all types.
const MeasureEntityF1 = "entity_f1"

// rowSums are sums over rows.
type rowSums struct {
	nll, hits, kl, baseNLL, baseHits float64
	rows                             int64
}

func (s *rowSums) add(t model.TermResult, targets []int32, baseline *Unigram) {
	s.nll += t.NLL
	s.hits += t.Hits
	s.rows += int64(len(targets))
	if baseline != nil {
		h, n := baseline.Score(targets)
		s.baseHits += h
		s.baseNLL += n
	}
}

// measure adds what was found of kept and of unwanted rows, and of those that a reference was compared at.
func (r *Loss) measure(unwanted, compared *rowSums) {
	if unwanted.rows+compared.rows == 0 {
		return
	}
	r.Measures = map[string]float64{}
	if n := float64(compared.rows); n > 0 {
		r.Measures[MeasureKL] = compared.kl / n
	}
	if n := float64(unwanted.rows); n > 0 {
		r.Measures[MeasureUnwantedLogP], r.Measures[MeasureUnwantedFirst], r.Measures[MeasureUnwantedRows] = -unwanted.nll/n, unwanted.hits/n, n
	}
}

// put adds a measure.
func (r *Loss) put(name string, value float64) {
	if r.Measures == nil {
		r.Measures = map[string]float64{}
	}
	r.Measures[name] = value
}

// addEntropy adds the entropies of what the language model's head says at some rows.
func addEntropy(a *model.Activations, w *model.Weights, rows []int32, sum *float64) error {
	return a.Logits(w, rows, func(_ int, logits []float32) {
		lse := logSumExp(logits)
		for _, z := range logits {
			if log := float64(z) - lse; log > -700 {
				*sum -= math.Exp(log) * log
			}
		}
	})
}

// addEntities compares the tags of a term's documents with those that its head answers.
func addEntities(a *model.Activations, w *model.Weights, t *objectives.Term, s *EntityScorer) error {
	rows := len(t.Rows) - t.Filled
	truth, answers := make([]byte, rows), make([]byte, rows)
	err := a.HeadLogits(w, t.Head, t.Rows[:rows], func(i int, logits []float32) {
		truth[i] = byte(t.Targets[i])
		for c, v := range logits {
			if v > logits[answers[i]] {
				answers[i] = byte(c)
			}
		}
	})
	for g := 1; g < len(t.Offsets); g++ {
		from, to := min(int(t.Offsets[g-1]), rows), min(int(t.Offsets[g]), rows)
		s.Add(truth[from:to], answers[from:to])
	}
	return err
}

// termSum is what a term gave over all plans: its loss is its share of their quotient.
type termSum struct{ share, loss, weight float64 }

// ErrInterrupted is returned when stop asked to leave before the end.
var ErrInterrupted = errors.New("evaluation was interrupted")

// Run evaluates the plans that next yields until io.EOF, without dropout. baseline may be nil. stop, polled between
// plans, may be nil.
func Run(a *model.Activations, w *model.Weights, next func() (*objectives.Plan, error), baseline *Unigram, stop func() bool) (Loss, error) {
	return run(a, w, next, baseline, false, stop)
}

// RunWithEntropy is Run with the measure of that name of language models, which costs them a second pass of the head; with lattices it
// comes anyway.
func RunWithEntropy(a *model.Activations, w *model.Weights, next func() (*objectives.Plan, error), baseline *Unigram, stop func() bool) (Loss, error) {
	return run(a, w, next, baseline, true, stop)
}

func run(a *model.Activations, w *model.Weights, next func() (*objectives.Plan, error), baseline *Unigram, entropy bool, stop func() bool) (Loss, error) {
	var r Loss
	var asked, unwanted, compared rowSums
	classes := make([]rowSums, len(apart))
	var aligned latticeSums
	lost, entropies := 0.0, 0.0
	var entities EntityScorer
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
			if term.Kind == objectives.Alignment {
				if !term.CountLost {
					sums[i].weight -= t.Lost * term.Weight() / math.Max(1, float64(len(term.Lattices)))
				}
				lost += t.Lost
				if err := scoreLattices(a, w, p, i, &aligned, baseline); err != nil {
					return r, err
				}
				continue
			}
			if entropy && term.Head == objectives.HeadLM && term.Share > 0 && !term.Unwanted {
				if err := addEntropy(a, w, term.Rows, &entropies); err != nil {
					return r, err
				}
			}
			if term.Entities {
				if err := addEntities(a, w, term, &entities); err != nil {
					return r, err
				}
			}
			if term.Kind == objectives.ReferenceKL && !term.Unwanted && term.Pulls.Kept == kernels.ForwardKL {
				compared.kl += t.KL
				compared.rows += int64(len(term.Rows))
			}
			for k := range apart {
				if apart[k].term == term.Name {
					classes[k].add(t, term.Targets, nil)
				}
			}
			switch {
			case term.Share == 0 || term.Head != p.Terms[0].Head: // all but the loss is about the first term's head
			case term.Unwanted:
				unwanted.add(t, term.Targets, baseline)
			default:
				asked.add(t, term.Targets, baseline)
			}
		}
		r.Tokens += p.TokensRead()
	}
	r.measure(&unwanted, &compared)
	if asked.rows == 0 {
		asked = unwanted
	} else if entropies > 0 {
		r.put(MeasureEntropy, entropies/float64(asked.rows))
	}
	if n := float64(aligned.rows); n > 0 {
		asked = aligned.rowSums
		r.put(MeasureEntropy, aligned.entropy/n)
		if aligned.paths {
			r.put(MeasurePathAccuracy, aligned.pathHits/n)
		}
	}
	if lost > 0 {
		r.put(MeasureInvalidRows, lost)
	}
	for k, c := range classes {
		if n := float64(c.rows); n > 0 {
			r.put(apart[k].loss, c.nll/n)
			r.put(apart[k].accuracy, c.hits/n)
		}
	}
	if entities.words > 0 {
		r.put(MeasureEntityF1, entities.Scores().Micro.F1)
	}
	if r.Rows = asked.rows; r.Rows == 0 {
		return r, errors.New("no held-out row bears a loss; hint: a larger data.valid or eval.tokens")
	}
	rows := float64(r.Rows)
	for _, s := range sums {
		r.Loss += s.share * s.loss / math.Max(s.weight, 1e-300)
	}
	r.NLL, r.Accuracy = asked.nll/rows, asked.hits/rows
	r.Perplexity = math.Exp(r.NLL)
	r.BaselineLoss, r.BaselineAccuracy = asked.baseNLL/rows, asked.baseHits/rows
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
