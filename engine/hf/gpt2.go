package hf

import "palimpsest/engine/model"

// GPT-2 (transformers: models/gpt2). The four projections of a block are Conv1D modules, whose weights are [in, out].
var gpt2 = &family{
	name: "gpt2", prefix: "transformer.", body: "GPT2Model", lm: "GPT2LMHeadModel", tokens: "GPT2ForTokenClassification", causal: true,
	rules: join(
		one("embed.tokens.weight", "wte.weight", "/lm_head.weight"),
		one("embed.positions.weight", "wpe.weight"),
		norms("layers.*.attention.norm", "h.*.ln_1"),
		conv1D("layers.*.attention.qkv", "h.*.attn.c_attn"),
		conv1D("layers.*.attention.proj", "h.*.attn.c_proj"),
		norms("layers.*.mlp.norm", "h.*.ln_2"),
		conv1D("layers.*.mlp.up", "h.*.mlp.c_fc"),
		conv1D("layers.*.mlp.down", "h.*.mlp.c_proj"),
		norms("final.norm", "ln_f"),
		one("head.lm.weight", "/lm_head.weight")),
	classifier: tokenClassifier,
	leftovers: []leftover{
		{"h.*.attn.bias", "the causal mask"},
		{"h.*.attn.masked_bias", "the number that masked scores are set to"},
		{"/classifier.**", "a classification head of a form that has no place here"},
		{"/score.**", "a head for sequences of a form that has no place here"},
		{"/multiple_choice_head.**", "the head of multiple choice"},
	},
	read: func(s *settings) model.Config {
		only(s, "scale_attn_weights", true, "scores are divided by the square root of the head width")
		only(s, "scale_attn_by_inverse_layer_idx", false, "scores that shrink with depth")
		s.has("reorder_and_upcast_attn") // another order of the same products
		c := model.Config{
			Vocab: model.AutoInt(s.needed("vocab_size")), Layers: s.needed("n_layer"), Width: s.needed("n_embd"), Heads: s.needed("n_head"),
			Context: s.size("n_positions", 1024), NormEps: s.positive("layer_norm_epsilon", 1e-5), MLP: s.choice("activation_function", "gelu_new", geluNames),
			Norm: "layernorm", Placement: "pre", Positions: "learned", Bias: yes,
			Tied: model.FlagOf(read(s, "tie_word_embeddings", true)), InitStd: s.positive("initializer_range", 0.02),
		}
		s.has("n_ctx") // an old name beside n_positions, without effect
		c.FF = s.size("n_inner", 4*c.Width)
		return c
	},
	write: func(c model.Config, f facts) object {
		return object{
			{"model_type", "gpt2"}, {"vocab_size", int(c.Vocab)}, {"n_layer", c.Layers}, {"n_embd", c.Width}, {"n_head", c.Heads}, {"n_inner", c.FF},
			{"n_positions", c.Context}, {"layer_norm_epsilon", c.NormEps}, {"activation_function", c.MLP}, {"initializer_range", c.InitStd},
			{"tie_word_embeddings", c.Tied.Yes()}, {"attn_pdrop", f.Dropout}, {"embd_pdrop", f.Dropout}, {"resid_pdrop", f.Dropout},
			{"bos_token_id", orNull(f.tokenizer.BOS)}, {"eos_token_id", orNull(f.tokenizer.EOS)}, {"pad_token_id", orNull(f.tokenizer.Pad)},
		}.rename("activation_function", map[string]string{"gelu_tanh": "gelu_new"})
	},
	hold: func(c model.Config, _ facts) model.Config {
		c = holdLearned(c)
		c.Placement, c.EmbedNorm, c.Transform, c.HeadBias, c.Types, c.PositionOffset = "pre", no, no, no, 0, 0
		return c
	},
}
