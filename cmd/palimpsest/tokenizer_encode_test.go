package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestTokenizerEncode(t *testing.T) {
	dir := t.TempDir()
	corpus, file := filepath.Join(dir, "a.txt"), filepath.Join(dir, "t.json")
	write(t, corpus, strings.Repeat("one two Two three ", 30))
	contains(t, must(t, "tokenizer", "train", "--kind", "wordpiece", "--lowercase", "--vocab", "60", "--out", file, corpus), "21 ids, 8 merges")
	contains(t, must(t, "tokenizer", "inspect", file, "--text", "Two"), "WordPiece", "[CLS]", `"two"`, "0-3")
	long := strings.Repeat("one ", 1<<19)
	for _, x := range []struct {
		stdin, options string
		lines          []string
	}{
		{"Two\n\none", "--offsets --json", []string{`{"ids":[`, `"offsets":[[0,3]]}`, `{"ids":[],"offsets":[]}`}},
		{"two", "--special", []string{"2 "}},
		{"[MASK]", "", []string{"4"}},
		{"[MASK]", "--plain", []string{"1 1 1"}},
		{"[MASK]", "--plain --offsets", []string{"1 0:1 1 1:5 1 5:6"}},
		{long, "", []string{" "}},
	} {
		arguments := append([]string{"tokenizer", "encode", file}, strings.Fields(x.options)...)
		code, stdout, stderr := call(x.stdin, arguments...)
		if code != 0 || strings.Count(stdout, "\n") != strings.Count(x.stdin, "\n")+1 {
			t.Errorf("%q %s: exit code %d, %d lines, %s", x.stdin[:3], x.options, code, strings.Count(stdout, "\n"), stderr)
		}
		contains(t, stdout, x.lines...)
	}
	refuses(t, 2, []string{"exclude each other"}, "tokenizer", "encode", file, "--special", "--plain")
	refuses(t, 2, []string{"kind of tokenizer"}, "tokenizer", "train", "--kind", "words", "--out", filepath.Join(dir, "u.json"), corpus)
	refuses(t, 3, []string{"no such file"}, "tokenizer", "encode", filepath.Join(dir, "none.json"))
}
