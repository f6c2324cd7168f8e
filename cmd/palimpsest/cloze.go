package main

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"palimpsest/engine"
	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
	"palimpsest/kernels/philox"
)

// A cloze is a text with holes.
type cloze struct {
	ids      []int32  // what the model reads
	original []int32  // the same before it was masked, when that is known
	shown    string   // the text with the masks in place; of a held-out document one line
	truth    []string // what was masked, when that is known
}

// writtenMasks reads a text in which the user wrote masks. A space before a mask is left to the answer, as tokens of words
// begin with their space.
func writtenMasks(t *text.Tokenizer, line string) cloze {
	out := cloze{shown: line}
	for {
		at, width := -1, 0
		for _, spelling := range []string{t.Token(t.Mask), "<mask>", "[MASK]"} {
			if i := strings.Index(line, spelling); i >= 0 && (at < 0 || i < at) {
				at, width = i, len(spelling)
			}
		}
		if at < 0 {
			out.ids = t.Encode(out.ids, []byte(line))
			return out
		}
		out.ids = append(t.Encode(out.ids, []byte(strings.TrimSuffix(line[:at], " "))), t.Mask)
		line = line[at+width:]
	}
}

// maskWords masks every word of the tokens [from, to) with a probability, and one in any case. Words without a letter or a
// digit are only masked when there are no others.
func maskWords(t *text.Tokenizer, ids []int32, from, to int, share float64, draw *philox.Draw) cloze {
	starts := t.WordStarts(nil, ids)
	var words, others [][2]int // half-open ranges of tokens
	for i := from; i < to; {
		end := i + 1
		for end < to && !starts[end] {
			end++
		}
		spelling := string(t.Decode(ids[i:end]))
		switch {
		case strings.ContainsFunc(spelling, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }):
			words = append(words, [2]int{i, end})
		case strings.TrimSpace(spelling) != "":
			others = append(others, [2]int{i, end})
		}
		i = end
	}
	if len(words) == 0 {
		words = others
	}
	out := cloze{ids: slices.Clone(ids), original: ids}
	if len(words) > 0 {
		always := words[draw.IntN(len(words))]
		for _, word := range words {
			if draw.Float64() >= share && word != always {
				continue
			}
			for i := word[0]; i < word[1]; i++ {
				out.truth = append(out.truth, string(t.Decode(ids[i:i+1])))
				out.ids[i] = t.Mask
			}
		}
	}
	var shown strings.Builder
	for i := from; i < to; i++ {
		original := string(t.Decode(ids[i : i+1]))
		if out.ids[i] != t.Mask {
			shown.WriteString(original)
			continue
		}
		if strings.HasPrefix(original, " ") {
			shown.WriteByte(' ')
		}
		shown.WriteString(t.Token(t.Mask))
	}
	out.shown = shown.String()
	return out
}

// documentEnds returns the tokens that a document begins and ends with in the data set that trained the model, -1 for none.
// Where the data set is gone the tokenizer's are taken, which is what 'data build' does unless told otherwise.
func documentEnds(m *engine.Model) (bos, eos int32) {
	bos, eos = m.Tokenizer.BOS, m.Tokenizer.EOS
	if bos == eos {
		bos = -1
	}
	ds, err := shard.Open(m.Config.Data.Train)
	if err != nil {
		return bos, eos
	}
	defer ds.Close()
	if t := ds.Index().Tokenizer; t.Hash == m.Tokenizer.Hash() {
		bos, eos = t.BOS, t.EOS
	}
	return bos, eos
}

// frame puts the text between a document's ends.
func (z *cloze) frame(bos, eos int32) {
	z.ids = framed(z.ids, bos, eos)
	if z.original != nil {
		z.original = framed(z.original, bos, eos)
	}
}

// framed puts a text's tokens between those of a document's ends.
func framed(ids []int32, bos, eos int32) []int32 {
	var out []int32
	if bos >= 0 {
		out = append(out, bos)
	}
	out = append(out, ids...)
	if eos >= 0 {
		out = append(out, eos)
	}
	return out
}

// heldOutClozes masks words in a line each of documents that the run held out, in their order. The model reads as much of
// the document around the line as it takes.
func heldOutClozes(m *engine.Model, n int, share float64, seed uint64) ([]cloze, error) {
	d := m.Config.Data
	dir, split := d.Train, shard.Split{Valid: d.Valid.Share, Part: shard.Valid}
	if d.Valid.Dir != "" {
		dir, split = d.Valid.Dir, shard.Split{}
	} else if d.Valid.Share == 0 {
		return nil, fault.Usage.Errorf("the run held out no documents (data.valid: 0); hint: give a text, or --input FILE")
	}
	ds, err := openData(dir)
	if err != nil {
		return nil, err
	}
	defer ds.Close()
	if err := ds.CheckTokenizer(m.Tokenizer.Hash(), m.Tokenizer.Vocab()); err != nil {
		return nil, err
	}
	holds, err := ds.Selector(d.Seed, split)
	if err != nil {
		return nil, err
	}
	bos, eos := documentEnds(m)
	var clozes []cloze
	for id := int64(0); id < ds.Documents() && len(clozes) < n; id++ {
		if holds != nil && !holds(id) {
			continue
		}
		document, err := ds.Document(id)
		if err != nil {
			return nil, err
		}
		content := m.Tokenizer.Decode(slices.DeleteFunc(slices.Clone(document.Tokens), m.Tokenizer.IsSpecial))
		ids, from, to := tellingLine(m.Tokenizer, content, m.Config.Model.Context-2)
		if from == to {
			continue
		}
		draw := philox.New(seed, philox.StreamMask, uint64(id), 0)
		z := maskWords(m.Tokenizer, ids, from, to, share, &draw)
		if len(z.truth) == 0 {
			continue
		}
		z.frame(bos, eos)
		clozes = append(clozes, z)
	}
	if len(clozes) == 0 {
		return nil, fault.Data.Errorf("%s: no held-out document has a line to show; hint: give a text, or --input FILE", dir)
	}
	return clozes, nil
}

// tellingLine returns at most context tokens of a document and in them the range of its first line from the middle on that
// has at least six words and fits on a screen; the range is empty where there is none.
func tellingLine(t *text.Tokenizer, document []byte, context int) (ids []int32, from, to int) {
	const words, most = 6, 110
	begin, length := -1, 0
	at := 0
	for whole := range bytes.Lines(document) {
		line := bytes.TrimSpace(whole)
		if len(line) <= most && len(bytes.Fields(line)) >= words && (begin < 0 || begin < len(document)/2) {
			begin, length = at+bytes.Index(whole, line), len(line)
		}
		at += len(whole)
	}
	if begin < 0 {
		return nil, 0, 0
	}
	ids, spans := t.EncodeOffsets(document)
	start := utf8.RuneCount(document[:begin])
	stop := start + utf8.RuneCount(document[begin:begin+length])
	for from < len(ids) && spans[from].End <= start {
		from++
	}
	for to = from; to < len(ids) && spans[to].End <= stop; to++ {
	}
	if to-from > context {
		return nil, 0, 0
	}
	first := max(0, min(from-(context-(to-from))/2, len(ids)-context))
	last := min(len(ids), first+context)
	return ids[first:last], from - first, to - first
}
