package objectives

import (
	"math"
	"strconv"
	"strings"
	"testing"

	"palimpsest/kernels"
)

// tntRun plans rows of given signs and targets as one document behind a token before it, and puts the logits of both models
// through the terms' ops on the float64 oracle. Row r of the case is place r of the document.
func tntRun(t *testing.T, c TNT, z, ref [][]float64, targets []int32, w []float64) (loss float64, rowLoss, kl []float64, dz [][]float64) {
	t.Helper()
	V := len(z[0])
	o, err := New("tnt", Settings{TNT: c, Loss: DefaultLoss(), Vocabulary: Vocabulary{Size: V}})
	if err != nil {
		t.Fatal(err)
	}
	doc := Document{Tokens: append([]int32{0}, targets...), Planes: map[string][]byte{PlaneSign: {0}}}
	for _, s := range w {
		doc.Planes[PlaneSign] = append(doc.Planes[PlaneSign], byte(int8(s)))
	}
	p := new(Plan)
	o.Begin(p)
	o.Plan(doc, p)
	SetDenominators([]*Plan{p})
	if err := p.Check(V, len(doc.Tokens)); err != nil {
		t.Fatal(err)
	}
	rowLoss, kl, dz = make([]float64, len(w)), make([]float64, len(w)), make([][]float64, len(w))
	for r := range dz {
		dz[r] = make([]float64, V)
	}
	b := kernels.NewRef64()
	for i := range p.Terms {
		term := &p.Terms[i]
		n := len(term.Rows)
		gather := func(from [][]float64) kernels.Buf {
			var flat []float32
			for _, row := range term.Rows {
				for _, v := range from[row] {
					flat = append(flat, float32(v))
				}
			}
			buf := b.Alloc(kernels.F64, n*V)
			b.Upload(buf, flat)
			for k, row := range term.Rows { // the worked examples are no float32
				copy(kernels.View[float64](buf)[k*V:], from[row])
			}
			return buf
		}
		upload := func(values []float32) kernels.Buf {
			buf := b.Alloc(kernels.F64, len(values))
			b.Upload(buf, values)
			return buf
		}
		op := term.Pulls.Op()
		op.Logits, op.R, op.V = gather(z), n, V
		if term.NeedsReference {
			op.Reference = gather(ref)
		}
		op.Targets = b.Alloc(kernels.I32, n)
		b.Upload(op.Targets, term.Targets)
		if len(term.Weights) > 0 {
			op.Weights = upload(term.Weights)
		}
		op.Loss, op.KL, op.NLL = b.Alloc(kernels.F64, n), b.Alloc(kernels.F64, n), b.Alloc(kernels.F64, n)
		op.Grad, op.GradScale = true, term.Share/term.Den
		b.ReferenceKL(op)
		for k, row := range term.Rows {
			rowLoss[row], kl[row] = kernels.View[float64](op.Loss)[k], kernels.View[float64](op.KL)[k]
			copy(dz[row], kernels.View[float64](op.Logits)[k*V:(k+1)*V])
			loss += term.Share * rowLoss[row] / term.Den
		}
	}
	return loss, rowLoss, kl, dz
}

// A number of a golden file; infinities are strings.
type number float64

func (n *number) UnmarshalJSON(raw []byte) error {
	v, err := strconv.ParseFloat(strings.Trim(string(raw), `"`), 64)
	*n = number(v)
	return err
}

func matrix(rows [][]number) (m [][]float64) {
	for _, row := range rows {
		var values []float64
		for _, v := range row {
			values = append(values, float64(v))
		}
		m = append(m, values)
	}
	return m
}

type tntCase struct {
	Name, Variant string
	Alpha, Eps    float64
	PerEntry      bool     `json:"compat_eps_per_entry"`
	Clip          bool     `json:"compat_ul_clip"`
	Threshold     bool     `json:"compat_nl_threshold"`
	Floor         *float64 `json:"nl_floor"`
	Z, DZ         [][]number
	ZReference    [][]number `json:"z_ref"`
	Target        []int32
	W             []float64
	RowLoss       []number   `json:"row_loss"`
	KL            []*float64 // null where there is none
	LossSum       float64    `json:"loss_sum"`
	LossMean      float64    `json:"loss_mean"`
}

type tntOfficial struct {
	Variant     string
	Alpha, RTol float64
	Logits      [][][]number
	Targets     [][]int32
	W           [][]float64
	Expected    []float64 `json:"expected_score"`
}

// config is the section of a run file that says what the case does.
func (g tntCase) config() TNT {
	c := DefaultTNT()
	c.Variant, c.Alpha, c.Eps = g.Variant, AutoFactor{g.Alpha, true}, g.Eps
	c.Compat = TNTCompat{EpsPerEntry: g.PerEntry, NLThreshold: g.Threshold, ULClip: g.Clip}
	if c.NLFloor = 0; g.Floor != nil {
		c.NLFloor = LogFloor(*g.Floor)
	}
	return c
}

// The objective's terms, with their denominators, give the vectors' losses and gradients, as a mean and as a sum.
func TestTNTGolden(t *testing.T) {
	var file struct {
		Cases    []tntCase
		Official []tntOfficial
	}
	readGolden(t, "tnt", &file)
	if len(file.Cases) == 0 || len(file.Official) == 0 {
		t.Fatal("tnt.json lacks cases")
	}
	for _, g := range file.Cases {
		c := g.config()
		rows := 0.0
		for _, w := range g.W {
			rows += math.Abs(w)
		}
		for _, sum := range []bool{false, true} {
			c.Compat.Sum = sum
			want, den := g.LossMean, rows
			if sum {
				want, den = g.LossSum, 1
			}
			loss, rowLoss, kl, dz := tntRun(t, c, matrix(g.Z), matrix(g.ZReference), g.Target, g.W)
			if !near(loss, want) {
				t.Errorf("%s: loss %.12g, want %.12g", g.Name, loss, want)
			}
			for r := range rowLoss {
				if !near(rowLoss[r], float64(g.RowLoss[r])) || g.KL[r] != nil && g.Alpha > 0 && !near(kl[r], *g.KL[r]) {
					t.Errorf("%s: row %d: loss %.12g, KL %.12g", g.Name, r, rowLoss[r], kl[r])
				}
				for j, v := range dz[r] {
					if d := float64(g.DZ[r][j]); !near(v*den, d) || d == 0 && v != 0 {
						t.Errorf("%s: dz[%d][%d] = %.12g, want %.12g", g.Name, r, j, v*den, d)
					}
				}
			}
		}
	}
	for _, g := range file.Official {
		for _, perEntry := range []bool{false, true} {
			c := DefaultTNT()
			c.Variant, c.Alpha, c.Reduce, c.Compat.EpsPerEntry = g.Variant, AutoFactor{g.Alpha, true}, "sum", perEntry
			for i := range g.Logits {
				loss, _, _, _ := tntRun(t, c, matrix(g.Logits[i]), matrix(g.Logits[i]), g.Targets[i], g.W[i])
				if want := g.Expected[i]; math.Abs(-loss-want) > g.RTol*max(1, math.Abs(want)) {
					t.Errorf("official %s, alpha %g: score %.9g, want %.9g", g.Variant, g.Alpha, -loss, want)
				}
			}
		}
	}
}
