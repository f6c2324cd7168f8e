package kernels

import (
	"sync"
	"sync/atomic"
	"testing"
)

func TestPoolRunsEveryPieceOnce(t *testing.T) {
	for _, threads := range []int{1, 2, 5} {
		p := newPool(threads)
		for _, pieces := range []int{0, 1, 2, 3, 100} {
			ran := make([]atomic.Int32, pieces)
			p.run(pieces, func(i int) { ran[i].Add(1) })
			for i := range ran {
				if n := ran[i].Load(); n != 1 {
					t.Errorf("%d threads, %d pieces: piece %d ran %d times", threads, pieces, i, n)
				}
			}
		}
		var callers sync.WaitGroup
		var sum atomic.Int64
		for range 4 {
			callers.Go(func() {
				for range 50 {
					p.spans(1000, 7, func(lo, hi int) { sum.Add(int64(hi - lo)) })
				}
			})
		}
		callers.Wait()
		if got := sum.Load(); got != 4*50*1000 {
			t.Errorf("%d threads: %d elements served, want %d", threads, got, 4*50*1000)
		}
		p.close()
	}
}

func TestPoolPassesPanicsOn(t *testing.T) {
	p := newPool(3)
	defer p.close()
	for range 20 {
		mustPanic(t, "piece", func() {
			p.run(50, func(i int) {
				if i == 17 {
					panic("piece 17")
				}
			})
		})
	}
}

func TestScratchpadKeepsWhatItLent(t *testing.T) {
	var s scratchpad
	a, b := s.get(100), s.get(50)
	if len(a) < 100 || len(b) < 50 || &a[0] == &b[0] {
		t.Fatalf("lent %d and %d elements at %p and %p", len(a), len(b), &a[0], &b[0])
	}
	s.put(a)
	if again := s.get(80); &again[0] != &a[0] {
		t.Error("what was given back was not lent again")
	}
	s.put(b)
	if c := s.get(1000); len(c) < 1000 {
		t.Errorf("lent %d elements, want 1000", len(c))
	}
}
