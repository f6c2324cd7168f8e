//go:build cuda

package kernels

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"palimpsest/cuda"
	"palimpsest/engine/fault"
)

var _ Device = (*gpu)(nil)

// pinnedBytes is the size of the staging memory behind Upload.
const pinnedBytes = 32 << 20

// Memory is Device's.
func (g *gpu) Memory() (DeviceMemory, error) {
	m, err := g.device.Memory()
	return DeviceMemory{Held: int64(m.Arena), Unused: int64(m.Arena - m.Used), Free: int64(m.Free), Total: int64(m.Capacity), Host: pinnedBytes}, err
}

var errRehearsal = errors.New("kernels: nothing is computed in a rehearsal")

// A rehearsal counts memory and gives out addresses that nothing lies at.
type rehearsal struct {
	bytes int64
	next  uintptr
}

func (r *rehearsal) take(bytes int64) (addr uintptr) {
	r.bytes += bytes
	r.next += allocationUnit
	addr = r.next
	r.next += uintptr(bytes)
	return addr
}

// Rehearse is Device's: a backend that has failed queues nothing, and what it would allocate is counted.
func (g *gpu) Rehearse(work func(b Backend)) int64 {
	r := &rehearsal{}
	work(&gpu{device: g.device, info: g.info, functions: g.functions, blaslt: g.blaslt, rehearsal: r, failure: errRehearsal})
	return r.bytes
}

// Together is Device's.
func (g *gpu) Together(work func()) {
	if g.rehearsal != nil {
		work()
		return
	}
	g.device.Together(work)
}

// Replays is Device's.
func (g *gpu) Replays() Replays {
	r := g.device.Replays()
	return Replays{Sequences: r.Sequences, Replayed: r.Replayed, Captured: r.Captured, Launches: r.Commands, Patched: r.Patched,
		Graphs: r.Graphs, Bytes: r.Bytes, Off: r.Off}
}

// ProductChoices is Device's. What was adopted and not needed yet is among them.
func (g *gpu) ProductChoices() []byte {
	if g.blaslt == nil {
		return nil
	}
	chosen := maps.Clone(g.adopted)
	if chosen == nil {
		chosen = map[string]cuda.Choice{}
	}
	for _, c := range g.blaslt.Choices() {
		chosen[c.Shape] = c
	}
	list := slices.SortedFunc(maps.Values(chosen), func(a, b cuda.Choice) int { return cmp.Compare(a.Shape, b.Shape) })
	text, err := json.Marshal(list)
	if err != nil {
		g.fail(fmt.Errorf("kernels: the choices of products: %w", err))
		return nil
	}
	return text
}

// AdoptProducts is Device's.
func (g *gpu) AdoptProducts(choices []byte) error {
	var list []cuda.Choice
	if err := json.Unmarshal(choices, &list); err != nil {
		return fault.Checkpoint.Errorf("choices of products: %w", err)
	}
	if g.blaslt == nil {
		return nil
	}
	g.adopted = map[string]cuda.Choice{}
	for _, c := range list {
		g.adopted[c.Shape] = c
	}
	g.blaslt.Adopt(list)
	return nil
}
