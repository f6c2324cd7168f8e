//go:build cuda && emulated

package cuda

import (
	"cmp"
	"errors"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// blaslt compiles the test's cuBLASLt and names it in the environment.
func blaslt(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "libcublasLt.so.12")
	out, err := exec.Command(cmp.Or(os.Getenv("CC"), "cc"), "-shared", "-fPIC", "-O1", "-Iabi", "testdata/blaslt.c", "-o", file, "-lm", "-ldl").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Setenv("PALIMPSEST_CUBLASLT", filepath.Dir(file)) // a folder is searched
	return file
}

func toBF16(x float64) BF16 {
	b := math.Float32bits(float32(x))
	return BF16((b + 0x7fff + b>>16&1) >> 16)
}

func (b BF16) float() float64 { return float64(math.Float32frombits(uint32(b) << 16)) }

// matrix is a row-major matrix on the device and, as float64, here.
type matrix struct {
	at     Address
	values []float64
	float  bool
}

type bench struct {
	t *testing.T
	d *Device
	p *Products
	r *rand.Rand
}

func (b *bench) random(n int, float bool) matrix {
	m := matrix{values: make([]float64, n), float: float}
	if float {
		raw := make([]float32, n)
		for i := range raw {
			raw[i] = float32(b.r.NormFloat64())
			m.values[i] = float64(raw[i])
		}
		m.at = alloc(b.t, b.d, 4*n)
		b.d.CopyIn(m.at, bytesOf(raw))
		return m
	}
	raw := make([]BF16, n)
	for i := range raw {
		raw[i] = toBF16(b.r.NormFloat64())
		m.values[i] = raw[i].float()
	}
	m.at = alloc(b.t, b.d, 2*n)
	b.d.CopyIn(m.at, bytesOf(raw))
	return m
}

func (b *bench) near(what string, m matrix, want []float64) {
	b.t.Helper()
	got := make([]float64, len(want))
	tolerance := 1e-5
	if m.float {
		for i, v := range floats(b.t, b.d, m.at, len(want)) {
			got[i] = float64(v)
		}
	} else {
		tolerance = 1. / 128
		raw := make([]BF16, len(want))
		ok(b.t, b.d.CopyOut(bytesOf(raw), m.at))
		for i, v := range raw {
			got[i] = v.float()
		}
	}
	for i := range want {
		if !(math.Abs(got[i]-want[i]) <= tolerance*(1+math.Abs(want[i]))) {
			b.t.Fatalf("%s: element %d: %g, want %g", what, i, got[i], want[i])
		}
	}
}

func gelu(x float64) float64 {
	return 0.5 * x * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(x+0.044715*x*x*x)))
}

func products(t *testing.T) *bench {
	blaslt(t)
	d := open(t, Options{})
	p, err := OpenProducts(d)
	ok(t, err)
	t.Cleanup(func() {
		if err := p.Close(); !errors.Is(err, d.Err()) {
			t.Error("closing:", err)
		}
	})
	if p.Version() != "12.99.1" || !strings.HasSuffix(p.Path(), "libcublasLt.so.12") {
		t.Errorf("version %s of %s", p.Version(), p.Path())
	}
	return &bench{t, d, p, rand.New(rand.NewPCG(5, 6))}
}

// The three products of a linear layer in the layouts of kernels.Backend, with every epilogue it can fuse.
func TestEmulatedProductsOfALinearLayer(t *testing.T) {
	b := products(t)
	const n, in, out = 5, 24, 16
	x, w, bias := b.random(n*in, false), b.random(out*in, false), b.random(out, false)
	y, pre := b.random(n*out, false), b.random(n*out, false)
	linear := make([]float64, n*out)
	for i := range n {
		for o := range out {
			for k := range in {
				linear[i*out+o] += x.values[i*in+k] * w.values[o*in+k]
			}
		}
	}
	forward := Matmul{M: n, N: out, K: in, TransB: true, A: x.at, B: w.at, D: y.at}
	ok(t, b.p.Matmul(forward))
	b.near("linear", y, linear)

	forward.Epilogue, forward.Bias, forward.Aux = GELUAuxBias, bias.at, pre.at
	ok(t, b.p.Matmul(forward))
	before, after := make([]float64, n*out), make([]float64, n*out)
	for i := range linear {
		before[i] = linear[i] + bias.values[i%out]
		after[i] = gelu(before[i])
	}
	b.near("linear, bias, gelu", y, after)
	b.near("what the gelu saw", pre, before)

	// dx of the layer, through the GELU that made x from an earlier pre-activation.
	dy, dx, input := b.random(n*out, false), b.random(n*in, false), b.random(n*in, false)
	back := Matmul{M: n, N: in, K: out, A: dy.at, B: w.at, D: dx.at}
	want := make([]float64, n*in)
	for i := range n {
		for k := range in {
			for o := range out {
				want[i*in+k] += dy.values[i*out+o] * w.values[o*in+k]
			}
		}
	}
	ok(t, b.p.Matmul(back))
	b.near("dx", dx, want)
	back.Epilogue, back.Aux = DGELU, input.at
	ok(t, b.p.Matmul(back))
	through := make([]float64, n*in)
	for i, v := range input.values {
		through[i] = want[i] * (gelu(v+1e-5) - gelu(v-1e-5)) / 2e-5
	}
	b.near("dx through gelu", dx, through)
	added := b.random(n*in, false)
	for i := range want {
		want[i] += added.values[i]
	}
	ok(t, b.p.Matmul(Matmul{M: n, N: in, K: out, A: dy.at, B: w.at, D: added.at, Add: true}))
	b.near("dx added", added, want)

	// dw += dy^T x in float32, and the column sums of dy.
	dw, dbias := b.random(out*in, true), b.random(out, true)
	want, sums := append([]float64{}, dw.values...), make([]float64, out)
	for o := range out {
		for i := range n {
			sums[o] += dy.values[i*out+o]
			for k := range in {
				want[o*in+k] += dy.values[i*out+o] * x.values[i*in+k]
			}
		}
	}
	ok(t, b.p.Matmul(Matmul{M: out, N: in, K: n, TransA: true, A: dy.at, B: x.at, D: dw.at, Float: true, Add: true,
		Epilogue: BiasGradA, Bias: dbias.at, BiasFloat: true}))
	b.near("dw", dw, want)
	b.near("dbias", dbias, sums)
}

// Batches with strides and leading dimensions, as attention through products has them.
func TestEmulatedProductsInBatches(t *testing.T) {
	b := products(t)
	const heads, rows, width = 3, 7, 8
	qk := b.random(rows*2*heads*width, false) // a row: heads of queries, then of keys
	scores := b.random(heads*rows*rows, true)
	want := make([]float64, heads*rows*rows)
	for h := range heads {
		for i := range rows {
			for j := range rows {
				for d := range width {
					want[(h*rows+i)*rows+j] += 0.5 * qk.values[i*2*heads*width+h*width+d] * qk.values[j*2*heads*width+(heads+h)*width+d]
				}
			}
		}
	}
	ok(t, b.p.Matmul(Matmul{M: rows, N: rows, K: width, TransB: true, A: qk.at, B: qk.at + 2*heads*width, D: scores.at, LDA: 2 * heads * width, LDB: 2 * heads * width,
		Float: true, Scale: 0.5, Batch: heads, StrideA: width, StrideB: width, StrideD: rows * rows}))
	b.near("scores", scores, want)
}

func TestEmulatedProductsFail(t *testing.T) {
	b := products(t)
	x := b.random(64, false)
	m := Matmul{M: 8, N: 8, K: 8, A: x.at, B: x.at, D: x.at, Epilogue: BiasGradB, Bias: x.at}
	for range 2 { // the second time from the cache
		if err := b.p.Matmul(m); !errors.Is(err, ErrUnsupported) || !strings.Contains(err.Error(), "[8,8] [8,8], sums of B") {
			t.Error(err)
		}
	}
	for _, bad := range []Matmul{{M: 8, N: 8, K: 0, A: 1, B: 1, D: 1}, {M: 8, N: 8, K: 8, A: 1, B: 1}, {M: 8, N: 8, K: 8, A: 1, B: 1, D: 1, Epilogue: Bias},
		{M: 8, N: 8, K: 8, A: 1, B: 1, D: 1, Aux: 1}} {
		if err := b.p.Matmul(bad); err == nil || errors.Is(err, ErrUnsupported) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	ok(t, b.p.Matmul(Matmul{M: 0, N: 8, K: 8, A: 1, B: 1, D: 1}))
	ok(t, b.d.Sync())
	ok(t, b.p.Matmul(Matmul{M: 8, N: 8, K: 8, A: x.at, B: 1 << 45, D: x.at}))
	if err := b.d.Sync(); err == nil || !strings.Contains(err.Error(), "the product [8,8] [8,8], bfloat16: some CUBLAS status (cuBLASLt 12.99.1, status 7)") {
		t.Error("a stray operand:", err)
	}
}

// The algorithms that were chosen go to another run and back.
func TestEmulatedProductsKeepTheirAlgorithms(t *testing.T) {
	b := products(t)
	x := b.random(64, false)
	ok(t, b.p.Matmul(Matmul{M: 8, N: 8, K: 8, A: x.at, B: x.at, D: x.at}))
	list := b.p.Choices()
	if len(list) != 1 || list[0].Algo[0] != 42 || list[0].Algo[7] != 8 || !strings.Contains(list[0].Shape, "m8 n8 k8") {
		t.Fatalf("%+v", list)
	}
	list[0].Algo[0] = 1 // one that the library refuses, to see that it is used
	other := products(t)
	other.p.Adopt(list)
	y := other.random(64, false)
	ok(t, other.p.Matmul(Matmul{M: 8, N: 8, K: 8, A: y.at, B: y.at, D: y.at}))
	if other.d.Sync() == nil {
		t.Error("the adopted algorithm was not used")
	}
}

// Products that differ in their number of rows only share an algorithm, but where it does not serve, and prepared ones are bounded.
func TestEmulatedProductsShareAlgorithms(t *testing.T) {
	b := products(t)
	x, y := b.random(1024*8, false), b.random(64, false)
	for rows := 257; rows <= 300; rows++ {
		ok(t, b.p.Matmul(Matmul{M: rows, N: 8, K: 8, A: x.at, B: y.at, D: x.at}))
		ok(t, b.p.Matmul(Matmul{M: 8, N: 8, K: rows, TransA: true, A: x.at, B: x.at, D: y.at}))
	}
	if list := b.p.Choices(); len(list) != 2 {
		t.Fatalf("%+v", list)
	}
	ok(t, b.p.Matmul(Matmul{M: 8, N: 8, K: 999, TransA: true, A: x.at, B: x.at, D: y.at}))
	ok(t, b.p.Matmul(Matmul{M: 8, N: 8, K: 998, TransA: true, A: x.at, B: x.at, D: y.at}))
	if list := b.p.Choices(); len(list) != 4 { // that of the class of 1024 rows, and of 999 its own
		t.Fatalf("%+v", list)
	}
	for n := 0; len(b.p.plans) > n; {
		n = len(b.p.plans)
		ok(t, b.p.Matmul(Matmul{M: 8, N: 8, K: 8, Scale: 1 + float32(n), A: y.at, B: y.at, D: y.at}))
	}
	if len(b.p.plans) != 1 {
		t.Errorf("%d prepared products behind the bound", len(b.p.plans))
	}
	ok(t, b.d.Sync())
}

func TestEmulatedProductsAreFound(t *testing.T) {
	file := blaslt(t)
	if path, version, err := FindProducts(); path != file || version != 129901 || err != nil {
		t.Error(path, version, err)
	}
	t.Setenv("PALIMPSEST_CUBLASLT", filepath.Join(t.TempDir(), "absent.so"))
	if _, _, err := FindProducts(); err == nil || !strings.Contains(err.Error(), "absent.so") || !strings.Contains(err.Error(), "hint") {
		t.Error(err)
	}
	t.Setenv("PALIMPSEST_CUBLASLT", os.Getenv("PALIMPSEST_LIBCUDA"))
	if _, _, err := FindProducts(); err == nil || !strings.Contains(err.Error(), "lacks cublasLt") {
		t.Error(err)
	}
	t.Setenv("PALIMPSEST_CUBLASLT", "")
	if _, _, err := FindProducts(); err == nil || !strings.Contains(err.Error(), "means: none") {
		t.Error(err)
	}
}
