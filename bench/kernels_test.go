package bench

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/kernels"
)

// Rules of FLOPs and bytes on cases that are small enough to count by hand, with 2 bytes for activations and 4 for masters.
func TestKernelRules(t *testing.T) {
	s := sizes{2, 4}
	full := attentionCase{Segments: 3, Length: 4, Heads: 2, KV: 1, Width: 8}
	causal, window, both := full, full, full
	causal.Causal, window.Window, both.Causal, both.Window = true, 1, true, 1
	back := full
	back.Backward = true
	for _, x := range []struct {
		k            kernel
		flops, bytes float64
	}{
		// 16 pairs, 4*8 FLOPs each, 2 heads, 3 segments; 12 rows of (2+2*1)*8 in, of 16 out, 24 numbers of lse.
		{full, 16 * 32 * 6, 12*32*2 + 12*16*2 + 24*4},
		{causal, 8 * 32 * 6, 12*32*2 + 12*16*2 + 24*4},
		{window, (2 + 3 + 3 + 2) * 32 * 6, 12*32*2 + 12*16*2 + 24*4}, // the ends see one neighbour, the others two
		{both, (1 + 2 + 2 + 2) * 32 * 6, 12*32*2 + 12*16*2 + 24*4},
		{back, 2.5 * 16 * 32 * 6, 2*12*32*2 + 2*12*16*2 + 24*4},
		{relativeCase{Segments: 1, Length: 3, Heads: 2, Width: 4, Buckets: 2}, 2 * (4*4*9 + 2*2*4*3*3), 3*24*2 + 3*8*2 + 3*16*2},
		{softmaxCase{Rows: 3, Columns: 5}, 0, 2*15*2 + 15 + 3*4},
		{softmaxCase{Rows: 3, Columns: 5, Backward: true}, 0, 3 * 15 * 2},
		{lossCase{Rows: 2, Vocab: 7}, 0, 2*14*2 + 2*(4+4*4)},
		{referenceCase{2, 7, "TNFF"}, 0, 3*14*2 + 2*(4+4*4)}, // reads both models
		{referenceCase{2, 7, "UL"}, 0, 2*14*2 + 2*(4+4*4)},
		{emissionsCase{latticeSizes: latticeSizes{2, 3, 2}, Vocab: 7}, 0, 42*2 + (12+6)*4 + 16},
		{emissionsCase{latticeSizes: latticeSizes{2, 3, 2}, Vocab: 7, CTC: true, Backward: true}, 0, 2*42*2 + (18+6)*4 + 16},
		{alignmentCase{latticeSizes: latticeSizes{2, 4, 3}}, 2 * 9 * 3 * 16 / 2, 2 * (2*(12+16) + 4) * 4},
		{alignmentCase{latticeSizes: latticeSizes{2, 4, 3}, CTC: true}, 2 * 9 * 3 * 7 * 4, 2 * ((2*16+4)*4 + 12)},
		// 6 links of 4 states, 4 of them between groups of 2; 8 rows of 2*8+1 numbers a head.
		{linksCase{latticeSizes: latticeSizes{2, 4, 3}, Heads: 3, Width: 8}, 2 * 8 * 3 * 6 * 2, 8*17*3*2 + 8*3*4 + 2*16*4},
		{linksCase{latticeSizes: latticeSizes{2, 4, 3}, Heads: 3, Width: 8, Group: 2, Backward: true}, 3 * 2 * 8 * 3 * 4 * 2, 2*8*17*3*2 + 8*4 + 8*3*4 + 2*2*16*4},
		{normCase{Rows: 3, Columns: 4}, 0, 4*12*2 + 2*4*2 + 2*3*4},
		{normCase{Rows: 3, Columns: 4, RMS: true, Backward: true}, 0, 3*12*2 + 4*2 + 2*4*4 + 3*4},
		{activationCase{Rows: 2, Columns: 3, Gated: true, Backward: true}, 0, 5 * 6 * 2},
		{depthCase{Rows: 2, Columns: 3, Outputs: 4}, 0, 5*6*2 + 4*4},
		{depthCase{Rows: 2, Columns: 3, Outputs: 4, Backward: true}, 0, 13*6*2 + 12*4},
		{embeddingCase{Rows: 5, Columns: 2, Vocab: 3, Length: 4}, 0, 5*2*2 + (3+4)*2*2 + 12*5},
		{embeddingCase{Rows: 5, Columns: 2, Vocab: 30, Length: 4, Backward: true}, 0, 5*2*2 + 2*(5+4)*2*4 + 12*5},
		{rowsCase{Rows: 2, Of: 9, Columns: 4}, 0, 2*8*2 + 8},
		{rowsCase{Rows: 2, Of: 9, Columns: 4, Scatter: true}, 0, 3*8*2 + 8},
		{updateCase{"adamw", 10}, 0, 10 * (7*4 + 2)},
		{updateCase{"sum_squares", 10}, 0, 40},
		{updateCase{"add", 10}, 0, 3 * 20},
		{linearCase{Form: "forward", Rows: 2, In: 3, Out: 5, Bias: true, Act: kernels.GELUErf}, 60, (6 + 2*10 + 15 + 5) * 2},
		{linearCase{Form: "input", Rows: 2, In: 3, Out: 5, Act: kernels.GELUErf}, 60, (2*6 + 10 + 15) * 2},
		{linearCase{Form: "weight", Rows: 2, In: 3, Out: 5, Bias: true}, 60, (6+10)*2 + 2*20*4},
	} {
		if f, b := x.k.flops(), x.k.bytes(s); f != x.flops || b != x.bytes {
			t.Errorf("%s of %s: %g FLOPs and %g bytes, want %g and %g", x.k.op(), x.k.shape(), f, b, x.flops, x.bytes)
		}
	}
	if b := (updateCase{"adamw", 10}).bytes(sizes{4, 4}); b != 10*7*4 {
		t.Errorf("AdamW without a copy: %g bytes", b)
	}
}

// Every case counts no more bytes than its buffers can be read and written once each, and takes what it said it would.
func TestKernelCasesFitTheirRules(t *testing.T) {
	for _, name := range Scales() {
		for _, b := range []kernels.Backend{kernels.NewRef32(), kernels.NewRefBF16()} {
			seen := map[string]bool{}
			for _, k := range scales[name].cases(false) {
				if bytes, held := k.bytes(sizesOf(b.Info())), bytesOf(need(k, b.Info())); bytes <= 0 || bytes > 2*float64(held) {
					t.Errorf("%s of %s moves %g bytes, holds %d", k.op(), k.shape(), bytes, held)
				}
				if id := k.op() + k.shape(); seen[id] {
					t.Errorf("%s of %s twice", k.op(), k.shape())
				} else {
					seen[id] = true
				}
			}
		}
	}
}

func tinyRun(t *testing.T, b kernels.Backend, ops ...string) KernelReport {
	t.Helper()
	r, err := Kernels(KernelOptions{Scale: "tiny", Ops: ops, Quick: true, Budget: 1, Version: "test", backend: b})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestKernelsPassOnTheirOracles(t *testing.T) {
	for _, b := range []kernels.Backend{kernels.NewRef32(), kernels.NewRef64(), kernels.NewRefBF16()} {
		r := tinyRun(t, b)
		if n := r.Verdicts(); n[Passed] != len(r.Results) || len(r.Results) < 40 {
			t.Errorf("%s: %s", b.Info().Name, r.Summary())
		}
		for _, k := range r.Results {
			if k.Correct != Passed {
				t.Errorf("%s of %s: %s: %s", k.Op, k.Shape, k.Correct, k.Reason)
			} else if !(k.Seconds.Median > 0 && k.ByteRate > 0 && k.OfPeak > 0 && k.How == "clock" && k.Calls%k.Sets == 0) {
				t.Errorf("%+v", k)
			}
		}
		if p := r.Peaks; !(r.After.Copy > 0 && r.After.Product > 0 && p.Copy > 0 && p.Add > 0 && p.Product > 0 && p.Memory == max(p.Copy, p.Add)) || p.Datasheet != nil {
			t.Errorf("%+v", p)
		}
	}
}

// A broken backend does some ops wrong, in ways that a benchmark alone would not see.
type broken struct{ kernels.Backend }

func (b broken) MaskedSoftmax(p, lse, scores, mask kernels.Buf, R, C int) { // skips the last row
	b.Backend.MaskedSoftmax(p, lse, scores, mask, R-1, C)
}

func (b broken) Gated(y, gate, up kernels.Buf, n, F, ld int, act kernels.Activation) { // the other GELU
	b.Backend.Gated(y, gate, up, n, F, ld, kernels.GELUTanh)
}

func (b broken) LinearBackwardWeight(dw, db, dy, x kernels.Buf, n, in, out int) { // writes, does not add
	b.Zero(dw)
	b.Backend.LinearBackwardWeight(dw, db, dy, x, n, in, out)
}

func (b broken) Attention(a kernels.Attention) { // a little too sharp
	a.Scale = 1.01 / float32(math.Sqrt(float64(a.D)))
	b.Backend.Attention(a)
}

func (b broken) AdamW(a kernels.AdamW) { // forgets the copy, or the clipping
	a.Copy, a.Clip = kernels.Buf{}, 0
	b.Backend.AdamW(a)
}

func (b broken) ReferenceKL(a kernels.ReferenceKL) { // wants every target
	a.Weights = kernels.Buf{}
	b.Backend.ReferenceKL(a)
}

func (b broken) Alignment(a kernels.Alignment) { // forgets the weights
	a.Weights = kernels.Buf{}
	b.Backend.Alignment(a)
}

func (b broken) Links(a kernels.Links) { // from the first state to itself
	b.Backend.Links(a)
	b.Copy(a.LogE.Slice(0, 1), a.LogE.Slice(1, 2))
}

func TestKernelsSeeWrongOps(t *testing.T) {
	for _, right := range []kernels.Backend{kernels.NewRef32(), kernels.NewRefBF16()} {
		for _, op := range []string{"masked_softmax_forward", "gated_forward", "linear_weight", "attention_forward", "adamw", "reference_kl", "alignment", "links_forward"} {
			r := tinyRun(t, broken{right}, op)
			for _, k := range r.Results {
				if k.Correct != Incorrect || k.Reason == "" || k.Seconds.Runs != 0 || k.ByteRate != 0 || k.OfPeak != 0 {
					t.Errorf("%s: %s of %s: %+v", right.Info().Name, k.Op, k.Shape, k)
				}
			}
			var page bytes.Buffer
			if err := r.Text(&page); err != nil || !strings.Contains(page.String(), "incorrect: ") || !strings.Contains(page.String(), "0 passed") {
				t.Errorf("%v\n%s", err, page.String())
			}
		}
	}
}

// A lazy backend is right at small shapes and leaves the end of large ones unwritten.
type lazy struct{ kernels.Backend }

func (b lazy) GatherRows(out, x, rows kernels.Buf, R, C int) {
	if R*C > 2000 {
		R--
	}
	b.Backend.GatherRows(out, x, rows, R, C)
}

func TestKernelsSeeWhatWasNeverWritten(t *testing.T) {
	s := scales["tiny"]
	s.rows, s.width = 400, 256
	scales["lazy"] = s
	defer delete(scales, "lazy")
	r, err := Kernels(KernelOptions{Scale: "lazy", Ops: []string{"rows_gather"}, Budget: 1, backend: lazy{kernels.NewRef32()}})
	if err != nil || len(r.Results) != 1 || r.Results[0].Correct != Incorrect || !strings.Contains(r.Results[0].Reason, "NaN") {
		t.Errorf("%v: %+v", err, r.Results)
	}
}

func TestKernelReportFormats(t *testing.T) {
	r := KernelReport{Conditions: Conditions{Device: "a device", Version: "v", Time: "now"}, Peaks: Peaks{Product: 1e12, Memory: 1e9}, Rules: rules, Results: []KernelResult{
		{Op: "linear_forward", Shape: "2 rows, 3 to 4", Products: "built in", Correct: Passed, Seconds: Spread{1.5e-3, 1e-3, 2e-3, 9}, FLOPs: 1.5e9, FLOPRate: 1e12, Bytes: 10,
			ByteRate: 6667, OfPeak: 0.5, OfLibrary: 0.625, Beside: &Beside{What: "PyTorch"}, OfBeside: 1.25, Cached: true, How: "graph"},
		{Op: "rope", Shape: "x", Correct: Incorrect, Reason: "x[1] = 2, want 3", Bytes: 8},
		{Op: "norm", Shape: "y", Correct: NotRun, Reason: "it needs 20 GiB", Bytes: 8},
	}}
	var text, page, table bytes.Buffer
	for _, err := range []error{r.Text(&text), r.Markdown(&page), r.CSV(&table)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	row := "| linear_forward | 2 rows, 3 to 4 | built in | 1.50 ms* | 1.00 ms to 2.00 ms | 1.00 TFLOP/s | 50.0 % | 62.5 % | 125.0 % of PyTorch | passed |"
	for _, want := range []string{row, "| rope | x |  | - | - | - | - | - | - | incorrect: x[1] = 2, want 3 |", "3 results: 1 passed, 1 incorrect, 1 not run"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("the page lacks %q:\n%s", want, page.String())
		}
	}
	if !strings.Contains(text.String(), "not run: it needs 20 GiB") || !strings.Contains(text.String(), rules[0]) {
		t.Errorf("%s", text.String())
	}
	lines, err := csv.NewReader(&table).ReadAll()
	if err != nil || len(lines) != 4 || lines[1][5] != "0.0015" || lines[2][3] != Incorrect || lines[1][slices.Index(lines[0], "of_library")] != "0.625" {
		t.Errorf("%v %q", err, lines)
	}
	var back KernelReport
	data, err := json.Marshal(r)
	if err != nil || json.Unmarshal(data, &back) != nil || back.Results[0].OfBeside != 1.25 || back.Results[1].Reason != r.Results[1].Reason {
		t.Errorf("%v %s", err, data)
	}
}

func TestDurations(t *testing.T) {
	for s, want := range map[float64]string{1.234e-7: "0.123 us", 12.34e-6: "12.3 us", 123.4e-6: "123 us", 0.9999e-3: "1000 us", 12.34e-3: "12.3 ms", 2: "2.00 s", 1234: "1234 s"} {
		if got := duration(s); got != want {
			t.Errorf("%g s is %q, want %q", s, got, want)
		}
	}
	if got := perSecond(989e12, "FLOP/s"); got != "989 TFLOP/s" {
		t.Error(got)
	}
}

func TestDatasheets(t *testing.T) {
	for name, want := range map[string]float64{"NVIDIA H200 (sm_90, 140 GiB, driver for CUDA 13.0)": 989e12, "NVIDIA H100 80GB HBM3": 989e12, "NVIDIA H100 PCIe": 756e12,
		"NVIDIA H100 NVL": 835e12, "NVIDIA A100-SXM4-80GB": 312e12} {
		if s := datasheet(name); s == nil || s.Product != want {
			t.Errorf("%s: %+v", name, s)
		}
	}
	if s := datasheet("AMD EPYC"); s != nil {
		t.Errorf("%+v", s)
	}
}

func TestKernelsAreChosenByName(t *testing.T) {
	all := scales["tiny"].cases(false)
	for name, want := range map[string][]string{"attention": {"attention_forward", "attention_backward"}, "gemm": {"linear_forward", "linear_input", "linear_weight"},
		"cross": {"cross_entropy"}} {
		list, err := chosen(all, []string{name})
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range list {
			if !slices.Contains(want, k.op()) {
				t.Errorf("--ops %s takes %s", name, k.op())
			}
		}
		if len(list) < len(want) {
			t.Errorf("--ops %s takes %d", name, len(list))
		}
	}
	for _, o := range []KernelOptions{{Ops: []string{"norm", "conv"}}, {Scale: "huge"}} {
		o.Device = "cpu"
		if _, err := KernelCases(o); fault.Of(err) != fault.Usage {
			t.Errorf("%+v: %v", o, err)
		}
	}
	cases, err := KernelCases(KernelOptions{Device: "cuda", Quick: true, Ops: []string{"attention_forward"}})
	if err != nil || len(cases) == 0 {
		t.Fatal(err)
	}
	data, err := json.Marshal(cases[0])
	if want := `{"op":"attention_forward","shape":"32 x 512 tokens, H 32, D 64, full","sizes":{"segments":32,"length":512,"heads":32,"kv_heads":32,"width":64,"causal":false,"window":0,"dropout":0,"backward":false}}`; err != nil || string(data) != want {
		t.Errorf("%s, want %s", data, want)
	}
}

func TestLossesAreCompared(t *testing.T) {
	dir := t.TempDir()
	run := func(name string, losses ...float64) string {
		var log bytes.Buffer
		log.WriteString(`{"type":"run"}` + "\n")
		for i, l := range losses {
			line, err := json.Marshal(map[string]any{"type": "step", "step": i + 1, "loss": l})
			if err != nil {
				t.Fatal(err)
			}
			log.Write(append(line, '\n'))
		}
		folder := filepath.Join(dir, name)
		if err := os.MkdirAll(folder, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(folder, "log.jsonl"), log.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return folder
	}
	reference, yardstick := run("reference", 5, 4, 3, 2), run("yardstick", 5.001, 4.001)
	for _, x := range []struct {
		losses  []float64
		correct string
	}{
		{[]float64{5.002, 4, 3.02, 2.04}, Passed}, // early at most twice the yardstick's, ends near
		{[]float64{5.003, 4, 3, 2}, Incorrect},    // early too far
		{[]float64{5, 4, 3, 2.06}, Incorrect},     // ends too far
		{[]float64{5, 4.0005, 3.5, 1.99}, Passed}, // parts in the middle only
	} {
		c, err := CompareLosses(run("mine", x.losses...), reference, yardstick)
		if err != nil || c.Correct != x.correct || c.Steps != 4 || c.Early != 2 || (c.Reason == "") != (x.correct == Passed) {
			t.Errorf("%v: %v, %+v", x.losses, err, c)
		}
	}
	if _, err := CompareLosses(run("empty"), reference, ""); fault.Of(err) != fault.Data {
		t.Errorf("a log without steps: %v", err)
	}
	if _, err := CompareLosses(filepath.Join(dir, "none"), reference, ""); fault.Of(err) != fault.Data {
		t.Errorf("no log: %v", err)
	}
}
