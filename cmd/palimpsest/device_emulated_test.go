//go:build cuda && emulated

package main

import (
	"encoding/json"
	"errors"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// arguments is the variable with the command line of a child process of these tests, as JSON: what the driver reads of the
// environment, it reads once a process.
const childArguments = "PALIMPSEST_TEST_ARGUMENTS"

func TestChildEmulated(*testing.T) {
	var arguments []string
	if json.Unmarshal([]byte(os.Getenv(childArguments)), &arguments) == nil {
		os.Exit(run(arguments, strings.NewReader(""), os.Stdout, os.Stderr))
	}
}

// child runs the program in a process of its own.
func child(t *testing.T, environment []string, arguments ...string) (code int, output string) {
	t.Helper()
	text, err := json.Marshal(arguments)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(os.Args[0], "-test.run=^TestChildEmulated$")
	c.Env = append(append(os.Environ(), environment...), childArguments+"="+string(text))
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return c.ProcessState.ExitCode(), string(out)
}

// deviceData builds a data set.
func deviceData(t *testing.T) (shards string) {
	t.Helper()
	texts, tokenizer := corpus(t)
	shards = filepath.Join(t.TempDir(), "shards")
	must(t, "data", "build", "--tokenizer", tokenizer, "--unit", "paragraph", "--out", shards, texts)
	return shards
}

// Every verb that opens a model runs on the device.
func TestVerbsEmulated(t *testing.T) {
	shards := deviceData(t)
	out := filepath.Join(t.TempDir(), "run")
	train := append(append([]string{"train", "--preset", "clm-cpu-tiny", "--data", shards, "--device", "auto"}, smallest...), "--steps", "4", "--out")
	code, _, stderr := call("", append(train, out)...)
	if code != 0 || !strings.Contains(stderr, "note: device auto: the GPU") {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	preview := must(t, append(train, out, "--dry-run")...)
	if !strings.Contains(preview, "of its memory that are free") {
		t.Errorf("no memory of the device in the dry run:\n%s", preview)
	}
	a := must(t, "generate", "--model", out, "The quick", "fox", "--max-tokens", "6", "--samples", "3", "--seed", "7", "--device", "cuda")
	if b := must(t, "generate", "--model", out, "The quick", "fox", "--max-tokens", "6", "--samples", "3", "--seed", "7", "--device", "cuda"); a != b || !strings.HasPrefix(a, "The quick") {
		t.Errorf("not the same twice: %s%s", a, b)
	}
	must(t, "eval", "loss", "--model", out, "--device", "cuda")
	masked := filepath.Join(t.TempDir(), "masked")
	must(t, append(append([]string{"train", "--preset", "mlm-cpu-tiny", "--data", shards, "--device", "cuda", "--out", masked}, smallest...), "--steps", "2")...)
	if text := must(t, "fill-mask", "The [MASK] fox", "--model", masked, "--top", "3", "--device", "cuda"); !strings.Contains(text, "%") {
		t.Error(text)
	}
}

// Two models are compared on the device as on the CPU: the KL and likelihoods of given text differ by rounding, and both write.
func TestEvalAvoidEmulated(t *testing.T) {
	shards := deviceData(t)
	dir := t.TempDir()
	var models []string
	for _, steps := range []string{"4", "8"} {
		models = append(models, filepath.Join(dir, steps))
		must(t, append(append([]string{"train", "--preset", "clm-cpu-tiny", "--data", shards, "--device", "cpu", "--out", models[len(models)-1]}, smallest...), "--steps", steps)...)
	}
	measured := map[string]avoidResult{}
	for _, device := range []string{"cpu", "cuda"} {
		var r avoidResult
		raw := must(t, "eval", "avoid", "--reference", models[0], "--model", models[1], "--clean", shards, "--tokens", "300", "--prompt", "The quick", "--max-tokens", "6", "--temperature", "1",
			"--regexp", "o", "--device", device, "--json")
		if err := json.Unmarshal([]byte(raw), &r); err != nil {
			t.Fatal(err)
		}
		measured[device] = r
	}
	cpu, cuda := measured["cpu"].Models[0].Plain, measured["cuda"].Models[0].Plain
	near := func(a, b, relative float64) bool { return math.Abs(a-b) <= relative*math.Abs(b) }
	if cpu.Kept != cuda.Kept || !(cpu.KL > 1e-3) || !near(cuda.KL, cpu.KL, 0.05) || !near(cuda.OldNLL, cpu.OldNLL, 2e-3) || !near(cuda.NewNLL, cpu.NewNLL, 2e-3) {
		t.Errorf("CPU %+v, device %+v", cpu, cuda)
	}
	if w := measured["cuda"].Before; w.Texts != 1 || w.Tokens == 0 || !near(w.NLL, measured["cpu"].Before.NLL, 0.5) {
		t.Errorf("written on the device: %+v, on the CPU %+v", w, measured["cpu"].Before)
	}
}

// Poor devices and drivers: the exit code that a scheduler acts on, a reason and a way out, and no half-written run.
func TestDeviceFaultsEmulated(t *testing.T) {
	shards := deviceData(t)
	train := func(out string, more ...string) []string {
		return append(append([]string{"train", "--preset", "clm-cpu-tiny", "--data", shards, "--device", "cuda", "--out", out, "--set", "checkpoint.every=4"}, smallest...), more...)
	}
	for _, x := range []struct {
		name        string
		code        int
		environment []string
		want        []string
		options     []string
	}{
		{"no driver", 5, []string{"PALIMPSEST_LIBCUDA="}, []string{"no such device", "hint: use --device cpu"}, nil},
		{"an old GPU", 5, []string{"PALIMPSEST_EMU_CC=75"}, []string{"compute capability 7.5, want at least 8.0"}, nil},
		{"a driver older than the PTX", 5, []string{"PALIMPSEST_EMU_FAIL=cuModuleLoadDataEx:1:222"}, []string{"222", "hint"}, nil},
		{"too large a step", 5, []string{"PALIMPSEST_EMU_MEM=64"}, []string{"the run needs", "are free", "lower data.tokens_per_step (now 65536)"}, []string{"--set", "data.tokens_per_step=65536"}},
		{"memory taken meanwhile", 5, []string{"PALIMPSEST_EMU_FAIL=cuMemAlloc_v2:40:2"}, []string{"device memory:", "free of", "hint: fewer tokens in a step"}, nil},
		{"a device lost at the start", 8, []string{"PALIMPSEST_EMU_FAIL=cuLaunchKernel:3:719"}, []string{"719"}, nil},
	} {
		out := filepath.Join(t.TempDir(), "run")
		code, text := child(t, x.environment, train(out, x.options...)...)
		if code != x.code {
			t.Errorf("%s: exit code %d, want %d: %s", x.name, code, x.code, text)
		}
		for _, want := range x.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: the message lacks %q: %s", x.name, want, text)
			}
		}
		if left, _ := filepath.Glob(filepath.Join(out, "checkpoints", "*")); len(left) > 0 {
			t.Errorf("%s: %v were written", x.name, left)
		}
	}
}

// A device that is lost in training: exit code 8, the last checkpoint whole, and the same command goes on from it to the bits
// of a run that was left alone.
func TestLostDeviceEmulated(t *testing.T) {
	shards := deviceData(t)
	weights := func(out string) string {
		content, err := os.ReadFile(filepath.Join(out, "checkpoints", "step-0000010", "model.safetensors"))
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	train := func(out string) []string {
		return append(append([]string{"train", "--preset", "clm-cpu-tiny", "--data", shards, "--device", "cuda", "--out", out, "--set", "checkpoint.every=1"}, smallest...), "--steps", "10")
	}
	straight := filepath.Join(t.TempDir(), "straight")
	must(t, train(straight)...)
	for _, x := range []struct{ graph, fail string }{{"off", "cuLaunchKernel:350:700"}, {"auto", "cuGraphLaunch:15:700"}} {
		lost := filepath.Join(t.TempDir(), "lost")
		code, text := child(t, []string{"PALIMPSEST_EMU_FAIL=" + x.fail}, append(train(lost), "--set", "train.graph="+x.graph)...)
		if code != 8 || !strings.Contains(text, "700") {
			t.Errorf("%s: exit code %d: %s", x.fail, code, text)
		}
		if saved, _ := filepath.Glob(filepath.Join(lost, "checkpoints", "step-*")); len(saved) == 0 || exists(filepath.Join(lost, "checkpoints", "step-0000010")) {
			t.Errorf("%s: the device was not lost between the first checkpoint and the last: %v", x.fail, saved)
		}
		code, text = child(t, nil, train(lost)...)
		if code != 0 || !strings.Contains(text, "resuming from") {
			t.Errorf("%s: resumed: exit code %d: %s", x.fail, code, text)
		}
		if weights(straight) != weights(lost) {
			t.Errorf("%s: the resumed run has other weights", x.fail)
		}
	}
}
