package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"palimpsest/engine/text"
)

// corpus writes some text files and a tokenizer trained on them.
func corpus(t *testing.T) (texts, tokenizer string) {
	t.Helper()
	dir := t.TempDir()
	texts = filepath.Join(dir, "texts")
	for i := range 20 {
		write(t, filepath.Join(texts, fmt.Sprintf("%02d.txt", i)), strings.Repeat(fmt.Sprintf("The quick brown fox number %d jumps over the lazy dog.\n\n", i), 5))
	}
	tokenizer = filepath.Join(dir, "tokenizer.json")
	must(t, "tokenizer", "train", "--vocab", "300", "--out", tokenizer, texts)
	return texts, tokenizer
}

func loadTokenizer(t *testing.T, file string) *text.Tokenizer {
	t.Helper()
	loaded, err := text.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	return loaded
}

func TestTokenizerVerbs(t *testing.T) {
	texts, tokenizer := corpus(t)
	refuses(t, 2, []string{"exists already", "--force"}, "tokenizer", "train", "--vocab", "300", "--out", tokenizer, texts)
	must(t, "tokenizer", "train", "--vocab", "310", "--out", tokenizer, texts, "--force")

	var view tokenizerView
	if err := json.Unmarshal([]byte(must(t, "tokenizer", "inspect", tokenizer, "--text", "The <mask> fox", "--json")), &view); err != nil {
		t.Fatal(err)
	}
	if view.Vocab != 310 || len(view.Specials) != 4 || len(view.Longest) != 12 || view.Hash == "" {
		t.Errorf("%+v", view)
	}
	mask := false
	for _, token := range view.Text {
		mask = mask || token.ID == view.Mask && *token.Start == 4 && *token.End == 10
	}
	if !mask {
		t.Errorf("the mask is not at 4-10: %+v", view.Text)
	}
	if text := must(t, "tokenizer", "inspect", tokenizer, "--text", "fox"); !strings.Contains(text, "310 ids") || !strings.Contains(text, "(mask)") {
		t.Error(text)
	}

	dir := t.TempDir()
	refuses(t, 3, []string{"nothing.txt"}, "tokenizer", "train", "--out", filepath.Join(dir, "t.json"), filepath.Join(dir, "nothing.txt"))
	refuses(t, 2, []string{"vocab"}, "tokenizer", "train", "--vocab", "7", "--out", filepath.Join(dir, "t.json"), texts)
	refuses(t, 2, []string{"unit"}, "tokenizer", "train", "--unit", "page", "--out", filepath.Join(dir, "t.json"), texts)
	refuses(t, 3, []string{"broken.json"}, "tokenizer", "inspect", write(t, filepath.Join(dir, "broken.json"), `{"model":`))
	refuses(t, 3, []string{"absent.json"}, "tokenizer", "inspect", filepath.Join(dir, "absent.json"))
	refuses(t, 6, []string{"hint"}, "tokenizer", "train", "--out", filepath.Join(write(t, filepath.Join(dir, "file"), "x"), "t.json"), texts)
}

func TestDataVerbs(t *testing.T) {
	texts, tokenizer := corpus(t)
	dir := t.TempDir()
	out := filepath.Join(dir, "shards")
	var built buildResult
	if err := json.Unmarshal([]byte(must(t, "data", "build", "--tokenizer", tokenizer, "--out", out, "--unit", "paragraph", texts, "--json")), &built); err != nil {
		t.Fatal(err)
	}
	if built.Documents != 100 || built.Tokens == 0 || built.Shards != 1 || built.BytesPerToken <= 0 || built.TooShort != 0 {
		t.Errorf("%+v", built)
	}
	must(t, "data", "verify", out)
	text := must(t, "data", "inspect", out, "--at", "99")
	if !strings.Contains(text, `<s>The quick brown fox number 19 jumps`) || !strings.Contains(text, `</s>"`) {
		t.Error(text)
	}

	refuses(t, 2, []string{"--force"}, "data", "build", "--tokenizer", tokenizer, "--out", out, texts)
	must(t, "data", "build", "--tokenizer", tokenizer, "--out", out, "--force", "--bos=false", "--eos=false", texts)
	text = must(t, "data", "inspect", out, "--tokens", "0")
	if !strings.Contains(text, "20 documents") || !strings.Contains(text, `text "The quick`) || strings.Contains(text, "</s>") {
		t.Error(text)
	}
	if left, _ := filepath.Glob(out + ".*"); len(left) > 0 {
		t.Errorf("--force left %v", left)
	}
	refuses(t, 2, []string{"--at", "0 to 19"}, "data", "inspect", out, "--at", "20")
	refuses(t, 3, []string{"no folder"}, "data", "inspect", filepath.Join(dir, "nothing"))
	refuses(t, 3, []string{"index.json"}, "data", "verify", texts)
	refuses(t, 2, []string{"not empty"}, "data", "build", "--tokenizer", tokenizer, "--out", texts, texts)

	// A tokenizer that does not belong to the shards, or none.
	other := filepath.Join(dir, "other.json")
	must(t, "tokenizer", "train", "--vocab", "280", "--out", other, texts)
	own, err := os.ReadFile(filepath.Join(out, tokenizerFile))
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(other)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(out, tokenizerFile), string(content))
	refuses(t, 3, []string{"tokenizer.json"}, "data", "verify", out)
	os.Remove(filepath.Join(out, tokenizerFile))
	refuses(t, 3, []string{"tokenizer.json is missing"}, "data", "inspect", out)
	write(t, filepath.Join(out, tokenizerFile), string(own))

	// One flipped bit.
	name := filepath.Join(out, "00000.tok.zst")
	shard, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	shard[len(shard)/2] ^= 1
	write(t, name, string(shard))
	refuses(t, 3, []string{"00000.tok.zst"}, "data", "verify", out)
}

func TestDataBuildCountsWhatItDrops(t *testing.T) {
	_, tokenizer := corpus(t)
	dir := t.TempDir()
	records := write(t, filepath.Join(dir, "records.jsonl"),
		`{"body": "one two three four five"}`+"\n"+`{"body": 7}`+"\n"+`{"body": "x"}`+"\n"+`{"body": "  "}`+"\n")
	out := filepath.Join(dir, "out")
	refuses(t, 3, []string{"records.jsonl:2"}, "data", "build", "--tokenizer", tokenizer, "--out", out, "--field", "body", records)
	if left, _ := os.ReadDir(out); len(left) > 0 {
		t.Errorf("a failed build left %v", left)
	}
	text := must(t, "data", "build", "--tokenizer", tokenizer, "--out", out, "--field", "body", "--on-bad-record", "skip", "--min-tokens", "3", records)
	for _, part := range []string{"1 documents", "1 bad records skipped", "records.jsonl:2", "fewer than 3 tokens", "white space dropped"} {
		if !strings.Contains(text, part) {
			t.Errorf("the summary lacks %q: %s", part, text)
		}
	}
	refuses(t, 2, []string{"--min-tokens"}, "data", "build", "--tokenizer", tokenizer, "--out", out+"2", "--min-tokens", "0", records)
	refuses(t, 3, []string{"empty"}, "data", "build", "--tokenizer", tokenizer, "--out", out+"3", write(t, filepath.Join(dir, "empty.txt"), ""))
}

func TestDataBuildClearsAnUnfinishedOne(t *testing.T) {
	texts, tokenizer := corpus(t)
	out := filepath.Join(t.TempDir(), "out")
	write(t, filepath.Join(out, "UNFINISHED"), "")
	write(t, filepath.Join(out, "00000.tok.zst.tmp"), "remains")
	write(t, filepath.Join(out, tokenizerFile), "remains")
	must(t, "data", "build", "--tokenizer", tokenizer, "--out", out, texts)
	must(t, "data", "verify", out)
}

func TestDataBuildDoesNotDependOnCores(t *testing.T) {
	texts, tokenizer := corpus(t)
	hash := func() string {
		out := filepath.Join(t.TempDir(), "out")
		must(t, "data", "build", "--tokenizer", tokenizer, "--out", out, "--unit", "line", texts)
		content, err := os.ReadFile(filepath.Join(out, "00000.tok.zst"))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	before := runtime.GOMAXPROCS(4)
	defer runtime.GOMAXPROCS(before)
	several := hash()
	runtime.GOMAXPROCS(1)
	if hash() != several {
		t.Error("one encoder and four give different shards")
	}
}
