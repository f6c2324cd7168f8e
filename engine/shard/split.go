package shard

import (
	"palimpsest/engine/fault"
	"palimpsest/kernels/philox"
)

// A Part names a side of a Split.
type Part string

// The parts. The zero value means all documents.
const (
	All   Part = ""
	Train Part = "train"
	Valid Part = "valid"
)

// A Split holds out a share of the documents and chooses one side. Document i is held out when its draw of
// (seed, StreamSplit, i) is below Valid, so that the choice depends on nothing but the seed and the document's number.
// With two documents or more, and Valid above 0, both sides have at least one.
type Split struct {
	Valid float64 // share in [0,1) that is held out
	Part  Part
}

// Selector returns the membership function of the split, or nil when it takes every document. It is a pure function.
func (ds *Dataset) Selector(seed uint64, split Split) (func(id int64) bool, error) {
	if !(split.Valid >= 0 && split.Valid < 1) {
		return nil, fault.Usage.Errorf("data set %s: a held-out share of %g, expected 0 <= share < 1", ds.dir, split.Valid)
	}
	switch split.Part {
	case All:
		return nil, nil
	case Train, Valid:
	default:
		return nil, fault.Usage.Errorf("data set %s: part %q, expected %q, %q or none", ds.dir, split.Part, Train, Valid)
	}
	if split.Valid == 0 {
		if split.Part == Valid {
			return nil, fault.Usage.Errorf("data set %s: held-out documents were asked for, but the share is 0; "+
				"hint: set data.valid", ds.dir)
		}
		return nil, nil
	}
	n := ds.Documents()
	if n < 2 {
		if split.Part == Valid {
			return nil, fault.Data.Errorf("data set %s has one document, none can be held out; "+
				"hint: give more documents, or data.valid: 0", ds.dir)
		}
		return nil, nil
	}
	forced, held := oneOnEachSide(n, seed, split.Valid)
	return func(id int64) bool {
		h := splitDraw(seed, id) < split.Valid
		if id == forced {
			h = held
		}
		return h == (split.Part == Valid)
	}, nil
}

func splitDraw(seed uint64, id int64) float64 {
	d := philox.New(seed, philox.StreamSplit, uint64(id), 0)
	return d.Float64()
}

// oneOnEachSide returns the document whose side is forced because all draws fell on the other side: the lowest draw is held
// out, or the highest is not. It returns -1 when both sides have one, which the first few draws nearly always show.
func oneOnEachSide(n int64, seed uint64, valid float64) (forced int64, held bool) {
	var lowest, highest int64
	low, high := 2.0, -1.0
	for id := range n {
		u := splitDraw(seed, id)
		if u < low {
			lowest, low = id, u
		}
		if u > high {
			highest, high = id, u
		}
		if low < valid && high >= valid {
			return -1, false
		}
	}
	if low >= valid {
		return lowest, true
	}
	return highest, false
}
