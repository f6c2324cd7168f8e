package model

import (
	"fmt"

	"palimpsest/kernels"
)

// Decoder runs a causal model token by token over a cache of keys and values, so that a new token costs one row of every
// product and one row of attention. It holds one sequence of at most the model's context.
type Decoder struct {
	b       kernels.Backend
	w       *Weights
	a       *Activations // of as many rows as one call of Extend may bring
	caches  []kernels.Buf
	heads   kernels.Buf // [context, C] outputs of attention, by row of the sequence
	n       int
	logits  []float32
	segment []kernels.Segment
	narrow  []kernels.Segment // of local layers
}

// NewDecoder allocates a cache for the whole context. prompt bounds the tokens of one call of Extend.
func NewDecoder(b kernels.Backend, w *Weights, prompt int) *Decoder {
	return newDecoder(b, w, Capacity{Tokens: prompt, Rows: 1})
}

// Scorer returns a decoder for RowNLL, with memory of its own: any part of the context can come at a time.
func (a *Activations) Scorer(w *Weights) *Decoder {
	return newDecoder(a.b, w, Capacity{Tokens: w.Config.Context, Rows: w.Config.Context})
}

func newDecoder(b kernels.Backend, w *Weights, capacity Capacity) *Decoder {
	c := w.Config
	d := &Decoder{b: b, w: w, a: NewActivations(b, c, capacity, false), logits: make([]float32, c.Vocab)}
	info := b.Info()
	for range c.Layers {
		d.caches = append(d.caches, b.Alloc(info.Compute, c.Context*c.qkvWidth()))
	}
	d.heads = b.Alloc(info.Compute, c.Context*c.Width)
	return d
}

// Reset forgets the sequence.
func (d *Decoder) Reset() { d.n = 0 }

// Truncate forgets all but the first n tokens.
func (d *Decoder) Truncate(n int) { d.n = min(d.n, n) }

// Len returns the number of tokens in the cache.
func (d *Decoder) Len() int { return d.n }

// Extend appends tokens and returns the logits behind the last one. The slice is valid until the next call.
func (d *Decoder) Extend(tokens []int32) ([]float32, error) {
	if err := d.Append(tokens, kernels.Causal); err != nil {
		return nil, err
	}
	err := d.a.Logits(d.w, []int32{int32(len(tokens) - 1)}, func(_ int, logits []float32) { copy(d.logits, logits) })
	return d.logits, err
}

// RowNLL is that of Activations, with rows among the tokens that the last call of Append brought.
func (d *Decoder) RowNLL(rows, targets []int32, f func(i int, nll float32)) error {
	return d.a.RowNLL(d.w, rows, targets, f)
}

// Append appends tokens. They see what is before them and, with mask Causal, those of themselves up to their own place; with
// Bidirectional all of themselves, as the prompt of a prefix language model does.
func (d *Decoder) Append(tokens []int32, mask kernels.Mask) error {
	a, c, n := d.a, d.w.Config, len(tokens)
	if n == 0 || n > a.cap.Tokens || d.n+n > c.Context {
		return fmt.Errorf("model: %d tokens after %d do not fit a decoder of %d at a time and a context of %d", n, d.n, a.cap.Tokens, c.Context)
	}
	pos := make([]int32, 2*n)
	for i := range n {
		pos[2*i] = int32(d.n + i)
	}
	a.n, a.step = n, Step{}
	d.b.Upload(a.ids, tokens)
	a.uploadPositions(pos)
	d.segment = []kernels.Segment{{Start: 0, End: int32(d.n + n), Mask: mask}}
	if c.Attention.Window > 0 {
		d.narrow = c.narrowed(d.narrow[:0], d.segment)
	}
	a.cached = d
	x := a.forwardEmbed(d.w)
	if c.preNorm() {
		a.hidden = a.forwardPre(d.w, x)
	} else {
		a.hidden = a.forwardPost(d.w, x)
	}
	d.n += n
	return nil
}

// attention computes the new rows of one layer: their queries, keys and values go behind those in the cache.
func (d *Decoder) attention(layer int, l *blockActivations) (heads kernels.Buf) {
	a, c := d.a, d.w.Config
	width, from, to := c.qkvWidth(), d.n, d.n+a.n
	d.b.Copy(d.caches[layer].Slice(from*width, to*width), l.qkv.Slice(0, a.n*width))
	segments := d.segment
	if c.local(layer) {
		segments = d.narrow
	}
	a.attend(l, layer, kernels.Attention{Out: d.heads.Slice(0, to*c.Width), QKV: d.caches[layer].Slice(0, to*width), Segments: segments, Rows: to,
		H: c.Heads, K: c.KVHeads, D: c.headWidth(), From: from})
	return d.heads.Slice(from*c.Width, to*c.Width)
}
