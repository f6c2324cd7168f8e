package objectives

import (
	"slices"
	"testing"

	"palimpsest/kernels"
)

// A filled plan is sound, has the sizes of its class, and what was there has not changed.
func TestFiller(t *testing.T) {
	f := NewFiller(1000, 20)
	if f.Tokens != 32 || f.Rows != 8 {
		t.Fatalf("%+v", f)
	}
	plan := func(tokens, rows int, weighed bool) *Plan {
		p := &Plan{}
		t := p.term("a", CrossEntropy, HeadLM, 1)
		for len(p.Tokens) < tokens {
			start := p.segment(Document{Tokens: slices.Repeat([]int32{5}, min(13, tokens-len(p.Tokens)))}, kernels.Causal)
			for row := start; row < len(p.Tokens) && len(t.Rows) < rows; row++ {
				t.Rows, t.Targets = append(t.Rows, int32(row)), append(t.Targets, 7)
				if weighed {
					t.Weights = append(t.Weights, 0.5)
				}
			}
			p.close()
		}
		SetDenominators([]*Plan{p})
		return p
	}
	for _, c := range []struct{ tokens, rows, wantTokens, wantRows int }{
		{1, 1, 32, 8}, {32, 8, 32, 8}, {33, 9, 64, 16}, {100, 0, 128, 0}, {991, 991, 992, 992}, {993, 993, 1000, 1000}, {1000, 1, 1000, 8},
	} {
		for _, weighed := range []bool{false, true} {
			p, before := plan(c.tokens, c.rows, weighed), plan(c.tokens, c.rows, weighed)
			f.Fill(p)
			if err := p.Check(10, 20); err != nil {
				t.Errorf("%+v: %v", c, err)
			}
			a, b := &p.Terms[0], &before.Terms[0]
			if len(p.Tokens) != c.wantTokens || len(a.Rows) != c.wantRows {
				t.Errorf("%+v: %d tokens, %d rows", c, len(p.Tokens), len(a.Rows))
			}
			if !slices.Equal(p.Tokens[:c.tokens], before.Tokens) || !slices.Equal(p.Segments[:len(before.Segments)], before.Segments) ||
				!slices.Equal(a.Rows[:c.rows], b.Rows) || !slices.Equal(a.Targets[:c.rows], b.Targets) || a.Weight() != b.Weight() || a.Den != b.Den ||
				a.Filled != c.wantRows-c.rows || p.Filled != c.wantTokens-c.tokens {
				t.Errorf("%+v: what was there has changed", c)
			}
			for r := c.rows; r < len(a.Rows); r++ {
				if a.Targets[r] != kernels.IgnoreTarget || weighed && a.Weights[r] != 0 {
					t.Errorf("%+v: row %d counts", c, r)
				}
			}
		}
	}
	for _, x := range []struct {
		name   string
		change func(t *Term)
		rows   int
	}{
		{"pulls", func(t *Term) {
			t.Kind, t.Pulls = ReferenceKL, Pulls{Unwanted: kernels.Likelihood, Kept: kernels.Likelihood}
		}, 16},
		{"a rule", func(t *Term) { t.Options.Reweigh.Rule = "softmax" }, 9},
		{"lattices", func(t *Term) {
			t.Kind, t.Mode, t.Lattices, t.Weights = Alignment, kernels.CTC, []kernels.Lattice{{Start: 0, End: 9, First: 0, Last: 9}}, []float32{1}
			t.Sources, t.Places = make([]int32, 9), make([]int32, 9)
		}, 9},
	} {
		p := plan(33, 9, false)
		x.change(&p.Terms[0])
		f.Fill(p)
		if err := p.Check(10, 20); err != nil && x.name != "lattices" {
			t.Errorf("%s: %v", x.name, err)
		}
		if term := &p.Terms[0]; len(p.Tokens) != 64 || len(term.Rows) != x.rows || term.Filled != x.rows-9 || p.Ragged != (x.rows == 9) || len(term.Offsets) != len(p.Segments)+1 {
			t.Errorf("%s: %d tokens, %d rows of which %d filled, ragged %v", x.name, len(p.Tokens), len(term.Rows), term.Filled, p.Ragged)
		}
	}
	empty := &Plan{}
	f.Fill(empty)
	if len(empty.Tokens) != 0 {
		t.Error("an empty plan was filled")
	}
}
