package eval

import (
	"math"
	"slices"
	"unicode"
)

// Words cuts a text into runs of letters, digits and their marks; every other character that is no white space is a word by
// itself. It is what BLEU, ROUGE-L and repeated phrases count.
func Words(text string) (words []string) {
	from := -1 // of the word at hand
	for i, r := range text {
		if unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) {
			if from < 0 {
				from = i
			}
			continue
		}
		if from >= 0 {
			words, from = append(words, text[from:i]), -1
		}
		if !unicode.IsSpace(r) {
			words = append(words, string(r))
		}
	}
	if from >= 0 {
		words = append(words, text[from:])
	}
	return words
}

// Similarity compares new texts with the old ones in whose place they stand.
type Similarity struct {
	Texts int64 `json:"texts"`
	// BLEU is that of the whole corpus (Papineni and others 2002), of n-grams of 1 to 4 words with uniform weights and one
	// reference. An order without any match counts 1/2, 1/4, ... of one, in turn (NIST mteval-v13a; method 3 of Chen and
	// Cherry 2014); orders that all new texts are too short for do not count.
	BLEU float64 `json:"bleu"`
	// RougeL is the mean over texts of the harmonic mean of precision and recall by the longest common subsequence of words
	// (Lin 2004); 1 where both texts are empty.
	RougeL float64 `json:"rouge_l"`
	// Tokens is the share of places with the same token in both, of the longer text's.
	Tokens float64 `json:"token_agreement"`
	// Identical is the share of texts with the same tokens.
	Identical float64 `json:"identical"`
}

// maxOrder is the longest n-gram of BLEU, and the phrase that Repeats looks for.
const maxOrder = 4

// A SimilarityScorer sums up pairs of texts.
type SimilarityScorer struct {
	texts, identical     int64
	matches, total       [maxOrder]int64 // by order - 1
	newLength, oldLength int64           // words
	rouge                float64
	same, places         int64
}

// Add compares a new text with the old one, both as words and as tokens.
func (s *SimilarityScorer) Add(newWords, oldWords []string, newTokens, oldTokens []int32) {
	s.texts++
	for n := 1; n <= maxOrder; n++ {
		old := ngrams(oldWords, n)
		for gram, count := range ngrams(newWords, n) {
			s.matches[n-1] += min(count, old[gram])
			s.total[n-1] += count
		}
	}
	s.newLength += int64(len(newWords))
	s.oldLength += int64(len(oldWords))
	if len(newWords)+len(oldWords) == 0 {
		s.rouge++
	} else {
		s.rouge += 2 * float64(commonWords(newWords, oldWords)) / float64(len(newWords)+len(oldWords))
	}
	s.places += int64(max(len(newTokens), len(oldTokens)))
	for i := range min(len(newTokens), len(oldTokens)) {
		if newTokens[i] == oldTokens[i] {
			s.same++
		}
	}
	if slices.Equal(newTokens, oldTokens) {
		s.identical++
	}
}

// Score returns what the texts so far give; without any, zeros.
func (s *SimilarityScorer) Score() Similarity {
	r := Similarity{Texts: s.texts, Tokens: 1, Identical: ratio(s.identical, s.texts), RougeL: s.rouge / math.Max(1, float64(s.texts)), BLEU: s.bleu()}
	if s.places > 0 {
		r.Tokens = ratio(s.same, s.places)
	}
	if s.texts == 0 {
		return Similarity{}
	}
	return r
}

func (s *SimilarityScorer) bleu() float64 {
	if s.newLength == 0 {
		if s.oldLength == 0 {
			return 1
		}
		return 0
	}
	logs, orders, smooth := 0.0, 0.0, 1.0
	for n := range maxOrder {
		if s.total[n] == 0 {
			continue
		}
		matches := float64(s.matches[n])
		if s.matches[n] == 0 {
			smooth /= 2
			matches = smooth
		}
		logs += math.Log(matches / float64(s.total[n]))
		orders++
	}
	brevity := math.Min(0, 1-float64(s.oldLength)/float64(s.newLength))
	return math.Exp(brevity + logs/orders)
}

// A gram is an n-gram of words; those of fewer than four end in empty words.
type gram [maxOrder]string

func ngrams(words []string, n int) map[gram]int64 {
	counts := map[gram]int64{}
	for i := 0; i+n <= len(words); i++ {
		var g gram
		copy(g[:], words[i:i+n])
		counts[g]++
	}
	return counts
}

// commonWords is the length of the longest common subsequence.
func commonWords(a, b []string) int {
	above, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for _, x := range a {
		for j, y := range b {
			if x == y {
				row[j+1] = above[j] + 1
			} else {
				row[j+1] = max(above[j+1], row[j])
			}
		}
		above, row = row, above
	}
	return above[len(b)]
}

// Repeats says whether a text has a phrase of four words more than once.
func Repeats(words []string) bool {
	for _, count := range ngrams(words, maxOrder) {
		if count > 1 {
			return true
		}
	}
	return false
}
