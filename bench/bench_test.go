package bench

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/shard"
)

func TestTrainReportsWhatItMeasured(t *testing.T) {
	c := engine.Default()
	c.Model = model.Config{Layers: 2, Width: 16, Heads: 2, Context: 32}
	c.Data.TokensPerStep, c.Train.Accumulate, c.Train.Device, c.Train.Threads = 70, 2, "cpu", 1
	for _, objective := range []string{"clm", "mlm"} {
		c.Objective = objective
		r, err := Train(TrainOptions{Config: c, Vocab: 50, Length: 32, Steps: 3, Version: "test"})
		if err != nil {
			t.Fatal(err)
		}
		if r.TokensPerStep != 2*64 || r.Seconds.Runs != 3 || r.Seconds.P10 > r.Seconds.Median || r.Seconds.Median > r.Seconds.P90 {
			t.Errorf("%+v", r)
		}
		if r.TokensPerS <= 0 || r.FLOPsPerS <= 0 || r.SGEMMShare <= 0 || r.PredictedMemoryBytes < 16*r.Parameters || r.Objective != objective {
			t.Errorf("%+v", r)
		}
	}
	if _, err := Train(TrainOptions{Config: c, Vocab: 50, Length: 64, Steps: 1}); fault.Of(err) != fault.Usage {
		t.Errorf("documents beyond the context: %v", err)
	}
}

func TestDataCountsEveryToken(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	w, err := shard.Create(dir, shard.WriterOptions{TokenizerHash: "0123456789abcdef", Vocab: 100, BOS: -1, EOS: -1})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 100 {
		if err := w.Append(make([]int32, 1+i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	r, err := Data(dir, shard.PackConfig{Mode: shard.Cut, Capacity: 128, MaxLength: 64}, shard.StreamConfig{Shuffle: true, Seed: 1}, 2, "test")
	if err != nil {
		t.Fatal(err)
	}
	if r.Tokens != 5050 || r.Seconds.Runs != 2 || r.TokensPerS <= 0 || r.Fill < 0.98 {
		t.Errorf("%+v", r)
	}
	if _, err := Data(t.TempDir(), shard.PackConfig{Mode: shard.Cut, Capacity: 128, MaxLength: 64}, shard.StreamConfig{}, 1, "test"); fault.Of(err) != fault.Data {
		t.Errorf("an empty folder: %v", err)
	}
}

func TestSpread(t *testing.T) {
	if s := spread([]float64{5, 1, 3, 2, 4}); s != (Spread{3, 1, 5, 5}) {
		t.Errorf("%+v", s)
	}
}

func TestTableTakesTheNewestOfEachCase(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := Table(dir); fault.Of(err) != fault.Data {
		t.Errorf("an empty folder: %v", err)
	}
	write("2026-01-01-a.jsonl", `{"name":"x","train":{"parameters":1000000,"tokens_per_step":64,"length":32,"tokens_per_s":5000,"flops_per_s":1e9,"sgemm_flops_per_s":2e9,"sgemm_share":0.5}}`+"\n"+
		`{"name":"y","data":{"tokens":2000000,"tokens_per_s":250000000,"fill":0.9}}`+"\n")
	write("2026-01-02-a.jsonl", `{"name":"x","train":{"parameters":1000000,"tokens_per_step":64,"length":32,"tokens_per_s":66666,"flops_per_s":1e9,"sgemm_flops_per_s":2e9,"sgemm_share":0.5}}`+"\n")
	table, err := Table(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(table, "| x | 1.0 M | 64 x 32 | 66.7 k | 1 | 50 % of 2 |") || strings.Contains(table, "5000") || !strings.Contains(table, "| y | 2.0 M | 250 M | 90 % |") {
		t.Errorf("%s", table)
	}
	write("2026-01-03-a.jsonl", "{}\n")
	if _, err := Table(dir); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), "2026-01-03-a.jsonl:1") {
		t.Errorf("a line without a case: %v", err)
	}
}
