package philox

import (
	"math"
	"testing"
)

// The known-answer vectors are those of the Random123 distribution (kat_vectors, philox4x32 10).
func TestKnownAnswers(t *testing.T) {
	for _, c := range []struct {
		counter [4]uint32
		key     [2]uint32
		want    [4]uint32
	}{
		{[4]uint32{}, [2]uint32{}, [4]uint32{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
		{[4]uint32{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, [2]uint32{0xffffffff, 0xffffffff},
			[4]uint32{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
		{[4]uint32{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, [2]uint32{0xa4093822, 0x299f31d0},
			[4]uint32{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}},
	} {
		if got := Block(c.counter, c.key); got != c.want {
			t.Errorf("Block(%x, %x) = %x, want %x", c.counter, c.key, got, c.want)
		}
	}
}

func TestDrawsAreFunctionsOfTheirCounters(t *testing.T) {
	first := func(seed uint64, s Stream, item uint64, epoch uint32) uint64 {
		d := New(seed, s, item, epoch)
		return d.Uint64()
	}
	base := first(1, StreamMask, 7, 3)
	if base != first(1, StreamMask, 7, 3) {
		t.Fatal("equal arguments gave different numbers")
	}
	for name, other := range map[string]uint64{
		"seed": first(2, StreamMask, 7, 3), "high seed": first(1|1<<40, StreamMask, 7, 3), "stream": first(1, StreamShuffle, 7, 3),
		"item": first(1, StreamMask, 8, 3), "high item": first(1, StreamMask, 7|1<<40, 3), "epoch": first(1, StreamMask, 7, 4),
	} {
		if other == base {
			t.Errorf("another %s gave the same number", name)
		}
	}
}

func TestIntNIsUniform(t *testing.T) {
	const n, draws = 7, 70000
	d := New(5, StreamTest, 0, 0)
	var count [n]int
	for range draws {
		count[d.IntN(n)]++
	}
	for v, c := range count { // standard deviation about 93
		if math.Abs(float64(c)-draws/n) > 500 {
			t.Errorf("value %d came %d times of %d", v, c, draws)
		}
	}
}

func TestNormalMoments(t *testing.T) {
	d := New(5, StreamTest, 1, 0)
	var sum, square, product float64
	const n = 100000
	for range n / 2 {
		x, y := d.NormalPair()
		sum += x + y
		square += x*x + y*y
		product += x * y
	}
	if mean, variance := sum/n, square/n; math.Abs(mean) > 0.02 || math.Abs(variance-1) > 0.03 || math.Abs(product/(n/2)) > 0.02 {
		t.Errorf("mean %g, variance %g, mean product of a pair %g", mean, variance, product/(n/2))
	}
}

func TestBijection(t *testing.T) {
	for _, n := range []uint64{1, 2, 3, 5, 16, 17, 1000, 4096, 5000} {
		b := NewBijection(n, 9, StreamShuffle, 2)
		seen := make([]bool, n)
		moved := 0
		for i := range n {
			j := b.At(i)
			if j >= n || seen[j] {
				t.Fatalf("n %d: image %d of %d is out of range or taken", n, j, i)
			}
			seen[j] = true
			if j != i {
				moved++
			}
		}
		if n >= 1000 && moved < int(n)*9/10 {
			t.Errorf("n %d: only %d moved", n, moved)
		}
	}
	if a, b := NewBijection(1000, 9, StreamShuffle, 2), NewBijection(1000, 9, StreamShuffle, 3); a.At(5) == b.At(5) && a.At(6) == b.At(6) && a.At(7) == b.At(7) {
		t.Error("another epoch gave the same order")
	}
}

func BenchmarkBlock(b *testing.B) {
	var c [4]uint32
	for b.Loop() {
		c = Block(c, [2]uint32{1, 2})
	}
}
