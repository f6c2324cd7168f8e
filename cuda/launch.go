//go:build cuda

package cuda

/*
#include "queue.h"
*/
import "C"

import (
	"fmt"
	"strings"
	"unsafe"

	"gorgonia.org/cu"

	"palimpsest/engine/fault"
)

// A Module is kernels that the driver compiled for a device.
type Module struct {
	device *Device
	name   string
	module cu.Module
}

// A Function is a kernel.
type Function struct {
	module     *Module
	name       string
	handle     C.uint64_t
	parameters []place // nil where the driver cannot tell (before CUDA 12.4)
	known      bool
	static     int // bytes of shared memory that the kernel declares
	shared     int // bytes of dynamic shared memory that a launch may ask for
	threads    int // largest block
	registers  int
}

// Load compiles PTX text for the device; the driver keeps the result in its own cache. name appears in errors. An error
// says when the text is too new for the driver or the device too old for it, and carries the compiler's log.
func (d *Device) Load(name, ptx string) (*Module, error) {
	op := "loading the kernels " + name
	if why := unfit(ptx, d.info.Major, d.info.Minor, d.info.Driver); why != "" {
		return nil, fault.Device.Errorf("%s on %s: %s", op, d.info.Name, why)
	}
	if d.queue.refuse("Load") {
		return nil, fault.Internal.Errorf("cuda: %s inside a captured graph", op)
	}
	text := C.CString(ptx)
	defer C.free(unsafe.Pointer(text))
	log := (*C.char)(C.calloc(1, 16<<10))
	defer C.free(unsafe.Pointer(log))
	m := &Module{device: d, name: name}
	err := d.queue.do(func() error {
		var module C.uint64_t
		if r := C.module_load(&module, text, log, 16<<10-1); r != 0 {
			if said := strings.TrimSpace(C.GoString(log)); said != "" {
				return driverError(op+": the compiler says: "+said, int(r))
			}
			return driverError(op, int(r))
		}
		*(*C.uint64_t)(unsafe.Pointer(&m.module)) = module // a handle of cu is one pointer
		return nil
	})
	if err != nil {
		return nil, err
	}
	d.modules.Lock()
	defer d.modules.Unlock()
	d.modules.list = append(d.modules.list, m)
	return m, nil
}

// Function finds a kernel by its name.
func (m *Module) Function(name string) (*Function, error) {
	f := &Function{module: m, name: name}
	op := fmt.Sprintf("kernel %s of %s", name, m.name)
	err := m.device.queue.do(func() error {
		fn, err := m.module.Function(name)
		if err != nil {
			return cuError(op, err)
		}
		f.handle = handle(fn)
		for _, a := range []struct {
			to    *int
			which cu.FunctionAttribute
		}{{&f.static, cu.SharedSizeBytes}, {&f.threads, cu.FnMaxThreadsPerBlock}, {&f.registers, cu.NumRegs}} {
			if *a.to, err = fn.Attribute(a.which); err != nil {
				return cuError(op+": attribute", err)
			}
		}
		for i := 0; ; i++ {
			var offset, bytes C.size_t
			r := C.function_parameter(f.handle, C.size_t(i), &offset, &bytes)
			if r == codeNoSymbol {
				return nil
			}
			if r != 0 {
				f.known = true
				return nil
			}
			f.parameters = append(f.parameters, place{uint16(offset), uint16(bytes)})
		}
	})
	if err != nil {
		return nil, err
	}
	f.shared = m.device.info.SharedBlock - f.static
	return f, nil
}

// Name is the kernel's name.
func (f *Function) Name() string { return f.name }

// String is the name and its module.
func (f *Function) String() string { return f.name }

// Registers a thread uses.
func (f *Function) Registers() int { return f.registers }

// Threads is the largest block the kernel runs with.
func (f *Function) Threads() int { return f.threads }

// AllowShared lets launches ask for up to bytes of dynamic shared memory, which above 48 KB less what the kernel declares
// itself needs the device's consent.
func (f *Function) AllowShared(bytes int) error {
	if bytes <= f.shared {
		return nil
	}
	d := f.module.device
	if most := d.info.SharedOptin - f.static; bytes > most {
		return fault.Device.Errorf("kernel %s needs %d bytes of shared memory, %s gives a block at most %d (%d of them the kernel's own)",
			f.name, bytes+f.static, d.info.Name, d.info.SharedOptin, f.static)
	}
	err := d.queue.do(func() error {
		op := fmt.Sprintf("%d bytes of shared memory for kernel %s", bytes, f.name)
		return driverError(op, int(C.function_shared(f.handle, C.int(bytes))))
	})
	if err == nil {
		f.shared = bytes
	}
	return err
}

// mismatch says how a launch differs from the kernel's declaration, "" when it does not.
func (f *Function) mismatch(a *Args, threads uint64, shared int) string {
	switch {
	case a.tooMuch:
		return fmt.Sprintf("more than %d parameters or %d bytes of them", maxParameters, maxArgs)
	case shared > f.shared:
		return fmt.Sprintf("%d bytes of shared memory, %d are allowed; AllowShared raises it", shared, f.shared)
	case threads > uint64(f.threads):
		return fmt.Sprintf("a block of %d threads, the kernel runs with %d at most", threads, f.threads)
	case !f.known:
		return ""
	case a.count != len(f.parameters):
		return fmt.Sprintf("%d parameters were given, the kernel takes %d", a.count, len(f.parameters))
	}
	for i, p := range f.parameters {
		if p != a.places[i] {
			return fmt.Sprintf("parameter %d was given as %d bytes at offset %d, the kernel takes %d bytes at %d",
				i, a.places[i].size, a.places[i].offset, p.size, p.offset)
		}
	}
	return ""
}

// atLeastOne fills in what a caller may leave at 0.
func (d Dim3) atLeastOne() Dim3 { return Dim3{max(d.X, 1), max(d.Y, 1), max(d.Z, 1)} }

// Launch queues a kernel. Extents of 0 count as 1. It copies a, which may be reused at once. A launch that does not fit
// the kernel's declaration fails the device, as does one that the driver refuses; Sync returns the failure.
func (d *Device) Launch(f *Function, grid, block Dim3, shared int, a *Args) {
	grid, block = grid.atLeastOne(), block.atLeastOne()
	q := &d.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	if !q.keeping() && !q.room(a.size) {
		return
	}
	if why := f.mismatch(a, uint64(block.X)*uint64(block.Y)*uint64(block.Z), shared); why != "" {
		q.failed(fault.Internal.Errorf("launching %s: %s", f.name, why))
		return
	}
	c := C.command{kind: C.COMMAND_LAUNCH, handle: f.handle, shared: C.uint32_t(shared), size: C.uint32_t(a.size)}
	c.grid = [3]C.uint32_t{C.uint32_t(grid.X), C.uint32_t(grid.Y), C.uint32_t(grid.Z)}
	c.block = [3]C.uint32_t{C.uint32_t(block.X), C.uint32_t(block.Y), C.uint32_t(block.Z)}
	if q.keep(c, a.buffer[:a.size], f) {
		return
	}
	b := q.fill()
	copy(b.parameters[b.size:], a.buffer[:a.size])
	c.at = C.uint32_t(b.size)
	b.commands[b.n] = c
	b.size = alignUp(b.size+a.size, 16)
	q.added(f, false)
}
