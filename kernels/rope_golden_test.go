package kernels

import "testing"

type ropeCase struct {
	Name, Mode               string
	Base                     float64
	DH                       int
	Q, Rotated, Upstream, DQ numbers
	Pos1, Pos2               []int32
}

func TestGoldenRope(t *testing.T) {
	for _, c := range readGolden[ropeCase](t, "exlm_rope2d") {
		axes, ok := map[string]int{"1d": 1, "2d": 2}[c.Mode]
		if !ok {
			t.Fatalf("%s: mode %q", c.Name, c.Mode)
		}
		n, positions := len(c.Pos1), int32(0)
		pos := make([]int32, 2*n)
		for i := range n {
			pos[2*i], pos[2*i+1] = c.Pos1[i], c.Pos2[i]
			positions = max(positions, c.Pos1[i]+1, c.Pos2[i]+1)
		}
		table := RopeTable[float64](int(positions), c.DH, axes, c.Base)
		forEachBackend(t, c.Name, func(t *testing.T, b Backend) {
			check := newGoldenCheck(t, b, false)
			x, dx := floats(b, c.Q), floats(b, c.Upstream)
			a := Rope{X: x, Pos: integers(b, pos), Table: masters(b, table), N: n, LD: c.DH, Heads: 1, D: c.DH, Axes: axes}
			b.Rope(a)
			check.values("rotated", read(b, x), c.Rotated, true)
			a.X, a.Inverse = dx, true
			b.Rope(a)
			check.values("dq", read(b, dx), c.DQ, true)
		})
	}
}

// The inputs that exlm_rope2d.json lists under "errors".
func TestGoldenRopeErrors(t *testing.T) {
	b := NewRef64()
	a := Rope{X: b.Alloc(F64, 12), Pos: integers(b, []int32{0, 0, 1, -1}), Table: b.Alloc(F64, 12),
		N: 2, LD: 6, Heads: 1, D: 6, Axes: 2}
	mustPanic(t, "D = 6, want a multiple of 4", func() { b.Rope(a) })
	mustPanic(t, "D = 6, 2 axes", func() { RopeTable[float32](3, 6, 2, 10000) })
	a.D, a.LD = 4, 4
	mustPanic(t, "position 1 of row 1 is -1", func() { b.Rope(a) })
	a.Pos = integers(b, []int32{0, 0, 1, 6})
	mustPanic(t, "position 1 of row 1 is 6, want it in [0,6)", func() { b.Rope(a) })
}
