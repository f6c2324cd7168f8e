package kernels

import "math"

// geluSlope and geluCube are the constants of GELU's tanh approximation, sqrt(2/pi) and 0.044715 (arXiv 1606.08415).
const (
	geluSlope = math.Sqrt2 / math.SqrtPi
	geluCube  = 0.044715
)

func sigmoid(x float64) float64 { return 1 / (1 + math.Exp(-x)) }

// activate returns act(x). The forms avoid the cancellation of 1 + erf and 1 + tanh at negative x:
// 1 + erf(a) = erfc(-a) and (1 + tanh(u))/2 = sigmoid(2u).
func activate(act Activation, x float64) float64 {
	switch act {
	case GELUErf:
		return 0.5 * x * math.Erfc(-x/math.Sqrt2)
	case GELUTanh:
		return x * sigmoid(2*geluSlope*(x+geluCube*x*x*x))
	case SiLU:
		return x * sigmoid(x)
	case ReLU:
		if x <= 0 { // NaN stays
			return 0
		}
	}
	return x
}

// activateGrad returns the derivative of act at x.
func activateGrad(act Activation, x float64) float64 {
	switch act {
	case GELUErf:
		return 0.5*math.Erfc(-x/math.Sqrt2) + x*math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)
	case GELUTanh:
		s := sigmoid(2 * geluSlope * (x + geluCube*x*x*x))
		return s + x*s*(1-s)*2*geluSlope*(1+3*geluCube*x*x)
	case SiLU:
		s := sigmoid(x)
		return s + x*s*(1-s)
	case ReLU:
		if x <= 0 {
			return 0
		}
	}
	return 1
}

// activationRef is the oracle of ActivationForward.
func activationRef[T refFloat](y, x []T, n int, act Activation) {
	for i := range n {
		y[i] = T(activate(act, float64(x[i])))
	}
}

// activationBackwardRef is the oracle of ActivationBackward.
func activationBackwardRef[T refFloat](dx, dy, x []T, n int, act Activation) {
	for i := range n {
		dx[i] = T(float64(dy[i]) * activateGrad(act, float64(x[i])))
	}
}

// gatedRef is the oracle of Gated.
func gatedRef[T refFloat](y, gate, up []T, n, F, ld int, act Activation) {
	for i := range n {
		for j := range F {
			y[i*F+j] = T(activate(act, float64(gate[i*ld+j])) * float64(up[i*ld+j]))
		}
	}
}

// gatedBackwardRef is the oracle of GatedBackward.
func gatedBackwardRef[T refFloat](dgate, dup, dy, gate, up []T, n, F, ld int, act Activation) {
	for i := range n {
		for j := range F {
			at := i*ld + j
			d, g := float64(dy[i*F+j]), float64(gate[at])
			dgate[at] = T(d * activateGrad(act, g) * float64(up[at]))
			dup[at] = T(d * activate(act, g))
		}
	}
}
