package main

import (
	"fmt"
	"math"

	"palimpsest/engine/fault"
)

// Figure is a number over the seeds.
type Figure struct {
	Values []float64 `json:"values"`
	Mean   float64   `json:"mean"`
	SD     float64   `json:"standard_deviation"` // of a seed, with n-1; 0 for one seed
}

func figure(values []float64) Figure {
	f := Figure{Values: values}
	n := float64(len(values))
	for _, v := range values {
		f.Mean += v / n
	}
	for _, v := range values {
		f.SD += (v - f.Mean) * (v - f.Mean)
	}
	f.SD = math.Sqrt(f.SD / max(n-1, 1))
	return f
}

// Verdict is what became of a claim.
type Verdict struct {
	Says       string  `json:"claim"`
	Status     string  `json:"status"`
	Column     string  `json:"figure"`
	Arm        string  `json:"arm"`
	Over       string  `json:"over"`
	Of         string  `json:"figure_of_over,omitempty"`
	Difference float64 `json:"difference"`     // of the means
	StdErr     float64 `json:"standard_error"` // of the difference, from both deviations
	// BySeed are the differences seed by seed, whose arms share initial weights and order: what they have in common cancels.
	BySeed  []float64 `json:"by_seed"`
	Verdict string    `json:"verdict"`
}

// Verdicts. The rule asks for twice the standard error, which for three seeds is a low hurdle (about one chance in nine of
// either sign when nothing is there); it is stated beside every table.
const (
	seen     = "seen"
	notSeen  = "not seen at this scale"
	reversed = "the opposite is seen"
	unjudged = "not judged: one seed"
)

// judge holds the figures against the claims. Claims about arms that were left out are not listed.
func (r *Result) judge() (list []Verdict, err error) {
	arms := map[string]Measured{}
	for _, m := range r.Arms {
		arms[m.Arm] = m
	}
	for _, c := range r.spec.Claims {
		a, okA := arms[c.Arm]
		b, okB := arms[c.Over]
		if !okA || !okB {
			continue
		}
		of := c.Of
		if of == "" {
			of = c.Column
		}
		x, okX := a.Figures[c.Column]
		y, okY := b.Figures[of]
		if !okX || !okY {
			if r.only(c.Column) || r.only(of) {
				continue
			}
			return nil, fault.Data.Errorf("claim %q: arms %s and %s have no figure %q", c.Says, c.Arm, c.Over, c.Column)
		}
		v := Verdict{Says: c.Says, Status: c.Status, Column: c.Column, Arm: c.Arm, Over: c.Over, Of: c.Of, Difference: x.Mean - y.Mean}
		v.StdErr = math.Sqrt(x.SD*x.SD/float64(len(x.Values)) + y.SD*y.SD/float64(len(y.Values)))
		v.Verdict = verdict(v.Difference, v.StdErr, min(len(x.Values), len(y.Values)))
		if len(x.Values) == len(y.Values) {
			for i := range x.Values {
				v.BySeed = append(v.BySeed, x.Values[i]-y.Values[i])
			}
		}
		list = append(list, v)
	}
	return list, nil
}

// only reports whether a column belongs to another size.
func (r *Result) only(column string) bool {
	for _, c := range r.spec.Columns {
		if c.Name == column {
			return c.Size != "" && c.Size != r.Size
		}
	}
	return false
}

func verdict(difference, stdErr float64, seeds int) string {
	switch {
	case seeds < 2:
		return unjudged
	case difference > 2*stdErr:
		return seen
	case -difference > 2*stdErr:
		return reversed
	}
	return notSeen
}

func (c Column) format(v float64) string { return fmt.Sprintf("%.*f", c.Digits, v) }
