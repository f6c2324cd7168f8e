package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const pairLines = `{"question":"What is 1?","answer":"It is one."}
{"question":"What is 2?","answer":"It is two."}
`

const tagged = `-DOCSTART- O

The B-PER
quick I-PER
fox O
jumps O
over O
lazy B-ORG

The O
dog I-PER
`

// built runs data build with a tokenizer of texts and returns its folder and result.
func built(t *testing.T, tokenizer string, arguments ...string) (string, buildResult) {
	t.Helper()
	out := filepath.Join(t.TempDir(), "out")
	var r buildResult
	all := append([]string{"data", "build", "--json", "--tokenizer", tokenizer, "--out", out}, arguments...)
	if err := json.Unmarshal([]byte(must(t, all...)), &r); err != nil {
		t.Fatal(err)
	}
	return out, r
}

// contains fails the test for every part that text lacks.
func contains(t *testing.T, text string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(text, part) {
			t.Errorf("%q is missing in: %s", part, text)
		}
	}
}

func TestDataBuildRecords(t *testing.T) {
	_, tokenizer := corpus(t)
	dir := t.TempDir()
	pairs := write(t, filepath.Join(dir, "pairs.jsonl"), pairLines)
	fields := "prompt=question,completion=answer"

	out, r := built(t, tokenizer, "--fields", fields, pairs)
	if !slices.Equal(r.Planes, []string{"loss"}) || r.Reading.Answers != 2 || r.Learned == 0 || r.Learned >= r.Tokens || r.Documents != 2 {
		t.Errorf("%+v", r)
	}
	contains(t, must(t, "data", "inspect", out), "answers of records of the shape pair", `["<s>What is 1?\n"]`, `learned "It is one.</s>"`)

	out, r = built(t, tokenizer, "--fields", fields, "--planes", "none", "--template", `Q: {prompt}\nA: {completion}`, pairs)
	if len(r.Planes) != 0 {
		t.Errorf("planes %v", r.Planes)
	}
	contains(t, must(t, "data", "inspect", out), `"<s>Q: What is 1?\nA: It is one.</s>"`)

	chats := write(t, filepath.Join(dir, "chats.jsonl"),
		`{"messages":[{"role":"user","content":"hello"},{"role":"bot","content":"fox"}]}`+"\n")
	out, _ = built(t, tokenizer, "--shape", "messages", "--template", "chatml", "--assistant", "bot", chats)
	contains(t, must(t, "data", "inspect", out, "--tokens", "0"), `learned "fox<|im_end|>`)

	spans := write(t, filepath.Join(dir, "spans.jsonl"),
		`{"text":"the fox saw a dog","spans":[{"start":4,"end":7,"label":"ANIMAL"},{"start":14,"end":17,"label":"DOG"}]}`+"\n")
	out, r = built(t, tokenizer, "--shape", "spans", "--entity-types", "DOG,ANIMAL", spans)
	contains(t, must(t, "data", "build", "--tokenizer", tokenizer, "--out", filepath.Join(dir, "again"), "--shape", "spans", spans), "--preset mslm-cpu-tiny", "kind: detector, classes: 5}]'")
	if !slices.Equal(r.EntityTypes, []string{"DOG", "ANIMAL"}) || r.Reading.Entities != 2 || r.Tagged == 0 {
		t.Errorf("%+v", r)
	}
	contains(t, must(t, "data", "inspect", out), `BIO 1: "DOG" "ANIMAL"`, "ANIMAL", `DOG`)

	stdin := filepath.Join(t.TempDir(), "stdin")
	code, stdout, stderr := call(pairLines, "data", "build", "--tokenizer", tokenizer, "--out", stdin, "--format", "jsonl", "--fields", fields, "-")
	if code != 0 {
		t.Fatal(stderr)
	}
	contains(t, stdout, "2 documents", "spans: 2 answers", "plane loss: ")

	for _, x := range []struct {
		code  int
		parts []string
		flags []string
	}{
		{2, []string{"--fields", "ROLE=FIELD"}, []string{"--fields", "prompt", pairs}},
		{2, []string{"no shape of records"}, []string{"--fields", "prompt=a,colour=b", pairs}},
		{2, []string{`shape "list"`, "alpaca"}, []string{"--shape", "list", pairs}},
		{2, []string{"{completion}"}, []string{"--shape", "pair", "--template", "{prompt}", pairs}},
		{2, []string{"assistant", "messages"}, []string{"--assistant", "bot", pairs}},
		{2, []string{"plane bio", "hint", "--shape spans"}, []string{"--fields", fields, "--planes", "bio", pairs}},
		{2, []string{`--planes "class"`, "loss, bio, label"}, []string{"--fields", fields, "--planes", "class", pairs}},
		{2, []string{"--planes"}, []string{"--fields", fields, "--planes", "loss,loss", pairs}},
		{2, []string{"--first-subword", "bio"}, []string{"--fields", fields, "--first-subword", pairs}},
		{2, []string{"--workers"}, []string{"--workers", "0", pairs}},
		{2, []string{"--shard-tokens"}, []string{"--shard-tokens", "0", pairs}},
		{2, []string{"--max-ratio"}, []string{"--max-ratio", "0", pairs}},
		{2, []string{"least bytes", "-1"}, []string{"--min-bytes", "-1", pairs}},
		{2, []string{"name the files", "standard input"}, nil},
		{3, []string{"pairs.jsonl:1", "prompt"}, []string{"--shape", "pair", pairs}},
		{3, []string{"spans.jsonl:1", "ANIMAL"}, []string{"--shape", "spans", "--entity-types", "DOG", spans}},
	} {
		refuses(t, x.code, x.parts, append([]string{"data", "build", "--tokenizer", tokenizer, "--out", filepath.Join(dir, "never")}, x.flags...)...)
		if exists(filepath.Join(dir, "never", "UNFINISHED")) {
			t.Errorf("%v left an unfinished data set", x.flags)
		}
	}
}

func TestDataBuildTables(t *testing.T) {
	_, tokenizer := corpus(t)
	dir := t.TempDir()
	table := write(t, filepath.Join(dir, "t.csv"), "question,answer\n\"one, two\",three\nfour,five\n")
	out, r := built(t, tokenizer, "--fields", "prompt=question,completion=answer", table)
	if r.Documents != 2 || !slices.Equal(r.Planes, []string{"loss"}) {
		t.Errorf("%+v", r)
	}
	contains(t, must(t, "data", "inspect", out), `<s>one, two\nthree</s>`)
	out, r = built(t, tokenizer, "--no-header", "--field", "2", "--quotes", "none", write(t, filepath.Join(dir, "u.tsv"), "1\tsay \"fox\n2\tdog\n"))
	if r.Documents != 2 {
		t.Errorf("%+v", r)
	}
	contains(t, must(t, "data", "inspect", out), `<s>say \"fox</s>`)
	refuses(t, 3, []string{"t.csv:1", `no column "text"`}, "data", "build", "--tokenizer", tokenizer, "--out", filepath.Join(dir, "o"), table)
	refuses(t, 2, []string{"quotes", "csv, none"}, "data", "build", "--tokenizer", tokenizer, "--out", filepath.Join(dir, "o"), "--quotes", "some", table)
}

func TestDataBuildCoNLL(t *testing.T) {
	_, tokenizer := corpus(t)
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "a.conll"), tagged)
	build := func(flags ...string) []string {
		return append([]string{"data", "build", "--tokenizer", tokenizer, "--out", filepath.Join(dir, "o")}, append(flags, file)...)
	}
	refuses(t, 3, []string{"a.conll:11", "iob2", "hint"}, build("--scheme", "iob2")...)
	refuses(t, 2, []string{"scheme", "bilou"}, build("--scheme", "bio")...)
	refuses(t, 2, []string{"column 1"}, build("--tag-column", "1")...)
	refuses(t, 2, []string{"--token-column"}, build("--token-column", "0")...)
	refuses(t, 3, []string{"a.conll:8", "ORG"}, build("--scheme", "iob2", "--entity-types", "PER")...)
	refuses(t, 2, []string{"given twice"}, build("--entity-types", "PER,PER")...)
	text := must(t, build("--scheme", "iob2", "--repair-tags", "--tag-column", "2", "--token-column", "1")...)
	contains(t, text, "2 documents", "3 entities", "entities of 2 types: PER, ORG", "1 CoNLL file(s) read as iob2", "-DOCSTART-",
		"1 sentences kept with 1 tags repaired", "a.conll:11")
	out := filepath.Join(dir, "o")
	contains(t, must(t, "data", "inspect", out), `bio  PER`, `quick`, `BIO 1: "PER" "ORG"; all tokens`)
	contains(t, must(t, "data", "verify", out), "3 files")

	first, r := built(t, tokenizer, "--scheme", "iob2", "--repair-tags", "--first-subword", file)
	if r.Reading.Repairs != 1 || r.Reading.Schemes["iob2"] != 1 {
		t.Errorf("%+v", r)
	}
	contains(t, must(t, "data", "inspect", first), "first token of a word")

	// One flipped bit in a plane.
	name := filepath.Join(out, "00000.bio.zst")
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/2] ^= 1
	write(t, name, string(content))
	refuses(t, 3, []string{"00000.bio.zst"}, "data", "verify", out)
}

func TestDataBuildFilters(t *testing.T) {
	_, tokenizer := corpus(t)
	dir := t.TempDir()
	lines := write(t, filepath.Join(dir, "lines.txt"), "the quick fox\nthe quick fox\nno\nää\nthe lazy dog jumps over the quick brown fox\n")
	out := filepath.Join(dir, "o")
	text := must(t, "data", "build", "--tokenizer", tokenizer, "--out", out, "--unit", "line", "--distinct", "--min-chars", "3", "--max-bytes", "20", lines)
	contains(t, text, "1 documents,", "1 documents dropped whose text came before", "lines.txt:2", "2 documents dropped, too short", "2 code points, the least is 3",
		"1 documents dropped, too long", "lines.txt:5", "the most is 20")
	_, r := built(t, tokenizer, "--unit", "line", "--min-bytes", "3", "--max-chars", "30", lines)
	if r.Documents != 3 || r.Reading.TooShort != 1 || r.Reading.TooLong != 1 || r.Reading.Duplicates != 0 {
		t.Errorf("%+v", r)
	}
	refuses(t, 3, []string{"no documents", "5 filtered"}, "data", "build", "--tokenizer", tokenizer, "--out", out+"2", "--unit", "line", "--min-bytes", "99", lines)
	refuses(t, 3, []string{"limit"}, "data", "build", "--tokenizer", tokenizer, "--out", out+"2", "--max-document", "10", lines)
	if exists(filepath.Join(out+"2", "UNFINISHED")) {
		t.Error("a failed build left something")
	}
}

func TestTokenizerTrainReadsRecords(t *testing.T) {
	dir := t.TempDir()
	chats := write(t, filepath.Join(dir, "chats.jsonl"), strings.Repeat(`{"messages":[{"role":"user","content":"hello fox"},{"role":"assistant","content":"the quick fox"}]}`+"\n", 3))
	file := filepath.Join(dir, "t.json")
	text := must(t, "tokenizer", "train", "--vocab", "280", "--out", file, "--shape", "messages", "--template", "chatml",
		"--special", "<|im_start|>", "--special", "<|im_end|>", "--distinct", chats)
	contains(t, text, "2 documents dropped whose text came before")
	contains(t, must(t, "tokenizer", "inspect", file), "<|im_start|>", "<|im_end|>", "<mask>")
	out, _ := built(t, file, "--shape", "messages", "--template", "chatml", chats)
	contains(t, must(t, "data", "inspect", out), `learned "the quick fox<|im_end|>`)
	refuses(t, 2, []string{"special"}, "tokenizer", "train", "--out", filepath.Join(dir, "u.json"), "--special", "<s>", chats)
}
