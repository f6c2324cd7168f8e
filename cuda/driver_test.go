//go:build cuda

package cuda

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

// The driver library is opened once in a process, so that each of these runs the test program again with its own.
func inProcess(t *testing.T, library string) bool {
	t.Helper()
	if os.Getenv("PALIMPSEST_TEST_CHILD") == t.Name() {
		return true
	}
	cmd := exec.Command(os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), "PALIMPSEST_TEST_CHILD="+t.Name(), "PALIMPSEST_LIBCUDA="+library)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	return false
}

func TestWithoutADriver(t *testing.T) {
	if !inProcess(t, "") {
		return
	}
	n, err := Count()
	if n != 0 || !errors.Is(err, ErrNoDevice) || fault.Of(err) != fault.Device || !strings.Contains(err.Error(), "PALIMPSEST_LIBCUDA is empty") {
		t.Errorf("%d devices, %v", n, err)
	}
	if d, err := Open(0); d != nil || !errors.Is(err, ErrNoDevice) {
		t.Error(err)
	}
	if library, reason := Library(); library != "" || reason == "" || driverVersion() != 0 {
		t.Errorf("library %q, reason %q, version %d", library, reason, driverVersion())
	}
	if err := driverError("trying", 2); err == nil || err.Error() != "trying: CUDA_ERROR_OUT_OF_MEMORY (2)" {
		t.Error(err)
	}
}

func TestWithoutTheDriverNamed(t *testing.T) {
	if !inProcess(t, "/nowhere/libcuda.so.1") {
		return
	}
	if _, err := Count(); err == nil || !strings.Contains(err.Error(), "/nowhere/libcuda.so.1") {
		t.Error(err)
	}
}

// A driver that fails to start, or lacks calls, says so.
func TestPoorDrivers(t *testing.T) {
	for name, source := range map[string]string{
		"no device": "int cuInit(unsigned f) { return 100; }",
		"old": "int cuInit(unsigned f) { return 0; } int cuDriverGetVersion(int *v) { *v = 11040; return 0; }" +
			"int cuDeviceGetCount(int *n) { *n = 1; return 0; } int cuDeviceGet(int *d, int i) { *d = i; return 0; }",
		"not a driver": "int x;",
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			library := t.TempDir() + "/libcuda.so"
			if os.Getenv("PALIMPSEST_TEST_CHILD") == "" {
				cc := exec.Command("cc", "-shared", "-fPIC", "-xc", "-", "-o", library)
				cc.Stdin = strings.NewReader(source)
				if out, err := cc.CombinedOutput(); err != nil {
					t.Fatalf("%v: %s", err, out)
				}
			}
			if !inProcess(t, library) {
				return
			}
			_, err := Describe(0)
			want := map[string]string{"no device": "CUDA_ERROR_NO_DEVICE (100)", "old": "the driver (CUDA 11.4) lacks cuDeviceGetName", "not a driver": "(303)"}[name]
			if err == nil || fault.Of(err) != fault.Device || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q in it", err, want)
			}
		})
	}
}
