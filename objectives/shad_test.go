package objectives

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"palimpsest/kernels"
)

// ruled runs the rule of a term over losses on the float64 oracle: weights of the rows, their shares of the term's loss, and it.
func ruled(t *testing.T, term *Term, losses, reference []float64) (weights, shares []float64, loss float64) {
	t.Helper()
	if len(losses) == 0 { // as in training, where terms without rows run no op
		return nil, nil, 0
	}
	b, groups := kernels.NewRef64(), term.Groups()
	op := term.Options.Reweigh.Op()
	op.G, op.Offsets = len(groups)-1, b.Alloc(kernels.I32, len(groups))
	b.Upload(op.Offsets, groups)
	filled := func(values []float64) kernels.Buf {
		buf := b.Alloc(kernels.F64, len(losses))
		b.Upload(buf, values)
		return buf
	}
	op.Losses, op.Weights, op.Shares = filled(losses), filled(nil), filled(nil)
	if reference != nil {
		op.Reference = filled(reference)
	}
	if len(term.RowClasses) > 0 {
		op.Classes = b.Alloc(kernels.U8, len(losses))
		b.Upload(op.Classes, term.RowClasses)
	}
	b.Reweigh(op)
	for r := range losses {
		weights = append(weights, kernels.View[float64](op.Weights)[r]/term.Den)
		shares = append(shares, kernels.View[float64](op.Shares)[r]/term.Den)
		loss += shares[r]
	}
	return weights, shares, loss
}

// planned is the term of one update of rft over samples with these classes, -1 for context.
func rftTerm(t *testing.T, s SHAD, classes [][]int) *Term {
	t.Helper()
	o, err := New("rft", Settings{Seed: 5, SHAD: s, Loss: DefaultLoss(), Context: true, Classes: true})
	if err != nil {
		t.Fatal(err)
	}
	p := new(Plan)
	o.Begin(p)
	for i, sample := range classes {
		// A prompt of one token, then a token for each class: all of them have one before.
		doc := Document{ID: int64(i), Tokens: make([]int32, len(sample)+1), Planes: map[string][]byte{"loss": {0}, "class": {NoTokenClass}}}
		for _, c := range sample {
			learned := byte(1)
			if c < 0 {
				learned, c = 0, NoTokenClass
			}
			doc.Planes["loss"], doc.Planes["class"] = append(doc.Planes["loss"], learned), append(doc.Planes["class"], byte(c))
		}
		o.Plan(doc, p)
	}
	SetDenominators([]*Plan{p})
	if err := p.Check(10, len(p.Tokens)); err != nil {
		t.Fatal(err)
	}
	return &p.Terms[0]
}

// shad.json: the whole objective, from classes to weights, one sample and a batch, and the selection of rho1.
func TestSHADGolden(t *testing.T) {
	var file struct {
		RFT []struct {
			Name        string
			Losses      []float64
			Classes     []int
			Tau         float64
			Agg         string
			Detach      bool
			Alpha       *float64
			L           float64
			LB          *float64  `json:"L_b"` // null without a token of the class
			LR          *float64  `json:"L_r"`
			WB          float64   `json:"w_b"`
			WR          float64   `json:"w_r"`
			FactorB     float64   `json:"factor_b"`
			FactorR     float64   `json:"factor_r"`
			TokenWeight []float64 `json:"token_weight"`
		}
		Batches []struct {
			Name        string
			Tau, Loss   float64
			Losses      [][]float64
			Classes     [][]int
			TokenWeight [][]float64 `json:"token_weight"`
		}
		Rho1 []struct {
			Name        string
			Cur, Ref    []float64
			LossMask    []int `json:"loss_mask"`
			Ratio, L    float64
			Keep        int
			Selected    []int
			TokenWeight []float64 `json:"token_weight"`
		}
		Errors string
	}
	readGolden(t, "shad", &file)
	if len(file.RFT) == 0 || len(file.Batches) == 0 || len(file.Rho1) == 0 || file.Errors == "" {
		t.Fatalf("%d, %d, %d cases", len(file.RFT), len(file.Batches), len(file.Rho1))
	}
	// counted leaves out the tokens that bear no row, whose weight must be 0.
	counted := func(name string, classes []int, values []float64) (list []float64) {
		for i, c := range classes {
			if c >= 0 {
				list = append(list, values[i])
			}
		}
		return list
	}
	same := func(name string, got, want []float64, loss, wantLoss float64) {
		if len(got) != len(want) || !near(loss, wantLoss) {
			t.Errorf("%s: %d weights, want %d; loss %.12g, want %.12g", name, len(got), len(want), loss, wantLoss)
			return
		}
		for i := range got {
			if !near(got[i], want[i]) {
				t.Errorf("%s: weight %d is %.12g, want %.12g", name, i, got[i], want[i])
			}
		}
	}
	for _, c := range file.RFT {
		s := DefaultSHAD()
		s.Tau, s.Agg, s.Detach = c.Tau, c.Agg, c.Detach
		if c.Alpha != nil {
			s.Method, s.Alpha = "alpha", *c.Alpha
		}
		term, losses := rftTerm(t, s, [][]int{c.Classes}), counted(c.Name, c.Classes, c.Losses)
		weights, shares, loss := ruled(t, term, losses, nil)
		same(c.Name, weights, counted(c.Name, c.Classes, c.TokenWeight), loss, c.L)
		both := slices.Contains(c.Classes, 0) && slices.Contains(c.Classes, 1)
		for class, want := range []struct {
			loss      *float64
			w, factor float64
		}{{c.LB, c.WB, c.FactorB}, {c.LR, c.WR, c.FactorR}} {
			n, factor, share := 0.0, 0.0, 0.0
			for i, own := range term.RowClasses {
				if int(own) == class {
					n++
					factor += weights[i]
					share += shares[i]
				}
			}
			if c.Agg == "sum" && n > 0 {
				factor /= n
			}
			if (n > 0) != (want.loss != nil) || !near(factor, want.factor) || n > 0 && !near(share, want.w**want.loss) || n > 0 && !both && want.w != 1 {
				t.Errorf("%s: class %d has the factor %.12g and the share %.12g, want %+v", c.Name, class, factor, share, want)
			}
		}
		var single []float32
		for _, l := range losses {
			single = append(single, float32(l))
		}
		if w, ok := term.Options.Reweigh.ClassWeight(single, term.RowClasses); ok != both || ok && math.Abs(w-c.WR) > 2e-6 {
			t.Errorf("%s: w_r %g (%t), want %g", c.Name, w, ok, c.WR)
		}
	}
	for _, c := range file.Batches {
		s := DefaultSHAD()
		s.Tau = c.Tau
		var losses, want []float64
		for i := range c.Losses {
			losses, want = append(losses, counted(c.Name, c.Classes[i], c.Losses[i])...), append(want, counted(c.Name, c.Classes[i], c.TokenWeight[i])...)
		}
		weights, _, loss := ruled(t, rftTerm(t, s, c.Classes), losses, nil)
		same(c.Name, weights, want, loss, c.Loss)
	}
	for _, c := range file.Rho1 {
		s := DefaultSHAD()
		s.Method, s.Ratio = "rho1", c.Ratio
		classes := make([]int, len(c.Cur))
		for i, m := range c.LossMask {
			classes[i] = m - 1
		}
		term := rftTerm(t, s, [][]int{classes})
		if !term.NeedsReference {
			t.Errorf("%s: no reference is asked for", c.Name)
		}
		weights, _, loss := ruled(t, term, counted(c.Name, classes, c.Cur), counted(c.Name, classes, c.Ref))
		same(c.Name, weights, counted(c.Name, classes, c.TokenWeight), loss, c.L)
		var selected []float64
		for _, s := range c.Selected {
			selected = append(selected, float64(s))
		}
		kept := 0
		for i, s := range counted(c.Name, classes, selected) {
			if (weights[i] != 0) != (s == 1) {
				t.Errorf("%s: row %d has the weight %g, selected: %g", c.Name, i, weights[i], s)
			}
			kept += int(s)
		}
		if kept != c.Keep {
			t.Errorf("%s: %d rows are selected, keep is %d", c.Name, kept, c.Keep)
		}
	}
}

// Every method is a rule over the existing terms, and the log sees the true classes whatever the rule does.
func TestRFTMethods(t *testing.T) {
	classes := [][]int{{0, 1, 1, 0, 0, 1, 0, 1, 1, 1}, {1, -1, 255, 0}}
	for method, want := range map[string]string{"rft": "class", "alpha": "fixed", "sft": "uniform", "rho1": "top", "dft": "uniform", "focal": "uniform", "random": "class", "regex": "class"} {
		s := DefaultSHAD()
		s.Method = method
		term := rftTerm(t, s, classes)
		o := term.Options
		if o.Reweigh.Rule != want || o.DFT != (method == "dft") || (o.Focal == 2) != (method == "focal") || term.NeedsReference != (method == "rho1") {
			t.Errorf("%s: %+v", method, o)
		}
		flat := []byte{0, 1, 1, 0, 0, 1, 0, 1, 1, 1, 1, 255, 0}
		if !bytes.Equal(term.Watched, flat) || len(term.Rows) != 13 || fmt.Sprint(term.Offsets) != "[0 10 13]" {
			t.Errorf("%s: classes %v of rows %v", method, term.Watched, term.Rows)
		}
		switch mixed := term.RowClasses; {
		case s.UsesClasses() != (mixed != nil):
			t.Errorf("%s: %v", method, mixed)
		case method == "random":
			sorted := func(list []byte) []byte { l := slices.Clone(list); slices.Sort(l); return l }
			if bytes.Equal(mixed, flat) || !bytes.Equal(sorted(mixed[:10]), sorted(flat[:10])) || mixed[11] != 255 || !bytes.Equal(mixed, rftTerm(t, s, classes).RowClasses) {
				t.Errorf("shuffled classes %v of %v", mixed, flat)
			}
		case mixed != nil && !bytes.Equal(mixed, flat):
			t.Errorf("%s: %v", method, mixed)
		}
		if term.Den != 2 {
			t.Errorf("%s: denominator %g", method, term.Den)
		}
	}
	s := DefaultSHAD()
	s.Method, s.Then, s.Scope, s.Agg = "regex", "alpha", "batch", "sum"
	if term := rftTerm(t, s, classes); term.Options.Reweigh.Rule != "fixed" || term.Den != 1 || term.Options.Reweigh.Aggregate != "sum" {
		t.Errorf("%+v", term)
	}
	for want, s := range map[string]SHAD{"shad.tau: 0": {Method: "rft"}, "shad.tau: -1": {Method: "random", Then: "rft", Tau: -1}, "shad.alpha: 1.5": {Method: "alpha", Alpha: 1.5},
		"shad.alpha: NaN": {Method: "regex", Then: "alpha", Alpha: math.NaN()}, "shad.ratio: 0": {Method: "rho1"}, "shad.ratio: 2": {Method: "rho1", Ratio: 2}} {
		if _, err := New("rft", Settings{SHAD: s, Loss: DefaultLoss()}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	if _, err := New("rft", Settings{SHAD: SHAD{Method: "dft", Tau: 1}, Loss: LossOptions{Smoothing: 0.1}}); err == nil || !strings.Contains(err.Error(), "smoothing") {
		t.Errorf("dft with smoothing: %v", err)
	}
}

// Evaluations ask for the plain losses of both classes apart, which are together the mean over response tokens.
func TestRFTHeldOut(t *testing.T) {
	o, err := New("rft", Settings{SHAD: DefaultSHAD(), Loss: DefaultLoss(), Context: true, Classes: true, Held: true})
	if err != nil {
		t.Fatal(err)
	}
	p := new(Plan)
	o.Begin(p)
	for id := range int64(2) {
		o.Plan(Document{ID: id, Tokens: []int32{1, 2, 3, 4, 5, 6}, Planes: map[string][]byte{"loss": {0, 0, 1, 1, 1, 1}, "class": {255, 255, 0, 1, 1, 255}}}, p)
	}
	SetDenominators([]*Plan{p})
	if err := p.Check(10, 10); err != nil {
		t.Fatal(err)
	}
	rows := map[string]int{}
	for _, term := range p.Terms {
		rows[term.Name] = len(term.Rows)
		if term.Den != 8 || term.Options.Reweigh.On() {
			t.Errorf("%s: denominator %g, %+v", term.Name, term.Den, term.Options)
		}
	}
	if fmt.Sprint(rows) != "map[boilerplate:2 reasoning:4 unclassed:2]" {
		t.Errorf("rows %v", rows)
	}
	plain, err := New("rft", Settings{SHAD: SHAD{Method: "sft", Agg: "mean", Tau: 1}, Loss: DefaultLoss(), Held: true})
	if err != nil {
		t.Fatal(err)
	}
	if plain.Begin(p); len(p.Terms) != 1 || PlanesOf(plain) != nil {
		t.Errorf("without classes: %d terms, planes %v", len(p.Terms), PlanesOf(plain))
	}
}

func TestRFTPrepare(t *testing.T) {
	doc := func(classes ...byte) Document {
		plane := append(append([]byte{}, 0), bytes.Repeat([]byte{1}, len(classes))...)
		return Document{ID: 7, Tokens: make([]int32, len(classes)+1), Planes: map[string][]byte{"loss": plane, "class": append([]byte{255}, classes...)}}
	}
	short := doc(0, 1)
	short.Planes["class"] = short.Planes["class"][:2]
	for name, c := range map[string]struct {
		docs  []Document
		notes string
		err   string
	}{
		"good":            {[]Document{doc(0, 1), doc(1, 1), doc(255), doc(0, 1, 255)}, "of 6 response tokens 33.3 % are boilerplate; 1 of 4 samples have one class only", ""},
		"some have none":  {[]Document{doc(0, 1), doc(255, 255)}, "1 samples have no token in a class", ""},
		"all boilerplate": {[]Document{doc(0, 0), doc(0)}, "", "of 3 response tokens 100.0 % are boilerplate"},
		"no class":        {[]Document{doc(255)}, "", "none of 1 samples"},
		"unknown class":   {[]Document{doc(0, 3)}, "", "document 7, token 2: class 3"},
		"another length":  {[]Document{short}, "", "document 7 has 3 tokens, but 2 classes"},
	} {
		o, err := New("rft", Settings{SHAD: DefaultSHAD(), Loss: DefaultLoss(), Context: true})
		if err != nil {
			t.Fatal(err)
		}
		notes, err := Prepare(o, Corpus{Documents: func(yield func(Document, error) bool) {
			for _, d := range c.docs {
				if !yield(d, nil) {
					return
				}
			}
		}})
		if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) || !strings.Contains(strings.Join(notes, "\n"), c.notes) {
			t.Errorf("%s: %q, %v", name, notes, err)
		}
	}
}

// Response tokens that no piece asks for are counted, or refused, with classes and without.
func TestRFTCutsAreCounted(t *testing.T) {
	doc := func(n int) Document {
		return Document{ID: 3, Tokens: make([]int32, n), Planes: map[string][]byte{"loss": []byte{0, 0, 1, 1, 1, 1}[:n], "class": []byte{255, 255, 0, 1, 255, 1}[:n]}}
	}
	for _, c := range []struct {
		method string
		piece  int
		strict bool
		says   string // "": nothing
	}{
		{"rft", 4, false, "1 of 3 response tokens are not trained"},
		{"rft", 4, true, "1 of 3 response tokens are not trained"},
		{"rft", 6, true, ""},
		{"sft", 4, false, "2 of 4 response tokens are not trained"},
		{"dft", 3, true, "3 of 4 response tokens are not trained"},
		{"focal", 6, true, ""},
	} {
		s := DefaultSHAD()
		s.Method, s.StrictLength = c.method, c.strict
		o, err := New("rft", Settings{SHAD: s, Loss: DefaultLoss(), Context: true})
		if err != nil {
			t.Fatal(err)
		}
		notes, err := Prepare(o, signedCorpus([]Document{doc(6)}, doc(c.piece)))
		text := strings.Join(notes, "\n")
		if err != nil {
			text = err.Error()
		}
		if refused := c.strict && c.says != ""; (err != nil) != refused || c.says == "" && strings.Contains(text, "not trained") || !strings.Contains(text, c.says) ||
			refused && !strings.Contains(text, "hint: a longer data.length, or shad.strict_length: false") {
			t.Errorf("%+v: %q, %v", c, text, err)
		}
	}
	if o, err := New("rft", Settings{SHAD: SHAD{Method: "sft", Agg: "mean", Tau: 1}, Loss: DefaultLoss()}); err != nil || Prepares(o) {
		t.Error("without responses there is nothing to count", err)
	}
}

// Slope is the derivative of the loss of a row: the factors of DFT and focal beside differences.
func TestLossSlope(t *testing.T) {
	for _, nll := range []float64{1e-4, 0.1, 1, 5} {
		focal := func(l float64) float64 { return math.Pow(1-math.Exp(-l), 2) * l }
		const h = 1e-6
		if got, want := (LossOptions{Focal: 2}).Slope(nll), (focal(nll+h)-focal(nll-h))/(2*h); math.Abs(got-want) > 1e-6*(1+want) {
			t.Errorf("focal at %g: %g, difference %g", nll, got, want)
		}
		if got := (LossOptions{DFT: true}).Slope(nll); !near(got, math.Exp(-nll)) {
			t.Errorf("dft at %g: %g", nll, got)
		}
	}
	if (LossOptions{}).Slope(3) != 1 || (LossOptions{Focal: 2}).Slope(0) != 0 {
		t.Error("plain rows, and rows without loss")
	}
}
