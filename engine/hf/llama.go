package hf

import "palimpsest/engine/model"

// LLaMA (transformers: models/llama). Rotary positions turn the first half of a head's dims with the second one, as here, so
// that no rows need to be moved.
var llama = &family{
	name: "llama", prefix: "model.", body: "LlamaModel", lm: "LlamaForCausalLM", causal: true,
	rules: join(
		one("embed.tokens.weight", "embed_tokens.weight", "/lm_head.weight"),
		norms("layers.*.attention.norm", "layers.*.input_layernorm"),
		linears("layers.*.attention.qkv", "layers.*.self_attn.q_proj", "layers.*.self_attn.k_proj", "layers.*.self_attn.v_proj"),
		linears("layers.*.attention.proj", "layers.*.self_attn.o_proj"),
		norms("layers.*.mlp.norm", "layers.*.post_attention_layernorm"),
		linears("layers.*.mlp.up", "layers.*.mlp.gate_proj", "layers.*.mlp.up_proj"),
		linears("layers.*.mlp.down", "layers.*.mlp.down_proj"),
		norms("final.norm", "norm"),
		one("head.lm.weight", "/lm_head.weight")),
	classifier: func(kind string) []rule {
		if kind != "token" {
			return nil
		}
		return linears(model.ClassifierPrefix+"*", "/score")
	},
	tokens: "LlamaForTokenClassification",
	leftovers: []leftover{
		{"layers.*.self_attn.rotary_emb.inv_freq", "the frequencies of the rotary positions, computed here"},
		{"rotary_emb.inv_freq", "the frequencies of the rotary positions, computed here"},
		{"/score.**", "a head for sequences of a form that has no place here"},
	},
	read: func(s *settings) model.Config {
		c := model.Config{
			Vocab: model.AutoInt(s.needed("vocab_size")), Layers: s.needed("num_hidden_layers"), Width: s.needed("hidden_size"), Heads: s.needed("num_attention_heads"),
			FF: s.needed("intermediate_size"), Context: s.size("max_position_embeddings", 2048), NormEps: s.positive("rms_norm_eps", 1e-6),
			MLP: s.choice("hidden_act", "silu", gatedNames), Norm: "rmsnorm", Placement: "pre", Positions: "rope",
			Bias: model.FlagOf(read(s, "attention_bias", false)), MLPBias: model.FlagOf(read(s, "mlp_bias", false)),
			Tied: model.FlagOf(read(s, "tie_word_embeddings", false)), InitStd: s.positive("initializer_range", 0.02),
		}
		c.KVHeads = s.size("num_key_value_heads", c.Heads)
		only(s, "head_dim", c.Width/max(1, c.Heads), "a head's width is hidden_size / num_attention_heads")
		s.has("pretraining_tp") // products cut in pieces, with the same result
		s.rope(&c)
		return c
	},
	write: func(c model.Config, f facts) object {
		return object{
			{"model_type", "llama"}, {"vocab_size", int(c.Vocab)}, {"hidden_size", c.Width}, {"num_hidden_layers", c.Layers}, {"num_attention_heads", c.Heads},
			{"num_key_value_heads", c.KVHeads}, {"head_dim", c.Width / c.Heads}, {"intermediate_size", c.FF}, {"max_position_embeddings", c.Context},
			{"rms_norm_eps", c.NormEps}, {"hidden_act", c.MLP}, {"attention_bias", c.Bias.Yes()}, {"mlp_bias", c.MLPBias.Yes()},
			{"rope_theta", c.RopeBase}, {"rope_scaling", scalingOf(c)}, {"initializer_range", c.InitStd}, {"tie_word_embeddings", c.Tied.Yes()},
			{"attention_dropout", f.Dropout}, {"bos_token_id", orNull(f.tokenizer.BOS)}, {"eos_token_id", orNull(f.tokenizer.EOS)},
			{"pad_token_id", orNull(f.tokenizer.Pad)},
		}.rename("hidden_act", gatedTheirs)
	},
	hold: func(c model.Config, _ facts) model.Config {
		if _, ok := gatedTheirs[c.MLP]; !ok {
			c.MLP = "swiglu"
		}
		c.Norm, c.Affine, c.Placement, c.FirstNorm, c.Positions, c.Attention = "rmsnorm", yes, "pre", yes, "rope", model.Attention{}
		c.EmbedNorm, c.Transform, c.HeadBias, c.Types, c.PositionOffset = no, no, no, 0, 0
		return c
	},
}

// gatedNames are the activations of gated MLPs in transformers and what the MLP is called here.
var gatedNames = map[string]string{"silu": "swiglu", "swish": "swiglu", "gelu": "geglu", "gelu_new": "geglu_tanh", "gelu_pytorch_tanh": "geglu_tanh"}

// gatedTheirs is the way back.
var gatedTheirs = map[string]string{"swiglu": "silu", "geglu": "gelu", "geglu_tanh": "gelu_pytorch_tanh"}

// ropeParameters is an entry of rope_scaling or rope_parameters.
type ropeParameters struct {
	Type     string  `json:"rope_type"`
	Old      string  `json:"type"` // its name before transformers 4.45
	Theta    float64 `json:"rope_theta"`
	Factor   float64 `json:"factor"`
	Low      float64 `json:"low_freq_factor"`
	High     float64 `json:"high_freq_factor"`
	Original int     `json:"original_max_position_embeddings"`
	Partial  float64 `json:"partial_rotary_factor"`
}

// scaling is ours; kinds that are not supported are refused.
func (r ropeParameters) scaling(s *settings, key string) model.RopeScaling {
	kind := r.Type
	if kind == "" {
		kind = r.Old
	}
	if r.Partial != 0 && r.Partial != 1 {
		s.bad("%s: partial_rotary_factor: %g is not supported, only 1: all dims of a head turn", key, r.Partial)
	}
	switch kind {
	case "", "default":
	case "linear":
		return model.RopeScaling{Kind: kind, Factor: r.Factor}
	case "llama3":
		return model.RopeScaling{Kind: kind, Factor: r.Factor, Low: r.Low, High: r.High, Original: r.Original}
	default:
		s.bad("%s: rotary positions of the type %q are not supported; supported: default, linear, llama3", key, kind)
	}
	return model.RopeScaling{}
}

// rope reads the base of the rotary frequencies and their scaling: rope_theta and rope_scaling, in transformers 5 both within
// rope_parameters.
func (s *settings) rope(c *model.Config) {
	c.RopeBase = s.positive("rope_theta", 10000)
	for _, key := range []string{"rope_scaling", "rope_parameters"} {
		if !s.has(key) {
			continue
		}
		p := read(s, key, ropeParameters{})
		scaling := p.scaling(s, key)
		if key == "rope_parameters" && s.has("rope_scaling") && scaling != c.RopeScaling {
			s.bad("rope_parameters: is not what rope_scaling says")
		}
		c.RopeScaling = scaling
		if p.Theta != 0 {
			if s.has("rope_theta") && p.Theta != c.RopeBase {
				s.bad("%s: rope_theta is %g here and %g beside it", key, p.Theta, c.RopeBase)
			}
			c.RopeBase = p.Theta
		}
	}
	only(s, "partial_rotary_factor", 1.0, "all dims of a head turn")
}

// scalingOf is rope_scaling of a configuration; null without.
func scalingOf(c model.Config) any {
	switch s := c.RopeScaling; s.Kind {
	case "linear":
		return object{{"rope_type", s.Kind}, {"factor", s.Factor}}
	case "llama3":
		return object{{"rope_type", s.Kind}, {"factor", s.Factor}, {"low_freq_factor", s.Low}, {"high_freq_factor", s.High},
			{"original_max_position_embeddings", s.Original}}
	}
	return nil
}
