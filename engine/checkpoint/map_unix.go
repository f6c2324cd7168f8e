//go:build unix

package checkpoint

import (
	"errors"
	"io"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// A mapping is a file mapped for reading.
type mapping struct {
	f    *os.File
	data []byte
}

// mapFile maps a file of the operating system; nil where that is not possible, such as for other files and empty ones.
func mapFile(f statFile, size int64) *mapping {
	file, ok := f.(*os.File)
	if !ok || size <= 0 || size != int64(int(size)) {
		return nil
	}
	data, err := unix.Mmap(int(file.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil { // file systems that cannot: reads serve
		return nil
	}
	return &mapping{file, data}
}

// ReadAt copies from the mapping. A file that became shorter, or a disk that fails, gives an error, not the end of the process:
// the fault that the system raises on such a page is a panic here. Within the last page a shorter file reads as zeros, so its
// length is asked for once more behind the copy.
func (m *mapping) ReadAt(p []byte, offset int64) (n int, err error) {
	if offset < 0 || offset > int64(len(m.data)) {
		return 0, io.EOF
	}
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if mistake := recover(); mistake != nil {
			fault, ok := mistake.(runtime.Error)
			if _, address := mistake.(interface{ Addr() uintptr }); !ok || !address {
				panic(mistake)
			}
			n, err = 0, errors.Join(ErrTruncated, fault)
		}
	}()
	n = copy(p, m.data[offset:])
	info, err := m.f.Stat()
	switch {
	case err != nil:
		return 0, err
	case info.Size() < int64(len(m.data)):
		return 0, ErrTruncated
	case n < len(p):
		return n, io.EOF
	}
	return n, nil
}

// Close ends the mapping. Reads must not go on behind it.
func (m *mapping) Close() error {
	data := m.data
	m.data = nil
	return errors.Join(unix.Munmap(data), m.f.Close())
}
