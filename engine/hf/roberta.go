package hf

import "palimpsest/engine/model"

// RoBERTa (transformers: models/roberta) is BERT's body with another head. Its positions count from the row behind that of the
// padding token, so max_position_embeddings is larger than the longest text by pad_token_id + 1.
var roberta = &family{
	name: "roberta", prefix: "roberta.", body: "RobertaModel", lm: "RobertaForMaskedLM", tokens: "RobertaForTokenClassification",
	rules: join(bertBody,
		linears("head.lm.transform", "/lm_head.dense"),
		norms("head.lm.norm", "/lm_head.layer_norm"),
		one("head.lm.weight", "/lm_head.decoder.weight"),
		one("head.lm.bias", "/lm_head.bias", "/lm_head.decoder.bias"),
		one("embed.tokens.weight", "embeddings.word_embeddings.weight", "/lm_head.decoder.weight")),
	classifier: tokenClassifier,
	leftovers: append([]leftover{
		{"pooler.**", "the pooler: no objective here reads it"},
		{"/classifier.**", "a classification head of a form that has no place here"},
	}, bertBuffers...),
	read: func(s *settings) model.Config {
		c := readBERT(s)
		c.PositionOffset = read(s, "pad_token_id", 1) + 1
		c.Context = s.size("max_position_embeddings", 512) - c.PositionOffset
		if c.PositionOffset < 1 || c.Context < 1 {
			s.bad("max_position_embeddings: positions count from pad_token_id + 1 = %d, which leaves %d", c.PositionOffset, c.Context)
			c.PositionOffset, c.Context = 1, 1
		}
		c.NormEps = s.positive("layer_norm_eps", 1e-12)
		return c
	},
	write: func(c model.Config, f facts) object {
		o := writeBERT(c, f)
		return append(o, member{"model_type", "roberta"}, member{"max_position_embeddings", c.Context + c.PositionOffset},
			member{"pad_token_id", c.PositionOffset - 1}, member{"bos_token_id", orNull(f.tokenizer.BOS)}, member{"eos_token_id", orNull(f.tokenizer.EOS)})
	},
	hold: func(c model.Config, f facts) model.Config {
		c = holdBERT(c)
		if c.PositionOffset = int(f.tokenizer.Pad) + 1; f.tokenizer.Pad < 0 {
			c.PositionOffset = -1 // of no model: without a token for padding positions could not be counted
		}
		return c
	},
}
