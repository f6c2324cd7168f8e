package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/checkpoint"
)

// A run goes out, comes in, answers, and goes out again with the same bits; mistakes have their exit codes.
func TestImportAndExport(t *testing.T) {
	texts, tokenizer := corpus(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, "data", "build", "--tokenizer", tokenizer, "--unit", "paragraph", "--out", at("shards"), texts)
	must(t, "train", "--preset", "clm-cpu-tiny", "--data", at("shards"), "--out", at("run"), "--steps", "4", "--set", "data.tokens_per_step=256", "--set", "data.valid=0.2",
		"--set", "model={preset: llama-tiny, layers: 2, width: 32, heads: 4, kv_heads: 2, ff: 64, context: 32, tied: false}")
	var e struct {
		V            int      `json:"v"`
		Architecture string   `json:"architecture"`
		Files        []string `json:"files"`
		Lost         []string `json:"lost"`
	}
	if err := json.Unmarshal([]byte(must(t, "export", at("run"), "--out", at("hf"), "--json")), &e); err != nil {
		t.Fatal(err)
	}
	if e.V != 1 || e.Architecture != "LlamaForCausalLM" || len(e.Lost) != 0 || !slices.Contains(e.Files, "generation_config.json") {
		t.Errorf("%+v", e)
	}
	page := must(t, "import", at("hf"), "--out", at("model"))
	for _, want := range []string{"llama", "2 layers", "palimpsest generate --model " + at("model"), "train.init=" + at("model"), at("model/tokenizer.json")} {
		if !strings.Contains(page, want) {
			t.Errorf("the result does not mention %s:\n%s", want, page)
		}
	}
	must(t, "generate", "--model", at("model"), "--max-tokens", "3", "The quick")
	must(t, "eval", "loss", "--model", at("model"), "--data", at("shards"))
	must(t, "export", at("model"), "--out", at("again"))
	a, errA := os.ReadFile(at("hf/model.safetensors"))
	b, errB := os.ReadFile(at("again/model.safetensors"))
	if errA != nil || errB != nil || string(a) != string(b) {
		t.Errorf("the weights changed: %v %v", errA, errB)
	}
	must(t, "train", "--dry-run", "--set", "objective=clm", "--set", "train.init="+at("model"), "--data", at("shards"))

	must(t, "eval", "logits", "--model", at("model"), "--out", at("x.safetensors"), "1,2,3", "4 5")
	s, err := checkpoint.OpenSafetensors(at("x.safetensors"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if info, _ := s.Info("logits.1"); !slices.Equal(info.Shape, []int{2, 300}) {
		t.Errorf("%+v", info)
	}
	if info, _ := s.Info("hidden.0"); !slices.Equal(info.Shape, []int{3, 32}) {
		t.Errorf("%+v", info)
	}

	must(t, "export", at("run"), "--out", at("small"), "--dtype", "bfloat16", "--shard-size", "20KB")
	if _, err := os.Stat(at("small/model.safetensors.index.json")); err != nil {
		t.Error(err)
	}
	refuses(t, 2, []string{"--out"}, "export", at("run"))
	refuses(t, 2, []string{"--dtype", "float8"}, "export", at("run"), "--out", at("y"), "--dtype", "float8")
	refuses(t, 2, []string{"--shard-size", "5 apples"}, "export", at("run"), "--out", at("y"), "--shard-size", "5 apples")
	refuses(t, 2, []string{"head", "lm, none"}, "export", at("run"), "--out", at("y"), "--head", "mood")
	refuses(t, 2, []string{at("hf")}, "export", at("run"), "--out", at("hf"))
	refuses(t, 4, []string{at("absent")}, "export", at("absent"), "--out", at("y"))
	refuses(t, 2, []string{"one argument"}, "import", "--out", at("y"))
	refuses(t, 3, []string{"config.json"}, "import", at("shards"), "--out", at("y"))
	refuses(t, 2, []string{at("model")}, "import", at("hf"), "--out", at("model"))
	refuses(t, 6, []string{"not a directory"}, "import", at("hf"), "--out", filepath.Join(tokenizer, "below", "a-file"))
	refuses(t, 2, []string{"token id"}, "eval", "logits", "--model", at("model"), "--out", at("y"), "1,two")
	refuses(t, 3, []string{"sequence 1", "outside the vocabulary"}, "eval", "logits", "--model", at("model"), "--out", at("y"), "999")
	if exists(at("y")) {
		t.Error("a refused command left something behind")
	}
}

// Adapters are trained, go out alone and merged, and come back onto the model that they adapt.
func TestAdapterVerbs(t *testing.T) {
	texts, tokenizer := corpus(t)
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must(t, "data", "build", "--tokenizer", tokenizer, "--unit", "paragraph", "--out", at("shards"), texts)
	must(t, "train", "--preset", "clm-cpu-tiny", "--data", at("shards"), "--out", at("base"), "--steps", "2", "--set", "data.tokens_per_step=256", "--set", "data.valid=0",
		"--set", "model={preset: llama-tiny, layers: 2, width: 32, heads: 4, kv_heads: 2, ff: 64, context: 32, tied: false}")
	adapt := []string{"train", "--set", "objective=clm", "--set", "train.init=" + at("base"), "--data", at("shards"), "--steps", "2", "--set", "data.tokens_per_step=256",
		"--set", "data.valid=0", "--set", "optimizer.learning_rate=0.02", "--set", "adapter={rank: 4, targets: [attention.qkv, mlp.up]}"}
	page := must(t, append(adapt, "--dry-run")...)
	if !strings.Contains(page, "adapters of rank 4, scaled by 4, on attention.qkv, mlp.up") {
		t.Errorf("the dry run does not tell of adapters:\n%s", page)
	}
	must(t, append(adapt, "--out", at("run"))...)
	must(t, "generate", "--model", at("run"), "--max-tokens", "3", "The quick")
	must(t, "export", at("run"), "--adapter", "--out", at("peft"))
	must(t, "export", at("run"), "--out", at("merged"))
	page = must(t, "import", "--adapter", at("peft"), at("base"), "--out", at("back"))
	if !strings.Contains(page, "adapters of rank 4") || !strings.Contains(page, "palimpsest generate --model "+at("back")) {
		t.Errorf("the result of the import:\n%s", page)
	}
	must(t, "export", at("back"), "--adapter", "--out", at("again"))
	a, errA := os.ReadFile(at("peft/adapter_model.safetensors"))
	b, errB := os.ReadFile(at("again/adapter_model.safetensors"))
	if errA != nil || errB != nil || string(a) != string(b) {
		t.Errorf("the adapters changed: %v %v", errA, errB)
	}
	refuses(t, 2, []string{"adapter.rank", "must not be negative"}, append(adapt, "--set", "adapter.rank=-1", "--out", at("y"))...)
	refuses(t, 2, []string{"adapter.targets", "attention.qkv"}, append(adapt, "--set", "adapter.targets=[attention.k]", "--out", at("y"))...)
	refuses(t, 2, []string{"adapter.rank: 33"}, append(adapt, "--set", "adapter.rank=33", "--out", at("y"))...)
	refuses(t, 2, []string{"train.init"}, "train", "--data", at("shards"), "--set", "adapter.rank=2", "--out", at("y"))
	refuses(t, 2, []string{"has no adapters", "--adapter"}, "export", at("base"), "--adapter", "--out", at("y"))
	refuses(t, 2, []string{"Hugging Face folder", "palimpsest import "}, "import", "--adapter", at("peft"), at("merged"), "--out", at("y"))
	refuses(t, 3, []string{"adapter_config.json"}, "import", "--adapter", at("merged"), at("base"), "--out", at("y"))
	refuses(t, 4, []string{at("absent")}, "import", "--adapter", at("peft"), at("absent"), "--out", at("y"))
	if exists(at("y")) {
		t.Error("a refused command left something behind")
	}
}

func TestParseSize(t *testing.T) {
	for text, want := range map[string]int64{"5GB": 5e9, "500 MB": 5e8, "2GiB": 2 << 30, "1.5kb": 1500, "7": 7, "8B": 8} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%s: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "GB", "-1GB", "0", "NaN", "1e99TB", "5XB"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
}
