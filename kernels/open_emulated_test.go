//go:build cuda && emulated

package kernels

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// openHelper is the device that a child process of TestOpenEmulated opens; the driver is chosen once a process.
const openHelper = "PALIMPSEST_TEST_OPEN"

func TestOpenEmulatedChild(t *testing.T) {
	device, asked := os.LookupEnv(openHelper)
	if !asked {
		return
	}
	b, err := Open(device, 1)
	if err != nil {
		if !errors.Is(err, ErrNoDevice) {
			t.Errorf("not ErrNoDevice: %v", err)
		}
		t.Logf("error: %v", err)
		return
	}
	defer b.Close()
	t.Logf("%+v", b.Info())
}

func TestOpenEmulated(t *testing.T) {
	for _, c := range []struct {
		name, device string
		environment  []string
		want         []string
	}{
		{"a device", "cuda", nil, []string{"Name:cuda", "sm_80", "Compute:bfloat16", "Master:float32", "kernels for sm_80"}},
		{"auto with a device", "auto", nil, []string{"Name:cuda", "device auto: the GPU"}},
		{"no cuBLASLt", "cuda", []string{"PALIMPSEST_CUBLASLT="}, []string{"Products:built-in", "cuBLASLt"}},
		{"no driver", "cuda", []string{"PALIMPSEST_LIBCUDA="}, []string{"error: --device cuda: no such device", "hint: use --device cpu"}},
		{"auto without a driver", "auto", []string{"PALIMPSEST_LIBCUDA="}, []string{"Name:cpu", "device auto: the CPU, as"}},
		{"too old", "cuda", []string{"PALIMPSEST_EMU_CC=75"}, []string{"error:", "compute capability 7.5, want at least 8.0"}},
		{"a module that does not load", "cuda", []string{"PALIMPSEST_EMU_FAIL=cuModuleLoadDataEx:2:218"}, []string{"error:", "PTX"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			child := exec.Command(os.Args[0], "-test.run=^TestOpenEmulatedChild$", "-test.v")
			child.Env = append(os.Environ(), append(c.environment, openHelper+"="+c.device)...)
			out, err := child.CombinedOutput()
			if err != nil {
				t.Errorf("%v", err)
			}
			for _, want := range c.want {
				if !strings.Contains(string(out), want) {
					t.Errorf("does not say %q:\n%s", want, out)
				}
			}
		})
	}
}

// A launch costs no allocation: what a step queues is known before.
func TestLaunchEmulatedAllocatesNothing(t *testing.T) {
	onGPU(t, func() {
		b := complianceBackends[0]()
		x, y, s := b.Alloc(BF16, 64), b.Alloc(BF16, 64), b.Alloc(F32, 64)
		guard := b.Alloc(F64, 2)
		ids := b.Alloc(I32, 8)
		op := func() {
			b.AddNorm(AddNorm{Y: y, X: x, Rstd: s, N: 4, C: 16, Kind: RMSNorm})
			b.NormBackward(NormBackward{DSum: y, DY: x, Sum: x, DGain: s, Rstd: s, N: 4, C: 16, Kind: RMSNorm})
			b.GatherRows(y, x, ids, 4, 16)
			b.ScatterAddRows(y, x, ids, 4, 16)
			b.Dropout(y, x, 4, 16, Drop{P: 0.5})
			b.SumSquares(guard, 1, s, 64, false)
			b.AdamW(AdamW{P: s, G: s, M: s, V: s, Copy: x, Guard: guard, Eps: 1, Correction1: 1, Correction2: 1})
		}
		op() // the workspace grows
		if err := b.Sync(); err != nil {
			t.Fatal(err)
		}
		if n := testing.AllocsPerRun(20, op); n != 0 {
			t.Errorf("seven ops allocate %g times", n)
		}
	})
}
