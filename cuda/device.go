//go:build cuda

package cuda

/*
#include "queue.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"

	"gorgonia.org/cu"

	"palimpsest/engine/fault"
)

// Options of a device; the zero value is good for most.
type Options struct {
	// Arena is the size of the arena's first slab in bytes; 0: Fraction of the device's free memory. Further slabs are at
	// least an eighth of it. Whoever knows the need of a run asks for it here, so that one allocation serves it.
	Arena    int
	Fraction float64 // 0: an eighth
	// Separate gives every allocation its own driver call, so that memory checkers (compute-sanitizer, the emulated
	// driver) see overruns between allocations.
	Separate bool
	Staging  int // bytes of the pinned buffer behind CopyIn; 0: 32 MiB
}

// A Device is one GPU. See the package comment.
type Device struct {
	info  Info
	opts  Options
	dev   cu.Device
	ctx   C.uint64_t
	queue queue

	mem struct {
		sync.Mutex
		arena  arena
		slabs  []slab
		count  int // of slabs ever
		sealed bool
	}
	staging staging
	back    readback
	pool    eventPool
	idle    struct {
		sync.Mutex
		event C.uint64_t
	}
	modules struct {
		sync.Mutex
		list []*Module
	}
	streams   [2]cu.Stream
	closeOnce sync.Once
	closeErr  error
}

type slab struct {
	at     Address
	bytes  int
	number int
}

// Open is OpenWith the default options, and separate allocations where PALIMPSEST_CUDA_SEPARATE is set.
func Open(ordinal int) (*Device, error) {
	return OpenWith(ordinal, Options{Separate: os.Getenv("PALIMPSEST_CUDA_SEPARATE") != ""})
}

// OpenWith takes hold of a device: its primary context, two streams, pinned staging memory. Device memory is taken with the
// first Alloc. Close gives everything back.
func OpenWith(ordinal int, opts Options) (*Device, error) {
	info, err := Describe(ordinal)
	if err != nil {
		return nil, err
	}
	if opts.Arena < 0 || opts.Fraction < 0 || opts.Fraction > 1 || opts.Staging < 0 {
		return nil, fault.Usage.Errorf("cuda: arena of %d bytes, fraction %g, staging of %d bytes: none may be negative, "+
			"the fraction at most 1", opts.Arena, opts.Fraction, opts.Staging)
	}
	if opts.Staging == 0 {
		opts.Staging = 32 << 20
	}
	if opts.Fraction == 0 {
		opts.Fraction = 1. / 8
	}
	d := &Device{info: info, opts: opts, dev: cu.Device(ordinal)}
	d.queue.start()
	if err := d.queue.do(d.begin); err != nil {
		return nil, errors.Join(fmt.Errorf("opening CUDA device %d (%s): %w", ordinal, info.Name, err), d.Close())
	}
	return d, nil
}

// begin runs on the device's thread.
func (d *Device) begin() error {
	var err error
	if d.dev, err = cu.GetDevice(d.info.Ordinal); err != nil {
		return cuError("cuDeviceGet", err)
	}
	ctx, err := d.dev.RetainPrimaryCtx()
	if err != nil {
		return cuError("retaining the primary context", err)
	}
	d.ctx = handle(ctx)
	d.queue.ctx = d.ctx
	if err := cu.SetCurrentContext(ctx); err != nil {
		return cuError("making the context current", err)
	}
	for i := range d.streams {
		if d.streams[i], err = cu.MakeStream(cu.NonBlocking); err != nil {
			return cuError("making a stream", err)
		}
	}
	d.queue.compute, d.queue.copies = handle(d.streams[0]), handle(d.streams[1])
	if err := driverError("making an event", int(C.event_create(&d.idle.event))); err != nil {
		return err
	}
	return d.staging.open(d.opts.Staging)
}

// Close waits for queued work, gives everything back and ends the device's goroutine. It returns the device's first
// failure, or what went wrong in closing.
func (d *Device) Close() error {
	d.closeOnce.Do(func() {
		failure := d.queue.failure()
		if failure == nil && d.idle.event != 0 {
			failure = d.Sync()
		}
		err := d.queue.do(func() error { return d.end(isLost(failure)) })
		d.queue.close()
		if d.closeErr = failure; failure == nil {
			d.closeErr = err
		}
	})
	return d.closeErr
}

// end runs on the device's thread. After a lost device every call repeats the loss, and the context's end frees all.
func (d *Device) end(gone bool) error {
	var first error
	keep := func(err error) {
		if first == nil && !gone {
			first = err
		}
	}
	if d.ctx == 0 {
		return nil
	}
	keep(d.queue.replayer.close(d.queue.compute))
	d.modules.Lock()
	for _, m := range d.modules.list {
		keep(cuError("unloading module "+m.name, m.module.Unload()))
	}
	d.modules.list = nil
	d.modules.Unlock()
	for _, e := range append(d.pool.take(), d.idle.event) {
		if e != 0 {
			keep(driverError("destroying an event", int(C.event_destroy(e))))
		}
	}
	keep(d.staging.close())
	keep(d.back.close())
	d.mem.Lock()
	for _, s := range d.mem.slabs {
		keep(cuError("freeing device memory", cu.MemFree(cu.DevicePtr(s.at))))
	}
	d.mem.slabs, d.mem.arena = nil, arena{}
	d.mem.Unlock()
	for i, s := range d.streams {
		if handle(s) != 0 {
			keep(cuError("destroying a stream", d.streams[i].Destroy()))
		}
	}
	keep(cuError("leaving the context", cu.SetCurrentContext(cu.CUContext{})))
	keep(cuError("releasing the primary context", d.dev.ReleasePrimaryCtx()))
	return first
}

// Info describes the device.
func (d *Device) Info() Info { return d.info }

// Sync waits until all queued work is done and returns the device's first failure.
func (d *Device) Sync() error {
	if d.queue.refuse("Sync") {
		return nil // Capture reports it
	}
	d.idle.Lock()
	defer d.idle.Unlock()
	number := d.queue.put(C.command{kind: C.COMMAND_RECORD, handle: d.idle.event}, nil, true)
	return d.await("waiting for the device", d.idle.event, number)
}

// await waits for an event that command number records.
func (d *Device) await(op string, event C.uint64_t, number uint64) error {
	if err := d.queue.drain(number); err != nil {
		return err
	}
	err := driverError(op, int(C.event_wait(d.ctx, event)))
	if err != nil {
		d.queue.mu.Lock()
		d.queue.failed(err)
		d.queue.mu.Unlock()
	}
	return err
}

// Flush sends to the driver what is queued. Sync, events, copies to the host and graphs do so by themselves.
func (d *Device) Flush() {
	d.queue.mu.Lock()
	defer d.queue.mu.Unlock()
	d.queue.cut()
	d.queue.flush = true
	d.queue.work.Signal()
}

// Err returns the device's first failure so far without waiting for anything.
func (d *Device) Err() error { return d.queue.failure() }

// Alloc returns bytes of zeroed memory, aligned to 256 bytes. It takes a slab from the driver when the arena is full,
// which fails while the arena is sealed, and never inside a capture.
func (d *Device) Alloc(bytes int) (Address, error) {
	if bytes < 0 {
		return 0, fault.Usage.Errorf("cuda: allocation of %d bytes", bytes)
	}
	if d.queue.refuse("Alloc") {
		return 0, fault.Device.Errorf("cuda: no memory can be allocated inside a captured graph")
	}
	m := &d.mem
	m.Lock()
	defer m.Unlock()
	at, ok := m.arena.take(bytes)
	if !ok {
		if err := d.grow(bytes); err != nil {
			return 0, err
		}
		if at, ok = m.arena.take(bytes); !ok {
			return 0, fault.Internal.Errorf("cuda: %d bytes do not fit a slab made for them", bytes)
		}
	}
	d.Fill(at, 0, max(alignUp(bytes, alignment), alignment))
	return at, d.Err()
}

// grow adds a slab that holds at least bytes. d.mem is held.
func (d *Device) grow(bytes int) error {
	m := &d.mem
	need := max(alignUp(bytes, alignment), alignment)
	if m.sealed {
		return fault.Device.Wrap(fmt.Errorf("%w: %s are needed inside a step, and the arena of %s has no gap above %s; "+
			"hint: whatever a step uses is allocated before it", ErrMemory, size(need), size(m.arena.size), size(m.arena.largest())))
	}
	var at cu.DevicePtr
	var got int
	var free, total int64
	err := d.queue.do(func() error {
		var err error
		if free, total, err = cu.MemInfo(); err != nil {
			return cuError("asking for free memory", err)
		}
		got = need
		if !d.opts.Separate {
			want := d.opts.Arena
			if want == 0 {
				want = int(d.opts.Fraction * float64(free))
			}
			if len(m.slabs) > 0 {
				want /= 8
			}
			got = alignUp(max(need, min(want, int(free))), 2<<20)
		}
		if at, err = cu.MemAlloc(int64(got)); err != nil && got > need {
			got = need // less room for later, but this one may fit
			at, err = cu.MemAlloc(int64(got))
		}
		return cuError(fmt.Sprintf("allocating %s of device memory", size(got)), err)
	})
	if errors.Is(err, ErrMemory) {
		op := fmt.Sprintf("device memory: %s needed, %s free of %s; this process holds %s",
			size(need), size(int(free)), size(int(total)), size(m.arena.size))
		return fail(&Error{Op: op, Code: codeOutOfMemory, Text: words(codeOutOfMemory, "", ""),
			Hint: "fewer tokens in a step (with more accumulation), recomputed activations or a smaller model need less; " +
				"nvidia-smi shows who else uses the device"})
	}
	if err != nil {
		return err
	}
	m.arena.add(Address(at), got, m.count)
	m.slabs = append(m.slabs, slab{Address(at), got, m.count})
	m.count++
	return nil
}

// Free gives memory back to the arena. What was queued before may still use it: the arena's memory is reused in the order
// of the queue.
func (d *Device) Free(at Address) error {
	m := &d.mem
	m.Lock()
	defer m.Unlock()
	for i, s := range m.slabs {
		if at >= s.at && at < s.at+Address(s.bytes) {
			if err := m.arena.put(at, s.number); err != nil {
				return fault.Internal.Errorf("cuda: freeing: %w", err)
			}
			if !d.opts.Separate {
				return nil
			}
			m.arena.remove(s.at, s.bytes)
			m.slabs = slices.Delete(m.slabs, i, i+1)
			return d.queue.do(func() error { return cuError("freeing device memory", cu.MemFree(cu.DevicePtr(s.at))) })
		}
	}
	return fault.Internal.Errorf("cuda: freeing: 0x%x is not this device's memory", uint64(at))
}

// Seal forbids (or allows again) that the arena grows: a step allocates nothing from the driver.
func (d *Device) Seal(sealed bool) {
	d.mem.Lock()
	defer d.mem.Unlock()
	d.mem.sealed = sealed
}

// Memory tells how the device's memory is used.
func (d *Device) Memory() (Memory, error) {
	var free, total int64
	err := d.queue.do(func() (err error) {
		free, total, err = cu.MemInfo()
		return cuError("asking for free memory", err)
	})
	d.mem.Lock()
	defer d.mem.Unlock()
	a := &d.mem.arena
	return Memory{Arena: a.size, Used: a.busy, Peak: a.peak, Free: int(free), Capacity: int(total)}, err
}

// Fill sets bytes of device memory to a value.
func (d *Device) Fill(dst Address, value byte, bytes int) {
	if bytes > 0 {
		d.queue.put(C.command{kind: C.COMMAND_FILL, a: C.uint64_t(dst), b: C.uint64_t(value), n: C.uint64_t(bytes)}, nil, false)
	}
}

// Copy copies bytes on the device; the ranges must not overlap.
func (d *Device) Copy(dst, src Address, bytes int) {
	if bytes > 0 {
		d.queue.put(C.command{kind: C.COMMAND_COPY, a: C.uint64_t(dst), b: C.uint64_t(src), n: C.uint64_t(bytes)}, nil, false)
	}
}
