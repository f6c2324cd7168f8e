package model

import (
	"slices"
	"strings"
	"testing"

	"palimpsest/kernels"
	"palimpsest/kernels/philox"
)

// perturbDepth moves the weights of the residual stream away from where they begin, which hides what they do.
func (w *Weights) perturbDepth(b kernels.Backend) {
	for i, p := range w.Params {
		if strings.HasSuffix(p.Name, ".depth.weight") {
			d, values := philox.New(6, philox.StreamTest, uint64(i), 0), w.InitialValues(i, 0)
			for e := range values {
				values[e] += float32(0.3 * d.Normal())
			}
			b.Upload(p.Master, values)
		}
	}
	w.Publish(b)
}

// A model with depth weighting begins as the one without: the same weights under the same seed, and the same bits of the loss and
// of all gradients that both have.
func TestDepthWeightingBeginsAsNothing(t *testing.T) {
	for _, b := range []kernels.Backend{kernels.NewRef64(), kernels.NewRefBF16(), cpuBackend(t)} {
		without := gptBERTVariant
		without.DepthWeighting = off
		run := func(c Config) (*fixture, float64) {
			c.Vocab, c.Layers, c.Context, c.Width, c.Heads, c.FF, c.InitStd = 11, 3, 16, 8, 2, 12, 0.3
			c.Classifiers = variants()["gpt-bert"].Classifiers
			f := newFixture(t, b, c, 0.2, true)
			f.w.Init(b, 7) // undoes perturbDepth
			loss := f.forward(t, true)
			f.a.Backward(f.w)
			return f, loss
		}
		weighted, got := run(gptBERTVariant)
		plain, want := run(without)
		if got != want {
			t.Errorf("%s: loss %v, without depth weighting %v", b.Info().Name, got, want)
		}
		for _, p := range plain.w.Params {
			read := func(w *Weights) (master, grad []float64) {
				q := w.ByName(p.Name)
				master, grad = make([]float64, q.Len()), make([]float64, q.Len())
				b.Download(master, q.Master)
				b.Download(grad, q.Grad)
				return master, grad
			}
			master, grad := read(weighted.w)
			plainMaster, plainGrad := read(plain.w)
			if !slices.Equal(master, plainMaster) || !slices.Equal(grad, plainGrad) {
				t.Errorf("%s: %s or its gradient differs", b.Info().Name, p.Name)
			}
		}
	}
}

// The weights of a sub-layer are as many as there are outputs behind it, and the newest alone counts at first.
func TestDepthWeights(t *testing.T) {
	c := resolved(t, Config{Vocab: 20, Layers: 2, Width: 8, Heads: 2, DepthWeighting: on})
	w := Layout(c)
	var got []int
	for i, p := range w.Params {
		if !strings.HasSuffix(p.Name, ".depth.weight") {
			continue
		}
		got = append(got, p.Len())
		values := w.InitialValues(i, 1)
		for e, v := range values {
			if want := float32(e + 1 - len(values) + 1); v != max(0, want) {
				t.Errorf("%s[%d] begins as %g", p.Name, e, v)
			}
		}
		if !p.Decay {
			t.Errorf("%s has no weight decay, in GPT-BERT's code it has", p.Name)
		}
	}
	if !slices.Equal(got, []int{2, 3, 4, 5}) {
		t.Errorf("weights of sub-layers: %v", got)
	}
}
