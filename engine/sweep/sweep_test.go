package sweep

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"palimpsest/engine"
	"palimpsest/engine/report"
	"palimpsest/engine/runfile"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
	"palimpsest/engine/vfs"
)

// dataset builds a small data set of sentences that a tiny model can learn something from.
func dataset(t testing.TB, documents int) string {
	t.Helper()
	tokenizer, err := tokenizer()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "data")
	w, err := shard.Create(dir, shard.WriterOptions{TokenizerHash: tokenizer.Hash(), Vocab: tokenizer.Vocab(), BOS: tokenizer.BOS, EOS: tokenizer.EOS})
	if err != nil {
		t.Fatal(err)
	}
	for i := range documents {
		if err := w.Append(append(tokenizer.Encode([]int32{tokenizer.BOS}, sentence(i)), tokenizer.EOS)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if err := tokenizer.Save(filepath.Join(dir, engine.TokenizerFile)); err != nil {
		t.Fatal(err)
	}
	return dir
}

func sentence(i int) []byte {
	return fmt.Appendf(nil, "In verse %d the scribe scraped page %d of the old book.", i, i*7%90)
}

var tokenizer = sync.OnceValues(func() (*text.Tokenizer, error) {
	t, _, err := text.Train(func(yield func([]byte, error) bool) {
		for i := range 100 {
			if !yield(sentence(i), nil) {
				return
			}
		}
	}, text.TrainOptions{Vocab: 280})
	return t, err
})

const tinyRun = `
model: {layers: 1, width: 16, heads: 2, kv_heads: 2, ff: 32, context: 32, positions: rope}
data: {valid: 0.1, tokens_per_step: 128, window: 2}
optimizer: {learning_rate: 3e-3}
train: {steps: 12, dropout: 0.1, device: cpu, threads: 1}
checkpoint: {every: 2}
log: {every: 1}
eval: {every: 5, tokens: 300}
`

// options makes a sweep of the tiny run from the text of a sweep file.
func options(t testing.TB, data, file string) Options {
	t.Helper()
	o := Options{Sweep: Default(), Out: filepath.Join(t.TempDir(), "sweep"), Version: "test"}
	l := runfile.New(&o.Sweep)
	l.Decode("sweep.yaml", []byte(file))
	l.Check()
	if err := l.Err(); err != nil {
		t.Fatal(err)
	}
	o.Origin = l.Origin
	o.Base = func(l *runfile.Loader) {
		l.Decode("run.yaml", []byte(tinyRun))
		l.Set("data.train=" + data)
	}
	return o
}

func mustRun(t testing.TB, o Options) *Result {
	t.Helper()
	r, err := Run(o)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// outcome is what a sweep found, without what depends on the clock.
func outcome(t testing.TB, out string) string {
	t.Helper()
	var r Result
	data, err := os.ReadFile(filepath.Join(out, ResultFile))
	if err == nil {
		err = json.Unmarshal(data, &r)
	}
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, row := range r.Rows {
		fmt.Fprintf(&b, "%d: trial %d %s %s step %d", row.Rank, row.Trial, (&Trial{Values: row.Values}).Point(), row.Status, row.Step)
		for _, s := range row.Seeds {
			if s.Metric != nil {
				fmt.Fprintf(&b, " %x", *s.Metric)
			}
			log, err := report.ReadLog(filepath.Join(out, s.Run, engine.LogFile))
			if err != nil {
				t.Fatal(err)
			}
			for _, line := range log.Steps {
				fmt.Fprintf(&b, " %d:%x", line.Step, line.Loss)
			}
		}
		b.WriteByte('\n')
	}
	best, err := os.ReadFile(filepath.Join(out, BestFile))
	if err != nil {
		t.Fatal(err)
	}
	return b.String() + string(best)
}

func TestGridIsComplete(t *testing.T) {
	o := options(t, dataset(t, 60), `
method: grid
keys:
  mask.replace: {values: ["[1, 0, 0]", "[0.8, 0.1, 0.1]"]}
  model.layers: {int: [1, 3]}
  optimizer.learning_rate: {log_uniform: [1e-4, 1e-2], points: 3}
`)
	p, err := NewPlan(o)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, trial := range p.Trials {
		got[trial.Point()] = true
	}
	for _, replace := range []string{"[1, 0, 0]", "[0.8, 0.1, 0.1]"} {
		for _, layers := range []string{"1", "2", "3"} {
			for _, rate := range []string{"0.0001", "0.001", "0.01"} {
				point := "mask.replace=" + replace + " model.layers=" + layers + " optimizer.learning_rate=" + rate
				if !got[point] {
					t.Errorf("no trial %s", point)
				}
			}
		}
	}
	if len(p.Trials) != 18 || len(got) != 18 || p.Runs != 18 || p.Steps != 18*12 {
		t.Errorf("%d trials, %d points, %d runs, %d steps", len(p.Trials), len(got), p.Runs, p.Steps)
	}
	if c := p.Trials[17].config; c.Model.Layers != 3 || c.Optimizer.LearningRate != 0.01 || c.Mask.Replace[0] != 0.8 {
		t.Errorf("the last trial is %+v", c)
	}
	if len(p.Notes) != 1 || !strings.Contains(p.Notes[0], "mask.replace is varied") {
		t.Errorf("notes: %q", p.Notes)
	}
}

// A draw is a function of seed, key and number: more trials and more keys leave it alone, another seed does not.
func TestRandomTrialsRepeat(t *testing.T) {
	c := Default()
	c.Method, c.Seed = "random", 7
	c.Keys = map[string]Range{"a": {LogUniform: []float64{1e-4, 1e-2}}, "b": {Int: []int64{-2, 6}}, "c": {Values: []string{"x", "y"}}}
	var first []string
	low, counts := 0, map[string]int{}
	const n = 4000
	for i := 1; i <= n; i++ {
		v := c.drawn(i)
		first = append(first, v["a"]+v["b"]+v["c"])
		var a float64
		fmt.Sscan(v["a"], &a)
		if a < 1e-4 || a > 1e-2 {
			t.Fatalf("drew %s", v["a"])
		}
		if a < 1e-3 {
			low++
		}
		counts["b"+v["b"]]++
		counts["c"+v["c"]]++
	}
	if low < 45*n/100 || low > 55*n/100 {
		t.Errorf("%d of %d draws are in the lower decade", low, n)
	}
	for _, b := range []int{-2, 0, 6} {
		if k := counts[fmt.Sprint("b", b)]; k < n/9*8/10 || k > n/9*12/10 {
			t.Errorf("%d of %d draws are %d", k, n, b)
		}
	}
	if len(counts) != 9+2 || counts["cx"] < 45*n/100 || counts["cx"] > 55*n/100 {
		t.Errorf("%v", counts)
	}
	c.Keys["d"] = Range{Uniform: []float64{0, 1}}
	for _, i := range []int{n, 17, 1} {
		if v := c.drawn(i); v["a"]+v["b"]+v["c"] != first[i-1] {
			t.Errorf("trial %d is %v now, was %s", i, v, first[i-1])
		}
	}
	c.Seed = 8
	if v := c.drawn(1); v["a"]+v["b"]+v["c"] == first[0] {
		t.Error("another seed draws the same")
	}
}

func TestRungs(t *testing.T) {
	for _, x := range []struct {
		h     Halving
		total int64
		want  string
	}{
		{Halving{3, 3, 0}, 900, "[100 300 900]"},
		{Halving{3, 3, 20}, 1000, "[20 60 1000]"},
		{Halving{2, 2, 0}, 3, "[1 3]"},
		{Halving{4, 2, 0}, 9, "[1 2 4 9]"},
		{Halving{3, 3, 0}, 8, "too short"},
		{Halving{30, 1000, 0}, 1 << 40, "too short"},
		{Halving{3, 3, 300}, 900, "too many"},
		{Halving{3, 3, 299}, 900, "[299 897 900]"},
	} {
		list, err := x.h.rungs(x.total)
		if got := fmt.Sprint(list); err == nil && got != x.want || err != nil && !strings.Contains(err.Error(), x.want) {
			t.Errorf("%+v of %d: %s, %v; want %s", x.h, x.total, got, err, x.want)
		}
	}
}

func TestPromotion(t *testing.T) {
	rows := func(metrics ...float64) (list []Row) {
		for i, m := range metrics {
			row := Row{Trial: i + 1, Status: Done, Mean: &m}
			if m < 0 {
				row.Status, row.Mean = Diverged, nil
			}
			list = append(list, row)
		}
		return list
	}
	for _, x := range []struct {
		metrics []float64
		factor  int
		metric  Metric
		want    []int
	}{
		{[]float64{5, 3, 9, 1, 4, 2}, 2, Metric{Name: "loss", Goal: "auto"}, []int{2, 4, 6}},
		{[]float64{5, 3, 9, 1, 4, 2}, 3, Metric{Name: "accuracy", Goal: "auto"}, []int{1, 3}},
		{[]float64{5, 3, 9}, 2, Metric{Name: "accuracy", Goal: "min"}, []int{2}},
		{[]float64{2, 2, 2, 2}, 2, Metric{Name: "loss", Goal: "min"}, []int{1, 2}},
		{[]float64{-1, -1, -1, 7}, 2, Metric{Name: "loss", Goal: "max"}, []int{4}},
		{[]float64{-1, -1}, 2, Metric{Name: "loss", Goal: "auto"}, nil},
		{[]float64{3}, 4, Metric{Name: "loss", Goal: "auto"}, []int{1}},
	} {
		list := rows(x.metrics...)
		rank(list, x.metric)
		var got []int
		for trial := range (Halving{Factor: x.factor}).promoted(list) {
			got = append(got, trial)
		}
		slices.Sort(got)
		if !slices.Equal(got, x.want) {
			t.Errorf("of %v a %dth of %s: %v, want %v", x.metrics, x.factor, x.metric.goal(), got, x.want)
		}
	}
}

// Successive halving stops the worse trials, and the promoted ones have the bits of runs that were never stopped.
func TestHalving(t *testing.T) {
	data := dataset(t, 60)
	o := options(t, data, `
method: halving
trials: 4
halving: {rungs: 3, factor: 2, steps: 3}
keys: {optimizer.learning_rate: {log_uniform: [1e-5, 3e-2]}}
`)
	r := mustRun(t, o)
	if fmt.Sprint(r.Rungs) != "[3 6 12]" || len(r.Rows) != 4 {
		t.Fatalf("%+v", r)
	}
	for i, want := range []struct {
		status string
		step   int64
	}{{Done, 12}, {Stopped, 6}, {Stopped, 3}, {Stopped, 3}} {
		row := r.Rows[i]
		if row.Status != want.status || row.Step != want.step || row.Rank != i+1 {
			t.Errorf("rank %d: %+v", i+1, row)
		}
		c := engine.Default()
		raw, err := os.ReadFile(filepath.Join(o.Out, row.Seeds[0].Run, "config.yaml"))
		if err == nil {
			err = runfile.Decode("config.yaml", raw, &c)
		}
		if err != nil || c.Train.Steps != 12 || c.StopAfter != 0 {
			t.Errorf("trial %d: %v, total %d, stop after %d", row.Trial, err, c.Train.Steps, c.StopAfter)
		}
		if dirs, err := filepath.Glob(filepath.Join(o.Out, row.Seeds[0].Run, "checkpoints", fmt.Sprintf("step-%07d", want.step))); len(dirs) != 1 || err != nil {
			t.Errorf("trial %d has no checkpoint of step %d", row.Trial, want.step)
		}
	}
	// The better two of the first rung are the two that went on.
	var records []Record
	for line := range bytes.Lines(mustRead(t, filepath.Join(o.Out, RecordsFile))) {
		var record Record
		if err := json.Unmarshal(line, &record); err != nil {
			t.Fatal(err)
		}
		records = append(records, record)
	}
	if len(records) != 4+2+1 {
		t.Fatalf("%d records", len(records))
	}
	slices.SortFunc(records[:4], func(a, b Record) int { return int(1e9 * (*a.Loss - *b.Loss)) })
	for _, promoted := range records[4:6] {
		if promoted.Trial != records[0].Trial && promoted.Trial != records[1].Trial {
			t.Errorf("trial %d went on, the better ones are %d and %d", promoted.Trial, records[0].Trial, records[1].Trial)
		}
	}
	// best.yaml trains, and gives the winner's losses.
	c := engine.Default()
	l := runfile.New(&c)
	l.Decode(r.Best, mustRead(t, r.Best))
	l.Check()
	if err := l.Err(); err != nil {
		t.Fatal(err)
	}
	straight := filepath.Join(t.TempDir(), "straight")
	if err := engine.Train(engine.Options{Config: c, Out: straight}); err != nil {
		t.Fatal(err)
	}
	if a, b := losses(t, straight), losses(t, filepath.Join(o.Out, r.Rows[0].Seeds[0].Run)); a != b {
		t.Errorf("straight:\n%s\nby rungs:\n%s", a, b)
	}
	for _, name := range []string{PageFile, ReportFile} {
		if page := string(mustRead(t, filepath.Join(o.Out, name))); !strings.Contains(page, "optimizer.learning_rate") || !strings.Contains(page, "<svg") {
			t.Errorf("%s shows nothing", name)
		}
	}
	var table bytes.Buffer
	if err := r.WriteTable(&table); err != nil || strings.Count(table.String(), "\n") != 5 || strings.Count(table.String(), "stopped") != 3 {
		t.Errorf("%v\n%s", err, &table)
	}
}

func mustRead(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func losses(t testing.TB, run string) string {
	t.Helper()
	log, err := report.ReadLog(filepath.Join(run, engine.LogFile))
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, s := range log.Steps {
		fmt.Fprintf(&b, "%d %x %x\n", s.Step, s.Loss, s.GradNorm)
	}
	fmt.Fprintf(&b, "held out %x", log.Evals[len(log.Evals)-1].Loss)
	return b.String()
}

// A sweep whose disk dies at any operation, at trial boundaries and within trials, ends with the same bits when it is
// started again.
func TestResumesAfterDeathAnywhere(t *testing.T) {
	data := dataset(t, 60)
	file := `
method: halving
trials: 2
seeds: 2
halving: {rungs: 2, factor: 2, steps: 2}
keys: {optimizer.learning_rate: {log_uniform: [1e-4, 3e-2]}}
`
	o := options(t, data, file)
	base := o.Base
	o.Base = func(l *runfile.Loader) {
		base(l)
		l.Set("train.steps=4", "checkpoint.every=1", "eval.tokens=100")
	}
	count := vfs.NewFaulty(vfs.OS{}, vfs.Fail, 0, nil)
	straight := o
	straight.FS = count
	mustRun(t, straight)
	want := outcome(t, straight.Out)

	// One sweep that dies again and again, a stretch of operations further each time.
	o.Out = filepath.Join(t.TempDir(), "dying")
	deaths := 0
	for at := int64(5); ; at++ {
		o.FS = vfs.NewFaulty(vfs.OS{}, vfs.Dead, 50+at*37%160, syscall.EIO)
		_, err := Run(o)
		if err == nil {
			break
		}
		if !errors.Is(err, syscall.EIO) {
			t.Fatalf("death %d: %v", deaths+1, err)
		}
		if deaths++; deaths > 200 {
			t.Fatal("the sweep comes nowhere")
		}
	}
	if got := outcome(t, o.Out); got != want || deaths < 5 {
		t.Errorf("after %d deaths (%d operations):\n%s\nstraight:\n%s", deaths, count.Ops(), got, want)
	}
	// Sweeps that die once: at the boundaries, where records are written, and between them.
	for at := int64(3); at < count.Ops(); at += count.Ops()/4 + 1 {
		o.Out = filepath.Join(t.TempDir(), "dead")
		o.FS = vfs.NewFaulty(vfs.OS{}, vfs.Dead, at, syscall.EIO)
		if _, err := Run(o); !errors.Is(err, syscall.EIO) {
			t.Fatalf("operation %d: %v", at, err)
		}
		o.FS = nil
		mustRun(t, o)
		if got := outcome(t, o.Out); got != want {
			t.Errorf("dead at operation %d:\n%s\nstraight:\n%s", at, got, want)
		}
	}
}
