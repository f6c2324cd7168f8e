//go:build cuda && emulated

package bench

import (
	"cmp"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"palimpsest/engine/model"
	"palimpsest/engine/optim"
	"palimpsest/kernels"
	"palimpsest/kernels/philox"
	"palimpsest/objectives"
)

// BenchmarkLaunchesEmulated measures the host's work for whole updates over a driver that does nothing (cuda/testdata/idle.c):
// packing, queueing, comparing; launch by launch, and as graphs whose changed nodes are patched. A driver adds its own cost to
// each of its calls, here nothing, then 2 us to each alike (of launches that is the known figure; of changes nobody measured it). The
// driver is chosen once a process, so that children measure:
//
//	make emulator && CGO_CFLAGS=-I$PWD/cuda/abi go test -tags cuda,emulated -run '^$' -bench LaunchesEmulated ./bench
func BenchmarkLaunchesEmulated(b *testing.B) {
	const child = "PALIMPSEST_TEST_CHILD"
	if os.Getenv(child) == "" {
		library := filepath.Join(b.TempDir(), "libcuda.so.1")
		out, err := exec.Command(cmp.Or(os.Getenv("CC"), "cc"), "-shared", "-fPIC", "-O2", "-I../cuda/abi", "../cuda/testdata/idle.c", "-o", library).CombinedOutput()
		if err != nil {
			b.Fatalf("%v: %s", err, out)
		}
		for _, cost := range []string{"0", "2000"} {
			run := exec.Command(os.Args[0], "-test.run=^$", "-test.bench=^BenchmarkLaunchesEmulated$", "-test.benchtime=200x")
			run.Env = append(os.Environ(), child+"="+cost, "IDLE_NS="+cost, "PALIMPSEST_LIBCUDA="+library, "PALIMPSEST_CUBLASLT=", "PALIMPSEST_CUDA_SEPARATE=")
			run.Stdout, run.Stderr = os.Stdout, os.Stderr
			if err := run.Run(); err != nil {
				b.Fatal(err)
			}
		}
		return
	}
	for _, x := range []struct {
		name, objective, preset string
		tokens, length          int
		dropout                 float64
	}{
		{"gpt2-124m-32768", "clm", "gpt2", 32768, 1024, 0},
		{"gpt2-124m-4096-dropout", "clm", "gpt2", 4096, 1024, 0.1},
		{"bert-base-8192-dropout", "mlm", "bert-base", 8192, 128, 0.1},
	} {
		c, problems := (model.Config{Preset: x.preset}).Resolve(30522)
		if len(problems) > 0 {
			b.Fatal(problems)
		}
		o, err := objectives.New(x.objective, objectives.Settings{Seed: 1, Mask: objectives.DefaultMask(), Vocabulary: objectives.Vocabulary{Size: int(c.Vocab),
			BOS: 0, EOS: 1, Pad: 2, Mask: 3, Special: func(id int32) bool { return id < 4 }}})
		if err != nil {
			b.Fatal(err)
		}
		for _, way := range []string{"launches", "graphs"} {
			b.Run(x.name+"/"+os.Getenv(child)+"ns/"+way, func(b *testing.B) {
				device, err := kernels.Open("cuda", 1)
				if err != nil {
					b.Fatal(err)
				}
				defer device.Close()
				capacity := model.Capacity{Tokens: x.tokens, Rows: x.tokens}
				s := &stepper{b: device, dropout: float32(x.dropout), single: way == "launches", device: device.(kernels.Device), filler: objectives.NewFiller(x.tokens, x.length)}
				s.weights, s.a = model.NewWeights(device, c, true), model.NewActivations(device, c, capacity, true)
				s.opt = optim.New(device, optim.Default(), s.weights)
				plans := unevenPlans(o, int(c.Vocab), x.length, x.tokens, 16)
				at := 0
				step := func() {
					if err := s.queue(plans[at%len(plans)], 1e-4); err != nil {
						b.Fatal(err)
					}
					at++
				}
				for range 2 * len(plans) {
					step()
				}
				if err := device.Sync(); err != nil {
					b.Fatal(err)
				}
				before, cpu := s.device.Replays(), processorSeconds()
				for b.Loop() {
					step()
				}
				if err := device.Sync(); err != nil {
					b.Fatal(err)
				}
				r, n := s.device.Replays(), float64(b.N)
				b.ReportMetric((processorSeconds()-cpu)*1e6/n, "cpu-us/step")
				if way == "graphs" {
					b.ReportMetric(float64(r.Launches-before.Launches)/n, "operations/step")
					b.ReportMetric(float64(r.Patched-before.Patched)/n, "patched/step")
					b.ReportMetric(float64(r.Replayed-before.Replayed)/n, "graph-launches/step")
					if r.Off != "" {
						b.Error(r.Off)
					}
				}
			})
		}
	}
}

// unevenPlans are updates of one plan each, packed with documents of half to the whole of a length until one does not fit.
func unevenPlans(o objectives.Objective, vocab, length, tokens, n int) (all [][]*objectives.Plan) {
	d := philox.New(1, philox.StreamTest, 77, 0)
	for id := int64(0); len(all) < n; {
		p := new(objectives.Plan)
		o.Begin(p)
		for used := 0; ; id++ {
			doc := objectives.Document{ID: id, Tokens: make([]int32, length/2+d.IntN(length/2)-2)}
			if used += o.Cost(len(doc.Tokens)); used > tokens {
				break
			}
			for i := range doc.Tokens {
				doc.Tokens[i] = int32(4 + d.IntN(vocab-4))
			}
			o.Plan(doc, p)
		}
		objectives.SetDenominators([]*objectives.Plan{p})
		all = append(all, []*objectives.Plan{p})
	}
	return all
}

// processorSeconds is what the process has used of all cores.
func processorSeconds() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
	return seconds(u.Utime) + seconds(u.Stime)
}
