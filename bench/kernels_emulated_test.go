//go:build cuda && emulated

package bench

import "testing"

// The GPU's kernels over the emulated driver: replays of graphs between events, on tiny shapes.
func TestKernelsEmulated(t *testing.T) {
	r, err := Kernels(KernelOptions{Device: "cuda", Scale: "tiny", Ops: []string{"attention", "norm", "cross", "adamw", "linear", "reference_kl", "emissions", "alignment", "links"}, Quick: true, Budget: 1})
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range r.Results {
		if k.Correct != Passed || k.How != "graph" || !(k.Seconds.Median > 0) {
			t.Errorf("%+v", k)
		}
	}
	if r.Backend != "cuda" || r.CacheBytes == 0 || r.Hardware == nil || r.Idle == nil || r.Finished == nil || len(r.Results) < 20 {
		t.Errorf("%s, %d results, cache %d, %+v", r.Backend, len(r.Results), r.CacheBytes, r.Hardware)
	}
}
