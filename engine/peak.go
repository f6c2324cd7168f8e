package engine

import (
	"time"

	"palimpsest/kernels"
)

// measurePeak returns the FLOP/s of a large square product on the backend, the best of a few short runs: what a step is
// compared with. It takes some tens of milliseconds.
func measurePeak(b kernels.Backend) float64 {
	best := 0.0
	for _, n := range []int{128, 512, 1024} {
		t := b.Info().Compute
		x, w, y := b.Alloc(t, n*n), b.Alloc(t, n*n), b.Alloc(t, n*n)
		var took time.Duration
		for range 3 {
			started := time.Now()
			b.Linear(y, x, w, kernels.Buf{}, kernels.Buf{}, n, n, n, kernels.None)
			if b.Sync() != nil {
				return 0
			}
			took = time.Since(started)
			best = max(best, 2*float64(n)*float64(n)*float64(n)/took.Seconds())
		}
		if took > 2*time.Millisecond && n < 1024 { // a slow device: larger sizes would only cost time
			break
		}
	}
	return best
}
