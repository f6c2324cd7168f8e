package text

import (
	"bytes"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"palimpsest/engine/fault"
)

// refEncode is BPE as it is defined: the pair of lowest rank, leftmost first, until there is none.
func refEncode(t *Tokenizer, text []byte) []int32 {
	var out []int32
	for _, piece := range pieces(text, refPieceEnd) {
		var ids []int32
		for _, b := range []byte(piece) {
			ids = append(ids, t.bpe.bytes[b])
		}
		for {
			best, at := len(t.bpe.merges), -1
			for i := 0; i+1 < len(ids); i++ {
				r := slices.IndexFunc(t.bpe.merges[:best], func(m merge) bool { return m.left == ids[i] && m.right == ids[i+1] })
				if r >= 0 {
					best, at = r, i
				}
			}
			if at < 0 {
				break
			}
			ids = slices.Replace(ids, at, at+2, t.bpe.merges[best].made)
		}
		out = append(out, ids...)
	}
	return out
}

func TestEncodeEqualsReference(t *testing.T) {
	d := draw(2)
	natural := trained(t, TrainOptions{Vocab: 600}, sample)
	wild := scrambled(t, d, "ab ", 300)
	for i := range 300 {
		tok, alphabet := natural, units(sample)
		switch i % 3 {
		case 1:
			tok, alphabet = wild, []string{"a", "b", "a", "b", " "}
		case 2:
			tok, alphabet = wild, []string{"a", "b"} // one piece, often a long one
		}
		text := randomText(d, alphabet, 1+d.IntN(150))
		want := refEncode(tok, text)
		equal(t, string(text), tok.Encode(nil, text), want)
		equal(t, string(text)+" again", tok.Encode([]int32{7}, text)[1:], want)
		e := tok.NewEncoder()
		if len(text) > 1 {
			equal(t, string(text)+" by heap", pieceBy(e, e.mergeLong, text), pieceBy(e, e.mergeShort, text))
		}
	}
}

// pieceBy encodes all pieces of 2 to shortPiece bytes one way.
func pieceBy(e *Encoder, merge func([]int32, []byte) []int32, text []byte) (ids []int32) {
	for _, p := range pieces(text, pieceEnd) {
		if len(p) > 1 && len(p) <= shortPiece {
			ids = merge(ids, []byte(p))
		}
	}
	return ids
}

func TestRoundTrip(t *testing.T) {
	tok := trained(t, TrainOptions{Vocab: 500}, sample)
	d := draw(3)
	alphabets := [][]string{allBytes(), units(sample), {"\xc3", "é", "</s>", "<mask>", " ", "\x00"}}
	for i := range 500 {
		text := randomText(d, alphabets[i%3], d.IntN(200))
		ids, spans := tok.EncodeOffsets(text)
		if got := tok.Decode(ids); !bytes.Equal(got, text) {
			t.Fatalf("%q came back as %q", text, got)
		}
		for j, id := range ids {
			if tok.IsSpecial(id) {
				t.Fatalf("%q: special token %d from plain text", text, id)
			}
			if s := spans[j]; s.Start >= s.End || j > 0 && (s.Start < spans[j-1].End-1 || s.Start > spans[j-1].End) {
				t.Fatalf("%q: spans %v", text, spans)
			}
		}
		if n := len(bytes.Runes(text)); len(spans) > 0 && spans[len(spans)-1].End != n {
			t.Fatalf("%q: spans %v, want the end %d", text, spans, n)
		}
	}
}

func TestOffsets(t *testing.T) {
	tok := trained(t, TrainOptions{Vocab: 260}, "no room for merges")
	// a, the two bytes of é, the four of an emoji, a stray byte, a truncated character, z
	_, spans := tok.EncodeOffsets([]byte("aé😀\xff\xe2\x82z"))
	equal(t, "bytes", spans, []Span{{0, 1}, {1, 2}, {1, 2}, {2, 3}, {2, 3}, {2, 3}, {2, 3}, {3, 4}, {4, 5}, {5, 6}, {6, 7}})
	tok = trained(t, TrainOptions{Vocab: 300}, "aé aé aé")
	_, spans = tok.EncodeOffsets([]byte("aé aé\xc3b"))
	equal(t, "words", spans, []Span{{0, 2}, {2, 5}, {5, 6}, {6, 7}})
}

func TestCacheIsBounded(t *testing.T) {
	tok := trained(t, TrainOptions{Vocab: 300}, sample)
	e := tok.NewEncoder()
	var text []byte
	for i := range cacheWords + 100 {
		text = append(text, ' ', byte('a'+i%26), byte('a'+i/26%26), byte('a'+i/26/26%26), byte('a'+i/26/26/26))
	}
	ids := e.Encode(nil, text)
	if !bytes.Equal(tok.Decode(ids), text) || len(e.words) > cacheWords || len(e.ids) > cacheIDs {
		t.Errorf("%d words, %d ids in the cache", len(e.words), len(e.ids))
	}
	equal(t, "second time", e.Encode(nil, text), ids)
}

func TestMillionA(t *testing.T) {
	doc := strings.Repeat("a", 1<<16)
	tok := trained(t, TrainOptions{Vocab: 266}, doc)
	equal(t, "last token", []int{len(tok.TokenBytes(265))}, []int{64})
	text := bytes.Repeat([]byte("a"), 1_000_000)
	ids := tok.Encode(nil, text)
	want := slices.Repeat([]int32{265}, 1_000_000/64)
	equal(t, "a million a", ids, want)
}

func TestEncodersRunInParallel(t *testing.T) {
	tok := trained(t, TrainOptions{Vocab: 400}, sample)
	want := tok.Encode(nil, []byte(sample))
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 20 {
				if got := tok.Encode(nil, []byte(sample)); !slices.Equal(got, want) {
					t.Error("another result in parallel")
				}
			}
		})
	}
	wg.Wait()
}

func TestSpecialsInText(t *testing.T) {
	tok := trained(t, TrainOptions{Vocab: 300, Specials: []string{"<mask>", "<mask><x>", "<x>"}}, sample)
	text := []byte("a<mask>b<mask><x><x><mas")
	want := slices.Concat(tok.Encode(nil, []byte("a")), []int32{0}, tok.Encode(nil, []byte("b")), []int32{1, 2},
		tok.Encode(nil, []byte("<mas")))
	equal(t, "ids", tok.EncodeSpecials(nil, text), want)
	ids, spans := tok.EncodeSpecialsOffsets(text)
	equal(t, "ids with offsets", ids, want)
	equal(t, "spans", spans[1:2], []Span{{1, 7}})
	for _, id := range tok.Encode(nil, text) {
		if tok.IsSpecial(id) {
			t.Error("Encode found a special token")
		}
	}
	if !bytes.Equal(tok.Decode(want), text) {
		t.Errorf("decoded %q", tok.Decode(want))
	}
}

func TestWordStarts(t *testing.T) {
	tok := trained(t, TrainOptions{Vocab: 300}, "ab ab ab ab cd cd cd")
	// Tokens: "ab", " ab", "cd", " cd" in some order of merging.
	ids := slices.Concat([]int32{tok.BOS}, tok.Encode(nil, []byte("abx\nab!? cdy's\xff")), []int32{tok.EOS})
	equal(t, "tokens", names(tok, ids), []string{"<s>", "ab", "x", "Ċ", "ab", "!", "?", "Ġcd", "y", "'", "s", "ÿ", "</s>"})
	T, F := true, false
	equal(t, "exact", tok.WordStarts(nil, ids), []bool{T, T, F, T, T, T, F, T, F, T, F, T, T})
	var alone []bool
	for _, id := range ids {
		alone = append(alone, tok.WordStart(id))
	}
	equal(t, "alone", alone, []bool{T, F, F, T, F, T, T, T, F, T, F, F, T})
	equal(t, "ids outside", tok.WordStarts(nil, []int32{-1, 1 << 30, ids[1]}), []bool{T, T, T})
}

func TestTrainByHand(t *testing.T) {
	// aaabdaaabac: aa comes 4 times; then aa,a and a,b twice each, and a has the smaller id; then aa,ab twice.
	tok, report, err := Train(texts("aaabdaaabac"), TrainOptions{Vocab: 1000})
	if err != nil {
		t.Fatal(err)
	}
	a := tok.bpe.bytes['a']
	equal(t, "merges", tok.bpe.merges, []merge{{a, a, 260}, {a, a + 1, 261}, {260, 261, 262}})
	equal(t, "specials", []int32{tok.BOS, tok.EOS, tok.Pad, tok.Mask, tok.bpe.bytes[0], tok.bpe.bytes[255]}, []int32{0, 1, 2, 3, 4, 259})
	equal(t, "ids", tok.Encode(nil, []byte("aaabdaaabac")), []int32{262, a + 3, 262, a, a + 2})
	if want := (TrainReport{Documents: 1, Bytes: 11, Words: 1, Merges: 3, Vocab: 263, Exhausted: true}); report != want {
		t.Errorf("report %+v, want %+v", report, want)
	}
}

// refTrain counts all pairs anew for every merge.
func refTrain(doc string, vocab, least int) (merges []merge) {
	words := map[string]int{}
	for _, p := range pieces([]byte(doc), refPieceEnd) {
		words[p]++
	}
	type word struct {
		ids []int32
		n   int
	}
	var all []word
	for w, n := range words {
		var ids []int32
		for _, b := range []byte(w) {
			ids = append(ids, int32(b))
		}
		all = append(all, word{ids, n})
	}
	var tokens []string
	for b := range 256 {
		tokens = append(tokens, string([]byte{byte(b)}))
	}
	for len(tokens) < vocab {
		count := map[[2]int32]int{}
		for _, w := range all {
			for i := 0; i+1 < len(w.ids); i++ {
				count[[2]int32{w.ids[i], w.ids[i+1]}] += w.n
			}
		}
		var best [2]int32
		most := 0
		for p, n := range count {
			if n > most || n == most && (p[0] < best[0] || p[0] == best[0] && p[1] < best[1]) {
				best, most = p, n
			}
		}
		if most < least {
			return merges
		}
		made := int32(len(tokens))
		tokens = append(tokens, tokens[best[0]]+tokens[best[1]])
		merges = append(merges, merge{best[0], best[1], made})
		for w := range all {
			old := all[w].ids
			var ids []int32
			for i := 0; i < len(old); i++ {
				if i+1 < len(old) && old[i] == best[0] && old[i+1] == best[1] {
					ids = append(ids, made)
					i++
				} else {
					ids = append(ids, old[i])
				}
			}
			all[w].ids = ids
		}
	}
	return merges
}

func TestTrainEqualsReference(t *testing.T) {
	d := draw(4)
	for i := range 40 {
		doc := sample
		if i > 0 {
			doc = string(randomText(d, [][]string{{"a", "b", "b", " "}, {"a", "aa", "aaaaa", " "}, {"a", "b", "c", "aa", "é", " "}}[i%3], 20+d.IntN(600)))
		}
		vocab, least := 256+d.IntN(150), 1+d.IntN(3)
		tok := trained(t, TrainOptions{Vocab: vocab, MinFrequency: least, Specials: []string{}}, doc)
		equal(t, doc, tok.bpe.merges, refTrain(doc, vocab, least))
	}
}

func TestTrainIsDeterministic(t *testing.T) {
	// Documents of several batches, in two orders, on one and several threads.
	d := draw(5)
	var docs []string
	for range 3 {
		docs = append(docs, string(randomText(d, strings.SplitAfter(sample, " "), countBatch/16)))
	}
	one := trained(t, TrainOptions{Vocab: 700}, docs...)
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	slices.Reverse(docs)
	two := trained(t, TrainOptions{Vocab: 700}, docs...)
	equal(t, "hash", []string{two.Hash()}, []string{one.Hash()})
}

func TestPruning(t *testing.T) {
	var b strings.Builder
	for i := range 5000 { // rare words, each once
		b.WriteString(" q")
		for n := i; n > 0; n /= 10 {
			b.WriteByte("kwxzvjbpfg"[n%10])
		}
	}
	b.WriteString(strings.Repeat(" common", 100))
	var seen TrainProgress
	tok, report, err := Train(texts(b.String()), TrainOptions{Vocab: 270, MaxWords: 1000, Progress: func(p TrainProgress) { seen = p }})
	if err != nil {
		t.Fatal(err)
	}
	if report.PrunedWords < 4900 || report.PrunedOccurrences != report.PrunedWords || report.Words > 100 || seen.TrainReport != report {
		t.Errorf("report %+v, progress %+v", report, seen)
	}
	equal(t, "common", names(tok, tok.Encode(nil, []byte(" common"))), []string{"Ġcommon"})
}

func TestLongWordsAreCounted(t *testing.T) {
	word := strings.Repeat("天地", 1000)
	counts := newWordCounts()
	counts.addText([]byte(word))
	var total int64
	for i, w := range counts.words {
		if len(w) > longestWord || len(w)%3 != 0 {
			t.Errorf("part of %d bytes", len(w))
		}
		total += int64(len(w)) * counts.counts[i]
	}
	if counts.cut != 1 || total != int64(len(word)) {
		t.Errorf("%d words cut, %d bytes counted", counts.cut, total)
	}
	counts = newWordCounts()
	counts.addText(bytes.Repeat([]byte("\x80"), 3000)) // no place between characters
	if len(counts.words) == 0 || counts.cut != 1 {
		t.Error("a run of stray bytes was lost")
	}
}

func TestReservedTokensAreNotMade(t *testing.T) {
	tok := trained(t, TrainOptions{Vocab: 400, Specials: []string{"ab"}}, "abc abc abc abc")
	if id, ok := tok.ID("ab"); !ok || id != 0 || !tok.IsSpecial(0) {
		t.Error("special token ab lost")
	}
	for _, id := range tok.Encode(nil, []byte("abc ab")) {
		if id == 0 {
			t.Error("plain text became a special token")
		}
	}
}

func TestTrainErrors(t *testing.T) {
	for _, o := range []TrainOptions{
		{}, {Vocab: 259}, {Vocab: MaxVocab + 1}, {Vocab: 300, MinFrequency: -1}, {Vocab: 300, MaxWords: 5},
		{Vocab: 300, Specials: []string{"<s>", "<s>"}}, {Vocab: 300, Specials: []string{""}}, {Vocab: 300, Specials: []string{"a"}},
	} {
		if _, _, err := Train(texts("abc"), o); fault.Of(err) != fault.Usage {
			t.Errorf("%+v: %v", o, err)
		}
	}
	_, _, err := Train(texts("", ""), TrainOptions{Vocab: 300})
	wantKind(t, err, fault.Data, "no text")
	broken := errors.New("broken")
	_, _, err = Train(func(yield func([]byte, error) bool) { _ = yield([]byte("a"), nil) && yield(nil, broken) }, TrainOptions{Vocab: 300})
	if !errors.Is(err, broken) {
		t.Errorf("got %v", err)
	}
}

func FuzzRoundTrip(f *testing.F) {
	tok := trained(f, TrainOptions{Vocab: 500}, sample)
	f.Add([]byte(sample))
	f.Add([]byte("\xff '\xc3 \xe2\x82"))
	f.Fuzz(func(t *testing.T, text []byte) {
		ids, spans := tok.EncodeOffsets(text)
		if !bytes.Equal(tok.Decode(ids), text) || len(spans) != len(ids) || len(tok.WordStarts(nil, ids)) != len(ids) {
			t.Errorf("%q", text)
		}
	})
}

func BenchmarkEncode(b *testing.B) {
	tok := trained(b, TrainOptions{Vocab: 1000}, sample)
	text := bytes.Repeat([]byte(sample), 100)
	e := tok.NewEncoder()
	var ids []int32
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		ids = e.Encode(ids[:0], text)
	}
}

func BenchmarkMillionA(b *testing.B) {
	tok := trained(b, TrainOptions{Vocab: 266}, strings.Repeat("a", 1<<16))
	text := bytes.Repeat([]byte("a"), 1_000_000)
	e := tok.NewEncoder()
	for b.Loop() {
		e.Encode(nil, text)
	}
}
