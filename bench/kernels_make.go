package bench

import (
	"math"

	"palimpsest/kernels"
	"palimpsest/kernels/philox"
)

// A maker makes the buffers of one call of an op: a call that is checked, one that is timed, or, without fill, one that
// only shows how much memory it takes. Inputs are random, outputs start as NaN.
type maker struct {
	info   kernels.Info
	alloc  func(t kernels.DType, n int) kernels.Buf
	fill   func(b kernels.Buf, what contents)
	outs   []output
	keeps  []keep
	firsts []func() // what has to run once before the op
	copies bool     // optimisers also write the parameters in the compute type
}

// contents of a buffer: what next draws, or one of ints.
type contents struct {
	draw  func(d *philox.Draw) float64
	ints  []int32   // as they are
	reals []float64 // as they are, again and again
	top   int       // integers in [0, top)
}

// An output is a result: its first n elements.
type output struct {
	name     string
	buf      kernels.Buf
	n        int
	scale    float64 // what errors are measured by; 0: its largest value, at least 1
	infinite bool    // infinities are right in it
}

// A keep is a buffer that the op destroys, with its pristine contents.
type keep struct{ buf, pristine kernels.Buf }

func normal(d *philox.Draw) float64   { return max(-4, min(4, d.Normal())) }
func positive(d *philox.Draw) float64 { return math.Abs(normal(d)) + 1.0/64 }
func unwritten(*philox.Draw) float64  { return math.NaN() }

func (m *maker) make(t kernels.DType, n int, what contents) kernels.Buf {
	b := m.alloc(t, n)
	if m.fill != nil {
		m.fill(b, what)
	}
	return b
}

// in and inMaster make inputs of normal numbers, of the compute and the master type.
func (m *maker) in(n int) kernels.Buf { return m.make(m.info.Compute, n, contents{draw: normal}) }
func (m *maker) inMaster(n int) kernels.Buf {
	return m.make(m.info.Master, n, contents{draw: normal})
}

// positive makes a float64 or master input of numbers above 0.
func (m *maker) positive(t kernels.DType, n int) kernels.Buf {
	return m.make(t, n, contents{draw: positive})
}

// indices makes integers in [0, top); list makes the given ones.
func (m *maker) indices(n, top int) kernels.Buf {
	return m.make(kernels.I32, n, contents{top: top})
}
func (m *maker) list(values []int32) kernels.Buf {
	return m.make(kernels.I32, len(values), contents{ints: values})
}

// table makes the given numbers of the master type.
func (m *maker) table(values []float64) kernels.Buf {
	return m.make(m.info.Master, len(values), contents{reals: values})
}

// repeated is table for n numbers that come again after the given ones.
func (m *maker) repeated(n int, values []float64) kernels.Buf {
	return m.make(m.info.Master, n, contents{reals: values})
}

// flags makes bytes of 0 and 1.
func (m *maker) flags(n int) kernels.Buf { return m.make(kernels.U8, n, contents{top: 2}) }

// fresh and freshMaster make outputs that the op must write.
func (m *maker) fresh(name string, n int, scale float64) kernels.Buf {
	return m.out(name, m.make(m.info.Compute, n, contents{draw: unwritten}), n, scale)
}
func (m *maker) freshMaster(name string, n int, scale float64) kernels.Buf {
	return m.out(name, m.make(m.info.Master, n, contents{draw: unwritten}), n, scale)
}

// out names a buffer as a result.
func (m *maker) out(name string, b kernels.Buf, n int, scale float64) kernels.Buf {
	m.outs = append(m.outs, output{name: name, buf: b, n: n, scale: scale})
	return b
}

// outInfinite is out for a result in which infinities are right.
func (m *maker) outInfinite(name string, b kernels.Buf, n int) {
	m.outs = append(m.outs, output{name: name, buf: b, n: n, infinite: true})
}

// consumed is for a buffer that the op works on in place and that would not stay ordinary numbers: its contents are put
// back before every measurement.
func (m *maker) consumed(b kernels.Buf, n int) {
	pristine := m.make(m.info.Compute, n, contents{draw: normal})
	m.keeps = append(m.keeps, keep{b, pristine})
}

// first is for what has to run once before the op.
func (m *maker) first(f func()) { m.firsts = append(m.firsts, f) }

// checked returns a maker of small buffers whose values are drawn one by one, the same ones for every backend. Values of
// the compute type are exact in bfloat16 where brain is set, all others are multiples of 2^-9.
func checked(b kernels.Backend, brain bool) *maker {
	draw := philox.New(5, philox.StreamTest, 0, 0)
	compute := b.Info().Compute
	return &maker{info: b.Info(), copies: brain, alloc: b.Alloc, fill: func(buf kernels.Buf, what contents) {
		values := make([]float64, buf.Len())
		if given := what.given(buf, &draw); given != nil {
			if what.reals != nil {
				for i := range values {
					values[i] = what.reals[i%len(what.reals)]
				}
				given = values
			}
			b.Upload(buf, given)
			return
		}
		for i := range values {
			v := math.Round(what.draw(&draw)*512) / 512
			if brain && buf.Type() == compute {
				v = roundBF16(v)
			}
			values[i] = v
		}
		b.Upload(buf, values)
	}}
}

// given returns what a buffer starts with where that is given or integers, nil for numbers that are drawn.
func (c contents) given(buf kernels.Buf, draw *philox.Draw) any {
	switch {
	case c.ints != nil:
		return c.ints
	case c.reals != nil:
		return c.reals
	case c.top == 0:
		return nil
	case buf.Type() == kernels.U8:
		values := make([]uint8, buf.Len())
		for i := range values {
			values[i] = uint8(draw.IntN(c.top))
		}
		return values
	}
	values := make([]int32, buf.Len())
	for i := range values {
		values[i] = int32(draw.IntN(c.top))
	}
	return values
}

// roundBF16 returns the bfloat16 nearest to v, ties to even.
func roundBF16(v float64) float64 {
	u := math.Float32bits(float32(v))
	if v != v {
		return v
	}
	return float64(math.Float32frombits((u + 0x7fff + u>>16&1) &^ 0xffff))
}

// boundary is what buffers start at a multiple of, in bytes.
const boundary = 256

func padded(t kernels.DType, n int) int {
	unit := boundary / t.Size()
	return (max(n, 1) + unit - 1) / unit * unit
}

// need returns how many elements of each type a call takes.
func need(k kernel, info kernels.Info) map[kernels.DType]int {
	sum := map[kernels.DType]int{}
	m := &maker{info: info, copies: info.Compute != info.Master, alloc: func(t kernels.DType, n int) kernels.Buf {
		sum[t] += padded(t, n)
		return kernels.Buf{}
	}}
	k.build(m, nil)
	return sum
}

func bytesOf(need map[kernels.DType]int) (sum int) {
	for t, n := range need {
		sum += n * t.Size()
	}
	return sum
}

// A yard is memory that the timed calls use one after the other: one large buffer of each type.
type yard struct {
	b     kernels.Backend
	whole map[kernels.DType]kernels.Buf
	used  map[kernels.DType]int
	draw  philox.Draw
}

// newYard allocates what the largest of the needs takes.
func newYard(b kernels.Backend, needs []map[kernels.DType]int) *yard {
	y := &yard{b: b, whole: map[kernels.DType]kernels.Buf{}, used: map[kernels.DType]int{}, draw: philox.New(6, philox.StreamTest, 0, 0)}
	most := map[kernels.DType]int{}
	for _, need := range needs {
		for t, n := range need {
			most[t] = max(most[t], n)
		}
	}
	for t, n := range most {
		y.whole[t] = b.Alloc(t, n)
	}
	return y
}

func (y *yard) clear() { clear(y.used) }

// block is how many values are drawn; longer buffers repeat them.
const block = 1 << 16

// maker returns one that takes from the yard.
func (y *yard) maker() *maker {
	info := y.b.Info()
	return &maker{info: info, copies: info.Compute != info.Master, alloc: func(t kernels.DType, n int) kernels.Buf {
		from := y.used[t]
		y.used[t] += padded(t, n)
		return y.whole[t].Slice(from, from+n)
	}, fill: func(buf kernels.Buf, what contents) {
		first := buf.Slice(0, min(buf.Len(), block))
		switch values := what.given(first, &y.draw); {
		case what.ints != nil:
			y.b.Upload(buf, values)
			return
		case what.reals != nil:
			first = buf.Slice(0, len(what.reals))
			y.b.Upload(first, values)
		case values != nil:
			y.b.Upload(first, values)
		default:
			values := make([]float32, first.Len())
			for i := range values {
				values[i] = float32(what.draw(&y.draw))
			}
			y.b.Upload(first, values)
		}
		for done := first.Len(); done < buf.Len(); {
			n := min(done, buf.Len()-done)
			y.b.Copy(buf.Slice(done, done+n), buf.Slice(0, n))
			done += n
		}
	}}
}
