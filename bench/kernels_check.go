package bench

import (
	"fmt"
	"math"
	"strings"

	"palimpsest/kernels"
)

// Verdicts on a kernel.
const (
	Passed    = "passed"
	Incorrect = "incorrect"
	NotRun    = "not run"
)

// A checker holds a backend's ops against the float64 oracle.
type checker struct {
	b, oracle, naive kernels.Backend
	brain            bool
}

func newChecker(b kernels.Backend) *checker {
	return &checker{b, kernels.NewRef64(), kernels.NewRefBF16(), b.Info().Compute == kernels.BF16}
}

// results are what an op wrote on one backend.
type results struct {
	outs   []output
	values [][]float64
}

func (c *checker) run(k kernel, b kernels.Backend) (r results, err error) {
	m := checked(b, c.brain)
	call := k.build(m, b)
	for _, f := range m.firsts {
		f()
	}
	call()
	for _, o := range m.outs {
		values := make([]float64, o.buf.Len())
		b.Download(values, o.buf)
		r.values = append(r.values, values[:o.n])
	}
	r.outs = m.outs
	return r, b.Sync()
}

// check runs the op's small shape and returns what is wrong with the results, "" when nothing is. The rule is that of the
// compliance suite (kernels/compliance_test.go), with M one number for an output: |got - want| is at most
// 2e-5*|want| + 2e-6*M in float32 (1e-9 and 1e-11 in float64). Of a bfloat16 backend, in units of M, no error is larger
// than f times the worst of a naive computation in bfloat16 from the same inputs, and the root mean square of all at most
// f times its own, each plus one unit in the last place of the output; f is 2 forward and 3 backward.
func (c *checker) check(k kernel) (wrong string, err error) {
	small := k.small()
	want, err := c.run(small, c.oracle)
	if err != nil {
		return "", err
	}
	got, err := c.run(small, c.b)
	if err != nil {
		return "", err
	}
	var naive results
	if c.brain {
		if naive, err = c.run(small, c.naive); err != nil {
			return "", err
		}
	}
	for i, o := range got.outs {
		if c.brain {
			wrong = ratioRule(o, want.values[i], naive.values[i], got.values[i], factor(k.op()))
		} else {
			wrong = toleranceRule(o, want.values[i], got.values[i])
		}
		if wrong != "" {
			return fmt.Sprintf("%s of %s: %s", small.op(), small.shape(), wrong), nil
		}
	}
	return "", nil
}

// factor is f of check: gradients may be off by 3 times the naive computation's error.
func factor(op string) float64 {
	if strings.HasSuffix(op, "_backward") || op == "linear_input" || op == "linear_weight" || op == "cross_entropy" || op == "reference_kl" || op == "alignment" {
		return 3
	}
	return 2
}

// tolerances are rel and abs by type.
func tolerances(t kernels.DType) (rel, abs float64) {
	if t == kernels.F64 {
		return 1e-9, 1e-11
	}
	return 2e-5, 2e-6
}

// magnitude is M of an output.
func (o output) magnitude(want []float64) float64 {
	if o.scale > 0 {
		return o.scale
	}
	largest := 1.0
	for _, v := range want {
		if !math.IsInf(v, 0) {
			largest = max(largest, math.Abs(v))
		}
	}
	return largest
}

func toleranceRule(o output, want, got []float64) string {
	rel, abs := tolerances(o.buf.Type())
	scale := o.magnitude(want)
	return o.compare(want, got, func(i int) float64 { return rel*math.Abs(want[i]) + abs*scale })
}

func ratioRule(o output, want, naive, got []float64, f float64) string {
	scale := o.magnitude(want)
	rel, abs := tolerances(kernels.F32)
	unit := func(i int) float64 { return rel*math.Abs(want[i]) + abs*scale }
	if o.buf.Type() == kernels.BF16 {
		unit = func(i int) float64 { return lastPlace(want[i]) }
	}
	var most, squares, squaresNaive, squaresUnit float64
	for i, w := range want {
		if math.IsInf(w, 0) {
			continue
		}
		e := math.Abs(naive[i] - w)
		most = max(most, e)
		squaresNaive += e * e
		e = math.Abs(got[i] - w)
		squares += e * e
		squaresUnit += unit(i) * unit(i)
	}
	if wrong := o.compare(want, got, func(i int) float64 { return f*most + unit(i) }); wrong != "" {
		return wrong
	}
	if !(math.Sqrt(squares) <= f*math.Sqrt(squaresNaive)+math.Sqrt(squaresUnit)) {
		return fmt.Sprintf("%s: the root of the squared errors is %.3g, that of the naive computation %.3g, of the unit %.3g", o.name,
			math.Sqrt(squares), math.Sqrt(squaresNaive), math.Sqrt(squaresUnit))
	}
	return ""
}

// compare names the first value that is farther from the wanted one than allowed.
func (o output) compare(want, got []float64, allowed func(i int) float64) string {
	for i, w := range want {
		if g := got[i]; g != w && (math.IsInf(w, 0) || !(math.Abs(g-w) <= allowed(i))) {
			return fmt.Sprintf("%s[%d] = %.9g, want %.9g (allowed difference %.3g)", o.name, i, g, w, allowed(i))
		}
	}
	return ""
}

// lastPlace is the distance of neighbouring bfloat16 numbers at v, at least that of the smallest normal ones.
func lastPlace(v float64) float64 {
	e := -126
	if v != 0 {
		e = max(e, math.Ilogb(v))
	}
	return math.Ldexp(1, e-7)
}

// finite returns the name of an output that holds a NaN or an infinity, such as one that was never written, "" where all
// are finite. It sums the squares on the device.
func finite(b kernels.Backend, outs []output) (string, error) {
	if len(outs) == 0 {
		return "", nil
	}
	sums := b.Alloc(kernels.F64, len(outs))
	for i, o := range outs {
		if o.buf.Type() == kernels.F64 { // sums themselves
			b.Copy(sums.Slice(i, i+1), o.buf.Slice(0, 1))
			continue
		}
		b.SumSquares(sums, i, o.buf, o.n, false)
	}
	values := make([]float64, len(outs))
	b.Download(values, sums)
	for i, v := range values {
		if math.IsNaN(v) || math.IsInf(v, 0) && !outs[i].infinite {
			return outs[i].name, b.Sync()
		}
	}
	return "", b.Sync()
}
