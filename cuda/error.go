package cuda

import (
	"errors"
	"fmt"

	"palimpsest/engine/fault"
)

// What a failure means for a run, found with errors.Is. Errors of this package carry the matching kind of package fault:
// no device and no memory end the process with code 5, a lost device with code 8.
var (
	ErrNoDevice = errors.New("no usable CUDA device")
	ErrMemory   = errors.New("not enough memory on the device")
	ErrLost     = errors.New("the device was lost") // its context is gone: nothing more can run in this process
)

// An Error is a failure that CUDA or one of its libraries reported.
type Error struct {
	Op   string // what was tried, with names and shapes
	Code int    // CUresult, or the library's status
	Text string // CUDA's name and words for the code
	Hint string
}

func (e *Error) Error() string {
	text := e.Op + ": " + e.Text
	if e.Hint != "" {
		text += "; hint: " + e.Hint
	}
	return text
}

// Is matches the failures above.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrMemory:
		return e.Code == codeOutOfMemory
	case ErrLost:
		return lost(e.Code)
	case ErrNoDevice:
		return e.Code == codeNoDevice || e.Code == codeInvalidDevice
	}
	return false
}

// The results of the driver that this package tells apart (CUDA Driver API reference, CUresult).
const (
	codeInvalidValue  = 1
	codeOutOfMemory   = 2
	codeNoDevice      = 100
	codeInvalidDevice = 101
	codeNoBinary      = 209
	codeECC           = 214
	codeInvalidPTX    = 218
	codeNVLink        = 220
	codePTXVersion    = 222
	codeNoSymbol      = 302
	codeNotFound      = 500
)

// lost tells whether a result leaves the context unusable: faults of kernels and of the hardware, which every later call
// repeats. 701 (too many resources for a launch), 704 and 705 (peer access) and 711 to 713 and 720 do not.
func lost(code int) bool {
	switch code {
	case codeECC, codeNVLink, 4, 46, 226, 700, 702, 703, 709, 710, 714, 715, 716, 717, 718, 719, 721:
		return true
	}
	return false
}

// fail gives an error the kind that decides the exit code.
func fail(err *Error) error {
	if err == nil {
		return nil
	}
	if lost(err.Code) {
		return fault.Peer.Wrap(err)
	}
	return fault.Device.Wrap(err)
}

// names of results for machines whose driver cannot be asked.
var names = map[int]string{
	codeInvalidValue:  "CUDA_ERROR_INVALID_VALUE",
	codeOutOfMemory:   "CUDA_ERROR_OUT_OF_MEMORY",
	codeNoDevice:      "CUDA_ERROR_NO_DEVICE",
	codeInvalidDevice: "CUDA_ERROR_INVALID_DEVICE",
	codeNoSymbol:      "CUDA_ERROR_SHARED_OBJECT_SYMBOL_NOT_FOUND",
	codeNotFound:      "CUDA_ERROR_NOT_FOUND",
}

// words puts a result's name, number and explanation together.
func words(code int, name, text string) string {
	if name == "" {
		name = names[code]
	}
	if name == "" {
		name = "CUDA error"
	}
	if text == "" {
		return fmt.Sprintf("%s (%d)", name, code)
	}
	return fmt.Sprintf("%s (%d): %s", name, code, text)
}
