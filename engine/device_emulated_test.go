//go:build cuda && emulated

package engine

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

func TestTrainEmulated(t *testing.T)                   { testTraining(t, dataset(t, 60)) }
func TestResumeEmulated(t *testing.T)                  { testResume(t, dataset(t, 60)) }
func TestCheckpointsCrossDevicesEmulated(t *testing.T) { testCrossing(t, dataset(t, 60)) }
func TestMemoryEmulated(t *testing.T)                  { testMemory(t, dataset(t, 60)) }

// library compiles the test's cuBLASLt.
func library(t *testing.T) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "libcublasLt.so.12")
	out, err := exec.Command(cmp.Or(os.Getenv("CC"), "cc"), "-shared", "-fPIC", "-O1", "-I../cuda/abi", "../cuda/testdata/blaslt.c", "-o", path, "-lm", "-ldl").CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return path
}

// The algorithms that a library chose for products are kept in the checkpoint and taken over by the run that goes on.
func TestProductChoicesEmulated(t *testing.T) {
	t.Setenv("PALIMPSEST_CUBLASLT", library(t))
	c := deviceConfig(dataset(t, 60), 4)
	c.Checkpoint.Keep = 4
	straight, parts := filepath.Join(t.TempDir(), "straight"), filepath.Join(t.TempDir(), "parts")
	mustTrain(t, Options{Config: c, Out: straight})
	c.StopAfter = 2
	if err := Train(Options{Config: c, Out: parts}); fault.Of(err) != fault.Preempted {
		t.Fatal(err)
	}
	const foreign = `{"shape":"m1 n1 k1","algo":[1,2,3,4,5,6,7,8]}`
	chosen := 0
	rewrite(t, parts, 2, func(name string, data []byte) []byte {
		if name != productsFile {
			return data
		}
		chosen = strings.Count(string(data), `"shape"`)
		return append([]byte("["+foreign+","), data[1:]...)
	})
	c.StopAfter = 0
	mustTrain(t, Options{Config: c, Out: parts})
	if a, b := fingerprint(t, straight), fingerprint(t, parts); a != b {
		t.Errorf("straight:\n%s\nin parts:\n%s", a, b)
	}
	kept, err := os.ReadFile(filepath.Join(parts, "checkpoints", "step-0000004", productsFile))
	if err != nil || chosen < 5 || strings.Count(string(kept), `"shape"`) < chosen+1 || !strings.Contains(string(kept), foreign) {
		t.Errorf("%d choices were kept; then %s (%v)", chosen, kept, err)
	}
}
