package objectives

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"
)

// readGolden decodes NAME.json of the folder of independent float64 vectors; PALIMPSEST_GOLDEN names another folder.
func readGolden(t *testing.T, name string, into any) {
	t.Helper()
	dir := filepath.Join("testdata", "golden")
	if other := os.Getenv("PALIMPSEST_GOLDEN"); other != "" {
		dir = other
	}
	raw, err := os.ReadFile(filepath.Join(dir, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatalf("%s.json: %v", name, err)
	}
}

// near is the tolerance of float64 code; golden numbers have 12 digits.
func near(got, want float64) bool { return math.Abs(got-want) <= 1e-11+1e-9*math.Abs(want) }

func TestMSLMGolden(t *testing.T) {
	var file struct {
		Weights []struct {
			NE    int64     `json:"n_e"`
			NB    int64     `json:"n_b"`
			NU    int64     `json:"n_u"`
			WE    float64   `json:"w_e"`
			WB    float64   `json:"w_b"`
			Three []float64 `json:"three_way"`
		}
		Effective []struct {
			Beta float64
			N    []int64
			W    []float64
		}
		Loss []struct {
			Name      string
			Kinds     []string
			CE        [][]float64
			WE        float64 `json:"w_e"`
			WB        float64 `json:"w_b"`
			Unmasked  float64 `json:"unmasked_weight"`
			Norm      string
			PadCounts bool `json:"compat_pad_counts"`
			HalfTie   bool `json:"compat_half_tie"`
			Loss      float64
			DCE       [][]float64
		}
	}
	readGolden(t, "mslm_weights", &file)
	if len(file.Weights) == 0 || len(file.Effective) == 0 || len(file.Loss) == 0 {
		t.Fatal("mslm_weights.json lacks cases")
	}
	for _, c := range file.Weights {
		wE, wB, err := maskWeights(c.NE, c.NB)
		if err != nil || !near(wE, c.WE) || !near(wB, c.WB) {
			t.Errorf("%d, %d: %.12g, %.12g, %v; want %.12g, %.12g", c.NE, c.NB, wE, wB, err, c.WE, c.WB)
		}
		three, err := threeWay(c.NE, c.NB, c.NU)
		for i, want := range c.Three {
			if err != nil || !near(three[i], want) {
				t.Errorf("three-way %d, %d, %d: %v, %v; want %v", c.NE, c.NB, c.NU, three, err, c.Three)
				break
			}
		}
	}
	for _, c := range file.Effective {
		got, err := classBalanced(c.Beta, c.N)
		for i, want := range c.W {
			if err != nil || !near(got[i], want) {
				t.Errorf("beta %g, %v: %v, %v; want %v", c.Beta, c.N, got, err, c.W)
				break
			}
		}
	}
	for _, c := range file.Loss {
		w := weighing{wE: c.WE, wB: c.WB, unmasked: c.Unmasked, perWeight: c.Norm == "weights", factor: true, tie: c.HalfTie, pads: c.PadCounts}
		var rows [][]float64
		loss, den := 0.0, 0.0
		for s, kinds := range c.Kinds {
			row, counted := w.row(nil, []byte(kinds))
			for i, v := range row {
				loss += v * c.CE[s][i]
			}
			rows, den = append(rows, row), den+counted
		}
		if den == 0 { // as SetDenominators has it
			den = 1
		}
		if !near(loss/den, c.Loss) {
			t.Errorf("%s: loss %.12g, want %.12g", c.Name, loss/den, c.Loss)
		}
		for s, row := range rows {
			for i, v := range row {
				if want := c.DCE[s][i]; !near(v/den, want) || want == 0 && v != 0 {
					t.Errorf("%s: dce[%d][%d] = %.12g, want %.12g", c.Name, s, i, v/den, want)
				}
			}
		}
	}
}

func TestMSLMWeightsRefuse(t *testing.T) {
	for name, f := range map[string]func() error{
		"nothing masked": func() error { _, _, err := maskWeights(0, 0); return err },
		"negative":       func() error { _, _, err := maskWeights(-1, 5); return err },
		"three-way":      func() error { _, err := threeWay(0, 0, 9); return err },
		"beta 1":         func() error { _, err := classBalanced(1, []int64{1}); return err },
		"beta 0":         func() error { _, err := classBalanced(0, []int64{1}); return err },
		"beta NaN":       func() error { _, err := classBalanced(math.NaN(), []int64{1}); return err },
		"negative count": func() error { _, err := classBalanced(0.9, []int64{1, -1}); return err },
		"no class":       func() error { _, err := classBalanced(0.9, []int64{0, 0}); return err },
	} {
		if f() == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if w, err := classBalanced(0.9, []int64{0, 3}); err != nil || w[0] != 0 || w[1] != 1 {
		t.Errorf("an absent class: %v, %v", w, err)
	}
}
