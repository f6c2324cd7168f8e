package kernels

import (
	"errors"
	"fmt"
)

// ErrNoDevice is wrapped by the errors of Open about devices that are not there.
var ErrNoDevice = errors.New("no such device")

// Open returns the backend of a device by its name on the command line: "cpu", "cuda", "auto" for the fastest one of
// this machine, and "ref32" or "ref64" for the oracles,
// "refbf16" for the naive bfloat16 computation. threads is for the CPU; 0 takes all processors. What auto chose is
// a note of the backend's Info. An absent device gives an error that wraps ErrNoDevice.
func Open(device string, threads int) (Backend, error) {
	switch device {
	case "auto":
		return openAuto(threads)
	case "cpu":
		return NewCPU(CPUOptions{Threads: threads})
	case "cuda":
		b, err := openCUDA()
		if err != nil {
			return nil, fmt.Errorf("--device cuda: %w: %w; hint: use --device cpu", ErrNoDevice, err)
		}
		return b, nil
	case "ref32":
		return NewRef32(), nil
	case "ref64":
		return NewRef64(), nil
	case "refbf16":
		return NewRefBF16(), nil
	}
	return nil, fmt.Errorf("--device %s: want auto, cpu or cuda: %w; hint: use --device auto", device, ErrNoDevice)
}

// openAuto takes a GPU where one can be used, and notes what it took and why.
func openAuto(threads int) (Backend, error) {
	b, reason := openCUDA()
	text := "device auto: the GPU, as one can be used"
	if reason != nil {
		var err error
		if b, err = NewCPU(CPUOptions{Threads: threads}); err != nil {
			return nil, err
		}
		text = fmt.Sprintf("device auto: the CPU, as %v", reason)
	}
	b.(interface{ note(string) }).note(text)
	return b, nil
}

func (b *cpu) note(text string) { b.info.Notes = append(b.info.Notes, text) }
