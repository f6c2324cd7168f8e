package engine

import (
	"errors"
	"io"

	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
	"palimpsest/objectives"
)

// baselineTokens bounds what the unigram baseline counts.
const baselineTokens = 4 << 20

// planned streams a data set once and plans it step by step, up to a number of tokens (0: all).
func planned(ds *shard.Dataset, c shard.StreamConfig, pack shard.PackConfig, o objectives.Objective, vocab, context int, tokens int64) (next func() (*objectives.Plan, error), closing func() error, err error) {
	stream, err := ds.Stream(c, shard.Cursor{})
	if err != nil {
		return nil, nil, err
	}
	if pack.Mode == shard.Whole {
		pack.Cost = o.Cost
	}
	packer, err := shard.NewPacker(stream, pack)
	if err != nil {
		stream.Close()
		return nil, nil, err
	}
	p, seen := new(objectives.Plan), int64(0)
	return func() (*objectives.Plan, error) {
		if tokens > 0 && seen >= tokens {
			return nil, io.EOF
		}
		step, err := packer.Next()
		if err != nil {
			return nil, err
		}
		planPieces(o, p, step.Pieces)
		seen += p.TokensRead()
		return p, fault.Data.Wrap(p.Check(vocab, context))
	}, stream.Close, nil
}

// unigramOf counts the tokens of a part of a data set.
func unigramOf(ds *shard.Dataset, seed uint64, split shard.Split, vocab int, skip func(int32) bool) (*eval.Unigram, error) {
	stream, err := ds.Stream(shard.StreamConfig{Seed: seed, Epochs: 1, Split: split}, shard.Cursor{})
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	u, seen := eval.NewUnigram(vocab), 0
	for seen < baselineTokens {
		doc, err := stream.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		u.Observe(doc.Tokens, skip)
		seen += len(doc.Tokens)
	}
	return u, nil
}
