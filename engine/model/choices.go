package model

import (
	"fmt"
	"math"
	"regexp"

	"palimpsest/kernels"
	"palimpsest/objectives"
)

// What the keys of a configuration mean, and which of them do not go together.

func (c Config) headWidth() int { return c.Width / c.Heads }
func (c Config) qkvWidth() int  { return (c.Heads + 2*c.KVHeads) * c.headWidth() }
func (c Config) gated() bool    { return c.MLP == "swiglu" || c.MLP == "geglu" || c.MLP == "geglu_tanh" }
func (c Config) bias() bool     { return c.Bias == on }
func (c Config) mlpBias() bool  { return c.MLPBias == on || c.MLPBias == open && c.bias() }
func (c Config) affine() bool   { return c.Affine != off }

// preNorm reports whether sub-layers read a norm of the residual stream, which a final norm ends.
func (c Config) preNorm() bool    { return c.Placement != "post" }
func (c Config) normFormer() bool { return c.Placement == "normformer" }
func (c Config) subLN() bool      { return c.Placement == "subln" }

// midNorm reports whether a norm precedes the last product of the MLP.
func (c Config) midNorm() bool { return c.normFormer() || c.subLN() }

// gatedAttention reports whether attention has an output gate.
func (c Config) gatedAttention() bool { return c.Attention.Gate == on }

// depthWeighted reports whether the residual stream is a learned sum of all sub-layers' outputs, depths their number with the
// embedding.
func (c Config) depthWeighted() bool { return c.DepthWeighting == on }
func (c Config) depths() int         { return 2*c.Layers + 1 }

// normed reports whether the attention of a layer has a norm of its own.
func (c Config) normed(layer int) bool { return layer > 0 || c.FirstNorm != off }

func (c Config) relative() bool { return c.Positions == "relative" }

// axes is the number of positions that turn queries and keys.
func (c Config) axes() int {
	switch c.Positions {
	case "rope":
		return 1
	case "rope2d":
		return 2
	}
	return 0
}

// local reports whether a layer's tokens see a window only.
func (c Config) local(layer int) bool {
	a := c.Attention
	return a.Window > 0 && (a.GlobalEvery == 0 || layer%a.GlobalEvery != 0)
}

// upWidth is the width of what the first product of the MLP gives.
func (c Config) upWidth() int {
	if c.gated() {
		return 2 * c.FF
	}
	return c.FF
}

// relativeWidth is that of a row of relative positions, seen as queries and as keys.
func (c Config) relativeWidth() int { return (c.Heads + c.KVHeads) * c.headWidth() }

// relativeRows is the number of buckets of distances, those of both directions and zero.
func (c Config) relativeRows() int { return 2*c.Buckets - 1 }

func (c Config) normKind() kernels.NormKind {
	if c.Norm == "rmsnorm" {
		return kernels.RMSNorm
	}
	return kernels.LayerNorm
}

// activation is the non-linearity of the MLP.
func (c Config) activation() kernels.Activation {
	switch c.MLP {
	case "gelu_tanh", "geglu_tanh":
		return kernels.GELUTanh
	case "swiglu":
		return kernels.SiLU
	}
	return kernels.GELUErf
}

// headActivation is the non-linearity of the LM head's transform.
func (c Config) headActivation() kernels.Activation {
	switch c.HeadAct {
	case "gelu":
		return kernels.GELUErf
	case "gelu_tanh":
		return kernels.GELUTanh
	case "silu":
		return kernels.SiLU
	}
	return c.activation()
}

// initStd returns the initial standard deviations of a layer's weights: attention's projection, and up and down of the MLP.
// By default pre-norm models scale what writes into the residual stream down with depth, so that its variance stays put (GPT-2).
func (c Config) initStd(layer int) (proj, up, down float64) {
	std := c.InitStd
	switch {
	case c.InitScale == "depth":
		scaled := std * math.Sqrt(1/(2*(1+float64(layer))))
		return std, scaled, scaled
	case c.InitScale == "none" || c.InitScale == "" && c.Placement == "post":
		return std, std, std
	}
	scaled := std / math.Sqrt(2*float64(max(1, c.Layers)))
	return scaled, std, scaled
}

// maxRelative is the longest segment of models with relative positions, whose attention is not fused.
const maxRelative = 512

func (c Config) checkPositions(bad func(format string, args ...any)) {
	a := c.Attention
	if c.relative() {
		if c.Context > maxRelative {
			bad("context: relative positions keep the scores of a segment in memory, the square of its length a head, and take at most %d tokens, not %d; hint: positions: rope has no such limit", maxRelative, c.Context)
		}
		if c.Buckets < 4 || c.Buckets%2 != 0 || c.Buckets > maxRelative {
			bad("buckets: want an even number from 4 to %d, not %d", maxRelative, c.Buckets)
		}
	}
	if c.PositionOffset > 0 && c.Positions != "learned" {
		bad("position_offset: is of learned positions, these are %s", c.Positions)
	}
	if a.Window%2 != 0 {
		bad("attention.window: is cut in two halves, so it must be even, not %d", a.Window)
	}
	if a.Window == 0 && a.GlobalEvery > 0 {
		bad("attention.global_every: needs attention.window, without which all layers are global")
	}
	if a.LocalBase > 0 && (a.Window == 0 || c.axes() == 0) {
		bad("attention.local_base: needs attention.window and rotary positions")
	}
	if c.FirstNorm == off && (!c.preNorm() || c.EmbedNorm != on) {
		bad("first_norm: false needs a pre-norm model with embed_norm: true, whose norm the first attention reads")
	}
}

// Notes says what of a configuration costs more than a user may expect.
func (c Config) Notes() (notes []string) {
	if c.relative() {
		notes = append(notes, fmt.Sprintf("model.positions: relative: attention is not fused: it keeps %d KiB of scores a thread for a segment of %d tokens, computes them twice, and takes about 2.5 times as long as the fused one",
			4*c.Context*c.Context>>10, c.Context))
	}
	if c.depthWeighted() {
		notes = append(notes, fmt.Sprintf("model.depth_weighting: true: the outputs of all %d sub-layers and their gradients are kept, also with train.recompute, and each is read again behind every later sub-layer", 2*c.Layers))
	}
	return notes
}

// head returns the place of a head in Weights.heads.
func (c Config) head(name string) (index int, ok bool) {
	if name == objectives.HeadLM {
		return 0, true
	}
	for i, h := range c.Classifiers {
		if h.Name == name {
			return i + 1, true
		}
	}
	return 0, false
}

var headName = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,31}$`)

func (c Config) checkClassifiers(bad func(format string, args ...any)) {
	seen := map[string]bool{objectives.HeadLM: true}
	for _, h := range c.Classifiers {
		switch {
		case !headName.MatchString(h.Name):
			bad("classifiers: a head's name is of a-z, 0-9, _ and -, up to 32 and a letter first, not %q", h.Name)
		case seen[h.Name]:
			bad("classifiers: there are two heads named %q", h.Name)
		case h.Kind != "sequence" && !h.EveryToken():
			bad("classifiers: head %s is of kind %q, want sequence, token or detector", h.Name, h.Kind)
		case h.Meta != "" && h.Kind != "detector":
			bad("classifiers: head %s is of kind %s, and meta is of heads of kind detector", h.Name, h.Kind)
		case h.Classes < 2 || h.Classes > objectives.NoLabel:
			bad("classifiers: head %s has %d classes, want 2 to %d", h.Name, h.Classes, objectives.NoLabel)
		}
		seen[h.Name] = true
	}
	if len(c.Classifiers) > maxTerms {
		bad("classifiers: %d heads, at most %d are possible", len(c.Classifiers), maxTerms)
	}
}
