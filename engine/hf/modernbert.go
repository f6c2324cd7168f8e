package hf

import "palimpsest/engine/model"

// ModernBERT (transformers: models/modernbert). Pre-norm with rotary positions, every n-th layer global, the others with a
// window; the first attention has no norm of its own. Wqkv and Wi are in one piece, Wi's first half goes through the activation.
var modernBERT = &family{
	name: "modernbert", prefix: "model.", body: "ModernBertModel", lm: "ModernBertForMaskedLM", sequences: "ModernBertForSequenceClassification",
	rules: join(
		one("embed.tokens.weight", "embeddings.tok_embeddings.weight", "/decoder.weight"),
		norms("embed.norm", "embeddings.norm"),
		norms("layers.*.attention.norm", "layers.*.attn_norm"),
		linears("layers.*.attention.qkv", "layers.*.attn.Wqkv"),
		linears("layers.*.attention.proj", "layers.*.attn.Wo"),
		norms("layers.*.mlp.norm", "layers.*.mlp_norm"),
		linears("layers.*.mlp.up", "layers.*.mlp.Wi"),
		linears("layers.*.mlp.down", "layers.*.mlp.Wo"),
		norms("final.norm", "final_norm"),
		linears("head.lm.transform", "/head.dense"),
		norms("head.lm.norm", "/head.norm"),
		one("head.lm.weight", "/decoder.weight"),
		one("head.lm.bias", "/decoder.bias")),
	classifier: func(kind string) []rule {
		if kind != "sequence" {
			return nil
		}
		const ours = model.ClassifierPrefix + "*"
		return join(linears(ours+".transform", "/head.dense"), norms(ours+".norm", "/head.norm"), linears(ours, "/classifier"))
	},
	leftovers: []leftover{
		{"layers.*.attn.rotary_emb.inv_freq", "the frequencies of the rotary positions, computed here"},
		{"rotary_emb.**", "the frequencies of the rotary positions, computed here"},
		{"/classifier.**", "a classification head of a form that has no place here"},
	},
	read: func(s *settings) model.Config {
		bias := read(s, "attention_bias", false)
		for _, key := range []string{"norm_bias", "classifier_bias"} {
			only(s, key, bias, "norms, attention and heads have biases all or none (attention_bias)")
		}
		c := model.Config{
			Vocab: model.AutoInt(s.needed("vocab_size")), Layers: s.needed("num_hidden_layers"), Width: s.needed("hidden_size"), Heads: s.needed("num_attention_heads"),
			FF: s.needed("intermediate_size"), Context: s.size("max_position_embeddings", 8192), NormEps: s.positive("norm_eps", 1e-5),
			MLP: s.choice("hidden_activation", "gelu", gatedNames), HeadAct: s.choice("classifier_activation", "gelu", headActivations),
			Norm: "layernorm", Placement: "pre", FirstNorm: no, Positions: "rope", EmbedNorm: yes, Transform: yes,
			Bias: model.FlagOf(bias), MLPBias: model.FlagOf(read(s, "mlp_bias", false)), HeadBias: model.FlagOf(read(s, "decoder_bias", true)),
			Tied: model.FlagOf(read(s, "tie_word_embeddings", true)), InitStd: s.positive("initializer_range", 0.02),
		}
		for _, key := range []string{"sparse_prediction", "sparse_pred_ignore_index", "repad_logits_with_grad", "reference_compile", "deterministic_flash_attn",
			"classifier_pooling", "norm_bias"} { // how it is run, and heads that are not read
			s.has(key)
		}
		s.layers(&c)
		return c
	},
	write: func(c model.Config, f facts) object {
		local, types, every := c.RopeBase, []string{}, c.Attention.GlobalEvery
		if c.Attention.LocalBase > 0 {
			local = c.Attention.LocalBase
		}
		if c.Attention.Window == 0 {
			every = 1
		}
		for i := range c.Layers {
			types = append(types, map[bool]string{true: globalLayer, false: localLayer}[i%every == 0])
		}
		window := c.Attention.Window
		if window == 0 {
			window = 128 // of no layer
		}
		return object{
			{"model_type", "modernbert"}, {"vocab_size", int(c.Vocab)}, {"hidden_size", c.Width}, {"num_hidden_layers", c.Layers}, {"num_attention_heads", c.Heads},
			{"intermediate_size", c.FF}, {"max_position_embeddings", c.Context}, {"norm_eps", c.NormEps}, {"hidden_activation", c.MLP},
			{"classifier_activation", headActivation(c)}, {"attention_bias", c.Bias.Yes()}, {"norm_bias", c.Bias.Yes()}, {"classifier_bias", c.Bias.Yes()},
			{"mlp_bias", c.MLPBias.Yes()}, {"decoder_bias", c.HeadBias.Yes()}, {"classifier_pooling", "cls"}, {"local_attention", window},
			{"global_attn_every_n_layers", every}, {"global_rope_theta", c.RopeBase}, {"local_rope_theta", local}, {"layer_types", types},
			{"tie_word_embeddings", c.Tied.Yes()}, {"initializer_range", c.InitStd},
			{"attention_dropout", f.Dropout}, {"embedding_dropout", f.Dropout}, {"mlp_dropout", f.Dropout},
			{"bos_token_id", orNull(f.tokenizer.BOS)}, {"cls_token_id", orNull(f.tokenizer.BOS)}, {"eos_token_id", orNull(f.tokenizer.EOS)},
			{"sep_token_id", orNull(f.tokenizer.EOS)}, {"pad_token_id", orNull(f.tokenizer.Pad)},
		}.rename("hidden_activation", gatedTheirs)
	},
	hold: func(c model.Config, _ facts) model.Config {
		if _, ok := gatedTheirs[c.MLP]; !ok {
			c.MLP = "geglu"
		}
		c.Norm, c.Affine, c.Placement, c.FirstNorm, c.Positions, c.KVHeads = "layernorm", yes, "pre", no, "rope", c.Heads
		c.EmbedNorm, c.Transform, c.Types, c.PositionOffset, c.RopeScaling = yes, yes, 0, 0, model.RopeScaling{}
		if c.Attention.Window > 0 && c.Attention.GlobalEvery == 0 {
			c.Attention.GlobalEvery = c.Layers // the first layer is always global
		}
		return c
	},
}

// The values of layer_types.
const globalLayer, localLayer = "full_attention", "sliding_attention"

// headActivations are those of the head's transform.
var headActivations = map[string]string{"gelu": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "silu": "silu"}

func headActivation(c model.Config) string {
	act := c.HeadAct
	if act == "" {
		act = map[string]string{"swiglu": "silu", "geglu": "gelu", "geglu_tanh": "gelu_tanh"}[c.MLP]
	}
	if act == "gelu_tanh" {
		return "gelu_pytorch_tanh"
	}
	return act
}

// layers reads which layers are local, their window, and the rotary frequencies of both kinds, in the spelling of transformers 4
// or 5.
func (s *settings) layers(c *model.Config) {
	c.RopeBase = s.positive("global_rope_theta", 160000)
	local := c.RopeBase
	if s.has("local_rope_theta") || !s.has("rope_parameters") {
		local = s.positive("local_rope_theta", 10000)
	}
	every := s.size("global_attn_every_n_layers", 3)
	if types := read(s, "layer_types", []string(nil)); types != nil {
		var problem string
		if every, problem = periodOf(types, c.Layers); problem != "" {
			s.bad("layer_types: %s", problem)
			every = 1
		}
	}
	for kind, p := range read(s, "rope_parameters", map[string]ropeParameters{}) {
		if p.scaling(s, "rope_parameters."+kind) != (model.RopeScaling{}) {
			s.bad("rope_parameters.%s: scaled rotary positions are not supported", kind)
		}
		switch {
		case p.Theta == 0:
		case kind == globalLayer:
			c.RopeBase = p.Theta
		case kind == localLayer:
			local = p.Theta
		default:
			s.bad("rope_parameters: no layer is of the type %q; known: %s, %s", kind, globalLayer, localLayer)
		}
	}
	window := s.size("local_attention", 128)
	if every == 1 {
		return
	}
	if window < 2 {
		s.bad("local_attention: a window of %d, in which a token sees nothing but itself, is not supported", window)
		window = 2
	}
	c.Attention = model.Attention{Window: window / 2 * 2, GlobalEvery: every} // half of it, rounded down, on either side
	if local != c.RopeBase {
		c.Attention.LocalBase = local
	}
}

// periodOf finds n such that layers 0, n, 2n, ... are the global ones.
func periodOf(types []string, layers int) (every int, problem string) {
	if len(types) != layers {
		return 0, "want one entry a layer"
	}
	every = layers
	for i, kind := range types {
		if kind == globalLayer && i > 0 {
			every = i
			break
		}
	}
	for i, kind := range types {
		if want := map[bool]string{true: globalLayer, false: localLayer}[i%every == 0]; kind != want {
			return 0, "entry " + describe(kind, []int{i}) + ": supported is " + globalLayer + " in layers 0, n, 2n, ... and " + localLayer + " in the others"
		}
	}
	return every, ""
}
