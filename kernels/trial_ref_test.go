package kernels

import (
	"fmt"
	"math"

	"palimpsest/kernels/philox"
)

// comparison says which values of an output must be equal and not only close.
type comparison uint8

const (
	near comparison = iota
	zerosExact
	exact
)

// An output of a trial; magnitude is explained at testCompliance.
type output struct {
	name      string
	buf       Buf
	n         int
	how       comparison
	magnitude []float64
	values    []float64
}

// A trial is one run of a compliance case on one backend: the source of its shapes and inputs, its buffers and outputs.
type trial struct {
	k      int // number of the trial
	b      Backend
	brain  bool // inputs of the compute type are exact in bfloat16
	draw   *philox.Draw
	spans  []span
	outs   []output
	broken string // what was written where nothing may be written
}

// A span is a buffer within the memory that was allocated around it. keep holds the contents of an input.
type span struct {
	whole Buf
	at, n int
	keep  []float64
}

const canary = -77.5

// newTestTrial returns a source of inputs for tests outside of the compliance suite.
func newTestTrial(b Backend, item uint64) *trial {
	draw := philox.New(1, philox.StreamTest, item, 0)
	return &trial{b: b, draw: &draw}
}

// pick draws one of the choices.
func (r *trial) pick(choices ...int) int { return choices[r.draw.IntN(len(choices))] }

func (r *trial) coin() bool { return r.draw.IntN(2) == 1 }

// normals draws standard normal numbers as non-zero multiples of 2^-9 up to 4 in size.
func (r *trial) normals(n int) []float64 {
	s := make([]float64, n)
	for i := range s {
		v := math.Round(max(-4, min(4, r.draw.Normal()))*512) / 512
		if v == 0 {
			v = 1.0 / 512
		}
		s[i] = v
	}
	return r.exact(s)
}

// exact rounds values of the compute type to bfloat16 where the trial is about that.
func (r *trial) exact(v []float64) []float64 {
	if !r.brain {
		return v
	}
	s := make([]float64, len(v))
	for i, x := range v {
		s[i] = roundBF16(x)
	}
	return s
}

// alloc puts values in the middle of canaries. A roomy buffer is longer than its values.
func (r *trial) alloc(t DType, values []float64, keep, roomy bool) Buf {
	s := span{at: r.draw.IntN(4), n: len(values)}
	if r.brain && s.at < 3 { // mostly at a multiple of 16 bytes, for the paths that need it
		s.at *= 8
	}
	end := s.at + s.n
	all := filled(end+4, canary)
	copy(all[s.at:], values)
	s.whole = r.b.Alloc(t, len(all))
	r.b.Upload(s.whole, all)
	if keep {
		s.keep = values
	}
	r.spans = append(r.spans, s)
	if extra := r.draw.IntN(3); roomy {
		end += extra
	}
	return s.whole.Slice(s.at, end)
}

// in, inMaster and table make inputs that the op may not change, table one of exact length; variable and master make
// buffers that it adds to or works on in place, fresh and freshMaster ones that it must write.
func (r *trial) in(v []float64) Buf       { return r.alloc(r.b.Info().Compute, r.exact(v), true, true) }
func (r *trial) inMaster(v []float64) Buf { return r.alloc(r.b.Info().Master, v, true, true) }
func (r *trial) table(v []float64) Buf    { return r.alloc(r.b.Info().Compute, r.exact(v), true, false) }
func (r *trial) variable(v []float64) Buf {
	return r.alloc(r.b.Info().Compute, r.exact(v), false, true)
}
func (r *trial) master(v []float64) Buf { return r.alloc(r.b.Info().Master, v, false, false) }
func (r *trial) fresh(n int) Buf        { return r.variable(filled(n, math.NaN())) }
func (r *trial) freshMaster(n int) Buf  { return r.master(filled(n, math.NaN())) }

// inOrAbsent is in, or the zero Buf half of the time; the values are drawn in any case.
func (r *trial) inOrAbsent(v []float64) Buf {
	if r.coin() {
		return Buf{}
	}
	return r.in(v)
}

func (r *trial) indices(n, bound int) []int32 {
	s := make([]int32, n)
	for i := range s {
		s[i] = int32(r.draw.IntN(bound))
	}
	return s
}

// dropout draws dropout, off in a third of the trials.
func (r *trial) dropout() Drop {
	return Drop{P: []float32{0, 0.1, 0.5}[r.draw.IntN(3)], Seed: r.draw.Uint64(), Step: r.draw.Uint32(), Site: uint16(r.draw.Uint32())}
}

// out names the first n elements of a buffer as a result, with the magnitude of each or nil.
func (r *trial) out(name string, b Buf, n int, how comparison, magnitude []float64) {
	if !b.Absent() {
		r.outs = append(r.outs, output{name: name, buf: b, n: n, how: how, magnitude: magnitude})
	}
}

// finish reads the outputs and looks at what may not have changed.
func (r *trial) finish() {
	for i := range r.outs {
		o := &r.outs[i]
		if t := o.buf.Type(); t == I32 {
			whole := make([]int32, o.buf.Len())
			r.b.Download(whole, o.buf)
			for _, v := range whole[:o.n] {
				o.values = append(o.values, float64(v))
			}
			continue
		} else if t == U8 {
			whole := make([]uint8, o.buf.Len())
			r.b.Download(whole, o.buf)
			for _, v := range whole[:o.n] {
				o.values = append(o.values, float64(v))
			}
			continue
		}
		o.values = read(r.b, o.buf)[:o.n]
	}
	for number, s := range r.spans {
		for i, v := range read(r.b, s.whole) {
			switch j := i - s.at; {
			case (j < 0 || j >= s.n) && v != canary:
				r.broken = fmt.Sprintf("buffer %d of %d elements: element %d was written", number, s.n, j)
			case j >= 0 && j < s.n && s.keep != nil && v != s.keep[j]:
				r.broken = fmt.Sprintf("input %d: element %d was changed from %g to %g", number, j, s.keep[j], v)
			}
		}
	}
}

// absolute returns the absolute values.
func absolute(s []float64) []float64 {
	a := make([]float64, len(s))
	for i, v := range s {
		a[i] = math.Abs(v)
	}
	return a
}

// largest returns the largest finite absolute value, at least 0.
func largest(s []float64) float64 { return numbers(s).largest() }
