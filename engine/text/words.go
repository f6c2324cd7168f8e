package text

import (
	"iter"
	"runtime"
	"unicode/utf8"
)

const (
	countBatch   = 4 << 20 // bytes of text that one goroutine counts at a time
	longestWord  = 1 << 10 // bytes; longer pre-tokens are counted in parts of this size
	maxWordBytes = 1 << 29 // bytes of all distinct words, which positions in the trainer must be able to address
)

// wordCounts counts distinct pre-tokens. The order of words is that of first sight, so nothing depends on Go's maps.
type wordCounts struct {
	index  map[string]int32
	words  []string
	counts []int64
	bytes  int64 // of all words
	cut    int64 // pre-tokens that were longer than longestWord
	long   int64 // words left out by wordPieceWords
	addDoc func(c *wordCounts, text []byte)
}

// newWordCounts counts pieces of GPT-2's pre-tokenizer.
func newWordCounts() *wordCounts {
	return &wordCounts{index: map[string]int32{}, addDoc: (*wordCounts).addText}
}

func (c *wordCounts) add(word []byte, n int64) {
	if i, ok := c.index[string(word)]; ok {
		c.counts[i] += n
		return
	}
	c.insert(string(word), n)
}

func (c *wordCounts) insert(word string, n int64) {
	c.index[word] = int32(len(c.words))
	c.words = append(c.words, word)
	c.counts = append(c.counts, n)
	c.bytes += int64(len(word))
}

// addText counts the pieces of one document. A piece of excessive length (a protein, a megabyte of "a") is counted in parts,
// cut between characters: only the pairs over the cuts are lost, and training stays linear.
func (c *wordCounts) addText(text []byte) {
	for i := 0; i < len(text); {
		end := pieceEnd(text, i)
		if end-i > longestWord {
			c.cut++
			for end-i > longestWord {
				part := i + longestWord
				for part > i+longestWord-utf8.UTFMax && !utf8.RuneStart(text[part]) {
					part--
				}
				c.add(text[i:part], 1)
				i = part
			}
		}
		c.add(text[i:end], 1)
		i = end
	}
}

func (c *wordCounts) merge(from *wordCounts) {
	for i, word := range from.words {
		if j, ok := c.index[word]; ok {
			c.counts[j] += from.counts[i]
		} else {
			c.insert(word, from.counts[i])
		}
	}
	c.cut += from.cut
	c.long += from.long
}

// prune drops the rarest words, all of one count together, until at most three quarters of maxWords and of maxWordBytes
// are left. It returns the words and the occurrences dropped.
func (c *wordCounts) prune(maxWords int) (words, occurrences int64) {
	least := int64(1)
	for ; ; least++ {
		kept, size := 0, 0
		for i, n := range c.counts {
			if n > least {
				kept++
				size += len(c.words[i])
			}
		}
		if kept <= maxWords/4*3 && size <= maxWordBytes/4*3 {
			break
		}
	}
	rest := newWordCounts()
	for i, n := range c.counts {
		if n > least {
			rest.insert(c.words[i], n)
		} else {
			words++
			occurrences += n
		}
	}
	rest.cut, rest.long, rest.addDoc = c.cut, c.long, c.addDoc
	*c = *rest
	return words, occurrences
}

// countWords counts the words of a corpus on several goroutines. Batches are cut by bytes and added in order, so the
// result, pruning included, does not depend on the number of goroutines.
func countWords(corpus iter.Seq2[[]byte, error], fresh func() *wordCounts, maxWords int, report *TrainReport, progress func()) (*wordCounts, error) {
	total := fresh()
	type batch struct {
		text []byte
		ends []int // of the documents in text
	}
	var current batch
	var running []chan *wordCounts
	finish := func() {
		total.merge(<-running[0])
		running = running[1:]
		if len(total.words) > maxWords || total.bytes > maxWordBytes {
			words, occurrences := total.prune(maxWords)
			report.PrunedWords += words
			report.PrunedOccurrences += occurrences
		}
		report.Words, report.CutWords, report.LongWords = len(total.words), total.cut, total.long
		progress()
	}
	start := func() {
		if len(running) == runtime.GOMAXPROCS(0) {
			finish()
		}
		b, done := current, make(chan *wordCounts, 1)
		current = batch{}
		running = append(running, done)
		go func() {
			counts, i := fresh(), 0
			for _, end := range b.ends {
				counts.addDoc(counts, b.text[i:end])
				i = end
			}
			done <- counts
		}()
	}
	for text, err := range corpus {
		if err != nil {
			return nil, err
		}
		current.text = append(current.text, text...)
		current.ends = append(current.ends, len(current.text))
		report.Documents++
		report.Bytes += int64(len(text))
		if len(current.text) >= countBatch {
			start()
		}
	}
	start()
	for len(running) > 0 {
		finish()
	}
	return total, nil
}
