package engine

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// TokenizerFile is the name of a tokenizer in a data set's folder and in checkpoints.
const TokenizerFile = "tokenizer.json"

// job is a run file brought together with the data it names: everything about a run but its device and its state.
type job struct {
	config     Config // resolved
	data       *shard.Dataset
	valid      *shard.Dataset // where held-out documents come from: data, or a folder of its own
	tokenizer  *text.Tokenizer
	vocabulary objectives.Vocabulary
	phases     []stretch
	objectives []objectives.Objective // by phase
	evaluators []evaluator            // by phase the same with draws of their own, and then those of others()
	total      int64                  // steps
	pass       pass                   // how documents fill steps
	classes    *classOrigin           // of the training data set's plane class, when SHAD made it and rft reads it
	reference  *referenceModel        // nil: no objective of the run compares with one
	notes      []string               // what the user should know before the run
	filler     *objectives.Filler     // of a device's steps; nil: they stay as they are
	ends       objectives.Ends        // of exlm's documents
}

// prepare opens and checks everything that a configuration names.
func prepare(c Config) (_ *job, err error) {
	j := &job{config: c}
	defer func() {
		if err != nil {
			j.close()
		}
	}()
	if j.data, err = shard.Open(c.Data.Train); err != nil {
		return nil, err
	}
	if j.tokenizer, err = datasetTokenizer(c.Data.Train, j.data); err != nil {
		return nil, err
	}
	j.valid = j.data
	if c.Data.Valid.Dir != "" {
		if j.valid, err = shard.Open(c.Data.Valid.Dir); err != nil {
			return nil, err
		}
		if err = j.valid.CheckTokenizer(j.tokenizer.Hash(), j.tokenizer.Vocab()); err != nil {
			return nil, err
		}
	}
	adopted, err := adoptModel(&c, j.tokenizer.Hash())
	if err != nil {
		return nil, err
	}
	if adopted != "" {
		if c.trainsAny("exlm") && !c.Model.Links.On() { // the head may be new
			c.Model.Links = model.Links{}
		}
		states := c.Model.Links.States
		if c.trainsAny("exlm") { // a number of states is no size of the model
			c.Model.Links.States = 0
		}
		j.config = c
		j.note("%s", adopted)
		if c.trainsAny("exlm") && c.EXLM.ExpandSpecials && states > 0 && states != c.EXLM.K {
			j.note("exlm.k is %d, the model was trained with %d states", c.EXLM.K, states)
		}
	}
	transformer, wrong := c.withLinks()
	resolved, problems := transformer.Resolve(j.tokenizer.Vocab())
	if len(problems)+len(wrong) > 0 {
		var lines []string
		for _, p := range wrong {
			lines = append(lines, p.Error())
		}
		for _, p := range problems {
			lines = append(lines, "model."+p.Error())
		}
		return nil, fault.Usage.Errorf("%s", strings.Join(lines, "\n"))
	}
	j.config.Model = resolved
	if err = j.config.adapt(); err != nil {
		return nil, err
	}
	j.vocabulary = vocabularyOf(j.tokenizer)
	if err = j.fitExpansion(); err != nil {
		return nil, err
	}
	if err = j.fitLengths(); err != nil {
		return nil, err
	}
	j.pass = j.measurePass()
	if j.phases, err = timetable(&j.config, j.trainTokens()/j.pass.fill, j.growth); err != nil {
		return nil, err
	}
	j.total = j.phases[len(j.phases)-1].to
	if err = j.makeObjectives(); err != nil {
		return nil, err
	}
	if err = j.checkClasses(); err != nil {
		return nil, err
	}
	if err = j.openReference(); err != nil {
		return nil, err
	}
	if j.valid != j.data {
		for _, plane := range j.planes() {
			if !hasPlane(j.valid, plane) {
				return nil, fault.Data.Errorf("%s has no plane %q, which evaluation needs as training does; hint: build both data sets in the same way", c.Data.Valid.Dir, plane)
			}
		}
	}
	if err = j.checkEntityTypes(); err != nil {
		return nil, err
	}
	if err = j.prepareObjectives(); err != nil {
		return nil, err
	}
	if err = j.checkExpansion(); err != nil {
		return nil, err
	}
	if err = j.checkRows(); err != nil {
		return nil, err
	}
	if hasPlane(j.data, objectives.PlaneLoss) {
		j.note("the data set has the plane loss: %s", map[bool]string{true: "tokens that it marks as context are seen, but neither asked for nor masked",
			false: "it is not used, as data.loss_plane is false"}[c.Data.LossPlane])
	}
	for _, section := range c.unused() {
		reason := "no objective of this run reads it"
		if section == "adapter" {
			reason = "adapter.rank is 0"
		}
		j.note("the section %s is not used: %s", section, reason)
	}
	for _, key := range c.unusedMask() {
		j.note("%s is not used: exlm replaces every selected token by the mask token, rmlm every copy that is masked by itself", key)
	}
	for _, note := range c.idle() {
		j.note("%s", note)
	}
	if j.config.Adapter.On() {
		j.note("%s", adapterNote(j.config.Model))
	}
	for _, n := range resolved.Notes() {
		j.note("%s", n)
	}
	if tokens := j.trainTokens(); tokens < float64(c.Data.TokensPerStep) {
		j.note("the training documents hold about %.0f tokens, less than one step of %d: every step sees documents more than once", tokens, c.Data.TokensPerStep)
	}
	return j, nil
}

func (j *job) close() {
	if j.reference != nil && j.reference.rows != nil {
		j.reference.rows.file.Close()
	}
	if j.valid != nil && j.valid != j.data {
		j.valid.Close()
	}
	if j.data != nil {
		j.data.Close()
	}
}

func (j *job) note(format string, args ...any) {
	j.notes = append(j.notes, fmt.Sprintf(format, args...))
}

// fitLengths resolves data.length and checks it against the model and the step.
func (j *job) fitLengths() error {
	d, context := &j.config.Data, j.config.Model.Context
	if d.Length == 0 {
		d.Length = min(context, d.TokensPerStep)
	}
	if d.Length > context {
		return fault.Usage.Errorf("data.length: %d exceeds model.context %d; hint: --set data.length=%d", d.Length, context, context)
	}
	if d.Length > d.TokensPerStep {
		return fault.Usage.Errorf("data.length: %d exceeds data.tokens_per_step %d; a segment must fit in a step", d.Length, d.TokensPerStep)
	}
	return nil
}

// trainTokens is the expected number of tokens of the training documents that one pass over them reads.
func (j *job) trainTokens() float64 {
	return float64(j.data.Tokens()) * (1 - j.config.Data.Valid.Share) * j.pass.kept
}

func hasPlane(ds *shard.Dataset, name string) bool {
	return slices.ContainsFunc(ds.Index().Planes, func(p shard.Plane) bool { return p.Name == name })
}

func (j *job) objective(name string, mix objectives.AntLM, seed uint64, loss objectives.LossOptions) (objectives.Objective, error) {
	o, err := objectives.New(name, objectives.Settings{Seed: seed, Vocabulary: j.vocabulary, Mask: j.config.Mask, AntLM: mix, Loss: loss, Context: j.config.Data.LossPlane && hasPlane(j.data, objectives.PlaneLoss), Classify: j.config.Classify, Heads: j.config.Model.Classifiers,
		EXLM: j.config.EXLM, RMLM: j.config.RMLM, Ends: &j.ends, Expansion: j.config.Model.Expansion(), MSLM: j.config.MSLM, SHAD: j.config.SHAD, Classes: hasPlane(j.data, objectives.PlaneClass) && hasPlane(j.valid, objectives.PlaneClass), TNT: j.config.TNT, NPO: j.config.NPO, Length: j.config.Data.Length, Reference: j.config.hasReference(), Held: seed != j.config.Train.Seed}) // evaluations draw from a seed of their own
	return o, fault.Usage.Wrap(err)
}

// datasetTokenizer loads the tokenizer that a data set carries and checks that its tokens were made with it.
func datasetTokenizer(dir string, ds *shard.Dataset) (*text.Tokenizer, error) {
	t, err := text.Load(filepath.Join(dir, TokenizerFile))
	if err != nil {
		return nil, fault.Data.Wrap(err)
	}
	return t, ds.CheckTokenizer(t.Hash(), t.Vocab())
}

func vocabularyOf(t *text.Tokenizer) objectives.Vocabulary {
	return objectives.Vocabulary{Size: t.Vocab(), BOS: t.BOS, EOS: t.EOS, Pad: t.Pad, Mask: t.Mask, Unk: t.Unk, Special: t.IsSpecial, WordStarts: t.WordStarts, Text: t.Decode}
}

func (j *job) split(part shard.Part) shard.Split {
	return shard.Split{Valid: j.config.Data.Valid.Share, Part: part}
}

// hasValid reports whether any document is held out.
func (j *job) hasValid() bool { return j.config.Data.Valid.Dir != "" || j.config.Data.Valid.Share > 0 }

func (j *job) packing() shard.PackConfig {
	d := j.config.Data
	return shard.PackConfig{Mode: shard.Mode(j.config.packing()), Capacity: d.TokensPerStep, MaxLength: d.Length, Long: shard.Long(d.Long)}
}

// stream is the order in which training reads its documents.
func (j *job) stream() shard.StreamConfig {
	d := j.config.Data
	return shard.StreamConfig{Seed: d.Seed, Shuffle: d.Shuffle, Window: d.Window, Split: j.split(shard.Train), Decoders: d.Threads}
}

// feed starts planning updates at a step and cursor, before which the run has seen that many documents and pieces.
func (j *job) feed(step, pieces int64, from shard.Cursor) (*feed, error) {
	stream := j.stream()
	stream.Planes = j.planes()
	return newFeed(j.data, feedConfig{
		stream: stream, pack: j.packing(), objectives: j.objectives, phases: j.phases, accumulate: j.config.Train.Accumulate,
		first: step, end: j.total, pieces: pieces, total: j.total, vocab: int(j.config.Model.Vocab), context: j.config.Model.Context, filler: j.filler,
	}, from)
}

// heldOut returns a source of evaluation plans: the held-out documents in their order, up to a number of tokens (0: all),
// with masks that are the same every time. Closing it ends the background decoding.
func (j *job) heldOut(phase int, tokens int64) (next func() (*objectives.Plan, error), closing func() error, err error) {
	c := shard.StreamConfig{Seed: j.config.Data.Seed, Epochs: 1, Window: j.config.Data.Window, Planes: j.planes()}
	if j.config.Data.Valid.Dir == "" {
		c.Split = j.split(shard.Valid)
	}
	return planned(j.valid, c, j.packing(), j.evaluators[phase].objective, int(j.config.Model.Vocab), j.config.Model.Context, tokens)
}

// unigram counts the training tokens, the first few millions, as the baseline of an evaluation.
func (j *job) unigram(phase int) (*eval.Unigram, error) {
	if classifies(j.evaluators[phase].name) {
		return j.classBaseline(phase)
	}
	skip := j.vocabulary.Special
	if name := j.evaluators[phase].name; name == "clm" || name == "antlm" || name == "rft" || name == "tnt" || name == "npo" {
		skip = func(id int32) bool { return id == j.vocabulary.BOS && id != j.vocabulary.EOS } // never a target
	}
	return unigramOf(j.data, j.config.Data.Seed, j.split(shard.Train), int(j.config.Model.Vocab), skip)
}

// capacity is what one micro-batch takes at most.
func (j *job) capacity() model.Capacity {
	return model.Capacity{Tokens: j.config.Data.TokensPerStep, Rows: j.config.Data.TokensPerStep, States: j.mostStates(), Recompute: j.config.Train.Recompute == "layer"}
}

// openDevice opens the configured backend.
func openDevice(device string, threads int) (kernels.Backend, error) {
	b, err := kernels.Open(device, threads)
	return b, fault.Device.Wrap(err)
}
