package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine"
)

// sums are records with a set phrase around what differs.
func sums(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `{"question":"the quick fox number %d and %d?","answer":"the lazy dog jumps %d over"}`+"\n", i, i%7, i+i%7)
	}
	return b.String()
}

// From records to a model that was trained on their classes, through all verbs.
func TestShadVerbs(t *testing.T) {
	_, tokenizer := corpus(t)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	records := write(t, in("sums.jsonl"), sums(60))
	fields := []string{"--fields", "prompt=question,completion=answer"}
	must(t, append(append([]string{"data", "build", "--tokenizer", tokenizer, "--out", in("shards")}, fields...), records)...)
	small := []string{"--set", "model={preset: tiny, layers: 1, width: 32, heads: 2, kv_heads: 2, ff: 64, context: 64}", "--set", "data.tokens_per_step=256", "--set", "data.valid=0.2",
		"--set", "log.every=5", "--set", "eval.every=0", "--device", "cpu"}
	must(t, append([]string{"train", "--preset", "clm-cpu-tiny", "--data", in("shards"), "--steps", "20", "--out", in("base")}, small...)...)

	// Records give records, and these a data set with the usual command.
	contains(t, must(t, append(append([]string{"shad", "shuffle", "--fraction", "0.5", "--out", in("shuffled.jsonl")}, fields...), records)...), "30 of 60 pairs", "0 dropped", "data build")
	must(t, "data", "build", "--tokenizer", tokenizer, "--fields", "prompt=prompt,completion=completion", "--out", in("again"), in("shuffled.jsonl"))
	contains(t, must(t, append(append([]string{"shad", "shuffle", "--fraction", "0.5", "--tokenizer", tokenizer, "--out", in("set")}, fields...), records)...), "30 of 60 pairs", "tokens", "shad tune")
	contains(t, must(t, "shad", "shuffle", "--fraction", "0.1", "--data", in("shards"), "--out", in("six")), "6 of 60 pairs")
	contains(t, must(t, "shad", "shuffle", "--fraction", "0.1", "--data", in("shards"), "--out", in("six")), "(done before)")
	contains(t, must(t, "shad", "tune", "--model", in("base"), "--data", in("six"), "--out", in("tuned"), "--device", "cpu", "--set", "data.tokens_per_step=128"),
		"tuned on 6 shuffled pairs", "shuffled pairs", "54 correct pairs, not shuffled", "next: palimpsest shad score")
	score := []string{"shad", "score", "--data", in("shards"), "--out", in("scores"), "--device", "cpu"}
	contains(t, must(t, append(score, "--model", in("base"))...), "mean loss", "--tuned")
	contains(t, must(t, append(score, "--tuned", in("tuned"), "--html", in("page.html"))...), "plane class", "difference of losses LD", "most frequent boilerplate", "page.html shows")
	contains(t, must(t, append(score, "--json")...), `"was_done":true`, `"boilerplate_tokens":`)
	refuses(t, 2, []string{"made otherwise", "--replace"}, append(score, "--set", "shad.threshold=0.001")...)

	all := []string{"shad", "run", "--model", in("base"), "--data", in("shards"), "--out", in("shad"), "--set", "shad.shuffle_fraction=0.2", "--set", "data.tokens_per_step=128", "--device", "cpu",
		"--epochs", "2", "--replace"}
	var result struct {
		Shuffle engine.Shuffled
		Tune    engine.Tuned
		Score   engine.Score
	}
	if err := json.Unmarshal([]byte(must(t, append(all, "--json")...)), &result); err != nil {
		t.Fatal(err)
	}
	if result.Shuffle.Written != 12 || result.Tune.CorrectPairs != 48 || result.Score.Boilerplate == 0 || result.Score.Reasoning == 0 {
		t.Errorf("%+v", result)
	}
	contains(t, must(t, all...), "(done before)", "next: palimpsest train --preset rft-cpu-tiny")
	refuses(t, 2, []string{"made from other inputs", "adapter.rank was", `is "2"`}, append(all, "--set", "adapter.rank=2")...)
	contains(t, must(t, "shad", "tune", "--model", in("base"), "--data", in("six"), "--out", in("adapted"), "--device", "cpu", "--set", "data.tokens_per_step=128", "--set", "adapter.rank=2"), "tuned on 6 shuffled pairs")
	contains(t, must(t, "data", "inspect", in("shards")), "boilerplate", "reasoning")
	rft := append([]string{"train", "--preset", "rft-cpu-tiny", "--data", in("shards"), "--set", "train.init=" + in("base"), "--steps", "10", "--set", "data.valid=0.2", "--set", "data.tokens_per_step=256",
		"--set", "eval.every=5"}, "--out", in("rft"))
	contains(t, must(t, append(rft, "--dry-run")...), "rft, boilerplate", "rft, reasoning", "response tokens")
	contains(t, must(t, rft...), "held out: loss")
	page, err := os.ReadFile(in("rft/report.html"))
	if err != nil || !strings.Contains(string(page), "Loss by class") {
		t.Errorf("the report has no losses by class, %v", err)
	}
	contains(t, must(t, "generate", "--model", in("rft"), "--device", "cpu", "--max-tokens", "3", "the quick fox"), "the quick fox")
}

func TestShadRefuses(t *testing.T) {
	_, tokenizer := corpus(t)
	dir := t.TempDir()
	in := func(name string) string { return filepath.Join(dir, name) }
	records := write(t, in("sums.jsonl"), sums(6))
	bad := write(t, in("bad.jsonl"), sums(2)+`{"question":"x"}`+"\n")
	for _, c := range []struct {
		code      int
		parts     []string
		arguments []string
	}{
		{2, []string{"missing --out"}, []string{"shuffle", records}},
		{2, []string{"--fraction", "shad.shuffle_fraction"}, []string{"shuffle", "--fraction", "0", "--out", in("o"), records}},
		{2, []string{"--fraction", "shad.shuffle_fraction"}, []string{"shuffle", "--fraction", "1.5", "--out", in("o"), records}},
		{2, []string{"--data or files"}, []string{"shuffle", "--data", in("x"), "--out", in("o"), records}},
		{2, []string{"has its own"}, []string{"shuffle", "--data", in("x"), "--tokenizer", tokenizer, "--out", in("o")}},
		{2, []string{"name the files"}, []string{"shuffle", "--out", in("o")}},
		{2, []string{"--template", "--tokenizer"}, []string{"shuffle", "--fields", "prompt=question,completion=answer", "--template", "{prompt} {completion}", "--out", in("o"), records}},
		{3, []string{"bad.jsonl:3", `no field "answer"`}, []string{"shuffle", "--fields", "prompt=question,completion=answer", "--out", in("o"), bad}},
		{2, []string{"missing --model, --out"}, []string{"tune", "--data", in("x")}},
		{2, []string{"--epochs"}, []string{"tune", "--model", in("m"), "--data", in("x"), "--out", in("o"), "--epochs", "0"}},
		{4, []string{"no such file"}, []string{"tune", "--model", in("m"), "--data", in("x"), "--out", in("o")}},
		{3, []string{"data set"}, []string{"score", "--data", in("x"), "--out", in("o")}},
		{2, []string{"shad.tau", "must be more than 0, got 0"}, []string{"run", "--model", in("m"), "--data", in("x"), "--out", in("o"), "--set", "shad.tau=0"}},
		{2, []string{"shad.alpha", "1.5"}, []string{"run", "--model", in("m"), "--data", in("x"), "--out", in("o"), "--set", "shad.alpha=1.5"}},
		{2, []string{"shad.ratio"}, []string{"run", "--model", in("m"), "--data", in("x"), "--out", in("o"), "--set", "shad.ratio=0"}},
		{2, []string{"shad.method", "did you mean rft?"}, []string{"run", "--model", in("m"), "--data", in("x"), "--out", in("o"), "--set", "shad.method=rtf"}},
	} {
		refuses(t, c.code, c.parts, append([]string{"shad"}, c.arguments...)...)
	}
	refuses(t, 2, []string{"loss.reweigh.rule", "shad.method"}, "train", "--preset", "rft-cpu-tiny", "--data", in("x"), "--out", in("o"), "--set", "loss.reweigh.rule=softmax")
}
