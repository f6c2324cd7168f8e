package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestDoctor(t *testing.T) {
	var d diagnosis
	if err := json.Unmarshal([]byte(must(t, "doctor", "--json")), &d); err != nil {
		t.Fatal(err)
	}
	if d.Version == "" || d.Cores < 1 || d.Products == "" || !(d.GFLOPS > 0) || d.Cgo != builtWithCgo || d.CUDA != builtWithCUDA {
		t.Errorf("%+v", d)
	}
	if len(d.GPU.Devices) == 0 && d.GPU.Reason == "" {
		t.Errorf("no device and no reason: %+v", d.GPU)
	}
	text := must(t, "doctor")
	if strings.Contains(text, "no CUDA support") == builtWithCUDA {
		t.Errorf("doctor on CUDA: %s", text)
	}
	for _, part := range []string{"memory", "disk", "GFLOP/s", "hint"} {
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

func TestDoctorDescribesDevices(t *testing.T) {
	var page strings.Builder
	line := func(name, format string, args ...any) { fmt.Fprintf(&page, name+" "+format+"\n", args...) }
	gpuDiagnosis{Library: "/lib/libcuda.so.1", Driver: "12.8", CuBLASLtReason: "not found", Devices: []gpuDevice{
		{Name: "A", Capability: "sm_90", SMs: 132, Memory: 1 << 37, Kernels: []gpuKernels{{"sm_80", []string{"norm", "rope"}}, {"sm_90a", []string{"gemm"}}},
			ClockMHz: 1980, PowerW: 90, PowerLimitW: 700, Throttle: []string{"idle"}},
		{Ordinal: 1, Reason: "busy", NVML: "absent"},
	}}.print(line)
	for _, want := range []string{"driver /lib/libcuda.so.1, for CUDA 12.8", "gpu 0 A (sm_90, 132 SMs, 128.0 GiB", "gpu 0 kernels for sm_80: norm rope",
		"kernels for sm_90a: gemm", "now 1980 MHz, 90 of 700 W", "slowed by: idle", "gpu 1 cannot be used: busy", "not known: absent", "cublaslt none: not found"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("%q is missing from\n%s", want, page.String())
		}
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
