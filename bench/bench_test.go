package bench

import (
	"path/filepath"
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
