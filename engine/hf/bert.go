package hf

import "palimpsest/engine/model"

// BERT (transformers: models/bert). LayerNorm behind the residual sums, learned positions, two token types of which the first
// one is used here. The tensor names are those of BertForMaskedLM.
var bert = &family{
	name: "bert", prefix: "bert.", body: "BertModel", lm: "BertForMaskedLM", tokens: "BertForTokenClassification",
	rules: join(bertBody,
		linears("head.lm.transform", "/cls.predictions.transform.dense"),
		norms("head.lm.norm", "/cls.predictions.transform.LayerNorm"),
		one("head.lm.weight", "/cls.predictions.decoder.weight"),
		one("head.lm.bias", "/cls.predictions.bias", "/cls.predictions.decoder.bias"),
		one("embed.tokens.weight", "embeddings.word_embeddings.weight", "/cls.predictions.decoder.weight")),
	classifier: tokenClassifier,
	leftovers: append([]leftover{
		{"pooler.**", "the pooler: no objective here reads it"},
		{"/cls.seq_relationship.**", "the head of next-sentence prediction"},
		{"/classifier.**", "a classification head that reads the pooler, which has no place here"},
	}, bertBuffers...),
	read: func(s *settings) model.Config {
		c := readBERT(s)
		c.Context = s.size("max_position_embeddings", 512)
		c.NormEps = s.positive("layer_norm_eps", 1e-12)
		return c
	},
	write: func(c model.Config, f facts) object {
		o := writeBERT(c, f)
		return append(o, member{"model_type", "bert"}, member{"max_position_embeddings", c.Context}, member{"pad_token_id", orNull(f.tokenizer.Pad)})
	},
	hold: func(c model.Config, _ facts) model.Config {
		c = holdBERT(c)
		c.PositionOffset = 0
		return c
	},
}

// bertBody is the body that BERT and RoBERTa share.
var bertBody = join(
	one("embed.positions.weight", "embeddings.position_embeddings.weight"),
	one("embed.types.weight", "embeddings.token_type_embeddings.weight"),
	norms("embed.norm", "embeddings.LayerNorm"),
	linears("layers.*.attention.qkv", "encoder.layer.*.attention.self.query", "encoder.layer.*.attention.self.key", "encoder.layer.*.attention.self.value"),
	linears("layers.*.attention.proj", "encoder.layer.*.attention.output.dense"),
	norms("layers.*.attention.norm", "encoder.layer.*.attention.output.LayerNorm"),
	linears("layers.*.mlp.up", "encoder.layer.*.intermediate.dense"),
	linears("layers.*.mlp.down", "encoder.layer.*.output.dense"),
	norms("layers.*.mlp.norm", "encoder.layer.*.output.LayerNorm"),
)

var bertBuffers = []leftover{
	{"embeddings.position_ids", "the numbers 0, 1, 2, ..."},
	{"embeddings.token_type_ids", "zeros"},
}

// tokenClassifier is a head of one linear layer on every token.
func tokenClassifier(kind string) []rule {
	if kind != "token" {
		return nil
	}
	return linears(model.ClassifierPrefix+"*", "/classifier")
}

// geluNames are the names of GELU in transformers: by the error function, or by its approximation with tanh.
var geluNames = map[string]string{"gelu": "gelu", "gelu_python": "gelu", "gelu_new": "gelu_tanh", "gelu_pytorch_tanh": "gelu_tanh", "gelu_fast": "gelu_tanh"}

func readBERT(s *settings) model.Config {
	only(s, "position_embedding_type", "absolute", "positions are learned rows of a table")
	only(s, "embedding_size", s.needed("hidden_size"), "a factorised embedding")
	return model.Config{
		Vocab: model.AutoInt(s.needed("vocab_size")), Layers: s.needed("num_hidden_layers"), Width: s.needed("hidden_size"), Heads: s.needed("num_attention_heads"),
		FF: s.needed("intermediate_size"), Types: s.size("type_vocab_size", 2), MLP: s.choice("hidden_act", "gelu", geluNames),
		Norm: "layernorm", Placement: "post", Positions: "learned", Bias: yes, EmbedNorm: yes, Transform: yes, HeadBias: yes,
		Tied: model.FlagOf(read(s, "tie_word_embeddings", true)), InitStd: s.positive("initializer_range", 0.02),
	}
}

func writeBERT(c model.Config, f facts) object {
	return object{
		{"hidden_size", c.Width}, {"num_hidden_layers", c.Layers}, {"num_attention_heads", c.Heads}, {"intermediate_size", c.FF},
		{"hidden_act", c.MLP}, {"vocab_size", int(c.Vocab)}, {"type_vocab_size", c.Types}, {"layer_norm_eps", c.NormEps},
		{"position_embedding_type", "absolute"}, {"initializer_range", c.InitStd}, {"tie_word_embeddings", c.Tied.Yes()},
		{"hidden_dropout_prob", f.Dropout}, {"attention_probs_dropout_prob", f.Dropout},
	}.rename("hidden_act", map[string]string{"gelu_tanh": "gelu_new"})
}

func holdBERT(c model.Config) model.Config {
	c = holdLearned(c)
	c.Placement, c.EmbedNorm, c.Transform, c.HeadBias = "post", yes, yes, yes
	c.Types = max(c.Types, 1)
	c.HeadAct = c.MLP
	return c
}

// holdLearned forces what BERT and GPT-2 share.
func holdLearned(c model.Config) model.Config {
	if c.MLP != "gelu" && c.MLP != "gelu_tanh" {
		c.MLP = "gelu"
	}
	c.Norm, c.Affine, c.FirstNorm, c.Positions, c.Attention, c.KVHeads = "layernorm", yes, yes, "learned", model.Attention{}, c.Heads
	c.Bias, c.MLPBias, c.RopeScaling = yes, yes, model.RopeScaling{}
	return c
}
