package engine

import (
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"palimpsest/engine/fault"
	"palimpsest/engine/shad"
	"palimpsest/engine/shard"
	"palimpsest/engine/signals"
)

// TuneOptions say how a copy of a model is tuned on shuffled pairs.
type TuneOptions struct {
	Config  Config // optimiser, lengths, seed, adapter and device of the run
	Model   string // theta_o: run folder or checkpoint
	Data    string // shuffled pairs
	Correct string // data set of correct pairs; "": the one that was shuffled
	Epochs  float64
	Out     string // run folder of theta_s
	Watch   *signals.Watcher
	Version string
	Observe Observer
}

// Tuned is what tuning gave: mean losses of response tokens, in nats.
type Tuned struct {
	Out          string      `json:"out"`
	Model        string      `json:"model"`
	Pairs        int64       `json:"pairs"`
	Shuffled     [2]float64  `json:"shuffled_loss"` // before, after
	Correct      *[2]float64 `json:"correct_loss"`  // of pairs that were not shuffled; null where there are none
	CorrectPairs int         `json:"correct_pairs"`
	Before       bool        `json:"was_done"`
	Notes        []string    `json:"notes"`
}

// correctPairs is how many correct pairs the effect of tuning is measured on.
const correctPairs = 200

// tuneConfig is the run that tunes: plain causal cross-entropy on responses from the model's weights, everything else as the run
// file says.
func (o TuneOptions) tuneConfig() Config {
	c := o.Config
	c.Objective, c.Phases, c.Repeat = "clm", []Phase{{Objective: "clm", Epochs: o.Epochs}}, 1
	c.Model = Default().Model // the model's own
	c.Data.Train, c.Data.Valid, c.Data.Packing, c.Data.LossPlane = o.Data, Held{}, "whole", true
	c.Loss, c.SHAD, c.EMA = Default().Loss, Default().SHAD, Default().EMA
	c.Train.Init, c.Train.Steps = o.Model, 0
	return c
}

// tuneSections are those of the run file that decide how a copy is tuned.
var tuneSections = []string{"optimizer", "schedule", "adapter", "train", "data"}

// inputs identify what is tuned: model, data and epochs, and the keys of the run that decide what is computed.
func (o TuneOptions) inputs(model, data string) map[string]string {
	inputs := map[string]string{"model": model, "data": data, "epochs": strconv.FormatFloat(o.Epochs, 'g', -1, 64)}
	for key, value := range flatten(o.tuneConfig()) {
		section, _, in := strings.Cut(key, ".")
		if in && slices.Contains(tuneSections, section) && !isFree(key) && key != "train.init" && key != "train.steps" { // told by model and epochs
			inputs[key] = value
		}
	}
	return inputs
}

// Tune trains theta_s, or goes on with it, and measures what the tuning did.
func Tune(o TuneOptions) (r Tuned, err error) {
	r = Tuned{Out: o.Out, Model: o.Model, Notes: []string{}}
	if !(o.Epochs > 0) || math.IsInf(o.Epochs, 0) {
		return r, fault.Usage.Errorf("--epochs: want a number above 0, not %g", o.Epochs)
	}
	hash, err := hashOfModel(o.Model)
	if err != nil {
		return r, err
	}
	ds, _, err := openResponses(o.Data)
	if err != nil {
		return r, err
	}
	defer ds.Close()
	r.Pairs = ds.Documents()
	stage, err := shad.BeginStage(filepath.Join(o.Out, "shad.json"), "tune", o.inputs(hash, responsesHash(ds)))
	if err != nil {
		return r, err
	}
	if stage.Done {
		err := stage.Read(&r)
		r.Before, r.Out = true, o.Out
		return r, err
	}
	if err := stage.Write(nil); err != nil {
		return r, err
	}
	if err := Train(Options{Config: o.tuneConfig(), Out: o.Out, Watch: o.Watch, Version: o.Version, Observe: o.Observe}); err != nil {
		return r, err
	}
	if err := o.measure(&r, ds); err != nil {
		return r, err
	}
	return r, stage.Write(r)
}

// measure fills in the losses before and after.
func (o *TuneOptions) measure(r *Tuned, shuffled *shard.Dataset) error {
	correct, sample, note, err := o.correct()
	if err != nil {
		return err
	}
	if correct != nil {
		defer correct.Close()
		r.Correct, r.CorrectPairs = new([2]float64), len(sample)
	}
	if note != "" {
		r.Notes = append(r.Notes, note)
	}
	for i, path := range []string{o.Model, o.Out} {
		if err := o.measureOne(i, path, r, shuffled, correct, sample); err != nil {
			return err
		}
	}
	return nil
}

func (o *TuneOptions) measureOne(i int, path string, r *Tuned, shuffled, correct *shard.Dataset, sample []int64) error {
	m, err := OpenModel(path, o.Config.Train.Device, o.Config.Train.Threads)
	if err != nil {
		return err
	}
	defer m.Close()
	s, err := newLossScorer(m, o.Config.Data.Length, o.Config.Data.TokensPerStep)
	if err != nil {
		return err
	}
	if r.Shuffled[i], err = s.meanLoss(shuffled, nil); err == nil && correct != nil {
		r.Correct[i], err = s.meanLoss(correct, sample)
	}
	return err
}

// correct opens the data set that the shuffled pairs came from, and chooses pairs of it that were not shuffled.
func (o *TuneOptions) correct() (ds *shard.Dataset, sample []int64, note string, err error) {
	record, err := shad.ReadStage(stageFile(o.Data))
	if err != nil {
		return nil, nil, "", err
	}
	dir, fraction, seed := o.Correct, 0.0, uint64(0)
	if record != nil && record.Done {
		var made Shuffled
		if err := record.Read(&made); err != nil {
			return nil, nil, "", err
		}
		if dir == "" && exists(filepath.Join(made.Source, "index.json")) {
			dir = made.Source
		}
		if fraction, err = strconv.ParseFloat(record.Inputs["fraction"], 64); err == nil {
			seed, err = strconv.ParseUint(record.Inputs["seed"], 10, 64)
		}
		if err != nil {
			return nil, nil, "", fault.Data.Errorf("%s: %w", stageFile(o.Data), err)
		}
	}
	if dir == "" {
		return nil, nil, "the loss of correct pairs is not known; hint: --correct names the data set that was shuffled", nil
	}
	if ds, _, err = openResponses(dir); err != nil {
		return nil, nil, "", err
	}
	if record != nil && record.Inputs["data"] == responsesHash(ds) {
		sample, err = heldPairs(ds.Documents(), fraction, seed, correctPairs)
	} else {
		note = fmt.Sprintf("nobody knows which pairs of %s were shuffled, so that some of the correct pairs may have been", dir)
		sample, err = shad.Sample(ds.Documents(), math.Min(1, correctPairs/float64(ds.Documents())), o.Config.Train.Seed)
	}
	if err == nil && len(sample) == 0 {
		note = "all pairs were shuffled, so that none is left to be measured as a correct one"
	}
	if err != nil || len(sample) == 0 {
		ds.Close()
		return nil, nil, note, err
	}
	return ds, sample, note, nil
}
