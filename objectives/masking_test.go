package objectives

import (
	"math"
	"slices"
	"strings"
	"testing"

	"palimpsest/kernels/philox"
)

func maskWith(change func(*Mask)) Settings {
	m := DefaultMask()
	change(&m)
	return settings(m)
}

// manyDocuments are ids first..first+n-1 of the given length with a special token in their middle.
func manyDocuments(n, length int) (docs []Document) {
	for id := range int64(n) {
		d := document(id, 0, length)
		d.Tokens[length/2] = 2
		docs = append(docs, d)
	}
	return docs
}

// selectedRows marks the rows of a plan that bear a loss.
func selectedRows(p *Plan) []bool {
	marks := make([]bool, len(p.Tokens))
	for _, r := range p.Terms[0].Rows {
		marks[r] = true
	}
	return marks
}

// share returns the share of ordinary tokens that were selected, and fails on selected specials.
func share(t *testing.T, p *Plan) float64 {
	t.Helper()
	eligible := 0
	for i, marked := range selectedRows(p) {
		if p.OriginalTokens[i] >= firstOrdinary {
			eligible++
		} else if marked {
			t.Fatalf("special token %d at row %d was selected", p.OriginalTokens[i], i)
		}
	}
	if !slices.IsSorted(p.Terms[0].Rows) {
		t.Fatal("rows are not in order")
	}
	return float64(len(p.Terms[0].Rows)) / float64(eligible)
}

func TestWholeWordsAreSelectedTogether(t *testing.T) {
	p := planned(t, "mlm", maskWith(func(m *Mask) { m.Unit = "word" }), manyDocuments(400, 100)...)
	marks := selectedRows(p)
	for _, s := range p.Segments {
		starts := wordStarts(nil, p.OriginalTokens[s.Start:s.End])
		for i := s.Start + 1; i < s.End; i++ {
			if !starts[i-s.Start] && marks[i] != marks[i-1] {
				t.Fatalf("row %d: a word was cut: %v beside %v", i, marks[i-1], marks[i])
			}
		}
	}
	if got := share(t, p); math.Abs(got-0.15) > 0.004 {
		t.Errorf("selected %g of the tokens, want 0.15", got)
	}
}

// A document may bring its words; those of the vocabulary are not asked for then.
func TestWordStartsOfTheDocument(t *testing.T) {
	doc := document(3, 0, 12)
	doc.WordStarts = make([]bool, 12)
	doc.WordStarts[1] = true // ten tokens, one word
	for epoch := range uint32(40) {
		doc.Epoch = epoch
		p := planned(t, "mlm", maskWith(func(m *Mask) { m.Unit, m.P = "word", 0.5 }), doc)
		if n := len(p.Terms[0].Rows); n != 0 && n != 10 {
			t.Fatalf("%d of the 10 tokens of a word", n)
		}
	}
}

func TestSpansHaveTheirLengthsAndTheExactShare(t *testing.T) {
	for name, c := range map[string]struct {
		span Span
		want []float64 // chances of lengths 1, 2, ...
	}{
		"GPT-BERT": {Span{Kind: "uniform", Min: 1, Max: 3, P: 0.2, Of: "token"}, []float64{1. / 3, 1. / 3, 1. / 3}},
		"LTG-BERT": {Span{Kind: "geometric", Min: 1, Max: 4, P: 1. / 3, Of: "token"}, []float64{27. / 65, 18. / 65, 12. / 65, 8. / 65}},
		"from 2":   {Span{Kind: "geometric", Min: 2, Max: 3, P: 0.75, Of: "token"}, []float64{0, 0.8, 0.2}},
	} {
		counts, n := make([]float64, len(c.want)), 40000
		d := philox.New(1, philox.StreamTest, 5, 0)
		for range n {
			counts[c.span.length(&d)-1]++
		}
		for i, want := range c.want {
			if got := counts[i] / float64(n); math.Abs(got-want) > 0.01 { // four standard deviations
				t.Errorf("%s: length %d has share %g, want %g", name, i+1, got, want)
			}
		}
		p := planned(t, "mlm", maskWith(func(m *Mask) { m.Unit, m.Span, m.P = "span", c.span, 0.15 }), manyDocuments(200, 100)...)
		for s := range p.Segments { // 97 ordinary tokens: 14 or 15, always
			if rows := p.Terms[0].Offsets[s+1] - p.Terms[0].Offsets[s]; rows != 14 && rows != 15 {
				t.Fatalf("%s: %d of 97 tokens", name, rows)
			}
		}
		if got := share(t, p); math.Abs(got-0.15) > 0.002 {
			t.Errorf("%s: selected %g, want 0.15", name, got)
		}
	}
}

// GPT-BERT's selection: what earlier epochs selected seldom comes first, exactly so many, and the same again at every resume.
func TestSeldomSelectedTokensComeFirst(t *testing.T) {
	const length, epochs = 43, 8 // 40 ordinary tokens
	plan := func(s Settings, id int64, epoch uint32) *Plan {
		doc := manyDocuments(1, length)[0]
		doc.ID, doc.Epoch = id, epoch
		return planned(t, "mlm", s, doc)
	}
	spread := func(s Settings) (squares float64) {
		for id := range int64(40) {
			counts := make([]float64, length)
			for epoch := range uint32(epochs) {
				p := plan(s, id, epoch)
				if rows := len(p.Terms[0].Rows); rows < 10 || rows > 10 && !s.compat.Ties {
					t.Fatalf("%d of 40 tokens are selected, want 10", rows)
				}
				for _, r := range p.Terms[0].Rows {
					counts[r]++
				}
			}
			for _, n := range counts {
				squares += (n - 2) * (n - 2) / (40 * 40)
			}
		}
		return squares
	}
	s := maskWith(func(m *Mask) { m.P, m.Unit = 0.25, "span" })
	random := spread(s)
	s.Mask.Order = "seldom"
	if seldom := spread(s); seldom > random/2 {
		t.Errorf("tokens are selected 2 times in %d epochs with a variance of %.3g, in random order %.3g", epochs, seldom, random)
	}
	if a, b := plan(s, 3, 5), plan(s, 3, 5); !slices.Equal(a.Tokens, b.Tokens) {
		t.Error("an epoch drawn again is another one")
	}
	one := s
	one.Mask.P = 1e-9
	if p := plan(one, 1, 2); len(p.Terms[0].Rows) != 1 {
		t.Errorf("%d tokens at the least, want 1", len(p.Terms[0].Rows))
	}
	if p := planned(t, "mlm", one, Document{Tokens: []int32{0, 1}}); len(p.Terms[0].Rows) != 0 {
		t.Error("a special token is selected")
	}
	whole, larger := s, 0 // in the first epoch, all tokens of a span have one score
	whole.compat.Ties = true
	for id := range int64(40) {
		exact, ties := len(plan(s, id, 0).Terms[0].Rows), len(plan(whole, id, 0).Terms[0].Rows)
		if exact != 10 || ties < exact || ties > exact+2 {
			t.Errorf("document %d: %d tokens, with ties %d", id, exact, ties)
		}
		if ties > exact {
			larger++
		}
	}
	if larger < 8 {
		t.Errorf("the last span is longer than what is wanted in %d of 40 documents", larger)
	}
}

// Spans never reach over a special token, and spans of words never cut one but where the share ends.
func TestUnitsEndAtSpecialTokens(t *testing.T) {
	tokens := []int32{0, 5, 6, 7, 2, 8, 9, 11, 1}
	starts := wordStarts(nil, tokens)
	free := func(i int) bool { return tokens[i] >= firstOrdinary }
	d := philox.New(1, philox.StreamTest, 6, 0)
	for _, c := range []struct {
		unit, of string
		want     []unit
	}{
		{"token", "token", []unit{{1, 2}, {2, 3}, {3, 4}, {5, 6}, {6, 7}, {7, 8}}},
		{"word", "token", []unit{{1, 2}, {2, 4}, {5, 8}}},
		{"span", "token", []unit{{1, 3}, {3, 4}, {5, 7}, {7, 8}}},
		{"span", "word", []unit{{1, 4}, {5, 8}}},
	} {
		m := Mask{Unit: c.unit, Span: Span{Kind: "uniform", Min: 2, Max: 2, Of: c.of}}
		if got := m.units(nil, len(tokens), free, starts, &d); !slices.Equal(got, c.want) {
			t.Errorf("%s of %s: %v, want %v", c.unit, c.of, got, c.want)
		}
	}
}

// Every unit is equally likely, and under cut the number of tokens is exact.
func TestChooseIsUniform(t *testing.T) {
	d := philox.New(1, philox.StreamTest, 7, 0)
	var seen [6]float64
	const n = 12000
	for range n {
		units := []unit{{0, 1}, {1, 2}, {2, 3}, {3, 4}, {4, 5}, {5, 6}}
		choose(units, 2, true, &d, func(u unit) { seen[u.from]++ })
	}
	for i, count := range seen {
		if math.Abs(count/n-1./3) > 0.018 { // four standard deviations
			t.Errorf("unit %d was chosen in %g of the draws, want 1/3", i, count/n)
		}
	}
	tokens := 0.0
	for range n {
		choose([]unit{{0, 3}, {3, 4}, {4, 9}}, 2, false, &d, func(u unit) { tokens += float64(u.to - u.from) })
	}
	if math.Abs(tokens/n-2) > 0.08 {
		t.Errorf("%g tokens on average, want 2", tokens/n)
	}
}

func TestOneFateForAllTokensOfAUnit(t *testing.T) {
	p := planned(t, "mlm", maskWith(func(m *Mask) {
		m.Unit, m.ReplaceBy, m.Replace, m.P = "span", "unit", [3]float64{0.5, 0, 0.5}, 0.3
		m.Span = Span{Kind: "uniform", Min: 4, Max: 4, Of: "token"}
	}), document(1, 0, 402)) // 400 ordinary tokens tile into 100 spans of 4
	masked, spans := 0, 0
	for i := 1; i < 401; i += 4 {
		changed := 0
		for j := i; j < i+4; j++ {
			if p.Tokens[j] == maskID {
				changed++
			}
		}
		if changed != 0 && changed != 4 {
			t.Fatalf("span at %d: %d of 4 tokens are masked", i, changed)
		}
		if selectedRows(p)[i] {
			spans++
			masked += changed / 4
		}
	}
	if spans != 30 || masked < 6 || masked > 24 {
		t.Errorf("%d spans, %d masked", spans, masked)
	}
}

// MSLM: whole entities at their rate, all other tokens, those of entities left alone included, at the base rate.
func TestSharesByKind(t *testing.T) {
	s := maskWith(func(m *Mask) {
		m.Kinds, m.Replace = map[string]float64{KindEntity: 0.4, KindBase: 0.1}, [3]float64{1, 0, 0}
	})
	o, err := New("mlm", s)
	if err != nil || !slices.Equal(PlanesOf(o), []string{"bio"}) {
		t.Fatalf("%v, planes %v", err, PlanesOf(o))
	}
	var whole, found, base, others, specials float64
	p := new(Plan)
	for id := range int64(600) {
		doc := document(id, 0, 42)
		tags := make([]byte, 42)
		tags[0], tags[41] = NoLabel, NoLabel
		copy(tags[3:], []byte{1, 2, 2})  // type 0
		copy(tags[6:], []byte{3, 4})     // type 1, right behind
		copy(tags[20:], []byte{1, 4, 2}) // one token: what follows is of another type
		copy(tags[30:], []byte{2})       // no entity: it never begins
		doc.Tokens[33] = 2
		copy(tags[33:], []byte{1}) // a special token is never masked, whatever its tag
		doc.Planes = map[string][]byte{"bio": tags}
		p.Reset()
		o.Plan(doc, p)
		marks := selectedRows(p)
		entity := map[int]bool{}
		for _, e := range [][2]int{{3, 6}, {6, 8}, {20, 21}} {
			n := 0
			for i := e[0]; i < e[1]; i++ {
				entity[i] = true
				if marks[i] {
					n++
				}
			}
			found++
			if n == e[1]-e[0] {
				whole++
			}
		}
		if marks[33] {
			specials++
		}
		for i := 1; i < 41; i++ {
			if !entity[i] && i != 33 {
				others++
				if marks[i] {
					base++
				}
			}
		}
	}
	if specials > 0 {
		t.Errorf("a special token was selected in %g documents", specials)
	}
	// Base masking hits all tokens of an unchosen entity now and then: 0.4 + 0.6*(0.1^3 + 0.1^2 + 0.1)/3.
	if got := whole / found; math.Abs(got-0.4222) > 0.04 {
		t.Errorf("entities selected: %g", got)
	}
	if got := base / others; math.Abs(got-0.1) > 0.01 {
		t.Errorf("base tokens selected: %g", got)
	}
}

func TestEntities(t *testing.T) {
	got := entities(nil, []byte{255, 1, 2, 2, 1, 3, 4, 2, 0, 5, 253, 254, 255})
	if want := []unit{{1, 4}, {4, 5}, {5, 7}, {9, 10}, {10, 12}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

func TestMaskSchedule(t *testing.T) {
	m := DefaultMask()
	m.P, m.Schedule, m.Kinds = 0.3, MaskSchedule{"linear", 0.15}, map[string]float64{KindEntity: 0.8}
	for _, c := range []struct {
		kind           string
		progress, want float64
	}{{KindBase, 0, 0.3}, {KindBase, 0.5, 0.225}, {KindBase, 1, 0.15}, {KindEntity, 0, 0.8}, {KindEntity, 1, 0.4}} {
		if got := m.rate(c.kind, c.progress); math.Abs(got-c.want) > 1e-12 {
			t.Errorf("%s at %g: %g, want %g", c.kind, c.progress, got, c.want)
		}
	}
	m.Schedule.Final, m.Kinds = 0.9, map[string]float64{KindEntity: 0.8}
	if got := m.rate(KindEntity, 1); got != 1 {
		t.Errorf("a share of %g", got)
	}
	s := settings(m)
	s.Mask.Kinds, s.Mask.Schedule.Final = nil, 0.1
	o, err := New("mlm", s)
	if err != nil {
		t.Fatal(err)
	}
	for progress, want := range map[float64]int{0: 30, 0.5: 20, 1: 10} {
		p := &Plan{Progress: progress}
		o.Begin(p)
		o.Plan(document(1, 0, 102), p)
		if got := len(p.Terms[0].Rows); got != want && got != want+1 && got != want-1 || p.Progress != progress {
			t.Errorf("progress %g: %d of 100 tokens, want %d", progress, got, want)
		}
	}
}

func TestMaskValidate(t *testing.T) {
	if p := DefaultMask().Validate(); len(p) > 0 {
		t.Error(p)
	}
	m := DefaultMask()
	m.Unit, m.Span = "span", Span{Kind: "geometric", Min: 4, Max: 3, P: 1}
	m.Schedule = MaskSchedule{Kind: "linear"}
	m.Kinds = map[string]float64{"noun": 0.5, KindEntity: 2}
	var keys []string
	for _, p := range m.Validate() {
		key, _, _ := strings.Cut(p.Error(), ":")
		keys = append(keys, key)
	}
	if want := []string{"span.max", "span.p", "schedule.final", "kinds.entity", "kinds.noun"}; !slices.Equal(keys, want) {
		t.Errorf("problems with %v, want %v", keys, want)
	}
	m = DefaultMask()
	m.P = 1
	if p := m.Validate(); len(p) != 1 || !strings.Contains(p[0].Error(), "nothing is left to predict from") {
		t.Errorf("everything masked: %v", p)
	}
	m.Schedule = MaskSchedule{Kind: "linear", Final: 0.15}
	if p := m.Validate(); len(p) > 0 {
		t.Errorf("everything masked, at first: %v", p)
	}
	l := DefaultLoss()
	l.Smoothing, l.Focal, l.Reweigh.Rule, l.Reweigh.Slope = 0.1, 2, "sigmoid", 0
	if p := l.Validate(); len(p) != 2 {
		t.Errorf("want smoothing and slope: %v", p)
	}
	if p := DefaultLoss().Validate(); len(p) > 0 || DefaultLoss().Reweigh.On() {
		t.Error("the default loss", p)
	}
}

// Rows carry the class of their target's token, and the denominator is the number of segments that count.
func TestRowClasses(t *testing.T) {
	s := settings(Mask{P: 1, Unit: "token", Replace: [3]float64{1, 0, 0}})
	s.Loss = DefaultLoss()
	s.Loss.Reweigh.Rule = "class"
	classes := []byte{255, 0, 1, 1, 255, 255}
	with := func(id int64, classes []byte) Document {
		d := document(id, 0, len(classes))
		d.Planes = map[string][]byte{"class": classes}
		return d
	}
	for name, want := range map[string][]uint8{"clm": {0, 1, 1, 255, 255, 255, 255}, "mlm": {0, 1, 1, 255, 255}} {
		o, _ := New(name, s)
		if got := PlanesOf(o); !slices.Equal(got, []string{"class"}) {
			t.Errorf("%s reads planes %v", name, got)
		}
		p := planned(t, name, s, with(0, classes), with(1, []byte{255, 255, 255}))
		if term := p.Terms[0]; !slices.Equal(term.RowClasses, want) || term.Weight() != 1 {
			t.Errorf("%s: classes %v, want %v; weight %g, want one segment that counts", name, term.RowClasses, want, term.Weight())
		}
		p = new(Plan)
		o.Plan(document(0, 0, 6), p)
		if err := p.Check(vocab, 512); err == nil || !strings.Contains(err.Error(), "class plane") {
			t.Errorf("%s without the plane: %v", name, err)
		}
	}
	s.Loss.Reweigh.Rule = "top"
	p := planned(t, "clm", s, document(0, 0, 5), document(1, 0, 1), document(2, 0, 7))
	if got := p.Terms[0].Weight(); got != 2 {
		t.Errorf("weight %g, want the 2 segments with rows", got)
	}
	p.Terms[0].Options.Reweigh.Scope = "batch"
	if got := p.Terms[0].Weight(); got != 1 {
		t.Errorf("weight %g, want one batch", got)
	}
	p.Terms[0].Weights = make([]float32, len(p.Terms[0].Rows))
	if p.Check(vocab, 512) == nil {
		t.Error("weights under a rule passed")
	}
}

// The units of a document do not depend on what was planned before it.
func TestUnitsDependOnTheDocumentOnly(t *testing.T) {
	for _, unit := range []string{"word", "span"} {
		s := maskWith(func(m *Mask) { m.Unit = unit })
		alone := planned(t, "mlm", s, document(7, 2, 60))
		after := planned(t, "mlm", s, document(1, 2, 33), document(7, 2, 60))
		if !slices.Equal(alone.Tokens, after.Tokens[33:]) {
			t.Errorf("%s: what came before in the step changed the masks", unit)
		}
	}
}
