//go:build cuda

package cuda

/*
#include "queue.h"
*/
import "C"

import (
	"fmt"
	"math/bits"
	"sync"

	"palimpsest/engine/fault"
)

const stagingSegments = 4

// staging is the pinned ring behind CopyIn.
type staging struct {
	sync.Mutex
	ring   ring
	base   C.uint64_t
	events [stagingSegments]C.uint64_t
	marks  [stagingSegments]uint64 // command that recorded a segment's event, 0: never
	ahead  bool                    // the copying stream reads pieces that the computing one does not wait for yet
}

func (s *staging) open(bytes int) error {
	s.ring = ring{segment: alignUp(max(bytes/stagingSegments, alignment), alignment), count: stagingSegments}
	whole := s.ring.segment * s.ring.count
	op := fmt.Sprintf("allocating %s of pinned host memory", size(whole))
	if err := driverError(op, int(C.pinned_alloc(&s.base, C.size_t(whole)))); err != nil {
		return err
	}
	for i := range s.events {
		if err := driverError("making an event", int(C.event_create(&s.events[i]))); err != nil {
			return err
		}
	}
	return nil
}

func (s *staging) close() (err error) {
	for _, e := range s.events {
		if e != 0 {
			err = first(err, driverError("destroying an event", int(C.event_destroy(e))))
		}
	}
	if s.base != 0 {
		err = first(err, driverError("freeing pinned host memory", int(C.pinned_free(s.base))))
	}
	s.base, s.events = 0, [stagingSegments]C.uint64_t{}
	return err
}

func first(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// CopyIn copies src to the device in the order of the queue. It returns once src may be reused; the copy itself may be
// yet to come. It waits only where the staging ring is full of copies that the device has not reached.
func (d *Device) CopyIn(dst Address, src []byte) { d.copyIn(dst, src, 0) }

func (d *Device) copyIn(dst Address, src []byte, stream C.uint32_t) {
	if len(src) == 0 || d.queue.refuse("CopyIn") {
		return
	}
	s := &d.staging
	s.Lock()
	defer s.Unlock()
	for len(src) > 0 {
		before := s.ring.at
		offset, n, next := s.ring.place(len(src))
		if next {
			if s.ahead { // one event is to cover the pieces of both streams
				d.After(d.record(1))
				s.ahead = false
			}
			s.marks[before] = d.queue.put(C.command{kind: C.COMMAND_RECORD, handle: s.events[before]}, nil, true)
			if now := s.ring.at; s.marks[now] > 0 {
				if d.await("waiting for the staging ring", s.events[now], s.marks[now]) != nil {
					return // the queue keeps the failure
				}
			}
		}
		at := s.base + C.uint64_t(offset)
		copy(pinnedBytes(at, n), src)
		d.queue.put(C.command{kind: C.COMMAND_COPY_IN, stream: stream, a: C.uint64_t(dst), b: at, n: C.uint64_t(n)}, nil, false)
		s.ahead = s.ahead || stream != 0
		dst += Address(n)
		src = src[n:]
	}
}

// Prefetch copies src to the device on the copying stream, while queued work goes on: the copy begins when after (nil: at
// once) has come. Nothing queued may use dst until After was called with the event that Prefetch returns. src may be
// reused when it returns.
func (d *Device) Prefetch(dst Address, src []byte, after *Event) *Event {
	if after != nil && after.handle != 0 {
		d.queue.put(C.command{kind: C.COMMAND_WAIT, stream: 1, handle: after.handle}, nil, false)
	}
	d.copyIn(dst, src, 1)
	return d.record(1)
}

// After makes what is queued from now on wait on the device for an event of Prefetch.
func (d *Device) After(e *Event) {
	if e.handle == 0 || d.queue.refuse("After") {
		return
	}
	d.queue.put(C.command{kind: C.COMMAND_WAIT, handle: e.handle}, nil, false)
}

// readback is pinned blocks for copies to the host, by power of two.
type readback struct {
	sync.Mutex
	free [64][]C.uint64_t
	all  []C.uint64_t
}

const smallestBlock = 12 // 4 KiB

func blockClass(n int) int { return max(bits.Len(uint(n-1)), smallestBlock) }

func (r *readback) take(d *Device, n int) (C.uint64_t, error) {
	class := blockClass(n)
	r.Lock()
	if k := len(r.free[class]); k > 0 {
		at := r.free[class][k-1]
		r.free[class] = r.free[class][:k-1]
		r.Unlock()
		return at, nil
	}
	r.Unlock()
	var at C.uint64_t
	err := d.queue.do(func() error {
		return driverError(fmt.Sprintf("allocating %s of pinned host memory", size(1<<class)), int(C.pinned_alloc(&at, 1<<class)))
	})
	if err != nil {
		return 0, err
	}
	r.Lock()
	r.all = append(r.all, at)
	r.Unlock()
	return at, nil
}

func (r *readback) put(at C.uint64_t, n int) {
	r.Lock()
	defer r.Unlock()
	r.free[blockClass(n)] = append(r.free[blockClass(n)], at)
}

func (r *readback) close() (err error) {
	r.Lock()
	defer r.Unlock()
	for _, at := range r.all {
		err = first(err, driverError("freeing pinned host memory", int(C.pinned_free(at))))
	}
	r.all, r.free = nil, [64][]C.uint64_t{}
	return err
}

// CopyOutLater copies len(dst) bytes to the host in the order of the queue, without waiting. dst holds them once Wait of the
// event has returned nil, and must not be touched before.
func (d *Device) CopyOutLater(dst []byte, src Address) *Event {
	if d.queue.refuse("CopyOutLater") {
		return d.failedEvent(fault.Internal.Errorf("cuda: a copy to the host inside a captured graph"))
	}
	if len(dst) == 0 {
		return &Event{device: d, done: true}
	}
	at, err := d.back.take(d, len(dst))
	if err != nil {
		return d.failedEvent(err)
	}
	d.queue.put(C.command{kind: C.COMMAND_COPY_OUT, a: at, b: C.uint64_t(src), n: C.uint64_t(len(dst))}, nil, false)
	e := d.Record()
	e.deliver = func() {
		copy(dst, pinnedBytes(at, len(dst)))
		d.back.put(at, len(dst))
	}
	return e
}

// CopyOut copies len(dst) bytes to the host after all queued work.
func (d *Device) CopyOut(dst []byte, src Address) error {
	const piece = 8 << 20
	var before *Event
	for len(dst) > 0 {
		n := min(len(dst), piece)
		e := d.CopyOutLater(dst[:n], src)
		if before != nil {
			if err := before.Wait(); err != nil {
				return err
			}
		}
		before, dst, src = e, dst[n:], src+Address(n)
	}
	if before == nil {
		return d.Sync()
	}
	return before.Wait()
}
