package bench

import (
	"slices"
	"strings"

	"palimpsest/engine/fault"
	"palimpsest/kernels"
)

// A kernel is one op at one shape.
type kernel interface {
	op() string
	shape() string
	flops() float64        // by the rule of the type's comment; 0: bound by memory
	bytes(s sizes) float64 // each input read once, each output written once, what is added to both
	small() kernel         // the same op at a shape that the float64 oracle does in a moment
	build(m *maker, b kernels.Backend) func()
}

// sizes are bytes of an element.
type sizes struct{ compute, master float64 }

func sizesOf(i kernels.Info) sizes { return sizes{float64(i.Compute.Size()), float64(i.Master.Size())} }

// A scale is how large the shapes are.
type scale struct {
	tokens, hidden int   // of attention's launches: packed tokens, heads times their width
	lengths        []int // of segments
	rows           int   // tokens of a step
	width, ff      int
	vocabs         []int
	references     []int // vocabularies for pulls to a reference model
	lossRows       int
	source         int    // tokens of a sequence whose masks are expanded to 4 states each
	softmax        [2]int // rows, columns
	parameters     int
	square         [][3]int // products for the peak: rows, in, out
	copies         int      // bytes of the copy for the peak
}

// scales by name. Those of a device are the published comparisons': 16,384 tokens and heads times width of 2048 as
// FlashAttention's benchmarks have them, GPT-2's and BERT-base's layers.
var scales = map[string]scale{
	"device": {tokens: 16384, hidden: 2048, lengths: []int{512, 1024, 2048, 4096}, rows: 16384, width: 768, ff: 3072, vocabs: []int{32000, 50304, 128256},
		references: []int{8192, 32000, 50304}, lossRows: 4096, source: 128, softmax: [2]int{65536, 512}, parameters: 124e6, square: [][3]int{{1024, 1024, 1024}, {4096, 4096, 4096}, {2048, 13312, 2048}, {8192, 8192, 8192}}, copies: 1 << 30},
	"host": {tokens: 1024, hidden: 512, lengths: []int{128, 512, 1024}, rows: 1024, width: 768, ff: 3072, vocabs: []int{32000, 50304, 128256},
		references: []int{8192, 32000, 50304}, lossRows: 64, source: 128, softmax: [2]int{2048, 512}, parameters: 8e6, square: [][3]int{{1024, 1024, 1024}}, copies: 128 << 20},
	"tiny": {tokens: 64, hidden: 128, lengths: []int{32}, rows: 40, width: 64, ff: 128, vocabs: []int{97, 300},
		references: []int{97, 300}, lossRows: 5, source: 12, softmax: [2]int{16, 40}, parameters: 5000, copies: 1 << 16},
}

// Scales are the names of the sets of shapes.
func Scales() []string { return []string{"device", "host", "tiny"} }

// cases lists all kernels at a scale; quick keeps about a third of them.
func (s scale) cases(quick bool) (list []kernel) {
	add := func(more ...kernel) {
		for _, k := range more {
			if !slices.Contains(list, k) {
				list = append(list, k)
			}
		}
	}
	both := func(make func(backward bool) kernel) { add(make(false), make(true)) }
	lengths, widths, vocabs := s.lengths, []int{64, 128}, s.vocabs
	if quick {
		lengths, widths, vocabs = lengths[:1], widths[:1], vocabs[min(1, len(vocabs)-1):][:1]
	}
	for _, D := range widths {
		H := s.hidden / D
		for _, length := range lengths {
			a := attentionCase{Segments: max(1, s.tokens/length), Length: length, Heads: H, KV: H, Width: D}
			for _, a.Causal = range []bool{false, true} {
				both(func(back bool) kernel { a := a; a.Backward = back; return a })
			}
		}
		long := s.lengths[len(s.lengths)-1]
		a := attentionCase{Segments: max(1, s.tokens/long), Length: long, Heads: H, KV: H, Width: D, Window: long / 16}
		both(func(back bool) kernel { a := a; a.Backward = back; return a })
		if group := min(4, H); !quick && group > 1 {
			g := attentionCase{Segments: a.Segments, Length: long, Heads: H, KV: H / group, Width: D, Causal: true}
			both(func(back bool) kernel { g := g; g.Backward = back; return g })
		}
	}
	d := attentionCase{Segments: max(1, s.tokens/s.lengths[0]), Length: s.lengths[0], Heads: s.hidden / 64, KV: s.hidden / 64, Width: 64, Dropout: 0.1}
	both(func(back bool) kernel { d := d; d.Backward = back; return d })
	both(func(back bool) kernel {
		return relativeCase{Segments: max(1, s.tokens/s.lengths[0]/2), Length: s.lengths[0], Heads: max(2, s.width/64), Width: 64, Buckets: 32, Backward: back}
	})
	both(func(back bool) kernel {
		return softmaxCase{Rows: s.softmax[0], Columns: s.softmax[1], Backward: back}
	})
	for _, V := range vocabs {
		add(lossCase{Rows: s.lossRows, Vocab: V})
	}
	add(s.pulls(quick)...)
	add(s.lattices(quick)...)
	columns := []int{s.width, 4096}
	if quick || s.width < 768 {
		columns = columns[:1]
	}
	for _, C := range columns {
		rows := s.rows * s.width / C
		for _, rms := range []bool{false, true} {
			both(func(back bool) kernel { return normCase{Rows: rows, Columns: C, RMS: rms, Backward: back} })
		}
	}
	heads := max(2, s.width/64)
	add(ropeCase{Rows: s.rows, Heads: 2 * heads, Width: 64, Axes: 1}, ropeCase{Rows: s.rows, Heads: 2 * heads, Width: 64, Axes: 2})
	for _, act := range []kernels.Activation{kernels.GELUErf, kernels.GELUTanh} {
		both(func(back bool) kernel {
			return activationCase{Rows: s.rows, Columns: s.ff, Act: act, Backward: back}
		})
	}
	both(func(back bool) kernel {
		return activationCase{Rows: s.rows, Columns: s.ff, Act: kernels.SiLU, Gated: true, Backward: back}
	})
	both(func(back bool) kernel {
		return embeddingCase{Rows: s.rows, Columns: s.width, Vocab: s.vocabs[min(1, len(s.vocabs)-1)], Length: min(1024, s.rows), Backward: back}
	})
	add(rowsCase{Rows: s.rows * 15 / 100, Of: s.rows, Columns: s.width}, rowsCase{Rows: s.rows * 15 / 100, Of: s.rows, Columns: s.width, Scatter: true})
	add(dropoutCase{Rows: s.rows, Columns: s.width})
	for _, back := range []bool{false, true} { // behind the last sub-layer of six layers
		add(depthCase{Rows: s.rows, Columns: s.width, Outputs: 13, Backward: back})
	}
	add(reweighCase{Groups: max(1, s.rows/512), Rows: min(512, s.rows), Columns: s.width}, reweighCase{Groups: max(1, s.rows/512), Rows: min(512, s.rows), Columns: s.width, Top: true},
		reweighCase{Groups: max(1, s.rows/512), Rows: min(512, s.rows), Columns: s.width, Scale: true})
	for _, what := range []string{"adamw", "lamb", "momentum", "combine", "sum_squares", "add"} {
		add(updateCase{What: what, N: s.parameters})
	}
	add(s.linears(quick)...)
	return list
}

// pulls are rows of logits beside a frozen model's.
func (s scale) pulls(quick bool) (list []kernel) {
	vocabs := s.references
	if quick {
		vocabs = vocabs[1:2]
	}
	for _, V := range vocabs {
		for _, variant := range []string{"TNFF", "TNRR", "NL", "UL"} {
			list = append(list, referenceCase{Rows: s.lossRows, Vocab: V, Variant: variant})
		}
	}
	return list
}

// lattices are ExLM's, of sequences of which 15 % are masked and those with everything masked: each mask, the begin and the
// end have k = 4 states and emit a target. Under ctc also each mask by itself, as ExLM without transitions has it.
func (s scale) lattices(quick bool) (list []kernel) {
	const k = 4
	sequences := max(2, s.rows*3/2/(s.source+(k-1)*(s.source*15/100+2)))
	targets := s.source*15/100 + 2
	masked, all := latticeSizes{sequences, k * targets, targets}, latticeSizes{max(1, sequences*3/8), k * s.source, s.source}
	for _, back := range []bool{false, true} {
		few := masked
		few.Lattices = max(1, s.lossRows/few.States)
		V := s.references[len(s.references)-1]
		list = append(list, emissionsCase{latticeSizes: few, Vocab: V, Backward: back})
		if !quick {
			list = append(list, emissionsCase{latticeSizes: few, Vocab: V, CTC: true, Backward: back})
		}
	}
	list = append(list, alignmentCase{latticeSizes: masked}, alignmentCase{latticeSizes: masked, CTC: true}, alignmentCase{latticeSizes: all})
	if !quick {
		list = append(list, alignmentCase{latticeSizes: all, CTC: true}, alignmentCase{latticeSizes: latticeSizes{sequences * targets, k, 1}, CTC: true})
	}
	for _, back := range []bool{false, true} {
		c := linksCase{latticeSizes: masked, Heads: max(2, s.width/64), Width: 64, Backward: back}
		list = append(list, c)
		if !quick {
			sparse, long := c, c
			sparse.Group, long.latticeSizes = k, all
			list = append(list, sparse, long)
		}
	}
	return list
}

// linears are the layers of GPT-2 124M and, with the other GELU, of BERT-base.
func (s scale) linears(quick bool) (list []kernel) {
	C, F := s.width, s.ff
	layers := []struct {
		in, out int
		act     kernels.Activation
	}{{C, 3 * C, kernels.None}, {C, F, kernels.GELUTanh}, {F, C, kernels.None}, {C, C, kernels.None}, {C, F, kernels.GELUErf}}
	if quick {
		layers = layers[:3]
	}
	for _, l := range layers {
		list = append(list, linearCase{Form: "forward", Rows: s.rows, In: l.in, Out: l.out, Bias: true, Act: l.act})
		// The gradient of the layer behind this one carries the activation's.
		list = append(list, linearCase{Form: "input", Rows: s.rows, In: l.out, Out: l.in, Act: l.act})
		list = append(list, linearCase{Form: "weight", Rows: s.rows, In: l.in, Out: l.out, Bias: true})
	}
	if V := s.vocabs[min(1, len(s.vocabs)-1)]; !quick {
		rows := s.lossRows
		list = append(list, linearCase{Form: "forward", Rows: rows, In: C, Out: V}, linearCase{Form: "input", Rows: rows, In: C, Out: V},
			linearCase{Form: "weight", Rows: rows, In: C, Out: V})
	}
	return list
}

// chosen keeps the kernels whose op begins with one of the names; gemm means the linear layers.
func chosen(list []kernel, names []string) (kept []kernel, err error) {
	if len(names) == 0 {
		return list, nil
	}
	var ops []string
	used := map[string]bool{}
	for _, k := range list {
		if !slices.Contains(ops, k.op()) {
			ops = append(ops, k.op())
		}
		for _, name := range names {
			prefix := name
			if name == "gemm" {
				prefix = "linear"
			}
			if name != "" && strings.HasPrefix(k.op(), prefix) {
				used[name] = true
				if len(kept) == 0 || kept[len(kept)-1] != k {
					kept = append(kept, k)
				}
			}
		}
	}
	for _, name := range names {
		if !used[name] {
			return nil, fault.Usage.Errorf("--ops: there is no op %q; want beginnings of %s", name, strings.Join(ops, ", "))
		}
	}
	return kept, nil
}
