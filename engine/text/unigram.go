package text

import (
	"fmt"
	"math"
	"unicode/utf8"

	"palimpsest/engine/fault"
)

// unknownPenalty is how much worse than the worst piece an unknown character scores (SentencePiece's kUnkPenalty).
const unknownPenalty = 10

// A unigram cuts text into the pieces whose scores (logarithms of probabilities) have the largest sum: the unigram
// language model of Kudo 2018 (arXiv 1804.10959). Sums are float64 and made from left to right, and of equal paths the
// one stays whose last piece begins first, as in Hugging Face's tokenizers.
type unigram struct {
	trie    pieceTrie
	scores  []float64
	unk     int32      // -1: none
	unknown float64    // score of an unknown character
	bytes   [256]int32 // ids of <0x00> to <0xFF>, or -1
	// fallback: an unknown run becomes its bytes, if all of them are pieces
	fallback bool
}

// newUnigram makes a model of pieces, whose ids are their places; unk is the id of the unknown piece, -1 for none. Of
// equal pieces the last counts. With byteFallback unknown text is cut into the pieces <0x00> to <0xFF>, if they exist.
func newUnigram(pieces []string, scores []float64, unk int, byteFallback bool) (*unigram, error) {
	if len(pieces) != len(scores) {
		return nil, fault.Data.Errorf("model.vocab has %d pieces but %d scores", len(pieces), len(scores))
	}
	if len(pieces) > math.MaxInt32 {
		return nil, fault.Data.Errorf("model.vocab has %d pieces, expected at most %d", len(pieces), math.MaxInt32)
	}
	if unk < -1 || unk >= len(pieces) {
		return nil, fault.Data.Errorf("model.unk_id is %d, expected one of the %d pieces; hint: the vocabulary is cut short", unk, len(pieces))
	}
	u := &unigram{trie: newPieceTrie(pieces), scores: scores, unk: int32(unk), unknown: math.Inf(1), fallback: byteFallback}
	for i, s := range scores {
		if math.IsNaN(s) || math.IsInf(s, 0) {
			return nil, fault.Data.Errorf("model.vocab[%d] %q has the score %v, expected a finite number", i, pieces[i], s)
		}
		u.unknown = min(u.unknown, s)
	}
	u.unknown -= unknownPenalty
	for b := range u.bytes {
		u.bytes[b] = u.trie.lookup(bytePiece(byte(b)))
	}
	return u, nil
}

// bytePiece is the name of the piece that stands for one byte.
func bytePiece(b byte) []byte { return fmt.Appendf(nil, "<0x%02X>", b) }

// A unigramScratch is the memory of one goroutine's encode.
type unigramScratch struct {
	best []unigramStep
	path []unigramStep
}

// A unigramStep is the last piece of the best path to a place in the text: of unigramScratch.best, to the byte of that
// index; of path, reversed, with end in place of its score.
type unigramStep struct {
	score float64
	start int32 // byte at which the piece begins; -1: no path
	id    int32
}

// encode appends the ids of text to dst and the end of each, as a byte offset in text, to ends. A token begins where the
// one before ends, except that the bytes of one unknown run all cover the whole run: they have equal ends. A text
// with a character that is no piece gives the single id -1 when there is no unknown piece. Bytes that are not UTF-8 are
// unknown characters.
func (u *unigram) encode(dst, ends []int32, text []byte, s *unigramScratch) ([]int32, []int32) {
	if len(text) == 0 {
		return dst, ends
	}
	if !u.search(text, s) {
		return append(dst, -1), append(ends, int32(len(text)))
	}
	path := s.path[:0]
	for end := int32(len(text)); end > 0; {
		step := s.best[end]
		start := step.start
		if step.id == u.unk { // neighbouring unknown pieces are one
			for start > 0 && s.best[start].id == u.unk {
				start = s.best[start].start
			}
			step.id = u.run(text[start:end])
		}
		path = append(path, unigramStep{start: start, id: step.id})
		end = start
	}
	for i := len(path) - 1; i >= 0; i-- {
		start, end := path[i].start, int32(len(text))
		if i > 0 {
			end = path[i-1].start
		}
		if path[i].id != spelled {
			dst, ends = append(dst, path[i].id), append(ends, end)
			continue
		}
		for _, b := range text[start:end] {
			dst, ends = append(dst, u.bytes[b]), append(ends, end)
		}
	}
	s.path = path
	if len(s.best) > keptScratch {
		s.best, s.path = nil, nil
	}
	return dst, ends
}

// spelled marks, in a path, a run that becomes its bytes.
const spelled = -2

// run returns what a run of unknown pieces becomes: a piece that happens to read so, spelled, or the unknown piece.
func (u *unigram) run(text []byte) int32 {
	if id := u.trie.lookup(text); id >= 0 {
		return id
	}
	if !u.fallback {
		return u.unk
	}
	for _, b := range text {
		if u.bytes[b] < 0 {
			return u.unk
		}
	}
	return spelled
}

// search fills s.best with the best paths (Viterbi 1967). It returns false where a character is unknown and there is no
// unknown piece.
func (u *unigram) search(text []byte, s *unigramScratch) bool {
	if cap(s.best) <= len(text) {
		s.best = make([]unigramStep, len(text)+1, 2*len(text)+64)
	}
	best := s.best[:len(text)+1]
	s.best = best
	for i := range best {
		best[i].start = -1
	}
	best[0].score = 0
	units := u.trie.units
	for start := 0; start < len(text); {
		width := 1
		if text[start] >= utf8.RuneSelf {
			_, width = utf8.DecodeRune(text[start:])
		}
		here, single, at := best[start].score, false, uint32(0)
		for i := start; i < len(text); i++ {
			next := units[at].base ^ uint32(text[i])
			unit := &units[next]
			if unit.owner != at {
				break
			}
			at = next
			if unit.id < 0 {
				continue
			}
			score := u.scores[unit.id] + here
			if to := &best[i+1]; to.start < 0 || score > to.score {
				*to = unigramStep{score, int32(start), unit.id}
			}
			single = single || i+1 == start+width
		}
		if !single {
			score := u.unknown + here
			if to := &best[start+width]; to.start < 0 || score > to.score {
				if u.unk < 0 {
					return false
				}
				*to = unigramStep{score, int32(start), u.unk}
			}
		}
		start += width
	}
	return true
}
