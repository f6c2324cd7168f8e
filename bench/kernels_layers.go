package bench

import (
	"fmt"

	"palimpsest/kernels"
)

// normCase is the residual addition with the norm behind it, or the norm's gradient.
type normCase struct {
	Rows     int  `json:"rows"`
	Columns  int  `json:"columns"`
	RMS      bool `json:"rms"`
	Backward bool `json:"backward"`
}

func (a normCase) op() string { return "norm" + direction(a.Backward) }
func (a normCase) shape() string {
	return fmt.Sprintf("%d rows of %d, %s", a.Rows, a.Columns, map[bool]string{false: "LayerNorm", true: "RMSNorm"}[a.RMS])
}
func (a normCase) flops() float64 { return 0 }

// bytes: forward x and delta in, sum and y out; backward dy and sum in, dsum out; gains, and their gradients in and out.
func (a normCase) bytes(s sizes) float64 {
	n, c, vectors, stats := float64(a.Rows*a.Columns), float64(a.Columns), 2., 2.
	if a.RMS {
		vectors, stats = 1, 1
	}
	if a.Backward {
		return 3*n*s.compute + c*s.compute + 2*vectors*c*s.master + stats*float64(a.Rows)*s.master
	}
	return 4*n*s.compute + vectors*c*s.compute + stats*float64(a.Rows)*s.master
}

func (a normCase) small() kernel { a.Rows, a.Columns = min(a.Rows, 37), min(a.Columns, 776); return a }

func (a normCase) build(m *maker, b kernels.Backend) func() {
	n, kind := a.Rows*a.Columns, kernels.LayerNorm
	if a.RMS {
		kind = kernels.RMSNorm
	}
	if a.Backward {
		g := kernels.NormBackward{DSum: m.fresh("dsum", n, 0), DY: m.in(n), Sum: m.in(n), Gain: m.in(a.Columns), Rstd: m.positive(m.info.Master, a.Rows),
			DGain: m.inMaster(a.Columns), N: a.Rows, C: a.Columns, Kind: kind}
		m.out("dgain", g.DGain, a.Columns, 4*float64(a.Rows))
		if !a.RMS {
			g.Mean, g.DBias = m.inMaster(a.Rows), m.inMaster(a.Columns)
			m.out("dbias", g.DBias, a.Columns, 4*float64(a.Rows))
		}
		return func() { b.NormBackward(g) }
	}
	f := kernels.AddNorm{X: m.in(n), Delta: m.in(n), Sum: m.fresh("sum", n, 0), Y: m.fresh("y", n, 0), Gain: m.in(a.Columns), N: a.Rows, C: a.Columns,
		Rstd: m.freshMaster("rstd", a.Rows, 0), Kind: kind, Eps: 1e-5}
	if !a.RMS {
		f.Bias, f.Mean = m.in(a.Columns), m.freshMaster("mean", a.Rows, 0)
	}
	return func() { b.AddNorm(f) }
}

// ropeCase turns queries and keys of packed rows in place.
type ropeCase struct {
	Rows  int `json:"rows"`
	Heads int `json:"heads"` // that turn; a row holds half as many more
	Width int `json:"width"`
	Axes  int `json:"axes"`
}

const ropePositions = 1024

func (a ropeCase) op() string { return "rope" }
func (a ropeCase) shape() string {
	return fmt.Sprintf("%d rows, %d heads of %d, %d-D", a.Rows, a.Heads, a.Width, a.Axes)
}
func (a ropeCase) flops() float64 { return 0 }
func (a ropeCase) bytes(s sizes) float64 {
	return 2*float64(a.Rows*a.Heads*a.Width)*s.compute + 8*float64(a.Rows) + float64(ropePositions*a.Width/a.Axes)*s.master
}
func (a ropeCase) small() kernel { a.Rows, a.Heads = min(a.Rows, 19), 2; return a }

func (a ropeCase) build(m *maker, b kernels.Backend) func() {
	ld := a.Heads * a.Width * 3 / 2
	x := m.out("x", m.in(a.Rows*ld), a.Rows*ld, 0)
	r := kernels.Rope{X: x, Pos: m.indices(2*a.Rows, ropePositions), Table: m.table(kernels.RopeTable[float64](ropePositions, a.Width, a.Axes, 1e4)), N: a.Rows,
		LD: ld, Heads: a.Heads, D: a.Width, Axes: a.Axes}
	return func() { b.Rope(r) }
}

// depthCase is the stream of a depth-weighted model behind a sub-layer.
type depthCase struct {
	Rows     int  `json:"rows"`
	Columns  int  `json:"columns"`
	Outputs  int  `json:"outputs"`
	Backward bool `json:"backward"`
}

func (a depthCase) op() string { return "weighted_sum" + direction(a.Backward) }
func (a depthCase) shape() string {
	return fmt.Sprintf("%d rows of %d, %d outputs", a.Rows, a.Columns, a.Outputs)
}
func (a depthCase) flops() float64 { return 0 }

// bytes: forward each output once and the sum; backward the gradient, each output, and the gradients of these in and out.
func (a depthCase) bytes(s sizes) float64 {
	vectors, weights := float64(a.Outputs+1), float64(a.Outputs)
	if a.Backward {
		vectors, weights = float64(3*a.Outputs+1), float64(3*a.Outputs)
	}
	return vectors*float64(a.Rows*a.Columns)*s.compute + weights*s.master
}
func (a depthCase) small() kernel {
	a.Rows, a.Columns, a.Outputs = min(a.Rows, 5), min(a.Columns, 72), min(a.Outputs, 3)
	return a
}

func (a depthCase) build(m *maker, b kernels.Backend) func() {
	n, all := a.Rows*a.Columns, a.Outputs*a.Rows*a.Columns
	if a.Backward {
		g := kernels.WeightedSumBackward{DX: m.out("dx", m.in(all), all, 0), DWeights: m.inMaster(a.Outputs), DY: m.in(n), X: m.in(all),
			Weights: m.inMaster(a.Outputs), N: n, J: a.Outputs, Stride: n}
		m.out("dweights", g.DWeights, a.Outputs, 4*float64(n))
		return func() { b.WeightedSumBackward(g) }
	}
	f := kernels.WeightedSum{Y: m.fresh("y", n, 0), X: m.in(all), Weights: m.inMaster(a.Outputs), N: n, J: a.Outputs, Stride: n}
	return func() { b.WeightedSum(f) }
}

// activationCase is a pointwise activation, plain or gated.
type activationCase struct {
	Rows     int                `json:"rows"`
	Columns  int                `json:"columns"`
	Act      kernels.Activation `json:"activation"`
	Gated    bool               `json:"gated"`
	Backward bool               `json:"backward"`
}

var activationNames = map[kernels.Activation]string{kernels.None: "none", kernels.GELUErf: "GELU", kernels.GELUTanh: "GELU tanh", kernels.SiLU: "SiLU", kernels.ReLU: "ReLU"}

func (a activationCase) op() string {
	return map[bool]string{false: "activation", true: "gated"}[a.Gated] + direction(a.Backward)
}
func (a activationCase) shape() string {
	return fmt.Sprintf("%d rows of %d, %s", a.Rows, a.Columns, activationNames[a.Act])
}
func (a activationCase) flops() float64 { return 0 }
func (a activationCase) bytes(s sizes) float64 {
	return float64(a.Rows*a.Columns) * s.compute * map[[2]bool]float64{{false, false}: 2, {false, true}: 3, {true, false}: 3, {true, true}: 5}[[2]bool{a.Gated, a.Backward}]
}
func (a activationCase) small() kernel {
	a.Rows, a.Columns = min(a.Rows, 5), min(a.Columns, 136)
	return a
}

func (a activationCase) build(m *maker, b kernels.Backend) func() {
	n := a.Rows * a.Columns
	switch {
	case a.Gated && a.Backward:
		x, dy, dx := m.in(2*n), m.in(n), m.fresh("dx", 2*n, 0)
		return func() {
			b.GatedBackward(dx, dx.Slice(a.Columns, 2*n), dy, x, x.Slice(a.Columns, 2*n), a.Rows, a.Columns, 2*a.Columns, a.Act)
		}
	case a.Gated:
		x, y := m.in(2*n), m.fresh("y", n, 0)
		return func() { b.Gated(y, x, x.Slice(a.Columns, 2*n), a.Rows, a.Columns, 2*a.Columns, a.Act) }
	case a.Backward:
		x, dy, dx := m.in(n), m.in(n), m.fresh("dx", n, 0)
		return func() { b.ActivationBackward(dx, dy, x, n, a.Act) }
	}
	x, y := m.in(n), m.fresh("y", n, 0)
	return func() { b.ActivationForward(y, x, n, a.Act) }
}

// embeddingCase is a step's embedding with learned positions.
type embeddingCase struct {
	Rows     int  `json:"rows"`
	Columns  int  `json:"columns"`
	Vocab    int  `json:"vocab"`
	Length   int  `json:"length"` // of a document
	Backward bool `json:"backward"`
}

func (a embeddingCase) op() string { return "embedding" + direction(a.Backward) }
func (a embeddingCase) shape() string {
	return fmt.Sprintf("%d rows of %d, vocabulary %d", a.Rows, a.Columns, a.Vocab)
}
func (a embeddingCase) flops() float64 { return 0 }

// bytes: rows of the tables that are touched count once, at most as many as there are.
func (a embeddingCase) bytes(s sizes) float64 {
	n, touched := float64(a.Rows*a.Columns), float64((min(a.Rows, a.Vocab)+a.Length)*a.Columns)
	if a.Backward {
		return n*s.compute + 2*touched*s.master + 12*float64(a.Rows)
	}
	return n*s.compute + touched*s.compute + 12*float64(a.Rows)
}
func (a embeddingCase) small() kernel {
	a.Rows, a.Columns, a.Vocab, a.Length = min(a.Rows, 90), min(a.Columns, 72), min(a.Vocab, 31), min(a.Length, 16)
	return a
}

func (a embeddingCase) build(m *maker, b kernels.Backend) func() {
	n := a.Rows * a.Columns
	places := make([]int32, 2*a.Rows)
	for i := range places {
		places[i] = int32(i / 2 % a.Length)
	}
	ids, pos := m.indices(a.Rows, a.Vocab), m.list(places)
	if a.Backward {
		dtokens := m.out("dtokens", m.inMaster(a.Vocab*a.Columns), a.Vocab*a.Columns, float64(a.Rows))
		dpositions := m.out("dpositions", m.inMaster(a.Length*a.Columns), a.Length*a.Columns, float64(a.Rows))
		dout := m.in(n)
		return func() { b.EmbedBackward(dtokens, dpositions, kernels.Buf{}, dout, ids, pos, a.Rows, a.Columns) }
	}
	tokens, positions, out := m.in(a.Vocab*a.Columns), m.in(a.Length*a.Columns), m.fresh("out", n, 0)
	return func() { b.Embed(out, ids, pos, tokens, positions, kernels.Buf{}, a.Rows, a.Columns) }
}

// rowsCase gathers rows that bear a loss, or adds them back.
type rowsCase struct {
	Rows    int  `json:"rows"`
	Of      int  `json:"of"`
	Columns int  `json:"columns"`
	Scatter bool `json:"scatter"`
}

func (a rowsCase) op() string {
	return map[bool]string{false: "rows_gather", true: "rows_scatter"}[a.Scatter]
}
func (a rowsCase) shape() string {
	return fmt.Sprintf("%d rows of %d, of %d", a.Rows, a.Columns, a.Of)
}
func (a rowsCase) flops() float64 { return 0 }
func (a rowsCase) bytes(s sizes) float64 {
	return map[bool]float64{false: 2, true: 3}[a.Scatter]*float64(a.Rows*a.Columns)*s.compute + 4*float64(a.Rows)
}
func (a rowsCase) small() kernel {
	a.Rows, a.Of, a.Columns = min(a.Rows, 40), min(a.Of, 90), min(a.Columns, 72)
	return a
}

func (a rowsCase) build(m *maker, b kernels.Backend) func() {
	rows := make([]int32, a.Rows) // ascending, without repetition, as plans have them
	for i := range rows {
		rows[i] = int32(i * a.Of / a.Rows)
	}
	index, few := m.list(rows), a.Rows*a.Columns
	if a.Scatter {
		dst, src := m.out("dst", m.in(a.Of*a.Columns), a.Of*a.Columns, 0), m.in(few)
		return func() { b.ScatterAddRows(dst, src, index, a.Rows, a.Columns) }
	}
	x, out := m.in(a.Of*a.Columns), m.fresh("out", few, 0)
	return func() { b.GatherRows(out, x, index, a.Rows, a.Columns) }
}
