//go:build cuda

package cuda

/*
#include "queue.h"
*/
import "C"

import (
	"runtime"
	"sync"
	"unsafe"

	"palimpsest/engine/fault"
)

// An Event is a point in the queue.
type Event struct {
	device *Device
	handle C.uint64_t // 0: of a failed event
	number uint64     // of the command that records it

	mu      sync.Mutex
	done    bool
	err     error
	deliver func() // copies what was read back to its place
}

// eventPool keeps driver events for reuse.
type eventPool struct {
	sync.Mutex
	free, all []C.uint64_t
	closed    bool
}

// take empties the pool and returns all events ever made.
func (p *eventPool) take() []C.uint64_t {
	p.Lock()
	defer p.Unlock()
	all := p.all
	p.free, p.all, p.closed = nil, nil, true
	return all
}

func (p *eventPool) put(h C.uint64_t) {
	p.Lock()
	defer p.Unlock()
	if !p.closed {
		p.free = append(p.free, h)
	}
}

// newEvent takes a driver event from the pool or makes one. The event goes back when nobody holds it any more.
func (d *Device) newEvent() (*Event, error) {
	p := &d.pool
	p.Lock()
	h := C.uint64_t(0)
	if n := len(p.free); n > 0 {
		h = p.free[n-1]
		p.free = p.free[:n-1]
	}
	p.Unlock()
	if h == 0 {
		err := d.queue.do(func() error { return driverError("making an event", int(C.event_create(&h))) })
		if err != nil {
			return nil, err
		}
		p.Lock()
		p.all = append(p.all, h)
		p.Unlock()
	}
	e := &Event{device: d, handle: h}
	runtime.AddCleanup(e, p.put, h)
	return e, nil
}

// failedEvent is an event whose Wait returns err.
func (d *Device) failedEvent(err error) *Event { return &Event{device: d, done: true, err: err} }

// Record marks this point of the queue. A failure is the event's: Wait returns it.
func (d *Device) Record() *Event { return d.record(0) }

func (d *Device) record(stream C.uint32_t) *Event {
	if d.queue.refuse("Record") {
		return d.failedEvent(fault.Internal.Errorf("cuda: an event was recorded inside a captured graph"))
	}
	e, err := d.newEvent()
	if err != nil {
		return d.failedEvent(err)
	}
	e.number = d.queue.put(C.command{kind: C.COMMAND_RECORD, stream: stream, handle: e.handle}, nil, true)
	return e
}

// Wait returns when everything queued before the event is done, and with it, the data of CopyOutLater in its place.
func (e *Event) Wait() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done {
		return e.err
	}
	e.done = true
	if e.err = e.device.await("waiting for an event", e.handle, e.number); e.err == nil && e.deliver != nil {
		e.deliver()
	}
	e.deliver = nil
	return e.err
}

// Done tells whether Wait would return at once. It never blocks on the device.
func (e *Event) Done() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.done {
		return true
	}
	q := &e.device.queue
	q.mu.Lock()
	issued, failed := q.issued >= e.number, q.err != nil
	q.mu.Unlock()
	if failed {
		return true
	}
	const notReady = 600
	return issued && C.event_query(e.device.ctx, e.handle) != notReady
}

// Elapsed is the time in milliseconds between two recorded events of a device, which it waits for.
func Elapsed(from, to *Event) (ms float64, err error) {
	for _, e := range []*Event{from, to} {
		if err := e.Wait(); err != nil {
			return 0, err
		}
	}
	if from.handle == 0 || to.handle == 0 {
		return 0, fault.Internal.Errorf("cuda: time between events that were not recorded")
	}
	var t C.float
	err = driverError("time between two events", int(C.event_elapsed(from.device.ctx, from.handle, to.handle, &t)))
	runtime.KeepAlive(from)
	runtime.KeepAlive(to)
	return float64(t), err
}

// pinnedBytes is pinned memory as a slice.
func pinnedBytes(at C.uint64_t, n int) []byte {
	return unsafe.Slice(*(**byte)(unsafe.Pointer(&at)), n) // C's memory, which the collector does not move
}
