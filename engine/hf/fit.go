package hf

import (
	"fmt"
	"slices"
	"strings"

	"palimpsest/engine/model"
	"palimpsest/engine/runfile"
)

// gaps compares a configuration with what an architecture holds of it and names every choice that is lost. What an architecture
// has on top is no loss where zeros and ones make it nothing: biases, scales of norms, a table of token types.
func (f *family) gaps(c model.Config, x facts) (held model.Config, lost []string) {
	c = plain(c)
	held = f.hold(c, x)
	held.Links = model.Links{} // no architecture here has a transition head or tokens with several states
	held.Attention.Gate, held.DepthWeighting = no, no
	held = plain(held)
	was := map[string]string{}
	for _, k := range runfile.Describe(c) {
		was[k.Path] = k.Default
	}
	for _, k := range runfile.Describe(held) {
		from, to := was[k.Path], k.Default
		switch {
		case from == to, neutral(k.Path, from, to), strings.HasPrefix(k.Path, "classifiers"):
			continue
		case k.Path == "head_activation" && c.Transform != held.Transform: // without a transform there is none
			continue
		case c.Positions != held.Positions && strings.HasPrefix(k.Path, "rope_"): // told with positions
			continue
		case k.Path == "links.heads" || k.Path == "links.positions": // told with links.features
			continue
		case k.Path == "rope_scaling" || k.Path == "attention" || k.Path == "links": // sections, whose keys are told
			continue
		}
		lost = append(lost, fmt.Sprintf("model.%s: %s (%s: %s)", k.Path, from, f.lm, to))
	}
	return held, lost
}

// neutral reports whether going from one value of a key to another can leave what is computed as it is.
func neutral(key, from, to string) bool {
	switch key {
	case "bias", "mlp_bias", "head_bias", "affine":
		return from != "true" && to == "true"
	case "types":
		return from == "0" && to == "1"
	case "position_offset": // the rows before it are never used
		return to == "0"
	}
	return false
}

// plain spells equal configurations equally: keys without effect are cleared, open ones take what they stand for.
func plain(c model.Config) model.Config {
	c.Preset, c.InitScale = "", ""
	if c.MLPBias == model.Flag(0) {
		c.MLPBias = c.Bias
	}
	if c.Affine == model.Flag(0) {
		c.Affine = yes
	}
	if c.FirstNorm == model.Flag(0) {
		c.FirstNorm = yes
	}
	if c.Placement == "post" {
		c.FirstNorm = yes
	}
	if c.Attention.Gate == model.Flag(0) {
		c.Attention.Gate = no
	}
	if c.DepthWeighting == model.Flag(0) {
		c.DepthWeighting = no
	}
	if !strings.HasPrefix(c.Positions, "rope") {
		c.RopeBase, c.RopeScaling = 0, model.RopeScaling{}
	}
	if c.Positions != "relative" {
		c.Buckets = 0
	}
	if !c.Links.On() {
		c.Links = model.Links{Features: "none", States: c.Links.States}
	}
	if c.Links.States < 2 {
		c.Links.States = 0
	}
	if c.Attention.LocalBase == c.RopeBase {
		c.Attention.LocalBase = 0
	}
	switch {
	case !c.Transform.Yes():
		c.HeadAct = ""
	case c.HeadAct == "":
		c.HeadAct = map[string]string{"gelu": "gelu", "geglu": "gelu", "gelu_tanh": "gelu_tanh", "geglu_tanh": "gelu_tanh", "swiglu": "silu"}[c.MLP]
	}
	return c
}

// choose finds the architecture that holds a model, of those whose attention looks the way that it was trained. Where none holds
// all of it, the one that takes most of its numbers is returned with what it lacks.
func choose(c model.Config, causal bool, x facts) (best *family, held model.Config, lost []string) {
	most := int64(-1)
	for _, f := range families {
		if f.causal != causal {
			continue
		}
		h, l := f.gaps(c, x)
		if len(l) == 0 {
			return f, h, nil
		}
		if n := common(c, h); n > most || n == most && len(l) < len(lost) {
			best, held, lost, most = f, h, l, n
		}
	}
	slices.Sort(lost)
	return best, held, lost
}

// common counts the numbers in parameters that two configurations have in the same shape.
func common(a, b model.Config) (n int64) {
	have := map[string][]int{}
	for _, p := range model.Layout(a).Params {
		have[p.Name] = p.Shape
	}
	for _, p := range model.Layout(b).Params {
		if slices.Equal(have[p.Name], p.Shape) {
			n += int64(p.Len())
		}
	}
	return n
}
