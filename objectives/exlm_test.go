package objectives

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"palimpsest/kernels"
)

// exlmSettings are those of tests with all special tokens: begin 0, end 1, padding 2, mask 3, unknown 4.
func exlmSettings(change func(*Settings)) Settings {
	s := settings(DefaultMask())
	s.EXLM, s.RMLM, s.Loss, s.Ends = DefaultEXLM(), DefaultRMLM(), DefaultLoss(), new(Ends)
	s.Vocabulary.Unk = firstOrdinary
	if change != nil {
		change(&s)
	}
	return s
}

// The number of expanded rows never exceeds the cost, which is tight: within a mask of it.
func TestEXLMCostBoundsTheExpansion(t *testing.T) {
	for _, change := range []func(*Settings){
		func(*Settings) {},
		func(s *Settings) { s.EXLM.K = 1 },
		func(s *Settings) { s.EXLM.ExpandSpecials = false },
		func(s *Settings) { s.EXLM.DAG = "none" },
		func(s *Settings) { s.Mask.P = 1 },
		func(s *Settings) { s.Mask.Unit = "word"; s.Mask.P = 0.5 },
		func(s *Settings) { s.Mask.Schedule = MaskSchedule{Kind: "linear", Final: 0.6} },
		func(s *Settings) { s.EXLM.Compat.MaskSpecials = true },
	} {
		s := exlmSettings(change)
		var docs []Document
		for id := range int64(60) {
			d := document(id, 0, 1+int(id)*3)
			if id%3 == 0 && len(d.Tokens) > 8 { // ends inside, and none outside
				d.Tokens[0], d.Tokens[4], d.Tokens[5], d.Tokens[len(d.Tokens)-1] = 9, 1, 0, 9
			}
			docs = append(docs, d)
		}
		o, err := New("exlm", s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Prepare(o, corpusOf(docs...)); err != nil {
			t.Fatal(err)
		}
		for _, progress := range []float64{0, 1} {
			for _, d := range docs {
				p := &Plan{Progress: progress}
				o.Begin(p)
				p.Progress = progress
				o.Plan(d, p)
				if err := p.Check(vocab, 1024); err != nil {
					t.Fatal(err)
				}
				if cost := o.Cost(len(d.Tokens)); len(p.Tokens) > cost {
					t.Errorf("%+v: %d tokens are %d rows, the cost is %d", s.EXLM, len(d.Tokens), len(p.Tokens), cost)
				}
				for _, l := range p.Terms[0].Lattices {
					if most := MostStates(o, len(d.Tokens)); int(l.End-l.Start) > most {
						t.Errorf("%+v: %d states, at most %d", s.EXLM, l.End-l.Start, most)
					}
				}
			}
		}
		last := 0
		for n := range 200 {
			if c := o.Cost(n); c < last || c < n {
				t.Fatalf("cost %d of %d tokens, of one less %d", c, n, last)
			} else {
				last = c
			}
		}
	}
}

// The same draws select the same tokens as mlm does, in every epoch.
func TestEXLMMasksWhatMLMMasks(t *testing.T) {
	s := exlmSettings(func(s *Settings) { s.Mask.P = 0.3 })
	for epoch := range uint32(3) {
		docs := []Document{document(1, epoch, 30), document(2, epoch, 9), document(5, epoch, 64)}
		mlm, exlm := planned(t, "mlm", s, docs...), planned(t, "exlm", s, docs...)
		var wanted, got []int32
		wanted = append(wanted, mlm.Terms[0].Targets...)
		term := exlm.Terms[0]
		for i, l := range term.Lattices {
			targets := term.Targets[l.First:l.Last]
			if targets[0] != 0 || targets[len(targets)-1] != 1 || math.Abs(float64(term.Weights[i])-1/float64(len(targets))) > 1e-7 {
				t.Errorf("targets %v, weight %g", targets, term.Weights[i])
			}
			got = append(got, targets[1:len(targets)-1]...)
		}
		if !slices.Equal(wanted, got) || len(got) < 20 {
			t.Errorf("mlm asks for %v, exlm for %v", wanted, got)
		}
		if term.Weight() != 3 {
			t.Errorf("%g texts count", term.Weight())
		}
	}
}

// Without links every expanded token has a lattice of its own, and a text's weights add up to 1; the blank is not asked for.
func TestEXLMWithoutLinks(t *testing.T) {
	d := document(3, 0, 40)
	for i := 1; i < 39; i += 2 {
		d.Tokens[i] = firstOrdinary // the unknown token
	}
	s := exlmSettings(func(s *Settings) { s.EXLM.DAG, s.EXLM.K, s.Mask.P = "none", 3, 0.6 })
	p := planned(t, "exlm", s, d)
	term, sum := p.Terms[0], 0.0
	for i, l := range term.Lattices {
		if l.End-l.Start != 3 || l.Last-l.First != 1 || term.Targets[l.First] == firstOrdinary {
			t.Errorf("lattice %+v of %v", l, term.Targets)
		}
		sum += float64(term.Weights[i])
	}
	if math.Abs(sum-1) > 1e-6 || term.Mode != kernels.CTC || term.Blank != firstOrdinary || len(term.Lattices) < 5 || term.Weight() != 1 {
		t.Errorf("%d lattices of weight %g, blank %d", len(term.Lattices), sum, term.Blank)
	}
	s.EXLM.Blank = "pad"
	if p := planned(t, "exlm", s, d); p.Terms[0].Blank != 2 || len(p.Terms[0].Lattices) <= len(term.Lattices) {
		t.Errorf("blank %d", p.Terms[0].Blank)
	}
}

// Without expanded ends one masked token makes no path of its first and last state: training leaves it as it is, evaluations mask it.
func TestEXLMOneMaskWithoutEnds(t *testing.T) {
	doc := Document{ID: 1, Tokens: []int32{firstOrdinary + 1, firstOrdinary + 2}}
	for _, c := range []struct {
		k        int
		dag      string
		held     bool
		lattices int
	}{{4, "dense", false, 0}, {4, "sparse", false, 0}, {4, "dense", true, 1}, {1, "dense", false, 1}, {4, "none", false, 1}} {
		o, err := New("exlm", exlmSettings(func(s *Settings) {
			s.EXLM.K, s.EXLM.DAG, s.EXLM.ExpandSpecials, s.Held, s.Mask.P = c.k, c.dag, false, c.held, 0.5
		}))
		if err != nil {
			t.Fatal(err)
		}
		p := new(Plan)
		o.Begin(p)
		o.Plan(doc, p)
		if err := p.Check(vocab, 64); err != nil {
			t.Error(err)
		}
		if n := len(p.Terms[0].Lattices); n != c.lattices || slices.Contains(p.Tokens, o.(*exlm).Vocabulary.Mask) != (n > 0) {
			t.Errorf("%+v: %d lattices over %v", c, n, p.Tokens)
		}
	}
}

// Texts without a mask bear no loss where ends are not expanded, and positions count rows under rope: 1d.
func TestEXLMSwitches(t *testing.T) {
	s := exlmSettings(func(s *Settings) { s.EXLM.ExpandSpecials, s.EXLM.Rope, s.EXLM.DAG = false, "1d", "sparse" })
	p := planned(t, "exlm", s, document(1, 0, 3), document(2, 0, 60))
	term := p.Terms[0]
	if len(term.Lattices) != 1 || term.Offsets[1] != 0 || !term.Sparse || term.Weight() != 1 {
		t.Errorf("lattices %v, offsets %v", term.Lattices, term.Offsets)
	}
	for _, s := range p.Segments {
		for row := s.Start; row < s.End; row++ {
			if p.Pos[2*row] != row-s.Start || p.Pos[2*row+1] != 0 {
				t.Fatalf("row %d has the positions %v", row, p.Pos[2*row:2*row+2])
			}
		}
	}
	s = exlmSettings(func(s *Settings) { s.EXLM.Compat.MaskSpecials, s.Mask.P = true, 1 })
	if p := planned(t, "exlm", s, document(1, 0, 5)); slices.Contains(p.Tokens, 0) || len(p.Terms[0].Targets) != 5 {
		t.Errorf("special tokens are not masked: %v", p.Tokens)
	}
}

// The published fallback gives the states of the last token links among themselves, beside those of sparse graphs.
func TestEXLMFallbackLinks(t *testing.T) {
	for _, fallback := range []bool{false, true} {
		p := planned(t, "exlm", exlmSettings(func(s *Settings) { s.EXLM.DAG, s.EXLM.K, s.EXLM.Compat.Fallback, s.Mask.P = "sparse", 2, fallback, 0.5 }), document(1, 0, 6), document(2, 0, 9))
		term := p.Terms[0]
		groups := term.LinkGroups()
		for _, l := range term.Lattices {
			for u := l.Start; u < l.End; u++ {
				for v := u + 1; v < l.End; v++ {
					want := term.Sources[v] > term.Sources[u] || fallback && u >= l.End-2
					if got := groups[v] > groups[u]; got != want {
						t.Errorf("fallback %t: a link from %d to %d of %v: %t", fallback, u, v, l, got)
					}
				}
			}
		}
	}
}

func TestPlanMaskedTakesMasksAsTheyAre(t *testing.T) {
	o, err := New("exlm", exlmSettings(nil))
	if err != nil {
		t.Fatal(err)
	}
	p := new(Plan)
	o.Begin(p)
	if !PlanMasked(o, []int32{9, maskID, 8}, []int32{9, maskID, 8}, p) || !slices.Equal(p.Terms[0].Targets, []int32{0, maskID, 1}) || len(p.Tokens) != 4+1+4+1+4 {
		t.Errorf("tokens %v, targets %v", p.Tokens, p.Terms[0].Targets)
	}
	if p.Reset(); !PlanMasked(o, []int32{9, maskID, 8}, []int32{9, 7, 8}, p) || !slices.Equal(p.Terms[0].Targets, []int32{0, 7, 1}) || p.Tokens[5] != maskID {
		t.Errorf("tokens %v, targets %v", p.Tokens, p.Terms[0].Targets)
	}
	mlm, _ := New("mlm", exlmSettings(nil))
	if PlanMasked(mlm, []int32{9}, []int32{9}, p) {
		t.Error("mlm lays out lattices")
	}
}

// What cannot be trained is refused with its name.
func TestEXLMRefusals(t *testing.T) {
	for want, change := range map[string]func(*Settings){
		"exlm.k: want 1":          func(s *Settings) { s.EXLM.K = 0 },
		"no mask token":           func(s *Settings) { s.Vocabulary.Mask = -1 },
		"no begin (bos) token":    func(s *Settings) { s.Vocabulary.BOS = -1 },
		"no end (eos) token":      func(s *Settings) { s.Vocabulary.EOS = -1 },
		"exlm.blank: pad":         func(s *Settings) { s.EXLM.DAG, s.Vocabulary.Unk = "none", -1 },
		"(exlm.blank: pad) token": func(s *Settings) { s.EXLM.DAG, s.EXLM.Blank, s.Vocabulary.Pad = "none", "pad", -1 },
		"neither smoothing":       func(s *Settings) { s.Loss.Smoothing = 0.1 },
		"dft nor reweigh; hint":   func(s *Settings) { s.Loss.Reweigh.Rule = "top" },
	} {
		if _, err := New("exlm", exlmSettings(change)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	if _, err := New("rmlm", exlmSettings(func(s *Settings) { s.Vocabulary.Mask = -1 })); err == nil {
		t.Error("rmlm without a mask token")
	}
	d := document(4, 0, 9)
	d.Offset, d.Tokens[5] = 100, maskID
	for _, allowed := range []bool{false, true} {
		o, _ := New("exlm", exlmSettings(func(s *Settings) { s.EXLM.MaskInText = allowed }))
		if _, err := Prepare(o, corpusOf(document(1, 0, 5), d)); (err == nil) != allowed || err != nil && !strings.Contains(err.Error(), "document 4, token 105 is the mask token") {
			t.Errorf("a mask in the text, allowed %t: %v", allowed, err)
		}
	}
}

// Damaged lattices are seen by Check, each with what is wrong.
func TestCheckLattices(t *testing.T) {
	for want, change := range map[string]func(*Term){
		"targets and only": func(t *Term) { t.Targets = append(t.Targets, make([]int32, 40)...); t.Lattices[1].Last += 40 },
		"states [":         func(t *Term) { t.Lattices[1].Start++ },
		"has the targets":  func(t *Term) { t.Lattices[1].First++ },
		"not of one segment": func(t *Term) {
			t.Lattices = []kernels.Lattice{{End: int32(len(t.Rows)), Last: int32(len(t.Targets))}}
			t.Weights = t.Weights[:1]
		},
		"lattices and 1 weights":  func(t *Term) { t.Weights = t.Weights[:1] },
		"has weight 0":            func(t *Term) { t.Weights[0] = 0 },
		"sources and":             func(t *Term) { t.Sources = t.Sources[1:] },
		"has the place -1":        func(t *Term) { t.Places[2] = -1 },
		"has the mode 0":          func(t *Term) { t.Mode = 0 },
		"its lattices":            func(t *Term) { t.Lattices, t.Weights = t.Lattices[:1], t.Weights[:1] },
		"outside the vocabulary":  func(t *Term) { t.Mode, t.Blank = kernels.CTC, 99 },
		"has target 77, outside":  func(t *Term) { t.Targets[0] = 77 },
		"only the head lm does":   func(t *Term) { t.Head = "topic" },
		"weighed by their losses": func(t *Term) { t.Options.Reweigh.Rule, t.Weights = "top", nil },
	} {
		p := planned(t, "exlm", exlmSettings(nil), document(1, 0, 20), document(2, 0, 30))
		change(&p.Terms[0])
		if err := p.Check(vocab, 512); err == nil || !strings.Contains(err.Error(), want) && !(p.Terms[0].Options.Reweigh.On() && strings.Contains(err.Error(), "weights")) {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// Every token stands k times; each copy is masked by itself with probability p and asks for the original.
func TestRepeatedMLM(t *testing.T) {
	for _, k := range []int{1, 2, 4} {
		t.Run(fmt.Sprint(k), func(t *testing.T) {
			s := exlmSettings(func(s *Settings) { s.RMLM.K, s.Mask.P = k, 0.4 })
			d := document(6, 1, 3000)
			o, err := New("rmlm", s)
			if err != nil {
				t.Fatal(err)
			}
			p := new(Plan)
			o.Begin(p)
			o.Plan(document(5, 0, 7), p)
			start := len(p.Tokens)
			o.Plan(d, p)
			if err := p.Check(vocab, 1<<20); err != nil {
				t.Fatal(err)
			}
			if len(p.Tokens)-start != o.Cost(3000) || o.Cost(3000) != 3000*k {
				t.Fatalf("%d rows, cost %d", len(p.Tokens)-start, o.Cost(3000))
			}
			masked, lost, rows := 0, 0, map[int32]bool{}
			for _, row := range p.Terms[0].Rows {
				rows[row] = true
			}
			for i, id := range d.Tokens {
				all := true
				for c := range k {
					row := start + i*k + c
					hidden := p.Tokens[row] == maskID
					if p.OriginalTokens[row] != id || p.Pos[2*row] != int32(i*k+c) || !hidden && p.Tokens[row] != id || hidden != rows[int32(row)] || hidden && s.Vocabulary.Special(id) {
						t.Fatalf("token %d, copy %d: sees %d of %d at %d", i, c, p.Tokens[row], id, p.Pos[2*row])
					}
					all = all && hidden
					if hidden {
						masked++
					}
				}
				if all {
					lost++
				}
			}
			for r, row := range p.Terms[0].Rows {
				if p.Terms[0].Targets[r] != p.OriginalTokens[row] {
					t.Fatalf("row %d asks for %d", row, p.Terms[0].Targets[r])
				}
			}
			s.Held = true
			o, err = New("rmlm", s)
			if err != nil {
				t.Fatal(err)
			}
			held := new(Plan)
			o.Begin(held)
			o.Plan(document(5, 0, 7), held)
			o.Plan(d, held)
			if err := held.Check(vocab, 1<<20); err != nil {
				t.Fatal(err)
			}
			if len(held.Terms) != 2 || held.Terms[0].Name != TermLost || held.Terms[0].Counted != float64(len(rows)) || held.Terms[1].Counted != float64(len(rows)) {
				t.Fatalf("terms of an evaluation: %+v", held.Terms)
			}
			heldLost := 0
			for _, term := range held.Terms {
				for _, row := range term.Rows {
					if !rows[row] {
						t.Fatalf("an evaluation asks row %d", row)
					}
					delete(rows, row)
					if token := row / int32(k) * int32(k); term.Name == TermLost {
						for c := range int32(k) {
							if held.Tokens[token+c] != maskID {
								t.Fatalf("row %d is called lost", row)
							}
						}
						if int(row) >= start {
							heldLost++
						}
					}
				}
			}
			if len(rows) > 0 || heldLost != k*lost {
				t.Errorf("an evaluation does not ask %d rows; %d copies are lost, want %d", len(rows), heldLost, k*lost)
			}
			n, pk := 2998.0, math.Pow(0.4, float64(k))
			if share := float64(masked) / (n * float64(k)); math.Abs(share-0.4) > 4*math.Sqrt(0.24/(n*float64(k))) {
				t.Errorf("%g of the copies are masked", share)
			}
			if share := float64(lost) / n; math.Abs(share-pk) > 4*math.Sqrt(pk*(1-pk)/n) {
				t.Errorf("%g of the tokens are lost, want %g", share, pk)
			}
		})
	}
}

// A model that exlm made reads documents with several states at the ends; the first of them stands for the document.
func TestClassifyExpandsEnds(t *testing.T) {
	s := exlmSettings(func(s *Settings) {
		s.Classify, s.Expansion = DefaultClassify(), Expansion{K: 3}
		s.Heads = []Head{{Name: "topic", Kind: "sequence", Classes: 4}, {Name: "tags", Kind: "token", Classes: 5}}
	})
	d := document(2, 0, 6)
	d.Planes = map[string][]byte{"label": {2, 0, 0, 0, 0, 0}, "bio": {255, 1, 2, 0, 3, 255}}
	before := document(1, 0, 4)
	before.Planes = map[string][]byte{"label": {1, 0, 0, 0}, "bio": {255, 0, 0, 255}}
	tagged := planned(t, "tag", s, before, d)
	if got, want := tagged.Terms[0].Rows, []int32{3, 4, 8 + 3, 8 + 4, 8 + 5, 8 + 6}; !slices.Equal(got, want) {
		t.Errorf("rows of tags %v, want %v", got, want)
	}
	p := planned(t, "classify", s, before, d)
	if got := p.Terms[0].Rows; !slices.Equal(got, []int32{0, 8}) || len(p.Tokens) != 18 || p.Pos[2*9+1] != 2 {
		t.Errorf("rows %v of %d tokens, positions %v", got, len(p.Tokens), p.Pos)
	}
	for n, tokens := range [][]int32{d.Tokens, d.Tokens[1:]} { // a text without a begin token is told of
		bare := d
		bare.Tokens, s.Ends = tokens, new(Ends)
		o, err := New("classify", s)
		if err != nil {
			t.Fatal(err)
		}
		notes, err := Prepare(o, corpusOf(before, bare))
		if err != nil || len(notes) != n || n > 0 && !strings.Contains(notes[0], "1 texts or pieces of one lack the begin token") {
			t.Errorf("%v: %q", err, notes)
		}
	}
	s.Expansion.K = 1 // which the second position still tells from other tokens, as in training
	if p := planned(t, "classify", s, d); len(p.Tokens) != 6 || p.Pos[1] != 1 || p.Pos[3] != 0 || p.Pos[11] != 1 {
		t.Errorf("one state: %d tokens, positions %v", len(p.Tokens), p.Pos)
	}
	p.Reset()
	if p.Lay(d.Tokens, s.Vocabulary.End, kernels.Bidirectional, s.Expansion); len(p.Tokens) != 6 || p.Pos[1] != 1 || p.Pos[3] != 0 {
		t.Errorf("one state: %d tokens, positions %v", len(p.Tokens), p.Pos)
	}
	s.Classify.Expand = false
	if p := planned(t, "classify", s, before, d); len(p.Tokens) != 10 || p.Pos[1] != 0 {
		t.Errorf("%d tokens unexpanded", len(p.Tokens))
	}
}
