package shard

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	"palimpsest/engine/fault"
	"palimpsest/kernels/philox"
)

// A StreamConfig says which documents a Stream yields, and in which order.
//
// The frames of all shards are numbered globally. Window w of an epoch is W consecutive frames, in natural order or, with
// Shuffle, of the permutation that belongs to (seed, epoch); with Shuffle the documents of a window are permuted too. So a
// position is four numbers and a stream restarts there without reading what came before.
type StreamConfig struct {
	Seed     uint64
	Shuffle  bool
	Window   int // frames a window; 0 = 16. Part of the order: keep it when a run is resumed
	Split    Split
	Planes   []string
	Epochs   int // 0 = for ever
	Decoders int // frames decoded at the same time, in the background; 0 = 2. Changes no result
}

// A Cursor is a position in a stream: of a document, and for a Packer of a token within it. It belongs to the data set
// (Index.Hash), seed, window, shuffle and split it was taken with. The zero Cursor is the beginning.
type Cursor struct {
	Epoch    uint32 `json:"epoch"`
	Window   int64  `json:"window"`
	Document int64  `json:"document"` // within the window, in yielded order
	Offset   int64  `json:"offset"`   // tokens of the document that are used already
}

// A Stream yields documents in order while the next window is decoded and verified in the background; it holds at most two
// windows. It is not safe for concurrent use. Close it.
type Stream struct {
	ds      *Dataset
	c       StreamConfig
	keep    func(id int64) bool
	planes  []int
	windows int64 // of an epoch
	ready   chan window
	stop    context.CancelFunc
	workers sync.WaitGroup

	current window
	at      int    // next document of current
	start   Cursor // of the stream; its Document and Offset are due until the first window came
	begun   bool
	err     error // io.EOF, or the failure
}

type window struct {
	epoch     uint32
	number    int64
	documents []Document
	err       error
}

// Stream starts at a cursor. Errors: fault.Usage for the configuration, fault.Data for planes that do not exist and for a
// cursor that cannot belong to the stream; a cursor's Document and Offset are checked by the first Next.
func (ds *Dataset) Stream(c StreamConfig, from Cursor) (*Stream, error) {
	if c.Window == 0 {
		c.Window = 16
	}
	if c.Decoders == 0 {
		c.Decoders = 2
	}
	if c.Window < 1 || c.Window > 1<<20 || c.Epochs < 0 || int64(c.Epochs) > 1<<32-1 || c.Decoders < 1 {
		return nil, fault.Usage.Errorf("data set %s: stream of window %d, epochs %d, decoders %d, expected positive numbers",
			ds.dir, c.Window, c.Epochs, c.Decoders)
	}
	keep, err := ds.Selector(c.Seed, c.Split)
	if err != nil {
		return nil, err
	}
	planes, err := ds.planeIndices(c.Planes)
	if err != nil {
		return nil, err
	}
	s := &Stream{ds: ds, c: c, keep: keep, planes: planes, start: from}
	s.windows = (ds.index.Frames + int64(c.Window) - 1) / int64(c.Window)
	end := c.Epochs > 0 && int64(from.Epoch) >= int64(c.Epochs)
	if from.Window < 0 || from.Window >= s.windows || from.Document < 0 || from.Offset < 0 ||
		end && (from != Cursor{Epoch: uint32(c.Epochs)}) {
		return nil, s.badCursor("%d epochs of %d windows", c.Epochs, s.windows)
	}
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	s.ready = make(chan window) // unbuffered: one window waits here complete while another is consumed
	s.workers.Go(func() { s.produce(ctx) })
	return s, nil
}

func (s *Stream) badCursor(format string, args ...any) error {
	return fault.Data.Errorf("data set %s: cursor %+v does not fit a stream of "+format+
		"; "+
		"hint: data set, seed, window and split must be those of the run that is resumed", append([]any{s.ds.dir, s.start}, args...)...)
}

// produce decodes window after window until the last epoch ends, an error occurs or the stream is closed.
func (s *Stream) produce(ctx context.Context) {
	defer close(s.ready)
	empty := int64(0) // windows in a row without a document
	for epoch, number := s.start.Epoch, s.start.Window; s.c.Epochs == 0 || int64(epoch) < int64(s.c.Epochs); {
		w := window{epoch: epoch, number: number}
		w.documents, w.err = s.decode(ctx, epoch, number)
		if empty++; len(w.documents) > 0 {
			empty = 0
		}
		if w.err == nil && empty == s.windows {
			w.err = fault.Data.Errorf("data set %s: no document belongs to part %q", s.ds.dir, s.c.Split.Part)
		}
		select {
		case s.ready <- w:
		case <-ctx.Done():
			return
		}
		if w.err != nil {
			return
		}
		if number++; number == s.windows {
			epoch, number = epoch+1, 0
		}
	}
}

// decode returns the documents of a window in their final order. Frames are decoded side by side into slots, so that the
// order does not depend on who is faster.
func (s *Stream) decode(ctx context.Context, epoch uint32, number int64) ([]Document, error) {
	from := number * int64(s.c.Window)
	count := int(min(int64(s.c.Window), s.ds.index.Frames-from))
	order := philox.NewBijection(uint64(s.ds.index.Frames), s.c.Seed, philox.StreamShuffle, epoch)
	slots := make([][]Document, count)
	errs := make([]error, count)
	var next atomic.Int64
	work := func() {
		for i := next.Add(1) - 1; i < int64(count); i = next.Add(1) - 1 {
			g := from + i
			if s.c.Shuffle {
				g = int64(order.At(uint64(g)))
			}
			if errs[i] = ctx.Err(); errs[i] == nil {
				slots[i], errs[i] = s.ds.frame(ctx, g, s.keep, s.planes)
			}
		}
	}
	var others sync.WaitGroup
	for range min(s.c.Decoders, count) - 1 {
		others.Go(work)
	}
	work()
	others.Wait()
	total := 0
	for i := range slots {
		if errs[i] != nil {
			return nil, errs[i]
		}
		total += len(slots[i])
	}
	documents := make([]Document, 0, total)
	for _, slot := range slots {
		documents = append(documents, slot...)
	}
	for i := range documents {
		documents[i].Epoch = epoch
	}
	if s.c.Shuffle {
		draw := philox.New(s.c.Seed, philox.StreamShuffle, uint64(number), epoch)
		draw.Permute(total, func(i, j int) { documents[i], documents[j] = documents[j], documents[i] })
	}
	return documents, nil
}

// Next returns the next document, always whole (a cursor's Offset is for a Packer), and io.EOF after the last epoch. An
// error repeats.
func (s *Stream) Next() (Document, error) {
	for s.err == nil && s.at == len(s.current.documents) {
		w, more := <-s.ready
		if s.err = w.err; !more {
			s.err = io.EOF
		}
		if s.err != nil {
			break
		}
		s.current, s.at = w, 0
		if !s.begun {
			s.err = s.begin()
		}
	}
	if s.err != nil {
		return Document{}, s.err
	}
	d := s.current.documents[s.at]
	s.at++
	return d, nil
}

// begin moves to the start cursor within the first window.
func (s *Stream) begin() error {
	s.begun = true
	n := int64(len(s.current.documents))
	if s.start.Document >= n && s.start.Document > 0 {
		return s.badCursor("%d documents in that window", n)
	}
	s.at = int(s.start.Document)
	if s.start.Offset > 0 && (n == 0 || s.start.Offset >= int64(len(s.current.documents[s.at].Tokens))) {
		return s.badCursor("shorter documents there")
	}
	return nil
}

// Cursor returns the position of the document that Next returns next. Its Offset is 0 except before the first Next of a
// stream that was started with one.
func (s *Stream) Cursor() Cursor {
	switch {
	case !s.begun:
		return s.start
	case s.at < len(s.current.documents):
		return Cursor{Epoch: s.current.epoch, Window: s.current.number, Document: int64(s.at)}
	case s.current.number+1 < s.windows:
		return Cursor{Epoch: s.current.epoch, Window: s.current.number + 1}
	}
	return Cursor{Epoch: s.current.epoch + 1}
}

// taken returns the exact position of the document that Next returned last.
func (s *Stream) taken() Cursor {
	return Cursor{Epoch: s.current.epoch, Window: s.current.number, Document: int64(s.at - 1)}
}

// Close stops the background work and waits for it. Next fails afterwards; closing twice is harmless.
func (s *Stream) Close() error {
	s.stop()
	s.workers.Wait()
	if s.err == nil || s.err == io.EOF {
		s.err = fault.Usage.Errorf("data set %s: the stream is closed", s.ds.dir)
	}
	s.start, s.begun = s.Cursor(), false // Cursor goes on telling the position
	s.current, s.at = window{}, 0
	return nil
}
