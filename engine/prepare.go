package engine

import (
	"errors"
	"io"
	"iter"
	"slices"

	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
	"palimpsest/objectives"
)

// prepareObjectives lets the objectives of the run and its evaluators read the corpus, where they need statistics of it. What
// they find is a function of data, configuration and seed, which checkpoints identify, so it is found again on resume.
func (j *job) prepareObjectives() error {
	c, done := j.corpus(), map[objectives.Objective]bool{}
	prepare := func(o objectives.Objective) error {
		if done[o] || !objectives.Prepares(o) {
			return nil
		}
		done[o] = true
		notes, err := objectives.Prepare(o, c)
		j.notes = append(j.notes, notes...)
		return fault.Data.Wrap(err)
	}
	for _, o := range j.objectives {
		if err := prepare(o); err != nil {
			return err
		}
	}
	for _, e := range j.evaluators {
		if n, d := e.objective.Cost(j.config.Data.Length), j.config.Data; n > d.TokensPerStep && j.hasValid() {
			return fault.Usage.Errorf("data.tokens_per_step: evaluating %s a segment of data.length %d takes %d places of a step, which has %d; hint: halve data.length or double data.tokens_per_step",
				e.objective.Name(), d.Length, n, d.TokensPerStep)
		}
		if err := prepare(e.objective); err != nil {
			return err
		}
	}
	return nil
}

// corpus is all documents of the run: of the training data set, and of the held-out one where that is another.
func (j *job) corpus() objectives.Corpus {
	sets := []*shard.Dataset{j.data}
	if j.valid != j.data {
		sets = append(sets, j.valid)
	}
	each := func(read func(*shard.Dataset, func(objectives.Document, error) bool) bool) iter.Seq2[objectives.Document, error] {
		return func(yield func(objectives.Document, error) bool) {
			for _, ds := range sets {
				if !read(ds, yield) {
					return
				}
			}
		}
	}
	return objectives.Corpus{Types: entityTypes(j.data), Documents: each(j.pieces), Uncut: each(j.whole)}
}

// whole is pieces of documents that are not cut.
func (j *job) whole(ds *shard.Dataset, yield func(objectives.Document, error) bool) bool {
	stream, err := ds.Stream(shard.StreamConfig{Epochs: 1, Planes: j.planes(), Decoders: j.config.Data.Threads}, shard.Cursor{})
	if err != nil {
		yield(objectives.Document{}, err)
		return false
	}
	defer stream.Close()
	for {
		doc, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return true
		}
		if err != nil {
			yield(objectives.Document{}, err)
			return false
		}
		if !yield(objectives.Document{ID: doc.ID, Tokens: doc.Tokens, Planes: doc.Planes}, nil) {
			return false
		}
	}
}

// pieces yields a data set's documents as the run cuts them, until yield has enough; then, or after an error, it returns false.
func (j *job) pieces(ds *shard.Dataset, yield func(objectives.Document, error) bool) bool {
	fail := func(err error) bool {
		yield(objectives.Document{}, err)
		return false
	}
	stream, err := ds.Stream(shard.StreamConfig{Epochs: 1, Planes: j.planes(), Decoders: j.config.Data.Threads}, shard.Cursor{})
	if err != nil {
		return fail(err)
	}
	defer stream.Close()
	packer, err := shard.NewPacker(stream, j.packing())
	if err != nil {
		return fail(err)
	}
	for {
		step, err := packer.Next()
		if errors.Is(err, io.EOF) {
			return true
		}
		if err != nil {
			return fail(err)
		}
		for _, p := range step.Pieces {
			if !yield(objectives.Document{ID: p.Document, Offset: p.Offset, Tokens: p.Tokens, Planes: p.Planes}, nil) {
				return false
			}
		}
	}
}

// checkEntityTypes makes sure that tags mean the same in the data sets of a run, and in that of the run whose token heads it takes over.
func (j *job) checkEntityTypes() error {
	c, types := j.config, entityTypes(j.data)
	if types == nil || !slices.Contains(j.planes(), text.PlaneBIO) {
		return nil
	}
	if valid := entityTypes(j.valid); valid != nil && !slices.Equal(valid, types) {
		return fault.Data.Errorf("types of entities are %q in %s and %q in %s; hint: make both with the same --entity-types, or --labels-from %s",
			types, c.Data.Train, valid, c.Data.Valid.Dir, c.Data.Train)
	}
	if c.Train.Init == "" {
		return nil
	}
	from, err := findCheckpoint(c.Train.Init)
	if err != nil {
		return nil // said where its weights are read; a run that goes on does not need it
	}
	was, err := readConfig(from)
	if err != nil || was.Data.Train == "" || was.Data.Train == c.Data.Train || !was.trainsAny("mslm", "tag") {
		return err
	}
	i := slices.IndexFunc(c.Model.Classifiers, func(h objectives.Head) bool { return h.EveryToken() && slices.Contains(was.Model.Classifiers, h) })
	if i < 0 {
		return nil
	}
	ds, err := shard.Open(was.Data.Train)
	if err != nil {
		j.note("%s, which %s was trained on, cannot be read, so its types of entities may be others", was.Data.Train, from.Dir())
		return nil
	}
	defer ds.Close()
	if learned := entityTypes(ds); learned != nil && !slices.Equal(learned, types) {
		return fault.Data.Errorf("train.init: head %q of %s learned the types of entities %q of %s, and %s has %q; hint: another name in model.classifiers begins a new head, --labels-from %s keeps the types",
			c.Model.Classifiers[i].Name, from.Dir(), learned, was.Data.Train, c.Data.Train, types, was.Data.Train)
	}
	return nil
}

// entityTypes are the names of the types of entities in a data set's bio plane, by number; nil where it has none, or its
// provenance does not tell.
func entityTypes(ds *shard.Dataset) []string {
	for _, p := range ds.Index().Planes {
		if p.Name == text.PlaneBIO {
			if types, err := text.ParseEntityTypes(p.Provenance); err == nil {
				return types
			}
		}
	}
	return nil
}
