package shad

import (
	"fmt"
	"math"
)

// Options say how differences of losses become classes.
type Options struct {
	Threshold, Deadzone float64
	Words               bool // all tokens of a word have the class of their mean difference
}

// The classes.
const (
	Boilerplate = 0
	Reasoning   = 1
	None        = 255
)

// Differences appends LD = tuned - base, the loss that shuffled tuning added to each token; what is smaller than the
// deadzone is 0. Errors name the place of a loss that is not finite, counted from 0.
func (o Options) Differences(dst []float64, base, tuned []float32) ([]float64, error) {
	if len(base) != len(tuned) {
		return dst, fmt.Errorf("%d losses of the model, %d of the tuned one", len(base), len(tuned))
	}
	for i, b := range base {
		for which, v := range [2]float32{b, tuned[i]} {
			if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
				return dst, fmt.Errorf("response token %d: the loss of the %s is %g", i, [2]string{"model", "tuned model"}[which], f)
			}
		}
		ld := float64(tuned[i]) - float64(b)
		if math.Abs(ld) < o.Deadzone {
			ld = 0
		}
		dst = append(dst, ld)
	}
	return dst, nil
}

// Classes appends the class of each token by its difference: reasoning above the threshold. starts says of every token
// whether it begins a word, for Options.Words; the first always does.
func (o Options) Classes(dst []byte, differences []float64, starts []bool) []byte {
	for from := 0; from < len(differences); {
		to, sum := from+1, differences[from]
		for o.Words && to < len(differences) && !starts[to] {
			sum += differences[to]
			to++
		}
		class := byte(Boilerplate)
		if sum > o.Threshold*float64(to-from) {
			class = Reasoning
		}
		for range to - from {
			dst = append(dst, class)
		}
		from = to
	}
	return dst
}
