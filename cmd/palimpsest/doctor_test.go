package main

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

func TestDoctor(t *testing.T) {
	var d diagnosis
	if err := json.Unmarshal([]byte(must(t, "doctor", "--json")), &d); err != nil {
		t.Fatal(err)
	}
	if d.Version == "" || d.Cores < 1 || d.Products == "" || !(d.GFLOPS > 0) || d.Cgo != builtWithCgo || d.CUDA {
		t.Errorf("%+v", d)
	}
	text := must(t, "doctor")
	for _, part := range []string{"no CUDA support", "memory", "disk", "GFLOP/s", "hint"} {
		if !strings.Contains(text, part) {
			t.Errorf("doctor does not speak of %q: %s", part, text)
		}
	}
}

func TestDoctorReadsTheSystem(t *testing.T) {
	model, features := parseCPU("processor\t: 0\nmodel name\t: Some CPU 1\nflags\t\t: fpu sse4_2 avx2 fma\n\nprocessor\t: 1\nmodel name\t: Some CPU 1\nflags\t\t: fpu sse4_2 avx2 fma\n")
	if model != "Some CPU 1" || !slices.Equal(features, []string{"sse4_2", "avx2", "fma"}) {
		t.Errorf("%s %v", model, features)
	}
	if model, features = parseCPU("garbage"); model != "not known" || len(features) != 0 {
		t.Errorf("%s %v", model, features)
	}
	total, available := parseMemory("MemTotal:       16 kB\nMemFree: x kB\nMemAvailable:    8 kB\n")
	if total != 16<<10 || available != 8<<10 {
		t.Errorf("%d %d", total, available)
	}
}

func TestHintsNameWhatIsMissing(t *testing.T) {
	joined := func(d diagnosis) string { return strings.Join(hints(d), "\n") }
	if h := joined(diagnosis{Cgo: false}); !strings.Contains(h, "apt-get install gcc") {
		t.Error(h)
	}
	t.Setenv("PALIMPSEST_OPENBLAS", "/nowhere/libopenblas.so")
	if h := joined(diagnosis{Cgo: true, Products: "built-in"}); !strings.Contains(h, "unset PALIMPSEST_OPENBLAS") {
		t.Error(h)
	}
	if h := joined(diagnosis{Cgo: true, Products: "OpenBLAS 0.3.21", MemoryLimit: 1 << 20, Disk: 1 << 20}); !strings.Contains(h, "memory") || !strings.Contains(h, "disk") {
		t.Error(h)
	}
	if h := joined(diagnosis{Cgo: true, Products: "OpenBLAS 0.3.21", Available: 8 << 30, Disk: 8 << 30}); h != "" {
		t.Error(h)
	}
}
