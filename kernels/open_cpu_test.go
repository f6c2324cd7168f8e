package kernels

import (
	"errors"
	"os"
	"strings"
	"testing"
)

func TestOpenNamesDevices(t *testing.T) {
	for device, name := range map[string]string{"auto": "cpu", "cpu": "cpu", "ref32": "ref32", "ref64": "ref64", "refbf16": "refbf16"} {
		b, err := Open(device, 1)
		if err != nil {
			t.Fatalf("%s: %v", device, err)
		}
		if got := b.Info(); got.Name != name || got.Products == "" || got.Device == "" || got.Threads != 1 {
			t.Errorf("%s opened %+v", device, got)
		}
		if notes := strings.Join(b.Info().Notes, "\n"); device == "auto" && !strings.Contains(notes, "device auto") {
			t.Errorf("auto does not say what it chose: %q", notes)
		}
		b.Close()
	}
	for device, want := range map[string]string{"cuda": "--device cpu", "tpu": "--device tpu: want auto, cpu or cuda"} {
		_, err := Open(device, 0)
		if !errors.Is(err, ErrNoDevice) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want ErrNoDevice that says %q", device, err, want)
		}
	}
	if _, err := Open("cpu", -1); err == nil || errors.Is(err, ErrNoDevice) {
		t.Errorf("-1 threads: error %v", err)
	}
}

func TestProductsWithoutOpenBLAS(t *testing.T) {
	t.Setenv(openBLASVariable, "")
	b := newCPU(t, CPUOptions{Threads: 1})
	if info := b.Info(); strings.HasPrefix(info.Products, "OpenBLAS") || !strings.Contains(strings.Join(info.Notes, "\n"), openBLASHint) {
		t.Errorf("none: %+v", info)
	}
	t.Setenv(openBLASVariable, "/no/such/library.so")
	if _, err := NewCPU(CPUOptions{BLAS: "openblas"}); err == nil || !strings.Contains(err.Error(), openBLASHint) {
		t.Errorf("a missing library that was asked for: %v", err)
	}
	if _, err := NewCPU(CPUOptions{BLAS: "mkl"}); err == nil || !strings.Contains(err.Error(), "auto, openblas or builtin") {
		t.Errorf("an unknown library: %v", err)
	}
}

// A library that is none, and a file that is not one, must not disturb what is already open.
func TestProductsFromAWrongFile(t *testing.T) {
	before := newCPU(t, CPUOptions{Threads: 1})
	path := t.TempDir() + "/libwrong.so"
	if err := os.WriteFile(path, []byte("not a library"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(openBLASVariable, path)
	after := newCPU(t, CPUOptions{Threads: 1})
	if strings.HasPrefix(after.Info().Products, "OpenBLAS") {
		t.Errorf("opened %s", after.Info().Products)
	}
	x, w, y := randomBuf(before, 1, 6, 1), randomBuf(before, 2, 6, 1), before.Alloc(F32, 4)
	before.Linear(y, x, w, Buf{}, Buf{}, 2, 3, 2, None)
	want := make([]float32, 4)
	linearRef(want, f32(x), f32(w), nil, nil, 2, 3, 2, None)
	for i, v := range f32(y) {
		if diff := v - want[i]; diff > 1e-5 || diff < -1e-5 {
			t.Errorf("element %d is %g, want %g", i, v, want[i])
		}
	}
}
