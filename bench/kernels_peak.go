package bench

import (
	"fmt"
	"strings"

	"palimpsest/kernels"
)

// Peaks are what this device did in this process: the yardsticks of all other figures.
type Peaks struct {
	Copy         float64 `json:"copy_bytes_per_s"` // a large copy on the device: bytes read and written
	Add          float64 `json:"add_bytes_per_s"`  // dst += src on the same memory: bytes read, read and written
	Memory       float64 `json:"memory_bytes_per_s"`
	Product      float64 `json:"product_flops_per_s"` // best of some large products
	ProductShape string  `json:"product_shape"`
	Datasheet    *Sheet  `json:"datasheet,omitempty"`
}

// A Sheet is what a device's maker says: dense bfloat16 products with float32 accumulation, and memory.
type Sheet struct {
	Device  string  `json:"device"`
	Product float64 `json:"product_flops_per_s"`
	Memory  float64 `json:"memory_bytes_per_s"`
}

// sheets are NVIDIA's datasheets, dense (without sparsity), by what the driver's name of the device holds; the first that
// fits counts.
var sheets = []struct {
	part  string
	sheet Sheet
}{
	{"H200 NVL", Sheet{"H200 NVL", 835e12, 4.8e12}},
	{"H200", Sheet{"H200 SXM", 989e12, 4.8e12}},
	{"H100 NVL", Sheet{"H100 NVL", 835e12, 3.9e12}},
	{"H100 PCIe", Sheet{"H100 PCIe", 756e12, 2.0e12}},
	{"H100 80GB HBM3", Sheet{"H100 SXM", 989e12, 3.35e12}},
	{"A100-SXM4-80GB", Sheet{"A100 80GB SXM", 312e12, 2.039e12}},
	{"A100-SXM4-40GB", Sheet{"A100 40GB SXM", 312e12, 1.555e12}},
	{"A100 80GB PCIe", Sheet{"A100 80GB PCIe", 312e12, 1.935e12}},
}

// datasheet returns that of a device, nil for devices that are not in the list.
func datasheet(device string) *Sheet {
	for _, s := range sheets {
		if strings.Contains(device, s.part) {
			sheet := s.sheet
			return &sheet
		}
	}
	return nil
}

// best is the shortest of some runs of work.
func best(b kernels.Backend, work func(), samples int) (float64, error) {
	seconds, _, err := kernels.Time(b, nil, work, samples)
	if err != nil {
		return 0, err
	}
	return spread(seconds).P10, nil
}

// measurePeaks measures the device's ceilings with random numbers.
func measurePeaks(b kernels.Backend, s scale, samples int) (p Peaks, err error) {
	t := b.Info().Compute
	p.Datasheet = datasheet(b.Info().Device)
	n := s.copies / t.Size()
	m := newYard(b, []map[kernels.DType]int{{t: 2 * padded(t, n)}}).maker()
	src, dst := m.in(n), m.in(n)
	bytes := float64(n * t.Size())
	seconds, err := best(b, func() { b.Copy(dst, src) }, samples)
	if err != nil {
		return p, err
	}
	p.Copy = 2 * bytes / seconds
	if seconds, err = best(b, func() { b.Add(dst, src) }, samples); err != nil {
		return p, err
	}
	p.Add = 3 * bytes / seconds
	p.Memory = max(p.Copy, p.Add)
	p.Product, p.ProductShape, err = measureProducts(b, s.square, samples)
	return p, err
}

// slowProduct is how long a product may be expected to take, in seconds, to be worth measuring.
const slowProduct = 0.02

// measureProducts returns the best rate of some products in FLOP/s, and at which shape. It begins with small ones, and
// stops where the next would take longer than it tells.
func measureProducts(b kernels.Backend, shapes [][3]int, samples int) (rate float64, shape string, err error) {
	t := b.Info().Compute
	for _, q := range append([][3]int{{64, 64, 64}, {256, 256, 256}, {512, 512, 512}}, shapes...) {
		flops := 2 * float64(q[0]) * float64(q[1]) * float64(q[2])
		if rate > 0 && flops/rate > slowProduct {
			break
		}
		m := newYard(b, []map[kernels.DType]int{{t: padded(t, q[0]*q[1]) + padded(t, q[1]*q[2]) + padded(t, q[0]*q[2])}}).maker()
		x, w, out := m.in(q[0]*q[1]), m.in(q[1]*q[2]), m.in(q[0]*q[2])
		seconds, err := best(b, func() { b.Linear(out, x, w, kernels.Buf{}, kernels.Buf{}, q[0], q[1], q[2], kernels.None) }, samples)
		if err != nil {
			return 0, "", err
		}
		if r := flops / seconds; r > rate {
			rate, shape = r, fmt.Sprintf("%d x %d x %d, %v", q[0], q[1], q[2], t)
		}
	}
	return rate, shape, nil
}
