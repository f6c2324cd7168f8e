// Package model is the one transformer of palimpsest: configuration, parameters, and a forward and backward pass that are
// written out, a file a block, without a tape. It works on packed rows (kernels.Segment) and knows ops, never devices.
package model

import (
	"fmt"
	"strconv"
	"strings"

	"palimpsest/objectives"
)

// Config describes a transformer. Keys left at zero take the preset's value, then the default that Resolve names.
type Config struct {
	Preset    string  `yaml:"preset" doc:"named sizes and choices that the other keys refine: see 'palimpsest preset ls'"`
	Vocab     AutoInt `yaml:"vocab" doc:"rows of the token embedding; auto takes the tokenizer's"`
	Layers    int     `yaml:"layers" min:"0" doc:"number of blocks"`
	Width     int     `yaml:"width" min:"0" doc:"model width C"`
	Heads     int     `yaml:"heads" min:"0" doc:"query heads H; width / heads is the head width D"`
	KVHeads   int     `yaml:"kv_heads" min:"0" doc:"key/value heads K; 0 means as many as heads"`
	FF        int     `yaml:"ff" min:"0" doc:"feed-forward width F; 0 means 4 C, or 8/3 C rounded up to 64 for gated MLPs"`
	Context   int     `yaml:"context" min:"0" doc:"longest segment: rows of the position table"`
	Norm      string  `yaml:"norm" enum:",layernorm,rmsnorm" doc:"kind of norm"`
	NormEps   float64 `yaml:"norm_eps" min:"0" doc:"added to the variance"`
	Affine    Flag    `yaml:"affine" doc:"norms have a scale and a shift; false leaves them to normformer's norm behind attention and to the table of relative positions (LTG-BERT)"`
	Placement string  `yaml:"placement" enum:",pre,post,normformer,subln" doc:"norm before each sub-layer or after its residual sum; normformer: before, behind attention's projection, and behind the MLP's activation; subln: before, and before the last product of either (GPT-BERT)"`
	FirstNorm Flag    `yaml:"first_norm" doc:"false: the first attention reads the embedding's norm without one of its own (ModernBERT)"`

	Positions      string      `yaml:"positions" enum:",learned,rope,rope2d,relative,none" doc:"how a token knows its place; rope2d: two axes (ExLM), relative: log-bucketed distances (LTG-BERT)"`
	PositionOffset int         `yaml:"position_offset" min:"0" doc:"first row of the table of learned positions that is used (RoBERTa: 2)"`
	RopeBase       float64     `yaml:"rope_base" min:"0" doc:"base of the rotary frequencies"`
	RopeScaling    RopeScaling `yaml:"rope_scaling" doc:"rotary frequencies of models that were lengthened after their first training"`
	Buckets        int         `yaml:"buckets" min:"0" doc:"buckets of distances on either side (relative); 0 means 32"`
	Attention      Attention   `yaml:"attention" doc:"local and global layers"`

	MLP            string  `yaml:"mlp" enum:",gelu,gelu_tanh,swiglu,geglu,geglu_tanh" doc:"feed-forward block"`
	Bias           Flag    `yaml:"bias" doc:"biases of linear layers (and of LayerNorm)"`
	MLPBias        Flag    `yaml:"mlp_bias" doc:"biases of the feed-forward block; open: as bias"`
	DepthWeighting Flag    `yaml:"depth_weighting" doc:"behind every sub-layer the residual stream becomes a learned weighted sum of all of them and the embedding, which begins as the newest alone (DenseFormer, GPT-BERT); pre-norm models only"`
	Tied           Flag    `yaml:"tied" doc:"LM head shares the token embedding"`
	EmbedNorm      Flag    `yaml:"embed_norm" doc:"a norm right after the embedding (BERT)"`
	Types          int     `yaml:"types" min:"0" doc:"rows of the token-type table (BERT: 2); row 0 is used"`
	Transform      Flag    `yaml:"transform" doc:"LM head begins with dense, activation, norm (BERT)"`
	HeadAct        string  `yaml:"head_activation" enum:",gelu,gelu_tanh,silu" doc:"activation of the transform; open: the MLP's"`
	HeadBias       Flag    `yaml:"head_bias" doc:"LM head has a bias over the vocabulary"`
	HeadDrop       Flag    `yaml:"head_dropout" doc:"train.dropout also before the last product of the LM head (LTG-BERT), under losses of single rows"`
	InitStd        float64 `yaml:"init_std" min:"0" doc:"standard deviation of initial weights; the two projections into the residual get it divided by sqrt(2 L) in pre-norm models"`
	InitScale      string  `yaml:"init_scale" enum:",residual,depth,none" doc:"residual: as said at init_std; depth: MLP weights of layer i from 0 times sqrt(1/(2(1+i))) (LTG-BERT); none; open: residual in pre-norm models"`

	Classifiers []objectives.Head `yaml:"classifiers,omitempty" doc:"classification heads beside the LM head: name, kind (sequence, token or detector), classes, and meta of a detector"`
	Links       Links             `yaml:"links" doc:"transition head of the objective exlm"`

	Adapter Adapter `yaml:"-"` // the run file's section of that name
}

// Attention makes some layers local (ModernBERT, arXiv 2412.13663; Longformer, arXiv 2004.05150).
type Attention struct {
	Window      int     `yaml:"window" min:"0" doc:"a local layer's token sees half of this on either side; 0: all layers are global"`
	GlobalEvery int     `yaml:"global_every" min:"0" doc:"layers 0, n, 2n, ... are global; 0: none"`
	LocalBase   float64 `yaml:"local_base" min:"0" doc:"rope_base of local layers; 0: the same"`
	Gate        Flag    `yaml:"gate" doc:"output gate: what attention gives is multiplied by the GELU of a projection of its input (GPT-BERT)"`
}

// AutoInt is a positive number, or 0 written as "auto".
type AutoInt int

// UnmarshalScalar reads a number or "auto".
func (a *AutoInt) UnmarshalScalar(s string) error {
	if s == "auto" {
		*a = 0
		return nil
	}
	n, err := strconv.Atoi(strings.ReplaceAll(s, "_", ""))
	if err != nil || n < 1 {
		return fmt.Errorf("want a positive number or auto, not %q", s)
	}
	*a = AutoInt(n)
	return nil
}

// String is the inverse of UnmarshalScalar.
func (a AutoInt) String() string {
	if a == 0 {
		return "auto"
	}
	return strconv.Itoa(int(a))
}

// Resolve fills every key that is still zero, first from the preset and then with defaults, and checks the result. vocab
// is the tokenizer's size, for vocab: auto. All problems are returned at once, each beginning with the key it is about.
func (c Config) Resolve(vocab int) (Config, []error) {
	var problems []error
	if c.Vocab == 0 { // auto: the tokenizer at hand, before the preset's published vocabulary
		c.Vocab = AutoInt(vocab)
	}
	if c.Preset != "" {
		base, ok := presets[c.Preset]
		if !ok {
			return c, []error{fmt.Errorf("preset: there is no %q; known: %s", c.Preset, strings.Join(PresetNames(), ", "))}
		}
		if c.Heads != 0 && base.KVHeads == base.Heads { // another number of heads is one of both
			pick(&c.KVHeads, c.Heads)
		}
		c = merge(c, base)
	}
	c = merge(c, Config{
		Layers: 4, Width: 256, Context: 512, Norm: "layernorm", Placement: "pre", Positions: "learned",
		RopeBase: 10000, MLP: "gelu", Bias: on, Tied: on, EmbedNorm: off, Transform: off, HeadBias: off, InitStd: 0.02,
	})
	if c.NormEps == 0 {
		c.NormEps = 1e-5
	}
	if c.Heads == 0 {
		c.Heads = max(1, c.Width/64)
	}
	if c.KVHeads == 0 {
		c.KVHeads = c.Heads
	}
	if c.Positions == "relative" && c.Buckets == 0 {
		c.Buckets = 32
	}
	c.Links.resolve(c.Heads)
	if c.FF == 0 {
		c.FF = 4 * c.Width
		if c.gated() {
			c.FF = (c.Width*8/3 + 63) / 64 * 64
		}
	}
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if c.Vocab < 1 {
		bad("vocab: unknown; give a number, or a data set whose tokenizer says it")
	} else if vocab > int(c.Vocab) {
		bad("vocab: %d is smaller than the tokenizer's %d", c.Vocab, vocab)
	}
	if c.Width%c.Heads != 0 {
		bad("heads: width %d is not a multiple of %d heads", c.Width, c.Heads)
	} else if d := c.Width / c.Heads; c.Positions == "rope" && d%2 != 0 {
		bad("heads: rotary positions need an even head width, not %d", d)
	} else if c.Positions == "rope2d" && d%4 != 0 {
		bad("heads: rotary positions on two axes need a head width that is a multiple of 4, not %d", d)
	}
	if c.Heads%c.KVHeads != 0 {
		bad("kv_heads: %d heads are not a multiple of %d", c.Heads, c.KVHeads)
	}
	for _, size := range []struct {
		key   string
		value int
		limit int
	}{{"vocab", int(c.Vocab), 1 << 22}, {"layers", c.Layers, 1 << 10}, {"width", c.Width, 1 << 16}, {"heads", c.Heads, 1 << 12},
		{"ff", c.FF, 1 << 19}, {"context", c.Context, 1 << 20}, {"types", c.Types, 1 << 10}} {
		if size.value > size.limit {
			bad("%s: %d is over the limit of %d", size.key, size.value, size.limit)
		}
	}
	c.checkPositions(bad)
	if c.depthWeighted() && !c.preNorm() {
		bad("depth_weighting: is of pre-norm models, whose residual stream it weights; placement is %s", c.Placement)
	}
	c.checkRopeScaling(bad)
	c.checkClassifiers(bad)
	c.checkLinks(bad)
	return c, problems
}

// merge returns c with its zero fields taken from base.
func merge(c, base Config) Config {
	pick(&c.Vocab, base.Vocab)
	pick(&c.Layers, base.Layers)
	pick(&c.Width, base.Width)
	pick(&c.Heads, base.Heads)
	pick(&c.KVHeads, base.KVHeads)
	pick(&c.FF, base.FF)
	pick(&c.Context, base.Context)
	pick(&c.Norm, base.Norm)
	pick(&c.NormEps, base.NormEps)
	pick(&c.Affine, base.Affine)
	pick(&c.Placement, base.Placement)
	pick(&c.FirstNorm, base.FirstNorm)
	pick(&c.Positions, base.Positions)
	pick(&c.PositionOffset, base.PositionOffset)
	pick(&c.RopeBase, base.RopeBase)
	pick(&c.RopeScaling, base.RopeScaling)
	pick(&c.Buckets, base.Buckets)
	pick(&c.Attention.Window, base.Attention.Window)
	pick(&c.Attention.GlobalEvery, base.Attention.GlobalEvery)
	pick(&c.Attention.LocalBase, base.Attention.LocalBase)
	pick(&c.Attention.Gate, base.Attention.Gate)
	pick(&c.MLP, base.MLP)
	pick(&c.Bias, base.Bias)
	pick(&c.MLPBias, base.MLPBias)
	pick(&c.DepthWeighting, base.DepthWeighting)
	pick(&c.Tied, base.Tied)
	pick(&c.EmbedNorm, base.EmbedNorm)
	pick(&c.Types, base.Types)
	pick(&c.Transform, base.Transform)
	pick(&c.HeadAct, base.HeadAct)
	pick(&c.HeadBias, base.HeadBias)
	pick(&c.HeadDrop, base.HeadDrop)
	pick(&c.InitStd, base.InitStd)
	pick(&c.InitScale, base.InitScale)
	pick(&c.Links.Features, base.Links.Features)
	pick(&c.Links.Heads, base.Links.Heads)
	pick(&c.Links.Positions, base.Links.Positions)
	pick(&c.Links.States, base.Links.States)
	return c
}

func pick[T comparable](value *T, base T) {
	var zero T
	if *value == zero {
		*value = base
	}
}

// Flag is a boolean that may be left open for the preset to decide.
type Flag int8

const (
	open Flag = iota
	on
	off
)

// FlagOf is the flag that says yes or no.
func FlagOf(yes bool) Flag {
	if yes {
		return on
	}
	return off
}

// Yes reports whether a flag of a resolved configuration is set.
func (f Flag) Yes() bool { return f == on }

// UnmarshalScalar reads true or false.
func (f *Flag) UnmarshalScalar(s string) error {
	switch s {
	case "true":
		*f = on
	case "false":
		*f = off
	case "":
		*f = open
	default:
		return fmt.Errorf("want true or false, not %q", s)
	}
	return nil
}

// String is the inverse of UnmarshalScalar.
func (f Flag) String() string { return [...]string{open: "", on: "true", off: "false"}[f] }
