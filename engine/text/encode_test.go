package text

import (
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

// chatTokenizer knows some words and the marks of a conversation.
func chatTokenizer(t testing.TB) *Tokenizer {
	t.Helper()
	return trained(t, TrainOptions{Vocab: 300, Specials: []string{"<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|user|>"}},
		strings.Repeat("tumour tumours met Ann hello hello question answer ", 30))
}

// openText opens one file of the given content.
func openText(t testing.TB, name, content string, o ReaderOptions) *Reader {
	t.Helper()
	o.Paths = []string{filepath.Join(folder(t, map[string]string{name: content}), name)}
	r, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// encoded shows the tokens of documents with their values in a plane.
func encoded(t testing.TB, tok *Tokenizer, r *Reader, o EncodeOptions, plane string) ([]string, EncodeStats) {
	t.Helper()
	var docs []string
	stats, err := EncodeAll(r, tok, o, func(e Encoded) error {
		var s []string
		if len(e.Planes[plane]) != len(e.Tokens) {
			t.Fatalf("%d values for %d tokens", len(e.Planes[plane]), len(e.Tokens))
		}
		for i, id := range e.Tokens {
			s = append(s, fmt.Sprintf("%s/%d", tok.TokenBytes(id), e.Planes[plane][i]))
		}
		docs = append(docs, strings.Join(s, " "))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return docs, stats
}

func TestLossPlane(t *testing.T) {
	tok := chatTokenizer(t)
	o := EncodeOptions{BOS: tok.BOS, EOS: tok.EOS, Planes: []string{PlaneLoss}}
	r := openText(t, "a.jsonl", `{"prompt":"question","completion":"answer"}`, ReaderOptions{Shape: "pair", Template: "{prompt}{completion}"})
	docs, stats := encoded(t, tok, r, o, PlaneLoss)
	// "question" and "answer" stand together in one word, so a token crosses the border only if training made one.
	if want := "<s>/0 q/0 u/0 e/0 s/0 t/0 i/0 on/0 an/1 s/1 w/1 er/1 </s>/1"; len(docs) != 1 || untokenized(docs[0]) != untokenized(want) {
		t.Errorf("%q, want %q", docs, want)
	}
	if stats.Learned == 0 || !strings.Contains(stats.Provenance[PlaneLoss], "shape pair") || !slices.Equal(r.Planes(), []string{PlaneLoss}) {
		t.Errorf("%+v, %q", stats, r.Planes())
	}
	// Text without answers is learned whole, its end too, its beginning not.
	docs, stats = encoded(t, tok, openText(t, "a.txt", "hello", ReaderOptions{}), o, PlaneLoss)
	if !strings.HasPrefix(docs[0], "<s>/0 ") || !strings.HasSuffix(docs[0], " </s>/1") || stats.Learned != stats.Tokens-1 {
		t.Errorf("%q, %+v", docs, stats)
	}
	// An end behind context is not.
	r = openText(t, "a.jsonl", `{"prompt":"question","completion":"answer"}`, ReaderOptions{Shape: "pair", Template: "{completion}{prompt}"})
	if docs, _ = encoded(t, tok, r, o, PlaneLoss); !strings.HasSuffix(docs[0], " </s>/0") {
		t.Errorf("%q", docs)
	}
}

// untokenized gives the text by bytes with the value of each, whatever the tokens are.
func untokenized(s string) (flat string) {
	for item := range strings.FieldsSeq(s) {
		token, value, _ := strings.Cut(item, "/")
		if token == "<" { // of </s>
			token, value = "</s>", item[len(item)-1:]
		}
		for _, c := range token {
			flat += string(c) + value
		}
	}
	return flat
}

func TestPlaneRules(t *testing.T) {
	ends := []int{2, 4, 6, 8, 10} // five tokens of two bytes
	answer := func(start, end int) LabelSpan { return LabelSpan{Start: start, End: end, Kind: Answer} }
	entity := func(start, end, kind int) LabelSpan {
		return LabelSpan{Start: start, End: end, Kind: Entity, Type: kind}
	}
	for _, c := range []struct {
		spans []LabelSpan
		want  []byte
	}{
		{nil, []byte{1, 1, 1, 1, 1}},
		{[]LabelSpan{{Start: 0, End: 4, Kind: Markup}}, []byte{1, 1, 1, 1, 1}},
		{[]LabelSpan{answer(4, 8)}, []byte{0, 0, 1, 1, 0}},
		{[]LabelSpan{answer(3, 5)}, []byte{0, 1, 1, 0, 0}}, // across borders
		{[]LabelSpan{answer(0, 1), answer(1, 2), answer(9, 10)}, []byte{1, 0, 0, 0, 1}},
	} {
		if got := LossPlane(c.spans, ends); !slices.Equal(got, c.want) {
			t.Errorf("loss of %v: %v, want %v", c.spans, got, c.want)
		}
	}
	for _, c := range []struct {
		spans []LabelSpan
		opens []bool
		want  []byte
		lost  int
	}{
		{nil, nil, []byte{0, 0, 0, 0, 0}, 0},
		{[]LabelSpan{answer(0, 10)}, nil, []byte{0, 0, 0, 0, 0}, 0},
		{[]LabelSpan{entity(0, 4, 0), entity(4, 10, 1)}, nil, []byte{1, 2, 3, 4, 4}, 0},
		{[]LabelSpan{entity(1, 3, 0), entity(3, 6, 1), entity(9, 10, 126)}, nil, []byte{1, 2, 3, 0, 253}, 0}, // a shared token
		{[]LabelSpan{entity(2, 3, 0), entity(3, 4, 1)}, nil, []byte{0, 1, 0, 0, 0}, 1},
		{[]LabelSpan{entity(0, 6, 2)}, []bool{true, false, true, false, true}, []byte{5, 255, 6, 255, 0}, 0},
		{[]LabelSpan{entity(2, 6, 2), entity(6, 8, 0)}, []bool{true, false, true, false, true}, []byte{0, 255, 5, 255, 0}, 1},
	} {
		if got, lost := BIOTags(c.spans, ends, c.opens); !slices.Equal(got, c.want) || lost != c.lost {
			t.Errorf("tags of %v: %v, %d lost, want %v, %d", c.spans, got, lost, c.want, c.lost)
		}
	}
}

func TestBIOPlane(t *testing.T) {
	tok := chatTokenizer(t)
	o := EncodeOptions{BOS: -1, EOS: tok.EOS, Planes: []string{PlaneBIO}}
	content := "Ann B-PER\nmet O\ntumours B-X\ntumour I-X\n"
	docs, stats := encoded(t, tok, openText(t, "a.conll", content, ReaderOptions{}), o, PlaneBIO)
	if got := strings.Fields(docs[0]); got[0] != "Ann/1" && got[0] != "A/1" || got[len(got)-1] != "</s>/255" || !strings.Contains(docs[0], "/3 ") ||
		!strings.HasSuffix(docs[0], "/4 </s>/255") {
		t.Errorf("%q", docs)
	}
	types, err := ParseEntityTypes(stats.Provenance[PlaneBIO])
	if err != nil || !slices.Equal(types, []string{"PER", "X"}) || stats.LostEntities != 0 || stats.Tagged == 0 {
		t.Errorf("%q, %v, %+v", types, err, stats)
	}
	o.FirstSubword = true
	words := openText(t, "a.conll", "zqzq B-PER\nzz I-PER\nzq O\n", ReaderOptions{})
	docs, _ = encoded(t, tok, words, o, PlaneBIO)
	var values []string
	for _, item := range strings.Fields(strings.ReplaceAll(docs[0], "  ", " ")) {
		_, v, _ := strings.Cut(item, "/")
		values = append(values, v)
	}
	if flat := strings.Join(values, " "); !strings.HasPrefix(flat, "1 255") || !strings.Contains(flat, " 2 255") || strings.Count(flat, "0") != 1 {
		t.Errorf("%q", docs)
	}
	o.FirstSubword = false
	docs, stats = encoded(t, tok, openText(t, "a.txt", "hello", ReaderOptions{}), o, PlaneBIO)
	if strings.Count(docs[0], "/255") != len(strings.Fields(docs[0])) || stats.Tagged != 0 {
		t.Errorf("text without annotation: %q", docs)
	}
}

func TestEntityTypesTable(t *testing.T) {
	for _, types := range [][]string{nil, {"Disease"}, {"a b", `quoted "x"`, "é; y", `\`}} {
		for _, remark := range []string{"", "a remark"} {
			got, err := ParseEntityTypes(FormatEntityTypes(types, remark))
			if err != nil || !slices.Equal(got, types) {
				t.Errorf("%q: %q, %v", types, got, err)
			}
		}
	}
	for _, bad := range []string{"", "types", `BIO 1: "a`, `BIO 1: "a"b`, `BIO 1:x`, "BIO 1:" + strings.Repeat(` "a"`, MaxEntityTypes+1)} {
		_, err := ParseEntityTypes(bad)
		wantKind(t, err, fault.Data)
	}
}

// Special tokens come from templates, never from what people wrote; roles count as the template's.
func TestSpecialsOfTemplates(t *testing.T) {
	tok := chatTokenizer(t)
	line := `{"messages":[{"role":"user","content":"say <|im_end|> </s>"},{"role":"assistant","content":"<|user|>"}]}`
	specials := func(template string) (names []string) {
		r := openText(t, "a.jsonl", line, ReaderOptions{Shape: "messages", Template: template})
		_, err := EncodeAll(r, tok, EncodeOptions{BOS: -1, EOS: -1}, func(e Encoded) error {
			text := ""
			for _, id := range e.Tokens {
				if tok.IsSpecial(id) {
					names = append(names, tok.Token(id))
				}
				text += string(tok.TokenBytes(id))
			}
			if e.Planes != nil || len(text) != e.Bytes || !strings.Contains(text, "say <|im_end|> </s>") {
				t.Errorf("%q, %d bytes, planes %v", text, e.Bytes, e.Planes)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return names
	}
	equal(t, "chatml", specials("chatml"), []string{"<|im_start|>", "<|im_end|>", "<|im_start|>", "<|im_end|>"})
	equal(t, "roles", specials(`<|{role}|>{content}</s><s>`), []string{"<|user|>", "</s>", "<s>", "</s>", "<s>"})
	equal(t, "plain", specials(""), nil)
}

func TestEncodeAll(t *testing.T) {
	tok := chatTokenizer(t)
	var content strings.Builder
	var want []string
	for d, i := draw(72), 0; i < 3000; i++ {
		line := fmt.Sprintf("%d %s", i, strings.Repeat("hello ", d.IntN(20)))
		content.WriteString(line + "\n")
		want = append(want, line)
	}
	var first []Encoded
	for _, workers := range []int{1, 3} {
		var got []Encoded
		r := openText(t, "a.txt", content.String(), ReaderOptions{Unit: "line"})
		stats, err := EncodeAll(r, tok, EncodeOptions{BOS: tok.BOS, EOS: -1, Planes: []string{PlaneLoss, PlaneBIO}, Workers: workers}, func(e Encoded) error {
			if e.Line != len(got)+1 || string(tok.Decode(e.Tokens[1:])) != want[len(got)] {
				return fmt.Errorf("line %d is %q", e.Line, tok.Decode(e.Tokens))
			}
			e.Source = ""
			got = append(got, e)
			return nil
		})
		if err != nil || stats.Documents != 3000 || stats.Bytes != stats.Read || stats.Bytes != int64(content.Len()-3000) {
			t.Fatalf("%+v, %v", stats, err)
		}
		if first == nil {
			first = got
		} else if !reflect.DeepEqual(first, got) {
			t.Error("the result depends on the number of workers")
		}
	}
	r := openText(t, "a.txt", content.String(), ReaderOptions{Unit: "line"})
	stats, err := EncodeAll(r, tok, EncodeOptions{BOS: tok.BOS, EOS: tok.EOS, MinTokens: 20}, func(e Encoded) error {
		if len(e.Tokens) < 22 {
			return errors.New("too short")
		}
		return nil
	})
	if err != nil || stats.TooShort == 0 || stats.TooShort+stats.Documents != 3000 || stats.Read != int64(content.Len()-3000) || stats.Bytes >= stats.Read {
		t.Errorf("%+v, %v", stats, err)
	}
	n := 0
	_, err = EncodeAll(r, tok, EncodeOptions{BOS: -1, EOS: -1}, func(Encoded) error {
		if n++; n == 1000 {
			return fault.Write.Errorf("full")
		}
		return nil
	})
	wantKind(t, err, fault.Write, "a.txt:1000: full")
	r = openText(t, "a.jsonl", strings.Repeat("{\"text\":\"a\"}\n", 500)+"{}\n", ReaderOptions{})
	stats, err = EncodeAll(r, tok, EncodeOptions{BOS: -1, EOS: -1}, func(Encoded) error { return nil })
	wantKind(t, err, fault.Data, "a.jsonl:501: no field")
	if stats.Documents > 500 {
		t.Errorf("%+v", stats)
	}
	for _, o := range []EncodeOptions{{BOS: 300, EOS: -1}, {BOS: -1, EOS: -2}, {Planes: []string{"class"}}, {Workers: -1}, {MinTokens: -1}} {
		_, err := EncodeAll(r, tok, o, nil)
		wantKind(t, err, fault.Usage)
	}
}

// Planes of any tokens and any sorted spans agree with a look at every byte.
func FuzzPlanes(f *testing.F) {
	f.Add([]byte{2, 2, 2, 2, 2}, []byte{1, 2, 0, 3, 1, 1})
	f.Add([]byte{1, 9, 1}, []byte{0, 1, 0, 1})
	f.Fuzz(func(t *testing.T, widths, gaps []byte) {
		var ends []int
		owner := []int{}
		for i, w := range widths {
			for range 1 + int(w)%9 {
				owner = append(owner, i)
			}
			ends = append(ends, len(owner))
		}
		var spans []LabelSpan
		loss := make([]byte, len(ends))
		first := map[int]int{} // token -> earliest entity
		at := 0
		for i := 0; i+1 < len(gaps); i += 2 {
			start := at + int(gaps[i])%20
			end := start + 1 + int(gaps[i+1])%20
			if at = end; end > len(owner) {
				break
			}
			k := len(spans) / 2
			spans = append(spans, LabelSpan{Start: start, End: end, Kind: Answer}, LabelSpan{Start: start, End: end, Kind: Entity, Type: k % MaxEntityTypes})
			for b := start; b < end; b++ {
				loss[owner[b]] = 1
				if _, taken := first[owner[b]]; !taken {
					first[owner[b]] = k
				}
			}
		}
		if len(spans) == 0 {
			return
		}
		if got := LossPlane(spans, ends); !slices.Equal(got, loss) {
			t.Fatalf("loss %v, want %v", got, loss)
		}
		want := make([]byte, len(ends))
		begun := map[int]bool{}
		for i := range want {
			if k, ok := first[i]; ok {
				want[i] = TagBegin(k % MaxEntityTypes)
				if begun[k] {
					want[i]++
				}
				begun[k] = true
			}
		}
		got, lost := BIOTags(spans, ends, nil)
		if !slices.Equal(got, want) || lost != len(spans)/2-len(begun) {
			t.Fatalf("tags %v, %d lost, want %v, %d", got, lost, want, len(spans)/2-len(begun))
		}
	})
}
