package text

import (
	"cmp"
	"slices"
	"unicode/utf8"
)

const (
	unknownToken    = "[UNK]"
	insidePrefix    = "##"
	maxWordPiece    = 100  // characters of a word, longer ones are unknown
	maxAlphabet     = 1000 // characters that get tokens
	idsPerCharacter = 4    // of the vocabulary for each character; at two ids a character, half is left for merges at least
)

// wordPiecePipeline is BERT's (Devlin et al. 2019).
func wordPiecePipeline(lowercase bool) pipeline {
	return pipeline{
		normalizer:   &bertNormalizer{Type: "BertNormalizer", CleanText: true, HandleChinese: true, Lowercase: lowercase},
		preTokenizer: &bertPreTokenizer{Type: "BertPreTokenizer"},
		decoder:      &wordPieceDecoder{Type: "WordPiece", Prefix: insidePrefix, Cleanup: true},
		model: modelSpec{kind: "WordPiece", wordPiece: wordPieceSettings{
			Type: "WordPiece", UnkToken: unknownToken, ContinuingSubwordPrefix: insidePrefix, MaxInputCharsPerWord: maxWordPiece,
		}},
	}
}

// newWordPieceCounts counts the words that BERT's normalizer and pre-tokenizer make, and leaves out those that are too long
// for WordPiece.
func newWordPieceCounts(lowercase bool) *wordCounts {
	spec := wordPiecePipeline(lowercase)
	rewriters, steps := spec.normalizer.rewriters(), spec.preTokenizer.steps()
	var source view
	var chain rewriteChain
	var c cutter
	counts := newWordCounts()
	counts.addDoc = func(counts *wordCounts, text []byte) {
		for len(text) > 0 {
			part := text[:min(len(text), countBatch)]
			for n := 0; len(part) < len(text) && n < utf8.UTFMax && !utf8.RuneStart(text[len(part)]); n++ {
				part = part[:len(part)-1]
			}
			text = text[len(part):]
			source.of(part)
			c.view = chain.apply(source, rewriters)
			c.pieces = append(c.pieces[:0], piece{0, len(c.text)})
			for _, s := range steps {
				s.cut(&c)
			}
			for _, p := range c.pieces {
				word := c.text[p.from:p.to]
				if len(word) > maxWordPiece && utf8.RuneCount(word) > maxWordPiece {
					counts.long++
					continue
				}
				counts.add(word, 1)
			}
		}
	}
	return counts
}

// A spot is a character at the start of a word or inside of one.
type spot struct {
	r      rune
	inside bool
}

// newWordPieceTrainer starts from the special tokens and the alphabet: the most frequent characters, by code point, at the
// starts of words and then inside.
func newWordPieceTrainer(words *wordCounts, o TrainOptions, report *TrainReport) *trainer {
	tr := &trainer{reserved: map[string]bool{}, index: map[uint64]int32{}, counts: words.counts, least: int64(o.MinFrequency)}
	for _, name := range o.Specials {
		tr.tokens = append(tr.tokens, []byte(name))
		tr.reserved[name] = true
	}
	seen, total := map[spot]bool{}, map[rune]int64{}
	for w, word := range words.words {
		for i, r := range word {
			seen[spot{r, i > 0}] = true
			total[r] += words.counts[w]
		}
	}
	alphabet := make([]rune, 0, len(total))
	for r := range total {
		alphabet = append(alphabet, r)
	}
	slices.SortFunc(alphabet, func(a, b rune) int { return cmp.Or(cmp.Compare(total[b], total[a]), cmp.Compare(a, b)) })
	if room := min(maxAlphabet, max(1, (o.Vocab-len(o.Specials))/idsPerCharacter)); len(alphabet) > room {
		report.RareCharacters = len(alphabet) - room
		alphabet = alphabet[:room]
	}
	slices.Sort(alphabet)
	ids := map[spot]int32{}
	for _, inside := range []bool{false, true} {
		for _, r := range alphabet {
			if s := (spot{r, inside}); seen[s] && len(tr.tokens) < o.Vocab {
				ids[s] = int32(len(tr.tokens))
				tr.tokens = append(tr.tokens, []byte(string(r)))
			}
		}
		if !inside {
			tr.opening = int32(len(tr.tokens))
		}
	}
	tr.alphabet = int32(len(tr.tokens))
	put := func(symbol int32, word int) {
		tr.symbols = append(tr.symbols, symbol)
		tr.wordAt = append(tr.wordAt, int32(word))
	}
	put(wordBound, 0)
	for w, word := range words.words {
		if !tr.spell(word, ids, func(id int32) {
			n := len(tr.tokens[id])
			at := int32(len(tr.symbols))
			put(id, w)
			for range n - 1 {
				put(inside, w)
			}
			if n > 1 {
				tr.symbols[len(tr.symbols)-1] = ^id
			}
			if prev := tr.symbols[at-1]; prev != wordBound {
				from := at - 1
				if prev < 0 {
					prev = ^prev
					from = at - int32(len(tr.tokens[prev]))
				}
				tr.change(prev, id, words.counts[w], from)
			}
		}) {
			report.RareWords++
			continue
		}
		put(wordBound, w)
	}
	tr.offer()
	return tr
}

// spell calls each for the characters of a word; it is false, and calls nothing, when one has no token.
func (tr *trainer) spell(word string, ids map[spot]int32, each func(id int32)) bool {
	for i, r := range word {
		if _, ok := ids[spot{r, i > 0}]; !ok {
			return false
		}
	}
	for i, r := range word {
		each(ids[spot{r, i > 0}])
	}
	return true
}

// newWordPieceTokenizer names what a trainer has learned.
func newWordPieceTokenizer(tr *trainer, special []bool, lowercase bool) (*Tokenizer, error) {
	spec := wordPiecePipeline(lowercase)
	names := make([]string, len(tr.tokens))
	within := make([]bool, len(tr.tokens)) // does the token stand inside of a word
	for id, token := range tr.tokens {
		names[id] = string(token)
		if special[id] {
			spec.added = append(spec.added, addedToken{ID: int32(id), Content: names[id], Special: true})
			continue
		}
		within[id] = int32(id) >= tr.opening && int32(id) < tr.alphabet
		if m := id - int(tr.alphabet); m >= 0 {
			within[id] = within[tr.merges[m].left]
		}
		if within[id] {
			names[id] = insidePrefix + names[id]
		}
	}
	spec.inVocab = slices.Repeat([]bool{true}, len(names))
	cls, sep := slices.Index(names, "[CLS]"), slices.Index(names, "[SEP]")
	if cls >= 0 && sep >= 0 && special[cls] && special[sep] {
		ref := func(name string, kind int) templateItem { return templateItem{SpecialToken: &templateRef{name, kind}} }
		text := func(name string, kind int) templateItem { return templateItem{Sequence: &templateRef{name, kind}} }
		spec.postProcessor = &templateProcessing{
			Type:   "TemplateProcessing",
			Single: []templateItem{ref("[CLS]", 0), text("A", 0), ref("[SEP]", 0)},
			Pair:   []templateItem{ref("[CLS]", 0), text("A", 0), ref("[SEP]", 0), text("B", 1), ref("[SEP]", 1)},
			SpecialTokens: map[string]templateSpecial{
				"[CLS]": {ID: "[CLS]", IDs: []int32{int32(cls)}, Tokens: []string{"[CLS]"}},
				"[SEP]": {ID: "[SEP]", IDs: []int32{int32(sep)}, Tokens: []string{"[SEP]"}},
			},
		}
	}
	return build(spec, tr.tokens, special, names, nil)
}
