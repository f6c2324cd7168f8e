package engine

import (
	"errors"
	"io"
	"slices"

	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
	"palimpsest/objectives"
)

// update is everything one step of the optimiser reads: its micro-batches, planned together so that their denominators
// cover all of them, and where the data goes on after it.
type update struct {
	step    int64
	phase   int
	plans   []*objectives.Plan
	after   shard.Cursor
	epoch   uint32 // of the first document
	tokens  int64
	pieces  int64 // documents, and pieces of longer ones
	rows    int64
	bare    int64      // documents and pieces without a row that bears a loss
	classes *classSums // of rows whose classes are told apart, where a line of the log is due
	masks   *maskSums  // of rows whose kinds of masks are told apart, likewise
	err     error
}

// feed plans updates in the background, a few ahead, so that a step never waits for data.
type feed struct {
	updates <-chan *update // in the order of steps; closed after the last
	free    chan []*objectives.Plan
	quit    chan struct{}
	done    chan struct{}
	stream  *shard.Stream
}

// updates planned ahead of the one in work.
const feedDepth = 3

// feedConfig says what a feed plans.
type feedConfig struct {
	stream     shard.StreamConfig
	pack       shard.PackConfig
	objectives []objectives.Objective // by phase
	phases     []stretch
	accumulate int
	first, end int64 // steps
	pieces     int64 // planned before the first
	total      int64 // steps of the run, for schedules of masking
	vocab      int
	context    int
	filler     *objectives.Filler // nil: plans stay as they are
}

// newFeed starts at a cursor with step c.first. The cost of a document in a step is that of the step's objective.
func newFeed(ds *shard.Dataset, c feedConfig, from shard.Cursor) (*feed, error) {
	stream, err := ds.Stream(c.stream, from)
	if err != nil {
		return nil, err
	}
	updates := make(chan *update, feedDepth)
	f := &feed{updates: updates, free: make(chan []*objectives.Plan, feedDepth+2),
		quit: make(chan struct{}), done: make(chan struct{}), stream: stream}
	phase := phaseAt(c.phases, c.first)
	if c.pack.Mode == shard.Whole {
		c.pack.Cost = func(tokens int) int { return c.objectives[phase].Cost(tokens) }
	}
	packer, err := shard.NewPacker(stream, c.pack)
	if err != nil {
		stream.Close()
		return nil, err
	}
	go func() {
		defer close(f.done)
		defer close(updates)
		pieces := c.pieces
		for step := c.first; step < c.end; step++ {
			phase = phaseAt(c.phases, step)
			u := &update{step: step, phase: phase, plans: f.plans(c.accumulate)}
			u.fill(packer, c, pieces)
			pieces += u.pieces
			select {
			case updates <- u:
			case <-f.quit:
				return
			}
			if u.err != nil {
				return
			}
		}
	}()
	return f, nil
}

// plans returns the memory of a finished update, or new plans.
func (f *feed) plans(n int) []*objectives.Plan {
	select {
	case p := <-f.free:
		return p
	default:
		p := make([]*objectives.Plan, n)
		for i := range p {
			p[i] = new(objectives.Plan)
		}
		return p
	}
}

// fill plans all micro-batches of the update, before which the run has seen that many documents and pieces.
func (u *update) fill(packer *shard.Packer, c feedConfig, before int64) {
	o := c.objectives[u.phase]
	for i, p := range u.plans {
		step, err := packer.Next()
		if errors.Is(err, io.EOF) {
			err = fault.Internal.Errorf("the endless stream of documents ended")
		}
		if err != nil {
			u.err = err
			return
		}
		if i == 0 {
			u.epoch = step.Pieces[0].Epoch
		}
		p.Batch, p.Batches, p.FirstRow = u.step*int64(c.accumulate)+int64(i), c.accumulate, before+u.pieces
		p.Progress = float64(u.step) / float64(max(1, c.total-1))
		planPieces(o, p, step.Pieces)
		if err := p.Check(c.vocab, c.context); err != nil {
			u.err = fault.Data.Wrap(err)
			return
		}
		u.tokens += p.TokensRead()
		u.pieces += int64(len(step.Pieces))
		u.rows += int64(p.Rows())
		u.bare += bareSegments(p)
	}
	if u.rows == 0 && u.plans[0].Terms[0].Head == objectives.HeadLM {
		u.err = fault.Data.Errorf("none of the %d tokens of an update bears a loss; hint: a larger mask.p or data.tokens_per_step, or documents with more than special and context tokens", u.tokens)
		return
	}
	objectives.SetDenominators(u.plans)
	if c.filler != nil {
		for _, p := range u.plans {
			c.filler.Fill(p)
		}
	}
	u.after = packer.Cursor()
}

// bareSegments counts the segments of a plan that no term asks anything of.
func bareSegments(p *objectives.Plan) (n int64) {
	for s := range p.Segments {
		if !slices.ContainsFunc(p.Terms, func(t objectives.Term) bool { return t.Offsets[s+1] > t.Offsets[s] }) {
			n++
		}
	}
	return n
}

// planPieces makes the plan of one packed step.
func planPieces(o objectives.Objective, p *objectives.Plan, pieces []shard.Piece) {
	o.Begin(p)
	for _, piece := range pieces {
		p.Read += int64(len(piece.Tokens))
		o.Plan(objectives.Document{ID: piece.Document, Epoch: piece.Epoch, Offset: piece.Offset, Tokens: piece.Tokens, Planes: piece.Planes}, p)
	}
}

// recycle gives an update's plans back once the device has finished with them.
func (f *feed) recycle(u *update) {
	select {
	case f.free <- u.plans:
	default:
	}
}

// close stops the background work and waits for it.
func (f *feed) close() error {
	close(f.quit)
	<-f.done
	return f.stream.Close()
}
