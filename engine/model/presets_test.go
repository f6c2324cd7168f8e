package model

import (
	"math"
	"reflect"
	"strings"
	"testing"

	"palimpsest/objectives"
)

// Published parameter counts: those of the released checkpoints, as the sum of their tensors' sizes (tied tensors once).
func TestPublishedParameterCounts(t *testing.T) {
	for name, want := range map[string]int64{
		"gpt2":         124_439_808,
		"gpt2-medium":  354_823_168,
		"gpt2-large":   774_030_080,
		"gpt2-xl":      1_557_611_200,
		"llama-7b":     6_738_415_616,
		"llama-13b":    13_015_864_320,
		"llama-2-7b":   6_738_415_616,
		"llama-3-8b":   8_030_261_248,
		"llama-3.2-1b": 1_235_814_400,
		"llama-3.2-3b": 3_212_749_824,
		// Liu et al. 2019, arXiv 1907.11692: the tensors of the released masked-LM checkpoint (published: "125M").
		"roberta-base": 124_697_433,
		// Warner et al. 2024, arXiv 2412.13663: the tensors of the released masked-LM checkpoints (published: "149M", "395M").
		"modernbert-base":  149_655_232,
		"modernbert-large": 395_881_664,
		// Samuel et al. 2023, arXiv 2303.09859; ltgoslo/ltg-bert's base configuration (published: "98M").
		"ltg-bert": 98_229_760,
		// Charpentier and Samuel 2024, arXiv 2410.24159 (published: "29.9M", "119.5M"): what the modules of ltgoslo/gpt-bert hold.
		"gpt-bert-small": 29_892_164,
		"gpt-bert-base":  119_454_532,
		"bert-tiny":      4_416_698, // with the masked-LM head instead of the pooler (published: 4,385,920 and 11,170,560 with it)
		"bert-mini":      11_201_594,
		"bert-base":      109_514_298,
		"bert-large":     335_174_458,
	} {
		c, problems := Config{Preset: name}.Resolve(0)
		if len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		} else if got := NumParams(c); got != want {
			t.Errorf("%s has %d parameters, published are %d", name, got, want)
		}
	}
}

// Sizes that are published in millions only.
func TestPublishedSizes(t *testing.T) {
	for name, want := range map[string]float64{
		"babyllama-58m": 58.3, // timinar/BabyLlama, arXiv 2308.02019, as listed in AntLM's comparison
		"babyllama-97m": 97.2,
		"exlm-base":     128.26, // arXiv 2501.13397, with its transition links (published: "128M")
	} {
		c, problems := Config{Preset: name}.Resolve(0)
		if len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		} else if got := float64(NumParams(c)) / 1e6; math.Abs(got-want) > 0.05 {
			t.Errorf("%s has %.2f million parameters, published are %g", name, got, want)
		}
	}
}

func TestResolveRefusesWhatDoesNotGoTogether(t *testing.T) {
	twice := []objectives.Head{{Name: "topic", Kind: "token", Classes: 3}, {Name: "topic", Kind: "token", Classes: 3}}
	for key, c := range map[string]Config{
		"context":                {Positions: "relative", Context: 1024},
		"buckets":                {Positions: "relative", Buckets: 7},
		"position_offset":        {Positions: "rope", PositionOffset: 2},
		"attention.window":       {Attention: Attention{Window: 7}},
		"attention.global_every": {Attention: Attention{GlobalEvery: 3}},
		"attention.local_base":   {Attention: Attention{LocalBase: 10}},
		"first_norm":             {FirstNorm: off},
		"depth_weighting":        {DepthWeighting: on, Placement: "post"},
		"heads":                  {Positions: "rope2d", Width: 12, Heads: 2},
		"classifiers: there are": {Classifiers: twice},
		"classifiers: head":      {Classifiers: []objectives.Head{{Name: "topic", Kind: "token", Classes: 1}}},
		"classifiers: a head's":  {Classifiers: []objectives.Head{{Name: "To pic", Kind: "token", Classes: 2}}},
	} {
		if _, problems := c.Resolve(20); len(problems) != 1 || !strings.HasPrefix(problems[0].Error(), key) {
			t.Errorf("%s: %v", key, problems)
		}
	}
}

func TestEveryPresetResolvesToAFixedPoint(t *testing.T) {
	for _, name := range PresetNames() {
		c, problems := Config{Preset: name}.Resolve(300)
		if len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
			continue
		}
		if c.Vocab != 300 {
			t.Errorf("%s: vocab auto gave %d, the tokenizer has 300", name, c.Vocab)
		}
		if again, _ := c.Resolve(300); !reflect.DeepEqual(again, c) {
			t.Errorf("%s: resolving twice gives %+v, once %+v", name, again, c)
		}
	}
}

// Another number of heads changes those of keys and values too, but where the preset groups them.
func TestHeadsOfAPreset(t *testing.T) {
	for preset, want := range map[string]int{"ltg-bert-tiny": 2, "llama-tiny": 2, "tiny": 2} {
		c, problems := Config{Preset: preset, Heads: 2}.Resolve(300)
		if len(problems) > 0 || c.KVHeads != want {
			t.Errorf("%s: %d key and value heads, want %d; %v", preset, c.KVHeads, want, problems)
		}
	}
	if c, problems := (Config{Preset: "tiny", Heads: 8, KVHeads: 2}).Resolve(300); len(problems) > 0 || c.KVHeads != 2 {
		t.Errorf("%d key and value heads were asked for as 2; %v", c.KVHeads, problems)
	}
}

func TestResolveNamesEveryProblem(t *testing.T) {
	_, problems := Config{Width: 100, Heads: 3, KVHeads: 2, Vocab: 10}.Resolve(20)
	if len(problems) != 3 {
		t.Errorf("want vocab, heads and kv_heads, got %v", problems)
	}
	if _, problems := (Config{Preset: "gpt9"}).Resolve(20); len(problems) != 1 {
		t.Errorf("unknown preset: %v", problems)
	}
}
