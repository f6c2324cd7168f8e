package eval

import "math"

// Occurrence tells how often what is unwanted comes up in generations.
type Occurrence struct {
	Texts       int64   `json:"texts"`
	Marked      int64   `json:"texts_with_unwanted"`
	Tokens      int64   `json:"tokens"`
	Unwanted    int64   `json:"unwanted_tokens"`
	Rate        float64 `json:"rate"`          // share of texts with at least one unwanted token
	PerThousand float64 `json:"per_1000"`      // unwanted tokens of 1,000
	Repeating   float64 `json:"repeating"`     // share of texts with a phrase of four words more than once
	NLL         float64 `json:"nll_under_old"` // mean negative log-likelihood of a token under the old model
	repeating   int64
	Length      float64 `json:"tokens_a_text"` // mean
}

// Add counts a generation with a number of unwanted tokens.
func (o *Occurrence) Add(tokens, unwanted int, words []string) {
	o.Texts++
	o.Tokens += int64(tokens)
	o.Unwanted += int64(unwanted)
	if unwanted > 0 {
		o.Marked++
	}
	if Repeats(words) {
		o.repeating++
	}
	o.Rate, o.PerThousand = ratio(o.Marked, o.Texts), 1000*ratio(o.Unwanted, o.Tokens)
	o.Repeating, o.Length = ratio(o.repeating, o.Texts), ratio(o.Tokens, o.Texts)
}

// Reduction is 1 - after/before, nil where there is nothing to reduce; it is below 0 where there is more than before.
func Reduction(before, after float64) *float64 {
	if before == 0 {
		return nil
	}
	r := 1 - after/before
	return &r
}

// LogMass sums up probabilities that may be too small for a number, by their logarithms.
type LogMass struct {
	Tokens      int64   `json:"tokens"`
	LogMean     float64 `json:"log_mean"` // logarithm of the mean probability
	MeanLog     float64 `json:"mean_log"` // mean of the logarithms
	top, scaled float64 // the sum is scaled * exp(top)
	logs        float64
}

// Add counts a probability by its logarithm, which may be -Inf.
func (m *LogMass) Add(logP float64) {
	switch {
	case m.Tokens == 0 || m.scaled == 0:
		m.top, m.scaled = logP, 1
		if math.IsInf(logP, -1) {
			m.scaled = 0
		}
	case logP > m.top:
		m.top, m.scaled = logP, m.scaled*math.Exp(m.top-logP)+1
	default:
		m.scaled += math.Exp(logP - m.top)
	}
	m.Tokens++
	m.logs += logP
	m.MeanLog = m.logs / float64(m.Tokens)
	if m.LogMean = math.Inf(-1); m.scaled > 0 {
		m.LogMean = m.top + math.Log(m.scaled) - math.Log(float64(m.Tokens))
	}
}
