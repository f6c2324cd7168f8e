package text

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"palimpsest/engine/fault"
)

// A recordedCase is [text, ids, ends] as Hugging Face's tokenizers gave them.
type recordedCase struct {
	text      string
	ids, ends []int32
}

func (c *recordedCase) UnmarshalJSON(data []byte) error {
	return json.Unmarshal(data, &[]any{&c.text, &c.ids, &c.ends})
}

// recorded is testdata/sentencepiece.json, made by bench/hf/record_sentencepiece.py.
type recorded struct {
	Unigram []struct {
		Pieces       [][2]string
		Unk          int
		ByteFallback bool `json:"byte_fallback"`
		Cases        []recordedCase
	}
	BPE []struct {
		Without      []string
		Unk          int32
		ByteFallback bool `json:"byte_fallback"`
		FuseUnk      bool `json:"fuse_unk"`
		IgnoreMerges bool `json:"ignore_merges"`
		Cases        []recordedCase
	}
	Vocab      map[string]int32 `json:"bpe_vocab"`
	Merges     [][2]string      `json:"bpe_merges"`
	Charsmap   []byte
	Normalized [][]any
	Clusters   [][2]string
	Metaspace  [][]any
}

var recordings = sync.OnceValues(func() (*recorded, error) {
	data, err := os.ReadFile("testdata/sentencepiece.json")
	if err != nil {
		return nil, err
	}
	r := new(recorded)
	return r, json.Unmarshal(data, r)
})

func recordedCases(t testing.TB) *recorded {
	t.Helper()
	r, err := recordings()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// checkCases encodes every case twice: anew, and appended to what is there, with what the scratch remembers.
func checkCases(t *testing.T, cases []recordedCase, encode func(dst, ends []int32, text []byte) ([]int32, []int32)) {
	t.Helper()
	if len(cases) < 30 {
		t.Fatalf("only %d recorded cases", len(cases))
	}
	for _, before := range [][]int32{nil, {7}} {
		for _, c := range cases {
			ids, ends := encode(slices.Clone(before), slices.Clone(before), []byte(c.text))
			if ids, ends = ids[len(before):], ends[len(before):]; !slices.Equal(ids, c.ids) || !slices.Equal(ends, c.ends) {
				t.Errorf("%q\n got %v %v\nwant %v %v", c.text, ids, ends, c.ids, c.ends)
			}
		}
	}
}

func TestCharBPERecorded(t *testing.T) {
	r := recordedCases(t)
	for i, b := range r.BPE {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			vocab := make(map[string]int32, len(r.Vocab))
			for token, id := range r.Vocab {
				if !slices.Contains(b.Without, token) {
					vocab[token] = id
				}
			}
			m, err := newCharBPE(vocab, r.Merges, b.Unk, b.ByteFallback, b.FuseUnk, b.IgnoreMerges)
			if err != nil {
				t.Fatal(err)
			}
			if !m.cuts {
				t.Error("this vocabulary should be cut into words")
			}
			var s charBPEScratch
			encode := func(dst, ends []int32, text []byte) ([]int32, []int32) { return m.encode(dst, ends, text, &s) }
			checkCases(t, b.Cases, encode)
			m.cuts = false
			s = charBPEScratch{}
			checkCases(t, b.Cases, encode)
		})
	}
}

// TestCharBPELong merges by the heap what mergeShort merges by scanning, and both as the definition says.
func TestCharBPELong(t *testing.T) {
	d := draw(41)
	vocab, merges := map[string]int32{}, [][2]string(nil)
	var tokens []string
	add := func(token string) {
		if _, ok := vocab[token]; !ok {
			vocab[token] = int32(len(tokens))
			tokens = append(tokens, token)
		}
	}
	for _, c := range "abcé" {
		add(string(c))
	}
	for len(merges) < 60 {
		a, b := tokens[d.Uint32()%uint32(len(tokens))], tokens[d.Uint32()%uint32(len(tokens))]
		if len(a+b) > 12 || slices.Contains(merges, [2]string{a, b}) {
			continue
		}
		add(a + b)
		merges = append(merges, [2]string{a, b})
	}
	// A merge may open the way for one of lower rank.
	d.Permute(len(merges), func(i, j int) { merges[i], merges[j] = merges[j], merges[i] })
	m, err := newCharBPE(vocab, merges, -1, false, false, false)
	if err != nil {
		t.Fatal(err)
	}
	var s charBPEScratch
	for n := range 160 {
		var text []rune
		for range 1 + n {
			text = append(text, []rune("abcé")[d.Uint32()%4])
		}
		want := mergedByDefinition(string(text), merges)
		for _, m.cuts = range []bool{true, false} {
			ids, ends := m.encode(nil, nil, []byte(string(text)), &s)
			var got []string
			start := int32(0)
			for i, id := range ids {
				if tokens[id] != string(text)[start:ends[i]] {
					t.Fatalf("token %q covers %d to %d of %q", tokens[id], start, ends[i], string(text))
				}
				got = append(got, tokens[id])
				start = ends[i]
			}
			if !slices.Equal(got, want) {
				t.Fatalf("cuts %v: %q\n got %q\nwant %q", m.cuts, string(text), got, want)
			}
		}
	}
}

// mergedByDefinition applies the merge of lowest rank at its leftmost place until there is none.
func mergedByDefinition(text string, merges [][2]string) []string {
	parts := strings.Split(text, "")
	for {
		best, at := len(merges), -1
		for i := range len(parts) - 1 {
			if rank := slices.Index(merges, [2]string{parts[i], parts[i+1]}); rank >= 0 && rank < best {
				best, at = rank, i
			}
		}
		if at < 0 {
			return parts
		}
		parts = slices.Replace(parts, at, at+2, parts[at]+parts[at+1])
	}
}

func TestCharBPEErrors(t *testing.T) {
	vocab := map[string]int32{"a": 0, "b": 1}
	for name, err := range map[string]error{
		"made": second(newCharBPE(vocab, [][2]string{{"a", "b"}}, -1, false, false, false)),
		"left": second(newCharBPE(vocab, [][2]string{{"c", "b"}}, -1, false, false, false)),
		"id":   second(newCharBPE(map[string]int32{"a": -4}, nil, -1, false, false, false)),
	} {
		if fault.Of(err) != fault.Data {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func second[T any](_ T, err error) error { return err }

func FuzzCharBPE(f *testing.F) {
	r := recordedCases(f)
	cut, err := newCharBPE(r.Vocab, r.Merges, 0, true, true, false)
	if err != nil {
		f.Fatal(err)
	}
	whole := new(charBPE)
	*whole = *cut
	whole.cuts = false
	f.Add([]byte("▁a\xff\xe4▁▁日本"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var s, s2 charBPEScratch
		ids, ends := cut.encode(nil, nil, text, &s)
		ids2, ends2 := whole.encode(nil, nil, text, &s2)
		if !slices.Equal(ids, ids2) || !slices.Equal(ends, ends2) {
			t.Fatalf("%q: %v %v with cuts, %v %v without", text, ids, ends, ids2, ends2)
		}
		if len(text) > 0 && ends[len(ends)-1] != int32(len(text)) {
			t.Fatalf("%q: ends %v", text, ends)
		}
	})
}

func TestRuneTable(t *testing.T) {
	var table runeTable
	table.set(utf8.MaxRune, 5)
	table.set(0, 0)
	if table.id(utf8.MaxRune) != 5 || table.id(0) != 0 || table.id('a') != -1 {
		t.Error("a character was lost or found")
	}
}
