package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDataImportAndExport(t *testing.T) {
	texts, tokenizer := corpus(t)
	dir := t.TempDir()
	set := filepath.Join(dir, "set")
	must(t, "data", "build", "--tokenizer", tokenizer, "--out", set, "--bos=false", texts)
	path := func(name string) string { return filepath.Join(dir, name) }

	// Files of either format come back as the same documents.
	for _, x := range []struct{ name, export, inspect, read string }{
		{"llmc", "", "llm.c", ""},
		{"llmc4", "--width 4", "4 bytes", ""},
		{"nano", "--format nanogpt", "nanogpt", "--format nanogpt --width 2"},
		{"nano4", "--format nanogpt --width 4", "nanogpt", "--format nanogpt --width 4"},
	} {
		file, out := path(x.name+".bin"), path(x.name)
		contains(t, must(t, append(append([]string{"data", "export"}, strings.Fields(x.export)...), set, file)...), "20 documents", "0 separators added")
		contains(t, must(t, "data", "inspect", file), x.inspect, "palimpsest data import")
		text := must(t, append(append([]string{"data", "import", "--tokenizer", tokenizer, "--out", out}, strings.Fields(x.read)...), file)...)
		contains(t, text, "20 documents", "each ends with id 1, </s>")
		must(t, "data", "verify", out)
		a, err := os.ReadFile(filepath.Join(set, "00000.tok.zst"))
		if err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(out, "00000.tok.zst"))
		if err != nil {
			t.Fatal(err)
		}
		if string(a) != string(b) {
			t.Errorf("%s: the tokens differ", x.name)
		}
	}
	contains(t, must(t, "data", "inspect", path("nano4.bin"), "--width", "4", "--json"), `"width":4`)

	// Leading separators are found out, blocks asked for.
	contains(t, must(t, "data", "export", "--separator", "0", "--leading", set, path("lead.bin")), "20 separators added")
	contains(t, must(t, "data", "import", "--tokenizer", tokenizer, "--separator", "0", "--out", path("lead"), path("lead.bin")), "20 documents", "begins with id 0, <s>")
	contains(t, must(t, "data", "import", "--tokenizer", tokenizer, "--separator", "0", "--leading=false", "--force", "--out", path("lead"), path("lead.bin")),
		"21 documents", "1 documents are nothing but the separator")
	var blocks importResult
	if err := json.Unmarshal([]byte(must(t, "data", "import", "--json", "--tokenizer", tokenizer, "--block", "100", "--out", path("blocks"), path("llmc.bin"))), &blocks); err != nil {
		t.Fatal(err)
	}
	if blocks.Separator != -1 || blocks.Longest != 100 || blocks.Documents != (blocks.Tokens+99)/100 {
		t.Errorf("%+v", blocks)
	}
	contains(t, must(t, "data", "import", "--tokenizer", tokenizer, "--separator", "2", "--out", path("whole"), path("llmc.bin")), "1 documents", "no separator was met", "--separator")

	// Several files, planes left behind.
	pairs := write(t, path("pairs.jsonl"), pairLines)
	answers, _ := built(t, tokenizer, "--shape", "pair", "--fields", "prompt=question,completion=answer", "--bos=false", "--eos=false", pairs)
	text := must(t, "data", "export", "--file-tokens", "20", answers, path("part.bin"))
	contains(t, text, "part_000000.bin and ", "plane loss is left behind", "where documents end")
	if !exists(path("part_000001.bin")) {
		t.Error("no second file")
	}

	for _, x := range []struct {
		code  int
		parts []string
		call  []string
	}{
		{2, []string{"exists already"}, []string{"export", set, path("llmc.bin")}},
		{2, []string{"want two arguments"}, []string{"export", set}},
		{2, []string{"--format", "nanogpt"}, []string{"export", "--format", "gpt2", set, path("x.bin")}},
		{2, []string{"3 bytes", "2 or 4", "expected"}, []string{"export", "--width", "3", set, path("x.bin")}},
		{2, []string{"--separator", "0 to 299"}, []string{"export", "--separator", "300", set, path("x.bin")}},
		{2, []string{"--leading", "--separator"}, []string{"export", "--leading", set, path("x.bin")}},
		{3, []string{"no folder"}, []string{"export", path("nothing"), path("x.bin")}},
		{6, []string{"hint"}, []string{"export", set, filepath.Join(pairs, "x.bin")}},
		{2, []string{"missing --tokenizer, --out"}, []string{"import", path("llmc.bin")}},
		{2, []string{"name the files"}, []string{"import", "--tokenizer", tokenizer, "--out", path("x")}},
		{2, []string{"--format"}, []string{"import", "--format", "gpt2", "--tokenizer", tokenizer, "--out", path("x"), path("llmc.bin")}},
		{2, []string{"expected 2 or 4", "hint"}, []string{"import", "--format", "nanogpt", "--tokenizer", tokenizer, "--out", path("x"), path("nano.bin")}},
		{2, []string{"header", "hint"}, []string{"import", "--width", "2", "--tokenizer", tokenizer, "--out", path("x"), path("llmc.bin")}},
		{2, []string{"not both"}, []string{"import", "--block", "5", "--separator", "1", "--tokenizer", tokenizer, "--out", path("x"), path("llmc.bin")}},
		{2, []string{"--leading"}, []string{"import", "--block", "5", "--leading", "--tokenizer", tokenizer, "--out", path("x"), path("llmc.bin")}},
		{2, []string{"--separator", "0 to 299"}, []string{"import", "--separator", "300", "--tokenizer", tokenizer, "--out", path("x"), path("llmc.bin")}},
		{2, []string{"--force"}, []string{"import", "--tokenizer", tokenizer, "--out", set, path("llmc.bin")}},
		{3, []string{"magic", "nanogpt"}, []string{"import", "--tokenizer", tokenizer, "--out", path("x"), path("nano.bin")}},
		{3, []string{"nano.bin: byte ", "outside the vocabulary", "the width"}, []string{"import", "--format", "nanogpt", "--width", "4", "--tokenizer", tokenizer, "--out", path("x"), path("nano.bin")}},
		{3, []string{"absent.bin"}, []string{"import", "--tokenizer", tokenizer, "--out", path("x"), path("absent.bin")}},
		{3, []string{"as llm.c", "as nanogpt", "cut short"}, []string{"inspect", write(t, path("odd.bin"), "odd")}},
	} {
		refuses(t, x.code, x.parts, append([]string{"data"}, x.call...)...)
	}
	if left, _ := os.ReadDir(path("x")); len(left) > 0 {
		t.Errorf("failed imports left %v", left)
	}
}
