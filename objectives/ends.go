package objectives

import "fmt"

// Ends is what all documents of a run have in common, for the room that their expansion takes. The objectives of a run share one,
// which the first of them fills in Prepare; zero stands for texts between one begin and one end token.
type Ends struct {
	known    bool
	most     int // begin and end tokens of a text, those that it lacks included
	added    int // of these
	framed   int // texts that lack one
	headless int // texts that lack the begin
	mask     error
}

// room bounds the begin and end tokens of a text, and those of them that it lacks.
func (e *Ends) room() (most, added int) {
	if e == nil || !e.known {
		return 2, 2
	}
	return e.most, e.added
}

// count reads the corpus, unless that was done.
func (e *Ends) count(c Corpus, v Vocabulary) error {
	if e.known {
		return nil
	}
	found := Ends{known: true}
	for doc, err := range c.Documents {
		if err != nil {
			return err
		}
		n := 0
		for i, id := range doc.Tokens {
			if v.End(id) {
				n++
			}
			if id == v.Mask && v.Mask >= 0 && found.mask == nil {
				found.mask = fmt.Errorf("document %d, token %d is the mask token: masks in the text cannot be told from those that are asked for; "+
					"hint: exlm.allow_mask_in_text: true takes them as they are, or build the data set from text without them", doc.ID, doc.Offset+i)
			}
		}
		before, behind := v.frames(doc.Tokens)
		if before+behind > 0 {
			found.framed++
		}
		if before > 0 {
			found.headless++
		}
		found.added, found.most = max(found.added, before+behind), max(found.most, n+before+behind)
	}
	*e = found
	return nil
}

// End reports whether a token is a begin or end token.
func (v Vocabulary) End(id int32) bool { return id >= 0 && (id == v.BOS || id == v.EOS) }

// frames returns how many begin and end tokens a text lacks.
func (v Vocabulary) frames(tokens []int32) (before, behind int) {
	if len(tokens) == 0 {
		return 0, 0
	}
	if tokens[0] != v.BOS {
		before = 1
	}
	if last := tokens[len(tokens)-1]; last != v.EOS || len(tokens)+before == 1 {
		behind = 1
	}
	return before, behind
}
