//go:build cuda && emulated

package engine

import (
	"path/filepath"
	"testing"
)

func TestGraphsEmulated(t *testing.T) { testGraphs(t, dataset(t, 60)) }

// Products of a library are captured in their place. Steps of equal sizes are replayed, whatever the library's nodes hold; where
// a rule weighs rows, whose number differs, the passes of the body are.
func TestGraphsWithProductsEmulated(t *testing.T) {
	t.Setenv("PALIMPSEST_CUBLASLT", library(t))
	data := dataset(t, 60)
	t.Run("causal", func(t *testing.T) { graphsWithProducts(t, data, func(c *Config) { c.Objective = "clm" }) })
	t.Run("masked, by a rule", func(t *testing.T) { graphsWithProducts(t, data, func(c *Config) { c.Loss.Reweigh.Rule = "softmax" }) })
}

func graphsWithProducts(t *testing.T, data string, change func(*Config)) {
	c := deviceConfig(data, 8)
	c.Model.Layers, c.Model.Width, c.Model.FF, c.Data.TokensPerStep, c.Eval.Tokens = 1, 32, 48, 96, 100
	change(&c)
	var prints []string
	for _, graph := range []string{"off", "auto"} {
		c.Train.Graph = graph
		run, seen := filepath.Join(t.TempDir(), graph), &notes{}
		mustTrain(t, Options{Config: c, Out: run, Observe: seen})
		prints = append(prints, fingerprint(t, run))
		if (graph == "auto") != seen.has("were a launch of one of") {
			t.Errorf("%s: %q", graph, seen.lines)
		}
		t.Log(seen.lines)
	}
	if prints[0] != prints[1] {
		t.Errorf("without graphs:\n%s\nwith:\n%s", prints[0], prints[1])
	}
}
