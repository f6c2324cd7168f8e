package text

import (
	"bytes"
	"runtime"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

func TestTrainWordPieceByHand(t *testing.T) {
	// ##u ##g comes 6 times, then h ##ug 4 times, then ##u ##n 3 times.
	tok, report, err := Train(texts("Hug hug HUG pug pug hugs", "pun bun gun "+strings.Repeat("x", 101)), TrainOptions{
		Kind: KindWordPiece, Lowercase: true, Vocab: 1000, MinFrequency: 3})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for id := range int32(tok.Vocab()) {
		got = append(got, tok.Token(id))
	}
	equal(t, "tokens", got, strings.Fields("[PAD] [UNK] [CLS] [SEP] [MASK] b g h p ##g ##n ##s ##u ##ug hug ##un"))
	if report.LongWords != 1 || !report.Exhausted || report.Merges != 3 || report.Words != 6 {
		t.Errorf("report %+v", report)
	}
	ids, spans := tok.EncodeOffsets([]byte("Hugs, [MASK] púg"))
	equal(t, "pieces", names(tok, ids), []string{"hug", "##s", "[UNK]", "[UNK]", "[UNK]", "[UNK]", "p", "##ug"})
	equal(t, "spans", spans, []Span{{0, 3}, {3, 4}, {4, 5}, {6, 7}, {7, 11}, {11, 12}, {13, 14}, {14, 16}})
	equal(t, "word starts", tok.WordStarts(nil, ids), []bool{true, false, true, true, true, true, true, false})
	input, err := tok.EncodeInput([]byte("hug"), []byte("pun"), InputOptions{Specials: true})
	if err != nil {
		t.Fatal(err)
	}
	equal(t, "input", names(tok, input.IDs), strings.Fields("[CLS] hug [SEP] p ##un [SEP]"))
	equal(t, "types", input.TypeIDs, []int32{0, 0, 0, 1, 1, 1})
	equal(t, "roles", []int32{tok.BOS, tok.EOS, tok.Pad, tok.Mask, tok.Unk}, []int32{2, 3, 0, 4, 1})
	if got := string(tok.Decode(ids[6:])); got != "pug" {
		t.Errorf("decoded %q", got)
	}
}

func TestTrainWordPiece(t *testing.T) {
	train := func(docs ...string) *Tokenizer {
		return trained(t, TrainOptions{Kind: KindWordPiece, Vocab: 1000}, docs...)
	}
	one := train(sample, sample, strings.Repeat("naïve ÉCOLE 天地 ", 50))
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	two := train(strings.Repeat("naïve ÉCOLE 天地 ", 50), sample, sample)
	equal(t, "hash", []string{one.Hash()}, []string{two.Hash()})
	data, err := one.JSON()
	if err != nil {
		t.Fatal(err)
	}
	again, err := Parse(data)
	if err != nil || again.Hash() != one.Hash() {
		t.Fatalf("written and read: %v", err)
	}
	ids := one.Encode(nil, []byte(sample))
	equal(t, "ids", again.Encode(nil, []byte(sample)), ids)
	equal(t, "unknown", []bool{slices.Contains(ids, one.Unk)}, []bool{false})
	if got := one.Decode(one.Encode(nil, []byte("naïve ÉCOLE other"))); !bytes.Equal(got, []byte("naïve ÉCOLE other")) {
		t.Errorf("decoded %q", got)
	}
	// A small vocabulary leaves rare characters, and words with them, without tokens.
	_, report, err := Train(texts(sample), TrainOptions{Kind: KindWordPiece, Vocab: 60})
	if err != nil || report.RareCharacters == 0 || report.RareWords == 0 {
		t.Errorf("%+v, %v", report, err)
	}
	for _, o := range []TrainOptions{
		{Kind: "words", Vocab: 400}, {Lowercase: true, Vocab: 400}, {Kind: KindWordPiece, Vocab: 5}, {Kind: KindWordPiece, Vocab: 400, Specials: []string{"[PAD]"}},
	} {
		if _, _, err := Train(texts("abc"), o); fault.Of(err) != fault.Usage {
			t.Errorf("%+v: %v", o, err)
		}
	}
}
