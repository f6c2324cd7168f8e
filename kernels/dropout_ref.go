package kernels

import (
	"math"

	"palimpsest/kernels/philox"
)

// threshold returns the 16-bit number below which a lane drops its element; 0 is off.
func (d Drop) threshold() uint32 { return uint32(math.Round(float64(d.P) * (1 << 16))) }

// keepScale returns the factor of kept elements: one over the share that the threshold keeps.
func (d Drop) keepScale() float64 { return (1 << 16) / float64(1<<16-d.threshold()) }

// dropWord is the last counter word of a site, the same for hidden states and attention.
func dropWord(site uint16) uint32 { return uint32(philox.StreamDropout)<<16 | uint32(site) }

// dropLane returns 16-bit lane l of a block.
func dropLane(block [4]uint32, l int) uint32 { return block[l/2] >> (16 * (l % 2)) & 0xFFFF }

// keep reports whether dropout leaves element (token, column) of its site.
func (d Drop) keep(token, column int) bool {
	block := philox.Block([4]uint32{uint32(column / 8), uint32(token), d.Step, dropWord(d.Site)}, philox.Key(d.Seed))
	return dropLane(block, column%8) >= d.threshold()
}

// keepAttention reports whether dropout leaves the probability of a key under a query, both rows of the packed step.
func (d Drop) keepAttention(head, query, key int) bool {
	counter := [4]uint32{uint32(key/8) | uint32(head)<<20, uint32(query), d.Step, dropWord(d.Site)}
	return dropLane(philox.Block(counter, philox.Key(d.Seed)), key%8) >= d.threshold()
}

// factor returns what dropout multiplies element (token, column) by.
func (d Drop) factor(token, column int) float64 {
	switch {
	case d.threshold() == 0:
		return 1
	case d.keep(token, column):
		return d.keepScale()
	}
	return 0
}

// dropoutRef is the oracle of Dropout. Dropped elements are 0 even where x is not finite.
func dropoutRef[T refFloat](y, x []T, n, C int, d Drop) {
	for i := range n {
		for j := range C {
			if f := d.factor(i, j); f == 0 {
				y[i*C+j] = 0
			} else {
				y[i*C+j] = T(float64(x[i*C+j]) * f)
			}
		}
	}
}

// attentionFactor is factor for a probability of attention.
func (d Drop) attentionFactor(head, query, key int) float64 {
	switch {
	case d.threshold() == 0:
		return 1
	case d.keepAttention(head, query, key):
		return d.keepScale()
	}
	return 0
}
