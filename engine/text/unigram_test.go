package text

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"testing"

	"palimpsest/engine/fault"
)

func TestUnigramRecorded(t *testing.T) {
	for i, r := range recordedCases(t).Unigram {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			u := unigramOf(t, r.Pieces, r.Unk, r.ByteFallback)
			var s unigramScratch
			checkCases(t, r.Cases, func(dst, ends []int32, text []byte) ([]int32, []int32) { return u.encode(dst, ends, text, &s) })
		})
	}
}

// unigramOf makes a model of pairs of a piece and the text of its score.
func unigramOf(t testing.TB, pairs [][2]string, unk int, fallback bool) *unigram {
	t.Helper()
	var pieces []string
	var scores []float64
	for _, p := range pairs {
		score, err := parseScore(p[1])
		if err != nil {
			t.Fatal(err)
		}
		pieces, scores = append(pieces, p[0]), append(scores, score)
	}
	u, err := newUnigram(pieces, scores, unk, fallback)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestUnigramBest compares with the best of all segmentations.
func TestUnigramBest(t *testing.T) {
	d := draw(42)
	pieces, scores := []string{"<unk>"}, []float64{0}
	for len(pieces) < 40 {
		var p []rune
		for range 1 + d.Uint32()%4 {
			p = append(p, []rune("abé")[d.Uint32()%3])
		}
		if !slices.Contains(pieces, string(p)) {
			pieces, scores = append(pieces, string(p)), append(scores, -float64(d.Uint32()%1000)/64)
		}
	}
	u, err := newUnigram(pieces, scores, 0, false)
	if err != nil {
		t.Fatal(err)
	}
	score := func(text string, ids, ends []int32) float64 {
		sum, start := 0.0, int32(0)
		for i, id := range ids {
			if id == 0 {
				sum += u.unknown * float64(len([]rune(text[start:ends[i]])))
			} else if pieces[id] != text[start:ends[i]] {
				t.Fatalf("piece %q covers %q", pieces[id], text[start:ends[i]])
			} else {
				sum += scores[id]
			}
			start = ends[i]
		}
		return sum
	}
	var best func(text string) float64
	best = func(text string) float64 {
		if text == "" {
			return 0
		}
		top := math.Inf(-1)
		single := false
		for id, p := range pieces[1:] {
			if len(p) <= len(text) && text[:len(p)] == p {
				top = max(top, scores[id+1]+best(text[len(p):]))
				single = single || len([]rune(p)) == 1
			}
		}
		if n := len(string([]rune(text)[:1])); !single {
			top = max(top, u.unknown+best(text[n:]))
		}
		return top
	}
	var s unigramScratch
	for range 200 {
		var text []rune
		for range 1 + d.Uint32()%9 {
			text = append(text, []rune("abéc")[d.Uint32()%4])
		}
		ids, ends := u.encode(nil, nil, []byte(string(text)), &s)
		if got, want := score(string(text), ids, ends), best(string(text)); got != want {
			t.Errorf("%q: %v scores %v, the best is %v", string(text), ids, got, want)
		}
	}
}

func TestUnigramEdges(t *testing.T) {
	var s unigramScratch
	check := func(name string, u *unigram, text string, ids, ends []int32) {
		t.Helper()
		gotIDs, gotEnds := u.encode(nil, nil, []byte(text), &s)
		if !slices.Equal(gotIDs, ids) || !slices.Equal(gotEnds, ends) {
			t.Errorf("%s: %v %v, expected %v %v", name, gotIDs, gotEnds, ids, ends)
		}
	}
	tie := unigramOf(t, [][2]string{{"<unk>", "0"}, {"a", "-1"}, {"aa", "-2"}, {"a", "-1"}}, 0, false)
	check("of equal paths the longest last piece; of equal pieces the last", tie, "aaa", []int32{3, 2}, []int32{1, 3})
	check("unknown characters are one token", tie, "aé\xffxa", []int32{3, 0, 3}, []int32{1, 5, 6})
	check("the name of the unknown piece joins unknown characters", tie, "x<unk>", []int32{0}, []int32{6})
	check("nothing", tie, "", nil, nil)
	none := unigramOf(t, [][2]string{{"a", "-1"}}, -1, false)
	check("known", none, "a", []int32{0}, []int32{1})
	check("no unknown piece", none, "ab", []int32{-1}, []int32{2})
	bytes := unigramOf(t, [][2]string{{"<unk>", "0"}, {"<0xC3>", "-9"}, {"<0xA9>", "-9"}}, 0, true)
	check("bytes cover the whole run", bytes, "éé", []int32{1, 2, 1, 2}, []int32{4, 4, 4, 4})
	check("one byte without a piece", bytes, "éx", []int32{0}, []int32{3})
	for name, err := range map[string]error{
		"unk":    second(newUnigram([]string{"a"}, []float64{0}, 1, false)),
		"scores": second(newUnigram([]string{"a"}, nil, -1, false)),
		"NaN":    second(newUnigram([]string{"a"}, []float64{math.NaN()}, -1, false)),
	} {
		if fault.Of(err) != fault.Data {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPieceTrie(t *testing.T) {
	d := draw(43)
	ids := map[string]int32{}
	var pieces []string
	for range 20000 {
		p := make([]byte, 1+d.Uint32()%5)
		for i := range p {
			p[i] = byte(d.Uint32() & 0x3F)
		}
		ids[string(p)] = int32(len(pieces))
		pieces = append(pieces, string(p))
	}
	trie := newPieceTrie(pieces)
	for p, id := range ids {
		if got := trie.lookup([]byte(p)); got != id {
			t.Fatalf("%q is %d, expected %d", p, got, id)
		}
		longer := p + "\xfe"
		if got := trie.lookup([]byte(longer)); got != -1 {
			t.Fatalf("%q is %d", longer, got)
		}
	}
	if empty := newPieceTrie(nil); empty.lookup([]byte("a")) != -1 {
		t.Error("an empty trie found a piece")
	}
}

// TestParseScore has numbers that serde_json 1.0 reads beside the nearest float64, and what it makes of them.
func TestParseScore(t *testing.T) {
	for text, want := range map[string]float64{
		"-1.8066158294677734": -1.8066158294677737, "-3.7617428302764893": -3.7617428302764897, "-9.790369987487793": -9.790369987487791,
		"-6.468673229217529": -6.468673229217529, "0": 0, "-3": -3, "1.5E2": 150, "1e-5": 1e-5, "12345678901234567890123": 1.2345678901234567e22,
		"0.00000000000000000000000000000000000001": 1e-38, "5e-324": 5e-324, "0e999999999999999999999": 0, "18446744073709551616": 18446744073709551616,
	} {
		if got, err := parseScore(text); err != nil || math.Abs(got-want) > math.Abs(want)*1e-15 {
			t.Errorf("%s: %v, %v; expected %v", text, got, err, want)
		}
	}
	for _, text := range []string{"-1.8066158294677734", "-3.7617428302764893", "-9.790369987487793"} {
		got, _ := parseScore(text)
		var nearest float64
		if err := json.Unmarshal([]byte(text), &nearest); err != nil || got == nearest {
			t.Errorf("%s is %v, not beside the nearest float64", text, got)
		}
	}
	for _, text := range []string{"", "x", "1e999", "0x10", "NaN", "Inf", "1_0", "--1"} {
		if got, err := parseScore(text); fault.Of(err) != fault.Data {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
}

func FuzzUnigram(f *testing.F) {
	r := recordedCases(f).Unigram[1]
	u := unigramOf(f, r.Pieces, r.Unk, r.ByteFallback)
	f.Add([]byte("▁a\xff\xe4▁▁日本<unk>"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var s unigramScratch
		ids, ends := u.encode(nil, nil, text, &s)
		last := int32(0)
		for i := range ids {
			if ids[i] < 0 || int(ids[i]) >= len(r.Pieces) || ends[i] < last {
				t.Fatalf("%q: %v %v", text, ids, ends)
			}
			last = ends[i]
		}
		if int(last) != len(text) {
			t.Fatalf("%q: ends %v", text, ends)
		}
	})
}
