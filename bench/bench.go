// Package bench measures palimpsest: whole training steps and the data path. Every result carries what it was measured on;
// speeds of these shared machines mean something as ratios within one run only.
package bench

import (
	"bytes"
	"os"
	"runtime"
	"slices"
	"strconv"
	"time"

	"palimpsest/kernels"
)

// Conditions are what a figure was measured under.
type Conditions struct {
	Time     string `json:"time"`
	Version  string `json:"version"` // of the program: commit
	Go       string `json:"go"`
	Device   string `json:"device"`
	Products string `json:"products"` // who computes matrix products
	Threads  int    `json:"threads"`
}

func conditions(b kernels.Backend, version string) Conditions {
	i := b.Info()
	return Conditions{time.Now().UTC().Format(time.RFC3339), version, runtime.Version(), i.Device, i.Products, i.Threads}
}

// Spread is the distribution of repeated measurements.
type Spread struct {
	Median float64 `json:"median"`
	P10    float64 `json:"p10"`
	P90    float64 `json:"p90"`
	Runs   int     `json:"runs"`
}

func spread(values []float64) Spread {
	v := slices.Sorted(slices.Values(values))
	at := func(q float64) float64 { return v[int(q*float64(len(v)-1)+0.5)] }
	return Spread{at(0.5), at(0.1), at(0.9), len(v)}
}

// peakMemory is the largest resident size that the process had, in bytes; 0 where the system does not tell.
func peakMemory() int64 {
	data, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(data) {
		if fields := bytes.Fields(line); len(fields) == 3 && string(fields[0]) == "VmHWM:" {
			if kib, err := strconv.ParseInt(string(fields[1]), 10, 64); err == nil {
				return kib << 10
			}
		}
	}
	return 0
}
