// Package shad holds what SHAD (arXiv 2412.14780) computes beside models: the derangement of outputs, classes from differences
// of losses, files of losses, records of finished stages, and the page that shows a person what was called boilerplate.
package shad

import (
	"math"

	"palimpsest/engine/fault"
	"palimpsest/kernels/philox"
)

// seedTag separates SHAD's draws from others of the same seed.
const seedTag = 0x73686164

// Sample chooses fraction of n pairs, at least 2, without repetition, in an order of their own. It is a function of its
// arguments and needs no table.
func Sample(n int64, fraction float64, seed uint64) ([]int64, error) {
	if n < 2 {
		return nil, fault.Data.Errorf("shuffling needs at least 2 pairs of prompt and response, and there are %d", n)
	}
	if !(fraction > 0 && fraction <= 1) {
		return nil, fault.Usage.Errorf("shad.shuffle_fraction: %g, expected above 0, up to 1", fraction)
	}
	m := min(n, max(2, int64(math.Round(fraction*float64(n)))))
	b := philox.NewBijection(uint64(n), philox.Derive(seed, seedTag), philox.StreamShuffle, 0)
	sample := make([]int64, m)
	for i := range sample {
		sample[i] = int64(b.At(uint64(i)))
	}
	return sample, nil
}

// A Derangement gives every pair the output of another.
type Derangement struct {
	From     []int // by pair: whose output it gets; -1: none, the pair is dropped
	Repaired int   // pairs that got another output because the first was equal to their own
	Dropped  int   // pairs for which no other output could be found
}

// Derange permutes the outputs of pairs so that no pair keeps its own, nor one that is equal to it: outputs are equal when
// their keys are. It draws a cyclic permutation (Sattolo 1986), which has no fixed point, then swaps outputs that are equal to
// the original with later ones, or where none fits with earlier ones, such that both pairs end with a different output. It
// fails, with a fault.Data, when fewer than 2 pairs are left.
func Derange(keys []int, seed uint64) (Derangement, error) {
	n := len(keys)
	d := Derangement{From: make([]int, n)}
	draw := philox.New(philox.Derive(seed, seedTag), philox.StreamShuffle, 1, 0)
	for i := range d.From {
		d.From[i] = i
	}
	for i := n - 1; i > 0; i-- {
		j := draw.IntN(i)
		d.From[i], d.From[j] = d.From[j], d.From[i]
	}
	equal := true
	for _, k := range keys {
		equal = equal && k == keys[0]
	}
	for i := 0; i < n && !equal; i++ {
		if keys[d.From[i]] != keys[i] {
			continue
		}
		for step := 1; step < n; step++ {
			j := (i + step) % n
			if keys[d.From[j]] != keys[i] && keys[d.From[i]] != keys[j] {
				d.From[i], d.From[j] = d.From[j], d.From[i]
				d.Repaired++
				break
			}
		}
	}
	for i := range d.From {
		if keys[d.From[i]] == keys[i] {
			d.From[i] = -1
			d.Dropped++
		}
	}
	if n-d.Dropped < 2 {
		return d, fault.Data.Errorf("of %d pairs %d can get another's response: all others are equal to their own; hint: a larger shad.shuffle_fraction (--fraction), or data with different responses",
			n, n-d.Dropped)
	}
	return d, nil
}
