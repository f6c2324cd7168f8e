package engine

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// tagged are documents with entity tags that a model is measured on.
type tagged struct {
	m     *Model
	ds    *shard.Dataset
	split shard.Split
	types []string // of entities, by number; nil: the plane does not tell
	notes []string
}

// openTagged opens the documents that the model's run held out, or all of another data set.
func (m *Model) openTagged(data string) (_ *tagged, err error) {
	c, t := m.Config.Data, &tagged{m: m}
	switch {
	case data != "":
	case c.Valid.Dir != "":
		data = c.Valid.Dir
	case c.Train == "":
		return nil, fault.Usage.Errorf("%s was imported and has no documents of its own; hint: --data DIR, made with its tokenizer", m.Dir)
	case c.Valid.Share == 0:
		return nil, fault.Usage.Errorf("the run held out no documents (data.valid: 0); hint: --data DIR with documents for evaluation")
	default:
		data, t.split = c.Train, shard.Split{Valid: c.Valid.Share, Part: shard.Valid}
	}
	if t.ds, err = shard.Open(data); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			t.ds.Close()
		}
	}()
	if err = t.ds.CheckTokenizer(m.Tokenizer.Hash(), m.Tokenizer.Vocab()); err != nil {
		return nil, err
	}
	if !hasPlane(t.ds, text.PlaneBIO) {
		return nil, fault.Data.Errorf("data set %s has no plane bio with the tags of entities; hint: palimpsest data annotate %s --bio FILE, --terms FILE or --spans FILE", data, data)
	}
	t.types = entityTypes(t.ds)
	return t, t.compareTypes(data)
}

// compareTypes makes sure that tags mean what they meant in training.
func (t *tagged) compareTypes(data string) error {
	train := t.m.Config.Data.Train
	if train == "" || train == data || t.types == nil {
		return nil
	}
	ds, err := shard.Open(train)
	if err != nil {
		t.notes = append(t.notes, fmt.Sprintf("%s, which the run was trained on, cannot be read, so its types of entities may be others", train))
		return nil
	}
	defer ds.Close()
	if learned := entityTypes(ds); learned != nil && !slices.Equal(learned, t.types) {
		return fault.Data.Errorf("types of entities are %q in %s, which the run was trained on, and %q in %s; hint: make both with the same --entity-types, or --labels-from %s",
			learned, train, t.types, data, train)
	}
	return nil
}

// each yields the documents in order, up to a number of tokens (0: all).
func (t *tagged) each(ds *shard.Dataset, split shard.Split, tokens int64, yield func(shard.Document, []byte) error) error {
	stream, err := ds.Stream(shard.StreamConfig{Seed: t.m.Config.Data.Seed, Epochs: 1, Split: split, Planes: []string{text.PlaneBIO}}, shard.Cursor{})
	if err != nil {
		return err
	}
	defer stream.Close()
	for seen := int64(0); tokens == 0 || seen < tokens; {
		d, err := stream.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if err := yield(d, d.Planes[text.PlaneBIO]); err != nil {
			return err
		}
		seen += int64(len(d.Tokens))
	}
	return nil
}

// tagHead chooses the head that answers tags.
func (t *tagged) tagHead(name string) (objectives.Head, error) {
	var known []string
	if name == "" {
		name = t.m.Config.MSLM.DetectionHead
	}
	for _, h := range t.m.Config.Model.Classifiers {
		if !h.EveryToken() || name != "" && h.Name != name {
			known = append(known, h.Name)
			continue
		}
		if n := 1 + 2*len(t.types); len(t.types) > 0 && h.Classes != n {
			return h, fault.Data.Errorf("head %q of %s has %d classes, the tags of %d types of entities %q are %d; hint: --head names another one",
				h.Name, t.m.Dir, h.Classes, len(t.types), t.types, n)
		}
		return h, nil
	}
	what, others := "", "no classification head"
	if name != "" {
		what = fmt.Sprintf(" named %q", name)
	}
	if len(known) > 0 {
		others = strings.Join(known, ", ")
	}
	return objectives.Head{}, fault.Usage.Errorf("%s has no token head%s; it has: %s; hint: train with model.classifiers: [{name: entities, kind: token, classes: 3}]",
		t.m.Dir, what, others)
}

// tagName is a tag as files write it.
func (t *tagged) tagName(tag byte) string {
	if tag == text.TagOutside {
		return "O"
	}
	name := fmt.Sprintf("type%d", (tag-1)/2)
	if k := int(tag-1) / 2; k < len(t.types) {
		name = t.types[k]
	}
	return [2]string{"I-", "B-"}[tag%2] + name
}

// A taggedWord is tokens [from, to) of a document, of which the one at the place at bears the tag.
type taggedWord struct{ from, at, to int }

// Units of words, UnitWord where nothing is said: words as the tokenizer cuts them, every token, or what white space sets apart, as
// the words of files of tagged sentences.
const (
	UnitWord  = "word"
	UnitToken = "token"
	UnitSpace = "space"
)

// words returns those of a document that have a tag. The first token of a word that has one, and is not just the space before the
// word, bears it.
func (t *tagged) words(tokens []int32, tags []byte, unit string) (list []taggedWord) {
	tok := t.m.Tokenizer
	starts := tok.WordStarts(nil, tokens)
	blank := func(i int) bool { return len(bytes.TrimSpace(tok.TokenBytes(tokens[i]))) == 0 }
	for from := 0; from < len(tokens); {
		to := from + 1
		for unit != UnitToken && to < len(tokens) && (!starts[to] || unit == UnitSpace && !t.apart(tokens[to-1], tokens[to])) {
			to++
		}
		at := -1
		for i := from; i < to; i++ {
			if tags[i] != text.TagNone && (at < 0 || blank(at) && !blank(i)) {
				at = i
			}
		}
		if at >= 0 {
			list = append(list, taggedWord{from, at, to})
		}
		from = to
	}
	return list
}

// apart reports whether white space, or one of the two being special, separates neighbours.
func (t *tagged) apart(a, b int32) bool {
	tok := t.m.Tokenizer
	left, right := tok.TokenBytes(a), tok.TokenBytes(b)
	last, _ := utf8.DecodeLastRune(left)
	first, _ := utf8.DecodeRune(right)
	return tok.IsSpecial(a) || tok.IsSpecial(b) || unicode.IsSpace(first) || unicode.IsSpace(last) && len(bytes.TrimSpace(left)) > 0
}

// keepsSpaces reports whether tokens show the white space between words; WordPiece's do not.
func (t *tagged) keepsSpaces() bool {
	for id := range int32(t.m.Tokenizer.Vocab()) {
		if first, _ := utf8.DecodeRune(t.m.Tokenizer.TokenBytes(id)); unicode.IsSpace(first) && !t.m.Tokenizer.IsSpecial(id) {
			return true
		}
	}
	return false
}

// surface is the text of tokens, to compare entities by.
func (t *tagged) surface(tokens []int32) string {
	return strings.ToLower(string(bytes.TrimSpace(t.m.Tokenizer.Decode(tokens))))
}

// longest is the length of the run's segments.
func (m *Model) longest() int {
	if l := m.Config.Data.Length; l > 0 {
		return min(l, m.Config.Model.Context)
	}
	return m.Config.Model.Context
}

// activations are for sequences up to the length of the run's segments.
func (m *Model) activations() (a *model.Activations, capacity model.Capacity, length int, mask kernels.Mask) {
	length = m.longest()
	capacity = model.Capacity{Tokens: max(length, min(8192, m.Config.Data.TokensPerStep))}
	capacity.Rows = capacity.Tokens
	mask = kernels.Bidirectional
	if looksBack(m.Config) {
		mask = kernels.Causal
	}
	return model.NewActivations(m.Backend, m.Weights.Config, capacity, false), capacity, length, mask
}
