package main

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine/sweep"
)

func TestSweepVerb(t *testing.T) {
	texts, tokenizer := corpus(t)
	shards := filepath.Join(t.TempDir(), "shards")
	must(t, "data", "build", "--tokenizer", tokenizer, "--unit", "paragraph", "--out", shards, texts)
	run := write(t, filepath.Join(t.TempDir(), "run.yaml"), "model: {layers: 1, width: 32, heads: 2, kv_heads: 2, ff: 64, context: 32}\n"+
		"data: {tokens_per_step: 256, valid: 0.2}\ntrain: {steps: 4, device: cpu}\nlog: {every: 1}\neval: {every: 0}\n")
	file := write(t, filepath.Join(t.TempDir(), "sweep.yaml"), "run: "+run+"\nmethod: random\ntrials: 2\nkeys: {optimizer.learning_rate: {log_uniform: [1e-3, 1e-2]}}\n")
	out := filepath.Join(t.TempDir(), "sweep")
	common := []string{"sweep", "--config", file, "--data", shards, "--out", out, "--vary", "model.layers=[1, 2]"}

	list := must(t, append(common, "--dry-run")...)
	if !strings.Contains(list, "random: 2 runs, 8 steps together") || exists(out) {
		t.Errorf("the folder exists: %v\n%s", exists(out), list)
	}
	table := must(t, common...)
	if lines := strings.Split(table, "\n"); len(lines) != 5 || !strings.HasPrefix(lines[0], "rank  trial  model.layers  optimizer.learning_rate  loss") {
		t.Error(table)
	}
	code, stdout, stderr := call("", append(common, "--trials", "3", "--seeds", "2", "--json")...)
	var result struct {
		V int `json:"v"`
		sweep.Result
	}
	if err := json.Unmarshal([]byte(stdout), &result); err != nil || code != 0 || result.V != 1 || len(result.Rows) != 3 || result.Rows[0].Std == nil {
		t.Fatalf("exit code %d, %v: %s%s", code, err, stdout, stderr)
	}
	best := filepath.Join(t.TempDir(), "best")
	must(t, "train", "--config", result.Best, "--out", best)
	var loss struct {
		Loss float64 `json:"loss"`
	}
	if err := json.Unmarshal([]byte(must(t, "eval", "loss", "--model", best, "--device", "cpu", "--json")), &loss); err != nil || loss.Loss != *result.Rows[0].Seeds[0].Metric {
		t.Errorf("best.yaml gives %v, %v; the sweep had %v", loss.Loss, err, *result.Rows[0].Seeds[0].Metric)
	}

	for _, x := range []struct {
		parts     []string
		arguments []string
	}{
		{[]string{"--preset NAME", "run: FILE"}, []string{"--vary", "mask.p=[0.1]", "--out", out}},
		{[]string{"exclude each other"}, []string{"--config", file, "--preset", "mlm-cpu-tiny"}},
		{[]string{"no file absent.yaml"}, []string{"--config", "absent.yaml"}},
		{[]string{"want KEY=[A, B, ...]"}, []string{"--vary", "mask.p=0.1"}},
		{[]string{"--vary mask.p={vals: [1]}", "keys.mask.p.vals: unknown key; did you mean values?"}, []string{"--vary", "mask.p={vals: [1]}"}},
		{[]string{"--vary: mask.q: unknown key"}, []string{"--preset", "mlm-cpu-tiny", "--data", shards, "--out", out, "--vary", "mask.q=[1]"}},
		{[]string{"no key to vary"}, []string{"--preset", "mlm-cpu-tiny"}},
		{[]string{"--method", "did you mean halving?"}, []string{"--method", "halvin"}},
		{[]string{"missing --out"}, []string{"--preset", "mlm-cpu-tiny", "--vary", "mask.p=[0.1]"}},
		{[]string{"trial 1 was", "--out"}, append(common[1:], "--set", "train.steps=5")},
	} {
		refuses(t, 2, x.parts, append([]string{"sweep"}, x.arguments...)...)
	}
}
