package shard

import (
	"errors"
	"fmt"
	"io"
	"reflect"
	"slices"
	"testing"

	"palimpsest/engine/fault"
)

func packer(t *testing.T, ds *Dataset, sc StreamConfig, pc PackConfig, from Cursor) *Packer {
	t.Helper()
	p, err := NewPacker(stream(t, ds, sc, from), pc)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// steps reads to the end or the limit; cursors[i] is where step i starts.
func steps(t *testing.T, p *Packer, limit int) (all []Step, cursors []Cursor) {
	t.Helper()
	for len(all) < limit {
		cursors = append(cursors, p.Cursor())
		step, err := p.Next()
		if errors.Is(err, io.EOF) {
			return all, cursors
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, step)
	}
	return all, cursors
}

func packings() map[string]PackConfig {
	return map[string]PackConfig{
		"cut":            {Mode: Cut, Capacity: 64, MaxLength: 64},
		"cut short":      {Mode: Cut, Capacity: 50, MaxLength: 17},
		"cut segments":   {Mode: Cut, Capacity: 64, MaxLength: 64, MaxSegments: 2},
		"whole":          {Mode: Whole, Capacity: 64, MaxLength: 60},
		"whole cut":      {Mode: Whole, Capacity: 64, MaxLength: 20, Long: LongCut},
		"whole split":    {Mode: Whole, Capacity: 64, MaxLength: 7, Long: LongSplit},
		"whole cost":     {Mode: Whole, Capacity: 200, MaxLength: 60, Cost: func(n int) int { return 3*n + 2 }},
		"whole segments": {Mode: Whole, Capacity: 300, MaxLength: 60, MaxSegments: 3},
	}
}

func TestPackerResumesAtEveryStep(t *testing.T) {
	ds, _ := shared(t)
	for name, pc := range packings() {
		for _, sc := range []StreamConfig{
			{Epochs: 2, Window: 4, Shuffle: true, Seed: 5, Split: Split{0.1, Train}},
			{Epochs: 1, Window: 2, Split: Split{0.03, Valid}},
		} {
			t.Run(fmt.Sprintf("%s/%s", name, sc.Split.Part), func(t *testing.T) {
				all, cursors := steps(t, packer(t, ds, sc, pc, Cursor{}), 1<<20)
				middle := 0
				for i, from := range cursors {
					p := packer(t, ds, sc, pc, from)
					got, at := steps(t, p, 3)
					want := all[i:min(i+3, len(all))]
					if len(got) != len(want) || len(got) > 0 &&
						(!reflect.DeepEqual(got, want) || !slices.Equal(at[:len(got)], cursors[i:i+len(got)])) {
						t.Fatalf("from %+v the steps differ", from)
					}
					p.s.Close()
					if from.Offset > 0 {
						middle++
					}
				}
				if (pc.Mode == Cut || pc.Long == LongSplit) && middle == 0 {
					t.Error("no step started within a document")
				}
			})
		}
	}
}

// Whatever the packing, the pieces in order are the stream's documents, short of what LongCut drops.
func TestPackerKeepsEveryToken(t *testing.T) {
	ds, _ := shared(t)
	sc := StreamConfig{Epochs: 2, Window: 4, Shuffle: true, Seed: 5}
	docs, err := drain(stream(t, ds, sc, Cursor{}), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for name, pc := range packings() {
		p := packer(t, ds, sc, pc, Cursor{})
		all, _ := steps(t, p, 1<<20)
		i, offset, dropped, cost, tokens := 0, 0, 0, 0, 0
		for n, step := range all {
			used := 0
			for _, piece := range step.Pieces {
				d := docs[i]
				if piece.Document != d.ID || piece.Epoch != d.Epoch || piece.Offset != offset || len(piece.Tokens) == 0 ||
					len(piece.Tokens) > pc.MaxLength || !slices.Equal(piece.Tokens, d.Tokens[offset:offset+len(piece.Tokens)]) {
					t.Fatalf("%s: step %d: piece of document %d at %d, expected document %d at %d",
						name, n, piece.Document, piece.Offset, d.ID, offset)
				}
				used += p.cost(len(piece.Tokens))
				tokens += len(piece.Tokens)
				offset += len(piece.Tokens)
				if pc.Mode == Whole && pc.Long != LongSplit {
					dropped += len(d.Tokens) - offset
					offset = len(d.Tokens)
				}
				if offset == len(d.Tokens) {
					i, offset = i+1, 0
				}
			}
			cost += used
			last := n == len(all)-1
			if used > pc.Capacity || pc.Mode == Cut && pc.MaxSegments == 0 && used != pc.Capacity && !last ||
				pc.MaxSegments > 0 && len(step.Pieces) > pc.MaxSegments {
				t.Fatalf("%s: step %d of %d uses %d of %d in %d pieces", name, n, len(all), used, pc.Capacity, len(step.Pieces))
			}
		}
		want := PackStats{Documents: int64(len(docs)), Tokens: int64(tokens), Dropped: int64(dropped), Steps: int64(len(all)),
			Cost: int64(cost), Fill: float64(cost) / float64(len(all)*pc.Capacity)}
		if i != len(docs) || p.Stats() != want {
			t.Errorf("%s: %d of %d documents; stats %+v, want %+v", name, i, len(docs), p.Stats(), want)
		}
		if (name == "whole cut") != (dropped > 0) {
			t.Errorf("%s dropped %d", name, dropped)
		}
		if p.Cursor() != (Cursor{Epoch: 2}) {
			t.Errorf("%s ends at %+v", name, p.Cursor())
		}
	}
}

func TestPackerCutsPlanesAlong(t *testing.T) {
	docs := corpus(60, 60, 300, 12)
	dir := build(t, docs, small(300))
	if _, err := AddPlane(dir, Plane{"loss", "test"}, func(d Document) ([]byte, error) { return planeOf(d), nil }); err != nil {
		t.Fatal(err)
	}
	ds := open(t, dir)
	sc := StreamConfig{Epochs: 1, Shuffle: true, Planes: []string{"loss"}}
	all, _ := steps(t, packer(t, ds, sc, PackConfig{Mode: Cut, Capacity: 50, MaxLength: 20}, Cursor{}), 1<<20)
	for _, step := range all {
		for _, p := range step.Pieces {
			want := planeOf(Document{ID: p.Document, Tokens: docs[p.Document]})[p.Offset : p.Offset+len(p.Tokens)]
			if !slices.Equal(p.Planes["loss"], want) {
				t.Fatalf("document %d at %d: plane differs", p.Document, p.Offset)
			}
		}
	}
}

// A data set smaller than one step: for ever fills the step with further epochs, one epoch gives one partial step.
func TestDataSmallerThanAStep(t *testing.T) {
	ds := open(t, build(t, [][]int32{{1, 2, 3}, {4}}, small(300)))
	pc := PackConfig{Mode: Cut, Capacity: 10, MaxLength: 10}
	step, err := packer(t, ds, StreamConfig{}, pc, Cursor{}).Next()
	if err != nil || len(step.Pieces) != 5 || step.Pieces[4].Epoch != 2 || len(step.Pieces[4].Tokens) != 2 {
		t.Errorf("for ever: %+v, %v", step, err)
	}
	p := packer(t, ds, StreamConfig{Epochs: 1}, pc, Cursor{})
	if step, err := p.Next(); err != nil || len(step.Pieces) != 2 {
		t.Errorf("one epoch: %+v, %v", step, err)
	}
	if _, err := p.Next(); err != io.EOF {
		t.Errorf("after it: %v", err)
	}
}

func TestPackerRefuses(t *testing.T) {
	ds := open(t, build(t, [][]int32{{1, 2}, {1, 2, 3, 4, 5}, {1}}, small(300)))
	s := stream(t, ds, StreamConfig{Epochs: 1}, Cursor{})
	for _, pc := range []PackConfig{
		{}, {Mode: "x", Capacity: 4, MaxLength: 4}, {Mode: Cut, MaxLength: 4}, {Mode: Cut, Capacity: 4},
		{Mode: Whole, Capacity: 4, MaxLength: 5},
		{Mode: Whole, Capacity: 4, MaxLength: 4, Long: "x"}, {Mode: Cut, Capacity: 4, MaxLength: 4, MaxSegments: -1},
		{Mode: Cut, Capacity: 4, MaxLength: 4, Cost: func(n int) int { return n }},
		{Mode: Whole, Capacity: 8, MaxLength: 4, Cost: func(n int) int { return 3 * n }},
	} {
		_, err := NewPacker(s, pc)
		wantKind(t, fault.Usage, err)
	}
	p := packer(t, ds, StreamConfig{Epochs: 1}, PackConfig{Mode: Whole, Capacity: 4, MaxLength: 4, Long: LongError}, Cursor{})
	_, err := p.Next()
	wantKind(t, fault.Data, err)
	if p.Cursor() != (Cursor{}) {
		t.Errorf("the cursor moved to %+v", p.Cursor())
	}
	odd := func(n int) int { // not monotonic
		if n == 4 {
			return 1
		}
		return 9
	}
	_, err = packer(t, ds, StreamConfig{Epochs: 1}, PackConfig{Mode: Whole, Capacity: 4, MaxLength: 4, Cost: odd}, Cursor{}).Next()
	wantKind(t, fault.Usage, err)
	middle := stream(t, ds, StreamConfig{Epochs: 1}, Cursor{Document: 1, Offset: 3})
	_, err = NewPacker(middle, PackConfig{Mode: Whole, Capacity: 4, MaxLength: 4})
	wantKind(t, fault.Data, err)
}
