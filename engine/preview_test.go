package engine

import "testing"

func TestDryRunShowsTheFirstBatch(t *testing.T) {
	data := dataset(t, 300)
	c := tinyConfig(data, 10)
	p, err := DryRun(Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	if p.Steps != 10 || p.Data.Documents != 300 || p.Data.HeldOut < 5 || p.Data.HeldOut > 30 || p.Data.TokensStep != 3*192 {
		t.Errorf("%+v", p.Data)
	}
	if p.Parameters < 600*32 || p.Memory.Weights != 16*p.Parameters || p.Memory.Activations < 192*32*4 || p.Memory.Data <= 0 || p.Memory.Total() <= p.Memory.Weights+p.Memory.Activations || p.FLOPs < 6*float64(p.Parameters-600*32)*192 {
		t.Errorf("parameters %d, memory %+v, FLOPs %g", p.Parameters, p.Memory, p.FLOPs)
	}
	asked := 0
	for _, s := range p.Batch.Examples {
		for _, token := range s.Tokens {
			if (token.Target != "") != (token.Weight > 0) {
				t.Errorf("token %+v", token)
			}
			if token.Original != "" && token.Target != token.Original {
				t.Errorf("masked token %q is not asked for: %+v", token.Original, token)
			}
			if token.Target != "" {
				asked++
			}
		}
	}
	if asked == 0 || p.Batch.Terms[0].Name != "mlm" || p.Batch.Terms[0].Den < float64(p.Batch.Rows) || p.Batch.Fill < 0.5 || p.Batch.Fill > 1 {
		t.Errorf("%d tokens asked for; batch %+v", asked, p.Batch)
	}
}
