package text

import "bytes"

// Names of the per-token planes that spans and classes become, as package shard knows them.
const (
	PlaneLoss  = "loss"  // 1 = to be learned, 0 = context only
	PlaneBIO   = "bio"   // TagOutside, TagBegin(type), TagInside(type) or TagNone
	PlaneLabel = "label" // class of the document at every token, or NoClass
	PlaneSign  = "sign"  // SignUnwanted, SignKeep or SignNone
	PlaneClass = "class" // ClassBoilerplate, ClassReasoning or ClassNone
)

// Tags of the bio plane. An entity of type k begins with 1+2k and goes on with 2+2k.
const (
	TagOutside = 0
	TagNone    = 255 // no tag is known: special tokens, text without annotation, later parts of a word under FirstSubword
)

// MaxEntityTypes is the number of types that one byte a token has room for.
const MaxEntityTypes = 127

// TagBegin returns the tag of the first token of an entity.
func TagBegin(entityType int) byte { return byte(1 + 2*entityType) }

// TagInside returns the tag of the further tokens of an entity.
func TagInside(entityType int) byte { return byte(2 + 2*entityType) }

// TokenEnds appends, for each token of a text, the byte of the text at which it ends. The ids must be those of the text, and
// the tokenizer Lossless.
func (t *Tokenizer) TokenEnds(dst []int, ids []int32) []int {
	at := 0
	for _, id := range ids {
		at += len(t.tokens[id])
		dst = append(dst, at)
	}
	return dst
}

// LossPlane returns one byte for each token of a text, of which ends are the TokenEnds: 1 when at least one byte of the token
// lies in an Answer, or when there is no Answer at all, otherwise 0. So a token that crosses the border between context and
// answer is learned.
func LossPlane(spans []LabelSpan, ends []int) []byte { return lossPlane(spans, nil, ends) }

// lossPlane is LossPlane for tokens that need not follow each other; starts may be nil.
func lossPlane(spans []LabelSpan, starts, ends []int) []byte {
	plane := make([]byte, len(ends))
	answers := false
	i := 0
	for _, s := range spans {
		if s.Kind != Answer {
			continue
		}
		answers = true
		for i < len(ends) && ends[i] <= s.Start {
			i++
		}
		for ; i < len(ends) && tokenStart(starts, ends, i) < s.End; i++ {
			plane[i] = 1
		}
	}
	if !answers {
		for i := range plane {
			plane[i] = 1
		}
	}
	return plane
}

// tagOpens turns words' openings (Tokenizer.WordStarts) into the tokens that have a tag under FirstSubword. Where the space before a
// word is a token of its own it opens the word, but lies outside of an entity that the word begins: the token behind it,
// the first with a letter of the word, takes its place.
func (t *Tokenizer) tagOpens(opens []bool, ids []int32) {
	blank := func(i int) bool { return len(bytes.TrimSpace(t.tokens[ids[i]])) == 0 }
	for i := 0; i+1 < len(ids); i++ {
		if opens[i] && !opens[i+1] && blank(i) && !blank(i+1) {
			opens[i], opens[i+1] = false, true
		}
	}
}

// BIOTags returns the tag of each token of a text, of which ends are the TokenEnds: the first token with a byte of an Entity
// begins it, the others with one go on with it. With opens, tokens for which it is false (those that do not open a word) have
// TagNone and are passed over. A token that touches two entities belongs to the earlier one; lost counts the entities that
// are left without any token.
func BIOTags(spans []LabelSpan, ends []int, opens []bool) (plane []byte, lost int) {
	return bioTags(spans, nil, ends, opens)
}

// bioTags is BIOTags for tokens that need not follow each other; starts may be nil.
func bioTags(spans []LabelSpan, starts, ends []int, opens []bool) (plane []byte, lost int) {
	plane = make([]byte, len(ends))
	for i, o := range opens {
		if !o {
			plane[i] = TagNone
		}
	}
	i := 0
	for _, s := range spans {
		if s.Kind != Entity {
			continue
		}
		for i < len(ends) && ends[i] <= s.Start {
			i++
		}
		tag := TagBegin(s.Type)
		for ; i < len(ends) && tokenStart(starts, ends, i) < s.End; i++ {
			if plane[i] != TagNone {
				plane[i] = tag
				tag = TagInside(s.Type)
			}
		}
		if tag == TagBegin(s.Type) {
			lost++
		}
	}
	return plane, lost
}

func tokenStart(starts, ends []int, i int) int {
	switch {
	case starts != nil:
		return starts[i]
	case i == 0:
		return 0
	}
	return ends[i-1]
}
