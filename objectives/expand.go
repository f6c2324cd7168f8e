package objectives

import "palimpsest/kernels"

// Expansion is how positions of a text become several states (ExLM, arXiv 2501.13397): k rows side by side that hold the same
// token, so that only their second position tells them apart. The first position of a row is its token's place, the second
// counts the states of an expanded token from 1 and is 0 for the others.
type Expansion struct {
	K    int  // states of an expanded position; 0: nothing is expanded
	Flat bool // there is one position only, which counts rows
}

// On reports whether anything is expanded. A position with one state is still told apart, by its second position.
func (e Expansion) On() bool { return e.K > 0 }

// expand appends a text as one bidirectional segment in which the positions that many marks have k rows. seen is what the
// network sees, original what stood there. It appends the first row of every position to starts.
func (p *Plan) expand(id int64, seen, original []int32, many []bool, mask kernels.Mask, e Expansion, starts []int32) []int32 {
	start := len(p.Tokens)
	for t, token := range seen {
		starts = append(starts, int32(len(p.Tokens)))
		states := 1
		if many[t] {
			states = max(1, e.K)
		}
		for c := range states {
			first, second := int32(t), int32(0)
			if many[t] {
				second = int32(c + 1)
			}
			if e.Flat {
				first, second = int32(len(p.Tokens)-start), 0
			}
			p.Tokens, p.OriginalTokens = append(p.Tokens, token), append(p.OriginalTokens, original[t])
			p.Pos = append(p.Pos, first, second)
		}
	}
	p.Segments = append(p.Segments, kernels.Segment{Start: int32(start), End: int32(len(p.Tokens)), Mask: mask})
	p.Documents = append(p.Documents, id)
	return starts
}

// Lay appends a text as one segment in which the tokens that many names are expanded, and returns the first row of every token.
func (p *Plan) Lay(tokens []int32, many func(id int32) bool, mask kernels.Mask, e Expansion) (rows []int32) {
	expanded := make([]bool, len(tokens))
	for i, id := range tokens {
		expanded[i] = e.On() && many(id)
	}
	return p.expand(0, tokens, tokens, expanded, mask, e, nil)
}
