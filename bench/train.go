package bench

import (
	"time"

	"palimpsest/engine"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/kernels"
	"palimpsest/kernels/philox"
	"palimpsest/objectives"
)

// TrainOptions say what Train measures.
type TrainOptions struct {
	Config  engine.Config // model, tokens per step, accumulation, dropout, objective; data sets are not read
	Vocab   int           // of the synthetic tokens
	Length  int           // tokens of a document
	Steps   int           // measured updates, after one that is not counted
	Version string
}

// TrainResult is the speed of whole updates: planning in the background, forward, loss, backward, guard and optimiser.
type TrainResult struct {
	Conditions
	Objective            string  `json:"objective"`
	Parameters           int64   `json:"parameters"`
	Layers               int     `json:"layers"`
	Width                int     `json:"width"`
	Vocab                int     `json:"vocab"`
	Length               int     `json:"length"`
	TokensPerStep        int     `json:"tokens_per_step"`
	TokensPerS           float64 `json:"tokens_per_s"` // from the median update
	FLOPsPerS            float64 `json:"flops_per_s"`
	SGEMM                float64 `json:"sgemm_flops_per_s"` // a 1024-cubed product just before, and just after: the better; of a GPU Product
	SGEMMShare           float64 `json:"sgemm_share"`
	Product              float64 `json:"product_flops_per_s,omitempty"` // best of some large products in the compute type: what MFU is of
	ProductShape         string  `json:"product_shape,omitempty"`
	MFU                  float64 `json:"mfu,omitempty"`
	Datasheet            *Sheet  `json:"datasheet,omitempty"`     // of a GPU that is known
	DatasheetMFU         float64 `json:"datasheet_mfu,omitempty"` // of its dense bfloat16 rate
	FLOPRule             string  `json:"flop_rule,omitempty"`
	Seconds              Spread  `json:"seconds_per_step"`
	PeakMemoryBytes      int64   `json:"peak_memory_bytes"` // of the process
	PredictedMemoryBytes int64   `json:"predicted_memory_bytes"`
}

// flopRule is model.FLOPs in words.
const flopRule = "forward 2 a weight and token for products of the blocks, 2 a head weight and loss row, 4 D a head and pair that attends " +
	"(half of causal ones); backward twice that; nothing for recomputation, norms or the optimiser"

// updatesQueued is how many updates a GPU gets at a time, as it would in training: the host waits behind them only.
const updatesQueued = 4

// Train measures updates on synthetic documents of one length.
func Train(o TrainOptions) (TrainResult, error) {
	var r TrainResult
	c, problems := o.Config.Model.Resolve(o.Vocab)
	if len(problems) > 0 {
		return r, fault.Usage.Errorf("model.%v", problems[0])
	}
	if o.Length > c.Context || o.Length > o.Config.Data.TokensPerStep || o.Length < 2 {
		return r, fault.Usage.Errorf("documents of %d tokens: want 2 to the smaller of model.context %d and data.tokens_per_step %d", o.Length, c.Context, o.Config.Data.TokensPerStep)
	}
	name := o.Config.Objective
	if len(o.Config.Phases) > 0 {
		name = o.Config.Phases[0].Objective
	}
	objective, err := objectives.New(name, objectives.Settings{Seed: 1, Mask: o.Config.Mask, Vocabulary: objectives.Vocabulary{Size: int(c.Vocab), BOS: 0, EOS: 1, Pad: 2, Mask: 3,
		Special: func(id int32) bool { return id < 4 && c.Vocab > 8 }}})
	if err != nil {
		return r, fault.Usage.Wrap(err)
	}
	b, err := kernels.Open(o.Config.Train.Device, o.Config.Train.Threads)
	if err != nil {
		return r, fault.Device.Wrap(err)
	}
	defer b.Close()
	r.Conditions, r.Objective = conditions(b, o.Version), name
	r.Parameters, r.Layers, r.Width, r.Vocab, r.Length = model.NumParams(c), c.Layers, c.Width, int(c.Vocab), o.Length
	r.FLOPRule = flopRule
	group := 1
	if b.Info().Name == "cuda" {
		group = min(updatesQueued, o.Steps)
		r.Datasheet = datasheet(b.Info().Device)
		if r.Product, r.ProductShape, err = measureProducts(b, scales["device"].square, 10); err != nil {
			return r, fault.Device.Wrap(err)
		}
		r.SGEMM = r.Product
	} else {
		r.SGEMM = engine.ProductRate(b, 1024, 5)
	}

	capacity := model.Capacity{Tokens: o.Config.Data.TokensPerStep, Rows: o.Config.Data.TokensPerStep, Recompute: o.Config.Train.Recompute == "layer"}
	run := newStepper(b, c, capacity, o.Config.Optimizer, o.Config.Train.Dropout)
	weights, activations := model.MemoryBytes(c, capacity, b.Info().Compute, b.Info().Master)
	r.PredictedMemoryBytes = weights + activations + engine.ProgramBytes

	plans := synthetic(objective, int(c.Vocab), o.Length, capacity.Tokens, o.Config.Train.Accumulate, o.Steps+1)
	var seconds []float64
	flops, started := 0.0, time.Now()
	for step := range o.Steps + 1 {
		update := <-plans
		flops, r.TokensPerStep = 0, 0
		for _, p := range update {
			flops += model.FLOPs(c, p)
			r.TokensPerStep += len(p.Tokens)
		}
		if group == 1 {
			started = time.Now()
		}
		if err := run.queue(update, 1e-4); err != nil {
			return r, err
		}
		if step%group > 0 && step < o.Steps { // the first one, which touches all memory for the first time, is waited for
			continue
		}
		if err := b.Sync(); err != nil {
			return r, err
		}
		if n := (step-1)%group + 1; step > 0 {
			seconds = append(seconds, time.Since(started).Seconds()/float64(n))
		}
		started = time.Now()
	}
	if group == 1 {
		r.SGEMM = max(r.SGEMM, engine.ProductRate(b, 1024, 5))
		r.Product, r.ProductShape = r.SGEMM, "1024 x 1024 x 1024, "+b.Info().Compute.String()
	}
	r.Seconds = spread(seconds)
	r.TokensPerS = float64(r.TokensPerStep) / r.Seconds.Median
	r.FLOPsPerS = flops / r.Seconds.Median
	r.SGEMMShare = r.FLOPsPerS / r.SGEMM
	r.MFU = r.FLOPsPerS / r.Product
	if r.Datasheet != nil {
		r.DatasheetMFU = r.FLOPsPerS / r.Datasheet.Product
	}
	r.PeakMemoryBytes = peakMemory()
	return r, nil
}

// synthetic plans updates of random documents in the background.
func synthetic(o objectives.Objective, vocab, length, tokens, accumulate, updates int) <-chan []*objectives.Plan {
	out := make(chan []*objectives.Plan, 2)
	go func() {
		defer close(out)
		id := int64(0)
		for range updates {
			var plans []*objectives.Plan
			for range accumulate {
				p := new(objectives.Plan)
				o.Begin(p)
				for used := 0; used+o.Cost(length) <= tokens; used += o.Cost(length) {
					d := philox.New(1, philox.StreamTest, uint64(id), 0)
					doc := objectives.Document{ID: id, Tokens: make([]int32, length)}
					for i := range doc.Tokens {
						doc.Tokens[i] = int32(d.IntN(vocab))
					}
					o.Plan(doc, p)
					id++
				}
				plans = append(plans, p)
			}
			objectives.SetDenominators(plans)
			out <- plans
		}
	}()
	return out
}
