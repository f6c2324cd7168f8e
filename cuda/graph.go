//go:build cuda

package cuda

/*
#include "queue.h"
*/
import "C"

import (
	"fmt"
	"runtime"

	"palimpsest/engine/fault"
)

// A Graph is a captured sequence of queued work that replays in one call.
type Graph struct {
	device *Device
	exec   C.uint64_t
	nodes  int
}

// String says what it is, for errors.
func (g *Graph) String() string { return fmt.Sprintf("a graph of %d operations", g.nodes) }

// Nodes is how many operations were captured.
func (g *Graph) Nodes() int { return g.nodes }

// Capture runs queue and keeps what it queues as a graph instead of executing it. Launches, copies on the device, fills
// and products can be captured, with the addresses they have now; allocation, copies from or to the host, events and waits
// cannot, and make Capture fail with their name. A failure spoils the capture, not the device. Run the same work once
// before, so that everything is loaded.
func (d *Device) Capture(queue func()) (*Graph, error) {
	if err := d.Sync(); err != nil {
		return nil, err
	}
	q := &d.queue
	q.mu.Lock()
	if q.capturing {
		q.mu.Unlock()
		return nil, fault.Internal.Errorf("cuda: a capture inside a capture")
	}
	q.mu.Unlock()
	err := q.do(func() error { return driverError("beginning a capture", int(C.capture_begin(q.compute))) })
	if err != nil {
		return nil, err
	}
	q.mu.Lock()
	q.capturing, q.captureErr = true, nil
	q.mu.Unlock()
	g := &Graph{device: d}
	finished := false
	end := func() error {
		var nodes C.size_t
		err := q.do(func() error {
			return driverError("ending a capture", int(C.capture_end(q.compute, &g.exec, &nodes)))
		})
		q.mu.Lock()
		spoilt := q.captureErr
		q.capturing, q.captureErr = false, nil
		q.mu.Unlock()
		g.nodes = int(nodes)
		return first(spoilt, err)
	}
	defer func() {
		if !finished { // queue panicked: leave the stream usable
			_ = end()
		}
	}()
	queue()
	finished = true
	err = end()
	if err == nil && g.nodes == 0 {
		err = fault.Internal.Errorf("cuda: nothing was captured")
	}
	if err != nil {
		g.destroy()
		return nil, fmt.Errorf("capturing a graph: %w", err)
	}
	runtime.AddCleanup(g, func(exec C.uint64_t) {
		go (&Graph{device: d, exec: exec}).destroy() // a cleanup must not wait for the device's thread
	}, g.exec)
	return g, nil
}

func (g *Graph) destroy() {
	if g.exec != 0 {
		_ = g.device.queue.do(func() error { C.graph_destroy(g.exec); return nil })
	}
}

// Replay queues a graph.
func (d *Device) Replay(g *Graph) {
	if d.queue.refuse("Replay") {
		return
	}
	d.queue.put(C.command{kind: C.COMMAND_GRAPH, handle: g.exec}, g, true)
}
