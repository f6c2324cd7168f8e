package main

import (
	"fmt"
	"io"
	"math"
	"slices"

	"palimpsest/engine/eval"
	"palimpsest/engine/report"
)

// shareText writes a share in per cent, or a dash for one that is not known.
func shareText(f *float64) string {
	if f == nil {
		return "-"
	}
	return fmt.Sprintf("%.1f%%", 100**f)
}

func (r *avoidResult) print(w io.Writer) {
	fmt.Fprintf(w, "old model %s, step %d; %.1f s\n", r.Reference, r.Step, r.Seconds)
	widest := len("old model")
	for _, m := range r.Models {
		widest = max(widest, len(m.Series)+1+len(m.Label))
	}
	name := func(m avoided) string { return m.Series + " " + m.Label }
	if b := r.Before; b != nil {
		fmt.Fprintf(w, "\n%s texts a model, unwanted by %s\n", count(b.Texts), orNothing(r.Source))
		fmt.Fprintf(w, "%-*s %9s %9s %9s %9s %11s %10s\n", widest, "", "of texts", "of 1,000", "reduced", "repeats", "NLL by old", "tokens")
		line := func(name string, o *eval.Occurrence, reduced *float64) {
			fmt.Fprintf(w, "%-*s %8.2f%% %9.2f %9s %8.1f%% %11.4f %10.1f\n", widest, name, 100*o.Rate, o.PerThousand, shareText(reduced), 100*o.Repeating, o.NLL, o.Length)
		}
		line("old model", b, nil)
		for _, m := range r.Models {
			line(name(m), m.After, m.Reduced)
		}
		fmt.Fprintf(w, "\nlike the old texts, and like those of them that were clean (BLEU: orders without a match are %s)\n", r.Smoothing)
		fmt.Fprintf(w, "%-*s %17s %17s %17s %17s\n", widest, "", "BLEU", "ROUGE-L", "equal tokens", "identical")
		for _, m := range r.Models {
			pair := func(get func(s *eval.Similarity) float64) string {
				if m.Clean.Texts == 0 {
					return fmt.Sprintf("%.2f%%       -", 100*get(m.All))
				}
				return fmt.Sprintf("%.2f%% %7.2f%%", 100*get(m.All), 100*get(m.Clean))
			}
			fmt.Fprintf(w, "%-*s %17s %17s %17s %17s\n", widest, name(m), pair(func(s *eval.Similarity) float64 { return s.BLEU }), pair(func(s *eval.Similarity) float64 { return s.RougeL }),
				pair(func(s *eval.Similarity) float64 { return s.Tokens }), pair(func(s *eval.Similarity) float64 { return s.Identical }))
		}
	}
	r.printDrift(w, widest, name)
	for _, note := range r.Notes {
		fmt.Fprintln(w, "note:", note)
	}
}

// printDrift writes what was measured teacher-forced.
func (r *avoidResult) printDrift(w io.Writer, widest int, name func(avoided) string) {
	if len(r.Models) == 0 {
		return
	}
	if d := r.Models[0].Signed; d != nil {
		fmt.Fprintf(w, "\non given texts: %s unwanted tokens (log of their mean probability, mean of its logs) and %s kept ones\n", count(d.OldMass.Tokens), count(d.Kept))
		fmt.Fprintf(w, "%-*s %12s %12s %12s %12s\n", widest, "", "log mean p", "mean log p", "KL kept", "NLL kept")
		fmt.Fprintf(w, "%-*s %12.4f %12.4f %12s %12.4f\n", widest, "old model", d.OldMass.LogMean, d.OldMass.MeanLog, "", d.OldNLL)
		for _, m := range r.Models {
			d := m.Signed
			fmt.Fprintf(w, "%-*s %12.4f %12.4f %12.5f %12.4f\n", widest, name(m), d.NewMass.LogMean, d.NewMass.MeanLog, d.KL, d.NewNLL)
		}
	}
	if d := r.Models[0].Plain; d != nil {
		fmt.Fprintf(w, "\non clean text: %s tokens\n", count(d.Kept))
		fmt.Fprintf(w, "%-*s %12s %12s\n", widest, "", "KL", "NLL")
		fmt.Fprintf(w, "%-*s %12s %12.4f\n", widest, "old model", "", d.OldNLL)
		for _, m := range r.Models {
			fmt.Fprintf(w, "%-*s %12.5f %12.4f\n", widest, name(m), m.Plain.KL, m.Plain.NewNLL)
		}
	}
}

func orNothing(source string) string {
	if source == "" {
		return "nothing"
	}
	return source
}

// draw writes the curve of reduction against similarity.
func (r *avoidResult) draw(path string) error {
	p := report.Curves{Title: "What avoiding costs", Note: "each point a model: how many fewer texts with something unwanted, and how like the old texts are all of them",
		X: "reduction of texts with something unwanted", Y: "BLEU of new against old texts", Percent: true}
	for _, m := range r.Models {
		i := slices.IndexFunc(p.Curves, func(k report.PointCurve) bool { return k.Name == m.Series })
		if i < 0 {
			i = len(p.Curves)
			p.Curves = append(p.Curves, report.PointCurve{Name: m.Series})
		}
		q := report.CurvePoint{X: math.NaN(), Y: math.NaN(), Label: m.Label}
		if m.Reduced != nil && m.All != nil {
			q.X, q.Y = *m.Reduced, m.All.BLEU
		}
		p.Curves[i].Points = append(p.Curves[i].Points, q)
	}
	return report.WriteCurves(path, p)
}
