package kernels

// Device is what a backend with memory of its own offers beside Backend.
type Device interface {
	// Memory tells how the device's memory is used.
	Memory() (DeviceMemory, error)
	// Rehearse returns the bytes of device memory that work takes of a backend: what it allocates, and the scratch of the ops
	// that it queues. Nothing is allocated, copied or run, and Sync returns an error.
	Rehearse(work func(b Backend)) (bytes int64)
	// ProductChoices are the algorithms that a library chose for matrix products so far, as JSON; nil: no library chooses.
	// AdoptProducts makes the same choices again. They mean something on the same kind of device with the same library only.
	ProductChoices() []byte
	AdoptProducts(choices []byte) error
	// Together runs work. What it queues goes to the device at once where no upload or read-back is in between, and from the second
	// time on that ops come in the same order as a captured graph, whose arguments are changed to the present ones. Results are the
	// same bits as without.
	Together(work func())
	// Replays says what became of that, as far as it reached the device.
	Replays() Replays
}

// Replays counts what Together queued.
type Replays struct {
	Sequences, Replayed, Captured int64  // uninterrupted stretches of work; those that were one launch of a graph; graphs made
	Launches, Patched             int64  // in all sequences; whose arguments were changed in a graph
	Graphs                        int    // now
	Bytes                         int64  // device memory that they take
	Off                           string // why no more are made; "" while they are
}

// DeviceMemory is in bytes.
type DeviceMemory struct {
	Held   int64 // taken from the driver, for what is allocated and will be
	Unused int64 // of it, not allocated yet
	Free   int64 // that the driver still has, other processes considered
	Total  int64
	Host   int64 // pinned memory of the host, for copies
}

// Available is what can be allocated.
func (m DeviceMemory) Available() int64 { return m.Unused + m.Free }
