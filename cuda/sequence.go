//go:build cuda

package cuda

/*
#include "queue.h"
#cgo noescape sequence_capture
#cgo nocallback sequence_capture
#cgo noescape sequence_patch
#cgo nocallback sequence_patch
*/
import "C"

import (
	"fmt"
	"unsafe"

	"gorgonia.org/cu"
)

// A step of training queues the same hundreds of launches again and again; from step to step only some arguments differ:
// counters of dropout, the learning rate, live counts and what follows from them. Together keeps such work as a sequence of
// commands instead of issuing them one by one. The first time that a sequence comes it is issued as ever; the second time it is
// captured as a graph; then nodes whose arguments, grid, block or shared memory differ from what the graph has are patched
// (cuGraphExecKernelNodeSetParams and its like for fills and copies), and all of it is one launch. The kernels, their arguments
// and their order are the same on every one of these ways, and so are the results, bit for bit.
//
// Two sequences are the same when they have the same functions, fills and copies in the same order, and between them products of
// the same preparation and operands: a node of cuBLASLt's cannot be patched, as its kernel and arguments are the library's secret.
// So with cuBLASLt a graph serves only steps of the same shapes, and whoever packs steps rounds their sizes up to few classes
// (see engine's filler); with the built-in products everything is patched. What is no piece of a graph - copies from or to the
// host, events, allocations - ends a sequence and keeps its place between the parts.
//
// Whether that pays is counted: where fewer than half of the latest commands were replayed, the driver does not capture or change
// what it is given, or memory is short, no more graphs are made, Replays says why, and everything is issued one by one as without
// them.
//
// What the driver asks for (CUDA Driver API reference, Graph Management and Stream Management), and how it is kept:
//   - A kernel node may get other arguments, grid, block and shared memory, not a function of another context; the shared memory
//     that AllowShared asked for is the function's and holds for graphs too. Parameters are copied by the call.
//   - Nodes of fills and copies may be changed while they are one-dimensional, not empty and within the same context: nothing else
//     is ever queued, Fill and Copy leave out what is empty, and a device has one context.
//   - A node is named by the graph that was instantiated, which therefore lives as long as the executable one.
//   - Changes hold for later launches. Those that are queued or run keep theirs, so that no step waits for the one before.
//   - Launches of one executable graph follow each other; all go to one stream.
//   - While a stream captures, its thread must not synchronise, allocate or load: between begin and end only the sequence is
//     issued, by the device's thread, and all of it was issued before, which has loaded what CUDA loads lazily. Other threads may do
//     all that: the mode is thread-local. Events are never recorded in a capture, so that none that others wait for belongs to one.
//   - The stream is a non-blocking one, as captures forbid the legacy stream's implicit order, and nothing uses the legacy stream.
//   - cuBLASLt's workspace is its own allocation, which a graph's products share with those that are issued: one stream orders them.

const (
	leastSequence = 4    // commands: shorter sequences are issued
	maxSightings  = 4096 // sequences that are remembered without a graph
	maxRefused    = 3    // graphs that the driver did not change as asked
)

// Variables for tests.
var (
	maxGraphs   = 64                                                       // of a device; the one whose last use is longest ago makes room
	judgedEvery = 256                                                      // sequences; half of their commands must be replays
	spareMemory = func(total int64) int64 { return max(64<<20, total/64) } // free memory of a device below which it makes no graph
)

// Replays says what became of the work that Together kept.
type Replays struct {
	Sequences int64  // uninterrupted stretches of work
	Commands  int64  // in them
	Replayed  int64  // sequences that were one launch of a graph
	Patched   int64  // nodes that were changed before
	Captured  int64  // graphs that were made
	Evicted   int64  // of these, given up for others
	Refused   int64  // of these, given up as the driver refused a change
	Graphs    int    // now
	Bytes     int64  // device memory they take, as the driver's free memory shows it
	Off       string // why no more are made
}

// A sequence is commands on their way to the device together.
type sequence struct {
	commands   []C.command
	parameters []byte
	subjects   []fmt.Stringer
}

func (s *sequence) add(c C.command, parameters []byte, subject fmt.Stringer) {
	c.at, c.size = C.uint32_t(len(s.parameters)), C.uint32_t(len(parameters))
	s.parameters = append(s.parameters, parameters...)
	if n := len(s.parameters); n%16 != 0 {
		s.parameters = append(s.parameters, make([]byte, 16-n%16)...)
	}
	s.commands, s.subjects = append(s.commands, c), append(s.subjects, subject)
}

func (s *sequence) reset() {
	clear(s.subjects)
	s.commands, s.parameters, s.subjects = s.commands[:0], s.parameters[:0], s.subjects[:0]
}

// String says which commands they are.
func (s *sequence) String() string {
	n := len(s.commands)
	return fmt.Sprintf("a graph of %d operations, from %s to %s", n,
		describe(&s.commands[0], s.subjects[0]), describe(&s.commands[n-1], s.subjects[n-1]))
}

// fixed is what a node keeps for good: what cannot be patched. Products are told by their serial number, as the address of a
// prepared one may be used again.
func (s *sequence) fixed(i int) (word [6]C.uint64_t) {
	c := &s.commands[i]
	word[0] = C.uint64_t(c.kind) | C.uint64_t(c.size)<<32
	switch c.kind {
	case C.COMMAND_LAUNCH:
		word[1] = c.handle
	case C.COMMAND_PRODUCT:
		word = [6]C.uint64_t{C.uint64_t(c.kind) | C.uint64_t(s.subjects[i].(*product).serial)<<8, c.a, c.b, c.n, c.more[0], c.more[1]}
	}
	return word
}

// hash is of all that is fixed.
func (s *sequence) hash() uint64 {
	h := uint64(len(s.commands))
	for i := range s.commands {
		for _, w := range s.fixed(i) {
			h = (h ^ uint64(w)) * 0x9E3779B97F4A7C15
			h ^= h >> 29
		}
	}
	return h
}

// base is where the parameters lie.
func (s *sequence) base() *C.uchar { return (*C.uchar)(unsafe.SliceData(s.parameters)) }

// like reports whether a graph of one of the two can be patched to be the other.
func (s *sequence) like(o *sequence) bool {
	if len(s.commands) != len(o.commands) {
		return false
	}
	for i := range s.commands {
		if s.fixed(i) != o.fixed(i) {
			return false
		}
	}
	return true
}

// A replayer is the graphs of a device. It belongs to the device's thread, but for counts, which the queue's lock covers.
type replayer struct {
	graphs    map[uint64]*replay
	sightings map[uint64]struct{}
	clock     int64
	window    struct{ sequences, commands, replayed int } // since they were judged last; replayed are commands
	counts    Replays
}

// A replay is the graph of a sequence, as its nodes are now.
type replay struct {
	sequence    *sequence
	graph, exec C.uint64_t
	nodes       []C.uint64_t
	bytes       int64
	used        int64 // the clock at its last use
}

// Together runs work, whose commands are kept and go to the device when it returns, or before something that cannot be part of
// a graph. See Replays for what came of it. Inside a Capture or another Together it only runs work.
func (d *Device) Together(work func()) {
	q := &d.queue
	q.mu.Lock()
	keep := q.kept == nil && !q.capturing && q.replayer.counts.Off == ""
	if keep {
		q.kept = q.spare()
	}
	q.mu.Unlock()
	if keep {
		defer func() {
			q.mu.Lock()
			defer q.mu.Unlock()
			q.cut()
			q.spares, q.kept = append(q.spares, q.kept), nil
		}()
	}
	work()
}

// Replays counts what Together kept, as far as it was issued.
func (d *Device) Replays() Replays {
	q := &d.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.replayer.counts
}

// spare is an empty sequence. mu is held.
func (q *queue) spare() *sequence {
	if n := len(q.spares); n > 0 {
		s := q.spares[n-1]
		q.spares = q.spares[:n-1]
		return s
	}
	return new(sequence)
}

// keeping reports whether a sequence takes commands now. mu is held.
func (q *queue) keeping() bool { return q.kept != nil && !q.capturing }

// keep takes a command that may be part of a graph; false: there is no sequence that takes it, and none is left unissued. mu is
// held.
func (q *queue) keep(c C.command, parameters []byte, subject fmt.Stringer) bool {
	if !q.keeping() {
		return false
	}
	switch c.kind {
	case C.COMMAND_LAUNCH, C.COMMAND_FILL, C.COMMAND_COPY, C.COMMAND_PRODUCT:
		if q.err == nil && !q.closed {
			q.kept.add(c, parameters, subject)
			q.appended++
		}
		return true
	}
	q.cut()
	return false
}

// cut passes what was kept on to the device's thread, behind all that was queued before. mu is held, and given back while there
// is no room.
func (q *queue) cut() {
	for q.kept != nil && len(q.kept.commands) > 0 {
		switch {
		case q.err != nil || q.closed:
			q.kept.reset()
		case q.last+1-q.first >= batches:
			q.progress.Wait()
		case q.fill().n > 0:
			q.last++
		default:
			q.fill().sequence = q.kept
			q.last++
			q.kept = q.spare()
		}
		q.work.Signal()
	}
}

// together issues a sequence, on the device's thread.
func (q *queue) together(s *sequence) error {
	r := &q.replayer
	count := func(change func(c *Replays)) {
		q.mu.Lock()
		defer q.mu.Unlock()
		change(&r.counts)
	}
	if len(s.commands) < leastSequence || r.counts.Off != "" {
		return q.issueAll(s)
	}
	hash := s.hash()
	r.clock++
	g := r.graphs[hash]
	if g != nil && g.sequence.like(s) {
		patched, err := g.patch(s, q.ctx)
		if isLost(err) {
			return err
		}
		if err == nil {
			err = g.launch(s, q.compute)
		}
		if err == nil {
			*g.sequence, *s = *s, *g.sequence
			g.used = r.clock
			count(func(c *Replays) { c.add(g.sequence); c.Replayed++; c.Patched += int64(patched) })
			r.judge(g.sequence, true, q.compute, count)
			return nil
		}
		if isLost(err) {
			return err
		}
		r.forget(hash, q.compute)
		count(func(c *Replays) { c.Refused++; r.sum(c) })
		if r.counts.Refused >= maxRefused {
			count(func(c *Replays) { c.add(s) })
			r.giveUp(err.Error(), q.compute, count)
			return q.issueAll(s)
		}
	}
	count(func(c *Replays) { c.add(s) })
	r.judge(s, false, q.compute, count)
	if _, again := r.sightings[hash]; !again || r.counts.Off != "" || g != nil && r.graphs[hash] == g { // the last: another of the same hash
		if len(r.sightings) >= maxSightings {
			clear(r.sightings)
		}
		if r.sightings == nil {
			r.sightings, r.graphs = map[uint64]struct{}{}, map[uint64]*replay{}
		}
		r.sightings[hash] = struct{}{}
		return q.issueAll(s)
	}
	if len(r.graphs) >= maxGraphs {
		oldest := r.oldest()
		r.forget(oldest, q.compute)
		delete(r.sightings, oldest)
		count(func(c *Replays) { c.Evicted++ })
	}
	g, err := newReplay(s, q.compute)
	if err == nil {
		g.used = r.clock
		r.graphs[hash] = g
		count(func(c *Replays) { c.Captured++; r.sum(c) })
		if err = g.launch(s, q.compute); err == nil {
			*g.sequence, *s = *s, *g.sequence
			return nil
		}
	}
	if isLost(err) {
		return err
	}
	// What is wrong with a command shows, with its name, when it is issued by itself.
	r.giveUp(err.Error(), q.compute, count)
	return q.issueAll(s)
}

// giveUp makes no more graphs.
func (r *replayer) giveUp(why string, stream C.uint64_t, count func(func(c *Replays))) {
	for hash := range r.graphs {
		r.forget(hash, stream)
	}
	count(func(c *Replays) { c.Off = why; r.sum(c) })
}

// issueAll issues a sequence one by one.
func (q *queue) issueAll(s *sequence) error {
	return q.issue(s.commands, s.base(), s.subjects)
}

func (c *Replays) add(s *sequence) {
	c.Sequences++
	c.Commands += int64(len(s.commands))
}

// sum counts the graphs and their memory.
func (r *replayer) sum(c *Replays) {
	c.Graphs, c.Bytes = len(r.graphs), 0
	for _, g := range r.graphs {
		c.Bytes += g.bytes
	}
}

// judge counts a sequence, and ends it all where too little of the latest work was replayed.
func (r *replayer) judge(s *sequence, replayed bool, stream C.uint64_t, count func(func(c *Replays))) {
	w := &r.window
	w.sequences++
	w.commands += len(s.commands)
	if replayed {
		w.replayed += len(s.commands)
	}
	if w.sequences < judgedEvery {
		return
	}
	if 2*w.replayed < w.commands {
		r.giveUp(fmt.Sprintf("only %d of the last %d operations came in sequences that had come before: their shapes differ too much from step to step",
			w.replayed, w.commands), stream, count)
	}
	w.sequences, w.commands, w.replayed = 0, 0, 0
}

// oldest is the hash of the graph whose last use is longest ago.
func (r *replayer) oldest() (hash uint64) {
	least := r.clock + 1
	for h, g := range r.graphs {
		if g.used < least {
			hash, least = h, g.used
		}
	}
	return hash
}

// forget destroys a graph. It first waits for its stream, where it may be running; that is seldom needed.
func (r *replayer) forget(hash uint64, stream C.uint64_t) {
	g := r.graphs[hash]
	delete(r.graphs, hash)
	C.sequence_destroy(g.graph, g.exec, stream) // a failure is the stream's, and shows at what comes next
}

// newReplay captures a sequence, on the device's thread.
func newReplay(s *sequence, stream C.uint64_t) (*replay, error) {
	g := &replay{sequence: &sequence{}, nodes: make([]C.uint64_t, len(s.commands))}
	before, total, err := cu.MemInfo()
	if err != nil {
		return nil, cuError("asking for free memory", err)
	}
	if spare := spareMemory(total); before < spare {
		return nil, fmt.Errorf("graphs are made while the device has %s of memory to spare, and %s are free", size(int(spare)), size(int(before)))
	}
	failed := C.int(-1)
	code := C.sequence_capture(&s.commands[0], C.int(len(s.commands)), s.base(), stream, &g.graph, &g.exec, &g.nodes[0], &failed)
	if code != 0 {
		op := "making " + s.String()
		if failed >= 0 {
			op = "capturing " + describe(&s.commands[failed], s.subjects[failed])
			if p, ok := s.subjects[failed].(*product); ok && code < 0 {
				return nil, p.owner.failure(op, int(-code))
			}
		}
		return nil, driverError(op, int(code))
	}
	if after, _, err := cu.MemInfo(); err == nil {
		g.bytes = max(0, before-after)
	}
	return g, nil
}

// patch makes the graph do s. After an error it does neither that nor what it did before.
func (g *replay) patch(s *sequence, ctx C.uint64_t) (patched int, err error) {
	was := g.sequence
	var n, failed C.int
	code := C.sequence_patch(g.exec, &g.nodes[0], C.int(len(s.commands)), &s.commands[0], s.base(),
		&was.commands[0], was.base(), ctx, &n, &failed)
	if code != 0 {
		return int(n), driverError("changing a graph: "+describe(&s.commands[failed], s.subjects[failed]), int(code))
	}
	return int(n), nil
}

// launch queues the graph, which does s.
func (g *replay) launch(s *sequence, stream C.uint64_t) error {
	if code := C.sequence_launch(g.exec, stream); code != 0 {
		return driverError("launching "+s.String(), int(code))
	}
	return nil
}

// close destroys all graphs, on the device's thread.
func (r *replayer) close(stream C.uint64_t) (err error) {
	for _, g := range r.graphs {
		err = first(err, driverError("destroying a graph", int(C.sequence_destroy(g.graph, g.exec, stream))))
	}
	clear(r.graphs)
	return err
}
