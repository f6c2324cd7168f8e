package kernels

import (
	"math"
	"testing"

	"palimpsest/kernels/philox"
)

// The words that Drop's documentation names, one lane at a time and without the helpers.
func TestDropFollowsItsCounters(t *testing.T) {
	d := Drop{P: 0.25, Seed: 0x0123456789abcdef, Step: 42, Site: 0x1234}
	lane := func(counter [4]uint32, l int) uint32 {
		words := philox.Block(counter, [2]uint32{0x89abcdef, 0x01234567})
		halves := [8]uint32{}
		for i, w := range words {
			halves[2*i], halves[2*i+1] = w&0xFFFF, w>>16
		}
		return halves[l]
	}
	for token := range 5 {
		for column := range 40 {
			want := lane([4]uint32{uint32(column / 8), uint32(token), 42, 4<<16 | 0x1234}, column%8) >= 16384
			if d.keep(token, column) != want {
				t.Fatalf("element (%d,%d): kept %v, want %v", token, column, !want, want)
			}
			want = lane([4]uint32{uint32(column/8) | uint32(token)<<20, 77, 42, 4<<16 | 0x1234}, column%8) >= 16384
			if d.keepAttention(token, 77, column) != want {
				t.Fatalf("head %d, key %d: kept %v, want %v", token, column, !want, want)
			}
		}
	}
}

// Kept elements are scaled so that the mean stays, also where P is no multiple of 2^-16.
func TestDropKeepsTheMean(t *testing.T) {
	forEachBackend(t, "", func(t *testing.T, b Backend) {
		const n, C = 200, 500
		for _, p := range []float32{0.1, 0.5, 0.9} {
			y := floats(b, filled(n*C, 1))
			b.Dropout(y, y, n, C, Drop{P: p, Seed: 1, Step: 2, Site: 3})
			mean, kept := 0.0, 0
			for _, v := range read(b, y) {
				mean += v / (n * C)
				if v != 0 {
					kept++
				}
			}
			// The share kept of n*C elements has the standard deviation sqrt(p(1-p)/(n*C)); 5 of them.
			q := 1 - float64(p)
			if limit := 5 * math.Sqrt(q*(1-q)/(n*C)); math.Abs(float64(kept)/(n*C)-q) > limit || math.Abs(mean-1) > limit/q {
				t.Errorf("P = %g: kept %d of %d, mean %g", p, kept, n*C, mean)
			}
		}
	})
}

// P = 0 changes nothing, and other seeds, steps, sites, tokens and columns drop others.
func TestDropIsOffAndVaries(t *testing.T) {
	base := Drop{P: 0.5, Seed: 1, Step: 2, Site: 3}
	if f := (Drop{Seed: 1, Step: 2, Site: 3}).factor(0, 0); f != 1 {
		t.Errorf("P = 0 multiplies by %g", f)
	}
	for name, o := range map[string]Drop{
		"seed": {0.5, 2, 2, 3}, "high seed": {0.5, 1 | 1<<40, 2, 3}, "step": {0.5, 1, 3, 3}, "site": {0.5, 1, 2, 4},
	} {
		equal := 0
		for i := range 1000 {
			if base.keep(i/32, i%32) == o.keep(i/32, i%32) {
				equal++
			}
		}
		if equal < 400 || equal > 600 {
			t.Errorf("another %s: %d of 1000 elements agree, want about half", name, equal)
		}
	}
}
