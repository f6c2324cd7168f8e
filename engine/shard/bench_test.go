package shard

import (
	"errors"
	"io"
	"math"
	"testing"

	"palimpsest/kernels/philox"
)

// zipf returns documents with the token frequencies of text under a vocabulary of 32,000, about 500 tokens each. Real text
// repeats phrases and so decodes somewhat faster.
func zipf(tokens int) [][]int32 {
	d := philox.New(1, philox.StreamTest, 9, 0)
	var docs [][]int32
	for n := 0; n < tokens; {
		doc := make([]int32, 100+d.IntN(800))
		for i := range doc {
			doc[i] = int32(math.Exp(d.Float64()*math.Log(32000))) - 1
		}
		docs = append(docs, doc)
		n += len(doc)
	}
	return docs
}

// BenchmarkPack measures decode, verification and packing on one worker, an epoch of 4 Mi tokens at a time; the hashes of
// the files are verified once, before the timer.
func BenchmarkPack(b *testing.B) {
	ds := open(b, build(b, zipf(4<<20), WriterOptions{Vocab: 32000}))
	for _, shuffle := range []bool{false, true} {
		name := map[bool]string{false: "natural", true: "shuffled"}[shuffle]
		b.Run(name, func(b *testing.B) {
			s := stream(b, ds, StreamConfig{Shuffle: shuffle, Decoders: 1}, Cursor{})
			p, err := NewPacker(s, PackConfig{Mode: Cut, Capacity: 1 << 14, MaxLength: 1024})
			if err != nil {
				b.Fatal(err)
			}
			tokens := 0
			for b.Loop() {
				for n := 0; n < 1<<20; n += 1 << 14 {
					if _, err := p.Next(); err != nil {
						b.Fatal(err)
					}
				}
				tokens += 1 << 20
			}
			b.ReportMetric(float64(tokens)/b.Elapsed().Seconds()/1e6, "Mtok/s")
		})
	}
}

func BenchmarkVerify(b *testing.B) {
	ds := open(b, build(b, zipf(4<<20), WriterOptions{Vocab: 32000}))
	b.ReportMetric(ds.Inspect().Total.Ratio, "ratio")
	for b.Loop() {
		if _, err := ds.Verify(nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(ds.Tokens())*float64(b.N)/b.Elapsed().Seconds()/1e6, "Mtok/s")
}

func BenchmarkWrite(b *testing.B) {
	docs := zipf(1 << 20)
	for b.Loop() {
		build(b, docs, WriterOptions{Vocab: 32000})
	}
	b.ReportMetric(float64(b.N)*(1<<20)/b.Elapsed().Seconds()/1e6, "Mtok/s")
}

func BenchmarkNext(b *testing.B) {
	ds := open(b, build(b, zipf(1<<20), WriterOptions{Vocab: 32000}))
	s := stream(b, ds, StreamConfig{Shuffle: true, Epochs: 1}, Cursor{})
	for b.Loop() {
		if _, err := s.Next(); errors.Is(err, io.EOF) {
			s = stream(b, ds, StreamConfig{Shuffle: true, Epochs: 1}, Cursor{})
		} else if err != nil {
			b.Fatal(err)
		}
	}
}
