//go:build cuda && emulated

package engine

import (
	"math"
	"path/filepath"
	"testing"

	"palimpsest/engine/model"
	"palimpsest/objectives"
)

// Objectives and their variants that no other test trains on the GPU's kernels: at each step the loss is at most twice as far from
// float32's as that of the naive bfloat16 computation, and graphs change no bit. Three steps say little of the naive one's spread:
// it counts as no less than 1e-4 of the loss, a fortieth of a rounding to bfloat16.
func TestObjectivesEmulated(t *testing.T) {
	data := signedDataset(t, 60)
	small := func(c *Config) {
		c.Model.Layers, c.Model.Width, c.Model.FF, c.Data.TokensPerStep, c.Eval.Tokens, c.Train.Dropout = 1, 32, 48, 96, 0, 0
	}
	base := deviceConfig(data, 3)
	small(&base)
	base.Objective, base.Train.Device = "clm", "cpu"
	init := filepath.Join(t.TempDir(), "init")
	mustTrain(t, Options{Config: base, Out: init})
	for name, change := range map[string]func(*Config){
		"npo": func(c *Config) { c.Objective, c.Train.Init, c.Model = "npo", init, Default().Model },
		"antlm": func(c *Config) {
			c.Objective, c.AntLM = "antlm", objectives.AntLM{By: "batch", Mix: map[string]float64{"clm": 1, "mlm": 1, "mntp": 2}}
			c.Train.Accumulate = 2
		},
		"antlm by row, LTG-BERT, moments and rates by phase": func(c *Config) {
			mix := objectives.DefaultAntLM().Mix
			c.Phases, c.Train.Steps = []Phase{{Mix: mix, Steps: 2}, {Objective: "mntp", Steps: 1}}, 0
			c.Model = model.Config{Preset: "ltg-bert-tiny", Layers: 1, Width: 32, Heads: 2, FF: 48, Context: 48}
			c.Loss.ZLoss, c.Mask.Order, c.Train.Dropout, c.Optimizer.Kind = 1e-3, "seldom", 0.1, "lamb"
			c.Optimizer.Reset, c.Schedule.Restart = true, true
		},
		"antlm by batch, GPT-BERT": func(c *Config) {
			c.Objective, c.AntLM = "antlm", objectives.AntLM{By: "batch", Mix: map[string]float64{"clm": 1, "mntp": 3}}
			c.Model = model.Config{Preset: "gpt-bert-tiny", Layers: 2, Width: 32, Heads: 2, FF: 48, Context: 48}
			c.Train.Dropout, c.Optimizer.Kind, c.Train.Accumulate = 0.1, "lamb", 2
		},
		"exlm, sparse": func(c *Config) {
			c.Objective, c.EXLM.DAG, c.EXLM.K, c.Data.Length, c.Mask.P = "exlm", "sparse", 3, 24, 0.3
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := deviceConfig(data, 3)
			small(&c)
			change(&c)
			_, single := trainedOn(t, c, "cpu")
			_, naive := trainedOn(t, c, "refbf16")
			run, got := trainedOn(t, c, "cuda")
			floor := distance(naive, single)
			for i := range single {
				ours, theirs := math.Abs(got[i]-single[i]), max(math.Abs(naive[i]-single[i]), floor, 1e-4*math.Abs(single[i]))
				if !(ours <= 2*theirs) {
					t.Errorf("step %d: loss %g is %g from float32's, the naive computation %g", i+1, got[i], ours, theirs)
				}
			}
			c.Train.Graph = "off"
			off, _ := trainedOn(t, c, "cuda")
			if a, b := fingerprint(t, off), fingerprint(t, run); a != b {
				t.Errorf("without graphs:\n%s\nwith:\n%s", a, b)
			}
		})
	}
}
