package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// Faults as a user meets them: what is typed, the exit code, the message, and what is on disk afterwards. The packages below
// have the exhaustive tests.

// forged writes a tokenizer with something changed.
func forged(t *testing.T, tokenizer string, edit func(root, model map[string]any)) string {
	t.Helper()
	content, err := os.ReadFile(tokenizer)
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := json.Unmarshal(content, &root); err != nil {
		t.Fatal(err)
	}
	edit(root, root["model"].(map[string]any))
	if content, err = json.Marshal(root); err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(t.TempDir(), "forged.json"), string(content))
}

// Tokenizers made to hang or to fill the memory are refused with file and place, and no data set is begun.
func TestHostileTokenizers(t *testing.T) {
	texts, tokenizer := corpus(t)
	huge := write(t, filepath.Join(t.TempDir(), "huge.json"), "{")
	if err := os.Truncate(huge, 2<<30); err != nil { // a hole: it takes no space
		t.Fatal(err)
	}
	for _, x := range []struct{ name, file, says string }{
		{"exponential pattern", forged(t, tokenizer, func(root, _ map[string]any) {
			root["pre_tokenizer"] = map[string]any{"type": "Split", "pattern": map[string]any{"Regex": "(a+)+$"}, "behavior": "Isolated"}
		}), "$.pre_tokenizer"},
		{"huge id", forged(t, tokenizer, func(_, model map[string]any) { model["vocab"].(map[string]any)["zz"] = 1 << 31 }), "2147483648"},
		{"merge with nothing", forged(t, tokenizer, func(_, model map[string]any) { model["merges"] = []any{[]any{"a", ""}} }), "$.model.merges[0]"},
		{"merges without results", forged(t, tokenizer, func(_, model map[string]any) { model["merges"] = []any{[]any{"a", "b"}, []any{"b", "a"}} }), "$.model.merges[0]"},
		{"2 GiB", huge, "huge.json: 2147483648 bytes"},
		{"deep", write(t, filepath.Join(t.TempDir(), "deep.json"), strings.Repeat(`{"a":`, 1<<20)), "deep.json"},
	} {
		out := filepath.Join(t.TempDir(), "out")
		refuses(t, 3, []string{"tokenizer " + x.file, x.says}, "data", "build", "--tokenizer", x.file, "--out", out, texts)
		if exists(out) {
			t.Errorf("%s: a data set was begun", x.name)
		}
	}
}

// A million times the same letter is a few tokens' work, in a text and in a record.
func TestOneLetterAMillionTimes(t *testing.T) {
	_, tokenizer := corpus(t)
	long := strings.Repeat("a", 1e6)
	for name, content := range map[string]string{"long.txt": long, "long.jsonl": `{"text":"` + long + `"}`} {
		out := filepath.Join(t.TempDir(), "out")
		var built struct {
			Documents int64 `json:"documents"`
			Tokens    int64 `json:"tokens"`
			TextBytes int64 `json:"text_bytes"`
		}
		result := must(t, "data", "build", "--tokenizer", tokenizer, "--out", out, write(t, filepath.Join(t.TempDir(), name), content), "--json")
		if err := json.Unmarshal([]byte(result), &built); err != nil || built.Documents != 1 || built.TextBytes != 1e6 || built.Tokens < 1e5 {
			t.Errorf("%s: %+v, %v", name, built, err)
		}
		must(t, "data", "verify", out)
	}
}

// Bad records end a build with file and line, or are counted; a data set that --force would have replaced stays.
func TestBadRecordsInABuild(t *testing.T) {
	texts, tokenizer := corpus(t)
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	must(t, "data", "build", "--tokenizer", tokenizer, "--out", out, texts)
	before, err := os.ReadFile(filepath.Join(out, "index.json"))
	if err != nil {
		t.Fatal(err)
	}
	build := func(more ...string) []string {
		return append([]string{"data", "build", "--tokenizer", tokenizer, "--out", out, "--force"}, more...)
	}
	good := `{"text":"the quick brown fox"}` + "\n"
	bad := []struct{ line, says string }{
		{"{\"text\":\"\xff\"}", "UTF-8"},
		{"{\"text\":\"a\x00b\"}", "control character"},
		{`{"text":"a","text":"b"}`, "twice"},
		{`{"body":"a"}`, `no field "text"`},
		{`{"text":5}`, "expected a string"},
		{`{"text":"` + strings.Repeat("x", 2000) + `"}`, "the limit is 1000"},
		{`{"text":"a"`, "end of the text"},
	}
	all := good
	for _, b := range bad {
		records := write(t, filepath.Join(dir, "bad.jsonl"), good+b.line+"\n"+good)
		refuses(t, 3, []string{"bad.jsonl:2: ", b.says}, build("--max-line", "1000", records)...)
		all += b.line + "\n"
	}
	if now, err := os.ReadFile(filepath.Join(out, "index.json")); err != nil || !bytes.Equal(now, before) {
		t.Errorf("the data set that was there has changed (%v)", err)
	}
	must(t, "data", "verify", out)

	// A byte order mark, and lines that end in carriage return and line feed, are no faults.
	records := write(t, filepath.Join(dir, "all.jsonl"), "\uFEFF"+strings.ReplaceAll(all+good, "\n", "\r\n"))
	text := must(t, build("--max-line", "1000", "--on-bad-record", "skip", records)...)
	for _, part := range []string{"2 documents", "7 bad records skipped", "all.jsonl:2: ", "all.jsonl:8: "} {
		if !strings.Contains(text, part) {
			t.Errorf("the summary lacks %q: %s", part, text)
		}
	}
	must(t, "data", "verify", out)
}

// CoNLL that does not follow its scheme: file and line, or repaired on request and counted.
func TestBadTagsInABuild(t *testing.T) {
	_, tokenizer := corpus(t)
	dir := t.TempDir()
	build := func(file string, more ...string) []string {
		return append([]string{"data", "build", "--tokenizer", tokenizer, "--out", filepath.Join(t.TempDir(), "out"), file}, more...)
	}
	for _, x := range []struct{ content, says string }{
		{"The O\nfox I-X\n", "I-X begins an entity"},
		{"The O\nfox Q-X\n", `"Q-X"`},
		{"The\tB-X\nquick brown\tO\nfox\n", "columns"},
	} {
		refuses(t, 3, []string{"bad.conll:", x.says}, build(write(t, filepath.Join(dir, "bad.conll"), x.content), "--scheme", "iob2")...)
	}
	refuses(t, 3, []string{"bad.conll:2: ", `"X"`}, build(write(t, filepath.Join(dir, "bad.conll"), "The O\nfox B-X\n"), "--entity-types", "PER,LOC")...)
	refuses(t, 3, []string{"no documents"}, build(write(t, filepath.Join(dir, "bad.conll"), "\n\n"))...)
	text := must(t, build(write(t, filepath.Join(dir, "bad.conll"), "The O\n\n\nfox I-X\n"), "--scheme", "iob2", "--repair-tags")...)
	for _, part := range []string{"2 documents", "1 sentences kept with 1 tags repaired", "bad.conll:"} {
		if !strings.Contains(text, part) {
			t.Errorf("the summary lacks %q: %s", part, text)
		}
	}
}

// Everything wrong with a run file comes out at once, with lines, before anything is opened.
func TestWrongRunFiles(t *testing.T) {
	out := filepath.Join(t.TempDir(), "run")
	file := write(t, filepath.Join(t.TempDir(), "run.yaml"), `objective: mlm
modle: {}
model:
  layers: many
optimizer:
  learning_rate: "1e-4"
  betas: [0.9, 1.5]
train:
  steps: -5
  accumulate: 0
data: {train: nowhere, valid: 2}
`)
	refuses(t, 2, []string{"run.yaml:2: modle: unknown key; did you mean model?", "run.yaml:4: model.layers", "run.yaml:6: optimizer.learning_rate",
		"drop the quotes", "run.yaml:7: optimizer.betas", "run.yaml:9: train.steps", "run.yaml:10: train.accumulate", "run.yaml:11: data.valid"},
		"train", "--config", file, "--out", out)
	write(t, file, "model: {preset: tiny, width: 100, heads: 3}\ndata: {train: nowhere}\n")
	refuses(t, 2, []string{"model.", "100", "3"}, "train", "--config", file, "--out", out)
	write(t, file, "a: &a [x, x]\nb: &b [*a, *a]\n")
	refuses(t, 2, []string{"run.yaml:1: anchors", "run.yaml:2: aliases"}, "train", "--config", file, "--out", out)
	if exists(out) {
		t.Error("a run folder was made")
	}
}

// Nobody reads standard output and standard error any more, as after "| head": training goes on and commits.
func TestNobodyReads(t *testing.T) {
	const given = "PALIMPSEST_TEST_ARGUMENTS"
	if arguments := os.Getenv(given); arguments != "" { // the program itself
		var list []string
		if err := json.Unmarshal([]byte(arguments), &list); err != nil {
			t.Fatal(err)
		}
		os.Exit(run(list, os.Stdin, os.Stdout, os.Stderr))
	}
	texts, tokenizer := corpus(t)
	shards, out := filepath.Join(t.TempDir(), "shards"), filepath.Join(t.TempDir(), "run")
	must(t, "data", "build", "--tokenizer", tokenizer, "--unit", "paragraph", "--out", shards, texts)
	list, err := json.Marshal(append([]string{"train", "--preset", "mlm-cpu-tiny", "--data", shards, "--out", out}, smallest...))
	if err != nil {
		t.Fatal(err)
	}
	reading, writing, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	reading.Close()
	cmd := exec.Command(os.Args[0], "-test.run=^TestNobodyReads$")
	cmd.Env = append(os.Environ(), given+"="+string(list))
	cmd.Stdout, cmd.Stderr = writing, writing
	err = cmd.Run()
	writing.Close()
	if err != nil {
		t.Errorf("the program ended with %v", err)
	}
	if !exists(filepath.Join(out, "checkpoints", "step-0000020", "manifest.json")) {
		t.Error("the last checkpoint is missing")
	}
}

// full is a standard output on a full disk.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestResultOnAFullDisk(t *testing.T) {
	for _, more := range [][]string{nil, {"--json"}} {
		var stderr bytes.Buffer
		if code := run(append([]string{"preset", "ls"}, more...), strings.NewReader(""), full{}, &stderr); code != 6 || !strings.Contains(stderr.String(), "no space left") {
			t.Errorf("exit code %d: %s", code, stderr.String())
		}
	}
}

// panicking is a standard output that is a mistake of the program.
type panicking struct{}

func (panicking) Write([]byte) (int, error) { panic(errors.New("a mistake")) }

// A mistake of the program is exit code 1, which schedulers try again, and not Go's 2, which means a wrong command line here.
func TestPanicIsAnInternalError(t *testing.T) {
	var stderr bytes.Buffer
	if code := run([]string{"preset", "ls"}, strings.NewReader(""), panicking{}, &stderr); code != 1 {
		t.Errorf("exit code %d", code)
	}
	if text := stderr.String(); !strings.Contains(text, "internal error: a mistake") || !strings.Contains(text, "panicking") {
		t.Errorf("no message or no stack: %s", text)
	}
}
