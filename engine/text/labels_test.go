package text

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

// readClasses reads one file as "text|class".
func readClasses(t *testing.T, name, content string, o ReaderOptions) ([]string, *Reader, error) {
	t.Helper()
	r := openText(t, name, content, o)
	var docs []string
	var last error
	for d, err := range r.Documents() {
		if last = err; err != nil {
			break
		}
		if !d.Labelled {
			t.Errorf("%q has no class", d.Text)
		}
		docs = append(docs, fmt.Sprintf("%s|%d", d.Text, d.Class))
	}
	return docs, r, last
}

func TestLabels(t *testing.T) {
	plain := ReaderOptions{Label: "topic"}
	given := ReaderOptions{Label: "topic", Labels: []string{"neg", "pos"}}
	for _, c := range []struct {
		name, content string
		o             ReaderOptions
		docs, classes string
	}{
		{"a.jsonl", `{"topic":"pos","text":"a"}` + "\n" + `{"text":"b","topic":" neg "}` + "\n" + `{"text":"c","topic":"pos"}`, plain, "a|0 b|1 c|0", "pos neg"},
		{"a.jsonl", `{"topic":2,"text":"a"}` + "\n" + `{"text":"b","topic":"0"}`, plain, "a|2 b|0", "0 1 2"},
		{"a.jsonl", `{"topic":"pos","text":"a"}` + "\n" + `{"text":"b","topic":0}`, given, "a|1 b|0", "neg pos"},
		{"a.csv", "text,topic\na,pos\n\"b\", neg\n", plain, "a|0 b|1", "pos neg"},
		{"a.tsv", "topic\ttext\n1\ta\r\n0\tb\r\n", plain, "a|1 b|0", "0 1"},
		{"a.tsv", "pos\ta\nneg\tb\n", ReaderOptions{Label: "1", Field: "2", NoHeader: true}, "a|0 b|1", "pos neg"},
		{"a.tsv", "a\tpos\nb\tneg\n", ReaderOptions{Label: "2", Labels: []string{"neg", "pos", "none"}, NoHeader: true}, "a|1 b|0", "neg pos none"},
		{"a.tsv", "a\t5\nb\t1\n", ReaderOptions{Label: "2", Labels: []string{"1", "5"}, NoHeader: true}, "a|1 b|0", "1 5"}, // names, not numbers
		{"a.csv", "prompt,completion,topic\na,b,x\n", ReaderOptions{Label: "topic", Shape: "pair", Template: "{prompt}+{completion}"}, "a+b|0", "x"},
		{"a.jsonl", `{"text":"ab","spans":[{"start":0,"end":1,"label":"X"}],"topic":"x"}`, ReaderOptions{Label: "topic", Shape: "spans"}, "ab|0", "x"},
		{"a.jsonl", `{"topic":"x","messages":[{"role":"assistant","content":"ab"}]}`, ReaderOptions{Label: "topic", Shape: "messages", Template: "{content}"}, "ab|0", "x"},
	} {
		docs, r, err := readClasses(t, c.name, c.content, c.o)
		if err != nil || strings.Join(docs, " ") != c.docs || strings.Join(r.Classes(), " ") != c.classes || !slices.Contains(r.Planes(), PlaneLabel) {
			t.Errorf("%q: %q, classes %q, %v", c.content, docs, r.Classes(), err)
		}
	}
}

func TestBadLabels(t *testing.T) {
	many := "topic\ttext\n"
	for i := range MaxClasses + 1 {
		many += fmt.Sprintf("n%d\ta\n", i)
	}
	o := ReaderOptions{Label: "topic"}
	for _, c := range []struct {
		name, content string
		o             ReaderOptions
		parts         []string
		kept          int // when bad records are skipped
	}{
		{"a.jsonl", `{"text":"a","topic":"x"}` + "\n" + `{"text":"b"}`, o, []string{"a.jsonl:2", `no field "topic"`}, 1},
		{"a.jsonl", `{"text":"a","topic":"x"}` + "\n" + `{"text":"b","topic":" "}`, o, []string{"a.jsonl:2", "the class is empty"}, 1},
		{"a.jsonl", `{"text":"a","topic":"x"}` + "\n" + `{"text":"b","topic":null}`, o, []string{"a.jsonl:2", "$.topic", "found null"}, 1},
		{"a.jsonl", `{"text":"a","topic":1}` + "\n" + `{"text":"b","topic":1.5}`, o, []string{"a.jsonl:2", "$.topic"}, 1},
		{"a.jsonl", `{"text":"a","topic":1}` + "\n" + `{"text":"b","topic":-1}`, o, []string{"a.jsonl:2", "class -1", "0 to 253"}, 1},
		{"a.jsonl", `{"text":"a","topic":1}` + "\n" + `{"text":"b","topic":254}`, o, []string{"a.jsonl:2", "class 254", "0 to 253"}, 1},
		{"a.tsv", "topic\ttext\n1\ta\nx\tb\n0\tc\n", o, []string{"a.tsv:3", `class "x"`, "mixed", "hint"}, 2},
		{"a.tsv", "topic\ttext\nx\ta\n1\tb\n", o, []string{"a.tsv:3", `class "1"`, "mixed"}, 1},
		{"a.tsv", "topic\ttext\nx\ta\ny\tb\n", ReaderOptions{Label: "topic", Labels: []string{"x", "z"}}, []string{"a.tsv:3", `class "y" is none of ["x" "z"]`}, 1},
		{"a.tsv", "topic\ttext\nx\ta\n2\tb\n", ReaderOptions{Label: "topic", Labels: []string{"x", "z"}}, []string{"a.tsv:3", `"2" is none of`}, 1},
		{"a.tsv", "topic\ttext\nx\ta\n" + strings.Repeat("y", maxTypeName+1) + "\tb\n", o, []string{"a.tsv:3", "1 to 64 bytes"}, 1},
		{"a.tsv", many, o, []string{"a.tsv:256", `class "n254" would be the 255th, the most is 254`, "hint"}, 254},
	} {
		_, _, err := readClasses(t, c.name, c.content, c.o)
		wantKind(t, err, fault.Data, c.parts...)
		c.o.OnBadRecord = "skip"
		docs, r, err := readClasses(t, c.name, c.content, c.o)
		if rep := r.Report(); err != nil || len(docs) != c.kept || rep.Skipped != 1 || !strings.Contains(rep.SkipReasons[0], c.parts[0]) {
			t.Errorf("%.60q: %d documents, %+v, %v", c.content, len(docs), rep, err)
		}
	}
	for _, c := range []struct {
		name, content string
		o             ReaderOptions
		parts         []string
	}{
		{"a.txt", "a", o, []string{`label "topic"`, "a.txt is read as txt", "hint"}},
		{"a.conll", "a O", o, []string{"is read as conll"}},
		{"a.csv", "text\na\n", ReaderOptions{Labels: []string{"x"}}, []string{"labels", "hint: set label"}},
		{"a.csv", "text\na\n", ReaderOptions{Label: "text"}, []string{`field "text" holds the text already`}},
		{"a.csv", "text\na\n", ReaderOptions{Label: "topic", Labels: []string{"x", "x"}}, []string{`class "x" is given twice`}},
		{"a.csv", "text\na\n", ReaderOptions{Label: "topic", Labels: []string{""}}, []string{"1 to 64 bytes"}},
	} {
		c.o.Paths = []string{folder(t, map[string]string{c.name: c.content})}
		_, err := Open(c.o)
		wantKind(t, err, fault.Usage, c.parts...)
	}
	for content, want := range map[string]string{
		"text\na\n":                 "a.csv:1: no column \"topic\"",
		"text,topic,topic\na,b,c\n": `two columns are called "topic"`,
	} {
		_, _, err := readClasses(t, "a.csv", content, o)
		wantKind(t, err, fault.Data, want)
	}
	for _, label := range []string{"1", "topic", "label", "0"} {
		_, _, err := readClasses(t, "a.csv", "a,b\n", ReaderOptions{Label: label, NoHeader: true})
		wantKind(t, err, fault.Data, "label", "hint")
	}
}

func TestLabelPlane(t *testing.T) {
	tok := chatTokenizer(t)
	o := EncodeOptions{BOS: tok.EOS, EOS: tok.EOS, Planes: []string{PlaneLabel, PlaneLoss}}
	content := "text,topic\nhello,pos\nmore and more,neg\nhello,pos\n"
	var all []Encoded
	encode := func(content string, from Mark) (stats EncodeStats, err error) {
		all, o.From = nil, from
		return EncodeAll(openText(t, "a.csv", content, ReaderOptions{Label: "topic"}), tok, o, func(e Encoded) error {
			e.Source = ""
			all = append(all, e)
			return nil
		})
	}
	stats, err := encode(content, Mark{})
	if err != nil || len(all) != 3 || !slices.Equal(stats.Classes, []int64{2, 1}) {
		t.Fatalf("%+v, %v", stats, err)
	}
	for i, class := range []byte{0, 1, 0} {
		if labels := all[i].Planes[PlaneLabel]; len(labels) != len(all[i].Tokens) || strings.Trim(string(labels), string([]byte{class})) != "" {
			t.Errorf("document %d: %v for %d tokens", i, labels, len(all[i].Tokens))
		}
	}
	classes, err := ParseClasses(stats.Provenance[PlaneLabel])
	if err != nil || !slices.Equal(classes, []string{"pos", "neg"}) || !strings.Contains(stats.Provenance[PlaneLabel], `field "topic"`) {
		t.Errorf("%q, %v", stats.Provenance, err)
	}
	// Going on gives the same, and notices that a class has changed.
	whole := all
	if stats, err = encode(content, whole[1].Mark); err != nil || !reflect.DeepEqual(all, whole[2:]) || stats.Provenance[PlaneLabel] == "" {
		t.Errorf("%+v, %v", all, err)
	}
	if classes, err = ParseClasses(stats.Provenance[PlaneLabel]); err != nil || !slices.Equal(classes, []string{"pos", "neg"}) {
		t.Errorf("%q, %v", classes, err)
	}
	_, err = encode(strings.Replace(content, "more,neg", "more,pos", 1), whole[1].Mark)
	wantKind(t, err, fault.Data, "are not those that were encoded before")

	// The largest number of classes, with names of numbers, fits.
	var names []string
	for i := range MaxClasses {
		names = append(names, fmt.Sprint(i))
	}
	if table, err := newClassTable(names); err != nil || len(table.names) != MaxClasses {
		t.Errorf("%d classes, %v", len(table.names), err)
	}
	for _, bad := range []string{"", `BIO 1: "a"`, `LABEL 1: "a`, `LABEL 1:` + strings.Repeat(` "a"`, MaxClasses+1)} {
		_, err := ParseClasses(bad)
		wantKind(t, err, fault.Data)
	}
}

// Where the space before a word is a token of its own, the tag of an entity that begins with the word is on the first letter.
func TestFirstSubwordBehindASpace(t *testing.T) {
	tok := trained(t, TrainOptions{Vocab: 1 << 9}, "Fox Fox in in") // words with their space, but also letters alone
	bytesOnly := scrambled(t, draw(1), "x", 0)                      // every byte is a token
	for _, tok := range []*Tokenizer{tok, bytesOnly} {
		content := "in O\nZoo B-X\nPark I-X\nat O\nZee B-Y\n"
		docs, stats := encoded(t, tok, openText(t, "a.conll", content, ReaderOptions{}), EncodeOptions{BOS: -1, EOS: -1, Planes: []string{PlaneBIO}, FirstSubword: true}, PlaneBIO)
		if stats.LostEntities != 0 || stats.Tagged != 3 {
			t.Errorf("%q, %+v", docs, stats)
		}
	}
	text := []byte("in Zoo Park at")
	d := Document{Text: text, Tagged: true, Spans: []LabelSpan{{Start: 3, End: 11, Kind: Entity}}}
	e := documentEncoder{e: bytesOnly.NewEncoder(), o: &EncodeOptions{FirstSubword: true}}
	content := bytesOnly.Encode(nil, text)
	e.ends = bytesOnly.TokenEnds(nil, content)
	const n = TagNone
	if tags, lost := e.tags(&d, content); lost != 0 || !slices.Equal(tags, []byte{0, n, n, 1, n, n, n, 2, n, n, n, n, 0, n}) {
		t.Errorf("%v, %d lost", tags, lost)
	}
}
