package report

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Events is a TensorBoard event file: the scalars of a run, record by record in TFRecord framing. Every process of a run
// begins a file of its own. A failing write never stops training: it warns once, and later records try again. A nil
// *Events takes everything and does nothing. Safe for concurrent use.
//
// The format is that of tensorflow/core/util/event.proto and tensorflow/core/lib/io/record_writer.h: a record is its
// length (uint64, little-endian), the masked CRC-32C of these eight bytes, the data, and the masked CRC-32C of the data.
type Events struct {
	mu     sync.Mutex
	file   logFile
	path   string
	head   []byte // the records a file begins with, until they are written
	end    int64  // bytes of whole records in the file
	lost   int64
	warned bool
	warn   func(string)
	now    func() time.Time
}

// eventPrefix is what TensorBoard knows event files by.
const eventPrefix = "events.out.tfevents."

// OpenEvents begins a new event file in dir for a run that stands at resumeStep (0 for a fresh one), named so that it sorts
// behind those of earlier processes. It begins with a SessionLog START event, at which TensorBoard forgets what earlier files
// say of the steps that are made again: those after resumeStep. When there can be no file it tells warn, which may be nil, and
// returns nil: curves that no one can watch are no reason not to train.
func OpenEvents(dir string, resumeStep int64, warn func(string)) *Events {
	if warn == nil {
		warn = func(string) {}
	}
	file, err := createEvents(dir, time.Now())
	if err != nil {
		warn(fmt.Sprintf("tensorboard: %v; training goes on without event files", err))
		return nil
	}
	e := &Events{file: file, path: file.Name(), warn: warn, now: time.Now}
	first := resumeStep + 1
	if resumeStep <= 0 {
		first = 0
	}
	e.head = record(e.event(0, fieldText(nil, eventFileVersion, "brain.Event:2")))
	e.head = append(e.head, record(e.event(first, fieldText(nil, eventSessionLog, string(fieldVarint(nil, sessionStatus, sessionStart)))))...)
	e.append(nil)
	return e
}

// createEvents names the file by the time in seconds, or one more than the newest there when the clock is behind it.
func createEvents(dir string, now time.Time) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	stamp := now.Unix()
	for _, entry := range entries {
		digits, _, _ := strings.Cut(strings.TrimPrefix(entry.Name(), eventPrefix), ".")
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil && n < 1e10 {
			stamp = max(stamp, n+1)
		}
	}
	for {
		file, err := os.OpenFile(filepath.Join(dir, fmt.Sprintf("%s%010d", eventPrefix, stamp)), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if !errors.Is(err, fs.ErrExist) {
			return file, err
		}
		stamp++
	}
}

// Step writes the scalars of a log step. The loss stands under loss/train and under loss/PHASE, so that runs of one and of
// several phases lie on the same axes.
func (e *Events) Step(s Step) {
	if e == nil {
		return
	}
	list := scalars{{"loss/train", s.Loss}, {"grad_norm", s.GradNorm}, {"lr", s.LR}, {"tokens_per_s", s.TokensPerS}, {"data_wait", s.DataWait}}
	list.phase("loss/", s.Phase, s.Loss)
	if s.Accuracy != nil {
		list = append(list, scalar{"accuracy/train", *s.Accuracy})
		list.phase("accuracy/", s.Phase, *s.Accuracy)
	}
	if s.MFU != nil {
		list = append(list, scalar{"mfu", *s.MFU})
	}
	if len(s.LossParts) > 1 {
		for name, part := range s.LossParts {
			list = append(list, scalar{"loss_part/" + name, part})
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Measures)) {
		list = append(list, scalar{"measure/" + name, s.Measures[name]})
	}
	e.write(s.Step, list)
}

// Eval writes the scalars of an evaluation.
func (e *Events) Eval(v Eval) {
	if e == nil {
		return
	}
	list := scalars{{"loss/valid", v.Loss}, {"perplexity", v.Perplexity}}
	list.phase("loss/valid_", v.Phase, v.Loss)
	if v.Accuracy != nil {
		list = append(list, scalar{"accuracy/valid", *v.Accuracy})
		list.phase("accuracy/valid_", v.Phase, *v.Accuracy)
	}
	for _, name := range slices.Sorted(maps.Keys(v.Measures)) {
		list = append(list, scalar{"measure/valid_" + name, v.Measures[name]})
	}
	e.write(v.Step, list)
}

// Close closes the file; every record has been written already. What went wrong is told to warn.
func (e *Events) Close() {
	if e == nil {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lost > 0 {
		e.warn(fmt.Sprintf("tensorboard: %d records are missing in %s; log.jsonl is not concerned", e.lost, e.path))
	}
	if err := e.file.Close(); err != nil {
		e.failed(err)
	}
}

type scalar struct {
	tag   string
	value float64
}

type scalars []scalar

func (l *scalars) phase(prefix, phase string, value float64) {
	if phase != "" {
		*l = append(*l, scalar{prefix + phase, value})
	}
}

func (e *Events) write(step int64, list scalars) {
	slices.SortFunc(list, func(a, b scalar) int { return strings.Compare(a.tag, b.tag) })
	var summary []byte
	for _, s := range list {
		value := fieldText(nil, valueTag, s.tag)
		value = fieldFloat(value, valueSimple, float32(s.value))
		summary = fieldText(summary, summaryValue, string(value))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.append(record(e.event(step, fieldText(nil, eventSummary, string(summary)))))
}

// append writes data, behind the first records if they are still missing, as a whole or not at all.
func (e *Events) append(data []byte) {
	data = append(e.head[:len(e.head):len(e.head)], data...)
	if _, err := e.file.WriteAt(data, e.end); err != nil {
		// Half a record would hide all that follow; shortening a file needs no space.
		if short := e.file.Truncate(e.end); short != nil {
			err = errors.Join(err, short)
		}
		e.lost++
		e.failed(err)
		return
	}
	e.end += int64(len(data))
	e.head = nil
}

func (e *Events) failed(err error) {
	if !e.warned {
		e.warned = true
		e.warn(fmt.Sprintf("tensorboard: %v; training goes on, later records will be tried again", err))
	}
}

// Field numbers of the messages Event, Summary, Summary.Value and SessionLog, and SessionLog's status START.
const (
	eventWallTime, eventStep, eventFileVersion, eventSummary, eventSessionLog = 1, 2, 3, 5, 7

	summaryValue          = 1
	valueTag, valueSimple = 1, 2

	sessionStatus, sessionStart = 1, 1
)

// event is an Event message: time and step, and a field that is encoded already.
func (e *Events) event(step int64, what []byte) []byte {
	now := float64(e.now().UnixNano()) / 1e9
	b := binary.AppendUvarint(nil, eventWallTime<<3|1)
	b = binary.LittleEndian.AppendUint64(b, math.Float64bits(now))
	if step != 0 {
		b = fieldVarint(b, eventStep, uint64(step))
	}
	return append(b, what...)
}

// Fields in protobuf's wire format: a varint of number and type (0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes).
func fieldVarint(b []byte, number int, v uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, uint64(number)<<3), v)
}

func fieldText(b []byte, number int, text string) []byte {
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(number)<<3|2), uint64(len(text)))
	return append(b, text...)
}

func fieldFloat(b []byte, number int, f float32) []byte {
	return binary.LittleEndian.AppendUint32(binary.AppendUvarint(b, uint64(number)<<3|5), math.Float32bits(f))
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// maskedCRC is TFRecord's checksum: rotated and shifted, so that sums of data that hold sums stay sound.
func maskedCRC(data []byte) uint32 {
	sum := crc32.Checksum(data, castagnoli)
	return (sum>>15 | sum<<17) + 0xa282ead8
}

// record frames data as a TFRecord.
func record(data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	b = binary.LittleEndian.AppendUint32(b, maskedCRC(b))
	b = append(b, data...)
	return binary.LittleEndian.AppendUint32(b, maskedCRC(data))
}
