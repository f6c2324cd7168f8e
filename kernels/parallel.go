package kernels

import (
	"sync"
	"sync/atomic"
)

// A pool runs the pieces of an op on persistent goroutines and the caller's own. How an op is cut into pieces depends on
// its shape alone; which goroutine runs a piece does not matter, as pieces share no results.
type pool struct {
	jobs chan *job
}

type job struct {
	run    func(piece int)
	pieces int64
	next   atomic.Int64
	done   sync.WaitGroup // counts pieces
	failed atomic.Pointer[any]
}

// newPool starts threads-1 goroutines; close ends them.
func newPool(threads int) *pool {
	p := &pool{}
	if threads > 1 {
		p.jobs = make(chan *job, threads-1)
		for range threads - 1 {
			go func() {
				for j := range p.jobs {
					j.work()
				}
			}()
		}
	}
	return p
}

func (p *pool) close() {
	if p.jobs != nil {
		close(p.jobs)
	}
}

// run calls f(0..pieces-1), each once, and returns when all are done. A panic of a piece is passed on.
func (p *pool) run(pieces int, f func(piece int)) {
	if pieces <= 1 || p.jobs == nil {
		for i := range pieces {
			f(i)
		}
		return
	}
	j := &job{run: f, pieces: int64(pieces)}
	j.done.Add(pieces)
	for range min(cap(p.jobs), pieces-1) {
		select {
		case p.jobs <- j:
		default: // all helpers are busy with another caller's job
		}
	}
	j.work()
	j.done.Wait()
	if v := j.failed.Load(); v != nil {
		panic(*v)
	}
}

// work runs pieces until none is left.
func (j *job) work() {
	for {
		i := j.next.Add(1) - 1
		if i >= j.pieces {
			return
		}
		j.one(int(i))
	}
}

func (j *job) one(i int) {
	defer j.done.Done()
	defer func() {
		if v := recover(); v != nil {
			j.failed.CompareAndSwap(nil, &v)
		}
	}()
	j.run(i)
}

// grain is the number of elements that make a piece worth handing out: some 10 microseconds of memory traffic.
const grain = 32 << 10

// spans cuts [0,n) into pieces of size elements and calls f on each.
func (p *pool) spans(n, size int, f func(lo, hi int)) {
	p.run(ceilDiv(n, size), func(i int) { f(i*size, min(n, (i+1)*size)) })
}

// rows is spans over n rows of width elements, about grain elements a piece.
func (p *pool) rows(n, width int, f func(lo, hi int)) { p.spans(n, max(1, grain/width), f) }

func ceilDiv(a, b int) int { return (a + b - 1) / b }

// A scratchpad lends out float32 memory for the length of a piece and keeps it for the next.
type scratchpad struct {
	mu   sync.Mutex
	free [][]float32
}

// get returns at least n elements of unspecified contents, aligned to 64 bytes.
func (s *scratchpad) get(n int) []float32 {
	s.mu.Lock()
	for i := len(s.free) - 1; i >= 0; i-- {
		if m := s.free[i]; len(m) >= n {
			s.free[i] = s.free[len(s.free)-1]
			s.free = s.free[:len(s.free)-1]
			s.mu.Unlock()
			return m
		}
	}
	if len(s.free) > 0 { // grow: the smaller one goes back to the collector
		s.free = s.free[:len(s.free)-1]
	}
	s.mu.Unlock()
	return alignedFloats(n + n/4)
}

func (s *scratchpad) put(m []float32) {
	s.mu.Lock()
	s.free = append(s.free, m)
	s.mu.Unlock()
}
