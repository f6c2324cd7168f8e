package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine/eval"
)

// A causal and a masked model on own pairs: both scores of each, the file of predictions, and what is refused.
func TestEvalBlimp(t *testing.T) {
	shards, masked := trained(t, "mlm-cpu-tiny")
	dir, run := t.TempDir(), filepath.Join(t.TempDir(), "run")
	phases := "phases=[{objective: clm, steps: 5}, {objective: mlm, steps: 10}, {objective: clm, steps: 5}]"
	must(t, append([]string{"train", "--preset", "antlm-cpu-tiny", "--data", shards, "--out", run, "--set", phases}, smallest...)...)
	empty := []string{"train", "--preset", "antlm-cpu-tiny", "--data", shards, "--dry-run", "--set", "phases=[]"}
	refuses(t, 2, []string{"phases=[]: there is none", "hint"}, empty...)
	contains(t, must(t, append(empty, "--set", "objective=clm")...), "clm, steps 0 to")
	write := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("blocks.jsonl", `{"sentence_good": "if err != nil {", "sentence_bad": "if err nil != {", "field": "go", "linguistics_term": "order", "UID": "blocks", "pairID": "0"}`+"\n"+
		`{"sentence_good": "for i := range n {", "sentence_bad": "range i := for n {", "field": "go", "linguistics_term": "order", "UID": "blocks", "pairID": "1"}`)
	write("names.jsonl", `{"sentence_good": "func main", "sentence_bad": "func main"}`)

	out := filepath.Join(t.TempDir(), "predictions.jsonl")
	var result struct {
		eval.PairSummary
		Kinds   []string `json:"kinds"`
		Label   string   `json:"label"`
		PerS    float64  `json:"pairs_per_second"`
		Trained []string `json:"trained"`
	}
	if err := json.Unmarshal([]byte(must(t, "eval", "blimp", "--model", run, "--data", dir, "--out", out, "--json")), &result); err != nil {
		t.Fatal(err)
	}
	if len(result.Sets) != 2 || result.Sets[0].Name != "blocks" || result.Sets[1].Name != "names" || result.Overall.Pairs != 3 || result.Overall.Alike != 1 ||
		len(result.Kinds) != 3 || result.Label != "same" || !(result.PerS > 0) || strings.Join(result.Trained, " ") != "clm mlm clm" {
		t.Errorf("%+v", result)
	}
	raw, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	type score struct {
		Good, Bad float64
		Right     bool
	}
	right := map[string]int{}
	for i, line := range lines {
		var p struct {
			UID    string
			Alike  bool
			Scores map[string]score
		}
		if err := json.Unmarshal([]byte(line), &p); err != nil {
			t.Fatal(err)
		}
		for kind, s := range p.Scores {
			if s.Right {
				right[kind]++
			}
			if s.Good >= 0 || s.Bad >= 0 || s.Right != (s.Good > s.Bad && !p.Alike) {
				t.Errorf("line %d, %s: %+v", i+1, kind, s)
			}
		}
		if sum := p.Scores["clm"].Good + p.Scores["mlm"].Good; math.Abs(sum-p.Scores["fused"].Good) > 1e-9 || p.Alike != (p.UID == "names") {
			t.Errorf("line %d: %+v", i+1, p)
		}
	}
	for _, kind := range result.Kinds {
		if len(lines) != 3 || result.Overall.Scores[kind].Right != right[kind] {
			t.Errorf("%s: %d right in %d lines, the summary says %+v", kind, right[kind], len(lines), result.Overall)
		}
	}
	if other := must(t, "eval", "blimp", "--model", masked, "--data", dir); !strings.Contains(other, "fused") || !strings.Contains(other, "trained for mlm:") {
		t.Errorf("of a masked model both scores are wanted too: %s", other)
	}
	text := must(t, "eval", "blimp", "--model", run, "--data", filepath.Join(dir, "blocks.jsonl"), "--score", "mlm", "--label", "next", "--normalize", "token")
	if !strings.Contains(text, "the place before them") || !strings.Contains(text, "pairs/s") || strings.Contains(text, "fused") {
		t.Error(text)
	}
	if all := must(t, "eval", "blimp", "--model", run, "--data", filepath.Join(dir, "blocks.jsonl"), "--score", "all"); !strings.Contains(all, "fused") || !strings.Contains(all, "prefix") {
		t.Error(all)
	}
	if text := must(t, "eval", "blimp", "--model", run, "--data", filepath.Join(dir, "blocks.jsonl"), "--score", "prefix"); !strings.Contains(text, "prefix") || strings.Contains(text, "clm  ") {
		t.Error(text)
	}
	predictions := filepath.Join(t.TempDir(), "masked.jsonl")
	must(t, "eval", "blimp", "--model", masked, "--data", dir, "--out", predictions)
	if text := must(t, "eval", "blimp", "--model", run, "--data", dir, "--against", predictions); strings.Count(text, "\nagainst "+predictions+" by ") != 3 {
		t.Error(text)
	}
	refuses(t, 3, []string{"absent.jsonl", "hint"}, "eval", "blimp", "--model", run, "--data", dir, "--against", filepath.Join(dir, "absent.jsonl"))
	long := strings.Repeat("err nil ", 200)
	refuses(t, 3, []string{"long.jsonl, line 1 (long, pair 1)", "tokens"}, "eval", "blimp", "--model", run, "--data", write("long.jsonl", `{"sentence_good": "`+long+`", "sentence_bad": "a"}`))
	refuses(t, 3, []string{"torn.jsonl, line 2", "unexpected end"}, "eval", "blimp", "--model", run, "--data", write("torn.jsonl", `{"sentence_good": "b", "sentence_bad": "a"}`+"\n{"))
	refuses(t, 3, []string{"nowhere", "hint"}, "eval", "blimp", "--model", run, "--data", filepath.Join(dir, "nowhere"))
	refuses(t, 2, []string{"--score"}, "eval", "blimp", "--model", run, "--data", dir, "--score", "mntp")
	refuses(t, 2, []string{"--label"}, "eval", "blimp", "--model", run, "--data", dir, "--label", "before")
	refuses(t, 2, []string{"--normalize"}, "eval", "blimp", "--model", run, "--data", dir, "--normalize", "word")
	refuses(t, 2, []string{"--tokens-per-step"}, "eval", "blimp", "--model", run, "--data", dir, "--tokens-per-step", "0")
	refuses(t, 2, []string{"--data"}, "eval", "blimp", "--model", run)
	refuses(t, 2, []string{"--out", "read as a set"}, "eval", "blimp", "--model", run, "--data", dir, "--out", filepath.Join(dir, "p.jsonl"))
	refuses(t, 6, []string{"no such file"}, "eval", "blimp", "--model", run, "--data", filepath.Join(dir, "blocks.jsonl"), "--out", filepath.Join(dir, "absent", "p.jsonl"))
}

// What the antlm presets would do: the phases, both kinds of documents in a mixed batch, the shares of their terms.
func TestDryRunOfAntLM(t *testing.T) {
	texts, tokenizer := corpus(t)
	shards := filepath.Join(t.TempDir(), "shards")
	must(t, "data", "build", "--tokenizer", tokenizer, "--unit", "paragraph", "--out", shards, texts)
	for preset, wants := range map[string][]string{
		"antlm-cpu-tiny":  {"clm, steps 0 to 400", "mlm, steps 400 to 2,000", "clm, steps 2,000 to 2,400", "causal attention", "of mlm, as at step 400", "mlm, as at step 400:\n", "bidirectional attention", "1 mlm", "not from the paper"},
		"antlm-cpu-small": {"antlm, steps 0 to 10,000", "term        clm", "term        mntp", "bidirectional attention", "1 mntp"},
		"antlm-gpu":       {"clm, steps 0 to", "mlm, steps", "causal attention"},
	} {
		text := must(t, "train", "--preset", preset, "--data", shards, "--device", "cpu", "--out", filepath.Join(t.TempDir(), "run"), "--dry-run")
		for _, want := range wants {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %q in\n%s", preset, want, text)
			}
		}
	}
}
