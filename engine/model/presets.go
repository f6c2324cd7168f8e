package model

import (
	"maps"
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

func forCPU(layers, width, heads int) Config {
	return Config{Layers: layers, Width: width, Heads: heads, KVHeads: heads, FF: 4 * width, Context: 512, Norm: "layernorm", NormEps: 1e-5,
		Placement: "pre", Positions: "rope", RopeBase: 10000, MLP: "gelu_tanh", Bias: on, Tied: on, EmbedNorm: off, Transform: off, HeadBias: on, InitStd: 0.02}
}
