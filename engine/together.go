package engine

import (
	"fmt"

	"palimpsest/kernels"
)

// together runs a part of an update. A device gets it at once, as a graph where the same work came before, unless train.graph is
// off; the bits are the same.
func (t *Trainer) together(work func()) {
	if d, ok := t.b.(kernels.Device); ok && t.job.config.Train.Graph != "off" {
		d.Together(work)
		return
	}
	work()
}

// sayGraphs says, once, that graphs were given up; at the end of a run, what they did.
func (t *Trainer) sayGraphs(end bool) {
	d, ok := t.b.(kernels.Device)
	if !ok || t.job.config.Train.Graph == "off" {
		return
	}
	r := d.Replays()
	switch {
	case r.Off != "" && !t.graphless:
		t.graphless = true
		t.say("train.graph: the device's work is queued operation by operation from now on: %s", r.Off)
	case end && r.Sequences > 0:
		t.say("train.graph: %s", describeReplays(r))
	}
}

func describeReplays(r kernels.Replays) string {
	return fmt.Sprintf("of %d sequences of %d operations on the device %d were a launch of one of %d graphs (%d made, %d operations changed, %.1f MiB)",
		r.Sequences, r.Launches, r.Replayed, r.Graphs, r.Captured, r.Patched, float64(r.Bytes)/(1<<20))
}
