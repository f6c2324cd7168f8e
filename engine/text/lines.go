package text

import (
	"bufio"
	"bytes"
	"io"
)

// readBuffer is the size of the buffer that a file is read through.
const readBuffer = 256 << 10

// lineReader reads lines of at most max bytes with their line ends.
type lineReader struct {
	r      *bufio.Reader
	max    int
	number int // of the last line, from 1
	buf    []byte
}

// next returns the next line, valid until the next call. A line that is too long is read to its end, but not kept: long
// is its length then, and line nil. The end is io.EOF.
func (l *lineReader) next() (line []byte, long int64, err error) {
	l.number++
	l.buf = l.buf[:0]
	for {
		part, err := l.r.ReadSlice('\n')
		switch {
		case long > 0:
			long += int64(len(part))
		case len(l.buf)+len(trimLineEnd(part)) > l.max:
			long = int64(len(l.buf) + len(part))
		case err == nil && len(l.buf) == 0:
			return part, 0, nil
		default:
			l.buf = append(l.buf, part...)
		}
		switch {
		case err == bufio.ErrBufferFull:
			continue
		case err != nil && err != io.EOF:
			return nil, 0, err
		case long > 0:
			return nil, long, nil
		case len(l.buf) == 0:
			return nil, 0, io.EOF
		}
		return l.buf, 0, nil
	}
}

// trimLineEnd cuts \n or \r\n off.
func trimLineEnd(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\n' {
		line = line[:n-1]
		if n > 1 && line[n-2] == '\r' {
			line = line[:n-2]
		}
	}
	return line
}

func isBlank(line []byte) bool { return len(bytes.TrimSpace(line)) == 0 }
