package objectives

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
)

// Words of the test vocabulary: "<s>" 0, "</s>" 1, "<pad>" 2, "<mask>" 3, then ordinary tokens; odd ids go on with a word.
func mslmSettings(change func(*MSLM)) Settings {
	s := settings(DefaultMask())
	s.Vocabulary.Unk = -1
	s.Vocabulary.Text = func(ids []int32) []byte {
		var b []byte
		for _, id := range ids {
			b = append(b, 'a'+byte(id/26), 'a'+byte(id%26))
		}
		return b
	}
	s.MSLM = DefaultMSLM()
	s.Heads = []Head{{Name: "topic", Kind: "sequence", Classes: 2}, {Name: "tags", Kind: "token", Classes: 5}, {Name: "types", Kind: "token", Classes: 2}}
	if change != nil {
		change(&s.MSLM)
	}
	return s
}

func tagsOf(tags ...byte) map[string][]byte { return map[string][]byte{planeBIO: tags} }

// sick is <s> w E-E w E w </s> with entities of types 0 and 1.
func sick(id int64) Document {
	return Document{ID: id, Tokens: []int32{0, 4, 6, 8, 10, 12, 14, 1}, Planes: tagsOf(255, 0, 1, 2, 0, 3, 0, 255)}
}

func corpusOf(docs ...Document) Corpus {
	return Corpus{Documents: func(yield func(Document, error) bool) {
		for _, d := range docs {
			if !yield(d, nil) {
				return
			}
		}
	}}
}

func newMSLMFor(t *testing.T, s Settings, docs ...Document) *mslm {
	t.Helper()
	o, err := New("mslm", s)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Prepare(o, corpusOf(docs...)); err != nil {
		t.Fatal(err)
	}
	return o.(*mslm)
}

func planOf(t *testing.T, o Objective, docs ...Document) *Plan {
	t.Helper()
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

// A plan written out by hand: all entities masked, nothing else, fixed weights.
func TestMSLMPlanByHand(t *testing.T) {
	o := newMSLMFor(t, mslmSettings(func(m *MSLM) {
		m.Entity, m.Base, m.Weights, m.WE, m.WB, m.UnmaskedWeight = 1, 0, "fixed", 0.75, 0.25, 0.5
		m.DetectionWeight, m.ClassWeight = 2, 0.5
	}), sick(0))
	plain := Document{ID: 1, Tokens: []int32{0, 4, 1}, Planes: tagsOf(255, 0, 255)}
	p := planOf(t, o, sick(0), plain)
	if want := []int32{0, 4, 3, 3, 10, 3, 14, 1, 0, 4, 1}; !slices.Equal(p.Tokens, want) {
		t.Errorf("tokens %v, want %v", p.Tokens, want)
	}
	lm, detection, class := p.Terms[0], p.Terms[1], p.Terms[2]
	// First document: K = 3 of L = 8, so 4/8 times 0.5 or 1.75; second: 1/3 times 0.5.
	u, e, v := float32(0.25), float32(0.875), float32(0.5/3)
	for _, c := range []struct {
		Term
		name, head    string
		rows, targets []int32
		weights       []float32
		share, weight float64
	}{
		{lm, "mslm", HeadLM, []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10}, p.OriginalTokens, []float32{u, u, e, e, u, e, u, u, v, v, v}, 1, 2},
		{detection, "detection", "tags", []int32{1, 2, 3, 4, 5, 6, 9}, []int32{0, 1, 2, 0, 3, 0, 0}, []float32{u, e, e, u, e, u, v}, 2, 2},
		{class, "class", "types", []int32{2, 3, 5}, []int32{0, 0, 1}, []float32{1, 1, 1}, 0.5, 3},
	} {
		if c.Name != c.name || c.Head != c.head || !slices.Equal(c.Rows, c.rows) || !slices.Equal(c.Targets, c.targets) || c.Share != c.share || c.Weight() != c.weight {
			t.Errorf("%+v, want %+v", c.Term, c)
		}
		for i, w := range c.weights {
			if math.Abs(float64(c.Weights[i]-w)) > 1e-7 {
				t.Errorf("%s: weights %v, want %v", c.name, c.Weights, c.weights)
				break
			}
		}
	}
	SetDenominators([]*Plan{p, planOf(t, o, sick(2))}) // over both micro-batches
	if p.Terms[0].Den != 3 || p.Terms[1].Den != 3 || p.Terms[2].Den != 6 {
		t.Errorf("denominators %g, %g, %g", p.Terms[0].Den, p.Terms[1].Den, p.Terms[2].Den)
	}
}

// Under norm weights the denominator counts tokens without a label too, and unmasked_weight 0 leaves their rows out.
func TestMSLMNorms(t *testing.T) {
	o := newMSLMFor(t, mslmSettings(func(m *MSLM) {
		m.Entity, m.Base, m.Weights, m.Norm, m.UnmaskedWeight = 1, 0, "uniform", "weights", 0
	}), sick(0))
	p := planOf(t, o, sick(0))
	if lm := p.Terms[0]; len(lm.Rows) != 3 || lm.Weights[0] != 1.5 || lm.Weight() != 4.5 {
		t.Errorf("%+v", lm)
	}
	if d := p.Terms[1]; len(d.Rows) != 3 || d.Weight() != 4.5 {
		t.Errorf("%+v", d)
	}
	o = newMSLMFor(t, mslmSettings(func(m *MSLM) {
		m.Entity, m.Base, m.Weights, m.SampleFactor = 1, 0, "uniform", false
	}), sick(0))
	if lm := planOf(t, o, sick(0)).Terms[0]; lm.Weights[0] != 1./8 || lm.Weights[2] != 1.5/8 {
		t.Errorf("without the factor: %v", lm.Weights)
	}
}

func manySick(n int) (docs []Document) {
	for id := range int64(n) {
		docs = append(docs, sick(id))
	}
	return docs
}

// Shares, whole entities, static masks, and what each kind may hold.
func TestMSLMMasks(t *testing.T) {
	s := mslmSettings(func(m *MSLM) { m.Entity, m.Base = 0.25, 0.2 })
	o := newMSLMFor(t, s, manySick(10)...)
	var e, b, whole, free float64
	for _, d := range manySick(4000) {
		o.choose(d)
		k := string(o.kinds)
		if k[0] != 'U' || k[7] != 'U' {
			t.Fatalf("a special token was masked: %s", k)
		}
		if k[2] == 'E' {
			if k[3] != 'E' {
				t.Fatalf("half an entity: %s", k)
			}
			whole++
		}
		e += float64(strings.Count(k, "E"))
		b += float64(strings.Count(k, "B"))
		free += float64(6 - strings.Count(k, "E"))
	}
	if math.Abs(whole/4000-0.25) > 0.03 || math.Abs(e/4000-0.75) > 0.06 || math.Abs(b/free-0.2) > 0.012 {
		t.Errorf("entity masked in %g, %g entity tokens a document, base share %g", whole/4000, e/4000, b/free)
	}
	a, again := planOf(t, o, sick(5)), sick(5)
	again.Epoch = 7
	if !slices.Equal(a.Tokens, planOf(t, o, again).Tokens) {
		t.Error("static masks change with the epoch")
	}
	s.MSLM.Static = false
	o = newMSLMFor(t, s, manySick(10)...)
	changed := false
	for epoch := range uint32(20) {
		again.Epoch = epoch
		changed = changed || !slices.Equal(a.Tokens, planOf(t, o, again).Tokens)
	}
	if !changed {
		t.Error("masks that are not static stay the same")
	}
	// The reference rounds down: a quarter of two entities is none, ever.
	s.MSLM.Compat.Floor, s.MSLM.Base = true, 0.5
	o = newMSLMFor(t, s, manySick(10)...)
	for _, d := range manySick(200) {
		if o.choose(d); slices.Contains(o.kinds, TokenEntity) {
			t.Fatalf("%s", o.kinds)
		}
	}
}

// A later part of a word has no tag of its own under --first-subword, and is masked with its entity.
func TestMSLMEntities(t *testing.T) {
	o := newMSLMFor(t, mslmSettings(nil), manySick(20)...)
	for _, c := range []struct {
		tags   []byte
		repair bool
		want   []unit
	}{
		{[]byte{255, 1, 255, 2, 255, 0, 3, 255}, false, []unit{{1, 5}, {6, 7}}}, // the last token is special
		{[]byte{255, 1, 4, 2, 0, 1, 1, 255}, false, []unit{{1, 2}, {5, 6}, {6, 7}}},
		{[]byte{255, 1, 4, 2, 0, 4, 4, 255}, true, []unit{{1, 2}, {2, 3}, {3, 4}, {5, 7}}},
		{[]byte{255, 255, 255, 255, 255, 255, 255, 255}, false, nil},
	} {
		d := sick(0)
		d.Planes, o.MSLM.Repair = tagsOf(c.tags...), c.repair
		if got := o.entitiesOf(nil, d); !slices.Equal(got, c.want) {
			t.Errorf("%v: %v, want %v", c.tags, got, c.want)
		}
	}
}

func TestMSLMUnknownTokenIsOrdinary(t *testing.T) {
	s := mslmSettings(func(m *MSLM) { m.Strategy, m.Base, m.DetectionWeight = "base", 0.9, 0 })
	s.Vocabulary.Unk = 2
	doc := Document{Tokens: []int32{2, 2, 2, 2, 2, 2, 4, 6, 8, 10}}
	o := newMSLMFor(t, s, doc)
	if o.choose(doc); !strings.ContainsRune(string(o.kinds[:6]), TokenBase) {
		t.Errorf("%s", o.kinds)
	}
	s.MSLM.Compat.UnkSpecial = true
	o = newMSLMFor(t, s, doc)
	if o.choose(doc); strings.ContainsRune(string(o.kinds[:6]), TokenBase) {
		t.Errorf("%s", o.kinds)
	}
	// In the authors' code too, an entity is masked whole.
	s = mslmSettings(func(m *MSLM) { m.Strategy, m.Entity, m.Compat.UnkSpecial = "entity", 1, true })
	s.Vocabulary.Unk = 2
	doc = Document{Tokens: []int32{2, 4, 2, 6}, Planes: tagsOf(0, 1, 2, 0)}
	o = newMSLMFor(t, s, doc)
	if o.choose(doc); string(o.kinds) != "UEEU" {
		t.Errorf("%s", o.kinds)
	}
}

func longDocument(id int64) Document {
	d := document(id, 0, 60)
	d.Tokens[30] = 2
	return d
}

func TestMSLMSpansHoldTheirBudget(t *testing.T) {
	o := newMSLMFor(t, mslmSettings(func(m *MSLM) { m.Strategy, m.Base, m.DetectionWeight = "span", 0.3, 0 }), longDocument(0))
	if len(o.Planes()) != 0 {
		t.Errorf("spans need the planes %v", o.Planes())
	}
	for id := range int64(50) {
		d := longDocument(id)
		o.choose(d)
		starts := wordStarts(nil, d.Tokens)
		run := 0
		for i, k := range o.kinds {
			if k != TokenBase {
				run = 0
				continue
			}
			if run++; run == 1 && !starts[i] && o.kinds[i-1] != TokenBase {
				t.Fatalf("document %d: a span begins inside a word at %d", id, i)
			}
		}
		if got, want := strings.Count(string(o.kinds), "B"), int(math.Ceil(0.3*57)); got != want {
			t.Errorf("document %d: %d masked, want %d", id, got, want)
		}
	}
}

// Collocations by hand: of four documents, "xx yy" always stands together and "ww" beside everything.
func TestPMI(t *testing.T) {
	text := map[int32]string{4: "xx", 6: "yy", 8: "ww", 10: "zz", 12: "the", 14: "q"}
	s := mslmSettings(func(m *MSLM) {
		m.Strategy, m.Base, m.DetectionWeight, m.PMI.Fill = "pmi", 0.4, 0, false
	})
	s.Vocabulary.Text = func(ids []int32) []byte { return []byte(text[ids[0]]) }
	doc := func(id int64, tokens ...int32) Document { return Document{ID: id, Tokens: tokens} }
	docs := []Document{doc(0, 4, 6, 8, 10, 12), doc(1, 8, 8, 4, 6, 14), doc(2, 10, 8, 12, 8, 10), doc(3, 8, 10, 14, 4, 6)}
	o := newMSLMFor(t, s, docs...)
	c := o.collocations
	if r, ok := c.rank[ngram{c.words["xx"], c.words["yy"]}]; !ok || r != 0 {
		t.Errorf("xx yy has rank %d, %v of %v", r, ok, c.rank)
	}
	if _, ok := c.words["the"]; ok || c.words["q"] != 0 {
		t.Error("a stop word or a letter is in a collocation")
	}
	o.choose(docs[1])
	if string(o.kinds) != "UUBBU" {
		t.Errorf("%s", o.kinds)
	}
	o.choose(doc(9, 12, 14, 8, 12, 14)) // no collocation, and no filling
	if string(o.kinds) != "UUUUU" {
		t.Errorf("%s", o.kinds)
	}
	s.MSLM.PMI.Fill = true
	o = newMSLMFor(t, s, docs...)
	if o.choose(doc(9, 12, 14, 8, 12, 14)); strings.Count(string(o.kinds), "B") != 2 {
		t.Errorf("%s", o.kinds)
	}
	s.Vocabulary.Text = nil
	if o, err := New("mslm", s); err != nil {
		t.Error(err)
	} else if _, err := Prepare(o, corpusOf(docs...)); err == nil || !strings.Contains(err.Error(), "words begin") {
		t.Errorf("without words: %v", err)
	}
}

// With prune a collocation stays only if it says more than each shorter one in it: "ww" is everywhere, but seldom behind "xx yy".
func TestPMIPrunes(t *testing.T) {
	text := map[int32]string{4: "xx", 6: "yy", 8: "ww", 10: "zz"}
	s := mslmSettings(func(m *MSLM) { m.Strategy, m.Base, m.DetectionWeight = "pmi", 0.4, 0 })
	s.Vocabulary.Text = func(ids []int32) []byte { return []byte(text[ids[0]]) }
	var docs []Document
	for id := range int64(10) {
		d := Document{ID: id, Tokens: []int32{4, 6, 10, 8, 8, 8, 8}}
		if id < 2 {
			d.Tokens = []int32{4, 6, 8, 8, 8, 8, 8}
		}
		docs = append(docs, d)
	}
	for _, prune := range []bool{false, true} {
		s.MSLM.PMI.Prune = prune
		c := newMSLMFor(t, s, docs...).collocations
		has := func(words ...string) bool {
			var g ngram
			for i, w := range words {
				g[i] = c.words[w]
			}
			_, ok := c.rank[g]
			return ok
		}
		if !has("xx", "yy") || !has("xx", "yy", "zz") || has("xx", "yy", "ww") == prune {
			t.Errorf("prune %v: %v of %v", prune, c.rank, c.words)
		}
	}
}

// As many entity tokens as others: the reference code counts every mask twice.
func TestMSLMHalfTie(t *testing.T) {
	for _, compat := range []bool{false, true} {
		o, err := New("mslm", mslmSettings(func(m *MSLM) { m.Compat.HalfTie = compat }))
		if err != nil {
			t.Fatal(err)
		}
		m := o.(*mslm)
		if err := m.setWeights(5, 5, 90); err != nil || m.tie != compat || m.wE != 0.5 {
			t.Errorf("%v: tie %v, w_e %g, %v", compat, m.tie, m.wE, err)
		}
		if err := m.setWeights(5, 6, 90); err != nil || m.tie {
			t.Errorf("%v: unequal numbers tie", compat)
		}
	}
}

// Padding that counts is a segment of its own, learned with weight 1, and a part of a document's length.
func TestMSLMPadCounts(t *testing.T) {
	s := mslmSettings(func(m *MSLM) {
		m.Entity, m.Base, m.Weights, m.UnmaskedWeight, m.Compat.PadCounts = 1, 0, "uniform", 0.5, true
	})
	s.Length = 10
	o := newMSLMFor(t, s, sick(0))
	p := planOf(t, o, sick(0))
	if o.Cost(8) != 10 || len(p.Tokens) != 10 || len(p.Segments) != 2 || p.Segments[1].Start != 8 || p.Tokens[8] != 2 || p.Tokens[9] != 2 {
		t.Fatalf("cost %d, tokens %v, segments %v", o.Cost(8), p.Tokens, p.Segments)
	}
	lm, detection := p.Terms[0], p.Terms[1] // K = 3 of 10: 0.4 times 0.5, 1.5 or 1
	want := []float32{0.2, 0.2, 0.6, 0.6, 0.2, 0.6, 0.2, 0.2, 0.4, 0.4}
	if !slices.Equal(lm.Rows, []int32{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}) || !slices.Equal(lm.Offsets, []int32{0, 8, 10}) || lm.Weight() != 1 || detection.Weight() != 1 || len(detection.Rows) != 6 {
		t.Errorf("%+v, %+v", lm, detection)
	}
	for i, w := range want {
		if math.Abs(float64(lm.Weights[i]-w)) > 1e-6 {
			t.Fatalf("weights %v, want %v", lm.Weights, want)
		}
	}
	s.Held = true // evaluations are not padded
	if o := newMSLMFor(t, s, sick(0)); o.Cost(8) != 16 || len(planOf(t, o, sick(0)).Tokens) != 16 {
		t.Error("an evaluation is padded")
	}
	s.Held, s.Vocabulary.Pad = false, -1
	if _, err := New("mslm", s); err == nil || !strings.Contains(err.Error(), "padding token") {
		t.Errorf("without a padding token: %v", err)
	}
}

// What the length of pieces costs is said: entities across a border, and ends of documents that are cut off.
func TestMSLMSaysWhatIsCut(t *testing.T) {
	whole := sick(3)
	first, second := whole, whole
	first.Tokens, first.Planes = whole.Tokens[:3], map[string][]byte{planeBIO: whole.Planes[planeBIO][:3]}
	second.Offset, second.Tokens, second.Planes = 3, whole.Tokens[3:], map[string][]byte{planeBIO: whole.Planes[planeBIO][3:]}
	prepared := func(docs ...Document) string {
		o, err := New("mslm", mslmSettings(nil))
		if err != nil {
			t.Fatal(err)
		}
		c := corpusOf(docs...)
		c.Uncut = corpusOf(whole).Documents
		notes, err := Prepare(o, c)
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(notes, "\n")
	}
	if notes := prepared(whole); strings.Contains(notes, "cut") {
		t.Error(notes)
	}
	if notes := prepared(first, second); !strings.Contains(notes, "cut 1 entities in two") || strings.Contains(notes, "cut off") {
		t.Error(notes)
	}
	if notes := prepared(first); !strings.Contains(notes, "5 tokens and 1 entities") || !strings.Contains(notes, "the longest has 8") {
		t.Error(notes)
	}
}

// In evaluations masked tokens alone are asked for, with weight 1, and detection reads an unmasked copy.
func TestMSLMEvaluation(t *testing.T) {
	s := mslmSettings(func(m *MSLM) { m.Entity, m.Base = 1, 0 })
	s.Held = true
	o := newMSLMFor(t, s, sick(0))
	if o.Cost(8) != 16 {
		t.Errorf("cost %d", o.Cost(8))
	}
	p := planOf(t, o, sick(0))
	if len(p.Segments) != 2 || len(p.Terms) != 2 || !slices.Equal(p.Terms[0].Rows, []int32{2, 3, 5}) || !slices.Equal(p.Terms[1].Rows, []int32{9, 10, 11, 12, 13, 14}) {
		t.Errorf("%+v", p)
	}
	if !slices.Equal(p.Tokens[8:], sick(0).Tokens) || len(p.Terms[0].Weights)+len(p.Terms[1].Weights) != 0 {
		t.Errorf("tokens %v, terms %+v", p.Tokens, p.Terms)
	}
	s.MSLM.Compat.EvalMasked = true
	if p := planOf(t, newMSLMFor(t, s, sick(0)), sick(0)); len(p.Segments) != 1 || !slices.Equal(p.Terms[1].Rows, []int32{1, 2, 3, 4, 5, 6}) {
		t.Errorf("masked evaluation: %+v", p)
	}
}

// Tokens that are context only are neither masked nor asked for, and do not count.
func TestMSLMContext(t *testing.T) {
	s := mslmSettings(func(m *MSLM) { m.Entity, m.Base, m.Weights = 1, 0, "uniform" })
	s.Context = true
	d := sick(0)
	d.Planes[PlaneLoss] = []byte{0, 0, 0, 0, 0, 1, 1, 1}
	p := planOf(t, newMSLMFor(t, s, d), d)
	if !slices.Equal(p.Terms[0].Rows, []int32{5, 6, 7}) || !slices.Equal(p.Terms[1].Rows, []int32{5, 6}) || math.Abs(float64(p.Terms[0].Weights[0])-1.5*2/3) > 1e-7 {
		t.Errorf("%+v", p.Terms)
	}
}

func TestMSLMListsOfWeights(t *testing.T) {
	o := newMSLMFor(t, mslmSettings(func(m *MSLM) {
		m.Entity, m.Base, m.LabelWeights, m.ClassWeight = 1, 0, "list", 1
		m.LabelList, m.ClassList = []float64{0, 2, 1, 1, 1}, []float64{0.5, 3}
	}), sick(0))
	p := planOf(t, o, sick(0))
	if detection, class := p.Terms[1], p.Terms[2]; !slices.Equal(detection.Rows, []int32{2, 3, 5}) || detection.Weights[0] != 2*detection.Weights[1] || !slices.Equal(class.Weights, []float32{0.5, 0.5, 3}) {
		t.Errorf("%+v, %+v", p.Terms[1], p.Terms[2])
	}
}

func TestMSLMBalancedLabels(t *testing.T) {
	o := newMSLMFor(t, mslmSettings(func(m *MSLM) { m.LabelWeights, m.Beta, m.ClassWeight = "balanced", 0.9, 1 }), manySick(3)...)
	want, err := classBalanced(0.9, []int64{9, 3, 3, 3, 0})
	if err != nil || !slices.Equal(o.labelWeights[0], want) {
		t.Errorf("%v, want %v, %v", o.labelWeights[0], want, err)
	}
	if want, _ = classBalanced(0.9, []int64{6, 3}); !slices.Equal(o.labelWeights[1], want) {
		t.Errorf("%v, want %v", o.labelWeights[1], want)
	}
}

func TestMSLMRefuses(t *testing.T) {
	tagged := func(tags ...byte) Document { d := sick(3); d.Planes = tagsOf(tags...); return d }
	for name, c := range map[string]struct {
		change func(*MSLM)
		doc    Document
		parts  []string
	}{
		"no entity":          {nil, tagged(255, 0, 0, 0, 0, 0, 0, 255), []string{"mslm.entity", "tagged B"}},
		"nothing masked":     {func(m *MSLM) { m.Strategy, m.Base = "base", 1e-9 }, sick(0), []string{"nothing would be masked", "mslm.base"}},
		"everything masked":  {func(m *MSLM) { m.Strategy, m.Entity = "entity", 1 }, Document{Tokens: []int32{4, 6, 8}, Planes: tagsOf(1, 2, 1)}, []string{"all 3 ordinary tokens", "would be masked"}},
		"plane too short":    {nil, tagged(255, 0, 1), []string{"document 3", "8 tokens", "3 tags"}},
		"unknown tag":        {nil, tagged(255, 0, 7, 8, 0, 0, 0, 255), []string{"document 3, token 2", "tag 7", "5 classes"}},
		"I without B":        {nil, tagged(255, 0, 2, 2, 0, 1, 0, 255), []string{"document 3, token 2", "follows 0", "mslm.repair"}},
		"I of another type":  {nil, tagged(255, 0, 1, 4, 0, 1, 0, 255), []string{"document 3, token 3", "follows 1"}},
		"a single type":      {func(m *MSLM) { m.ClassWeight = 1 }, tagged(255, 0, 1, 2, 0, 1, 0, 255), []string{"class_weight", "nothing to tell apart"}},
		"type beyond a head": {func(m *MSLM) { m.ClassWeight, m.DetectionWeight, m.ClassHead = 1, 0, "types" }, tagged(255, 0, 1, 2, 0, 5, 0, 255), []string{"type 2", "types"}},
	} {
		o, err := New("mslm", mslmSettings(c.change))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		_, err = Prepare(o, corpusOf(c.doc))
		for _, part := range c.parts {
			if err == nil || !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, want %q", name, err, part)
			}
		}
	}
	repaired := newMSLMFor(t, mslmSettings(func(m *MSLM) { m.Repair, m.Entity, m.Base = true, 1, 0 }), tagged(255, 0, 2, 2, 0, 1, 0, 255))
	if p := planOf(t, repaired, tagged(255, 0, 2, 2, 0, 1, 0, 255)); p.Tokens[2] != maskID || p.Tokens[3] != maskID {
		t.Errorf("repaired: %v", p.Tokens)
	}
	broken := errors.New("a damaged shard")
	o, _ := New("mslm", mslmSettings(nil))
	if _, err := Prepare(o, Corpus{Documents: func(yield func(Document, error) bool) { yield(Document{}, broken) }}); !errors.Is(err, broken) {
		t.Errorf("an error of the corpus: %v", err)
	}
	c := corpusOf(sick(0))
	c.Types = []string{"a"}
	if _, err := Prepare(o, c); err == nil || !strings.Contains(err.Error(), "types of entities") {
		t.Errorf("a tag beyond the types: %v", err)
	}
	c = corpusOf(sick(0))
	c.Types = []string{"a", "b", "c"}
	if _, err := Prepare(o, c); err == nil || !strings.Contains(err.Error(), "need 7") {
		t.Errorf("a head of too few classes: %v", err)
	}
	o, _ = New("mslm", mslmSettings(func(m *MSLM) { m.ClassWeight, m.DetectionWeight, m.ClassHead = 1, 0, "tags" }))
	c.Types = []string{"a", "b"}
	if _, err := Prepare(o, c); err == nil || !strings.Contains(err.Error(), `head "tags" has 5 classes, the data set has 2 types`) {
		t.Errorf("a head of too many types: %v", err)
	}
	// A piece of a long document may begin inside an entity.
	piece := Document{ID: 1, Offset: 40, Tokens: []int32{4, 6, 8}, Planes: tagsOf(2, 0, 1)}
	newMSLMFor(t, mslmSettings(func(m *MSLM) { m.Entity, m.Base = 1, 0 }), piece)
}

func TestMSLMSettingsAreChecked(t *testing.T) {
	for want, change := range map[string]func(*Settings){
		"mask token":          func(s *Settings) { s.Vocabulary.Mask = -1 },
		"row weights":         func(s *Settings) { s.Loss.Reweigh.Rule = "top" },
		"no token head":       func(s *Settings) { s.Heads = s.Heads[:1] },
		"known: tags, types":  func(s *Settings) { s.MSLM.DetectionHead = "tag" },
		"detection head":      func(s *Settings) { s.MSLM.ClassWeight, s.MSLM.ClassHead = 1, "tags" },
		"1 weights for the 2": func(s *Settings) { s.MSLM.LabelWeights, s.MSLM.ClassList, s.MSLM.ClassWeight = "list", []float64{1}, 1 },
		"2 weights for the 5": func(s *Settings) { s.MSLM.LabelWeights, s.MSLM.LabelList = "list", []float64{1, 2} },
	} {
		s := mslmSettings(nil)
		change(&s)
		if _, err := New("mslm", s); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	for want, change := range map[string]func(*MSLM){
		"masks nothing":      func(m *MSLM) { m.Entity, m.Base = 0, 0 },
		"masks every":        func(m *MSLM) { m.Base = 1 },
		"label_weights":      func(m *MSLM) { m.LabelList = []float64{1} },
		"so no type is":      func(m *MSLM) { m.LabelWeights, m.ClassList = "list", []float64{1, 2} },
		"all weights are 0":  func(m *MSLM) { m.LabelWeights, m.LabelList = "list", []float64{0, 0, 0} },
		"w_e: 3 is not used": func(m *MSLM) { m.WE = 3 },
		"w_b: 0 is not used": func(m *MSLM) { m.Weights, m.WB = "uniform", 0 },
		"pmi.counts.1: want": func(m *MSLM) { m.PMI.Counts[1] = 0 },
	} {
		m := DefaultMSLM()
		change(&m)
		problems := m.Validate()
		if len(problems) != 1 || !strings.Contains(problems[0].Error(), want) {
			t.Errorf("%v, want %q", problems, want)
		}
	}
	if problems := DefaultMSLM().Validate(); len(problems) > 0 {
		t.Error(problems)
	}
}
