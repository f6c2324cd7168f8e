package objectives

import (
	"math"
	"slices"
	"strings"
	"testing"

	"palimpsest/kernels"
)

func signed(id int64, tokens int, signs ...int8) Document {
	d := Document{ID: id, Planes: map[string][]byte{}}
	for i := range tokens {
		d.Tokens = append(d.Tokens, int32(3+i))
	}
	for _, s := range signs {
		d.Planes[PlaneSign] = append(d.Planes[PlaneSign], byte(s))
	}
	return d
}

func signedPlan(t *testing.T, name string, s Settings, docs ...Document) *Plan {
	t.Helper()
	s.Vocabulary.Size = 40
	o, err := New(name, s)
	if err != nil {
		t.Fatal(err)
	}
	p := new(Plan)
	o.Begin(p)
	for _, d := range docs {
		o.Plan(d, p)
	}
	SetDenominators([]*Plan{p})
	if err := p.Check(40, 40); err != nil {
		t.Fatal(err)
	}
	return p
}

// Prompts reach no head, first tokens have none, kept and unwanted tokens share a denominator, context is left out.
func TestTNTPlans(t *testing.T) {
	s := Settings{TNT: DefaultTNT(), Loss: DefaultLoss(), Context: true}
	last := signed(9, 3, 1, 1, -1)
	last.Planes[PlaneLoss] = []byte{1, 0, 1}
	p := signedPlan(t, "tnt", s, signed(4, 6, -1, 0, 0, 1, -1, 1), signed(5, 3, 1, 1, 1), last)
	unwanted, kept := &p.Terms[0], &p.Terms[1]
	if !slices.Equal(unwanted.Rows, []int32{3, 10}) || !slices.Equal(unwanted.Targets, []int32{7, 5}) || !slices.Equal(unwanted.Weights, []float32{-10, -10}) ||
		!slices.Equal(unwanted.Offsets, []int32{0, 1, 1, 2}) || !unwanted.Unwanted {
		t.Errorf("unwanted: %+v", unwanted)
	}
	if !slices.Equal(kept.Rows, []int32{2, 4, 6, 7}) || len(kept.Weights) > 0 || kept.Den != 6 || unwanted.Den != 6 {
		t.Errorf("kept: %+v", kept)
	}
	if len(p.Terms) != 2 || !p.NeedsReference || p.Segments[0].Mask != kernels.Causal {
		t.Errorf("%d terms, reference %t, %+v", len(p.Terms), p.NeedsReference, p.Segments)
	}
}

// The reference is asked for by the terms that read it, in plans that have rows of them, and a sum is divided by 1.
func TestTNTNeedsReference(t *testing.T) {
	mixed, clean := signed(1, 4, 0, 1, -1, 1), signed(2, 3, 0, 1, 1)
	for variant, want := range map[string][3]bool{ // unwanted, kept, a plan without unwanted tokens
		"TNFF": {true, true, true}, "TNRR": {true, true, true}, "TNRF": {true, true, true}, "TNFLL": {true, false, false},
		"TNRLL": {true, false, false}, "NL": {}, "UL": {},
	} {
		s := Settings{TNT: DefaultTNT(), Loss: DefaultLoss(), Reference: true}
		s.TNT.Variant, s.TNT.Reduce = variant, "sum"
		p := signedPlan(t, "tnt", s, mixed)
		got := [3]bool{p.Terms[0].NeedsReference, p.Terms[1].NeedsReference, signedPlan(t, "tnt", s, clean).NeedsReference}
		if got != want || p.Terms[0].Den != 1 || p.Terms[1].Den != 1 || p.Terms[0].Weights[0] != -1e4 || p.Terms[1].Weight() != 3 {
			t.Errorf("%s: reference %v, want %v; %+v", variant, got, want, p.Terms)
		}
		s.Held = true
		drift := variant[:2] == "NL" || variant[:2] == "UL" || strings.HasSuffix(variant, "LL") || variant == "TNRR"
		if p := signedPlan(t, "tnt", s, mixed); (len(p.Terms) == 3) != drift || drift && (p.Terms[2].Share != 0 || len(p.Terms[2].Rows) != 2) {
			t.Errorf("%s: evaluated with %d terms", variant, len(p.Terms))
		}
		if s.Reference = false; len(signedPlan(t, "tnt", s, mixed).Terms) != 2 {
			t.Errorf("%s: without a reference its drift is measured", variant)
		}
	}
	s := Settings{TNT: DefaultTNT(), Loss: DefaultLoss()}
	s.TNT.Variant, s.TNT.Compat.EpsPerEntry = "TNRLL", true
	if p := signedPlan(t, "tnt", s, mixed); !p.Terms[1].NeedsReference {
		t.Error("kept tokens of TNRLL, smoothed as the code does it, do without the op's smoothing")
	}
	s.TNT = DefaultTNT()
	s.TNT.Alpha = AutoFactor{0, true}
	if p := signedPlan(t, "tnt", s, mixed); len(p.Terms[0].Rows) != 0 || p.Terms[1].Den != 3 {
		t.Errorf("alpha 0: %+v", p.Terms)
	}
	s.Held = true // where they are measured all the same
	if p := signedPlan(t, "tnt", s, mixed); len(p.Terms[0].Rows) != 1 || !(p.Terms[0].Weights[0] < 0) {
		t.Errorf("alpha 0, evaluated: %+v", p.Terms)
	}
}

func signedCorpus(uncut []Document, docs ...Document) Corpus {
	each := func(list []Document) func(func(Document, error) bool) {
		return func(yield func(Document, error) bool) {
			for _, d := range list {
				if !yield(d, nil) {
					return
				}
			}
		}
	}
	c := Corpus{Documents: each(docs)}
	if uncut != nil {
		c.Uncut = each(uncut)
	}
	return c
}

// What cannot be trained on is refused with its place or its counts, and what is cut away is counted.
func TestSignsAreRefused(t *testing.T) {
	good := signed(3, 4, 0, 1, -1, 1)
	for _, c := range []struct {
		name   string
		change func(*Settings)
		corpus Corpus
		says   []string // of an error
		notes  []string
	}{
		{"tnt", nil, signedCorpus(nil, good, signed(8, 3, 0, 1, 2)), []string{"document 8, token 2: sign 2, want -1, 0 or 1"}, nil},
		{"tnt", nil, signedCorpus(nil, signed(1, 3, 0, 1, 1)), []string{"0 are unwanted and 2 to keep", "data annotate"}, nil},
		{"tnt", nil, signedCorpus(nil, signed(1, 3, 0, -1, -1)), []string{"2 are unwanted and 0 to keep"}, nil},
		{"tnt", nil, signedCorpus([]Document{signed(3, 7, -1, 1, -1, 1, 1, -1, -1)}, good), nil, []string{"3 unwanted tokens are not trained", "1 unwanted and 2 kept"}},
		{"tnt", func(s *Settings) { s.TNT.StrictLength = true }, signedCorpus([]Document{signed(3, 5, 0, 1, -1, 1, -1)}, good), []string{"1 unwanted tokens are not trained", "strict_length"}, nil},
		{"tnt", func(s *Settings) { s.TNT.Compat.ULClip, s.TNT.Compat.EpsPerEntry = true, true }, signedCorpus(nil, good), nil,
			[]string{"tnt.compat.tnt_ul_clip changes nothing of TNFF, only UL", "tnt_eps_per_entry changes nothing of TNFF, only TNRR, TNRF, TNRLL"}},
		{"npo", nil, signedCorpus(nil, signed(1, 3, 0, 1, 1)), []string{"0 are unwanted", "nothing to forget"}, nil},
		{"npo", nil, signedCorpus(nil, signed(1, 3, 0, -1, -1)), []string{"0 to keep", "npo.retain: none"}, nil},
		{"npo", func(s *Settings) { s.NPO.Retain = "none" }, signedCorpus(nil, signed(1, 3, 0, -1, -1)), nil, []string{"2 unwanted tokens of 1 documents"}},
	} {
		s := Settings{TNT: DefaultTNT(), NPO: DefaultNPO(), Loss: DefaultLoss()}
		if c.change != nil {
			c.change(&s)
		}
		o, err := New(c.name, s)
		if err != nil {
			t.Fatal(err)
		}
		notes, err := Prepare(o, c.corpus)
		if (err == nil) != (c.says == nil) {
			t.Errorf("%s, %q: %v", c.name, c.says, err)
			continue
		}
		for _, part := range c.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v, want %q", c.name, err, part)
			}
		}
		for _, part := range c.notes {
			if !strings.Contains(strings.Join(notes, "\n"), part) {
				t.Errorf("%s: %q, want %q", c.name, notes, part)
			}
		}
	}
	for _, name := range []string{"tnt", "npo"} {
		s := Settings{TNT: DefaultTNT(), NPO: DefaultNPO(), Loss: DefaultLoss()}
		s.Loss.Reweigh.Rule = "top"
		if _, err := New(name, s); err == nil || !strings.Contains(err.Error(), "loss.reweigh.rule") {
			t.Errorf("%s under a rule: %v", name, err)
		}
	}
}

func TestScalarsOfTNT(t *testing.T) {
	var f LogFloor
	var a AutoFactor
	for text, want := range map[string]bool{"none": true, "-10.3": true, "0": false, "3": false, "-inf": false, "x": false} {
		if err := f.UnmarshalScalar(text); (err == nil) != want || err == nil && f.String() != text {
			t.Errorf("floor %s: %v, %s", text, err, f)
		}
	}
	for text, want := range map[string]bool{"auto": true, "0": true, "12.5": true, "-1": false, "nan": false, "inf": false} {
		if err := a.UnmarshalScalar(text); (err == nil) != want || err == nil && a.String() != text {
			t.Errorf("factor %s: %v, %s", text, err, a)
		}
	}
}

// NPO's terms: a group a document over its unwanted tokens; what is kept beside it.
func TestNPOPlans(t *testing.T) {
	s := Settings{NPO: DefaultNPO(), Loss: DefaultLoss()}
	docs := []Document{signed(4, 4, 0, -1, -1, -1), signed(5, 3, 0, 1, 1), signed(6, 4, 0, 0, -1, 1)}
	p := signedPlan(t, "npo", s, docs...)
	forget, kept := &p.Terms[0], &p.Terms[1]
	if !slices.Equal(forget.Rows, []int32{0, 1, 2, 8}) || forget.Den != 2 || !forget.NeedsReference || !forget.Unwanted || kept.Kind != CrossEntropy || kept.Den != 3 || kept.Share != 1 {
		t.Errorf("%+v\n%+v", forget, kept)
	}
	s.NPO.Variant, s.NPO.Gamma, s.NPO.Beta, s.NPO.Retain, s.NPO.RetainWeight = "simnpo", 1, 2, "kl", 0.5
	p = signedPlan(t, "npo", s, docs...)
	if !slices.Equal(p.Terms[0].Reference, []float32{0.5, 0.5, 0.5, 0.5}) || p.Terms[0].NeedsReference || p.Terms[1].Kind != ReferenceKL || !p.NeedsReference {
		t.Errorf("%+v", p.Terms)
	}
	s.NPO.Retain = "none"
	if p = signedPlan(t, "npo", s, docs...); len(p.Terms) != 1 || p.NeedsReference {
		t.Errorf("%+v", p.Terms)
	}
	s.Held, s.Reference = true, true
	if p = signedPlan(t, "npo", s, docs...); len(p.Terms) != 2 || p.Terms[1].Name != TermDrift || len(p.Terms[1].Rows) != 3 {
		t.Errorf("%+v", p.Terms)
	}
}

// A term that asks for what its kind does not have is refused.
func TestReferenceTermsAreChecked(t *testing.T) {
	for part, change := range map[string]func(*Term){
		"needs a reference: true, but asks for one: false": func(t *Term) { t.NeedsReference = false },
		"not weighed by their losses":                      func(t *Term) { t.Weights, t.Options.Reweigh.Rule = nil, "top" },
		"which only the head lm has":                       func(t *Term) { t.Head = "names" },
		"no rule compares them":                            func(t *Term) { t.Kind = CrossEntropy },
		"has weight NaN":                                   func(t *Term) { t.Weights[0] = float32(math.NaN()) },
	} {
		p := signedPlan(t, "tnt", Settings{TNT: DefaultTNT(), Loss: DefaultLoss()}, signed(1, 4, 0, 1, -1, 1))
		change(&p.Terms[0])
		if err := p.Check(40, 40); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%v, want %q", err, part)
		}
	}
}
