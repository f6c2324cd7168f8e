package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// corrections are generations with their corrections, for a tokenizer of the corpus.
const corrections = `{"prompt": "the quick ", "generation": "brown dog jumps", "correction": "brown fox jumps"}
{"prompt": "", "generation": "the lazy dog", "correction": "the very lazy dog"}
{"generation": "over the fox", "spans": [{"start": 9, "end": 12, "text": "fox"}]}
`

func TestDataBuildSigns(t *testing.T) {
	_, tokenizer := corpus(t)
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "corrections.jsonl"), corrections)
	out, r := built(t, tokenizer, "--shape", "generation", file)
	if fmt.Sprint(r.Planes) != "[loss sign]" || r.Unwanted == 0 || r.Kept == 0 || r.Unwanted+r.Kept+r.None != r.Tokens {
		t.Errorf("%+v", r)
	}
	contains(t, must(t, "data", "inspect", out, "--documents", "3"), `sign untrained ["<s>the quick`, `unwanted  " dog"`, `kept      " jumps</s>"`, `unwanted  " fox"`, "by the rule auto", "shape generation")
	text := must(t, "data", "build", "--tokenizer", tokenizer, "--out", filepath.Join(dir, "words"), "--shape", "generation", "--words", write(t, filepath.Join(dir, "w.txt"), "Lazy Dog\n"), "--span-tokens", "first", file)
	contains(t, text, "plane sign: ", "tokens unwanted", "tnt-cpu-tiny", "next: ")
	contains(t, must(t, "data", "inspect", filepath.Join(dir, "words"), "--at", "1"), `unwanted  " lazy"`, `untrained [" dog"]`, "--words w.txt (xxh64 ")

	// The corrective baseline: corrections in the place of generations, for the objective clm.
	both := write(t, filepath.Join(dir, "both.jsonl"), strings.Join(strings.SplitAfter(corrections, "\n")[:2], ""))
	contains(t, must(t, "data", "build", "--tokenizer", tokenizer, "--out", filepath.Join(dir, "corrected"), "--shape", "generation", "--rule", "correct_first", both), "0 tokens unwanted", "objective=clm", "2 tokens to be learned")
	contains(t, must(t, "data", "inspect", filepath.Join(dir, "corrected")), `learned " fox"`)
	refuses(t, 2, []string{"correct", "data build"}, "data", "annotate", out, "--plane", "sign", "--replace", "--records", both, "--rule", "correct")

	for _, x := range []struct {
		code  int
		parts []string
		flags []string
	}{
		{3, []string{"corrections.jsonl:1", "no spans"}, []string{"--rule", "spans"}},
		{3, []string{"corrections.jsonl:3", "no correction", "diff"}, []string{"--rule", "diff"}},
		{2, []string{"--rule", "align_first", "--words FILE"}, []string{"--rule", "words"}},
		{2, []string{"--span-tokens", "second"}, []string{"--span-tokens", "second"}},
		{2, []string{"--span-tokens", "align_first"}, []string{"--rule", "diff", "--span-tokens", "first"}},
		{2, []string{"--rule full and --words"}, []string{"--rule", "full", "--words", filepath.Join(dir, "w.txt")}},
		{2, []string{"--words and --patterns"}, []string{"--words", filepath.Join(dir, "w.txt"), "--patterns", filepath.Join(dir, "w.txt")}},
		{2, []string{"--keep-case"}, []string{"--keep-case"}},
		{3, []string{"none.txt"}, []string{"--words", filepath.Join(dir, "none.txt")}},
		{3, []string{"dots.txt:2", "no letter"}, []string{"--words", write(t, filepath.Join(dir, "dots.txt"), "a\n--\n")}},
		{3, []string{"no token is unwanted", "3 documents"}, []string{"--words", write(t, filepath.Join(dir, "cat.txt"), "cat\n")}},
		{2, []string{"--rule is about the plane sign"}, []string{"--planes", "loss", "--rule", "align"}},
	} {
		refuses(t, x.code, x.parts, append([]string{"data", "build", "--tokenizer", tokenizer, "--shape", "generation", "--out", filepath.Join(dir, "never"), file}, x.flags...)...)
		if exists(filepath.Join(dir, "never", "UNFINISHED")) {
			t.Errorf("%v left something", x.flags)
		}
	}
	refuses(t, 3, []string{"corrections.jsonl:1", "shape generation"}, "data", "build", "--tokenizer", tokenizer, "--out", filepath.Join(dir, "never"), file)
	refuses(t, 2, []string{"--words is about the plane sign", "data annotate"}, "data", "build", "--tokenizer", tokenizer, "--out", filepath.Join(dir, "never"), "--words", filepath.Join(dir, "w.txt"), filepath.Join(dir, "w.txt"))
}

func TestDataAnnotateSigns(t *testing.T) {
	_, tokenizer := corpus(t)
	dir := t.TempDir()
	file := write(t, filepath.Join(dir, "corrections.jsonl"), corrections)
	direct, _ := built(t, tokenizer, "--shape", "generation", file)
	plane := func(dir, name string) string {
		t.Helper()
		content, err := os.ReadFile(filepath.Join(dir, "00000."+name+".zst"))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}

	// Records laid over the texts give what building from them gives, but for prompts where no plane loss tells of them.
	later, _ := built(t, tokenizer, "--shape", "generation", "--planes", "loss", file)
	var r tokensResult
	if err := json.Unmarshal([]byte(must(t, "data", "annotate", later, "--plane", "sign", "--records", file, "--json")), &r); err != nil {
		t.Fatal(err)
	}
	if r.Documents != 3 || r.Unwanted == 0 || plane(later, "sign") != plane(direct, "sign") {
		t.Errorf("%+v", r)
	}
	shards := annotatable(t, tokenizer, "over  the fox\nthe lazy dog\nthe quick brown dog jumps\n")
	contains(t, must(t, "data", "annotate", shards, "--plane", "sign", "--records", file), "in 3 documents", "tnt-cpu-tiny")
	contains(t, must(t, "data", "inspect", shards, "--documents", "3"), `unwanted  " fox"`, `unwanted  " dog"`, `untrained ["<s>the quick`)

	// Another plane in its place only when asked for; a failed attempt changes nothing.
	words := write(t, filepath.Join(dir, "words.txt"), "Lazy\nDOG\n")
	before := plane(shards, "sign")
	refuses(t, 2, []string{"has a plane sign already", "--replace"}, "data", "annotate", shards, "--plane", "sign", "--words", words)
	refuses(t, 3, []string{"no token is unwanted"}, "data", "annotate", shards, "--plane", "sign", "--replace", "--words", write(t, filepath.Join(dir, "cat.txt"), "cat\n"))
	refuses(t, 3, []string{"all of", "unwanted"}, "data", "annotate", shards, "--plane", "sign", "--replace", "--patterns", write(t, filepath.Join(dir, "all.txt"), "(?s).*\n"), "--span-tokens", "all")
	if plane(shards, "sign") != before {
		t.Error("a refused plane changed the old one")
	}
	contains(t, must(t, "data", "annotate", shards, "--plane", "sign", "--replace", "--words", words), "3 tokens unwanted")
	contains(t, must(t, "data", "inspect", shards, "--documents", "3"), `unwanted  " lazy dog"`, "by the rule find, --words words.txt")
	must(t, "data", "verify", shards)

	// Classes, by patterns.
	patterns := write(t, filepath.Join(dir, "patterns.txt"), "# boilerplate\n(?i)the\\b\n")
	contains(t, must(t, "data", "annotate", later, "--plane", "class", "--patterns", patterns), "plane class: ", "of boilerplate", "in 3 documents")
	contains(t, must(t, "data", "inspect", later, "--at", "1", "--documents", "1"), `class none        "<s>"`, `boilerplate "the"`, `reasoning   " lazy dog</s>"`, "0 boilerplate, 1 reasoning, 255 none: --patterns patterns.txt")
	contains(t, must(t, "data", "inspect", later, "--documents", "1"), `none      "<s>the quick`)

	other := annotatable(t, tokenizer, "the lazy dog\nanother text\n")
	for _, x := range []struct {
		code  int
		parts []string
		args  []string
	}{
		{2, []string{"--plane", "loss"}, []string{"--plane", "loss", "--words", words}},
		{2, []string{"nothing to annotate with"}, []string{"--plane", "sign"}},
		{2, []string{"--words is about the planes sign and class"}, []string{"--words", words}},
		{2, []string{"--bio is about the plane bio"}, []string{"--plane", "sign", "--bio", words}},
		{2, []string{"class comes from --patterns"}, []string{"--plane", "class", "--records", file}},
		{3, []string{"document 1", "no annotated document"}, []string{"--plane", "sign", "--records", file}},
		{3, []string{"1 of 3 records", "corrections.jsonl:3", "data build --shape generation"}, []string{"--plane", "sign", "--records", write(t, filepath.Join(dir, "c", "corrections.jsonl"), strings.Replace(corrections, `"the quick ", "generation": "brown dog jumps"`, `"", "generation": "another text"`, 1))}},
		{3, []string{"2 bad records", "bad.jsonl:1", "span 9 to 19", "bad.jsonl:3", "no field"}, []string{"--plane", "sign", "--records",
			write(t, filepath.Join(dir, "bad.jsonl"), `{"generation": "over the fox", "spans": [{"start": 9, "end": 19}]}`+"\n"+corrections[:strings.Index(corrections, "\n")+1]+`{"text": "x"}`)}},
		{3, []string{"no token matches"}, []string{"--plane", "class", "--patterns", write(t, filepath.Join(dir, "q.txt"), "q{9}")}},
		{3, []string{"p.txt:1", "hint"}, []string{"--plane", "class", "--patterns", write(t, filepath.Join(dir, "p.txt"), "(")}},
	} {
		refuses(t, x.code, x.parts, append([]string{"data", "annotate", other}, x.args...)...)
	}
	contains(t, must(t, "data", "annotate", other, "--plane", "sign", "--partial", "--records", write(t, filepath.Join(dir, "one.jsonl"), `{"output": "the lazy dog", "fixed": "the dog"}`), "--fields", "generation=output,correction=fixed"),
		"in 1 documents", "1 documents have no record")
}

func TestDataConvert(t *testing.T) {
	dir := t.TempDir()
	var rows strings.Builder
	rows.WriteString("bbcid,system,summary,hallucination_type,hallucinated_span,hallucinated_span_start,hallucinated_span_end,worker_id\n")
	for i := range 40 {
		fmt.Fprintf(&rows, "%d,A,the quick brown fox,extrinsic,quick,5,9,w0\n%d,A,the quick brown fox,extrinsic,quick brown,5,15,w1\n%d,B,the lazy dog,intrinsic,cat,1,3,w0\n", i, i, i)
	}
	file := write(t, filepath.Join(dir, "x.csv"), rows.String())
	out := filepath.Join(dir, "out")
	contains(t, must(t, "data", "convert", "--out", out, "--valid", "0.3", file), "120 rows", "40 spans are not in their summary, dropped")
	articles := map[string]int{}
	texts := 0
	for part, name := range []string{"train.jsonl", "valid.jsonl"} {
		content, err := os.ReadFile(filepath.Join(out, name))
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSpace(string(content)), "\n") {
			var r struct {
				Article string
				Spans   []spanRecord
				System  string
			}
			if err := json.Unmarshal([]byte(line), &r); err != nil {
				t.Fatal(err)
			}
			if before, seen := articles[r.Article]; seen && before != part {
				t.Errorf("article %s is in both parts", r.Article)
			}
			articles[r.Article] = part
			texts++
			if want := "[{4 15 quick brown}]"; r.System == "A" && fmt.Sprint(r.Spans) != want || r.System == "B" && r.Spans == nil {
				t.Errorf("%v, want %s", r.Spans, want)
			}
		}
	}
	held := 0
	for _, part := range articles {
		held += part
	}
	if texts != 80 || held < 4 || held > 20 {
		t.Errorf("%d texts, %d of 40 articles held out", texts, held)
	}
	_, tokenizer := corpus(t)
	_, r := built(t, tokenizer, "--shape", "generation", filepath.Join(out, "train.jsonl"))
	if r.Unwanted == 0 || r.Kept == 0 {
		t.Errorf("%+v", r)
	}
	contains(t, must(t, "data", "convert", "--out", out, "--force", "--vote", "2", file), "120 rows")
	refuses(t, 2, []string{"exists already"}, "data", "convert", "--out", out, file)
	refuses(t, 2, []string{"--vote"}, "data", "convert", "--out", out, "--vote", "0", file)
	refuses(t, 2, []string{"--valid"}, "data", "convert", "--out", out, "--valid", "1", file)
	refuses(t, 3, []string{"no file"}, "data", "convert", "--out", out, filepath.Join(dir, "none.csv"))
	refuses(t, 3, []string{"bad.csv:1", "bbcid"}, "data", "convert", "--out", out, "--force", write(t, filepath.Join(dir, "bad.csv"), "a,b\n1,2\n"))
}
