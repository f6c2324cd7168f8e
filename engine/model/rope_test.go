package model

import (
	"math"
	"testing"

	"palimpsest/kernels"
)

// Frequencies 1 and 0.01 of a context of 100: 15.9 waves and 0.159 waves. With low 1 and high 4 the first stays, the second is
// divided; one of 2.5 waves is half kept.
func TestRopeScaling(t *testing.T) {
	s := RopeScaling{Kind: "llama3", Factor: 8, Low: 1, High: 4, Original: 100}
	for _, c := range []struct{ from, to float64 }{{1, 1}, {0.01, 0.01 / 8}, {2.5 * 2 * math.Pi / 100, 2.5 * 2 * math.Pi / 100 * (0.5 + 0.5/8)}} {
		if got := s.scaled(c.from); math.Abs(got-c.to) > 1e-15 {
			t.Errorf("%g becomes %g, want %g", c.from, got, c.to)
		}
	}
	c, problems := Config{Vocab: 9, Layers: 1, Width: 8, Heads: 2, Context: 16, Positions: "rope", RopeScaling: RopeScaling{Kind: "linear", Factor: 2}}.Resolve(9)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	b := kernels.NewRef64()
	scaled, plain := make([]float64, 16*4), make([]float64, 16*4)
	b.Download(scaled, ropeTable(b, c, 100))
	c.RopeScaling = RopeScaling{}
	b.Download(plain, ropeTable(b, c, 100))
	for i := range 4 { // position 10 at half the speed is position 5
		if math.Abs(scaled[10*4+i]-plain[5*4+i]) > 1e-15 {
			t.Errorf("position 10 has %v, want %v", scaled[40:44], plain[20:24])
		}
	}
	for _, wrong := range []RopeScaling{{Factor: 2}, {Kind: "linear", Factor: 0.5}, {Kind: "linear", Factor: 2, Original: 3}, {Kind: "llama3", Factor: 2, Low: 2, High: 1, Original: 9}} {
		if _, problems := (Config{Vocab: 9, Width: 8, Heads: 2, Positions: "rope", RopeScaling: wrong}).Resolve(9); len(problems) != 1 {
			t.Errorf("%+v: %v", wrong, problems)
		}
	}
	if _, problems := (Config{Vocab: 9, Width: 8, Heads: 2, RopeScaling: RopeScaling{Kind: "linear", Factor: 2}}).Resolve(9); len(problems) != 1 {
		t.Errorf("learned positions: %v", problems)
	}
}
