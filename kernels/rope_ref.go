package kernels

import (
	"fmt"
	"math"
)

// RopeTable returns the cosines and sines that Rope reads, [positions, pairs, 2] with pairs = D/2 for one axis and D/4 for
// two: pair j of a half of width w = D/axes turns by position * base^(-2j/w). It is computed in float64.
func RopeTable[T float32 | float64](positions, D, axes int, base float64) []T {
	if axes != 1 && axes != 2 || D < 1 || D%(2*axes) != 0 || positions < 0 || !(base > 0) {
		panic(fmt.Sprintf("kernels: RopeTable: %d positions, D = %d, %d axes, base %g: "+
			"want one or two axes, D a positive multiple of twice the axes, base above 0", positions, D, axes, base))
	}
	w := D / axes
	table := make([]T, positions*w)
	for p := range positions {
		for j := range w / 2 {
			sin, cos := math.Sincos(float64(p) * math.Pow(base, -2*float64(j)/float64(w)))
			table[p*w+2*j], table[p*w+2*j+1] = T(cos), T(sin)
		}
	}
	return table
}

// ropeRef is the oracle of Rope.
func ropeRef[T refFloat](x []T, pos []int32, table []T, a Rope) {
	w := a.D / a.Axes // dims that turn with one axis
	for i := range a.N {
		for h := range a.Heads {
			for axis := range a.Axes {
				part := x[i*a.LD+h*a.D+axis*w:][:w]
				turns := table[int(pos[2*i+axis])*w:][:w]
				for j := range w / 2 {
					cos, sin := float64(turns[2*j]), float64(turns[2*j+1])
					if a.Inverse {
						sin = -sin
					}
					u, v := float64(part[j]), float64(part[j+w/2])
					part[j], part[j+w/2] = T(u*cos-v*sin), T(u*sin+v*cos)
				}
			}
		}
	}
}
