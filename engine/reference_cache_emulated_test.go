//go:build cuda && emulated

package engine

import (
	"path/filepath"
	"testing"
)

// A reference whose logits come from disk, computed on the device, gives the bits of the model beside the trained one there, in
// plans that are filled up; and a run is rehearsed without reading any.
func TestCachedReferenceEmulated(t *testing.T) {
	data := signedDataset(t, 40)
	c := deviceConfig(data, 4)
	c.Model.Layers, c.Model.Width, c.Model.FF, c.Data.TokensPerStep, c.Eval.Tokens = 1, 32, 48, 96, 0
	c.Objective, c.Train.Device = "clm", "cpu"
	init := filepath.Join(t.TempDir(), "init")
	mustTrain(t, Options{Config: c, Out: init})
	c.Objective, c.Train.Device, c.Train.Init, c.Model, c.TNT.Variant = "tnt", "cuda", init, Default().Model, "TNRF"
	var prints []string
	for _, provider := range []string{"frozen", "cached"} {
		if c.Reference.Provider = provider; provider == "cached" {
			c.Reference.Cache, c.Data.Packing = filepath.Join(t.TempDir(), "rows"), "whole"
			if made, err := CacheReference(Options{Config: c}); err != nil || made.Rows == 0 {
				t.Fatalf("%+v, %v", made, err)
			}
		}
		run := filepath.Join(t.TempDir(), provider)
		mustTrain(t, Options{Config: c, Out: run})
		prints = append(prints, fingerprint(t, run))
	}
	if prints[0] != prints[1] {
		t.Errorf("frozen:\n%s\ncached:\n%s", prints[0], prints[1])
	}
}
