package text

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

// goldenFile reads NAME.json of the folder of independent vectors; PALIMPSEST_GOLDEN names another folder.
func goldenFile(t *testing.T, name string, into any) {
	t.Helper()
	dir := filepath.Join("testdata", "golden")
	if other := os.Getenv("PALIMPSEST_GOLDEN"); other != "" {
		dir = other
	}
	raw, err := os.ReadFile(filepath.Join(dir, name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, into); err != nil {
		t.Fatal(err)
	}
}

// signed turns the values of a sign plane into numbers.
func signed(plane []byte) []int {
	n := make([]int, len(plane))
	for i, v := range plane {
		n[i] = int(int8(v))
	}
	return n
}

func TestGoldenAnnotations(t *testing.T) {
	var golden struct {
		Annotation []struct {
			Negative, Corrected                   []int32
			Pad                                   int32
			Full, Diff, First, Align, Align_first []int
		}
		Spans []struct {
			Text           string
			Offsets, Spans [][2]int
			Prompt_tokens  int
			All, First     []int
		}
	}
	goldenFile(t, "tnt", &golden)
	if len(golden.Annotation) == 0 || len(golden.Spans) == 0 {
		t.Fatalf("%d annotations and %d spans", len(golden.Annotation), len(golden.Spans))
	}
	unpadded := func(ids []int32, pad int32) []int32 {
		for len(ids) > 0 && ids[len(ids)-1] == pad {
			ids = ids[:len(ids)-1]
		}
		return ids
	}
	for i, a := range golden.Annotation {
		generation := unpadded(a.Negative, a.Pad)
		for rule, want := range map[string][]int{RuleFull: a.Full, RuleDiff: a.Diff, RuleFirst: a.First, RuleAlign: a.Align, RuleAlignFirst: a.Align_first} {
			got, err := CorrectionSigns(rule, generation, unpadded(a.Corrected, a.Pad))
			if err != nil {
				t.Fatal(err)
			}
			equal(t, fmt.Sprintf("annotation %d, %s", i, rule), signed(got), want[:len(generation)])
		}
	}
	for i, s := range golden.Spans {
		at := make([]int, 0, len(s.Text)+1) // bytes of code points
		for k := range s.Text {
			at = append(at, k)
		}
		at = append(at, len(s.Text))
		var starts, ends []int
		for _, o := range s.Offsets {
			starts, ends = append(starts, at[o[0]]), append(ends, at[o[1]])
		}
		var spans [][2]int
		for _, p := range s.Spans {
			spans = append(spans, [2]int{at[p[0]], at[p[1]]})
		}
		for first, want := range map[bool][]int{false: s.All, true: s.First} {
			got, _ := SpanSigns(spans, starts, ends, first)
			for k := range s.Prompt_tokens {
				got[k] = SignNone
			}
			equal(t, fmt.Sprintf("spans %d, first %t", i, first), signed(got), want)
		}
	}
}

// Against the plain recursive definition, over random texts of few tokens.
func TestAlignIsALongestCommonSubsequence(t *testing.T) {
	d := draw(11)
	for range 300 {
		random := func() []int32 {
			ids := make([]int32, d.IntN(9))
			for i := range ids {
				ids[i] = int32(d.IntN(4))
			}
			return ids
		}
		g, c := random(), random()
		var lcs func(i, j int) int
		lcs = func(i, j int) int {
			switch {
			case i == len(g) || j == len(c):
				return 0
			case g[i] == c[j]:
				return 1 + lcs(i+1, j+1)
			}
			return max(lcs(i+1, j), lcs(i, j+1))
		}
		want := make([]int, len(g))
		for i, j := 0, 0; i < len(g); {
			switch {
			case j < len(c) && g[i] == c[j]:
				want[i] = 1
				i, j = i+1, j+1
			case j == len(c) || lcs(i+1, j) >= lcs(i, j+1):
				want[i] = -1
				i++
			default:
				j++
			}
		}
		got, err := CorrectionSigns(RuleAlign, g, c)
		if err != nil {
			t.Fatal(err)
		}
		equal(t, fmt.Sprintf("%v against %v", g, c), signed(got), want)
		kept := 0
		for _, w := range want {
			kept += (w + 1) / 2
		}
		if kept != lcs(0, 0) {
			t.Errorf("%v against %v: %d kept, the longest common subsequence has %d", g, c, kept, lcs(0, 0))
		}
	}
	if _, err := CorrectionSigns(RuleAlign, make([]int32, 1<<16), append([]int32{1}, make([]int32, 1<<15)...)); fault.Of(err) != fault.Data {
		t.Errorf("a table of 2^31 cells: %v", err)
	}
}

func TestSpanSigns(t *testing.T) {
	starts, ends := []int{0, 3, 5, 5, 9}, []int{3, 5, 5, 9, 12} // the third comes from nothing
	for _, x := range []struct {
		spans      [][2]int
		all, first []int
		lost       int
	}{
		{nil, []int{1, 1, 1, 1, 1}, []int{1, 1, 1, 1, 1}, 0},
		{[][2]int{{4, 10}}, []int{1, -1, 1, -1, -1}, []int{1, -1, 1, 0, 0}, 0},
		{[][2]int{{9, 10}, {0, 1}}, []int{-1, 1, 1, 1, -1}, []int{-1, 1, 1, 1, -1}, 0},
		{[][2]int{{0, 4}, {4, 6}}, []int{-1, -1, 1, -1, 1}, []int{-1, -1, 1, 0, 1}, 0},
		{[][2]int{{0, 5}, {4, 6}}, []int{-1, -1, 1, -1, 1}, []int{-1, 0, 1, 0, 1}, 0}, // joined
		{[][2]int{{12, 14}, {2, 3}}, []int{-1, 1, 1, 1, 1}, []int{-1, 1, 1, 1, 1}, 1},
	} {
		for first, want := range map[bool][]int{false: x.all, true: x.first} {
			got, lost := SpanSigns(x.spans, starts, ends, first)
			equal(t, fmt.Sprintf("%v, first %t", x.spans, first), signed(got), want)
			if lost != x.lost {
				t.Errorf("%v: %d lost, want %d", x.spans, lost, x.lost)
			}
		}
	}
}

// The places of tokens cover the characters that their bytes are part of.
func TestSpell(t *testing.T) {
	tok := trained(t, TrainOptions{Vocab: 300}, "the red fox")
	for _, text := range []string{"the red fox é€😀 x", "", " é"} {
		ids := tok.Encode(nil, []byte(text))
		spelled, starts, ends := tok.Spell(ids)
		if string(spelled) != text {
			t.Errorf("%q is spelled %q", text, spelled)
		}
		_, spans := tok.EncodeOffsets([]byte(text))
		for i := range ids {
			points := Span{len([]rune(text[:starts[i]])), len([]rune(text[:ends[i]]))}
			if points != spans[i] {
				t.Errorf("%q, token %d: %v, want %v", text, i, points, spans[i])
			}
		}
	}
	// What is no character becomes U+FFFD byte by byte, as encoding/json does it; special tokens have no place.
	raw := []byte("a\xe2\x82 \xffb")
	var ids []int32
	for _, b := range raw {
		ids = append(ids, tok.Encode(nil, []byte{b})...)
	}
	ids = slices.Insert(ids, 1, tok.EOS)
	spelled, starts, ends := tok.Spell(ids)
	quoted, err := json.Marshal(string(slices.Insert(slices.Clone(raw), 1, '\n')))
	var want string
	if e := json.Unmarshal(quoted, &want); err != nil || e != nil || string(spelled) != want {
		t.Errorf("%q, want %q", spelled, want)
	}
	equal(t, "starts", starts, []int{0, 1, 2, 5, 8, 9, 12})
	equal(t, "ends", ends, []int{1, 1, 5, 8, 9, 12, 13})
	wordPiece := trained(t, TrainOptions{Kind: KindWordPiece, Vocab: 60, MinFrequency: 1}, "the red fox")
	spelled, starts, _ = wordPiece.Spell(wordPiece.Encode(nil, []byte("the  fox")))
	if string(spelled) != "the fox" || starts[0] != 0 || !slices.Contains(starts, 4) {
		t.Errorf("%q, %v", spelled, starts)
	}
}

func TestWordList(t *testing.T) {
	path := filepath.Join(t.TempDir(), "words.txt")
	list := func(content string, keepCase bool) (*WordList, error) {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
		return ReadWords(path, keepCase)
	}
	marked := func(f SpanFinder, text string) string {
		t.Helper()
		spans, err := f.Find([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range slices.Backward(spans) {
			text = text[:s[0]] + "<" + text[s[0]:s[1]] + ">" + text[s[1]:]
		}
		return text
	}
	w, err := list("# unwanted\nThee\nnew york\nnew york city\nc++\nstraße\n", false)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		"I love thee, THEE; theer seethe thee_": "I love <thee>, <THEE>; theer seethe thee_",
		"in New  \n York City or new york":      "in <New  \n York City> or <new york>",
		"new yorker, new":                       "new yorker, new",
		"C++ and c+++ and xc++":                 "<C++> and <c++>+ and xc++",
		"STRAßE Straße ſtraße":                  "<STRAßE> <Straße> <ſtraße>",
		"thee\u0301 thee":                       "thee\u0301 <thee>",
	} {
		if got := marked(w, text); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if w, err = list("Thee", true); err != nil || marked(w, "thee Thee") != "thee <Thee>" {
		t.Errorf("with case: %v", err)
	}
	_, err = list("thee\n...\n", false)
	wantKind(t, err, fault.Data, "words.txt:2", "...", "no letter")

	if err := os.WriteFile(path, []byte("# marks\n\\bth\\w+\n[0-9]+\nx*\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	p, err := ReadPatterns(path)
	if err != nil || marked(p, "the 12 xx fox") != "<the> <12> <xx> fo<x>" {
		t.Errorf("%v, %v", p, err)
	}
	if err := os.WriteFile(path, []byte("a\n\n(b\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	_, err = ReadPatterns(path)
	wantKind(t, err, fault.Data, "words.txt:3", "missing closing )", "hint")
}

// records reads JSON lines of the shape generation and encodes them.
func records(t *testing.T, tok *Tokenizer, o EncodeOptions, lines ...string) ([]Encoded, EncodeStats, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "records.jsonl")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := Open(ReaderOptions{Paths: []string{path}, Shape: "generation"})
	if err != nil {
		t.Fatal(err)
	}
	var all []Encoded
	stats, err := EncodeAll(r, tok, o, func(e Encoded) error { all = append(all, e); return nil })
	return all, stats, err
}

func TestSignPlaneOfRecords(t *testing.T) {
	tok := trained(t, TrainOptions{Vocab: 256 + 8}, "xy") // bytes are tokens
	o := func(rule string) EncodeOptions {
		return EncodeOptions{BOS: tok.BOS, EOS: tok.EOS, Planes: []string{PlaneLoss, PlaneSign}, Sign: SignRule{Name: rule}, Workers: 1}
	}
	for _, x := range []struct {
		rule, record string
		want         []int // BOS, the bytes, EOS
	}{
		{"auto", `{"prompt": "ab", "generation": "cde", "correction": "ce"}`, []int{0, 0, 0, 1, -1, 1, 1}},
		{"", `{"generation": "cde", "correction": "cde and more", "spans": [{"start": 1, "end": 2, "text": "d"}]}`, []int{0, 1, -1, 1, 1}},
		{"align", `{"prompt": null, "generation": "cdefg", "correction": "cg", "spans": []}`, []int{0, 1, -1, -1, -1, 1, 1}},
		{"align_first", `{"generation": "cdefg", "correction": "cg"}`, []int{0, 1, -1, 0, 0, 1, 1}},
		{"diff", `{"generation": "cd", "correction": "cde"}`, []int{0, 1, 1, -1}},
		{"first", `{"generation": "cdx", "correction": "xde"}`, []int{0, -1, 1, 1, 1}},
		{"full", `{"prompt": "a", "generation": "cd"}`, []int{0, 0, -1, -1, -1}},
		{"correct", `{"prompt": "ab", "generation": "cde", "correction": "ce", "ended": false}`, []int{0, 0, 0, 1, 1, 1}},
		{"correct_diff", `{"prompt": "ab", "generation": "cde", "correction": "ce"}`, []int{0, 0, 0, 0, 1, 1}},
		{"correct_first", `{"prompt": "ab", "generation": "cde", "correction": "ce", "spans": []}`, []int{0, 0, 0, 0, 1, 0}},
		{"spans", `{"prompt": "a", "generation": "é d", "spans": [{"start": 0, "end": 1, "label": "X"}], "ended": false}`, []int{0, 0, -1, -1, 1, 1, 0}},
		{"auto", `{"prompt": "a", "generation": "cdd", "tokens": [` + fmt.Sprint(tok.Encode(nil, []byte("c"))[0], ",", tok.Encode(nil, []byte("d"))[0], ",", tok.Encode(nil, []byte("d"))[0]) +
			`], "correction": "cd"}`, []int{0, 0, 1, 1, -1, 1}},
	} {
		all, stats, err := records(t, tok, o(x.rule), x.record)
		if err != nil {
			t.Errorf("%s %s: %v", x.rule, x.record, err)
			continue
		}
		got := signed(all[0].Planes[PlaneSign])
		equal(t, x.rule+" "+x.record, got, x.want)
		if strings.HasPrefix(x.rule, "correct") && string(all[0].Planes[PlaneLoss]) != string(all[0].Planes[PlaneSign]) {
			t.Errorf("%s: learned are %v", x.rule, all[0].Planes[PlaneLoss])
		}
		if n := stats.Signs; n.Unwanted+n.Kept+n.None != stats.Tokens || len(all[0].Tokens) != len(got) {
			t.Errorf("%+v", stats)
		}
		for i, v := range all[0].Planes[PlaneLoss] {
			if (got[i] == 0) != (v == 0) && !strings.Contains(x.rule, "first") {
				t.Errorf("%s: token %d has the sign %d and the loss plane %d", x.record, i, got[i], v)
			}
		}
	}
	words := o(RuleFind)
	words.Sign.Find, _ = NewPatterns("c+")
	all, _, err := records(t, tok, words, `{"prompt": "cc", "generation": "ccd"}`)
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "found in the generation alone", signed(all[0].Planes[PlaneSign]), []int{0, 0, 0, -1, -1, 1, 1})
}

func TestBadGenerations(t *testing.T) {
	tok := trained(t, TrainOptions{Vocab: 300}, "the red fox")
	for _, x := range []struct {
		rule, record string
		parts        []string
	}{
		{"auto", `{"generation": "fox", "spans": [{"start": 1, "end": 4}]}`, []string{"records.jsonl:2", "span 1 to 4", "outside", "3 code points"}},
		{"auto", `{"generation": "é fox", "spans": [{"start": 3, "end": 6}]}`, []string{"records.jsonl:2", "span 3 to 6", "5 code points", "6 bytes", "spans count code points"}},
		{"auto", `{"generation": "é fox!", "spans": [{"start": 3, "end": 6, "text": "fox"}]}`, []string{"span 3 to 6", `"ox!"`, `"fox"`}},
		{"auto", `{"generation": "fox", "spans": [{"start": 2, "end": 2}]}`, []string{"span 2 to 2", "is empty"}},
		{"auto", `{"generation": "fox", "spans": [{"start": 2, "end": 1}]}`, []string{"span 2 to 1", "ends before it begins"}},
		{"auto", `{"generation": "fox", "spans": [{"start": -1, "end": 1}]}`, []string{"span -1 to 1"}},
		{"auto", `{"generation": "fox", "spans": [{"begin": 0, "end": 1}]}`, []string{"start and end"}},
		{"auto", `{"generation": "fox"}`, []string{"records.jsonl:2", "neither a correction nor spans"}},
		{"align", `{"generation": "fox", "spans": []}`, []string{"no correction", "align"}},
		{"spans", `{"generation": "fox", "correction": "dog"}`, []string{"no spans"}},
		{"correct", `{"generation": "fox", "spans": []}`, []string{"records.jsonl:2", "no correction"}},
		{"correct_diff", `{"generation": "fox", "correction": "fox"}`, []string{"no token is to be learned"}},
		{"auto", `{"generation": "", "correction": "dog"}`, []string{"generation", "empty"}},
		{"auto", `{"generation": "fox", "correction": ""}`, []string{"correction", "empty", "full"}},
		{"auto", `{"prompt": "fox", "correction": "dog"}`, []string{`no field "generation"`}},
		{"auto", `{"generation": "fox", "spans": [], "tokens": [1, 2]}`, []string{"records.jsonl:2", "token"}},
		{"auto", `{"generation": "fox", "spans": [], "tokens": [100000]}`, []string{"100000", "outside the vocabulary"}},
		{"auto", fmt.Sprintf(`{"generation": "fox", "spans": [], "tokens": [%d]}`, tok.Encode(nil, []byte("x"))[0]), []string{`spell "x"`, `"fox"`}},
		{"auto", `{"generation": "fox", "tokens": [-3]}`, []string{"-3 is no token id"}},
	} {
		_, _, err := records(t, tok, EncodeOptions{BOS: -1, EOS: -1, Planes: []string{PlaneSign}, Sign: SignRule{Name: x.rule}}, "", x.record)
		wantKind(t, err, fault.Data, x.parts...)
	}
	for _, x := range []struct {
		lines []string
		parts []string
	}{
		{[]string{`{"generation": "fox", "correction": "fox red"}`, `{"generation": "the", "spans": []}`}, []string{"no token is unwanted", "2 documents", "kept"}},
		{[]string{`{"generation": "fox", "correction": "abc"}`, `{"generation": "the", "spans": [{"start": 0, "end": 3}]}`}, []string{"all of", "unwanted", "rule full"}},
	} {
		_, _, err := records(t, tok, EncodeOptions{BOS: -1, EOS: -1, Planes: []string{PlaneSign}}, x.lines...)
		wantKind(t, err, fault.Data, x.parts...)
	}
	for _, r := range []SignRule{{Name: "words"}, {Name: RuleFind}, {Name: RuleAlign, FirstToken: true}, {Name: RuleAlign, Find: Patterns{}}} {
		_, _, err := records(t, tok, EncodeOptions{BOS: -1, EOS: -1, Planes: []string{PlaneSign}, Sign: r}, `{"generation": "fox", "spans": []}`)
		wantKind(t, err, fault.Usage, "rule")
	}
}

// Tables have prompts, generations and corrections.
func TestGenerationsInTables(t *testing.T) {
	docs, _, err := readMarked(t, "a.csv", "generation,correction,more\nfox,dog,1\n", ReaderOptions{Shape: "generation"})
	if err != nil || len(docs) != 1 || !strings.Contains(docs[0], "fox") || strings.Contains(docs[0], "dog") {
		t.Errorf("%+v, %v", docs, err)
	}
	_, _, err = readMarked(t, "a.csv", "generation,spans\nfox,1\n", ReaderOptions{Shape: "generation"})
	wantKind(t, err, fault.Data, "a.csv:1", "spans", "JSON lines")
	_, _, err = readMarked(t, "a.jsonl", `{"generation": "fox"}`, ReaderOptions{})
	wantKind(t, err, fault.Data, "a.jsonl:1", "shape generation")
}

func TestMarkedTexts(t *testing.T) {
	path := filepath.Join(t.TempDir(), "marked.jsonl")
	write := func(content string) {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write(`{"prompt": "the ", "generation": "é fox", "spans": [{"start": 2, "end": 5}]}` + "\n" + `{"generation": "dog", "spans": []}`)
	m, err := ReadMarked(path)
	if err != nil {
		t.Fatal(err)
	}
	spans, err := m.Find([]byte("é fox"))
	if err != nil || !slices.Equal(spans, [][2]int{{3, 6}}) {
		t.Errorf("%v, %v", spans, err)
	}
	if spans, err := m.Find([]byte("dog")); err != nil || len(spans) > 0 {
		t.Errorf("%v, %v", spans, err)
	}
	_, err = m.Find([]byte("cat"))
	wantKind(t, err, fault.Data, "marked.jsonl", `"cat"`)
	write(`{"generation": "dog", "spans": []}` + "\n" + `{"generation": "dog", "spans": [{"start": 0, "end": 1}]}`)
	_, err = ReadMarked(path)
	wantKind(t, err, fault.Data, "marked.jsonl:2", "other spans")
	write(`{"generation": "dog"}`)
	_, err = ReadMarked(path)
	wantKind(t, err, fault.Data, "marked.jsonl:1", "no spans")
}

func FuzzGenerationRecords(f *testing.F) {
	f.Add([]byte(`{"prompt": "ab", "generation": "cdé", "correction": "ce", "spans": [{"start": 1, "end": 2, "text": "d"}], "tokens": [1, 2], "ended": false}`))
	f.Add([]byte(`{"generation": "x", "spans": [{"start": 9223372036854775807, "end": -9223372036854775808}]}`))
	m, err := newRecordMap(&ReaderOptions{Shape: "generation"})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		r := recordReader{m: m}
		d, err := r.read(line)
		if err != nil {
			return
		}
		for _, s := range d.Spans {
			if s.Start < 0 || s.End > len(d.Text) || s.Start >= s.End {
				t.Errorf("%+v of %d bytes", s, len(d.Text))
			}
		}
	})
}
