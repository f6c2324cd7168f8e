package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/bench"
	"palimpsest/engine/fault"
)

func TestBenchKernels(t *testing.T) {
	stem := filepath.Join(t.TempDir(), "new", "run")
	beside := filepath.Join(t.TempDir(), "torch.jsonl")
	lines := `{"op":"rope","shape":"40 rows, 4 heads of 64, 1-D","what":"another program","seconds":1}` + "\n" + `{"op":"rope","shape":"x","reason":"none"}` + "\n"
	if err := os.WriteFile(beside, []byte(lines), 0o644); err != nil {
		t.Fatal(err)
	}
	out := must(t, "bench", "kernels", "--device", "ref32", "--ops", "rope,dropout", "--quick", "--budget", "1us", "--beside", beside, "--out", stem, "--json")
	var r bench.KernelReport
	if err := json.Unmarshal([]byte(out), &r); err != nil || len(r.Results) != 3 || r.Verdicts()[bench.Passed] != 3 || r.Results[0].OfBeside <= 0 || r.Results[1].Beside != nil {
		t.Errorf("%v: %s", err, out)
	}
	for _, suffix := range []string{".json", ".csv", ".md"} {
		if data, err := os.ReadFile(stem + suffix); err != nil || !strings.Contains(string(data), "dropout") {
			t.Errorf("%s: %v: %s", suffix, err, data)
		}
	}
	if out := must(t, "bench", "kernels", "--device", "cpu", "--scale", "tiny", "--ops", "rope", "--list"); strings.Count(out, "rope") != 2 {
		t.Error(out)
	}
	if out := must(t, "bench", "kernels", "--device", "ref32", "--ops", "rope", "--quick", "--budget", "1us", "--csv"); !strings.HasPrefix(out, "op,shape,") {
		t.Error(out)
	}
}

func TestBenchKernelsRefusals(t *testing.T) {
	for _, x := range []struct{ args, says string }{
		{"bench kernels --ops conv", "cross_entropy"},
		{"bench kernels --scale huge", "tiny"},
		{"bench kernels --csv --json", "one of them"},
		{"bench kernels --threads -1", "--threads"},
		{"bench kernels extra", "extra"},
		{"bench losses one", "two or three"},
	} {
		refuses(t, int(fault.Usage), []string{x.says}, strings.Fields(x.args)...)
	}
	refuses(t, int(fault.Data), []string{"none.jsonl"}, "bench", "kernels", "--beside", "none.jsonl")
}
