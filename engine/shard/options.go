package shard

import (
	"math"
	"slices"
	"strings"

	"palimpsest/engine/fault"
)

// WriterOptions say what a data set is made of. The same options and documents give the same bytes.
type WriterOptions struct {
	TokenizerHash string
	Vocab         int   // ids are in [0, Vocab)
	BOS, EOS      int32 // -1: none
	FrameTokens   int   // a frame closes when it holds as many tokens; 0 = 64 Ki
	ShardTokens   int   // a shard closes when it holds as many tokens; 0 = 64 Mi
	Source        string
	CreatedBy     string  // "" = "palimpsest"
	Planes        []Plane // written together with the tokens, by AppendWith; Describe can replace a provenance
	// Recipe, when not empty, makes the build one that Resume can go on with: it says, in the caller's words, everything else
	// that the documents depend on. Its journal costs three fsyncs a shard. It is no part of the data set.
	Recipe string
}

// complete sets the defaults and checks.
func (o *WriterOptions) complete() error {
	if o.FrameTokens == 0 {
		o.FrameTokens = 64 << 10
	}
	if o.ShardTokens == 0 {
		o.ShardTokens = 64 << 20
	}
	if o.CreatedBy == "" {
		o.CreatedBy = "palimpsest"
	}
	o.Planes = slices.Clone(o.Planes)
	slices.SortFunc(o.Planes, func(a, b Plane) int { return strings.Compare(a.Name, b.Name) })
	texts := []*string{&o.TokenizerHash, &o.Source, &o.CreatedBy, &o.Recipe}
	for i, p := range o.Planes {
		if !knownPlane(p.Name) || i > 0 && p.Name == o.Planes[i-1].Name {
			return fault.Usage.Errorf("data set: plane %q, expected distinct ones of %v", p.Name, planeNames)
		}
		texts = append(texts, &o.Planes[i].Provenance)
	}
	for _, s := range texts {
		// The index hashes its own JSON, which must survive a round trip.
		*s = strings.ToValidUTF8(*s, "\uFFFD")
		if len(*s) > maxText {
			return fault.Usage.Errorf("data set: a text of %d bytes in the options, at most %d", len(*s), maxText)
		}
	}
	switch {
	case o.Vocab < 1 || o.Vocab > math.MaxInt32:
		return fault.Usage.Errorf("data set: a vocabulary of %d; hint: pass the tokenizer's size", o.Vocab)
	case o.BOS < -1 || int(o.BOS) >= o.Vocab || o.EOS < -1 || int(o.EOS) >= o.Vocab:
		return fault.Usage.Errorf("data set: bos %d or eos %d is outside the vocabulary of %d; "+
			"hint: -1 means none", o.BOS, o.EOS, o.Vocab)
	case o.FrameTokens < 1 || o.FrameTokens > MaxFrameTokens:
		return fault.Usage.Errorf("data set: frames of %d tokens, expected 1 to %d", o.FrameTokens, MaxFrameTokens)
	case o.ShardTokens < o.FrameTokens || o.ShardTokens > MaxShardTokens:
		return fault.Usage.Errorf("data set: shards of %d tokens, expected %d (a frame) to %d",
			o.ShardTokens, o.FrameTokens, int64(MaxShardTokens))
	}
	return nil
}
