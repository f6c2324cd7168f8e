package text

import (
	"iter"
	"math"
	"slices"

	"palimpsest/engine/fault"
)

// DefaultSpecials are the special tokens of a trained vocabulary unless others are asked for; their ids are 0 to 3.
var DefaultSpecials = []string{"<s>", "</s>", "<pad>", "<mask>"}

// WordPieceSpecials are those of a trained WordPiece vocabulary, in the order of BERT's.
var WordPieceSpecials = []string{"[PAD]", unknownToken, "[CLS]", "[SEP]", "[MASK]"}

// Kinds of tokenizers to train.
const (
	KindBPE       = "bpe"
	KindWordPiece = "wordpiece"
)

// TrainOptions says how to train a vocabulary. Zero values mean the defaults.
type TrainOptions struct {
	Vocab        int                 // ids to make, special tokens and the 256 bytes included; required
	MinFrequency int                 // a pair seen less often is not merged; default 2
	Kind         string              // "bpe", bytes with GPT-2's pieces (the default), or "wordpiece", BERT's characters
	Lowercase    bool                // of WordPiece: drop case and accents, as BERT uncased
	Specials     []string            // names of the special tokens, ids from 0; default DefaultSpecials or WordPieceSpecials
	MaxWords     int                 // distinct words kept while counting, which bounds memory; default 4,000,000
	Progress     func(TrainProgress) // called now and then from the goroutine of Train
}

// TrainProgress is how far training is: first words are counted, then Merges grows to at most MaxMerges.
type TrainProgress struct {
	TrainReport
	MaxMerges int // 0 while counting
}

// TrainReport says what went into a vocabulary.
type TrainReport struct {
	Documents, Bytes  int64
	Words             int   // distinct words the merges were learned from
	PrunedWords       int64 // rare words dropped to stay within MaxWords,
	PrunedOccurrences int64 // and how often those had been seen
	CutWords          int64 // words longer than 1024 bytes, which were counted in parts
	LongWords         int64 // words of more than 100 characters, which WordPiece does not cut and were left out
	RareCharacters    int   // characters that got no token, for want of room in the alphabet of WordPiece,
	RareWords         int   // and the words that were left out for them
	Merges            int
	Vocab             int
	Exhausted         bool // no pair was left to merge before Vocab was reached
}

// Train learns a byte-level BPE vocabulary (Sennrich, Haddow and Birch 2016, over bytes as in Radford et al. 2019): the
// special tokens, the 256 bytes in order, then one token for each merge of the most frequent pair of neighbours. Of pairs
// equally frequent, the one with the smaller ids comes first, so the result is a function of the corpus alone. A WordPiece
// vocabulary is learned by the same merges, over the characters of BERT's words: first, and inside of a word with "##".
//
// Errors of the corpus are returned as they are; an empty corpus is a fault.Data, bad options are a fault.Usage.
func Train(corpus iter.Seq2[[]byte, error], o TrainOptions) (*Tokenizer, TrainReport, error) {
	var report TrainReport
	if o.Specials == nil {
		o.Specials = DefaultSpecials
		if o.Kind == KindWordPiece {
			o.Specials = WordPieceSpecials
		}
	}
	if o.MinFrequency == 0 {
		o.MinFrequency = 2
	}
	if o.MaxWords == 0 {
		o.MaxWords = 4_000_000
	}
	if o.Progress == nil {
		o.Progress = func(TrainProgress) {}
	}
	if err := o.check(); err != nil {
		return nil, report, err
	}
	fresh := newWordCounts
	if o.Kind == KindWordPiece {
		fresh = func() *wordCounts { return newWordPieceCounts(o.Lowercase) }
	}
	counts, err := countWords(corpus, fresh, o.MaxWords, &report, func() { o.Progress(TrainProgress{TrainReport: report}) })
	if err != nil {
		return nil, report, err
	}
	if report.Bytes == 0 {
		return nil, report, fault.Data.Errorf("no text to train a tokenizer on (%d documents, 0 bytes)", report.Documents)
	}
	var tr *trainer
	if o.Kind == KindWordPiece {
		tr = newWordPieceTrainer(counts, o, &report)
	} else {
		tr = newTrainer(counts, o)
	}
	goal := o.Vocab - len(tr.tokens)
	for len(tr.tokens) < o.Vocab {
		if !tr.step() {
			report.Exhausted = true
			break
		}
		report.Merges, report.Vocab = len(tr.merges), len(tr.tokens)
		if len(tr.merges)%max(1, goal/100) == 0 {
			o.Progress(TrainProgress{report, goal})
		}
	}
	report.Merges, report.Vocab = len(tr.merges), len(tr.tokens)
	o.Progress(TrainProgress{report, goal})
	special := make([]bool, len(tr.tokens))
	for i := range o.Specials {
		special[i] = true
	}
	var t *Tokenizer
	if o.Kind == KindWordPiece {
		t, err = newWordPieceTokenizer(tr, special, o.Lowercase)
	} else {
		t, err = newTokenizer(tr.tokens, special, tr.merges)
	}
	return t, report, err
}

func (o *TrainOptions) check() error {
	if o.Kind != "" && o.Kind != KindBPE && o.Kind != KindWordPiece {
		return fault.Usage.Errorf("kind of tokenizer %q: expected %s or %s", o.Kind, KindBPE, KindWordPiece)
	}
	wordPiece := o.Kind == KindWordPiece
	if o.Lowercase && !wordPiece {
		return fault.Usage.Errorf("only tokenizers of the kind %s drop case", KindWordPiece)
	}
	for i, name := range o.Specials {
		switch b, _, ok := surfaceBytes(name); {
		case name == "":
			return fault.Usage.Errorf("special token %d is empty", i)
		case slices.Contains(o.Specials[:i], name):
			return fault.Usage.Errorf("special token %q is given twice", name)
		case ok && len(b) == 1 && !wordPiece:
			return fault.Usage.Errorf("special token %q is the name of a byte; hint: use a longer name such as <%s>", name, name)
		}
	}
	if wordPiece {
		if !slices.Contains(o.Specials, unknownToken) {
			return fault.Usage.Errorf("WordPiece needs the special token %s", unknownToken)
		}
		if least := len(o.Specials) + 2; o.Vocab < least || o.Vocab > MaxVocab {
			return fault.Usage.Errorf("vocabulary of %d: expected %d to %d", o.Vocab, least, MaxVocab)
		}
	} else if least := len(o.Specials) + 256; o.Vocab < least || o.Vocab > MaxVocab {
		return fault.Usage.Errorf("vocabulary of %d: expected %d (%d special tokens and 256 bytes) to %d", o.Vocab, least,
			len(o.Specials), MaxVocab)
	}
	if o.MinFrequency < 1 {
		return fault.Usage.Errorf("minimum frequency %d: expected at least 1", o.MinFrequency)
	}
	if o.MaxWords < 1000 {
		return fault.Usage.Errorf("limit of %d words: expected at least 1000", o.MaxWords)
	}
	return nil
}

// In trainer.symbols, a symbol of token id that covers n bytes holds id at its first position and, for n > 1, ^id at its
// last. Both neighbours of a symbol are therefore found without links.
const (
	wordBound = math.MinInt32     // between words, and at both ends
	inside    = math.MinInt32 + 1 // neither first nor last position of a symbol
)

// No two merges make the same token: while its outer bounds are not merged over, a stretch of bytes merges as it would
// alone, so a token's bytes always come together in the same way.

// A trainer holds all distinct words end to end and merges in place. pairs knows where every pair once was; places that
// have changed since are recognised by what stands there now.
type trainer struct {
	tokens   [][]byte
	reserved map[string]bool // bytes that no merge may make: they read like a special token
	merges   []merge
	symbols  []int32
	wordAt   []int32 // position -> index in counts
	counts   []int64
	pairs    []pair
	index    map[uint64]int32 // pairKey -> index in pairs
	raised   []int32          // pairs whose count grew in this step
	queue    queue[bid]
	least    int64

	// Of WordPiece: ids below opening are special tokens and characters that begin a word, those up to alphabet characters
	// inside of one; merges follow in order.
	opening, alphabet int32
}

// A pair is two neighbouring symbols: how often they occur, and positions of the left one.
type pair struct {
	left, right int32
	count       int64
	at          []int32
	raised      bool
}

// A bid is a pair's entry in the queue with the count it had then.
type bid struct {
	count int64
	key   uint64
	pair  int32
}

func (b bid) before(c bid) bool { return b.count > c.count || b.count == c.count && b.key < c.key }

func newTrainer(words *wordCounts, o TrainOptions) *trainer {
	tr := &trainer{
		reserved: map[string]bool{}, index: map[uint64]int32{}, counts: words.counts, least: int64(o.MinFrequency),
	}
	for _, name := range o.Specials {
		tr.tokens = append(tr.tokens, []byte(name))
		if b, _, ok := surfaceBytes(name); ok {
			tr.reserved[string(b)] = true
		}
	}
	first := int32(len(tr.tokens))
	for b := range 256 {
		tr.tokens = append(tr.tokens, []byte{byte(b)})
	}
	size := int(words.bytes) + len(words.words) + 1
	tr.symbols, tr.wordAt = make([]int32, 0, size), make([]int32, 0, size)
	put := func(symbol int32, word int) {
		tr.symbols = append(tr.symbols, symbol)
		tr.wordAt = append(tr.wordAt, int32(word))
	}
	put(wordBound, 0)
	for w, word := range words.words {
		for i := range len(word) {
			put(first+int32(word[i]), w)
			if i > 0 {
				at := int32(len(tr.symbols) - 2)
				tr.change(tr.symbols[at], tr.symbols[at+1], words.counts[w], at)
			}
		}
		put(wordBound, w)
	}
	tr.offer()
	return tr
}

// change adds n occurrences of a pair, negative ones when it disappears from a place.
func (tr *trainer) change(left, right int32, n int64, at int32) {
	key := pairKey(left, right)
	i, ok := tr.index[key]
	if !ok {
		i = int32(len(tr.pairs))
		tr.index[key] = i
		tr.pairs = append(tr.pairs, pair{left: left, right: right})
	}
	p := &tr.pairs[i]
	p.count += n
	if n < 0 {
		return
	}
	p.at = append(p.at, at)
	if !p.raised {
		p.raised = true
		tr.raised = append(tr.raised, i)
	}
}

// offer queues the pairs whose counts grew.
func (tr *trainer) offer() {
	for _, i := range tr.raised {
		p := &tr.pairs[i]
		p.raised = false
		if p.count >= tr.least {
			tr.queue.push(bid{p.count, pairKey(p.left, p.right), i})
		}
	}
	tr.raised = tr.raised[:0]
}

// step merges the most frequent pair; false when none is frequent enough.
func (tr *trainer) step() bool {
	for len(tr.queue) > 0 {
		b := tr.queue.pop()
		p := &tr.pairs[b.pair]
		if p.count != b.count { // fallen since: bid again; a grown one has bid already
			if p.count < b.count && p.count >= tr.least {
				tr.queue.push(bid{p.count, b.key, b.pair})
			}
			continue
		}
		token := slices.Concat(tr.tokens[p.left], tr.tokens[p.right])
		if tr.reserved[string(token)] {
			continue
		}
		m, at := merge{p.left, p.right, int32(len(tr.tokens))}, p.at
		p.at = nil
		tr.tokens, tr.merges = append(tr.tokens, token), append(tr.merges, m)
		tr.apply(m, at)
		tr.offer()
		return true
	}
	return false
}

// apply makes a merge wherever its two tokens still are neighbours, from left to right: positions are in order, since
// all of a pair come from one pass over the symbols, the first or that of the merge which made one of its tokens.
func (tr *trainer) apply(m merge, at []int32) {
	s := tr.symbols
	leftBytes, rightBytes := int32(len(tr.tokens[m.left])), int32(len(tr.tokens[m.right]))
	for _, i := range at {
		j := i + leftBytes
		if s[i] != m.left || s[j] != m.right {
			continue
		}
		end := j + rightBytes
		n := tr.counts[tr.wordAt[i]]
		tr.change(m.left, m.right, -n, i)
		if prev := s[i-1]; prev != wordBound {
			k := i - 1
			if prev < 0 {
				prev = ^prev
				k = i - int32(len(tr.tokens[prev]))
			}
			tr.change(prev, m.left, -n, k)
			tr.change(prev, m.made, n, k)
		}
		if next := s[end]; next != wordBound {
			tr.change(m.right, next, -n, j)
			tr.change(m.made, next, n, i)
		}
		s[j-1], s[j] = inside, inside
		s[i], s[end-1] = m.made, ^m.made
	}
}
