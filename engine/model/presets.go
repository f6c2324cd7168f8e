package model

import (
	"maps"
	"math"
	"slices"
)

// presets are published architectures and two sizes for a CPU. Their parameter counts are tested against the published
// ones (presets_test.go).
var presets = map[string]Config{
	// Radford et al. 2019. Learned positions, tied head, tanh GELU.
	"gpt2":        gpt2(12, 768, 12),
	"gpt2-medium": gpt2(24, 1024, 16),
	"gpt2-large":  gpt2(36, 1280, 20),
	"gpt2-xl":     gpt2(48, 1600, 25),

	// Touvron et al. 2023, arXiv 2302.13971 and 2307.09288; Grattafiori et al. 2024, arXiv 2407.21783.
	"llama-7b":     llama(32000, 32, 4096, 32, 32, 11008, 2048, 10000, 1e-6, off),
	"llama-13b":    llama(32000, 40, 5120, 40, 40, 13824, 2048, 10000, 1e-6, off),
	"llama-2-7b":   llama(32000, 32, 4096, 32, 32, 11008, 4096, 10000, 1e-5, off),
	"llama-3-8b":   llama(128256, 32, 4096, 32, 8, 14336, 8192, 500000, 1e-5, off),
	"llama-3.2-1b": llama(128256, 16, 2048, 32, 8, 8192, 8192, 500000, 1e-5, on),
	"llama-3.2-3b": llama(128256, 28, 3072, 24, 8, 8192, 8192, 500000, 1e-5, on),
	"llama-tiny":   llama(0, 4, 256, 4, 2, 704, 512, 10000, 1e-5, on),

	// Devlin et al. 2019, arXiv 1810.04805; the small ones Turc et al. 2019, arXiv 1908.08962.
	"bert-tiny":   bert(2, 128, 2),
	"bert-mini":   bert(4, 256, 4),
	"bert-small":  bert(4, 512, 8),
	"bert-medium": bert(8, 512, 8),
	"bert-base":   bert(12, 768, 12),
	"bert-large":  bert(24, 1024, 16),

	// Liu et al. 2019, arXiv 1907.11692: BERT with one token type; its positions begin in the table's third row.
	"roberta-base":  roberta(12, 768, 12),
	"roberta-large": roberta(24, 1024, 16),

	// Warner et al. 2024, arXiv 2412.13663: every third layer is global, the others see 64 tokens to either side.
	"modernbert-base":  modernBERT(22, 768, 12, 1152),
	"modernbert-large": modernBERT(28, 1024, 16, 2624),

	// Samuel et al. 2023, arXiv 2303.09859: NormFormer, relative positions, norms without scale and shift. Its head's own first
	// norm is the final norm here.
	"ltg-bert":      ltgBERT(16384, 12, 768, 12, 2048),
	"ltg-bert-tiny": ltgBERT(0, 4, 256, 4, 704),

	// Charpentier and Samuel 2024, arXiv 2410.24159: LTG-BERT with gated attention, Sub-LN and a weighted residual stream.
	"gpt-bert-small": gptBERT(8192, 12, 384, 6, 1280),
	"gpt-bert-base":  gptBERT(16384, 12, 768, 12, 2560),
	"gpt-bert-tiny":  gptBERT(0, 4, 256, 4, 704),

	// Zheng et al. 2025, arXiv 2501.13397: the encoder of ExLM, ESM's pre-norm with rotary positions on two axes.
	"exlm-base":  exlm(50265, 12, 768, 12),
	"exlm-large": exlm(50265, 24, 1024, 16),
	"exlm-tiny":  exlm(0, 4, 256, 4),

	// Timiryasov and Tastet 2023, arXiv 2308.02019: the decoders of BabyLM that AntLM starts from.
	"babyllama-16m": llama(16000, 8, 256, 8, 8, 1024, 128, 10000, 1e-6, off),
	"babyllama-58m": llama(16000, 16, 512, 8, 8, 1024, 128, 10000, 1e-6, off),
	"babyllama-97m": llama(16000, 12, 768, 12, 12, 2048, 128, 10000, 1e-6, on),

	// For a CPU: rotary positions and pre-norm, which learn quickly at small size.
	"tiny":  forCPU(4, 256, 4),
	"small": forCPU(8, 512, 8),
}

// PresetNames lists the presets in order.
func PresetNames() []string { return slices.Sorted(maps.Keys(presets)) }

func gpt2(layers, width, heads int) Config {
	return Config{Vocab: 50257, Layers: layers, Width: width, Heads: heads, KVHeads: heads, FF: 4 * width, Context: 1024, Norm: "layernorm", NormEps: 1e-5,
		Placement: "pre", Positions: "learned", MLP: "gelu_tanh", Bias: on, Tied: on, EmbedNorm: off, Transform: off, HeadBias: off, InitStd: 0.02}
}

func llama(vocab AutoInt, layers, width, heads, kvHeads, ff, context int, base, eps float64, tied Flag) Config {
	return Config{Vocab: vocab, Layers: layers, Width: width, Heads: heads, KVHeads: kvHeads, FF: ff, Context: context, Norm: "rmsnorm", NormEps: eps,
		Placement: "pre", Positions: "rope", RopeBase: base, MLP: "swiglu", Bias: off, Tied: tied, EmbedNorm: off, Transform: off, HeadBias: off, InitStd: 0.02}
}

func bert(layers, width, heads int) Config {
	return Config{Vocab: 30522, Layers: layers, Width: width, Heads: heads, KVHeads: heads, FF: 4 * width, Context: 512, Norm: "layernorm", NormEps: 1e-12,
		Placement: "post", Positions: "learned", MLP: "gelu", Bias: on, Tied: on, EmbedNorm: on, Types: 2, Transform: on, HeadBias: on, InitStd: 0.02}
}

func roberta(layers, width, heads int) Config {
	c := bert(layers, width, heads)
	c.Vocab, c.Types, c.NormEps, c.PositionOffset = 50265, 1, 1e-5, 2
	return c
}

func modernBERT(layers, width, heads, ff int) Config {
	return Config{Vocab: 50368, Layers: layers, Width: width, Heads: heads, KVHeads: heads, FF: ff, Context: 8192, Norm: "layernorm", NormEps: 1e-5,
		Placement: "pre", FirstNorm: off, Positions: "rope", RopeBase: 160000, Attention: Attention{Window: 128, GlobalEvery: 3, LocalBase: 10000},
		MLP: "geglu", Bias: off, Tied: on, EmbedNorm: on, Transform: on, HeadBias: on, InitStd: 0.02}
}

func ltgBERT(vocab AutoInt, layers, width, heads, ff int) Config {
	return Config{Vocab: vocab, Layers: layers, Width: width, Heads: heads, KVHeads: heads, FF: ff, Context: 512, Norm: "layernorm", NormEps: 1e-7, Affine: off,
		Placement: "normformer", Positions: "relative", Buckets: 32, MLP: "geglu_tanh", Bias: on, MLPBias: off, Tied: on, EmbedNorm: on,
		Transform: on, HeadAct: "gelu", HeadBias: on, HeadDrop: on, InitStd: math.Sqrt(2 / (5 * float64(width))), InitScale: "depth"}
}

func gptBERT(vocab AutoInt, layers, width, heads, ff int) Config {
	c := ltgBERT(vocab, layers, width, heads, ff)
	c.Placement, c.Attention.Gate, c.DepthWeighting = "subln", on, on
	return c
}

func exlm(vocab AutoInt, layers, width, heads int) Config {
	return Config{Vocab: vocab, Layers: layers, Width: width, Heads: heads, KVHeads: heads, FF: 4 * width, Context: 2048, Norm: "layernorm", NormEps: 1e-5,
		Placement: "pre", Positions: "rope2d", RopeBase: 10000, MLP: "gelu", Bias: on, Tied: on, EmbedNorm: off, Transform: on, HeadBias: on,
		InitStd: 0.02, InitScale: "none", Links: Links{Features: "hidden+position", Positions: 2048}}
}

func forCPU(layers, width, heads int) Config {
	return Config{Layers: layers, Width: width, Heads: heads, KVHeads: heads, FF: 4 * width, Context: 512, Norm: "layernorm", NormEps: 1e-5,
		Placement: "pre", Positions: "rope", RopeBase: 10000, MLP: "gelu_tanh", Bias: on, Tied: on, EmbedNorm: off, Transform: off, HeadBias: on, InitStd: 0.02}
}
