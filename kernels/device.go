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
