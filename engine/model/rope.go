package model

import (
	"math"

	"palimpsest/kernels"
)

// RopeScaling changes the rotary frequencies of a model that was first trained on shorter texts. linear divides them all by Factor
// (arXiv 2306.15595). llama3 (LLaMA 3.1, transformers: modeling_rope_utils) divides those whose wave is longer than Original/Low
// positions, keeps those shorter than Original/High, and goes from one to the other in between.
type RopeScaling struct {
	Kind     string  `yaml:"kind" enum:",linear,llama3" doc:"how rotary frequencies are changed for long texts: linear divides all by factor, llama3 the slow ones (LLaMA 3.1)"`
	Factor   float64 `yaml:"factor" min:"0" doc:"by how much"`
	Low      float64 `yaml:"low" min:"0" doc:"llama3: waves longer than original / low positions are divided"`
	High     float64 `yaml:"high" min:"0" doc:"llama3: waves shorter than original / high positions are kept"`
	Original int     `yaml:"original" min:"0" doc:"llama3: context of the first training"`
}

func (c Config) checkRopeScaling(bad func(format string, args ...any)) {
	s := c.RopeScaling
	switch {
	case s == RopeScaling{}:
	case s.Kind == "":
		bad("rope_scaling.kind: is missing: linear or llama3")
	case c.axes() != 1:
		bad("rope_scaling: is of rotary positions, these are %s", c.Positions)
	case !(s.Factor >= 1):
		bad("rope_scaling.factor: want 1 or more, not %g", s.Factor)
	case s.Kind == "linear" && s != RopeScaling{Kind: s.Kind, Factor: s.Factor}:
		bad("rope_scaling: low, high and original are of llama3, not of linear")
	case s.Kind == "llama3" && !(s.Low > 0 && s.High > s.Low && s.Original > 0):
		bad("rope_scaling: llama3 wants original above 0 and high above low above 0, not %d, %g and %g", s.Original, s.High, s.Low)
	}
}

// scaled returns what becomes of a frequency, in radians a position.
func (s RopeScaling) scaled(frequency float64) float64 {
	switch s.Kind {
	case "linear":
		return frequency / s.Factor
	case "llama3":
		waves := float64(s.Original) * frequency / (2 * math.Pi) // in the original context
		share := min(max((waves-s.Low)/(s.High-s.Low), 0), 1)    // that is kept
		return frequency * (share + (1-share)/s.Factor)
	}
	return frequency
}

// ropeTable is the table of cosines and sines on the device.
func ropeTable(b kernels.Backend, c Config, base float64) kernels.Buf {
	table := kernels.RopeTable[float64](c.Context, c.headWidth(), c.axes(), base)
	if D := c.headWidth(); c.RopeScaling.Kind != "" {
		for j := range D / 2 {
			frequency := c.RopeScaling.scaled(math.Pow(base, -2*float64(j)/float64(D)))
			for p := range c.Context {
				sin, cos := math.Sincos(float64(p) * frequency)
				table[p*D+2*j], table[p*D+2*j+1] = cos, sin
			}
		}
	}
	buf := b.Alloc(b.Info().Master, len(table))
	b.Upload(buf, table)
	return buf
}
