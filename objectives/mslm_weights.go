package objectives

import (
	"fmt"
	"math"
)

// weighing turns the kinds of a document's tokens into weights of their losses.
//
//	c = 1 + w_e, 1 + w_b, unmasked for kinds E, B, U; 1 for padding where that counts
//	norm sample:  (1+K)/L * c, K masked of L counted tokens; the denominator counts documents (factor off: 1/L)
//	norm weights: c; the denominator is the sum of c, also where a token has no label
type weighing struct {
	wE, wB, unmasked float64
	perWeight        bool // norm: weights
	factor           bool // 1 + K
	tie              bool // masked tokens count twice: mslm_half_tie applies
	pads             bool // padding counts: mslm_pad_counts
}

// row appends the weights of a document's tokens and returns what it counts in the denominator.
func (w weighing) row(dst []float64, kinds []byte) (weights []float64, counted float64) {
	K, L, more := 0.0, 0.0, 1.0
	if w.tie {
		more = 2
	}
	for _, kind := range kinds {
		c, counts := 0.0, 1.0
		switch kind {
		case TokenEntity:
			c, K = more+w.wE, K+more
		case TokenBase:
			c, K = more+w.wB, K+more
		case TokenUnmasked:
			c = w.unmasked
		case TokenPad:
			if c = 1; !w.pads {
				c, counts = 0, 0
			}
		case TokenContext:
			counts = 0
		}
		L += counts
		dst = append(dst, c)
		counted += c
	}
	if w.perWeight || L == 0 {
		return dst, counted
	}
	scale := 1 / L
	if w.factor {
		scale *= 1 + K
	}
	for i := len(dst) - len(kinds); i < len(dst); i++ {
		dst[i] *= scale
	}
	return dst, 1
}

// maskWeights returns w_e and w_b from the numbers of masked tokens of both kinds: sigmoid(|f - 1/2|) with
// f = nE/(nE+nB), and what it lacks to 1. So w_e is the larger one also when entity tokens are the majority.
func maskWeights(nE, nB int64) (wE, wB float64, err error) {
	if nE < 0 || nB < 0 || nE+nB == 0 {
		return 0, 0, fmt.Errorf("%d masked tokens of entities and %d others: nothing would be masked", nE, nB)
	}
	f := float64(nE) / float64(nE+nB)
	wE = 1 / (1 + math.Exp(-math.Abs(f-0.5)))
	return wE, 1 - wE, nil
}

// threeWay returns the softmax of 1 - n/N over tokens of masked entities, other masked ones and unmasked ones. Its third
// weight only takes part in the normalisation: unmasked tokens weigh unmasked_weight under every rule.
func threeWay(nE, nB, nU int64) (w [3]float64, err error) {
	N := float64(nE + nB + nU)
	if nE < 0 || nB < 0 || nU < 0 || nE+nB == 0 {
		return w, fmt.Errorf("%d masked tokens of entities and %d others: nothing would be masked", nE, nB)
	}
	sum := 0.0
	for i, n := range [3]int64{nE, nB, nU} {
		w[i] = math.Exp(1 - float64(n)/N)
		sum += w[i]
	}
	for i := range w {
		w[i] /= sum
	}
	return w, nil
}

// classBalanced returns weights by the effective number of samples (arXiv 1901.05555), (1-beta)/(1-beta^n), scaled so that they
// add up to the number of classes that occur; a class that does not has 0.
func classBalanced(beta float64, counts []int64) ([]float64, error) {
	if !(beta > 0 && beta < 1) {
		return nil, fmt.Errorf("beta %g: want a number between 0 and 1", beta)
	}
	w := make([]float64, len(counts))
	sum, present := 0.0, 0.0
	for i, n := range counts {
		switch {
		case n < 0:
			return nil, fmt.Errorf("class %d has %d samples", i, n)
		case n > 0:
			w[i] = (1 - beta) / -math.Expm1(float64(n)*math.Log(beta))
			sum += w[i]
			present++
		}
	}
	if present == 0 {
		return nil, fmt.Errorf("no class has a sample")
	}
	for i := range w {
		w[i] *= present / sum
	}
	return w, nil
}

// setWeights chooses w_e and w_b from the counts of a corpus.
func (m *mslm) setWeights(nE, nB, nU int64) (err error) {
	switch m.MSLM.Weights {
	case "mslm":
		m.wE, m.wB, err = maskWeights(nE, nB)
		m.tie = m.MSLM.Compat.HalfTie && nE == nB
	case "three_way":
		var w [3]float64
		w, err = threeWay(nE, nB, nU)
		m.wE, m.wB = w[0], w[1]
	case "class_balanced":
		var w []float64
		if w, err = classBalanced(m.MSLM.Beta, []int64{nE, nB}); err == nil {
			m.wE, m.wB = w[0], w[1]
		}
	case "fixed":
		m.wE, m.wB = m.MSLM.WE, m.MSLM.WB
	case "uniform":
		m.wE, m.wB = 0.5, 0.5
	}
	return err
}
