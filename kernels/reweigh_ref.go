package kernels

import (
	"cmp"
	"math"
	"slices"
)

// reweighRef is the oracle of Reweigh for groups [from,to) and what the CPU backend runs, as groups are small beside the
// logits that their losses come from. shares, reference and classes may be nil.
func reweighRef[T refFloat](weights, shares, losses, reference []T, classes []uint8, offsets []int32, a Reweigh, from, to int) {
	for g := from; g < to; g++ {
		lo, hi := int(offsets[g]), int(offsets[g+1])
		group := weighing{Reweigh: a}
		for r := lo; r < hi; r++ {
			weights[r] = 0
			if shares != nil {
				shares[r] = 0
			}
			if classes != nil && classes[r] > 1 {
				continue
			}
			l := float64(losses[r])
			d, class := l, 0
			if reference != nil {
				d -= float64(reference[r])
			}
			if classes != nil {
				class = int(classes[r])
			}
			group.add(r, l, d, class)
		}
		group.weigh(func(row int, weight, share float64) {
			weights[row] = T(weight)
			if shares != nil {
				shares[row] = T(share)
			}
		})
	}
}

// A weighing is the counted rows of one group.
type weighing struct {
	Reweigh
	rows, classes []int
	l, d          []float64
}

func (w *weighing) add(row int, l, d float64, class int) {
	w.rows, w.l, w.d, w.classes = append(w.rows, row), append(w.l, l), append(w.d, d), append(w.classes, class)
}

// weigh gives every row its weight and its share of the group's loss.
func (w *weighing) weigh(set func(row int, weight, share float64)) {
	n := float64(len(w.rows))
	if n == 0 {
		return
	}
	q := 1 / n
	if w.Sum {
		q = 1
	}
	switch w.Rule {
	case Uniform:
		for i, row := range w.rows {
			set(row, q, q*w.l[i])
		}
	case Softmax:
		s := softmaxOf(w.d, w.Tau)
		mean := 0.0
		for i, l := range w.l {
			mean += s[i] * l
		}
		for i, row := range w.rows {
			weight := n * q * s[i]
			through := 1.0
			if w.Through {
				through += (w.l[i] - mean) / w.Tau
			}
			set(row, weight*through, weight*w.l[i])
		}
	case TopShare:
		order := make([]int, len(w.rows))
		for i := range order {
			order[i] = i
		}
		slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(w.d[j], w.d[i]) })
		k := max(1, int(math.Ceil(w.Share*n-1e-9))) // a share such as 0.07 of 100 rows is 7
		weight := 1 / float64(k)
		if w.Sum {
			weight = 1
		}
		for _, i := range order[:k] {
			set(w.rows[i], weight, weight*w.l[i])
		}
	case ByClass, FixedClass:
		w.byClass(set)
	case Sigmoid:
		x := 0.0
		for _, d := range w.d {
			x += q * d
		}
		y := w.Slope * x
		loss := w.Scale / w.Slope * (max(0, y) + math.Log1p(math.Exp(-math.Abs(y))))
		weight := q * w.Scale / (1 + math.Exp(-y))
		for _, row := range w.rows {
			set(row, weight, loss/n)
		}
	}
}

func (w *weighing) byClass(set func(row int, weight, share float64)) {
	var n, L, D [2]float64
	for i, c := range w.classes {
		n[c]++
		L[c] += w.l[i]
		D[c] += w.d[i]
	}
	q := [2]float64{1, 1}
	for c := range 2 {
		if n[c] > 0 && !w.Sum {
			q[c] = 1 / n[c]
			L[c], D[c] = L[c]*q[c], D[c]*q[c]
		}
	}
	f := [2]float64{1 - w.Alpha, w.Alpha}
	switch {
	case n[0] == 0 || n[1] == 0:
		f = [2]float64{1, 1}
	case w.Rule == ByClass:
		s := softmaxOf(D[:], w.Tau)
		f = [2]float64{s[0], s[1]}
	}
	through := [2]float64{1, 1}
	if w.Rule == ByClass && w.Through && n[0] > 0 && n[1] > 0 {
		loss := f[0]*L[0] + f[1]*L[1]
		for c := range 2 {
			through[c] += (L[c] - loss) / w.Tau
		}
	}
	for i, row := range w.rows {
		c := w.classes[i]
		set(row, f[c]*through[c]*q[c], f[c]*q[c]*w.l[i])
	}
}

// softmaxOf returns softmax(x/tau).
func softmaxOf(x []float64, tau float64) []float64 {
	s, most, sum := make([]float64, len(x)), slices.Max(x), 0.0
	for i, v := range x {
		s[i] = math.Exp((v - most) / tau)
		sum += s[i]
	}
	for i := range s {
		s[i] /= sum
	}
	return s
}

// scaleRowsRef is the oracle of ScaleRows.
func scaleRowsRef[T refFloat](x, scales []T, R, C int) {
	for r := range R {
		for j := range C {
			if scales[r] == 0 {
				x[r*C+j] = 0
			} else {
				x[r*C+j] *= scales[r]
			}
		}
	}
}
