//go:build cuda

package engine

import (
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

// graphCases are runs whose steps differ in dropout counters, live counts, phases and what is kept.
var graphCases = []struct {
	name   string
	change func(*Config)
}{
	{"masked", func(c *Config) {}},
	{"causal, accumulated, recomputed", func(c *Config) {
		c.Objective, c.Train.Accumulate, c.Train.Recompute, c.Eval.Every = "clm", 2, "layer", 5
	}},
	{"phases, average, LAMB", func(c *Config) {
		c.Phases, c.Train.Steps, c.Repeat = []Phase{{Objective: "clm", Steps: 2}, {Objective: "mlm", Steps: 3}}, 0, 2
		c.EMA.Decay, c.Optimizer.Kind, c.Data.Length = 0.9, "lamb", 24
	}},
}

// Runs with and without graphs, and resumed ones, have the same bits.
func testGraphs(t *testing.T, data string) {
	for _, x := range graphCases {
		t.Run(x.name, func(t *testing.T) {
			c := deviceConfig(data, 10)
			c.Model.Width, c.Model.FF, c.Data.TokensPerStep, c.Eval.Tokens = 32, 48, 96, 100
			x.change(&c)
			run := func(name string, seen *notes) string {
				out := filepath.Join(t.TempDir(), name)
				mustTrain(t, Options{Config: c, Out: out, Observe: seen})
				return out
			}
			plain, with := &notes{}, &notes{}
			c.Train.Graph = "off"
			off := run("off", plain)
			c.Train.Graph = "auto"
			on := run("on", with)
			if a, b := fingerprint(t, off), fingerprint(t, on); a != b {
				t.Errorf("without graphs:\n%s\nwith:\n%s", a, b)
			}
			if plain.has("train.graph") || !with.has("were a launch of one of") || with.has("device 0 were") {
				t.Errorf("%q, %q", plain.lines, with.lines)
			}
			for _, line := range with.lines {
				if strings.HasPrefix(line, "train.graph: ") {
					t.Log(line)
				}
			}
			parts := filepath.Join(t.TempDir(), "parts")
			c.StopAfter = 6
			if err := Train(Options{Config: c, Out: parts}); fault.Of(err) != fault.Preempted {
				t.Fatal(err)
			}
			c.StopAfter = 0
			mustTrain(t, Options{Config: c, Out: parts})
			if a, b := fingerprint(t, off), fingerprint(t, parts); a != b {
				t.Errorf("straight:\n%s\nin parts:\n%s", a, b)
			}
		})
	}
}
