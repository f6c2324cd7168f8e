package engine

import (
	"math"
	"strings"

	"palimpsest/kernels"
)

// noise estimates the gradient noise scale of McCandlish and others (arXiv 1812.06162, appendix A.1) from the gradient of
// an update's first micro-batch and that of the whole update: with b and B rows (summed row weights) and mean gradients g_b and
// g_B,
//
//	Gradient = (B*|g_B|^2 - b*|g_b|^2) / (B - b)       estimates the squared norm of the true gradient
//	Trace    = (|g_b|^2 - |g_B|^2) / (1/b - 1/B)       estimates the trace of the rows' covariance
//
// Both are averaged over updates, each keeping noiseKeep of what was, before their ratio, the batch size in rows beyond
// which larger batches stop paying, is taken. Rows of a document are not independent, so it is a lower bound in tokens.
type noise struct {
	Gradient float64 `json:"gradient"`
	Trace    float64 `json:"trace"`
	Weight   float64 `json:"weight"` // 1 - noiseKeep^updates: what the averages, which begin at 0, are divided by
}

const noiseKeep = 0.98

// noiseLine is a line of the log, {"type":"noise"}. NoiseScale is null while the estimates are not both positive.
type noiseLine struct {
	Type       string   `json:"type"`
	Step       int64    `json:"step"`
	NoiseScale *float64 `json:"noise_scale"`
	Gradient   float64  `json:"gradient_squares"`
	Trace      float64  `json:"covariance_trace"`
}

func (n *noise) line(step int64) noiseLine {
	l := noiseLine{Type: "noise", Step: step, Gradient: n.Gradient / n.Weight, Trace: n.Trace / n.Weight}
	if scale := n.Trace / n.Gradient; n.Trace > 0 && n.Gradient > 0 {
		l.NoiseScale = &scale
	}
	return l
}

// add takes one update: small and large are the squares of the mean gradients over b and B rows.
func (n *noise) add(small, b, large, B float64) {
	average := func(value *float64, v float64) { *value = noiseKeep**value + (1-noiseKeep)*v }
	average(&n.Gradient, (B*large-b*small)/(B-b))
	average(&n.Trace, (small-large)/(1/b-1/B))
	average(&n.Weight, 1)
}

// noiseLater begins to read back the sum of squares of the gradient after an update's first micro-batch; nil where the noise
// is not measured. That needs several micro-batches, and one term alone: terms with denominators of their own have no common
// batch size.
func (t *Trainer) noiseLater(u *update) func() (squares float64, err error) {
	if len(u.plans) < 2 || len(u.plans[0].Terms) != 1 {
		return nil
	}
	first := make([]float64, 1)
	wait := t.b.DownloadLater(first, t.noise)
	return func() (float64, error) { err := wait(); return first[0], err }
}

// measureNoise follows an applied update whose gradient has that sum of squares.
func (t *Trainer) measureNoise(u *update, squares float64, first func() (float64, error)) error {
	if first == nil {
		return nil
	}
	small, err := first()
	term := &u.plans[0].Terms[0]
	b, B := term.Weight(), term.Den
	if err != nil || !(b > 0 && b < B) {
		return err
	}
	small *= (B / b) * (B / b) // the gradients of rows are divided by B already
	if t.state.Noise == nil {
		t.state.Noise = new(noise)
	}
	t.state.Noise.add(small, b, squares, B)
	return nil
}

// normsLine is a line of the log, {"type":"norms"}: Euclidean norms by layer, of the gradient before clipping and of the
// weights after the update.
type normsLine struct {
	Type   string       `json:"type"`
	Step   int64        `json:"step"`
	Layers []layerNorms `json:"layers"`
}

type layerNorms struct {
	Layer  string  `json:"layer"`
	Grad   float64 `json:"grad_norm"`
	Weight float64 `json:"weight_norm"`
}

// layerOf returns the layer of a parameter: "layers.3", or the first part of its name.
func layerOf(name string) string {
	first, rest, _ := strings.Cut(name, ".")
	if first != "layers" {
		return first
	}
	number, _, _ := strings.Cut(rest, ".")
	return first + "." + number
}

// logNorms writes the norms of all layers.
func (t *Trainer) logNorms() {
	line := normsLine{Type: "norms", Step: t.state.Step}
	index := map[string]int{}
	for _, p := range t.weights.Params {
		if layer := layerOf(p.Name); index[layer] == 0 {
			line.Layers = append(line.Layers, layerNorms{Layer: layer})
			index[layer] = len(line.Layers)
		}
	}
	if t.record.norms.Absent() {
		t.record.norms = t.b.Alloc(kernels.F64, 2*len(line.Layers))
	}
	squares := t.record.norms
	t.b.Zero(squares)
	for _, p := range t.weights.Params {
		at := 2 * (index[layerOf(p.Name)] - 1)
		if !p.Frozen {
			t.b.SumSquares(squares, at, p.Grad, p.Len(), true)
		}
		t.b.SumSquares(squares, at+1, p.Master, p.Len(), true)
	}
	values := make([]float64, squares.Len())
	t.b.Download(values, squares)
	for i := range line.Layers {
		line.Layers[i].Grad, line.Layers[i].Weight = math.Sqrt(values[2*i]), math.Sqrt(values[2*i+1])
	}
	t.record.log.Write(line)
}
