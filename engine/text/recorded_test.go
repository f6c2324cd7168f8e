package text

import (
	"bytes"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// A recordedKind is a tokenizer with what Hugging Face's tokenizers made of texts (bench/hf/record_tokenizers.py).
type recordedKind struct {
	Name      string
	Tokenizer json.RawMessage
	Cases     []struct {
		Text     string
		Decoded  *string
		IDs      []int32
		Offsets  [][2]int
		Input    recordedInput   // truncated, padded
		Overflow []recordedInput // not padded
	}
	Pairs []struct {
		A, B, Error string
		Input       recordedInput
	}
}

type recordedInput struct {
	IDs, Types         []int32
	Offsets            [][2]int
	Special, Attention []int
}

var readKinds = sync.OnceValues(func() ([]recordedKind, error) {
	var file struct{ Kinds []recordedKind }
	data, err := os.ReadFile("testdata/tokenizers.json")
	if err == nil {
		err = json.Unmarshal(data, &file)
	}
	return file.Kinds, err
})

func recordedKinds(t testing.TB) []recordedKind {
	kinds, err := readKinds()
	if err != nil || len(kinds) == 0 {
		t.Fatalf("%d kinds, %v", len(kinds), err)
	}
	return kinds
}

func spansOf(offsets [][2]int) (spans []Span) {
	for _, o := range offsets {
		spans = append(spans, Span{o[0], o[1]})
	}
	return spans
}

func flags(values []int) (on []bool) {
	for _, v := range values {
		on = append(on, v == 1)
	}
	return on
}

func checkInput(t *testing.T, what string, got Encoding, want recordedInput) {
	t.Helper()
	equal(t, what+": ids", got.IDs, want.IDs)
	equal(t, what+": types", got.TypeIDs, want.Types)
	equal(t, what+": offsets", got.Offsets, spansOf(want.Offsets))
	equal(t, what+": special", got.Special, flags(want.Special))
	equal(t, what+": attention", got.Attention, flags(want.Attention))
}

// Every kind of tokenizer gives the recorded ids, offsets, inputs and decoded texts, as it is read and after it was written.
func TestRecordedTokenizers(t *testing.T) {
	for _, kind := range recordedKinds(t) {
		t.Run(kind.Name, func(t *testing.T) {
			read, err := Parse(kind.Tokenizer)
			if err != nil {
				t.Fatal(err)
			}
			written, err := read.JSON()
			if err != nil {
				t.Fatal(err)
			}
			tok, err := Parse(written)
			if err != nil {
				t.Fatal(err)
			}
			again, err := tok.JSON()
			if err != nil || !bytes.Equal(again, written) || tok.Hash() != read.Hash() {
				t.Errorf("written twice: %v", err)
			}
			for _, c := range kind.Cases {
				plain, err := tok.EncodeInput([]byte(c.Text), nil, InputOptions{})
				if err != nil {
					t.Fatal(err)
				}
				equal(t, c.Text, plain.IDs, c.IDs)
				equal(t, c.Text+": ids alone", tok.EncodeSpecials(nil, []byte(c.Text)), c.IDs)
				equal(t, c.Text+": offsets", plain.Offsets, spansOf(c.Offsets))
				if got := string(tok.Decode(c.IDs)); c.Decoded != nil && got != *c.Decoded {
					t.Errorf("%q: decoded %q, want %q", c.Text, got, *c.Decoded)
				}
				input, err := tok.EncodeInput([]byte(c.Text), nil, InputOptions{Specials: true, Truncate: true, Pad: true})
				if err != nil {
					t.Fatal(err)
				}
				checkInput(t, c.Text, input, c.Input)
				if input, err = tok.EncodeInput([]byte(c.Text), nil, InputOptions{Specials: true, Truncate: true}); err != nil {
					t.Fatal(err)
				}
				if len(input.Overflow) != len(c.Overflow) {
					t.Fatalf("%q: %d parts more, want %d", c.Text, len(input.Overflow), len(c.Overflow))
				}
				for i, o := range c.Overflow {
					checkInput(t, c.Text+": rest", input.Overflow[i], o)
				}
			}
			for _, p := range kind.Pairs {
				input, err := tok.EncodeInput([]byte(p.A), []byte(p.B), InputOptions{Specials: true, Truncate: true, Pad: true})
				if (err != nil) != (p.Error != "") {
					t.Errorf("%q, %q: %v, want %q", p.A, p.B, err, p.Error)
				} else if err == nil {
					checkInput(t, p.A+" + "+p.B, input, p.Input)
				}
			}
		})
	}
}

// Any bytes, valid UTF-8 or not: no panic, as many places as tokens, no special token from plain text, lossless where that is promised.
func TestRecordedTokenizersTakeAnyBytes(t *testing.T) {
	d := draw(80)
	alphabets := [][]string{allBytes(), units(sample), {"\xc3", "é", "</s>", "<mask>", "[MASK]", " ", "\x00", "天", "\u0301", "한", "\xf0\x9f"}}
	for _, kind := range recordedKinds(t) {
		tok, err := Parse(kind.Tokenizer)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 60 {
			text := randomText(d, alphabets[i%3], d.IntN(80))
			ids, spans := tok.EncodeOffsets(text)
			equal(t, kind.Name, tok.Encode(nil, text), ids)
			points := len(bytes.Runes(text))
			for j, s := range spans {
				if s.Start < 0 || s.End < s.Start || s.End > points {
					t.Fatalf("%s: %q: spans %v", kind.Name, text, spans[j])
				}
				if tok.IsSpecial(ids[j]) && ids[j] != tok.Unk {
					t.Fatalf("%s: %q: special token %q", kind.Name, text, tok.Token(ids[j]))
				}
			}
			if len(spans) != len(ids) || len(tok.WordStarts(nil, ids)) != len(ids) {
				t.Fatalf("%s: %q: %d ids, %d spans", kind.Name, text, len(ids), len(spans))
			}
			if decoded := tok.Decode(ids); tok.Lossless() && !bytes.Equal(decoded, text) {
				t.Fatalf("%s: %q came back as %q", kind.Name, text, decoded)
			}
		}
	}
}

func TestRecordedRolesAndWords(t *testing.T) {
	roles := map[string][5]string{ // BOS, EOS, Pad, Mask, Unk
		"gpt2": {"<|endoftext|>", "<|endoftext|>", "", "", ""}, "roberta": {"<s>", "</s>", "<pad>", "<mask>", "<unk>"},
		"llama3": {"<|begin_of_text|>", "", "", "", ""}, "bert": {"[CLS]", "[SEP]", "[PAD]", "[MASK]", "[UNK]"},
		"llama2": {"<s>", "</s>", "", "", "<unk>"}, "t5": {"", "</s>", "<pad>", "", "<unk>"},
	}
	words := map[string]bool{"t5": true, "bert": true, "gpt2": true}
	for _, kind := range recordedKinds(t) {
		tok, err := Parse(kind.Tokenizer)
		if err != nil {
			t.Fatal(err)
		}
		if want, ok := roles[kind.Name]; ok {
			got := []string{tok.Token(tok.BOS), tok.Token(tok.EOS), tok.Token(tok.Pad), tok.Token(tok.Mask), tok.Token(tok.Unk)}
			equal(t, kind.Name, got, want[:])
		}
		for id := range int32(tok.Vocab()) {
			if found, ok := tok.ID(tok.Token(id)); !ok || found != id {
				t.Errorf("%s: token %d %q is found as %d", kind.Name, id, tok.Token(id), found)
			}
		}
		if !words[kind.Name] {
			continue
		}
		ids := tok.Encode(nil, []byte("the theory brother mother"))
		var got []string
		for i, start := range tok.WordStarts(nil, ids) {
			piece := string(tok.TokenBytes(ids[i]))
			if start {
				got = append(got, strings.TrimSpace(piece))
			} else {
				got[len(got)-1] += piece
			}
		}
		equal(t, kind.Name, got, []string{"the", "theory", "brother", "mother"})
	}
}

// What a normalizer and the splitting drop belongs to no token of a plane.
func TestPlanesOfLossyTokenizers(t *testing.T) {
	kinds := recordedKinds(t)
	bert := kinds[slices.IndexFunc(kinds, func(k recordedKind) bool { return k.Name == "bert" })]
	tok, err := Parse(bert.Tokenizer)
	if err != nil {
		t.Fatal(err)
	}
	text := "The  thing\u0301 , a"
	e := documentEncoder{e: tok.NewEncoder(), o: &EncodeOptions{BOS: -1, EOS: -1, MinTokens: 1, Planes: []string{PlaneBIO, PlaneLoss}}}
	at := strings.Index(text, "thing")
	end := at + len("thing\u0301 ")
	out, lost := e.encode(&Document{Text: []byte(text), Tagged: true, Spans: []LabelSpan{
		{Start: at, End: end, Kind: Entity, Type: 1}, {Start: end - 1, End: end + 1, Kind: Answer}}})
	if lost.lost != 0 {
		t.Errorf("%d entities lost", lost.lost)
	}
	var entity, answer string
	for i, id := range out.Tokens {
		if v := out.Planes[PlaneBIO][i]; v == TagBegin(1) || v == TagInside(1) {
			entity += string(tok.TokenBytes(id))
		}
		if out.Planes[PlaneLoss][i] == 1 {
			answer += string(tok.TokenBytes(id))
		}
	}
	equal(t, "tagged and learned", []string{entity, answer}, []string{"thing", ","})
}

func BenchmarkRecorded(b *testing.B) {
	for _, kind := range recordedKinds(b) {
		tok, err := Parse(kind.Tokenizer)
		if err != nil {
			b.Fatal(err)
		}
		text := bytes.Repeat([]byte(sample), 100)
		b.Run(kind.Name, func(b *testing.B) {
			e := tok.NewEncoder()
			var ids []int32
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				ids = e.Encode(ids[:0], text)
			}
		})
	}
}
