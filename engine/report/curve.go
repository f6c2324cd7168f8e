package report

import (
	"math"
	"slices"
)

// A curve is one line of a chart. Values that are not finite break it.
type curve struct {
	name   string
	colour int // of the palette, wraps around
	x, y   []float64
	dots   bool // mark every point: few and measured one by one
	thin   bool
	dash   int   // 0 for a solid line: tells phases apart where the colour tells runs apart
	starts []int // points before which the line is interrupted, ascending
	smooth int   // window of the running mean drawn strongly over faint points; 0 for none
}

// A stretch is the points [from, to) of a curve.
type stretch struct{ from, to int }

// stretches are what an interrupted curve is made of.
func (k *curve) stretches() []stretch {
	out := make([]stretch, 0, len(k.starts)+1)
	from := 0
	for _, start := range k.starts {
		if start > from {
			out = append(out, stretch{from, start})
			from = start
		}
	}
	return append(out, stretch{from, len(k.x)})
}

// smoothed is the strong line of a curve: no stretch knows of the others.
func (k *curve) smoothed() []float64 {
	out := make([]float64, 0, len(k.y))
	for _, s := range k.stretches() {
		out = append(out, smoothed(k.y[s.from:s.to], k.smooth)...)
	}
	return out
}

// smoothed returns the mean of the middle half of a window of points around each, taken only from the unbroken stretch it
// stands in: a plain mean would turn a spike into a plateau, a median a slope into stairs. A value that is not finite stays
// what it is.
func smoothed(y []float64, window int) []float64 {
	if window < 2 {
		return y
	}
	out := make([]float64, len(y))
	half := window / 2
	for start := 0; start < len(y); {
		if !finite(y[start]) {
			out[start] = y[start]
			start++
			continue
		}
		end := start
		for end < len(y) && finite(y[end]) {
			end++
		}
		for i := start; i < end; i++ {
			from := max(start, min(i-half, end-window)) // at the ends the window stays whole and moves inwards
			out[i] = middleMean(y[from:min(end, from+window)])
		}
		start = end
	}
	return out
}

// middleMean is the mean of finite values without the lowest and the highest quarter.
func middleMean(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	sorted = sorted[len(sorted)/4 : len(sorted)-len(sorted)/4]
	sum := 0.0
	for _, v := range sorted {
		sum += v
	}
	return sum / float64(len(sorted))
}

// maxPoints is what a curve keeps: more than a screen has columns.
const maxPoints = 1200

// thinned keeps the first, last, least and greatest point of each bucket, so that no spike is lost, and every point that is
// not finite by its neighbours' gap.
func thinned(x, y []float64) (tx, ty []float64) {
	if len(x) <= maxPoints {
		return x, y
	}
	buckets := maxPoints / 4
	for b := range buckets {
		from, to := b*len(x)/buckets, (b+1)*len(x)/buckets
		least, greatest, broken := -1, -1, -1
		for i := from; i < to; i++ {
			switch {
			case !finite(y[i]):
				broken = i
			case least < 0:
				least, greatest = i, i
			case y[i] < y[least]:
				least = i
			case y[i] > y[greatest]:
				greatest = i
			}
		}
		last := -1
		for i := from; i < to; i++ {
			if (i == from || i == to-1 || i == least || i == greatest || i == broken) && i != last {
				tx, ty = append(tx, x[i]), append(ty, y[i])
				last = i
			}
		}
	}
	return tx, ty
}

// A band is a stretch of steps that belongs to one phase.
type band struct {
	from, to float64
	phase    string
}

// phasesOf returns the phases of a run in order; a band starts where the one before ends.
func phasesOf(steps []Step) []band {
	var out []band
	for i, s := range steps {
		x := float64(s.Step)
		if len(out) == 0 || out[len(out)-1].phase != s.Phase {
			from := 0.0
			if i > 0 {
				from = float64(steps[i-1].Step)
			}
			out = append(out, band{from, x, s.Phase})
		}
		out[len(out)-1].to = x
	}
	return out
}

// column returns one number of every step.
func column(steps []Step, get func(Step) float64) (x, y []float64) {
	for _, s := range steps {
		x, y = append(x, float64(s.Step)), append(y, get(s))
	}
	return x, y
}

// smoothing is the smoothing window for n points: about a fiftieth, odd, none for a short curve.
func smoothing(n int) int {
	if n < 60 {
		return 0
	}
	return min(max(5, n/50), 201) | 1
}

// median of the finite values, NaN when there is none.
func median(values []float64) float64 {
	kept := make([]float64, 0, len(values))
	for _, v := range values {
		if finite(v) {
			kept = append(kept, v)
		}
	}
	if len(kept) == 0 {
		return math.NaN()
	}
	slices.Sort(kept)
	return (kept[len(kept)/2] + kept[(len(kept)-1)/2]) / 2
}
