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

// animals are sentences in CoNLL's columns, in which foxes and dogs are entities, and the same as lines of text.
func animals(n int) (conll, lines string) {
	var c, l strings.Builder
	for i := range n {
		fmt.Fprintf(&c, "the\tO\nquick\tB-FOX\nbrown\tI-FOX\nfox\tI-FOX\nnumber\tO\n%d\tO\njumps\tO\nlazy\tB-DOG\ndog\tI-DOG\n.\tO\n\n", i)
		fmt.Fprintf(&l, "the quick brown fox number %d jumps lazy dog .\n", i)
	}
	return c.String(), l.String()
}

// annotatable builds a data set of lines without any plane.
func annotatable(t *testing.T, tokenizer, lines string) string {
	t.Helper()
	dir := t.TempDir()
	out := filepath.Join(dir, "shards")
	must(t, "data", "build", "--tokenizer", tokenizer, "--unit", "line", "--out", out, write(t, filepath.Join(dir, "lines.txt"), lines))
	return out
}

func TestDataAnnotate(t *testing.T) {
	_, tokenizer := corpus(t)
	conll, lines := animals(12)
	dir := t.TempDir()
	bio := write(t, filepath.Join(dir, "tags.tsv"), conll)

	// Tagged sentences give the plane that building from them gives.
	direct, _ := built(t, tokenizer, "--format", "conll", bio)
	want, err := os.ReadFile(filepath.Join(direct, "00000.bio.zst"))
	if err != nil {
		t.Fatal(err)
	}
	shards := annotatable(t, tokenizer, lines)
	var r annotateResult
	if err := json.Unmarshal([]byte(must(t, "data", "annotate", shards, "--bio", bio, "--json")), &r); err != nil {
		t.Fatal(err)
	}
	if r.Documents != 12 || r.Entities != 24 || fmt.Sprint(r.EntityTypes) != "[FOX DOG]" {
		t.Errorf("%+v", r)
	}
	if got, err := os.ReadFile(filepath.Join(shards, "00000.bio.zst")); err != nil || string(got) != string(want) {
		t.Errorf("another plane than that of data build: %v", err)
	}
	contains(t, must(t, "data", "inspect", shards), `"FOX" "DOG"`, "annotated with --bio tags.tsv (xxh64 ", `FOX " quick brown fox"`)
	must(t, "data", "verify", shards)
	refuses(t, 2, []string{"has a plane bio already"}, "data", "annotate", shards, "--bio", bio)

	// In another order, with other white space, and only some: by text.
	sentences := strings.SplitAfter(conll, "\n\n")
	some := write(t, filepath.Join(dir, "some.tsv"), sentences[7]+sentences[3])
	spaced := annotatable(t, tokenizer, strings.ReplaceAll(lines, " .", "."))
	refuses(t, 3, []string{"document 0", "some.tsv:1", "they differ", "partial"}, "data", "annotate", spaced, "--bio", some)
	contains(t, must(t, "data", "annotate", spaced, "--bio", some, "--partial", "--entity-types", "DOG,FOX"), "4 entities", "2 documents", "10 documents have no annotation", "DOG, FOX", "{name: entities, kind: detector, classes: 5}")
	contains(t, must(t, "data", "inspect", spaced, "--at", "3", "--documents", "1"), `FOX " quick brown fox"`)
	contains(t, must(t, "data", "inspect", spaced, "--at", "4", "--documents", "1"), "nothing in these tokens")
	contains(t, must(t, "data", "annotate", spaced, "--bio", write(t, filepath.Join(dir, "none.tsv"), strings.NewReplacer("B-FOX", "O", "I-FOX", "O", "B-DOG", "O", "I-DOG", "O").Replace(sentences[3])), "--partial", "--replace"), "there is no entity")

	// Spans, counted in code points.
	spans := write(t, filepath.Join(dir, "spans.jsonl"), `{"text": "é the fox", "spans": [{"start": 6, "end": 9, "label": "FOX"}]}`+"\n")
	small := annotatable(t, tokenizer, "é the fox\n")
	contains(t, must(t, "data", "annotate", small, "--spans", spans, "--first-subword"), "1 entities", "--data "+small+" --out") // the preset's head has one type
	contains(t, must(t, "data", "inspect", small), `FOX " fox"`, "the others are 255")
}

func TestDataAnnotateTerms(t *testing.T) {
	_, tokenizer := corpus(t)
	_, lines := animals(3)
	dir := t.TempDir()
	list := write(t, filepath.Join(dir, "terms.tsv"), "# a list\nfox\tANIMAL\nQuick Brown Fox\tANIMAL\nlazy\tMOOD\t0.5\nlazy\tANIMAL\t2\nunicorn\tANIMAL\nox\tANIMAL\n")
	shards := annotatable(t, tokenizer, lines+"foxes number one, the fox\n")
	var r annotateResult
	if err := json.Unmarshal([]byte(must(t, "data", "annotate", shards, "--terms", list, "--json")), &r); err != nil {
		t.Fatal(err)
	}
	if r.Entities != 7 || fmt.Sprint(r.EntityTypes) != "[ANIMAL MOOD]" || fmt.Sprint(r.Unseen) != `[line 6: "unicorn" line 7: "ox"]` || len(r.Unusable) != 1 {
		t.Errorf("%+v", r)
	}
	contains(t, must(t, "data", "inspect", shards, "--documents", "4", "--tokens", "0"), `ANIMAL " quick brown fox"`, `ANIMAL " lazy"`, `ANIMAL " fox"`)
	for name, content := range map[string]string{"a.txt": "fox\nlazy dog\n", "b.json": `["fox", {"term": "lazy dog", "type": "DOG"}]`, "c.json": `{"fox": "FOX", "lazy dog": "DOG"}`} {
		again := annotatable(t, tokenizer, lines)
		contains(t, must(t, "data", "annotate", again, "--terms", write(t, filepath.Join(dir, name), content)), "6 entities")
	}
	keep := annotatable(t, tokenizer, lines)
	refuses(t, 3, []string{"none of 1 terms"}, "data", "annotate", keep, "--keep-case", "--terms", write(t, filepath.Join(dir, "case.txt"), "FOX\n"))
}

func TestDataAnnotateRefuses(t *testing.T) {
	_, tokenizer := corpus(t)
	conll, lines := animals(3)
	dir := t.TempDir()
	shards := annotatable(t, tokenizer, lines)
	file := func(name, content string) string { return write(t, filepath.Join(dir, name), content) }
	good := file("good.tsv", conll)
	for _, c := range []struct {
		code  int
		parts []string
		args  []string
	}{
		{3, []string{"i.tsv:2", "I-FOX begins an entity", "i.tsv:13", "2 bad annotations"}, []string{"--bio", file("i.tsv", strings.Replace(strings.Replace(conll, "B-FOX", "I-FOX", 1), "B-FOX", "I-FOX", 1))}},
		{3, []string{"tag.tsv:4", "expected O, or B-"}, []string{"--bio", file("tag.tsv", strings.Replace(conll, "fox\tI-FOX", "fox\tX-FOX", 1))}},
		{3, []string{"iobes.tsv:9", "has no place in iob2", "scheme"}, []string{"--bio", file("iobes.tsv", strings.Replace(conll, "dog\tI-DOG", "dog\tE-DOG", 1))}},
		{3, []string{"empty.tsv:2", "the tag is empty"}, []string{"--bio", file("empty.tsv", strings.Replace(conll, "B-FOX", "", 1))}},
		{3, []string{"short.tsv:1", "document 0 has", "they differ from token"}, []string{"--bio", file("short.tsv", strings.Replace(conll, "jumps\tO\n", "", 1))}},
		{3, []string{"more.tsv:34", "no document of"}, []string{"--bio", file("more.tsv", conll+"a\tO\nb\tO\n\n")}},
		{3, []string{"DOG", "FOX"}, []string{"--bio", good, "--entity-types", "FOX"}},
		{3, []string{"line 1", "none of"}, []string{"--terms", file("type.tsv", "fox\tANIMAL\n"), "--entity-types", "FOX"}},
		{3, []string{"w.tsv:1", "weight"}, []string{"--terms", file("w.tsv", "fox\tANIMAL\theavy\n")}},
		{3, []string{"none.txt", "no terms"}, []string{"--terms", file("none.txt", "\n#\n")}},
		{3, []string{"bad.json", "element"}, []string{"--terms", file("bad.json", `["fox", {"name": "x"}]`)}},
		{3, []string{"nothing.tsv"}, []string{"--bio", filepath.Join(dir, "nothing.tsv")}},
		{2, []string{"nothing to annotate with"}, nil},
		{2, []string{"--bio and --terms"}, []string{"--bio", good, "--terms", good}},
		{2, []string{"--labels-from and --entity-types"}, []string{"--bio", good, "--labels-from", shards, "--entity-types", "A"}},
		{3, []string{"no types of entities"}, []string{"--bio", good, "--labels-from", shards}},
	} {
		refuses(t, c.code, c.parts, append([]string{"data", "annotate", shards}, c.args...)...)
	}
	// Nothing was changed by all that, and bad tags are read as conlleval reads them when asked to.
	contains(t, must(t, "data", "annotate", shards, "--bio", filepath.Join(dir, "i.tsv"), "--repair-tags"), "6 entities", "2 tags repaired")
}

// From tags to a model that is measured, with the words and tags in a file.
func TestEvalNER(t *testing.T) {
	_, tokenizer := corpus(t)
	conll, _ := animals(60)
	shards, _ := built(t, tokenizer, "--format", "conll", write(t, filepath.Join(t.TempDir(), "tags.tsv"), conll))
	out := filepath.Join(t.TempDir(), "run")
	head := []string{"--set", "model.classifiers=[{name: entities, kind: token, classes: 5}]"}
	train := append([]string{"train", "--preset", "mslm-cpu-tiny", "--data", shards, "--out", out}, smallest...)
	must(t, append(append(train, head...), "--steps", "120")...)

	file := filepath.Join(t.TempDir(), "predictions.conll")
	var r struct {
		Unit string
		engine.NER
	}
	if err := json.Unmarshal([]byte(must(t, "eval", "ner", "--model", out, "--predictions", file, "--json")), &r); err != nil {
		t.Fatal(err)
	}
	if r.Head != "entities" || r.Unit != "word" || r.Default.Micro.F1 < 0.5 || fmt.Sprint(r.Entities) != "[FOX DOG]" || r.Default.Types[0].Support != r.Documents {
		t.Errorf("%+v", r)
	}
	content, err := os.ReadFile(file)
	if err != nil || !strings.Contains(string(content), "\nquick B-FOX ") || strings.Count(string(content), "\n\n") != int(r.Documents) {
		t.Errorf("%v: %.300s", err, content)
	}
	contains(t, must(t, "eval", "ner", "--model", out, "--data", shards, "--unit", "token"), "FOX", "DOG", "default", "strict", "micro")
	contains(t, must(t, "eval", "sensitivity", "--model", out), "domain", "ordinary", "difference", "seen")
	contains(t, must(t, "eval", "loss", "--model", out), "perplexity")
	contains(t, must(t, "fill-mask", "--model", out, "the quick <mask> fox"), "<mask>")

	for _, bad := range [][2]string{{"mslm.entity=1.5", "at most 1, got 1.5"}, {"mslm.base=-0.1", "negative, got -0.1"}, {"mslm.beta=1", "less than 1, got 1"},
		{"mslm.w_e=-1", "negative, got -1"}, {"mslm.strategy=whole", "one of mslm, base"}} {
		refuses(t, 2, []string{bad[0], bad[1]}, append(append([]string{"train", "--preset", "mslm-cpu-tiny", "--data", shards, "--out", out + "3"}, smallest...), "--set", bad[0])...)
	}
	contains(t, must(t, "eval", "ner", "--model", out, "--unit", "space"), "words of")
	refuses(t, 2, []string{"--unit", "space"}, "eval", "ner", "--model", out, "--unit", "letter")
	refuses(t, 2, []string{"no token head", "entities"}, "eval", "ner", "--model", out, "--head", "names")
	refuses(t, 6, []string{"--predictions"}, "eval", "ner", "--model", out, "--predictions", filepath.Join(t.TempDir(), "no", "file"))
	other, _ := built(t, tokenizer, "--format", "conll", "--entity-types", "DOG,FOX", write(t, filepath.Join(t.TempDir(), "tags.tsv"), conll))
	refuses(t, 3, []string{"types of entities", "--labels-from"}, "eval", "ner", "--model", out, "--data", other)
	trainOn := func(data string, more ...string) []string {
		return append(append(append([]string{"train", "--preset", "mslm-cpu-tiny", "--data", data, "--out", out + "4", "--steps", "1"}, smallest...), head...), more...)
	}
	refuses(t, 3, []string{`["FOX" "DOG"]`, `["DOG" "FOX"]`, "--labels-from " + shards}, trainOn(shards, "--set", "data.valid="+other)...)
	refuses(t, 3, []string{`head "entities"`, `["FOX" "DOG"]`, `["DOG" "FOX"]`, "--labels-from " + shards}, trainOn(other, "--set", "train.init="+out)...)
	must(t, trainOn(other, "--set", "train.init="+out, "--set", "model.classifiers=[{name: others, kind: token, classes: 5}]")...)
	refuses(t, 3, []string{"7 classes", "2 types", "need 5"}, append(append([]string{"train", "--preset", "mslm-cpu-tiny", "--data", shards, "--out", out + "2"}, smallest...), "--set", "model.classifiers=[{name: entities, kind: token, classes: 7}]")...)
}
