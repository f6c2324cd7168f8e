package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// topics is a table of texts whose first word tells the class; a few classes come in another order when it is turned around.
func topics(n int, names ...string) string {
	var b strings.Builder
	b.WriteString("topic\ttext\n")
	for i := range n {
		k := i % len(names)
		fmt.Fprintf(&b, "%s\t%s fox number %d\n", names[k], strings.Repeat(string(rune('a'+k)), 3), i)
	}
	return b.String()
}

func TestDataBuildLabels(t *testing.T) {
	_, tokenizer := corpus(t)
	dir := t.TempDir()
	train := write(t, filepath.Join(dir, "train.tsv"), topics(12, "sea", "air", "land"))
	test := write(t, filepath.Join(dir, "test.tsv"), topics(6, "land", "sea"))

	out, r := built(t, tokenizer, "--label", "topic", train)
	if want := []classCount{{"sea", 4}, {"air", 4}, {"land", 4}}; !slices.Equal(r.Classes, want) || !slices.Equal(r.Planes, []string{"label"}) {
		t.Errorf("%+v", r)
	}
	contains(t, must(t, "data", "inspect", out, "--at", "1"), `plane label: LABEL 1: "sea" "air" "land"; field "topic"`, "\nlabel air\n", "\nlabel land\n")
	contains(t, must(t, "data", "inspect", out, "--json"), `"name":"label","runs":[{"label":"sea","from":0,`)
	contains(t, must(t, "data", "verify", out), "3 files")

	// Numbers of another data set.
	other, r := built(t, tokenizer, "--label", "topic", "--labels-from", out, test)
	if want := []classCount{{"sea", 3}, {"air", 0}, {"land", 3}}; !slices.Equal(r.Classes, want) {
		t.Errorf("%+v", r.Classes)
	}
	contains(t, strings.Join(r.Notes, "\n"), "no document has the class air")
	contains(t, must(t, "data", "inspect", other), `"sea" "air" "land"`, "label land")
	_, r = built(t, tokenizer, "--label", "topic", "--labels", "land, sea", test)
	if want := []classCount{{"land", 3}, {"sea", 3}}; !slices.Equal(r.Classes, want) {
		t.Errorf("%+v", r.Classes)
	}
	lines := write(t, filepath.Join(dir, "n.jsonl"), `{"text":"fox","n":1}`+"\n"+`{"text":"dog","n":"0"}`+"\n"+`{"text":"dog","n":true}`+"\n")
	_, r = built(t, tokenizer, "--label", "n", "--on-bad-record", "skip", lines)
	if want := []classCount{{"0", 1}, {"1", 1}}; !slices.Equal(r.Classes, want) || r.Reading.Skipped != 1 {
		t.Errorf("%+v", r)
	}
	text := must(t, "data", "build", "--tokenizer", tokenizer, "--out", filepath.Join(dir, "printed"), "--label", "1", "--field", "2", "--no-header",
		write(t, filepath.Join(dir, "h.tsv"), "x\tfox\ny\tdog\ny\tfox\n"))
	contains(t, text, "plane label: documents of 2 classes: y (2), x (1)", "classify-cpu-tiny", "classes: 2}")
	one, r := built(t, tokenizer, "--label", "1", "--field", "2", "--no-header", write(t, filepath.Join(dir, "o.tsv"), "x\tfox\n"))
	contains(t, strings.Join(r.Notes, "\n"), `all documents have the class "x"`)

	// Types of entities of another data set.
	names, _ := built(t, tokenizer, "--entity-types", "ORG,PER", "--scheme", "iob2", "--repair-tags", write(t, filepath.Join(dir, "a.conll"), tagged))
	_, r = built(t, tokenizer, "--labels-from", names, write(t, filepath.Join(dir, "b.conll"), "Ann B-PER\n"))
	if !slices.Equal(r.EntityTypes, []string{"ORG", "PER"}) {
		t.Errorf("%q", r.EntityTypes)
	}

	plain, _ := built(t, tokenizer, train)
	for _, x := range []struct {
		code  int
		parts []string
		flags []string
	}{
		{3, []string{"test.tsv:3", `class "sea" is none of ["land"]`}, []string{"--label", "topic", "--labels", "land", test}},
		{3, []string{"train.tsv:2", `class "sea" is none of`}, []string{"--label", "topic", "--labels-from", one, train}},
		{3, []string{"train.tsv:1", `no column "colour"`}, []string{"--label", "colour", train}},
		{3, []string{"n.jsonl:3", "$.n", "a boolean"}, []string{"--label", "n", lines}},
		{3, []string{"no classes of documents", "--label"}, []string{"--label", "topic", "--labels-from", plain, train}},
		{3, []string{"no types of entities"}, []string{"--labels-from", out, train}},
		{3, []string{"--labels-from", "there is no folder"}, []string{"--label", "topic", "--labels-from", filepath.Join(dir, "nowhere"), train}},
		{2, []string{"--labels-from and --labels"}, []string{"--label", "topic", "--labels", "a,b", "--labels-from", out, train}},
		{2, []string{"--labels names the classes", "--label KEY"}, []string{"--labels", "a,b", train}},
		{2, []string{"1 to 64 bytes"}, []string{"--label", "topic", "--labels", "a,,b", train}},
		{2, []string{"--label: expected"}, []string{"--label", "", train}},
		{2, []string{"--planes leaves it out"}, []string{"--label", "topic", "--planes", "none", train}},
		{2, []string{"plane label", "--label"}, []string{"--planes", "label", train}},
		{2, []string{"is read as txt", "hint"}, []string{"--label", "topic", write(t, filepath.Join(dir, "a.txt"), "fox")}},
	} {
		refuses(t, x.code, x.parts, append([]string{"data", "build", "--tokenizer", tokenizer, "--out", filepath.Join(dir, "never")}, x.flags...)...)
	}
}

// From a table to a classifier whose scores have names.
func TestClassifyOwnTexts(t *testing.T) {
	dir := t.TempDir()
	train := write(t, filepath.Join(dir, "train.tsv"), topics(90, "sea", "air", "land"))
	test := write(t, filepath.Join(dir, "test.tsv"), topics(30, "land", "sea", "air")) // the first words mean other classes here
	tokenizer := filepath.Join(dir, "tokenizer.json")
	must(t, "tokenizer", "train", "--vocab", "300", "--out", tokenizer, train)
	shards, _ := built(t, tokenizer, "--label", "topic", train)
	same, _ := built(t, tokenizer, "--label", "topic", "--labels-from", shards, test)
	others, _ := built(t, tokenizer, "--label", "topic", test)

	run := filepath.Join(dir, "run")
	must(t, append(append([]string{"train", "--preset", "classify-cpu-tiny", "--data", shards, "--out", run}, smallest...), "--steps", "60",
		"--set", "model.classifiers=[{name: topic, kind: sequence, classes: 3}]", "--set", "optimizer.learning_rate=5e-3", "--set", "train.dropout=0")...)
	var scores struct {
		Accuracy  float64  `json:"accuracy"`
		Names     []string `json:"class_names"`
		Notes     []string `json:"notes"`
		Confusion [][]int  `json:"confusion"`
	}
	evaluate := func(data ...string) {
		t.Helper()
		if err := json.Unmarshal([]byte(must(t, append([]string{"eval", "classify", "--model", run, "--json"}, data...)...)), &scores); err != nil {
			t.Fatal(err)
		}
	}
	if evaluate(); scores.Accuracy != 1 || !slices.Equal(scores.Names, []string{"sea", "air", "land"}) || len(scores.Notes) != 0 {
		t.Errorf("held out: %+v", scores)
	}
	// What is called sea in the test set looks like the air of the training set.
	if evaluate("--data", same); scores.Accuracy != 0 || scores.Confusion[0][1] != 10 || len(scores.Notes) != 0 {
		t.Errorf("other texts: %+v", scores)
	}
	if evaluate("--data", others); !slices.Equal(scores.Names, []string{"land", "sea", "air"}) || len(scores.Notes) != 1 || !strings.Contains(scores.Notes[0], "--labels-from") {
		t.Errorf("other numbers: %+v", scores)
	}
	contains(t, must(t, "eval", "classify", "--model", run), "class       rows", "  sea ", " land ")
	contains(t, must(t, "eval", "classify", "--model", run, "--data", others), "note: classes have other names or numbers")
}
