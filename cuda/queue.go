//go:build cuda

package cuda

/*
#include "queue.h"
#cgo noescape queue_issue
#cgo nocallback queue_issue
*/
import "C"

import (
	"fmt"
	"runtime"
	"sync"
)

const (
	batchCommands   = 64
	batchParameters = 16 << 10
	batches         = 16 // how far callers may run ahead of the driver, which blocks some 1000 launches ahead of the device
	wakeAt          = 8  // commands that are worth waking the issuing thread for when nobody waits
)

// A batch is commands in Go memory, with the parameters of their launches.
type batch struct {
	n          int
	commands   [batchCommands]C.command
	subjects   [batchCommands]fmt.Stringer // what a command is about, for errors
	size       int
	parameters [batchParameters]byte
	sequence   *sequence // instead of all these: commands that were kept together
}

// A queue hands batches to the goroutine that owns the context. While it issues one, the next ones are filled.
type queue struct {
	mu              sync.Mutex
	work            sync.Cond // for the goroutine: a batch or a call is there
	progress        sync.Cond // for callers: a batch was issued, a call was run, something failed
	ring            [batches]*batch
	first, last     int // batch that is issued next or now, batch that is filled; modulo the ring's length
	flush           bool
	call            func()
	called          bool
	closed          bool
	appended        uint64 // commands ever queued
	issued          uint64
	err             error // the first failure
	capturing       bool
	captureErr      error
	compute, copies C.uint64_t
	ctx             C.uint64_t
	calls           sync.Mutex // one call at a time

	kept     *sequence   // what takes commands now, inside Together
	spares   []*sequence // empty
	replayer replayer    // of the goroutine, but for its counts
}

func (q *queue) start() {
	q.work.L, q.progress.L = &q.mu, &q.mu
	for i := range q.ring {
		q.ring[i] = new(batch)
	}
	go q.run()
}

// fill is the batch that takes the next command.
func (q *queue) fill() *batch { return q.ring[q.last%batches] }

// ready tells whether a batch is to be issued: a full one, or what there is when somebody asked for it or it is enough.
func (q *queue) ready() bool {
	n := q.fill().n
	return q.first < q.last || n >= wakeAt || q.flush && n > 0
}

// run issues batches and runs calls until the queue is closed. Its thread is never given back: it ends with the context
// current on it.
func (q *queue) run() {
	runtime.LockOSThread()
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		for !q.ready() && (q.call == nil || q.called) && !q.closed {
			q.flush = false
			q.work.Wait()
		}
		switch {
		case q.ready():
			b := q.ring[q.first%batches]
			if q.first == q.last {
				q.last++
				q.flush = false
			}
			drop := q.err != nil || q.captureErr != nil
			n := b.n
			if b.sequence != nil {
				n = len(b.sequence.commands)
			}
			q.mu.Unlock()
			var err error
			switch {
			case drop:
			case b.sequence != nil:
				err = q.together(b.sequence)
			default:
				err = q.issue(b.commands[:b.n], (*C.uchar)(&b.parameters[0]), b.subjects[:b.n])
			}
			q.mu.Lock()
			if err != nil {
				q.failed(err)
			}
			if b.sequence != nil {
				b.sequence.reset()
				q.spares, b.sequence = append(q.spares, b.sequence), nil
			}
			q.issued += uint64(n)
			clear(b.subjects[:b.n])
			b.n, b.size = 0, 0
			q.first++
			q.progress.Broadcast()
		case q.call != nil && !q.called:
			f := q.call
			q.mu.Unlock()
			f()
			q.mu.Lock()
			q.called = true
			q.progress.Broadcast()
		default:
			return
		}
	}
}

// failed keeps the first failure. One inside a capture spoils the capture only, unless the device is gone.
func (q *queue) failed(err error) {
	if q.capturing && !isLost(err) {
		if q.captureErr == nil {
			q.captureErr = err
		}
	} else if q.err == nil {
		q.err = err
	}
	q.progress.Broadcast()
}

func (q *queue) issue(commands []C.command, parameters *C.uchar, subjects []fmt.Stringer) error {
	var at C.int
	r := C.queue_issue(&commands[0], C.int(len(commands)), parameters, q.compute, q.copies, &at)
	if r == 0 {
		return nil
	}
	op := describe(&commands[at], subjects[at])
	if r < 0 {
		if p, ok := subjects[at].(*product); ok {
			return p.owner.failure(op, int(-r))
		}
	}
	return driverError(op, int(r))
}

// describe says in words what a command does.
func describe(c *C.command, subject fmt.Stringer) string {
	switch c.kind {
	case C.COMMAND_LAUNCH:
		return fmt.Sprintf("launching %v, grid %dx%dx%d, block %dx%dx%d, %d bytes of shared memory", subject,
			c.grid[0], c.grid[1], c.grid[2], c.block[0], c.block[1], c.block[2], c.shared)
	case C.COMMAND_COPY:
		return fmt.Sprintf("copying %d bytes on the device from 0x%x to 0x%x", c.n, c.b, c.a)
	case C.COMMAND_COPY_IN:
		return fmt.Sprintf("copying %d bytes to the device at 0x%x", c.n, c.a)
	case C.COMMAND_COPY_OUT:
		return fmt.Sprintf("copying %d bytes from the device at 0x%x", c.n, c.b)
	case C.COMMAND_FILL:
		return fmt.Sprintf("filling %d bytes at 0x%x with %d", c.n, c.a, c.b)
	case C.COMMAND_RECORD:
		return "recording an event"
	case C.COMMAND_WAIT:
		return "waiting for an event on the device"
	case C.COMMAND_GRAPH:
		return fmt.Sprintf("launching %v", subject)
	case C.COMMAND_PRODUCT:
		return fmt.Sprint(subject)
	}
	return fmt.Sprintf("command %d", c.kind)
}

// room waits until a command with that many bytes of parameters fits. It returns false, and the command is to be dropped,
// when something failed before. mu is held.
func (q *queue) room(parameters int) bool {
	for q.err == nil && !q.closed {
		if b := q.fill(); b.n < batchCommands && b.size+parameters <= batchParameters {
			break
		}
		if q.last+1-q.first < batches {
			q.last++
			q.work.Signal()
			continue
		}
		q.progress.Wait()
	}
	return q.err == nil && !q.closed && q.captureErr == nil
}

// added counts the command that was written at the end of the batch; mu is held and room said yes. It returns the
// command's number.
func (q *queue) added(subject fmt.Stringer, flush bool) uint64 {
	b := q.fill()
	b.subjects[b.n] = subject
	b.n++
	q.appended++
	if flush {
		q.flush = true
	}
	if flush || b.n == wakeAt {
		q.work.Signal()
	}
	return q.appended
}

// put queues a command without parameters.
func (q *queue) put(c C.command, subject fmt.Stringer, flush bool) uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.keep(c, nil, subject) || !q.room(0) {
		return q.appended
	}
	b := q.fill()
	b.commands[b.n] = c
	return q.added(subject, flush)
}

// drain waits until the commands up to a number were issued; it returns the queue's failure.
func (q *queue) drain(number uint64) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.issued < number && q.err == nil && !q.closed {
		q.flush = true
		q.work.Signal()
		q.progress.Wait()
	}
	if q.err == nil && q.closed {
		return errClosed
	}
	return q.err
}

// do runs f on the thread that owns the context, after what was queued before. It runs even when the queue has failed.
func (q *queue) do(f func() error) error {
	q.calls.Lock()
	defer q.calls.Unlock()
	var err error
	q.mu.Lock()
	defer q.mu.Unlock()
	q.cut()
	if q.closed {
		return errClosed
	}
	q.call, q.called = func() { err = f() }, false
	q.flush = true
	q.work.Signal()
	for !q.called {
		q.progress.Wait()
	}
	q.call = nil
	return err
}

// close ends the goroutine.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.work.Signal()
	q.progress.Broadcast()
}

// refuse records that a call makes no sense inside a capture; true when there is one.
func (q *queue) refuse(op string) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.capturing && q.captureErr == nil {
		q.captureErr = fmt.Errorf("cuda: %s cannot be part of a captured graph", op)
	}
	return q.capturing
}

func (q *queue) failure() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.err
}
