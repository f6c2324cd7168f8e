package optim

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"palimpsest/engine/model"
)

// A part is a run [from,to) of the flat buffers that is updated by one call: neighbouring parameters with the same numbers
// for AdamW, one parameter for LAMB, whose steps depend on the tensor's norm, and for Muon.
type part struct {
	params   []*model.Param
	from, to int
	decay    float64
	scale    float64  // of the rate
	second   int      // where its second moment begins in V
	matrices []matrix // Muon: what is orthogonalised, by itself
}

// A matrix is rows [first,first+rows) of a parameter.
type matrix struct{ first, rows, cols int }

// partsOf lists the parts of what is trained in the order of the flat buffers.
func partsOf(c Config, w *model.Weights) (parts []part) {
	params := slices.DeleteFunc(slices.Clone(w.Params), func(p *model.Param) bool { return p.Frozen })
	slices.SortFunc(params, func(a, b *model.Param) int { return cmp.Compare(a.Offset, b.Offset) })
	for _, q := range params {
		p := part{params: []*model.Param{q}, from: q.Offset, to: q.Offset + q.Len(), scale: layerScale(c.LayerDecay, w.Config.Layers, q.Name)}
		if q.Decay {
			p.decay = c.WeightDecay
		}
		if c.Kind == "muon" && q.Decay && len(q.Shape) == 2 && strings.HasPrefix(q.Name, "layers.") {
			p.matrices = matricesOf(w.Config, q)
		}
		if n := len(parts); n > 0 && c.Kind != "lamb" && p.matrices == nil {
			if last := &parts[n-1]; last.matrices == nil && last.decay == p.decay && last.scale == p.scale {
				last.params, last.to = append(last.params, q), p.to
				continue
			}
		}
		parts = append(parts, p)
	}
	return parts
}

// layerScale returns decay^(layers+1-depth), where embeddings have depth 0, block i has i+1 and what follows the blocks
// layers+1: the rule of ELECTRA (arXiv 2003.10555) and BEiT (arXiv 2106.08254).
func layerScale(decay float64, layers int, name string) float64 {
	depth := layers + 1
	if strings.HasPrefix(name, "embed.") {
		depth = 0
	} else if rest, ok := strings.CutPrefix(name, "layers."); ok {
		number, _, _ := strings.Cut(rest, ".")
		if i, err := strconv.Atoi(number); err == nil {
			depth = i + 1
		}
	}
	return math.Pow(decay, float64(layers+1-depth))
}

// matricesOf cuts a parameter that holds several linear maps: queries, keys and values, or gates and values.
func matricesOf(c model.Config, p *model.Param) (list []matrix) {
	rows, cols := p.Shape[0], p.Shape[1]
	cuts := []int{rows}
	switch head := c.Width / max(1, c.Heads); {
	case strings.HasSuffix(p.Name, ".attention.qkv.weight") && rows == (c.Heads+2*c.KVHeads)*head:
		cuts = []int{c.Heads * head, c.KVHeads * head, c.KVHeads * head}
	case strings.HasSuffix(p.Name, ".mlp.up.weight") && rows == 2*c.FF:
		cuts = []int{c.FF, c.FF}
	}
	at := 0
	for _, n := range cuts {
		list = append(list, matrix{at, n, cols})
		at += n
	}
	return list
}
