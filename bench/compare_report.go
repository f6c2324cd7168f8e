package bench

import (
	"fmt"
	"strings"

	"palimpsest/engine/report"
)

// CompareText is a result for a reader of a terminal.
func CompareText(r CompareResult) string {
	var out strings.Builder
	fmt.Fprintf(&out, "%s: %.1f M parameters, %d x %d tokens, %d rows bear a loss, %s, %d threads, %d step(s) a turn\n", r.Case, float64(r.Parameters)/1e6,
		r.Sequences, r.Length, r.LossRows, r.Precision, r.Threads, r.Steps)
	for _, s := range r.Sides {
		fmt.Fprintf(&out, "  %-14s %9s tokens/s, %5.2f GiB", s.Name, thousands(s.TokensPerS.Median), float64(s.PeakMemory)/(1<<30))
		if s.Ratio != nil {
			fmt.Fprintf(&out, "; we are %.2f times as fast (%.2f to %.2f); losses %.1e apart", s.Ratio.Median, s.Ratio.P10, s.Ratio.P90, s.LossApart)
		}
		out.WriteByte('\n')
	}
	if r.Others != nil && *r.Others > busyShare {
		fmt.Fprintf(&out, "  other programs took %.0f %% of the processors' time meanwhile: these ratios are not to be relied on\n", 100**r.Others)
	}
	return out.String()
}

// CompareTable is the results as Markdown, with what they were measured under.
func CompareTable(results []CompareResult) string {
	if len(results) == 0 {
		return ""
	}
	var out strings.Builder
	r := results[0]
	products := 0.0 // of the other sides, the best
	for _, s := range r.Sides[1:] {
		products = max(products, s.Products)
	}
	fmt.Fprintf(&out, "Training steps of the same model, weights, batch and AdamW here and in %s: %s, %s, %d threads each, %s, commit %s, %s.\n"+
		"A ratio is our speed over theirs in the same round: median (p10 to p90). Peak memory is that of the process. The last column is the largest difference of\n"+
		"the losses over the first %d steps. A 1024-cubed product alone reaches %.0f GFLOP/s here and %.0f there:\n"+
		"that is most of what a step does, and so most of a ratio. With masked models PyTorch computes logits of the masked rows alone, as we do; `sdpa-all-rows` of all rows.\n\n",
		r.Python, r.Device, r.Precision, r.Threads, "products here: "+r.Products, r.Version, r.Time, comparedLosses, r.Sides[0].Products/1e9, products/1e9)
	if busy := busiest(results); busy > busyShare {
		fmt.Fprintf(&out, "**The machine was not quiet: other programs took up to %.0f %% of the processors' time.**\n\n", 100*busy)
	}
	out.WriteString("| case | parameters | sequences x length | side | tokens/s | peak GiB | ratio | losses apart |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n")
	for _, r := range results {
		for i, s := range r.Sides {
			name, size, shape := "", "", ""
			if i == 0 {
				name, size, shape = r.Case, fmt.Sprintf("%.1f M", float64(r.Parameters)/1e6), fmt.Sprintf("%d x %d", r.Sequences, r.Length)
			}
			ratio, apart := "", ""
			if s.Ratio != nil {
				ratio, apart = fmt.Sprintf("%.2f (%.2f to %.2f)", s.Ratio.Median, s.Ratio.P10, s.Ratio.P90), fmt.Sprintf("%.0e", s.LossApart)
			}
			fmt.Fprintf(&out, "| %s | %s | %s | %s | %s | %.2f | %s | %s |\n", name, size, shape, s.Name, thousands(s.TokensPerS.Median), float64(s.PeakMemory)/(1<<30), ratio, apart)
		}
	}
	return out.String()
}

// busiest is the largest share of other programs.
func busiest(results []CompareResult) (share float64) {
	for _, r := range results {
		if r.Others != nil {
			share = max(share, *r.Others)
		}
	}
	return share
}

// ComparePlot draws our speed over each side's, by case, as a picture.
func ComparePlot(path string, results []CompareResult) error {
	p := report.Bars{Title: "Our training speed over PyTorch's", Note: "same model, weights, batch and AdamW; above 1 we are faster", Level: 1}
	for _, r := range results {
		group := report.BarGroup{Name: r.Case}
		for _, s := range r.Sides {
			if s.Ratio != nil {
				group.Bars = append(group.Bars, report.Bar{Name: s.Name, Value: s.Ratio.Median, Low: s.Ratio.P10, High: s.Ratio.P90})
			}
		}
		p.Groups = append(p.Groups, group)
	}
	return report.WriteBars(path, p)
}
