package objectives

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	"palimpsest/kernels/philox"
)

// PMI is the run file's section on collocations.
type PMI struct {
	Counts [3]int `yaml:"counts" min:"1" doc:"least occurrences of collocations of 2, 3 and 4 words (published: 5, 3, 2)"`
	Prune  bool   `yaml:"prune" doc:"keep a collocation only if its PMI exceeds that of each shorter one by a word that it contains"`
	Fill   bool   `yaml:"fill" doc:"where the collocations of a document hold fewer tokens than are to be masked, add single words"`
}

// DefaultPMI suits small corpora.
func DefaultPMI() PMI { return PMI{Counts: [3]int{2, 2, 2}, Fill: true} }

func (p PMI) validate() (problems []error) {
	for i, n := range p.Counts {
		if n < 1 {
			problems = append(problems, fmt.Errorf("pmi.counts.%d: want 1 or more, not %d", i, n))
		}
	}
	return problems
}

const longestCollocation = 4

// An ngram holds the numbers of its words, from 1, with zeros behind them.
type ngram [longestCollocation]int32

// collocations are word n-grams of a corpus by pointwise mutual information, log2(p(w_1..w_n) / prod p(w_i)), where p of n
// words is their share of all runs of n words in a row. Words are compared in lower case; those of fewer than two letters,
// with anything but letters, or without meaning of their own are in none.
type collocations struct {
	vocabulary Vocabulary
	words      map[string]int32
	rank       map[ngram]int32 // 0 is the largest PMI
	fill       bool

	// Memory of one call of mask:
	ids   []int32
	bound []int
	found []occurrence
}

type occurrence struct {
	rank int32
	unit
}

// collect counts the collocations of a corpus in one pass.
func collect(o PMI, v Vocabulary, corpus Corpus) (*collocations, error) {
	if v.Text == nil || v.WordStarts == nil {
		return nil, fmt.Errorf("mslm.strategy pmi needs a tokenizer that knows where words begin")
	}
	c := &collocations{vocabulary: v, words: map[string]int32{}, rank: map[ngram]int32{}, fill: o.Fill}
	names := []string{""}
	counts := map[ngram]int64{}
	var windows [longestCollocation + 1]float64 // by length: runs of words, of any words
	var starts []bool
	for doc, err := range corpus.Documents {
		if err != nil {
			return nil, err
		}
		starts = v.WordStarts(starts[:0], doc.Tokens)
		c.read(doc, starts, func(word string) int32 {
			id, ok := c.words[word]
			if !ok {
				id = int32(len(names))
				names = append(names, word)
				c.words[word] = id
			}
			return id
		})
		for n := 1; n <= longestCollocation; n++ {
			windows[n] += float64(max(0, len(c.ids)-n+1))
		}
		c.each(func(g ngram, _, _ int) { counts[g]++ })
	}
	score := func(g ngram) float64 {
		n := g.words()
		s := math.Log2(float64(counts[g]) / windows[n])
		for _, w := range g[:n] {
			s -= math.Log2(float64(counts[ngram{w}]) / windows[1])
		}
		return s
	}
	type scored struct {
		ngram
		pmi   float64
		count int64
	}
	var list []scored
	for g, count := range counts {
		n := g.words()
		if n < 2 || count < int64(o.Counts[n-2]) {
			continue
		}
		s := score(g)
		if o.Prune && n > 2 {
			var left, right ngram
			copy(left[:], g[:n-1])
			copy(right[:], g[1:n])
			if s <= score(left) || s <= score(right) {
				continue
			}
		}
		list = append(list, scored{g, s, count})
	}
	slices.SortFunc(list, func(a, b scored) int { // word numbers are in the order of first sight: no tie is left to chance
		return cmp.Or(cmp.Compare(b.pmi, a.pmi), cmp.Compare(b.count, a.count), slices.Compare(a.ngram[:], b.ngram[:]))
	})
	for i, s := range list {
		c.rank[s.ngram] = int32(i)
	}
	if len(list) == 0 && !o.Fill {
		return nil, fmt.Errorf("mslm.strategy pmi: no two words stand together %d times; hint: lower mslm.pmi.counts, or mslm.pmi.fill: true", o.Counts[0])
	}
	return c, nil
}

func (g ngram) words() int {
	n := 0
	for n < len(g) && g[n] != 0 {
		n++
	}
	return n
}

// read fills ids with the words' numbers of a document, 0 for those that are in no collocation, and bound with where they begin
// and the last one ends. Special tokens are words of number 0.
func (c *collocations) read(doc Document, starts []bool, number func(word string) int32) {
	c.ids, c.bound = c.ids[:0], c.bound[:0]
	for from := 0; from < len(doc.Tokens); {
		to := from + 1
		for to < len(doc.Tokens) && !starts[to] {
			to++
		}
		id := int32(0)
		if !c.vocabulary.Special(doc.Tokens[from]) {
			if word := strings.ToLower(strings.TrimSpace(string(c.vocabulary.Text(doc.Tokens[from:to])))); meaningful(word) {
				id = number(word)
			}
		}
		c.ids, c.bound = append(c.ids, id), append(c.bound, from)
		from = to
	}
	c.bound = append(c.bound, len(doc.Tokens))
}

// each calls f for every run of 1 to 4 words with a number, and its place in ids.
func (c *collocations) each(f func(g ngram, from, to int)) {
	for i := range c.ids {
		var g ngram
		for n := 0; n < longestCollocation && i+n < len(c.ids) && c.ids[i+n] != 0; n++ {
			g[n] = c.ids[i+n]
			f(g, i, i+n+1)
		}
	}
}

// mask visits the occurrences of collocations in a document, those of the largest PMI first, and masks each, whole words only, that
// touches no masked token and does not exceed what is left of the budget. Then, with fill, single words in random order, again whole
// ones; under a budget smaller than every word left, less is masked.
func (c *collocations) mask(doc Document, starts []bool, budget int, free func(int) bool, take func(unit, byte), d *philox.Draw) {
	c.read(doc, starts, func(word string) int32 { return c.words[word] })
	c.found = c.found[:0]
	c.each(func(g ngram, from, to int) {
		if r, ok := c.rank[g]; ok {
			c.found = append(c.found, occurrence{r, unit{c.bound[from], c.bound[to]}})
		}
	})
	slices.SortStableFunc(c.found, func(a, b occurrence) int { return cmp.Compare(a.rank, b.rank) })
	visit := func(u unit) {
		if u.to-u.from > budget {
			return
		}
		for i := u.from; i < u.to; i++ {
			if !free(i) {
				return
			}
		}
		take(u, TokenBase)
		budget -= u.to - u.from
	}
	for _, o := range c.found {
		visit(o.unit)
	}
	if !c.fill {
		return
	}
	c.found = c.found[:0]
	for w := range c.ids {
		c.found = append(c.found, occurrence{0, unit{c.bound[w], c.bound[w+1]}})
	}
	for i := 0; i < len(c.found) && budget > 0; i++ {
		j := i + d.IntN(len(c.found)-i)
		c.found[i], c.found[j] = c.found[j], c.found[i]
		visit(c.found[i].unit)
	}
}

// meaningful reports whether a word, in lower case, may be part of a collocation.
func meaningful(word string) bool {
	letters := 0
	for _, r := range word {
		if !unicode.IsLetter(r) && !unicode.IsMark(r) {
			return false
		}
		letters++
	}
	return letters >= 2 && !stopWords[word]
}

// stopWords are frequent English words without meaning of their own.
var stopWords = func() map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(`about above after again against all also am an and any are as at be because been before being below
		between both but by can cannot could did do does doing down during each either few for from further had has have having he her here
		hers him his how if in into is it its itself just may me might more most must my neither no nor not now of off on once only or other
		our ours out over own same shall she should so some such than that the their theirs them then there these they this those through
		to too under until up upon us very was we were what when where whether which while who whom whose why will with within without
		would you your yours`) {
		m[w] = true
	}
	return m
}()
