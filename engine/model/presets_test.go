package model

import "testing"

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
		"bert-tiny":    4_416_698, // with the masked-LM head instead of the pooler (published: 4,385,920 and 11,170,560 with it)
		"bert-mini":    11_201_594,
		"bert-base":    109_514_298,
		"bert-large":   335_174_458,
	} {
		c, problems := Config{Preset: name}.Resolve(0)
		if len(problems) > 0 {
			t.Errorf("%s: %v", name, problems)
		} else if got := NumParams(c); got != want {
			t.Errorf("%s has %d parameters, published are %d", name, got, want)
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
		if again, _ := c.Resolve(300); again != c {
			t.Errorf("%s: resolving twice gives %+v, once %+v", name, again, c)
		}
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
