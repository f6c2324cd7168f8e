package cuda

import (
	"cmp"
	"fmt"
	"slices"
)

// An arena hands out parts of a few large allocations (slabs), first fit by address, so that a step never asks the
// driver for memory. It knows addresses only; the device adds slabs.
type arena struct {
	free []span          // by address, neighbours within a slab merged
	used map[Address]int // bytes by start
	size int             // of all slabs
	busy int             // bytes handed out
	peak int
}

type span struct {
	at, end Address
	slab    int // spans of different slabs never merge, even where they touch
}

// add gives the arena a slab of bytes at an address.
func (a *arena) add(at Address, bytes, slab int) {
	a.size += bytes
	a.insert(span{at, at + Address(bytes), slab})
}

func (a *arena) insert(s span) {
	i, _ := slices.BinarySearchFunc(a.free, s, func(x, y span) int { return cmp.Compare(x.at, y.at) })
	a.free = slices.Insert(a.free, i, s)
	if i+1 < len(a.free) && a.free[i].end == a.free[i+1].at && a.free[i].slab == a.free[i+1].slab {
		a.free[i].end = a.free[i+1].end
		a.free = slices.Delete(a.free, i+1, i+2)
	}
	if i > 0 && a.free[i-1].end == a.free[i].at && a.free[i-1].slab == a.free[i].slab {
		a.free[i-1].end = a.free[i].end
		a.free = slices.Delete(a.free, i, i+1)
	}
}

// take returns bytes of memory, rounded up to the alignment, or false when no gap is large enough.
func (a *arena) take(bytes int) (Address, bool) {
	bytes = max(alignUp(bytes, alignment), alignment)
	for i, s := range a.free {
		if s.end-s.at < Address(bytes) {
			continue
		}
		if a.free[i].at += Address(bytes); a.free[i].at == s.end {
			a.free = slices.Delete(a.free, i, i+1)
		}
		if a.used == nil {
			a.used = map[Address]int{}
		}
		a.used[s.at] = bytes
		a.busy += bytes
		a.peak = max(a.peak, a.busy)
		return s.at, true
	}
	return 0, false
}

// put takes memory back; slab is the one that the address lies in.
func (a *arena) put(at Address, slab int) error {
	bytes, ok := a.used[at]
	if !ok {
		return fmt.Errorf("0x%x is not the start of live device memory", uint64(at))
	}
	delete(a.used, at)
	a.busy -= bytes
	a.insert(span{at, at + Address(bytes), slab})
	return nil
}

// remove takes a slab, wholly free, out of the arena.
func (a *arena) remove(at Address, bytes int) {
	a.size -= bytes
	a.free = slices.DeleteFunc(a.free, func(s span) bool { return s.at >= at && s.end <= at+Address(bytes) })
}

// largest is the largest gap in bytes.
func (a *arena) largest() int {
	var n Address
	for _, s := range a.free {
		n = max(n, s.end-s.at)
	}
	return int(n)
}

// Memory is the state of a device's memory in bytes.
type Memory struct {
	Arena    int // taken from the driver
	Used     int // handed out of it
	Peak     int // the most that was handed out
	Free     int // what the driver still has, other processes considered
	Capacity int // of the device
}

// size writes bytes for people.
func size(bytes int) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.2f GiB", float64(bytes)/(1<<30))
	case bytes >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(bytes)/(1<<20))
	default:
		return fmt.Sprintf("%d bytes", bytes)
	}
}
