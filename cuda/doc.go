// Package cuda drives one NVIDIA GPU over gorgonia.org/cu: memory, copies, modules, launches, events, graphs and
// cuBLASLt's matrix products. It is built with the tag cuda; without it only its plain arithmetic remains. The program
// starts on machines without a driver: package shim opens it at the first call.
//
// A Device owns one goroutine locked to its thread, the GPU's primary context, a stream for computation and one for
// copies that may overlap it. Launches, fills, copies, products and graph replays are queued: a call packs its command into
// Go memory, allocates nothing, and the goroutine issues up to 64 of them in one crossing into C. A command that fails
// makes the device fail for good: later commands are dropped, and Sync, Event.Wait and CopyOut return the first failure.
// Methods may be called from any goroutine; the order of calls is the order on the device.
// Work that comes again and again is given to Together: see sequence.go.
package cuda

// An Address is a place in device memory; 0 is none.
type Address uint64

// Dim3 is the extent of a grid or of a block.
type Dim3 struct{ X, Y, Z uint32 }

// alignment is what every allocation starts at.
const alignment = 256

func alignUp(n, to int) int { return (n + to - 1) &^ (to - 1) }
