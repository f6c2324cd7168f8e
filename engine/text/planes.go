package text

import (
	"fmt"
	"strconv"
	"strings"

	"palimpsest/engine/fault"
)

// Names of the per-token planes that spans become, as package shard knows them.
const (
	PlaneLoss = "loss" // 1 = to be learned, 0 = context only
	PlaneBIO  = "bio"  // TagOutside, TagBegin(type), TagInside(type) or TagNone
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

// TokenEnds appends, for each token of a text, the byte of the text at which it ends. The ids must be those of the text.
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
func LossPlane(spans []LabelSpan, ends []int) []byte {
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
		for ; i < len(ends) && tokenStart(ends, i) < s.End; i++ {
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

// BIOTags returns the tag of each token of a text, of which ends are the TokenEnds: the first token with a byte of an Entity
// begins it, the others with one go on with it. With opens, tokens for which it is false (those that do not open a word) have
// TagNone and are passed over. A token that touches two entities belongs to the earlier one; lost counts the entities that
// are left without any token.
func BIOTags(spans []LabelSpan, ends []int, opens []bool) (plane []byte, lost int) {
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
		for ; i < len(ends) && tokenStart(ends, i) < s.End; i++ {
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

func tokenStart(ends []int, i int) int {
	if i == 0 {
		return 0
	}
	return ends[i-1]
}

// bioPrefix begins the provenance of a bio plane: a version, then the types, quoted as in Go.
const bioPrefix = "BIO 1:"

// FormatEntityTypes writes the table of types for a bio plane's provenance, followed by a remark of the caller's.
func FormatEntityTypes(types []string, remark string) string {
	var b strings.Builder
	b.WriteString(bioPrefix)
	for _, t := range types {
		fmt.Fprintf(&b, " %q", t)
	}
	if remark != "" {
		b.WriteString("; " + remark)
	}
	return b.String()
}

// ParseEntityTypes reads the types that FormatEntityTypes wrote. Errors are fault.Data.
func ParseEntityTypes(provenance string) ([]string, error) {
	rest, ok := strings.CutPrefix(provenance, bioPrefix)
	if !ok {
		return nil, fault.Data.Errorf("provenance %.100q has no table of entity types; expected it to begin with %q", provenance, bioPrefix)
	}
	var types []string
	for strings.HasPrefix(rest, ` "`) {
		quoted, err := strconv.QuotedPrefix(rest[1:])
		if err != nil || len(types) == MaxEntityTypes {
			return nil, fault.Data.Errorf("provenance %.100q: the table of entity types ends badly after %d", provenance, len(types))
		}
		name, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, fault.Data.Errorf("provenance %.100q: entity type %s: %w", provenance, quoted, err)
		}
		types = append(types, name)
		rest = rest[1+len(quoted):]
	}
	if rest != "" && !strings.HasPrefix(rest, "; ") {
		return nil, fault.Data.Errorf("provenance %.100q: expected a quoted entity type at %.40q", provenance, rest)
	}
	return types, nil
}
