package checkpoint

import (
	"math"
	"os"
	"path/filepath"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

// Any bytes as best.json: an error of kind checkpoint, or a record that can be written and read again.
func FuzzBest(f *testing.F) {
	f.Add([]byte(`{"step":3,"metric":1.5}`))
	f.Add([]byte(`{"step":-1,"metric":1e999}`))
	f.Add([]byte(`{"step":3}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		dir := scratch(t)
		if err := os.WriteFile(filepath.Join(dir, bestName), data, 0o644); err != nil {
			t.Fatal(err)
		}
		best, ok, err := ReadBest(vfs.OS{}, dir)
		if err != nil {
			if fault.Of(err) != fault.Checkpoint {
				t.Errorf("kind %d: %v", fault.Of(err), err)
			}
			return
		}
		if !ok || math.IsNaN(best.Metric) || math.IsInf(best.Metric, 0) {
			t.Fatalf("%t %+v", ok, best)
		}
		if err := SetBest(syncless{}, dir, best); err != nil {
			t.Fatal(err)
		}
		if again, ok, err := ReadBest(vfs.OS{}, dir); err != nil || !ok || again != best {
			t.Errorf("%+v became %+v, %t, %v", best, again, ok, err)
		}
	})
}
