package model

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"palimpsest/kernels"
)

// Low-rank adapters (LoRA, arXiv 2106.09685): a linear layer that is adapted computes
//
//	y = x W^T + bias + s (x A^T) B^T,  A [r,in], B [out,r]
//
// of which only A and B are trained; in training the adapter may see x through a dropout of its own. B begins at zero, so that an adapted model begins as the one that it adapts. The
// product of W and its gradient by x are those of every model; the gradient of W is never made. B is kept transposed,
// as [r,out]: a product can add to its output in that layout only, and no [N,out] is written for the adapter's part.

// Adapter is the run file's section on low-rank adapters.
type Adapter struct {
	Rank    int      `yaml:"rank" min:"0" max:"65536" doc:"rank r of low-rank adapters (LoRA), which are trained in place of the weights that train.init gives; 0: no adapters, all weights are trained"`
	Alpha   float64  `yaml:"alpha" min:">0" doc:"an adapter's part of a layer's output is multiplied by alpha / rank"`
	Targets []string `yaml:"targets" enum:"attention.qkv,attention.gate,attention.proj,mlp.up,mlp.down" doc:"linear layers that have adapters, in every block"`
	Dropout float64  `yaml:"dropout" min:"0" max:"<1" doc:"chance that an adapter, in training, does not see an element of its layer's input; the layer itself sees all of it"`
	Scaling string   `yaml:"scaling" enum:"standard,rank_stabilized" doc:"rank_stabilized: alpha / sqrt(rank) instead of alpha / rank (arXiv 2312.03732)"`
	Heads   bool     `yaml:"heads" doc:"classification heads, and a transition head (ExLM), are trained in full beside the adapters; false: they stay as train.init has them"`
}

// AdapterTargets are the linear layers of a block, in the order of its forward pass.
var AdapterTargets = []string{"attention.qkv", "attention.gate", "attention.proj", "mlp.up", "mlp.down"}

// DefaultAdapter has no adapters.
func DefaultAdapter() Adapter {
	return Adapter{Alpha: 16, Targets: []string{"attention.qkv", "attention.proj"}, Scaling: "standard", Heads: true}
}

// On reports whether there are adapters.
func (a Adapter) On() bool { return a.Rank > 0 }

// Scale is s, what an adapter's part of the output is multiplied by.
func (a Adapter) Scale() float64 {
	if a.Scaling == "rank_stabilized" {
		return a.Alpha / math.Sqrt(float64(a.Rank))
	}
	return a.Alpha / float64(a.Rank)
}

// Validate returns what is wrong whatever the model is, each message beginning with the key.
func (a Adapter) Validate() (problems []error) {
	bad := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if a.Rank < 0 {
		bad("rank: want 0 for no adapters, or a rank above it, not %d", a.Rank)
	}
	if !(a.Alpha > 0) || math.IsInf(a.Alpha, 0) {
		bad("alpha: want a number above 0, not %g", a.Alpha)
	}
	if a.On() && len(a.Targets) == 0 {
		bad("targets: nothing is adapted; known: %s", strings.Join(AdapterTargets, ", "))
	}
	if !(a.Dropout >= 0 && a.Dropout < 1) {
		bad("dropout: want a number from 0 to below 1, not %g", a.Dropout)
	}
	for i, t := range a.Targets {
		if !slices.Contains(AdapterTargets, t) {
			bad("targets: there is no %q; known: %s", t, strings.Join(AdapterTargets, ", "))
		} else if slices.Contains(a.Targets[:i], t) {
			bad("targets: %s is named twice", t)
		}
	}
	return problems
}

// CheckAdapter returns what of the adapter does not fit the sizes of a resolved configuration.
func (c Config) CheckAdapter() (problems []error) {
	a := c.Adapter
	for _, target := range a.Targets {
		if slices.Contains(AdapterTargets, target) && !slices.Contains(c.AdapterTargets(), target) {
			problems = append(problems, fmt.Errorf("targets: %s is of models with model.attention.gate, which this one does not have", target))
			continue
		}
		if in, out := c.Adapted(target); a.Rank > min(in, out) {
			problems = append(problems, fmt.Errorf("rank: %d is more than %s has, whose weight is [%d,%d]; hint: at most %d, or without adapters train all of it", a.Rank, target, out, in, min(in, out)))
		}
	}
	return problems
}

// Adapted is the size of a target's layer.
func (c Config) Adapted(target string) (in, out int) {
	switch target {
	case "attention.qkv":
		return c.Width, c.qkvWidth()
	case "attention.gate", "attention.proj":
		return c.Width, c.Width
	case "mlp.up":
		return c.Width, c.upWidth()
	}
	return c.FF, c.Width
}

// AdapterTargets are those of all that the model has.
func (c Config) AdapterTargets() (targets []string) {
	for _, target := range AdapterTargets {
		if target != "attention.gate" || c.gatedAttention() {
			targets = append(targets, target)
		}
	}
	return targets
}

// linears are the layers that AdapterTargets names, in its order.
func (b *blockWeights) linears() []*linear {
	return []*linear{&b.qkv, &b.gate, &b.proj, &b.up, &b.down}
}

// adapterFLOPs of a token, forward.
func (c Config) adapterFLOPs() (flops float64) {
	if c.Adapter.On() {
		for _, target := range c.Adapter.Targets {
			in, out := c.Adapted(target)
			flops += 2 * float64(c.Layers) * float64(c.Adapter.Rank) * float64(in+out)
		}
	}
	return flops
}

// adapter is one layer's, trained; nil where the layer has none.
type adapter struct {
	a, b *Param // [r,in], [r,out]
	slot int    // in blockActivations.low
	site uint16 // of its dropout
}

// AdapterNames are the parameters of the adapter of a linear layer, named by the layer: A [r,in] and B transposed, [r,out].
func AdapterNames(layer string) (a, b string) { return layer + ".lora_a", layer + ".lora_b" }

// IsAdapter reports whether a parameter, by its name, belongs to an adapter.
func IsAdapter(name string) bool {
	return strings.HasSuffix(name, ".lora_a") || strings.HasSuffix(name, ".lora_b")
}

// layoutAdapters adds the adapters behind all other parameters, whose initial values then do not depend on them, and freezes
// those that are not trained.
func (w *Weights) layoutAdapters() {
	c := w.Config
	if !c.Adapter.On() {
		return
	}
	for _, p := range w.Params {
		p.Frozen = !(c.Adapter.Heads && (strings.HasPrefix(p.Name, ClassifierPrefix) || strings.HasPrefix(p.Name, LinksPrefix)))
	}
	for i := range w.blocks {
		b := &w.blocks[i]
		for slot, l := range b.linears() {
			target := AdapterTargets[slot]
			if !slices.Contains(c.Adapter.Targets, target) {
				continue
			}
			in, out := c.Adapted(target)
			nameA, nameB := AdapterNames(fmt.Sprintf("layers.%d.%s", i, target))
			seen := max(0, slot-1) // place of the input: the first two read the same one, through one dropout
			l.adapter = &adapter{slot: slot, site: siteAdapters | uint16(sitesPerBlock*i+seen),
				a: &Param{Name: nameA, Shape: []int{c.Adapter.Rank, in}, Decay: true, bound: 1 / math.Sqrt(float64(in))},
				b: &Param{Name: nameB, Shape: []int{c.Adapter.Rank, out}, Decay: true}}
			w.Params = append(w.Params, l.adapter.a, l.adapter.b)
		}
	}
}

// WithoutAdapter is the model that the adapters adapt: a view that shares all memory with w but does without them, for forward
// passes beside those of w. Classification heads that are trained with the adapters are those of w. Its flat buffers are
// absent, and it has no gradients.
func (w *Weights) WithoutAdapter() *Weights {
	if !w.Config.Adapter.On() {
		return w
	}
	v := *w
	v.Config.Adapter = Adapter{}
	v.Master, v.Compute, v.Grad, v.TrainLen = kernels.Buf{}, kernels.Buf{}, kernels.Buf{}, 0
	v.Params = slices.DeleteFunc(slices.Clone(w.Params), func(p *Param) bool { return IsAdapter(p.Name) })
	v.blocks = slices.Clone(w.blocks)
	for i := range v.blocks {
		b := &v.blocks[i]
		for _, l := range b.linears() {
			l.adapter = nil
		}
	}
	return &v
}

// adapterActivations are the small buffers of adapters, beside x A^T, which every block keeps.
type adapterActivations struct {
	scales kernels.Buf // [max(N,P)] of s; absent where s is 1
	dlow   kernels.Buf // [N,r] gradient of x A^T
	seen   kernels.Buf // [N,in] of the widest layer: x as the adapter sees it, then its gradient; absent without dropout
	// Relative positions: the table goes through the first rows of the layer's weight only. Its rows through all of the adapter
	// and the heads of them that count:
	heads, low, wide, narrow kernels.Buf // int32 [P(H+K)], [P,r], [P,(H+2K)D], [P,(H+K)D]
}

func (d *adapterActivations) allocate(c Config, capacity Capacity, train bool, compute, master kernels.DType, alloc func(kernels.DType, int) kernels.Buf) {
	rows, P := capacity.Tokens, 0
	if c.relative() && slices.Contains(c.Adapter.Targets, "attention.qkv") {
		P = c.relativeRows()
		d.heads = alloc(kernels.I32, P*(c.Heads+c.KVHeads))
		d.low, d.wide, d.narrow = alloc(compute, P*c.Adapter.Rank), alloc(compute, P*c.qkvWidth()), alloc(compute, P*c.relativeWidth())
	}
	rows = max(rows, P)
	if c.Adapter.Scale() != 1 {
		d.scales = alloc(master, rows)
	}
	if train {
		d.dlow = alloc(compute, rows*c.Adapter.Rank)
	}
	if train && c.Adapter.Dropout > 0 {
		widest := 0
		for _, target := range c.Adapter.Targets {
			in, _ := c.Adapted(target)
			widest = max(widest, in)
		}
		d.seen = alloc(compute, capacity.Tokens*widest)
	}
}

// upload fills the constants.
func (d *adapterActivations) upload(b kernels.Backend, c Config) {
	if !d.scales.Absent() {
		scales := make([]float64, d.scales.Len())
		for i := range scales {
			scales[i] = c.Adapter.Scale()
		}
		b.Upload(d.scales, scales)
	}
	if !d.heads.Absent() {
		seen, all := c.Heads+c.KVHeads, c.Heads+2*c.KVHeads
		index := make([]int32, d.heads.Len())
		for i := range index {
			index[i] = int32(i/seen*all + i%seen)
		}
		b.Upload(d.heads, index)
	}
}

// scaled multiplies n rows by s.
func (a *Activations) scaled(low kernels.Buf, n int) {
	if !a.adapter.scales.Absent() {
		a.b.ScaleRows(low, a.adapter.scales, n, a.c.Adapter.Rank)
	}
}

// lower computes s x A^T, which is kept for the gradient of B.
func (a *Activations) lower(d *adapter, low, x kernels.Buf, n, in int) {
	a.b.Linear(low, x, d.a.compute(), kernels.Buf{}, kernels.Buf{}, n, in, a.c.Adapter.Rank, kernels.None)
	a.scaled(low, n)
}

// adapterDrop is the dropout of an adapter's input.
func (a *Activations) adapterDrop(d *adapter) kernels.Drop {
	drop := a.step.drop(d.site)
	drop.P = a.step.AdapterDropout
	return drop
}

// seen is a layer's input as its adapter sees it.
func (a *Activations) seen(d *adapter, x kernels.Buf, n, in int) kernels.Buf {
	if a.step.AdapterDropout == 0 {
		return x
	}
	a.b.Dropout(a.adapter.seen, x, n, in, a.adapterDrop(d))
	return a.adapter.seen
}

// product computes y = act(x weight^T + bias), with the adapter's part where the layer has one. With an activation, pre
// receives the value before it.
func (a *Activations) product(l *blockActivations, w linear, y, x, pre kernels.Buf, n, in, out int, act kernels.Activation) {
	d := w.adapter
	if d == nil {
		a.b.Linear(y, x, w.weight.compute(), w.bias.compute(), pre, n, in, out, act)
		return
	}
	sum := y
	if act != kernels.None {
		sum = pre
	}
	a.b.Linear(sum, x, w.weight.compute(), w.bias.compute(), kernels.Buf{}, n, in, out, kernels.None)
	low := l.low[d.slot]
	a.lower(d, low, a.seen(d, x, n, in), n, in)
	a.b.LinearBackwardInput(sum, low, d.b.compute(), kernels.Buf{}, n, out, a.c.Adapter.Rank, kernels.None, true) // sum += low B^T
	if act != kernels.None {                                                                                      // of the rounded sum, where a fused one may have more digits
		a.b.ActivationForward(y, sum, n*out, act)
	}
}

// weightBackward adds the gradients of a layer's weight and bias, unless they are frozen.
func (a *Activations) weightBackward(w linear, dy, x kernels.Buf, n, in, out int) {
	if !w.weight.grad().Absent() {
		a.b.LinearBackwardWeight(w.weight.grad(), w.bias.grad(), dy, x, n, in, out)
	}
}

// adapterBackward adds the gradients of A and B from dy and the layer's input x, and returns the gradient of x A^T.
func (a *Activations) adapterBackward(d *adapter, low, dy, x kernels.Buf, n, in, out int) (dlow kernels.Buf) {
	none, r := kernels.Buf{}, a.c.Adapter.Rank
	dlow = a.adapter.dlow
	a.b.LinearBackwardWeight(d.b.grad(), none, low, dy, n, out, r)
	a.b.Linear(dlow, dy, d.b.compute(), none, none, n, out, r, kernels.None) // dy B
	a.scaled(dlow, n)
	a.b.LinearBackwardWeight(d.a.grad(), none, dlow, x, n, in, r)
	return dlow
}

// productBackward is the gradient of product without an activation: of the parameters that are trained, and of x in dx, written
// or added; absent where nobody asks for it.
func (a *Activations) productBackward(l *blockActivations, w linear, dx, dy, x kernels.Buf, n, in, out int, add bool) {
	a.weightBackward(w, dy, x, n, in, out)
	var dlow kernels.Buf
	if d := w.adapter; d != nil {
		dlow = a.adapterBackward(d, l.low[d.slot], dy, a.seen(d, x, n, in), n, in, out)
	}
	if dx.Absent() {
		return
	}
	a.b.LinearBackwardInput(dx, dy, w.weight.compute(), kernels.Buf{}, n, in, out, kernels.None, add)
	d := w.adapter
	if d == nil {
		return
	}
	if a.step.AdapterDropout == 0 {
		a.b.LinearBackwardInput(dx, dlow, d.a.compute(), kernels.Buf{}, n, in, a.c.Adapter.Rank, kernels.None, true)
		return
	}
	seen := a.adapter.seen.Slice(0, n*in)
	a.b.LinearBackwardInput(seen, dlow, d.a.compute(), kernels.Buf{}, n, in, a.c.Adapter.Rank, kernels.None, false)
	a.b.Dropout(seen, seen, n, in, a.adapterDrop(d))
	a.b.Add(dx.Slice(0, n*in), seen)
}

// adaptDistances adds the adapter's part to the table of relative positions as a layer's queries and keys.
func (a *Activations) adaptDistances(d *adapter, distances kernels.Buf) {
	s, P, c := &a.adapter, a.c.relativeRows(), a.c
	a.lower(d, s.low, a.rel.dropped, P, c.Width)
	a.b.LinearBackwardInput(s.wide, s.low, d.b.compute(), kernels.Buf{}, P, c.qkvWidth(), c.Adapter.Rank, kernels.None, false)
	a.b.GatherRows(s.narrow, s.wide, s.heads, P*(c.Heads+c.KVHeads), c.headWidth())
	a.b.Add(distances.Slice(0, P*c.relativeWidth()), s.narrow)
}

// adaptDistancesBackward takes the gradient of the distances; the table itself is frozen.
func (a *Activations) adaptDistancesBackward(d *adapter) {
	s, P, c := &a.adapter, a.c.relativeRows(), a.c
	a.lower(d, s.low, a.rel.dropped, P, c.Width)
	a.b.Zero(s.wide)
	a.b.ScatterAddRows(s.wide, a.rel.ddistances, s.heads, P*(c.Heads+c.KVHeads), c.headWidth())
	a.adapterBackward(d, s.low, s.wide, a.rel.dropped, P, c.Width, c.qkvWidth())
}
