package objectives

import (
	"math"
	"reflect"
	"slices"
	"testing"

	"palimpsest/kernels"
)

const vocab, maskID, firstOrdinary = 50, 3, 4

func settings(m Mask) Settings {
	return Settings{Seed: 11, Mask: m, Vocabulary: Vocabulary{Size: vocab, BOS: 0, EOS: 1, Pad: 2, Mask: maskID,
		Special: func(id int32) bool { return id < firstOrdinary }, WordStarts: wordStarts}}
}

// wordStarts has a word begin at every ordinary token with an even id and at specials.
func wordStarts(dst []bool, ids []int32) []bool {
	for i, id := range ids {
		dst = append(dst, id%2 == 0 || id < firstOrdinary || i > 0 && ids[i-1] < firstOrdinary)
	}
	return dst
}

func document(id int64, epoch uint32, n int) Document {
	doc := Document{ID: id, Epoch: epoch, Tokens: make([]int32, n)}
	for i := range doc.Tokens {
		doc.Tokens[i] = int32(firstOrdinary + (i*7+int(id))%(vocab-firstOrdinary))
	}
	if n > 1 {
		doc.Tokens[0], doc.Tokens[n-1] = 0, 1
	}
	return doc
}

func planned(t *testing.T, name string, s Settings, docs ...Document) *Plan {
	t.Helper()
	o, err := New(name, s)
	if err != nil {
		t.Fatal(err)
	}
	p := new(Plan)
	o.Begin(p)
	for _, d := range docs {
		o.Plan(d, p)
	}
	if err := p.Check(vocab, 512); err != nil {
		t.Fatal(err)
	}
	return p
}

func TestCLMPredictsTheNextTokenInsideItsSegment(t *testing.T) {
	p := planned(t, "clm", settings(DefaultMask()), document(0, 0, 4), document(1, 0, 1), document(2, 0, 3))
	term := p.Terms[0]
	if want := []int32{0, 1, 2, 5, 6}; !slices.Equal(term.Rows, want) {
		t.Errorf("rows %v, want %v", term.Rows, want)
	}
	for r, row := range term.Rows {
		if term.Targets[r] != p.Tokens[row+1] {
			t.Errorf("row %d asks for %d, the next token is %d", row, term.Targets[r], p.Tokens[row+1])
		}
	}
	if want := []int32{0, 3, 3, 5}; !slices.Equal(term.Offsets, want) {
		t.Errorf("offsets %v, want %v", term.Offsets, want)
	}
	if p.Segments[2] != (kernels.Segment{Start: 5, End: 8, Mask: kernels.Causal}) || p.Pos[2*5] != 0 || p.Pos[2*7] != 2 {
		t.Errorf("segment %v, positions %v", p.Segments[2], p.Pos)
	}
}

func TestMLMSelectsTheStatedShares(t *testing.T) {
	var selected, masked, kept, eligible float64
	var docs []Document
	for id := range int64(300) {
		docs = append(docs, document(id, 0, 100))
	}
	p := planned(t, "mlm", settings(DefaultMask()), docs...)
	term := p.Terms[0]
	for r, row := range term.Rows {
		if p.OriginalTokens[row] != term.Targets[r] {
			t.Fatalf("row %d: target %d, original %d", row, term.Targets[r], p.OriginalTokens[row])
		}
		if term.Targets[r] < firstOrdinary {
			t.Fatalf("row %d: special token %d was selected", row, term.Targets[r])
		}
		switch p.Tokens[row] {
		case maskID:
			masked++
		case term.Targets[r]:
			kept++
		default:
			if p.Tokens[row] < firstOrdinary {
				t.Fatalf("row %d: replaced by special token %d", row, p.Tokens[row])
			}
		}
		selected++
	}
	changed := 0
	for i := range p.Tokens {
		if p.Tokens[i] != p.OriginalTokens[i] {
			changed++
		}
		if p.OriginalTokens[i] >= firstOrdinary {
			eligible++
		}
	}
	if float64(changed) > selected {
		t.Errorf("%d rows changed, %g selected", changed, selected)
	}
	// Selection counts are floor or ceiling of 14.7 in each document; the shares are binomial with sd about 0.006.
	if math.Abs(selected/eligible-0.15) > 0.003 || math.Abs(masked/selected-0.8) > 0.03 || math.Abs(kept/selected-0.1) > 0.03 {
		t.Errorf("selected %g, masked %g, kept %g", selected/eligible, masked/selected, kept/selected)
	}
}

func TestMLMShortSegmentsAreSelectedOnAverage(t *testing.T) {
	var docs []Document
	for id := range int64(4000) {
		docs = append(docs, document(id, 0, 3)) // one ordinary token between two specials
	}
	p := planned(t, "mlm", settings(DefaultMask()), docs...)
	if got := float64(len(p.Terms[0].Rows)) / 4000; math.Abs(got-0.15) > 0.03 {
		t.Errorf("selected %g of the single tokens, want 0.15", got)
	}
}

func TestMLMDependsOnSeedEpochDocumentAndOffsetOnly(t *testing.T) {
	s := settings(DefaultMask())
	alone := planned(t, "mlm", s, document(7, 2, 60))
	after := planned(t, "mlm", s, document(1, 2, 33), document(7, 2, 60))
	if !slices.Equal(alone.Tokens, after.Tokens[33:]) {
		t.Error("what came before in the step changed the masks")
	}
	otherSeed := s
	otherSeed.Seed++
	piece := document(7, 2, 60)
	piece.Offset = 60
	for name, p := range map[string]*Plan{
		"epoch": planned(t, "mlm", s, document(7, 3, 60)), "seed": planned(t, "mlm", otherSeed, document(7, 2, 60)), "offset": planned(t, "mlm", s, piece),
	} {
		if slices.Equal(p.Terms[0].Rows, alone.Terms[0].Rows) {
			t.Errorf("another %s drew the same rows", name)
		}
	}
}

func TestAllMask(t *testing.T) {
	p := planned(t, "mlm", settings(Mask{P: 1, Unit: "token", Replace: [3]float64{1, 0, 0}}), document(5, 0, 10))
	if len(p.Terms[0].Rows) != 8 {
		t.Fatalf("%d rows of 8 ordinary tokens", len(p.Terms[0].Rows))
	}
	for _, row := range p.Terms[0].Rows {
		if p.Tokens[row] != maskID {
			t.Errorf("row %d is %d", row, p.Tokens[row])
		}
	}
}

func TestDenominatorsCoverTheWholeUpdate(t *testing.T) {
	s := settings(DefaultMask())
	a, b := planned(t, "clm", s, document(0, 0, 5)), planned(t, "clm", s, document(1, 0, 9))
	empty := planned(t, "clm", s, document(2, 0, 1))
	b.Terms[0].Weights = []float32{1, 0, 2, 0.5, 0, 0, 0, 1}
	SetDenominators([]*Plan{a, b, empty})
	if a.Terms[0].Den != 8.5 || b.Terms[0].Den != 8.5 || empty.Terms[0].Den != 8.5 {
		t.Errorf("denominators %g %g %g", a.Terms[0].Den, b.Terms[0].Den, empty.Terms[0].Den)
	}
	SetDenominators([]*Plan{empty})
	if empty.Terms[0].Den != 1 {
		t.Errorf("a term without rows has denominator %g", empty.Terms[0].Den)
	}
}

func TestMixedPlanKeepsOffsetsBySegment(t *testing.T) {
	s := settings(Mask{P: 1, Unit: "token", Replace: [3]float64{1, 0, 0}})
	c, _ := New("clm", s)
	m, _ := New("mlm", s)
	p := new(Plan)
	for round := range 2 { // the second round runs in the memory of the first
		p.Reset()
		c.Plan(document(0, 0, 4), p)
		m.Plan(document(1, 0, 4), p)
		c.Plan(document(2, 0, 3), p)
		got := map[string][]int32{p.Terms[0].Name: p.Terms[0].Offsets, p.Terms[1].Name: p.Terms[1].Offsets}
		want := map[string][]int32{"clm": {0, 3, 3, 5}, "mlm": {0, 0, 2, 2}}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("round %d: offsets %v, want %v", round, got, want)
		}
	}
}

func TestCheckNamesTheFault(t *testing.T) {
	fresh := func() *Plan { return planned(t, "clm", settings(DefaultMask()), document(0, 0, 5)) }
	for name, spoil := range map[string]func(p *Plan){
		"token":    func(p *Plan) { p.Tokens[2] = vocab },
		"position": func(p *Plan) { p.Pos[4] = 512 },
		"segment":  func(p *Plan) { p.Segments[0].End = 9 },
		"row":      func(p *Plan) { p.Terms[0].Rows[1] = -1 },
		"target":   func(p *Plan) { p.Terms[0].Targets[0] = vocab },
		"weights":  func(p *Plan) { p.Terms[0].Weights = []float32{1} },
		"offset":   func(p *Plan) { p.Terms[0].Offsets[0] = 4 },
		"bound":    func(p *Plan) { p.Terms[0].Offsets = p.Terms[0].Offsets[:1] },
	} {
		p := fresh()
		spoil(p)
		if p.Check(vocab, 512) == nil {
			t.Errorf("a wrong %s passed", name)
		}
	}
}

func TestRefusals(t *testing.T) {
	s := settings(DefaultMask())
	s.Vocabulary.Mask = -1
	if _, err := New("mlm", s); err == nil {
		t.Error("mlm without a mask token")
	}
	if _, err := New("nonsense", s); err == nil {
		t.Error("an unknown objective")
	}
	for _, m := range []Mask{{P: 0, Replace: [3]float64{1, 0, 0}}, {P: math.NaN(), Replace: [3]float64{1, 0, 0}}, {P: 0.1, Replace: [3]float64{0.5, 0, 0}}, {P: 0.1, Replace: [3]float64{1.5, -0.5, 0}}} {
		if len(m.Validate()) == 0 {
			t.Errorf("%+v passed", m)
		}
	}
}

// Tokens that the plane "loss" marks as context are seen, but neither asked for nor masked; without Context it is not read.
func TestContextIsNotLearned(t *testing.T) {
	doc := document(3, 0, 40)
	plane := make([]byte, 40)
	for i := 20; i < 40; i++ {
		plane[i] = 1
	}
	doc.Planes = map[string][]byte{PlaneLoss: plane}
	s := settings(Mask{P: 1, Unit: "token", Replace: [3]float64{1, 0, 0}})
	s.Context = true
	for name, rows := range map[string][2]int{"clm": {19, 38}, "mlm": {20, 38}} { // clm asks at the token before; the end token is never masked
		p := planned(t, name, s, doc)
		got := p.Terms[0].Rows
		if len(got) == 0 || int(got[0]) != rows[0] || int(got[len(got)-1]) != rows[1] {
			t.Errorf("%s: rows %v, want %d to %d", name, got, rows[0], rows[1])
		}
		for i := range 20 {
			if p.Tokens[i] != doc.Tokens[i] {
				t.Errorf("%s: context token %d was changed", name, i)
			}
		}
		o, err := New(name, s)
		if err != nil {
			t.Fatal(err)
		}
		if planes := PlanesOf(o); !slices.Equal(planes, []string{PlaneLoss}) {
			t.Errorf("%s reads %v", name, planes)
		}
		s := s
		s.Context = false
		if o, err = New(name, s); err != nil || len(PlanesOf(o)) != 0 {
			t.Errorf("%s without Context reads %v, %v", name, PlanesOf(o), err)
		}
	}
}
