package objectives

import (
	"fmt"
	"slices"
	"testing"
)

// paddedBatch is a batch as the authors' code holds it: rows of one length, shorter ones filled up.
type paddedBatch struct {
	IDs, Pos1, Pos2, Ext [][]int32 // [B,L]
	Len                  []int     // [B] states that are not filling
	Slots                [][]int32 // [B] states of expanded tokens
}

// expandPadded is the oracle of the expansion: padded rows [B,T] of what the network sees, of which masked marks the targets. What
// is behind the end of a row is padding; rowTail fills, as the published code does, with unexpanded copies of the last position.
func expandPadded(src [][]int32, masked [][]int, k int, specials, rowTail bool, special map[string]int32) (b paddedBatch, err error) {
	switch {
	case k < 1:
		return b, fmt.Errorf("k is %d, want 1 or more", k)
	case len(masked) != len(src):
		return b, fmt.Errorf("%d rows, masks of %d", len(src), len(masked))
	}
	longest := 0
	for r, row := range src {
		if len(row) != len(src[0]) || len(masked[r]) != len(row) {
			return b, fmt.Errorf("row %d has %d tokens and %d masks, want %d of both", r, len(row), len(masked[r]), len(src[0]))
		}
		var ids, pos1, pos2, ext, slots []int32
		ended := false
		for t, id := range row {
			hidden := masked[r][t] != 0
			if id == special["pad"] {
				if ended = true; hidden {
					return b, fmt.Errorf("row %d, position %d: a pad is masked", r, t)
				}
				continue
			}
			if ended {
				return b, fmt.Errorf("row %d, position %d: a token behind a pad", r, t)
			}
			many, states := hidden || specials && (id == special["bos"] || id == special["eos"]), 1
			if many {
				states = k
			}
			for c := range states {
				var second, of int32
				if many {
					second, of, slots = int32(c+1), 1, append(slots, int32(len(ids)))
				}
				ids, pos1, pos2, ext = append(ids, id), append(pos1, int32(t)), append(pos2, second), append(ext, of)
			}
		}
		longest = max(longest, len(ids))
		b.IDs, b.Pos1, b.Pos2, b.Ext = append(b.IDs, ids), append(b.Pos1, pos1), append(b.Pos2, pos2), append(b.Ext, ext)
		b.Len, b.Slots = append(b.Len, len(ids)), append(b.Slots, slots)
	}
	for r, row := range src {
		id, at := special["pad"], int32(0)
		if last := len(row) - 1; rowTail && last >= 0 {
			id, at = row[last], int32(last)
		}
		for len(b.IDs[r]) < longest {
			b.IDs[r], b.Pos1[r], b.Pos2[r], b.Ext[r] = append(b.IDs[r], id), append(b.Pos1[r], at), append(b.Pos2[r], 0), append(b.Ext[r], 0)
		}
	}
	return b, nil
}

// The expansion of independent vectors: the oracle's of padded batches, and of every row without its padding the objective's.
func TestGoldenExpansion(t *testing.T) {
	var file struct {
		Special map[string]int32
		Cases   []struct {
			Name     string
			K        int
			Specials bool `json:"expand_specials"`
			RowTail  bool `json:"compat_row_tail"`
			Orig     [][]int32
			Masked   [][]int
			Src      [][]int32
			L        int
			Len      []int
			IDs      [][]int32
			Pos1     [][]int32
			Pos2     [][]int32
			Ext      [][]int32
			Slots    [][]int32
			Y        [][]int32
		}
		ErrorCases []struct {
			Name, Why string
			K         int
			Src       [][]int32
			Masked    [][]int
		} `json:"error_cases"`
	}
	readGolden(t, "exlm_expand", &file)
	if len(file.Cases) == 0 {
		t.Fatal("exlm_expand.json lacks cases")
	}
	special := file.Special
	equal := func(name string, row int, what string, got, want []int32) {
		t.Helper()
		if !slices.Equal(got, want) {
			t.Errorf("%s, row %d: %s %v, want %v", name, row, what, got, want)
		}
	}
	for _, c := range file.Cases {
		padded, err := expandPadded(c.Src, c.Masked, c.K, c.Specials, c.RowTail, special)
		if err != nil || len(c.Orig) != len(c.Src) || len(c.IDs[0]) != c.L || !slices.Equal(padded.Len, c.Len) {
			t.Errorf("%s: %v, lengths %v, want %v of at most %d", c.Name, err, padded.Len, c.Len, c.L)
			continue
		}
		size := 0
		for _, list := range append(slices.Clone(c.Orig), c.Src...) {
			size = max(size, int(slices.Max(list))+2)
		}
		for b, orig := range c.Orig {
			for _, x := range []struct {
				what      string
				got, want [][]int32
			}{{"ids", padded.IDs, c.IDs}, {"pos1", padded.Pos1, c.Pos1}, {"pos2", padded.Pos2, c.Pos2}, {"ext", padded.Ext, c.Ext}, {"slots", padded.Slots, c.Slots}} {
				equal(c.Name, b, "the oracle's "+x.what, x.got[b], x.want[b])
			}
			n := len(orig)
			for n > 0 && orig[n-1] == special["pad"] {
				n--
			}
			s := exlmSettings(func(s *Settings) {
				v := &s.Vocabulary
				s.EXLM.K, s.EXLM.ExpandSpecials = c.K, c.Specials
				v.BOS, v.EOS, v.Pad, v.Mask, v.Unk = special["bos"], special["eos"], special["pad"], special["mask"], special["unk"]
				v.Size, v.Special = size, func(id int32) bool { return id == v.BOS || id == v.EOS || id == v.Pad || id == v.Mask || id == v.Unk }
			})
			o, err := New("exlm", s)
			if err != nil {
				t.Fatal(err)
			}
			x, p := o.(*exlm), new(Plan)
			x.Begin(p)
			x.lay(Document{ID: 7, Tokens: orig[:n]}, p, func(i int) bool { return c.Masked[b][i] == 1 })
			if err := p.Check(size, 1<<20); err != nil {
				t.Errorf("%s, row %d: %v", c.Name, b, err)
			}
			term, L := p.Terms[0], c.Len[b]
			var pos1, pos2 []int32
			for i := range p.Tokens {
				pos1, pos2 = append(pos1, p.Pos[2*i]), append(pos2, p.Pos[2*i+1])
			}
			equal(c.Name, b, "ids", p.Tokens, c.IDs[b][:L])
			equal(c.Name, b, "pos1", pos1, c.Pos1[b][:L])
			equal(c.Name, b, "pos2", pos2, c.Pos2[b][:L])
			equal(c.Name, b, "slots", term.Rows, c.Slots[b])
			equal(c.Name, b, "places", term.Places, c.Slots[b])
			equal(c.Name, b, "y", term.Targets, c.Y[b])
		}
	}
	for _, c := range file.ErrorCases {
		if _, err := expandPadded(c.Src, c.Masked, c.K, true, false, special); err == nil {
			t.Errorf("%s is taken: %s", c.Name, c.Why)
		}
		if c.K < 1 { // the others are about padded rows, which the objective has none of
			if _, err := New("exlm", exlmSettings(func(s *Settings) { s.EXLM.K = c.K })); err == nil {
				t.Errorf("k = %d is taken", c.K)
			}
		}
	}
}
