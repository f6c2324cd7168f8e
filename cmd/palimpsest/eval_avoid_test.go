package main

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// From a model's own outputs to a data set, a model that avoids, and what that changed.
func TestAvoid(t *testing.T) {
	shards, base := trained(t, "clm-cpu-tiny")
	dir := t.TempDir()
	tokenizer := filepath.Join(shards, tokenizerFile)
	own := filepath.Join(dir, "own.jsonl")
	generate := []string{"generate", "--model", base, "--prompt", "", "--prompt", "func é", "--samples", "6", "--temperature", "1.5", "--max-tokens", "24", "--annotate", own}
	var r outputsResult
	if err := json.Unmarshal([]byte(must(t, append(generate, "--regexp", "[a-m]+", "--json")...)), &r); err != nil {
		t.Fatal(err)
	}
	if r.Texts+r.Empty != 12 || r.Marked == 0 || r.Unwanted == 0 || r.Unwanted >= r.Tokens || r.Prompts != 2 {
		t.Errorf("%+v", r)
	}
	content, err := os.ReadFile(own)
	if err != nil || strings.Count(string(content), "\n") != r.Texts {
		t.Errorf("%v: %s", err, content)
	}
	// The plane that a build makes of the spans, the model's tokens kept, has the unwanted tokens that were counted.
	negatives, b := built(t, tokenizer, "--shape", "generation", own)
	if b.Unwanted != r.Unwanted || b.Documents != int64(r.Texts) {
		t.Errorf("%d unwanted tokens in %d documents, generate says %+v", b.Unwanted, b.Documents, r)
	}
	again, b := built(t, tokenizer, "--shape", "generation", "--patterns", write(t, filepath.Join(dir, "p.txt"), "[a-m]+\n"), own)
	first, err1 := os.ReadFile(filepath.Join(negatives, "00000.sign.zst"))
	second, err2 := os.ReadFile(filepath.Join(again, "00000.sign.zst"))
	if err1 != nil || err2 != nil || string(first) != string(second) {
		t.Errorf("spans and patterns give other planes (%d unwanted): %v %v", b.Unwanted, err1, err2)
	}
	refuses(t, 2, []string{"exists already", "--force"}, append(generate, "--regexp", "a")...)
	refuses(t, 2, []string{"--regexp", "hint"}, append(generate, "--force", "--regexp", "(")...)
	refuses(t, 2, []string{"--words is about --annotate"}, "generate", "--model", base, "--words", "w.txt", "text")
	refuses(t, 2, []string{"--samples", "temperature 0"}, "generate", "--model", base, "--samples", "2", "--temperature", "0", "text")
	contains(t, must(t, append(generate, "--force")...), "nobody looked", "hint")
	refuses(t, 3, []string{"own.jsonl:1", "neither a correction nor spans"}, "data", "build", "--tokenizer", tokenizer, "--out", filepath.Join(dir, "never"), "--shape", "generation", own)

	// A model against itself, and one that was trained to avoid.
	avoiding := filepath.Join(dir, "avoiding")
	must(t, "train", "--preset", "tnt-cpu-tiny", "--data", negatives, "--set", "train.init="+base, "--set", "tnt.alpha=100", "--set", "optimizer.learning_rate=3e-3", "--set", "data.tokens_per_step=256",
		"--set", "data.length=32", "--steps", "30", "--set", "eval.every=0", "--set", "data.valid=0.2", "--out", avoiding)
	out, picture := filepath.Join(dir, "texts.jsonl"), filepath.Join(dir, "curve.png")
	measure := []string{"eval", "avoid", "--reference", base, "--model", base, "--model", avoiding, "--input", write(t, filepath.Join(dir, "prompts.txt"), "func \nif err\n"),
		"--samples", "5", "--temperature", "1.5", "--max-tokens", "20"}
	var a avoidResult
	raw := must(t, append(measure, "--regexp", "[a-m]+", "--data", negatives, "--clean", shards, "--tokens", "3000", "--out", out, "--png", picture, "--json")...)
	if err := json.Unmarshal([]byte(raw), &a); err != nil {
		t.Fatal(err)
	}
	same, avoids := a.Models[0], a.Models[1]
	if *same.After != *a.Before || *same.Reduced != 0 || same.All.BLEU != 1 || same.All.Identical != 1 || same.Signed.KL != 0 || same.Plain.KL != 0 || same.Plain.OldNLL != same.Plain.NewNLL ||
		same.Signed.OldMass != same.Signed.NewMass || a.Before.Texts != 10 || a.Before.Marked == 0 {
		t.Errorf("a model and itself: %s", raw)
	}
	if avoids.PerTok == nil || !(avoids.Signed.NewMass.LogMean < avoids.Signed.OldMass.LogMean-0.1) || !(avoids.Signed.KL > 0) || !(avoids.Plain.KL > 0) || avoids.All.Identical == 1 ||
		avoids.Series != "TNFF" || avoids.Label != "alpha 100" || same.Series != "clm" || math.IsNaN(avoids.After.NLL) || avoids.Clean.Texts+a.Before.Marked != 10 {
		t.Errorf("the trained model: %s", raw)
	}
	if !exists(picture) {
		t.Error("no picture")
	}
	// The texts it wrote are what another detector can mark: the same answers come back by its file.
	marked, err := os.ReadFile(out)
	if err != nil || strings.Count(string(marked), "\n") != 30 {
		t.Fatalf("%v: %s", err, marked)
	}
	var d avoidResult
	if err := json.Unmarshal([]byte(must(t, append(measure, "--detector", out, "--json")...)), &d); err != nil {
		t.Fatal(err)
	}
	if d.Before.Unwanted != a.Before.Unwanted || *d.Models[1].Reduced != *avoids.Reduced || d.Models[1].Signed != nil {
		t.Errorf("%+v, by the detector's file %+v", a, d)
	}
	text := must(t, "eval", "avoid", "--reference", base, "--model", avoiding, "--data", negatives, "--max-tokens", "8")
	contains(t, text, "old model", "TNFF alpha 100", "log mean p", "KL kept", "BLEU", "note: nothing says what is unwanted")
	contains(t, must(t, "eval", "avoid", "--reference", base, "--model", avoiding, "--clean", shards, "--tokens", "500"), "on clean text", "NLL")
	// Points that would be called alike have their folders' names.
	contains(t, must(t, "eval", "avoid", "--reference", base, "--model", avoiding, "--model", avoiding, "--clean", shards, "--tokens", "500"), "TNFF alpha 100 avoiding")
	// Models of other contexts write other texts.
	wide := filepath.Join(dir, "wide")
	must(t, append(append([]string{"train", "--preset", "clm-cpu-tiny", "--data", shards, "--out", wide}, smallest...), "--set", "model.context=48", "--steps", "1")...)
	refuses(t, 2, []string{"sees 48 tokens, the old model 32"}, "eval", "avoid", "--reference", base, "--model", wide, "--prompt", "func")
	// Texts that fill the model's context.
	contains(t, must(t, "eval", "avoid", "--reference", base, "--model", avoiding, "--prompt", "func", "--samples", "3", "--temperature", "1.5", "--max-tokens", "1000"), "NLL by old")

	refuses(t, 2, []string{"missing --reference"}, "eval", "avoid", "--model", base)
	refuses(t, 2, []string{"nothing to measure on"}, "eval", "avoid", "--reference", base, "--model", base)
	refuses(t, 3, []string{"--data", "plane sign", "data annotate"}, "eval", "avoid", "--reference", base, "--model", base, "--data", shards)
	refuses(t, 3, []string{"texts have some", "hint"}, append(measure, "--seed", "7", "--detector", out)...)
	refuses(t, 2, []string{"--tokens"}, append(measure, "--tokens", "-1")...)
	refuses(t, 2, []string{"missing --model"}, "eval", "avoid", "--reference", base, "--prompt", "func")
	refuses(t, 2, []string{"--png", "--words"}, append(measure, "--png", picture)...)
	never := filepath.Join(dir, "never.png")
	if contains(t, must(t, append(measure, "--regexp", "qqqqqq", "--png", never)...), "old model", "no reduction to draw in "+never); exists(never) {
		t.Error("a picture of nothing")
	}
	// A last model that cannot be opened shows before anything is written.
	late := filepath.Join(dir, "late.jsonl")
	if refuses(t, 4, []string{"absent"}, append(measure, "--model", filepath.Join(dir, "absent"), "--out", late)...); exists(late) {
		t.Error("texts were written")
	}
	refuses(t, 6, []string{"there is no folder", "mkdir -p"}, append(measure, "--out", filepath.Join(dir, "absent", "o.jsonl"))...)
	_, masked := trained(t, "mlm-cpu-tiny")
	refuses(t, 2, []string{"continues no text"}, "eval", "avoid", "--reference", masked, "--model", base, "--clean", shards)
	refuses(t, 2, []string{"continues no text"}, "eval", "avoid", "--reference", base, "--model", masked, "--clean", shards)
	other := filepath.Join(dir, "other.json")
	must(t, "tokenizer", "train", "--vocab", "270", "--out", other, write(t, filepath.Join(dir, "more.txt"), strings.Repeat("another text\n\nfunc main\n\n", 60)))
	foreignData, _ := built(t, other, "--unit", "paragraph", filepath.Join(dir, "more.txt"))
	foreign := filepath.Join(dir, "foreign")
	must(t, append([]string{"train", "--preset", "clm-cpu-tiny", "--data", foreignData, "--out", foreign}, smallest...)...)
	refuses(t, 3, []string{"was trained with tokenizer", "foreign"}, "eval", "avoid", "--reference", base, "--model", foreign, "--clean", shards)
}
