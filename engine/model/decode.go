package model

import (
	"fmt"

	"palimpsest/kernels"
)

// Decoder runs a causal model token by token over caches of keys and values, so that a new token costs one row of every
// product and one row of attention. It holds several sequences, whose new rows go through the products together; attention
// goes from one sequence to the next, each in a cache of its own.
type Decoder struct {
	b       kernels.Backend
	w       *Weights
	a       *Activations  // of as many rows as one call may bring
	caches  []kernels.Buf // by layer, [sequences, length, qkv]
	length  int           // most tokens of a sequence
	n       []int         // tokens in the cache, by sequence
	tails   []Tail        // of the call at hand
	mask    kernels.Mask
	heads   kernels.Buf // [length, C] outputs of attention, by row of a sequence
	packed  kernels.Buf // [tokens of a call, C] those of the new rows of all sequences; absent where there is but one
	segment []kernels.Segment
	narrow  []kernels.Segment // of local layers
}

// A Tail is new tokens behind a sequence of a Decoder.
type Tail struct {
	Sequence int
	Tokens   []int32
}

// NewDecoder allocates caches for a number of sequences of up to length tokens. tokens bounds those of one call of Extend, all
// tails together.
func NewDecoder(b kernels.Backend, w *Weights, sequences, length, tokens int) *Decoder {
	return newDecoder(b, w, sequences, length, Capacity{Tokens: tokens, Rows: sequences})
}

// DecoderBytes is the memory of the caches of a sequence of up to length tokens.
func DecoderBytes(b kernels.Backend, c Config, length int) int64 {
	return int64(c.Layers) * int64(length) * int64(c.qkvWidth()) * int64(b.Info().Compute.Size())
}

// Scorer returns a decoder of one sequence for RowNLL, with memory of its own: any part of the context can come at a time.
func (a *Activations) Scorer(w *Weights) *Decoder {
	context := w.Config.Context
	return newDecoder(a.b, w, 1, context, Capacity{Tokens: context, Rows: context})
}

func newDecoder(b kernels.Backend, w *Weights, sequences, length int, capacity Capacity) *Decoder {
	c := w.Config
	d := &Decoder{b: b, w: w, a: NewActivations(b, c, capacity, false), length: min(length, c.Context), n: make([]int, sequences)}
	info := b.Info()
	for range c.Layers {
		d.caches = append(d.caches, b.Alloc(info.Compute, sequences*d.length*c.qkvWidth()))
	}
	d.heads = b.Alloc(info.Compute, d.length*c.Width)
	if sequences > 1 {
		d.packed = b.Alloc(info.Compute, capacity.Tokens*c.Width)
	}
	return d
}

// Sequences is the number of sequences that the decoder holds.
func (d *Decoder) Sequences() int { return len(d.n) }

// Truncate forgets all but the first n tokens of a sequence.
func (d *Decoder) Truncate(sequence, n int) { d.n[sequence] = min(d.n[sequence], n) }

// Len returns the number of tokens of a sequence in the cache.
func (d *Decoder) Len(sequence int) int { return d.n[sequence] }

// Extend appends tails, each of another sequence, and calls f with the logits behind the last token of each, in their order. The slice is
// valid during the call.
func (d *Decoder) Extend(tails []Tail, f func(i int, logits []float32)) error {
	if err := d.Append(tails, kernels.Causal); err != nil {
		return err
	}
	last, end := make([]int32, len(tails)), 0
	for i, t := range tails {
		end += len(t.Tokens)
		last[i] = int32(end - 1)
	}
	return d.a.Logits(d.w, last, f)
}

// RowNLL is that of Activations, with rows among the tokens that the last call of Append brought.
func (d *Decoder) RowNLL(rows, targets []int32, f func(i int, nll float32)) error {
	return d.a.RowNLL(d.w, rows, targets, f)
}

// Append appends tails, each of another sequence. Their tokens see what is before them and, with mask Causal, those of themselves up
// to their own place; with Bidirectional all of themselves, as the prompt of a prefix language model does.
func (d *Decoder) Append(tails []Tail, mask kernels.Mask) error {
	a, c := d.a, d.w.Config
	var ids, pos []int32
	for _, t := range tails {
		if n, before := len(t.Tokens), d.n[t.Sequence]; n == 0 || before+n > d.length {
			return fmt.Errorf("model: %d tokens after %d do not fit a decoder of up to %d", n, before, d.length)
		}
		for i := range t.Tokens {
			pos = append(pos, int32(d.n[t.Sequence]+i), 0)
		}
		ids = append(ids, t.Tokens...)
	}
	if len(ids) > a.cap.Tokens {
		return fmt.Errorf("model: %d tokens do not fit a decoder of %d at a time", len(ids), a.cap.Tokens)
	}
	a.n, a.step = len(ids), Step{}
	d.b.Upload(a.ids, ids)
	a.uploadPositions(pos)
	d.tails, d.mask, a.cached = tails, mask, d
	x := a.forwardEmbed(d.w)
	if c.preNorm() {
		a.hidden = a.forwardPre(d.w, x)
	} else {
		a.hidden = a.forwardPost(d.w, x)
	}
	for _, t := range tails {
		d.n[t.Sequence] += len(t.Tokens)
	}
	return nil
}

// attention computes the new rows of one layer: their queries, keys and values go behind those in the caches.
func (d *Decoder) attention(layer int, l *blockActivations) (heads kernels.Buf) {
	a, c := d.a, d.w.Config
	width, row := c.qkvWidth(), 0
	for _, t := range d.tails {
		n, from := len(t.Tokens), d.n[t.Sequence]
		to := from + n
		cache := d.caches[layer].Slice(t.Sequence*d.length*width, (t.Sequence*d.length+to)*width)
		d.b.Copy(cache.Slice(from*width, to*width), l.qkv.Slice(row*width, (row+n)*width))
		d.segment = append(d.segment[:0], kernels.Segment{Start: 0, End: int32(to), Mask: d.mask})
		segments := d.segment
		if c.local(layer) {
			d.narrow = c.narrowed(d.narrow[:0], segments)
			segments = d.narrow
		}
		a.attend(l, layer, kernels.Attention{Out: d.heads.Slice(0, to*c.Width), QKV: cache, Segments: segments, Rows: to,
			H: c.Heads, K: c.KVHeads, D: c.headWidth(), From: from})
		heads = d.heads.Slice(from*c.Width, to*c.Width)
		if !d.packed.Absent() {
			d.b.Copy(d.packed.Slice(row*c.Width, (row+n)*c.Width), heads)
		}
		row += n
	}
	if !d.packed.Absent() {
		return d.packed.Slice(0, row*c.Width)
	}
	return heads
}
