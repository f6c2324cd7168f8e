package text

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/kernels/philox"
)

// sample has several scripts, contractions, runs of space, composed and astral characters.
const sample = `The quick brown fox doesn't jump; it's we'll, they've and I'd who're jumping, he said. I'm 42.5 years old!!!
	if err != nil {  return fmt.Errorf("%w: %d", err, n)  }
Съешь же ещё этих мягких французских булок, да выпей чаю.   天地玄黃,宇宙洪荒。日月盈昃,辰宿列張。
ἐν ἀρχῇ ἦν ὁ λόγος — नमस्ते दुनिया, مرحبا بالعالم, שלום עולם, สวัสดีชาวโลก, 안녕하세요 세계 ①②Ⅷ ½ ٣٤
😀👩‍👩‍👧‍👦🇩🇪 naïve café e` + "\u0301\u00a0\u2003\u3000x\u0085y" + `

the the the other others mother another brother thing things something nothing everything anything
`

func texts(docs ...string) iter.Seq2[[]byte, error] {
	return func(yield func([]byte, error) bool) {
		for _, d := range docs {
			if !yield([]byte(d), nil) {
				return
			}
		}
	}
}

func trained(t testing.TB, o TrainOptions, docs ...string) *Tokenizer {
	t.Helper()
	tok, _, err := Train(texts(docs...), o)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func draw(item uint64) *philox.Draw {
	d := philox.New(1, philox.StreamTest, item, 0)
	return &d
}

// scrambled returns a vocabulary whose merges are in random order, so that a merge can open the way for one of lower rank,
// and in which several merges make the same token.
func scrambled(t testing.TB, d *philox.Draw, alphabet string, size int) *Tokenizer {
	t.Helper()
	var tokens [][]byte
	ids := map[string]int32{}
	add := func(token string) int32 {
		id, ok := ids[token]
		if !ok {
			id = int32(len(tokens))
			ids[token] = id
			tokens = append(tokens, []byte(token))
		}
		return id
	}
	for b := range 256 {
		add(string([]byte{byte(b)}))
	}
	pool := []int32{}
	for _, c := range []byte(alphabet) {
		pool = append(pool, int32(c))
	}
	var merges []merge
	seen := map[[2]int32]bool{}
	for range size {
		l, r := pool[d.IntN(len(pool))], pool[d.IntN(len(pool))]
		if token := string(tokens[l]) + string(tokens[r]); len(token) <= 9 && !seen[[2]int32{l, r}] {
			seen[[2]int32{l, r}] = true
			made := add(token)
			pool = append(pool, made)
			merges = append(merges, merge{l, r, made})
		}
	}
	d.Permute(len(merges), func(i, j int) { merges[i], merges[j] = merges[j], merges[i] })
	tok, err := newTokenizer(tokens, make([]bool, len(tokens)), merges)
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// randomText draws from units; with units of single bytes it is mostly invalid UTF-8.
func randomText(d *philox.Draw, units []string, n int) []byte {
	var b strings.Builder
	for range n {
		b.WriteString(units[d.IntN(len(units))])
	}
	return []byte(b.String())
}

func allBytes() []string {
	var units []string
	for b := range 256 {
		units = append(units, string([]byte{byte(b)}))
	}
	return units
}

// units splits s into characters.
func units(s string) []string { return strings.Split(s, "") }

func wantKind(t *testing.T, err error, kind fault.Kind, parts ...string) {
	t.Helper()
	if fault.Of(err) != kind {
		t.Errorf("error %v has kind %d, want %d", err, fault.Of(err), kind)
		return
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not contain %q", err, part)
		}
	}
}

func names(t *Tokenizer, ids []int32) []string {
	var s []string
	for _, id := range ids {
		s = append(s, t.Token(id))
	}
	return s
}

func equal[T comparable](t *testing.T, what string, got, want []T) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("%s: got %.2000s, want %.2000s", what, fmt.Sprint(got), fmt.Sprint(want))
	}
}
