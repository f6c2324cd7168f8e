package objectives

import (
	"math"
	"slices"
	"strings"
	"testing"

	"palimpsest/kernels"
)

func mixing(by string, mix map[string]float64) Settings {
	s := settings(DefaultMask())
	s.AntLM = AntLM{Mix: mix, By: by}
	return s
}

// GPT-BERT's labels are those of mlm moved by one: the same draws hide the same tokens, and the row before each answers.
func TestMNTPIsMLMMovedByOne(t *testing.T) {
	for _, unit := range []string{"token", "word", "span"} {
		m := DefaultMask()
		m.P, m.Unit, m.ReplaceBy = 0.3, unit, "unit"
		docs := []Document{document(0, 0, 40), document(1, 3, 2), document(2, 0, 61)}
		mlm, mntp := planned(t, "mlm", settings(m), docs...), planned(t, "mntp", settings(m), docs...)
		if !slices.Equal(mlm.Tokens, mntp.Tokens) || !slices.Equal(mlm.Segments, mntp.Segments) {
			t.Fatalf("%s: mntp sees %v, mlm %v", unit, mntp.Tokens, mlm.Tokens)
		}
		a, b := mlm.Terms[0], mntp.Terms[0]
		if len(a.Rows) < 20 || !slices.Equal(a.Targets, b.Targets) || !slices.Equal(a.Offsets, b.Offsets) {
			t.Fatalf("%s: targets %v and %v", unit, a.Targets, b.Targets)
		}
		for r := range a.Rows {
			if b.Rows[r] != a.Rows[r]-1 {
				t.Errorf("%s: row %d is %d, of mlm %d", unit, r, b.Rows[r], a.Rows[r])
			}
		}
	}
}

// By hand: every token of a piece without a begin token is masked but the first, which nothing could answer for.
func TestMNTPByHand(t *testing.T) {
	piece := Document{Tokens: []int32{10, 11, 12, 1}, Offset: 64}
	p := planned(t, "mntp", settings(Mask{P: 1, Unit: "token", Replace: [3]float64{1, 0, 0}}), Document{Tokens: []int32{20, 21}}, piece)
	if want := []int32{20, maskID, 10, maskID, maskID, 1}; !slices.Equal(p.Tokens, want) {
		t.Errorf("sees %v, want %v", p.Tokens, want)
	}
	term := p.Terms[0]
	if !slices.Equal(term.Rows, []int32{0, 2, 3}) || !slices.Equal(term.Targets, []int32{21, 11, 12}) || !slices.Equal(term.Offsets, []int32{0, 1, 3}) {
		t.Errorf("rows %v, targets %v, offsets %v", term.Rows, term.Targets, term.Offsets)
	}
	for _, s := range p.Segments {
		if s.Mask != kernels.Bidirectional {
			t.Errorf("segment %v", s)
		}
	}
}

// A document's mode is drawn from seed, epoch and document; the segment carries its attention, the terms their shares.
func TestAntLMByDocument(t *testing.T) {
	s := mixing("document", map[string]float64{"mntp": 3, "clm": 1})
	var docs []Document
	for id := range int64(2000) {
		docs = append(docs, document(id, 1, 12))
	}
	p := planned(t, "antlm", s, docs...)
	if p.Terms[0].Name != "clm" || p.Terms[0].Share != 0.25 || p.Terms[1].Name != "mntp" || p.Terms[1].Share != 0.75 {
		t.Fatalf("terms %s %g, %s %g", p.Terms[0].Name, p.Terms[0].Share, p.Terms[1].Name, p.Terms[1].Share)
	}
	causal := 0
	for i, segment := range p.Segments {
		clm, mntp := p.Terms[0].Offsets[i+1]-p.Terms[0].Offsets[i], p.Terms[1].Offsets[i+1]-p.Terms[1].Offsets[i]
		if segment.Mask == kernels.Causal {
			causal++
			if clm != 11 || mntp != 0 || !slices.Equal(p.Tokens[segment.Start:segment.End], p.OriginalTokens[segment.Start:segment.End]) {
				t.Fatalf("causal segment %d: %d and %d rows", i, clm, mntp)
			}
		} else if clm != 0 {
			t.Fatalf("masked segment %d has %d causal rows", i, clm)
		}
	}
	if share := float64(causal) / 2000; math.Abs(share-0.25) > 0.03 { // sd 0.01
		t.Errorf("%g of the documents are causal", share)
	}
	alone := planned(t, "antlm", s, docs[7])
	if !slices.Equal(alone.Tokens, p.Tokens[7*12:8*12]) || alone.Segments[0].Mask != p.Segments[7].Mask {
		t.Error("what came before in the step changed a document's plan")
	}
	changed := 0
	for i := range docs {
		docs[i].Epoch = 2
	}
	for i, segment := range planned(t, "antlm", s, docs...).Segments {
		if segment.Mask != p.Segments[i].Mask {
			changed++
		}
	}
	if share := float64(changed) / 2000; math.Abs(share-2*0.25*0.75) > 0.04 {
		t.Errorf("%g of the documents have another mode in the next epoch, want 0.375", share)
	}
}

// Turns keep shares exactly: the first mode has turn r when floor((r+1)c) > floor(rc), and the rest is dealt out likewise.
func TestAntLMTurns(t *testing.T) {
	turns := func(mix map[string]float64, n int) (names string, counts map[string]int) {
		o, err := newAntLM(mixing("step", mix))
		if err != nil {
			t.Fatal(err)
		}
		counts = map[string]int{}
		for r := range n {
			name := o.parts[o.turn(int64(r))].Name()
			names += string(name[1]) // cLm, mLm, mNtp
			counts[name]++
		}
		return names, counts
	}
	if got, _ := turns(map[string]float64{"clm": 1, "mntp": 2}, 7); got != "nnlnnln" {
		t.Errorf("1:2 takes the turns %s", got)
	}
	for _, x := range []struct {
		mix    map[string]float64
		rounds int
	}{
		{map[string]float64{"clm": 1, "mntp": 15}, 16}, {map[string]float64{"clm": 1, "mlm": 48}, 49}, {map[string]float64{"clm": 2, "mlm": 3, "mntp": 2}, 7},
		{map[string]float64{"mlm": 1}, 1},
	} {
		_, counts := turns(x.mix, 20*x.rounds)
		for name, share := range x.mix {
			if counts[name] != 20*int(share) {
				t.Errorf("%v: %d of %d turns are %s's", x.mix, counts[name], 20*x.rounds, name)
			}
		}
	}
}

// By row, rows take turns over micro-batches and updates, whatever was packed into each.
func TestAntLMByRow(t *testing.T) {
	o, err := New("antlm", mixing("row", map[string]float64{"clm": 1, "mntp": 2}))
	if err != nil {
		t.Fatal(err)
	}
	got, rows := "", int64(0)
	for batch, n := range []int{2, 1, 4, 3, 2} {
		p := &Plan{Batch: int64(batch), Batches: 2, FirstRow: rows}
		o.Begin(p)
		for i := range n {
			o.Plan(document(rows+int64(i), 0, 20), p)
		}
		for _, s := range p.Segments {
			got += map[kernels.Mask]string{kernels.Causal: "c", kernels.Bidirectional: "m"}[s.Mask]
		}
		if p.Terms[0].Share != 1.0/3 || p.Terms[1].Share != 2.0/3 {
			t.Errorf("shares %g and %g", p.Terms[0].Share, p.Terms[1].Share)
		}
		rows += int64(n)
	}
	if want := "mmcmmcmmcmmc"; got != want {
		t.Errorf("rows are %s, want %s", got, want)
	}
}

// The z-loss of an update is its factor times the mean over all labelled rows, though modes have means and shares of their own.
func TestJointZLoss(t *testing.T) {
	s := mixing("row", map[string]float64{"clm": 1, "mntp": 7})
	s.Loss.ZLoss = 0.01
	for _, device := range []bool{false, true} {
		s.AntLM.Compat.DeviceMean = device
		o, err := New("antlm", s)
		if err != nil {
			t.Fatal(err)
		}
		plans, n := []*Plan{{Batches: 2}, {Batch: 1, Batches: 2, FirstRow: 9}}, 0
		for i, p := range plans {
			o.Begin(p)
			for id := range int64(9 - i) {
				o.Plan(document(id, 0, 20+i), p)
			}
			n += p.Rows()
		}
		SetDenominators(plans)
		for _, p := range plans {
			for _, term := range p.Terms {
				want := 0.01 / float64(n)
				if device { // as in GPT-BERT, by the row's own weight
					want = 0.01 * term.Share / term.Den
				}
				if got := term.Share / term.Den * term.Options.ZLoss; len(term.Rows) == 0 || math.Abs(got-want) > 1e-12 {
					t.Errorf("device mean %t: a row of %s has the z-loss %g, want %g", device, term.Name, got, want)
				}
			}
		}
	}
	s.AntLM = AntLM{}
	if p := planned(t, "clm", s, document(0, 0, 9)); p.Terms[0].Options.ZLoss != 0.01 {
		t.Errorf("alone %g", p.Terms[0].Options.ZLoss)
	}
}

// By step all micro-batches of an update are of one mode, whose mean is the loss; by batch a mode's share is that of its
// micro-batches.
func TestAntLMTakesTurns(t *testing.T) {
	type micro struct {
		mask kernels.Mask
		clm  float64 // share
	}
	const c, m = kernels.Causal, kernels.Bidirectional
	for by, x := range map[string]struct {
		mix  map[string]float64
		want []micro // two an update
	}{
		"step":  {map[string]float64{"clm": 1, "mlm": 2}, []micro{{m, 0}, {m, 0}, {m, 0}, {m, 0}, {c, 1}, {c, 1}}},
		"batch": {map[string]float64{"clm": 2, "mlm": 3}, []micro{{m, 0}, {m, 0}, {c, 0.5}, {m, 0.5}, {c, 0.5}, {m, 0.5}}},
	} {
		o, err := New("antlm", mixing(by, x.mix))
		if err != nil {
			t.Fatal(err)
		}
		for batch, want := range x.want {
			p := &Plan{Batch: int64(batch), Batches: 2}
			o.Begin(p)
			o.Plan(document(int64(batch), 0, 20), p)
			o.Plan(document(int64(batch)+10, 0, 20), p)
			clm, mlm := p.Terms[0], p.Terms[1]
			if p.Segments[0].Mask != want.mask || p.Segments[1].Mask != want.mask || clm.Share != want.clm || clm.Share+mlm.Share != 1 {
				t.Errorf("%s, micro-batch %d: %v, shares %g and %g; want %v", by, batch, p.Segments, clm.Share, mlm.Share, want)
			}
			if (len(clm.Rows) > 0) != (want.mask == c) || (len(mlm.Rows) > 0) == (len(clm.Rows) > 0) {
				t.Errorf("%s, micro-batch %d: %d and %d rows", by, batch, len(clm.Rows), len(mlm.Rows))
			}
		}
	}
}

// Each mode's mean is over its rows of the whole update; one without rows adds nothing, and its share is not given away.
func TestAntLMDenominators(t *testing.T) {
	s := mixing("document", map[string]float64{"clm": 1, "mlm": 1})
	var plans []*Plan
	rows := [2]float64{}
	for i := range int64(6) {
		p := planned(t, "antlm", s, document(3*i, 0, 30), document(3*i+1, 0, 9))
		plans = append(plans, p)
		rows[0] += float64(len(p.Terms[0].Rows))
		rows[1] += float64(len(p.Terms[1].Rows))
	}
	SetDenominators(plans)
	for _, p := range plans {
		if p.Terms[0].Den != rows[0] || p.Terms[1].Den != rows[1] || rows[0] == 0 || rows[1] == 0 {
			t.Errorf("denominators %g and %g of %v rows", p.Terms[0].Den, p.Terms[1].Den, rows)
		}
	}
	only := planned(t, "antlm", s)
	SetDenominators([]*Plan{only})
	if only.Terms[0].Share != 0.5 || only.Terms[0].Den != 1 {
		t.Errorf("%+v", only.Terms[0])
	}
}

// GPT-BERT gives the first devices masked batches, rank*16 < 15*world; micro-batches stand for devices.
func TestAntLMByDevice(t *testing.T) {
	for _, x := range []struct {
		mix   map[string]float64
		world int
		want  string // cLm, mLm, mNtp by device
	}{
		{map[string]float64{"mntp": 15, "clm": 1}, 16, "nnnnnnnnnnnnnnnl"},
		{map[string]float64{"mntp": 15, "clm": 1}, 8, "nnnnnnnn"}, // 7*16 < 15*8
		{map[string]float64{"mntp": 1, "clm": 1}, 3, "nnl"},
		{map[string]float64{"mntp": 1, "mlm": 1, "clm": 2}, 4, "nlll"},
	} {
		o, err := New("antlm", mixing("device", x.mix))
		if err != nil {
			t.Fatal(err)
		}
		got, sum := "", 0.0
		for i := range 2 * x.world {
			p := &Plan{Batch: int64(i), Batches: x.world}
			o.Begin(p)
			o.Plan(document(int64(i), 0, 30), p)
			for _, term := range p.Terms {
				if len(term.Rows) > 0 {
					got += string(term.Name[1])
				}
				if i == 0 {
					sum += term.Share
				}
			}
		}
		if got != x.want+x.want || math.Abs(sum-1) > 1e-12 {
			t.Errorf("%v on %d devices: %s, want %s; shares add up to %g", x.mix, x.world, got, x.want, sum)
		}
	}
}

// GPT-BERT's code by hand: means of devices are averaged, the end token is no target, the last span is taken whole.
func TestAntLMCompat(t *testing.T) {
	s := mixing("device", map[string]float64{"clm": 1})
	s.AntLM.Compat = AntLMCompat{DeviceMean: true, NoEOS: true}
	var plans []*Plan
	for i, n := range []int{5, 2, 9} {
		o, err := New("antlm", s)
		if err != nil {
			t.Fatal(err)
		}
		p := &Plan{Batch: int64(i), Batches: 3}
		o.Begin(p)
		doc := document(int64(i), 0, n)
		doc.Tokens = append(slices.Clone(doc.Tokens[:n-1]), s.Vocabulary.EOS)
		o.Plan(doc, p)
		plans = append(plans, p)
	}
	SetDenominators(plans)
	for i, rows := range []int{3, 0, 7} { // the first token has no state before it, the last is the end
		term := plans[i].Terms[0]
		if len(term.Rows) != rows || term.Den != 10 {
			t.Fatalf("micro-batch %d: %d rows, want %d; divided by %g", i, len(term.Rows), rows, term.Den)
		}
		sum := 0.0
		for _, w := range term.Weights {
			sum += float64(w) / term.Den
		}
		if rows > 0 && math.Abs(sum-0.5) > 1e-6 { // of two devices with labels
			t.Errorf("micro-batch %d weighs %g", i, sum)
		}
	}
	s.Held = true
	o, err := New("antlm", s)
	if err != nil {
		t.Fatal(err)
	}
	p := new(Plan)
	o.Begin(p)
	o.Plan(Document{Tokens: []int32{10, 11, s.Vocabulary.EOS}}, p)
	if term := p.Terms[0]; len(term.Rows) != 2 || term.Alone {
		t.Errorf("an evaluation is without the switches: %+v", term)
	}
	ties := mixing("document", map[string]float64{"mntp": 1})
	ties.Mask.P, ties.Mask.Unit, ties.Mask.Span = 0.25, "span", Span{Kind: "uniform", Min: 4, Max: 4, Of: "token"}
	exact := planned(t, "antlm", ties, document(1, 0, 41))
	ties.AntLM.Compat.Ties = true
	whole := planned(t, "antlm", ties, document(1, 0, 41))
	if a, b := len(exact.Terms[0].Rows), len(whole.Terms[0].Rows); a != 9 || b != 12 {
		t.Errorf("%d tokens are masked, with whole spans %d; want 9 and 12", a, b)
	}
	s = mixing("batch", map[string]float64{"clm": 1, "mlm": 1})
	s.AntLM.Compat.DeviceMean, s.Loss.Reweigh.Rule = true, "softmax"
	if _, err := New("antlm", s); err == nil || !strings.Contains(err.Error(), "gptbert_device_mean") {
		t.Errorf("beside weights from losses: %v", err)
	}
}

func TestAntLMRefusals(t *testing.T) {
	for want, mix := range map[string]map[string]float64{
		"above 0 for at least one":  {"clm": 0, "mlm": 0},
		"0 or more, not -1 for clm": {"clm": -1, "mlm": 2},
		"0 or more, not NaN":        {"clm": math.NaN(), "mlm": 2},
		"0 or more, not +Inf":       {"mlm": math.Inf(1)},
		"tag cannot be mixed":       {"clm": 1, "tag": 1},
		"at least one of":           {},
	} {
		if problems := (AntLM{Mix: mix}).Validate(); len(problems) != 1 || !strings.Contains(problems[0].Error(), want) {
			t.Errorf("%v: %v, want %q", mix, problems, want)
		}
		if _, err := New("antlm", mixing("document", mix)); err == nil {
			t.Errorf("%v makes an objective", mix)
		}
	}
	s := mixing("document", map[string]float64{"clm": 1, "mntp": 1})
	s.Vocabulary.Mask = -1
	if _, err := New("antlm", s); err == nil || !strings.Contains(err.Error(), "objective antlm: objective mntp: the tokenizer has no mask token") {
		t.Errorf("without a mask token: %v", err)
	}
}
