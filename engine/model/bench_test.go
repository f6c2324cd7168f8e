package model

import (
	"fmt"
	"testing"
	"time"

	"palimpsest/kernels"
	"palimpsest/kernels/philox"
	"palimpsest/objectives"
)

// BenchmarkStep measures forward, loss and backward (no optimiser) of whole micro-batches; "share" is that of the rate of
// a 1024-cubed product on the same backend.
func BenchmarkStep(b *testing.B) {
	for _, c := range []struct {
		name, objective string
		config          Config
		tokens, length  int
		dropout         float32
	}{
		{"tiny mlm", "mlm", Config{Preset: "tiny", Vocab: 8192}, 2048, 128, 0},
		{"tiny mlm dropout", "mlm", Config{Preset: "tiny", Vocab: 8192}, 2048, 128, 0.1},
		{"small clm", "clm", Config{Preset: "small", Vocab: 8192}, 4096, 512, 0},
		{"gpt2 clm", "clm", Config{Preset: "gpt2"}, 1024, 1024, 0},
	} {
		b.Run(c.name, func(b *testing.B) {
			config, problems := c.config.Resolve(0)
			if len(problems) > 0 {
				b.Fatal(problems)
			}
			backend, err := kernels.Open("cpu", 0)
			if err != nil {
				b.Fatal(err)
			}
			defer backend.Close()
			w := NewWeights(backend, config, true)
			w.Init(backend, 1)
			a := NewActivations(backend, config, Capacity{Tokens: c.tokens, Rows: c.tokens}, true)
			p := benchPlan(c.objective, int(config.Vocab), c.tokens, c.length)
			rate := productRate(backend)
			b.ResetTimer()
			for i := range b.N {
				backend.Zero(w.Grad)
				if err := a.Load(p, Step{Dropout: c.dropout, Micro: uint32(i)}); err != nil {
					b.Fatal(err)
				}
				a.Forward(w)
				a.Loss(w, true)
				a.Backward(w)
			}
			seconds := b.Elapsed().Seconds() / float64(b.N)
			b.ReportMetric(float64(c.tokens)/seconds, "tokens/s")
			b.ReportMetric(FLOPs(config, p)/seconds/1e9, "GFLOP/s")
			b.ReportMetric(FLOPs(config, p)/seconds/rate, "share")
		})
	}
}

func benchPlan(objective string, vocab, tokens, length int) *objectives.Plan {
	o, err := objectives.New(objective, objectives.Settings{Mask: objectives.DefaultMask(), Vocabulary: objectives.Vocabulary{Size: vocab, Mask: 3, Special: func(id int32) bool { return id < 4 }}})
	if err != nil {
		panic(err)
	}
	p, d := new(objectives.Plan), philox.New(1, philox.StreamTest, 0, 0)
	o.Begin(p)
	for id := range tokens / length {
		doc := objectives.Document{ID: int64(id)}
		for range length {
			doc.Tokens = append(doc.Tokens, int32(4+d.IntN(vocab-4)))
		}
		o.Plan(doc, p)
	}
	objectives.SetDenominators([]*objectives.Plan{p})
	return p
}

func productRate(b kernels.Backend) (best float64) {
	const n = 1024
	x, w, y := b.Alloc(kernels.F32, n*n), b.Alloc(kernels.F32, n*n), b.Alloc(kernels.F32, n*n)
	for range 5 {
		started := time.Now()
		b.Linear(y, x, w, kernels.Buf{}, kernels.Buf{}, n, n, n, kernels.None)
		best = max(best, 2*n*n*n/time.Since(started).Seconds())
	}
	return best
}

func ExampleNumParams() {
	c, _ := Config{Preset: "gpt2"}.Resolve(0)
	fmt.Println(NumParams(c))
	// Output: 124439808
}
