package main

import (
	"cmp"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/fault"
	"palimpsest/kernels"
)

func doctorCommand() *cli.Command {
	return &cli.Command{
		Name:        "doctor",
		Usage:       "say what this machine and this build can do, and what is missing",
		Description: example("palimpsest doctor"),
		Action:      doctor,
	}
}

type diagnosis struct {
	Version     string       `json:"version"`
	Go          string       `json:"go"`
	System      string       `json:"system"`
	Cgo         bool         `json:"cgo"`
	CUDA        bool         `json:"cuda"`
	Driver      string       `json:"nvidia_driver"` // "" where there is none
	CPU         string       `json:"cpu"`
	Features    []string     `json:"cpu_features"`
	Cores       int          `json:"cores"`
	Memory      uint64       `json:"memory_bytes"`           // 0: not known
	MemoryLimit uint64       `json:"memory_limit_bytes"`     // of the container; 0: none
	Available   uint64       `json:"memory_available_bytes"` // 0: not known
	Disk        uint64       `json:"disk_free_bytes"`
	Device      string       `json:"device"`
	Products    string       `json:"products"`
	GPU         gpuDiagnosis `json:"gpu"`
	GFLOPS      float64      `json:"sgemm_gflops"`
	Notes       []string     `json:"notes"`
	Hints       []string     `json:"hints"`
}

// gpuDiagnosis is what the driver and the libraries of NVIDIA say.
type gpuDiagnosis struct {
	Library         string      `json:"driver_library"` // "" where none could be opened
	Driver          string      `json:"driver_cuda"`    // CUDA version that the driver serves
	Reason          string      `json:"reason"`         // why there is no device; "" when there is one
	Devices         []gpuDevice `json:"devices"`
	CuBLASLt        string      `json:"cublaslt"` // file, "" when there is none
	CuBLASLtVersion string      `json:"cublaslt_version"`
	CuBLASLtReason  string      `json:"cublaslt_reason"`
}

type gpuDevice struct {
	Ordinal       int          `json:"ordinal"`
	Name          string       `json:"name"`
	Capability    string       `json:"capability"`
	SMs           int          `json:"sms"`
	Memory        uint64       `json:"memory_bytes"`
	L2            uint64       `json:"l2_bytes"`
	Shared        uint64       `json:"shared_optin_bytes"`
	PCI           string       `json:"pci"`
	Driver        string       `json:"driver_cuda"`
	DriverRelease string       `json:"driver_release"`
	Kernels       []gpuKernels `json:"kernels"`
	Reason        string       `json:"reason"` // why it cannot be used; "" when it can
	NVML          string       `json:"nvml"`   // why the figures below are not known; "" when they are
	ClockMHz      int          `json:"clock_mhz"`
	PowerW        float64      `json:"power_w"`
	PowerLimitW   float64      `json:"power_limit_w"`
	Temperature   int          `json:"temperature_c"`
	Throttle      []string     `json:"throttle"`
}

// gpuKernels are the families of kernels that this build has code of for an architecture that a device runs.
type gpuKernels struct {
	Target   string   `json:"target"`
	Families []string `json:"families"`
}

func doctor(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	d := diagnosis{
		Version: c.App.Version, Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, Cgo: builtWithCgo, CUDA: builtWithCUDA,
		GPU: diagnoseGPU(), Driver: nvidiaDriver(), CPU: "not known", Features: []string{}, Cores: runtime.GOMAXPROCS(0), Notes: []string{}, Hints: []string{},
	}
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		d.CPU, d.Features = parseCPU(string(info))
	}
	if info, err := os.ReadFile("/proc/meminfo"); err == nil {
		d.Memory, d.Available = parseMemory(string(info))
	}
	d.MemoryLimit = memoryLimit()
	if free, err := freeBytes("."); err == nil {
		d.Disk = free
	} else {
		d.Notes = append(d.Notes, fmt.Sprintf("free disk space: %v", err))
	}
	b, err := kernels.Open("cpu", 0)
	if err != nil {
		return fault.Device.Wrap(err)
	}
	defer b.Close()
	info := b.Info()
	d.Device, d.Products = info.Device, info.Products
	d.Notes = append(d.Notes, info.Notes...)
	d.GFLOPS = engine.ProductRate(b, 512, 20) / 1e9
	d.Hints = append(d.Hints, hints(d)...)
	return show(c, d, d.print)
}

func (d diagnosis) print(w io.Writer) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%-10s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("version", "%s, %s, %s", d.Version, d.Go, d.System)
	build := map[bool]string{true: "with cgo (C kernels)", false: "without cgo (Go kernels, slower; OpenBLAS cannot be opened)"}[d.Cgo]
	if d.CUDA {
		line("build", "%s, with CUDA", build)
		d.GPU.print(line)
	} else {
		line("build", "%s; this build has no CUDA support: it trains on the CPU, and --device cuda is an error", build)
		if d.Driver != "" {
			line("driver", "%s; it is not used", d.Driver)
		} else {
			line("driver", "no NVIDIA driver found")
		}
	}
	line("cpu", "%s, %d threads", d.CPU, d.Cores)
	line("features", "%s", strings.Join(d.Features, " "))
	memory := "not known"
	if d.Memory > 0 {
		memory = fmt.Sprintf("%s, %s available", size(d.Memory), size(d.Available))
	}
	if d.MemoryLimit > 0 {
		memory += fmt.Sprintf("; this container may use %s", size(d.MemoryLimit))
	}
	line("memory", "%s", memory)
	line("disk", "%s free here", size(d.Disk))
	line("kernels", "%s", d.Device)
	line("products", "%s: %.0f GFLOP/s on %d threads (a 512 x 512 x 512 float32 product, the best of a few)", d.Products, d.GFLOPS, d.Cores)
	for _, note := range d.Notes {
		line("note", "%s", note)
	}
	for _, hint := range d.Hints {
		line("hint", "%s", hint)
	}
	if len(d.Hints) == 0 {
		line("hint", "nothing is missing")
	}
}

// print tells of the driver, the devices and cuBLASLt, a line each.
func (g gpuDiagnosis) print(line func(name, format string, args ...any)) {
	if g.Library != "" {
		line("driver", "%s, for CUDA %s", g.Library, cmp.Or(g.Driver, "not known"))
	}
	if g.Reason != "" {
		line("gpu", "%s", g.Reason)
	}
	for _, d := range g.Devices {
		name := fmt.Sprintf("gpu %d", d.Ordinal)
		if d.Name != "" {
			line(name, "%s (%s, %d SMs, %s, L2 %s, %s of shared memory a block), PCI %s", d.Name, d.Capability, d.SMs, size(d.Memory), size(d.L2),
				size(d.Shared), cmp.Or(d.PCI, "not known"))
		}
		if d.Reason != "" {
			line(name, "cannot be used: %s", d.Reason)
		}
		for _, k := range d.Kernels {
			line(name, "kernels for %s: %s", k.Target, strings.Join(k.Families, " "))
		}
		if d.NVML != "" {
			line(name, "clocks and power are not known: %s", d.NVML)
		} else if d.Name != "" {
			line(name, "driver %s; now %d MHz, %.0f of %.0f W, %d degrees C; slowed by: %s", d.DriverRelease, d.ClockMHz, d.PowerW, d.PowerLimitW, d.Temperature,
				cmp.Or(strings.Join(d.Throttle, ", "), "nothing"))
		}
	}
	if g.CuBLASLt != "" {
		line("cublaslt", "%s, %s", g.CuBLASLtVersion, g.CuBLASLt)
	} else {
		line("cublaslt", "none: %s", g.CuBLASLtReason)
	}
}

// hints are what would make it better, a line to type each.
func hints(d diagnosis) (list []string) {
	if d.Driver != "" && !d.CUDA {
		list = append(list, "an NVIDIA driver is installed, and this build cannot use it: make build (with a C compiler: sudo apt-get install gcc libc6-dev)")
	}
	if !d.Cgo {
		list = append(list, "build with a C compiler for faster kernels: sudo apt-get install gcc libc6-dev && CGO_ENABLED=1 make build")
	} else if !strings.Contains(strings.ToLower(d.Products), "openblas") || strings.Contains(d.Products, "not found") {
		if value, set := os.LookupEnv("PALIMPSEST_OPENBLAS"); set {
			list = append(list, fmt.Sprintf("PALIMPSEST_OPENBLAS is %q, which keeps the usual OpenBLAS from being opened: unset PALIMPSEST_OPENBLAS", value))
		} else {
			list = append(list, "OpenBLAS makes matrix products faster: sudo apt-get install libopenblas0-pthread")
		}
	}
	const enough = 1 << 30
	if limit := d.MemoryLimit; limit > 0 && limit < enough || d.Available > 0 && d.Available < enough {
		list = append(list, "less than 1 GiB of memory is available: keep to the -cpu-tiny presets")
	}
	if d.Disk > 0 && d.Disk < enough {
		list = append(list, "less than 1 GiB of disk is free here: checkpoints may not fit (checkpoint.keep, or --out on another disk)")
	}
	return list
}

// vectorFeatures are the instruction sets that matter for speed, of those that /proc/cpuinfo names.
var vectorFeatures = []string{"sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512vl", "avx512_vnni",
	"avx512_bf16", "amx_bf16", "asimd", "asimdhp", "sve", "sve2", "bf16"}

// parseCPU reads the model and the instruction sets from /proc/cpuinfo.
func parseCPU(info string) (model string, features []string) {
	model, features = "not known", []string{}
	for line := range strings.Lines(info) {
		key, value, _ := strings.Cut(line, ":")
		switch strings.TrimSpace(key) {
		case "model name":
			model = strings.TrimSpace(value)
		case "flags", "Features":
			have := strings.Fields(value)
			features = features[:0]
			for _, f := range vectorFeatures {
				if slices.Contains(have, f) {
					features = append(features, f)
				}
			}
		}
	}
	return model, features
}

// parseMemory reads total and available bytes from /proc/meminfo.
func parseMemory(info string) (total, available uint64) {
	for line := range strings.Lines(info) {
		key, value, _ := strings.Cut(line, ":")
		kib, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 53)
		if err != nil {
			continue
		}
		switch key {
		case "MemTotal":
			total = kib << 10
		case "MemAvailable":
			available = kib << 10
		}
	}
	return total, available
}

// memoryLimit returns the control group's limit, 0 when there is none that is visible.
func memoryLimit() uint64 {
	for _, name := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		content, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		limit, err := strconv.ParseUint(strings.TrimSpace(string(content)), 10, 64)
		if err == nil && limit < 1<<60 { // version 1 writes "no limit" as a huge number
			return limit
		}
	}
	return 0
}

// nvidiaDriver describes an installed NVIDIA driver, or returns "".
func nvidiaDriver() string {
	if content, err := os.ReadFile("/proc/driver/nvidia/version"); err == nil {
		line, _, _ := strings.Cut(string(content), "\n")
		return strings.Join(strings.Fields(strings.TrimPrefix(line, "NVRM version:")), " ")
	}
	for _, pattern := range []string{"/usr/lib/*/libcuda.so.1", "/usr/lib64/libcuda.so.1", "/usr/lib/wsl/lib/libcuda.so.1"} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return found[0]
		}
	}
	return ""
}
