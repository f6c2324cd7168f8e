package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"palimpsest/engine/fault"
)

// A Log appends lines to a run's log.jsonl. One line is one write, so that a killed process leaves whole lines but at most
// the last. A failing write never stops training: it warns once, and later lines try again. Safe for concurrent use.
type Log struct {
	mu     sync.Mutex
	file   logFile
	path   string
	header []byte // the first line, until it is in the file
	end    int64  // bytes of whole lines in the file
	lost   int64  // lines that could not be written since the last that could
	warned bool
	warn   func(string)
	untold []string // warnings of the call in hand: warn may write to this log, so it is called without the lock
}

// logFile is the part of *os.File that a Log uses.
type logFile interface {
	io.WriterAt
	Truncate(size int64) error
	Close() error
}

// OpenLog opens the log of a run that stands at resumeStep (0 for a fresh one).
//
// A fresh log starts with the header; an older log at path is kept aside as path.1, path.2, ... On resume
// the first line stays as it is, lines of steps after resumeStep are dropped (the file is rewritten beside itself and renamed,
// so that a crash leaves the one or the other), and a {"type":"resume"} line follows. What was dropped or kept aside, a
// torn last line and the first failing write are told to warn, which may be nil.
//
// The error, of kind fault.Write, says that the file cannot be opened at all.
func OpenLog(path string, resumeStep int64, header Header, warn func(string)) (*Log, error) {
	if warn == nil {
		warn = func(string) {}
	}
	if header.Time == "" {
		header.Time = time.Now().UTC().Format(time.RFC3339)
	}
	l := &Log{path: path, warn: warn}
	had, err := l.prepare(resumeStep)
	if err != nil {
		return nil, fault.Write.Errorf("log: %w", err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fault.Write.Errorf("log: %w", err)
	}
	if l.end, err = file.Seek(0, io.SeekEnd); err != nil {
		file.Close()
		return nil, fault.Write.Errorf("log: %w", err)
	}
	l.file = file
	if !had {
		if l.header, err = encodeLine(header); err != nil {
			file.Close()
			return nil, fmt.Errorf("log: %w", err)
		}
		l.append(nil)
		l.tell()
	}
	if resumeStep > 0 {
		l.Write(Resume{resumeStep, time.Now().UTC().Format(time.RFC3339), header.Device, header.Versions})
	}
	return l, nil
}

// prepare brings an existing log into the state that resumeStep asks for, and reports whether its header stays.
func (l *Log) prepare(resumeStep int64) (had bool, err error) {
	data, err := os.ReadFile(l.path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
		if resumeStep > 0 {
			l.warn(fmt.Sprintf("%s is missing; a new one starts at step %d", l.path, resumeStep))
		}
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if resumeStep <= 0 {
		return false, l.setAside()
	}
	var kept bytes.Buffer
	dropped, torn := 0, false
	for n := 1; len(data) > 0; n++ {
		line, rest, whole := bytes.Cut(data, []byte("\n"))
		data = rest
		var head struct {
			Type string `json:"type"`
			Step int64  `json:"step"`
		}
		err := json.Unmarshal(line, &head)
		switch {
		case !whole && err != nil:
			torn = true
		case err != nil:
			l.warn(fmt.Sprintf("%s:%d: not a log line (%v); kept as it is", l.path, n, err))
			kept.Write(append(line[:len(line):len(line)], '\n'))
		case head.Step > resumeStep && head.Type != "resume" && head.Type != "run":
			dropped++
		default:
			had = had || head.Type == "run"
			kept.Write(append(line[:len(line):len(line)], '\n'))
		}
	}
	if torn {
		l.warn(fmt.Sprintf("%s: the last line was cut short and is dropped", l.path))
	}
	if dropped > 0 {
		l.warn(fmt.Sprintf("%s: %d lines after step %d are dropped; they will be made again", l.path, dropped, resumeStep))
	}
	info, err := os.Stat(l.path)
	if err == nil && info.Size() == int64(kept.Len()) {
		return had, nil
	}
	return had, writeAtomically(l.path, kept.Bytes())
}

// setAside renames an older log to the first free path.N, so that a fresh start loses nothing.
func (l *Log) setAside() error {
	for i := 1; ; i++ {
		aside := fmt.Sprintf("%s.%d", l.path, i)
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			if err := os.Rename(l.path, aside); err != nil {
				return err
			}
			l.warn(fmt.Sprintf("an older log is kept as %s", aside))
			return nil
		} else if err != nil {
			return err
		}
	}
}

// Write appends a line: a Step, Eval, Example, Note, or any struct or map with a "type" of its own.
func (l *Log) Write(line any) {
	data, err := encodeLine(line)
	l.mu.Lock()
	defer l.tell()
	defer l.mu.Unlock()
	if err != nil {
		l.lost++
		l.failed(err)
		return
	}
	if l.lost > 0 {
		var head struct{ Step int64 }
		_ = json.Unmarshal(data, &head) // a line without a step leaves 0
		note, _ := encodeLine(Note{head.Step, fmt.Sprintf("%d lines before this one could not be written", l.lost)})
		data = append(note, data...)
	}
	if !l.append(data) {
		l.lost++
	} else {
		l.lost = 0
	}
}

// append writes data, behind the header if that is still missing, as a whole or not at all.
func (l *Log) append(data []byte) bool {
	data = append(l.header[:len(l.header):len(l.header)], data...)
	if _, err := l.file.WriteAt(data, l.end); err != nil {
		// Half a line would make the log unreadable; shortening a file needs no space.
		if short := l.file.Truncate(l.end); short != nil {
			err = errors.Join(err, short)
		}
		l.failed(err)
		return false
	}
	l.end += int64(len(data))
	l.header = nil
	return true
}

func (l *Log) failed(err error) {
	if !l.warned {
		l.warned = true
		l.untold = append(l.untold, fmt.Sprintf("log: %v; training goes on, later lines will be tried again", err))
	}
}

// tell passes on what happened under the lock.
func (l *Log) tell() {
	l.mu.Lock()
	texts := l.untold
	l.untold = nil
	l.mu.Unlock()
	for _, text := range texts {
		l.warn(text)
	}
}

// Close closes the file; every line has been written already.
func (l *Log) Close() error {
	l.mu.Lock()
	lost := l.lost
	l.mu.Unlock()
	if lost > 0 {
		l.warn(fmt.Sprintf("log: the last %d lines of %s are missing", lost, l.path))
	}
	return fault.Write.Wrap(l.file.Close())
}

// writeAtomically replaces path with data: written to path.tmp, synced, renamed, and the folder synced. A crash leaves at most
// the path.tmp that the next write takes over.
func writeAtomically(path string, data []byte) (err error) {
	tmp, err := os.OpenFile(path+".tmp", os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Sync()
	}
	err = errors.Join(err, tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		os.Remove(tmp.Name())
		return err
	}
	folder, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}
