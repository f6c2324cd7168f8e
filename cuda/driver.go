//go:build cuda

package cuda

/*
#include "queue.h"
*/
import "C"

import (
	"errors"
	"fmt"
	"reflect"

	"gorgonia.org/cu"

	"palimpsest/cuda/shim"
	"palimpsest/engine/fault"
)

var errClosed = errors.New("cuda: the device was closed")

func isLost(err error) bool { return errors.Is(err, ErrLost) }

// driverError makes an Error of a CUresult in CUDA's own words; nil for 0.
func driverError(op string, code int) error {
	if code == 0 {
		return nil
	}
	missing := shim.Missing() // before an old driver lacks the names of errors too
	var name, text *C.char
	e := &Error{Op: op, Code: code}
	if C.cuGetErrorName(C.CUresult(code), &name) != 0 {
		name = nil
	}
	if C.cuGetErrorString(C.CUresult(code), &text) != 0 {
		text = nil
	}
	e.Text = words(code, C.GoString(name), C.GoString(text))
	switch {
	case code == codeNoSymbol && missing != "":
		e.Text += fmt.Sprintf("; the driver (CUDA %s) lacks %s", cudaVersion(driverVersion()), missing)
		e.Hint = "install a newer driver"
	case code >= 700 && lost(code):
		e.Hint = "an earlier kernel may be the cause: CUDA_LAUNCH_BLOCKING=1 makes the failing one report itself"
	case lost(code):
		e.Hint = "see dmesg and nvidia-smi; the last checkpoint is intact"
	}
	return fail(e)
}

// cuError is driverError for an error of gorgonia.org/cu, whose type is an integer it does not export.
func cuError(op string, err error) error {
	if err == nil {
		return nil
	}
	if v := reflect.ValueOf(err); v.CanInt() {
		return driverError(op, int(v.Int()))
	}
	return fault.Device.Errorf("%s: %w", op, err)
}

// handle reads the one pointer that a handle of gorgonia.org/cu holds.
func handle[T cu.Function | cu.Stream | cu.Module | cu.CUContext](h T) C.uint64_t {
	return C.uint64_t(reflect.ValueOf(h).Field(0).Pointer())
}

// driverVersion is the CUDA version the driver serves as major*1000 + minor*10, 0 without a driver.
func driverVersion() int { return max(cu.Version(), 0) }

// Library is the driver library that was opened, or the reason why there is none.
func Library() (path, reason string) { return shim.Library(), shim.Reason() }

// Count returns how many devices there are. With 0 the error says why: no driver library, no device, or what the driver
// answered.
func Count() (int, error) {
	if code := shim.Status(); code != 0 {
		if reason := shim.Reason(); reason != "" {
			return 0, fault.Device.Errorf("%w: no NVIDIA driver: %s", ErrNoDevice, reason)
		}
		return 0, fault.Device.Errorf("%w: %w", ErrNoDevice, driverError("initialising "+shim.Library(), code))
	}
	n, err := cu.NumDevices()
	if err != nil {
		return 0, fault.Device.Errorf("%w: %w", ErrNoDevice, cuError("counting devices", err))
	}
	if n == 0 {
		return 0, fault.Device.Errorf("%w: the driver %s lists none; hint: see CUDA_VISIBLE_DEVICES and nvidia-smi",
			ErrNoDevice, shim.Library())
	}
	return n, nil
}
