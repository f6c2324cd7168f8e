package kernels

// Attention on the CPU: the segments of a step become items for the leaves of attention_cpu.c, where the algorithm, its
// costs and its oracle are named. Items depend on the segments alone.

// An attentionItem is what one leaf call works on: a key/value head of a segment with a range of queries (forward) or of
// keys (backward). It mirrors the C struct.
type attentionItem struct {
	start, end, causal, window int32
	head, lo, hi               int32
	part                       int64 // backward: offset of the item's partial dQ, -1 where it is the only one
}

const (
	attentionTile    = 64
	forwardQueries   = 256     // queries of an item: enough to pay for the packing of its keys
	backwardKeys     = 512     // keys of an item; more where that would make more than backwardParts partial sums
	backwardParts    = 8       // partial sums of dQ of a segment
	attentionPerTask = 1 << 20 // multiply-adds that make a task worth handing out
)

func itemOf(s Segment) attentionItem {
	t := attentionItem{start: s.Start, end: s.End, window: s.Window, part: -1}
	if s.Mask == Causal {
		t.causal = 1
	}
	return t
}

func (b *cpu) Attention(a Attention) {
	a.check()
	var items []attentionItem
	for _, s := range a.Segments {
		t := itemOf(s)
		from := max(s.Start, int32(a.From))
		for t.head = range int32(a.K) {
			for t.lo = from; t.lo < s.End; t.lo = t.hi {
				t.hi = min(t.lo+forwardQueries, s.End)
				items = append(items, t)
			}
		}
	}
	b.attentionTasks(items, a.H, a.K, a.D, func(items []attentionItem, work []float32) {
		b.leaf.attention(&a, items, work)
	})
}

func (b *cpu) AttentionBackward(a AttentionBackward) {
	a.check()
	H, D := a.H, a.D
	delta := b.scratch.get(H * a.Rows)
	defer b.scratch.put(delta)
	b.rows(a.Rows, H*D, func(lo, hi int) { b.leaf.attentionDelta(delta, &a, lo, hi) })

	var items []attentionItem
	var sums [][2]int // ranges of items that share a dQ
	var parts int64
	for _, s := range a.Segments {
		length := int(s.End - s.Start)
		keys := int32(max(backwardKeys, ceilDiv(ceilDiv(length, backwardParts), attentionTile)*attentionTile))
		t := itemOf(s)
		for t.head = range int32(a.K) {
			first := len(items)
			for t.lo = s.Start; t.lo < s.End; t.lo = t.hi {
				t.hi = min(t.lo+keys, s.End)
				if t.part = -1; length > int(keys) {
					t.part = parts
					parts += int64(H / a.K * length * D)
				}
				items = append(items, t)
			}
			if len(items) > first+1 {
				sums = append(sums, [2]int{first, len(items)})
			}
		}
	}
	var partial []float32
	if parts > 0 {
		partial = b.scratch.get(int(parts))
		defer b.scratch.put(partial)
	}
	b.attentionTasks(items, H, a.K, D, func(items []attentionItem, work []float32) {
		b.leaf.attentionBackward(&a, partial, delta, items, work)
	})
	b.run(len(sums), func(i int) { b.leaf.attentionCombine(&a, partial, items[sums[i][0]:sums[i][1]]) })
}

// attentionTasks hands out neighbouring items together until they make a task worth its cost, with scratch memory for the
// longest of them.
func (b *cpu) attentionTasks(items []attentionItem, H, K, D int, run func(items []attentionItem, work []float32)) {
	ends := make([]int, 0, len(items))
	longest, cost := 0, 0
	for i, t := range items {
		longest = max(longest, int(t.end-t.start))
		cost += int(t.hi-t.lo) * int(t.end-t.start) * D * (H / K)
		if cost >= attentionPerTask || i == len(items)-1 {
			ends = append(ends, i+1)
			cost = 0
		}
	}
	size := b.leaf.attentionWork(longest, H, K, D)
	b.run(len(ends), func(i int) {
		first := 0
		if i > 0 {
			first = ends[i-1]
		}
		work := b.scratch.get(size)
		defer b.scratch.put(work)
		run(items[first:ends[i]], work)
	})
}
