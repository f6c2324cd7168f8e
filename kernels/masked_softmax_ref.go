package kernels

import "math"

// softmaxInPlace turns scores with their largest value into probabilities and returns their log-sum-exp. Where every
// score is -Inf all probabilities are 0 and the result is -Inf. round is applied to the probabilities.
func softmaxInPlace(scores []float64, most float64, round rounding) float64 {
	var sum float64
	for j, s := range scores {
		scores[j] = 0
		if !math.IsInf(s, -1) {
			scores[j] = math.Exp(s - most)
		}
		sum += scores[j]
	}
	if sum == 0 {
		return math.Inf(-1)
	}
	for j := range scores {
		scores[j] = round(scores[j] / sum)
	}
	return most + math.Log(sum)
}

// maskedSoftmaxRef is the oracle of MaskedSoftmax.
func maskedSoftmaxRef[T refFloat](p, lse, scores []T, mask []uint8, R, C int) {
	row := make([]float64, C)
	for r := range R {
		most := math.Inf(-1)
		for j := range C {
			row[j] = math.Inf(-1)
			if mask == nil || mask[r*C+j] != 0 {
				row[j] = float64(scores[r*C+j])
			}
			most = max(most, row[j])
		}
		lse[r] = T(softmaxInPlace(row, most, unrounded))
		narrow(p[r*C:][:C], row)
	}
}

// maskedSoftmaxBackwardRef is the oracle of MaskedSoftmaxBackward. The mask is not needed: p is 0 where it was.
func maskedSoftmaxBackwardRef[T refFloat](dscores, dp, p []T, R, C int) {
	for r := range R {
		var dot float64
		for j := range C {
			dot += float64(p[r*C+j]) * float64(dp[r*C+j])
		}
		for j := range C {
			dscores[r*C+j] = T(float64(p[r*C+j]) * (float64(dp[r*C+j]) - dot))
		}
	}
}
