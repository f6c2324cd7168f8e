package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/kernels/philox"
)

// smallest are the options of a model that trains in a moment.
var smallest = []string{"--set", "model={preset: tiny, layers: 1, width: 32, heads: 2, kv_heads: 2, ff: 64, context: 32}", "--set", "data.tokens_per_step=256",
	"--set", "data.valid=0.2", "--set", "log.every=5", "--set", "eval.every=0", "--steps", "20"}

// trained builds a data set and trains a run on it.
func trained(t *testing.T, preset string) (shards, out string) {
	t.Helper()
	texts, tokenizer := corpus(t)
	shards = filepath.Join(t.TempDir(), "shards")
	must(t, "data", "build", "--tokenizer", tokenizer, "--unit", "paragraph", "--out", shards, texts)
	out = filepath.Join(t.TempDir(), "run")
	must(t, append([]string{"train", "--preset", preset, "--data", shards, "--out", out}, smallest...)...)
	return shards, out
}

func TestMaskedModel(t *testing.T) {
	shards, out := trained(t, "mlm-cpu-tiny")
	for _, name := range []string{"config.yaml", "log.jsonl", "report.html", "checkpoints/step-0000020/model.safetensors"} {
		if !exists(filepath.Join(out, name)) {
			t.Errorf("the run folder lacks %s", name)
		}
	}
	var loss struct {
		V        int     `json:"v"`
		Step     int64   `json:"step"`
		Loss     float64 `json:"loss"`
		Baseline float64 `json:"baseline_loss"`
		Rows     int64   `json:"rows"`
	}
	if err := json.Unmarshal([]byte(must(t, "eval", "loss", "--model", out, "--json")), &loss); err != nil {
		t.Fatal(err)
	}
	if loss.V != 1 || loss.Step != 20 || !(loss.Loss > 0) || loss.Rows == 0 || !(loss.Baseline > 0) {
		t.Errorf("%+v", loss)
	}
	must(t, "eval", "loss", "--model", out, "--data", shards)

	var view clozeView
	if err := json.Unmarshal([]byte(must(t, "fill-mask", "The [MASK] fox", "--model", out, "--top", "3", "--json")), &view); err != nil {
		t.Fatal(err)
	}
	if view.Text != "The [MASK] fox" || len(view.Masks) != 1 || len(view.Masks[0].Answers) != 3 || view.Masks[0].Answers[0].P < view.Masks[0].Answers[2].P {
		t.Errorf("%+v", view)
	}
	code, stdout, stderr := call("The quick <mask>\n\nthe lazy <mask> dog\n", "fill-mask", "--model", out, "--json")
	if code != 0 || strings.Count(stdout, "\n") != 2 {
		t.Errorf("exit code %d: %s%s", code, stdout, stderr)
	}
	if text := must(t, "fill-mask", "--model", out, "--held-out", "3"); !strings.Contains(text, "truth") || !strings.Contains(text, "masks have the truth as first answer") {
		t.Error(text)
	}
	input := write(t, filepath.Join(t.TempDir(), "lines.txt"), "The quick brown fox\n")
	a := must(t, "fill-mask", "--model", out, "--mask-random", "0.5", "--input", input)
	if b := must(t, "fill-mask", "--model", out, "--mask-random", "0.5", "--input", input); a != b || !strings.Contains(a, "truth") {
		t.Errorf("not the same twice: %s%s", a, b)
	}

	refuses(t, 3, []string{"nothing to fill", "--mask-random"}, "fill-mask", "--model", out, "no mask here")
	refuses(t, 3, []string{"tokens, and the model takes 32"}, "fill-mask", "--model", out, strings.Repeat("The fox <mask> ", 40))
	refuses(t, 3, []string{"no file", "absent.txt"}, "fill-mask", "--model", out, "--input", "absent.txt")
	refuses(t, 3, []string{"standard input has no line"}, "fill-mask", "--model", out)
	refuses(t, 2, []string{"not both"}, "fill-mask", "--model", out, "--input", input, "text <mask>")
	refuses(t, 2, []string{"mlm", "fill-mask"}, "generate", "--model", out, "text")
	refuses(t, 4, []string{"absent"}, "eval", "loss", "--model", filepath.Join(out, "absent"))
	refuses(t, 5, []string{"no such device", "hint: use --device cpu"}, "eval", "loss", "--model", out, "--device", "cuda")
	refuses(t, 5, []string{"no such device", "hint: use --device cpu"}, append([]string{"train", "--preset", "mlm-gpu", "--data", shards, "--out", out + "-gpu"}, smallest...)...)
	refuses(t, 2, []string{"optimizer.learning_rate"},
		append([]string{"train", "--preset", "mlm-cpu-tiny", "--data", shards, "--out", out, "--set", "optimizer.learning_rate=1e-5"}, smallest...)...)

	page := filepath.Join(t.TempDir(), "page.html")
	must(t, "report", "--out", page, out, out)
	if content, err := os.ReadFile(page); err != nil || !strings.Contains(string(content), "<svg") {
		t.Errorf("the page has no curve (%v)", err)
	}
	refuses(t, 3, []string{"no run folder"}, "report", filepath.Join(out, "absent"))
	refuses(t, 6, []string{"report"}, "report", out, "--out", filepath.Join(out, "absent", "page.html"))
}

func TestCausalModel(t *testing.T) {
	_, out := trained(t, "clm-cpu-tiny")
	a := must(t, "generate", "--model", out, "The quick", "--max-tokens", "8", "--seed", "7")
	if b := must(t, "generate", "--model", out, "--prompt", "The quick", "--max-tokens", "8", "--seed", "7"); a != b || !strings.HasPrefix(a, "The quick") {
		t.Errorf("not the same twice: %s%s", a, b)
	}
	if full := must(t, "generate", "--model", out, "The quick", "--max-tokens", "500", "--json", "--temperature", "0"); !strings.Contains(full, `"ending":"`) {
		t.Error(full)
	}
	refuses(t, 3, []string{"shorter prompt"}, "generate", "--model", out, strings.Repeat("The quick ", 40))
	refuses(t, 2, []string{"clm", "generate"}, "fill-mask", "--model", out, "The <mask>")
}

func TestTrainLeavesAndGoesOn(t *testing.T) {
	texts, tokenizer := corpus(t)
	shards, out := filepath.Join(t.TempDir(), "shards"), filepath.Join(t.TempDir(), "run")
	must(t, "data", "build", "--tokenizer", tokenizer, "--unit", "paragraph", "--out", shards, texts)
	train := append([]string{"train", "--preset", "mlm-cpu-tiny", "--data", shards, "--out", out}, smallest...)

	var preview struct {
		Parameters int64 `json:"parameters"`
		Batch      struct {
			Examples []any `json:"examples"`
		} `json:"batch"`
	}
	if err := json.Unmarshal([]byte(must(t, append(train, "--dry-run", "--json")...)), &preview); err != nil {
		t.Fatal(err)
	}
	if preview.Parameters == 0 || len(preview.Batch.Examples) == 0 {
		t.Errorf("%+v", preview)
	}
	if text := must(t, append(train, "--dry-run")...); !strings.Contains(text, "objective: mlm") || !strings.Contains(text, "is asked for") {
		t.Error(text)
	}
	if exists(out) {
		t.Error("a dry run wrote something")
	}
	refuses(t, 75, []string{"stop_after", "step 10"}, append(train, "--set", "stop_after=10")...)
	var result struct {
		Steps int64 `json:"steps"`
	}
	code, stdout, stderr := call("", append(train, "--json")...)
	if err := json.Unmarshal([]byte(stdout), &result); err != nil || code != 0 || result.Steps != 20 {
		t.Errorf("exit code %d, %+v, %v: %s", code, result, err, stderr)
	}
	if !strings.Contains(stderr, "resuming from") {
		t.Errorf("nothing is said about resuming: %s", stderr)
	}
	refuses(t, 3, []string{"absent"}, "train", "--preset", "mlm-cpu-tiny", "--data", filepath.Join(out, "absent"), "--out", out)
	refuses(t, 4, []string{"absent"}, append(train, "--resume", filepath.Join(out, "absent"))...)
}

func TestMaskWords(t *testing.T) {
	_, tokenizer := corpus(t)
	loaded := loadTokenizer(t, tokenizer)
	draw := philox.New(1, philox.StreamTest, 0, 0)
	line := "The quick brown fox, jumps over."
	ids := loaded.Encode(nil, []byte(line))
	z := maskWords(loaded, ids, 0, len(ids), 1, &draw)
	if got := strings.Join(z.truth, ""); got != "The quick brown fox jumps over" {
		t.Errorf("all words masked, the truth is %q", got)
	}
	z = maskWords(loaded, ids, 0, len(ids), 0, &draw)
	if len(z.truth) == 0 || strings.Contains(line, "<mask>") || !strings.Contains(z.shown, "<mask>") {
		t.Errorf("one word is always masked: %+v", z)
	}
	z = writtenMasks(loaded, "The [MASK] fox <mask>")
	masks := 0
	for _, id := range z.ids {
		if id == loaded.Mask {
			masks++
		}
	}
	if masks != 2 || string(loaded.Decode(z.ids)) != "The<mask> fox<mask>" {
		t.Errorf("%d masks in %q", masks, loaded.Decode(z.ids))
	}
}

func TestTellingLine(t *testing.T) {
	_, tokenizer := corpus(t)
	loaded := loadTokenizer(t, tokenizer)
	document := "short\n\n  über den the quick brown fox jumps\nshort\n" + strings.Repeat("the lazy dog jumps over the fox\n", 30)
	for _, context := range []int{30, 64, 100000} {
		ids, from, to := tellingLine(loaded, []byte(document), context)
		if len(ids) > context {
			t.Errorf("%d tokens, at most %d", len(ids), context)
		}
		if got := strings.TrimSpace(string(loaded.Decode(ids[from:to]))); got != "the lazy dog jumps over the fox" {
			t.Errorf("the line is %q", got)
		}
	}
	if _, from, to := tellingLine(loaded, []byte("too short\n"), 64); from != to {
		t.Error("a line of two words was taken")
	}
	ids, from, to := tellingLine(loaded, []byte("x\n  über den the quick brown fox jumps\nshort\n"), 64)
	if got := string(loaded.Decode(ids[from:to])); strings.TrimSpace(got) != "über den the quick brown fox jumps" {
		t.Errorf("the line is %q", got)
	}
}

// What exlm trained is read with its states: masks and targets on the path, rows of every state, pairs by what states say together.
func TestExpandedModel(t *testing.T) {
	texts, tokenizer := corpus(t)
	shards := filepath.Join(t.TempDir(), "shards")
	must(t, "data", "build", "--tokenizer", tokenizer, "--unit", "paragraph", "--out", shards, texts)
	out := filepath.Join(t.TempDir(), "run")
	must(t, append(append([]string{"train", "--preset", "exlm-cpu-tiny", "--data", shards, "--out", out}, smallest...),
		"--set", "model={preset: exlm-tiny, layers: 1, width: 32, heads: 2, kv_heads: 2, ff: 64}", "--set", "data.length=24", "--set", "phases=[{objective: exlm, steps: 20}]")...)

	var aligned alignView
	if err := json.Unmarshal([]byte(must(t, "exlm", "align", "--model", out, "--mask-random", "0.3", "--json", "The quick brown fox")), &aligned); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(aligned.Text, "<mask>"); n == 0 || len(aligned.Path) != n+2 || aligned.LogP == nil || *aligned.BestLogP > *aligned.LogP || aligned.Path[0].State != 1 {
		t.Errorf("%+v", aligned)
	}
	if page := must(t, "exlm", "align", "--model", out, "--held-out", "2"); !strings.Contains(page, "log P") || !strings.Contains(page, "4/4") {
		t.Error(page)
	}
	file := filepath.Join(t.TempDir(), "rows.safetensors")
	if page := must(t, "eval", "logits", "--model", out, "--out", file, "5,6"); strings.Contains(page, "note") {
		t.Error(page)
	}
	if page := must(t, "eval", "logits", "--model", out, "--single", "--out", file, "5,6"); !strings.Contains(page, "note: exlm trained this model with 4 states") {
		t.Error(page)
	}
	pairs := filepath.Join(t.TempDir(), "pairs.jsonl")
	if err := os.WriteFile(pairs, []byte(`{"sentence_good": "The quick fox", "sentence_bad": "The fox quick"}`), 0o644); err != nil {
		t.Fatal(err)
	}
	if page := must(t, "eval", "blimp", "--model", out, "--data", pairs, "--score", "mlm"); strings.Contains(page, "note: exlm") {
		t.Error(page)
	}
	plain := filepath.Join(t.TempDir(), "plain")
	must(t, append([]string{"train", "--preset", "mlm-cpu-tiny", "--data", shards, "--out", plain}, smallest...)...)
	refuses(t, 2, []string{"was not trained by exlm"}, "exlm", "align", "--model", plain, "text")
	refuses(t, 2, []string{"--mask-random: want a share"}, "exlm", "align", "--model", out, "--mask-random", "2", "text")
	refuses(t, 2, []string{"not both"}, "exlm", "align", "--model", out, "--held-out", "1", "text")
	refuses(t, 3, []string{"has no word to mask"}, "exlm", "align", "--model", out, " ")
}
