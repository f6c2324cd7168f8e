// Package philox is the counter-based random generator that every draw of palimpsest comes from: Philox4x32-10 of
// Salmon, Moraes, Dror and Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011). A number is a pure function of
// (seed, counter), so nothing depends on the order of calls or on the number of workers, and a resumed run has no
// generator state to restore. The package has no cgo; the C and CUDA kernels compute the same words.
package philox

import (
	"math"
	"math/bits"
)

const (
	mul0, mul1 = 0xD2511F53, 0xCD9E8D57
	bump0      = 0x9E3779B9 // golden ratio, added to key[0] each round
	bump1      = 0xBB67AE85 // sqrt(3) - 1, added to key[1] each round
	rounds     = 10
)

// Block returns the four 32-bit words of one counter under a key: ten rounds of Philox4x32.
func Block(counter [4]uint32, key [2]uint32) [4]uint32 {
	c0, c1, c2, c3 := counter[0], counter[1], counter[2], counter[3]
	k0, k1 := key[0], key[1]
	for range rounds {
		hi0, lo0 := bits.Mul32(mul0, c0)
		hi1, lo1 := bits.Mul32(mul1, c2)
		c0, c1, c2, c3 = hi1^c1^k0, lo1, hi0^c3^k1, lo0
		k0 += bump0
		k1 += bump1
	}
	return [4]uint32{c0, c1, c2, c3}
}

// Key splits a 64-bit seed into the two key words, low word first.
func Key(seed uint64) [2]uint32 { return [2]uint32{uint32(seed), uint32(seed >> 32)} }

// A Stream separates uses of the same seed, so that for example masks and the shuffle never share numbers.
type Stream uint16

// The streams in use. Values are part of every recorded run: append, never renumber.
const (
	StreamInit    Stream = 1 // parameter initialisation: (tensor, 0, element)
	StreamShuffle Stream = 2 // order of frames and documents: (window, epoch)
	StreamMask    Stream = 3 // masking and replacement: (document, epoch)
	StreamDropout Stream = 4 // dropout in the kernels: (token, step, site)
	StreamSplit   Stream = 5 // held-out documents: (document, 0)
	StreamSample  Stream = 6 // sampling in generate: (prompt, 0)
	StreamTest    Stream = 7 // fuzzed shapes and fault points of tests
)

// Derive returns a seed for a part of what seed is for, for example one piece of a document.
func Derive(seed, part uint64) uint64 {
	const tag = 0xFFFF << 16 // no Stream has this number
	w := Block([4]uint32{uint32(part), uint32(part >> 32), 0, tag}, Key(seed))
	return uint64(w[0]) | uint64(w[1])<<32
}

// Draw is a sequential reader of the numbers that belong to one (seed, stream, item, epoch). The zero Draw is not useful;
// use New. Two Draws with equal arguments give equal numbers. It is a value: copying it forks the sequence.
type Draw struct {
	key     [2]uint32
	counter [4]uint32
	words   [4]uint32
	next    int // index into words of the next unused one; 4 means that a new block is due
}

// New returns the draw of an item (for example a document number below 2^48) in an epoch.
func New(seed uint64, stream Stream, item uint64, epoch uint32) Draw {
	return Draw{
		key:     Key(seed),
		counter: [4]uint32{0, uint32(item), epoch, uint32(stream)<<16 | uint32(item>>32)&0xFFFF},
		next:    4,
	}
}

// Uint32 returns 32 uniform bits.
func (d *Draw) Uint32() uint32 {
	if d.next == 4 {
		d.words = Block(d.counter, d.key)
		d.counter[0]++
		d.next = 0
	}
	w := d.words[d.next]
	d.next++
	return w
}

// Uint64 returns 64 uniform bits.
func (d *Draw) Uint64() uint64 {
	lo := uint64(d.Uint32())
	return lo | uint64(d.Uint32())<<32
}

// Float64 returns a uniform number in [0,1) with 32 bits of resolution.
func (d *Draw) Float64() float64 { return float64(d.Uint32()) * (1.0 / (1 << 32)) }

// IntN returns a uniform integer in [0,n) without modulo bias (Lemire's multiply and reject). It panics when n is not in
// [1, 2^31).
func (d *Draw) IntN(n int) int {
	if n <= 0 || n > math.MaxInt32 {
		panic("philox: IntN needs 0 < n < 2^31")
	}
	bound := uint32(n)
	hi, lo := bits.Mul32(d.Uint32(), bound)
	if lo < bound {
		for reject := -bound % bound; lo < reject; {
			hi, lo = bits.Mul32(d.Uint32(), bound)
		}
	}
	return int(hi)
}

// Normal returns a standard normal number: the first of a NormalPair.
func (d *Draw) Normal() float64 {
	x, _ := d.NormalPair()
	return x
}

// NormalPair returns two independent standard normal numbers (Box and Muller 1958).
func (d *Draw) NormalPair() (x, y float64) {
	u := (float64(d.Uint32()) + 0.5) * (1.0 / (1 << 32)) // never 0, so the logarithm is finite
	radius := math.Sqrt(-2 * math.Log(u))
	sin, cos := math.Sincos(2 * math.Pi * d.Float64())
	return radius * cos, radius * sin
}

// Permute shuffles n items in place (Fisher-Yates).
func (d *Draw) Permute(n int, swap func(i, j int)) {
	for i := n - 1; i > 0; i-- {
		swap(i, d.IntN(i+1))
	}
}

// Bijection maps [0,n) onto itself without storing a table: a four-round Feistel network over the next even power of two
// whose round function is Philox, walked until the image falls below n (Black and Rogaway, "Ciphers with arbitrary finite
// domains", 2002). The expected number of walks is below 4.
type Bijection struct {
	n     uint64
	half  uint // bits of one Feistel half
	key   [2]uint32
	epoch uint32
	tag   uint32
}

// NewBijection returns the permutation of [0,n) that belongs to (seed, stream, epoch).
func NewBijection(n uint64, seed uint64, stream Stream, epoch uint32) Bijection {
	half := uint(1)
	for half < 32 && uint64(1)<<(2*half) < n {
		half++
	}
	return Bijection{n: n, half: half, key: Key(seed), epoch: epoch, tag: uint32(stream)<<16 | 0xFFFF}
}

// At returns the image of i, which must be below n.
func (b Bijection) At(i uint64) uint64 {
	mask := uint64(1)<<b.half - 1
	for {
		left, right := i>>b.half, i&mask
		for round := range uint32(4) {
			w := Block([4]uint32{uint32(right), round, b.epoch, b.tag}, b.key)
			left, right = right, left^(uint64(w[0])&mask)
		}
		if i = left<<b.half | right; i < b.n {
			return i
		}
	}
}
