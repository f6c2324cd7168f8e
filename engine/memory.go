package engine

import "runtime/debug"

// ProgramBytes is about what the process holds beside tensors and data: the program, the Go runtime, the kernels' scratch.
const ProgramBytes = 24 << 20

// collectAt is the garbage, in percent of what is alive, at which it is collected while training. Go's 100 would let a
// run hold twice its model; the collector has little to do here, as tensors hold no pointers.
const collectAt = 10

// frugal makes the collector keep to collectAt until the returned function is called.
func frugal() (restore func()) {
	before := debug.SetGCPercent(collectAt)
	return func() { debug.SetGCPercent(before) }
}

// dataBytes is about what the stream of documents holds: two windows of decoded frames, with the bytes they came from.
func (j *job) dataBytes() int64 {
	x := j.data.Index()
	frames := min(2*int64(j.config.Data.Window), x.Frames)
	perToken := int64(4 + x.Width())
	return frames * (x.Tokens/max(1, x.Frames) + 1) * perToken
}
