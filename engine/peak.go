package engine

import "palimpsest/kernels"

// ProductRate measures a product of two square matrices of that size on the backend: the best rate of some runs in FLOP/s,
// the yardstick of a step in the same process. It is 0 when the device fails.
func ProductRate(b kernels.Backend, size, runs int) (best float64) {
	t := b.Info().Compute
	x, w, y := b.Alloc(t, size*size), b.Alloc(t, size*size), b.Alloc(t, size*size)
	seconds, _, err := kernels.Time(b, nil, func() {
		b.Linear(y, x, w, kernels.Buf{}, kernels.Buf{}, size, size, size, kernels.None)
	}, runs)
	if err != nil {
		return 0
	}
	for _, s := range seconds {
		best = max(best, productFLOPs(size)/s)
	}
	return best
}

func productFLOPs(size int) float64 { return 2 * float64(size) * float64(size) * float64(size) }

// measurePeak returns the best rate of products up to 1024 cubed, on a GPU 4096 cubed. It takes some tens of milliseconds, also on a slow device,
// where larger products would take longer than they tell.
func measurePeak(b kernels.Backend) (best float64) {
	sizes := []int{128, 512, 1024}
	if _, ok := b.(kernels.Device); ok {
		sizes = append(sizes, 4096)
	}
	for _, size := range sizes {
		rate := ProductRate(b, size, 3)
		best = max(best, rate)
		if rate > 0 && productFLOPs(size) > 0.002*rate {
			break
		}
	}
	return best
}
