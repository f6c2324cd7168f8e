package report

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// readEvent is an Event as the test's own reader sees it.
type readEvent struct {
	wall    float64
	step    int64
	version string
	start   bool
	values  map[string]float32
}

// crc32c is the bitwise definition of CRC-32C.
func crc32c(data []byte) uint32 {
	sum := ^uint32(0)
	for _, b := range data {
		sum ^= uint32(b)
		for range 8 {
			sum = sum>>1 ^ 0x82f63b78*(sum&1)
		}
	}
	return ^sum
}

func unmasked(sum uint32) uint32 {
	sum -= 0xa282ead8
	return sum>>17 | sum<<15
}

// protoFields calls f for each field of a message: a varint and fixed widths as n, bytes as data.
func protoFields(t *testing.T, message []byte, f func(number int, n uint64, data []byte)) {
	t.Helper()
	varint := func() uint64 {
		n, size := binary.Uvarint(message)
		if size <= 0 {
			t.Fatal("a varint is cut short")
		}
		message = message[size:]
		return n
	}
	take := func(n uint64) []byte {
		if n > uint64(len(message)) {
			t.Fatalf("%d bytes wanted, %d left", n, len(message))
		}
		data := message[:n]
		message = message[n:]
		return data
	}
	for len(message) > 0 {
		key := varint()
		switch number := int(key >> 3); key & 7 {
		case 0:
			f(number, varint(), nil)
		case 1:
			f(number, binary.LittleEndian.Uint64(take(8)), nil)
		case 2:
			f(number, 0, take(varint()))
		case 5:
			f(number, uint64(binary.LittleEndian.Uint32(take(4))), nil)
		default:
			t.Fatalf("wire type %d", key&7)
		}
	}
}

func readEvents(t *testing.T, path string) []readEvent {
	t.Helper()
	data := []byte(readFile(t, path))
	var out []readEvent
	for len(data) > 0 {
		if len(data) < 16 {
			t.Fatalf("%d bytes are left", len(data))
		}
		n := binary.LittleEndian.Uint64(data)
		if crc32c(data[:8]) != unmasked(binary.LittleEndian.Uint32(data[8:])) || n > uint64(len(data)-16) {
			t.Fatalf("record %d: length %d", len(out), n)
		}
		body := data[12 : 12+n]
		if crc32c(body) != unmasked(binary.LittleEndian.Uint32(data[12+n:])) {
			t.Fatalf("record %d: wrong sum", len(out))
		}
		data = data[16+n:]
		e := readEvent{values: map[string]float32{}}
		protoFields(t, body, func(number int, n uint64, data []byte) {
			switch number {
			case 1:
				e.wall = math.Float64frombits(n)
			case 2:
				e.step = int64(n)
			case 3:
				e.version = string(data)
			case 5:
				protoFields(t, data, func(_ int, _ uint64, value []byte) {
					tag, number := "", float32(0)
					protoFields(t, value, func(field int, n uint64, data []byte) {
						switch field {
						case 1:
							tag = string(data)
						case 2:
							number = math.Float32frombits(uint32(n))
						}
					})
					if _, twice := e.values[tag]; twice {
						t.Errorf("%s stands twice in an event", tag)
					}
					e.values[tag] = number
				})
			case 7:
				protoFields(t, data, func(field int, n uint64, _ []byte) { e.start = field == 1 && n == 1 })
			default:
				t.Errorf("field %d", number)
			}
		})
		out = append(out, e)
	}
	return out
}

func eventFiles(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "events.out.tfevents.*"))
	if err != nil {
		t.Fatal(err)
	}
	slices.Sort(files)
	return files
}

func TestEventsReadBack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "tb")
	e := OpenEvents(dir, 0, func(s string) { t.Error(s) })
	e.now = func() time.Time { return time.Unix(1234, 5e8) }
	s := testStep(300)
	s.MFU = new(0.41)
	e.Step(s)
	s.Step, s.Loss, s.MFU, s.Accuracy, s.LossParts, s.Phase = 310, math.NaN(), nil, nil, nil, ""
	e.Step(s)
	e.Eval(Eval{Step: 310, Phase: "mlm", Loss: 2.5, Perplexity: 12.25, Accuracy: new(0.25)})
	e.Close()
	got := readEvents(t, eventFiles(t, dir)[0])
	if len(got) != 5 || got[0].version != "brain.Event:2" || got[0].step != 0 || !got[1].start || got[1].step != 0 {
		t.Fatalf("got %+v", got)
	}
	one := got[2]
	want := map[string]float32{"loss/train": float32(9 / math.Sqrt(301)), "loss/mlm": float32(9 / math.Sqrt(301)), "accuracy/train": 300.0 / 101, "accuracy/mlm": 300.0 / 101,
		"grad_norm": float32(math.Exp(-300)), "lr": 0.1, "tokens_per_s": 1e4 / 3.0, "data_wait": 1e-9 / 3.0, "mfu": 0.41, "loss_part/mlm": 1 / 3.0, "loss_part/z": 300.0 / 7}
	if one.step != 300 || one.wall != 1234.5 || len(one.values) != len(want) {
		t.Errorf("got %+v", one)
	}
	for tag, v := range want {
		if g, ok := one.values[tag]; !ok || g != v {
			t.Errorf("%s is %v, want %v", tag, g, v)
		}
	}
	if v := got[3].values; len(v) != 5 || v["loss/train"] == v["loss/train"] {
		t.Errorf("a bare step: %v", v)
	}
	if v := got[4].values; v["loss/valid"] != 2.5 || v["loss/valid_mlm"] != 2.5 || v["accuracy/valid"] != 0.25 || v["perplexity"] != 12.25 {
		t.Errorf("the evaluation: %v", v)
	}
}

func TestResumedEventsBeginAFileThatPurges(t *testing.T) {
	dir := t.TempDir()
	future := filepath.Join(dir, fmt.Sprintf("%s%d.elsewhere", eventPrefix, time.Now().Unix()+1000)) // by a clock that was wrong
	if err := os.WriteFile(future, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, step := range []int64{0, 200, 100} {
		e := OpenEvents(dir, step, func(s string) { t.Error(s) })
		for n := step + 10; n <= step+150; n += 10 {
			e.Step(testStep(n))
		}
		e.Close()
	}
	files := eventFiles(t, dir)
	if len(files) != 4 || files[0] != future {
		t.Fatalf("files %v", files)
	}
	// What TensorBoard does: at a start event, earlier points of its step and later ones are forgotten.
	var steps []int64
	for _, path := range files {
		for _, e := range readEvents(t, path) {
			if e.start {
				steps = slices.DeleteFunc(steps, func(n int64) bool { return n >= e.step })
			} else if e.version == "" {
				steps = append(steps, e.step)
			}
		}
	}
	var want []int64
	for n := int64(10); n <= 250; n += 10 {
		want = append(want, n)
	}
	if !slices.Equal(steps, want) {
		t.Errorf("steps %v", steps)
	}
}

// flakyDisk is a file that fails while full is set, after writing a part.
type flakyDisk struct {
	*os.File
	full bool
}

func (d *flakyDisk) WriteAt(b []byte, at int64) (int, error) {
	if d.full {
		n, _ := d.File.WriteAt(b[:len(b)/2], at)
		return n, syscall.ENOSPC
	}
	return d.File.WriteAt(b, at)
}

func TestEventsOutliveAFullDisk(t *testing.T) {
	dir := t.TempDir()
	var warnings []string
	e := OpenEvents(dir, 0, func(s string) { warnings = append(warnings, s) })
	disk := &flakyDisk{File: e.file.(*os.File)}
	e.file = disk
	for n := range int64(9) {
		disk.full = n > 2 && n < 6
		e.Step(testStep(n))
	}
	e.Close()
	if len(warnings) != 2 || !strings.Contains(warnings[0], "training goes on") || !strings.Contains(warnings[1], "3 records are missing") {
		t.Errorf("warnings %q", warnings)
	}
	if n := len(readEvents(t, eventFiles(t, dir)[0])); n != 2+6 {
		t.Errorf("%d records", n)
	}
}

func TestEventsThatCannotBeOpenedAreOneWarning(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tb")
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	var warnings []string
	e := OpenEvents(path, 0, func(s string) { warnings = append(warnings, s) })
	e.Step(testStep(1))
	e.Eval(Eval{})
	e.Close()
	if e != nil || len(warnings) != 1 || !strings.Contains(warnings[0], path) {
		t.Errorf("%v, warnings %q", e, warnings)
	}
	if _, err := createEvents(path, time.Now()); !errors.Is(err, syscall.ENOTDIR) {
		t.Error(err)
	}
}
