package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"syscall"
	"testing"

	"palimpsest/engine/fault"
)

var testHeader = Header{Name: "r", Objective: "mlm", Seed: 7, Device: "cpu", Versions: map[string]string{"go": "x"}, Steps: 20,
	Configuration: json.RawMessage(`{"b":1,"a":{"z":[1,2]}}`)}

// testStep is a step whose numbers have no short decimal form.
func testStep(n int64) Step {
	x := float64(n)
	return Step{Step: n, Phase: "mlm", Loss: 9 / math.Sqrt(x+1), LossParts: map[string]float64{"mlm": 1 / 3.0, "z": x / 7}, Accuracy: new(x / 101),
		GradNorm: math.Exp(-x), LR: 1e-3 / 3 * x, Tokens: n * 8192, TokensPerS: 1e4 / 3, FLOPsPerS: 1e21, DataWait: 1e-9 / 3, MemoryBytes: 1 << 33,
		Seconds: x / 3}
}

func openLog(t *testing.T, path string, resume int64) (*Log, *[]string) {
	t.Helper()
	warnings := new([]string)
	l, err := OpenLog(path, resume, testHeader, func(s string) { *warnings = append(*warnings, s) })
	if err != nil {
		t.Fatal(err)
	}
	return l, warnings
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLogReadsBackBitForBit(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.jsonl")
	l, warnings := openLog(t, path, 0)
	steps := []Step{testStep(1), testStep(2), testStep(3), testStep(4)}
	steps[1].Loss, steps[1].GradNorm = math.NaN(), math.Inf(1)
	steps[2].Loss, steps[2].LossParts["z"] = math.Inf(-1), math.NaN()
	steps[3].MFU = new(0.41)
	for _, s := range steps {
		l.Write(s)
	}
	eval := Eval{Step: 4, Loss: 2.5, Accuracy: new(0.25), Perplexity: math.Exp(2.5), Rows: 9, BaselineAccuracy: new(0.07), BaselineLoss: new(6.3)}
	example := Example{4, "a [MASK] <b>", "[MASK]", []Hole{{"x", []Answer{{"x", 0.5}, {"\u2028", 0.1}}}}}
	l.Write(&eval)
	l.Write(example)
	l.Write(map[string]any{"type": "custom", "loss": float32(0.1), "a": math.NaN(), "list": []float64{math.Inf(1)}})
	if err := l.Close(); err != nil || len(*warnings) > 0 {
		t.Fatal(err, *warnings)
	}

	lines := strings.Split(readFile(t, path), "\n")
	if !strings.HasPrefix(lines[0], `{"type":"run","name":"r","time":"`) || !strings.Contains(lines[0], `"configuration":{"b":1,"a":{"z":[1,2]}}`) {
		t.Error(lines[0])
	}
	if want := `{"type":"step","step":1,"epoch":0,"phase":"mlm","loss":6.363961030678928,"loss_hex":"0x1.974b2334f2346p+02","loss_parts":`; !strings.HasPrefix(lines[1], want) {
		t.Error(lines[1])
	}
	if !strings.Contains(lines[2], `"loss":"NaN","loss_hex":"NaN"`) || !strings.Contains(lines[2], `"grad_norm":"+Inf"`) || !strings.Contains(lines[2], `"mfu":null`) {
		t.Error(lines[2])
	}
	if want := `{"type":"custom","a":"NaN","list":["+Inf"],"loss":0.1,"loss_hex":"0x1.99999ap-04"}`; lines[7] != want {
		t.Errorf("got %s", lines[7])
	}
	for i, line := range lines[:8] {
		if !json.Valid([]byte(line)) {
			t.Errorf("line %d is not JSON: %s", i+1, line)
		}
	}

	run, err := ReadLog(path)
	if err != nil {
		t.Fatal(err)
	}
	// NaN is unlike itself: compare as text, which shows floats in full.
	if got, want := fmt.Sprint(plain(run.Steps)), fmt.Sprint(plain(steps)); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if !reflect.DeepEqual(run.Evals, []Eval{eval}) || !reflect.DeepEqual(run.Examples, []Example{example}) {
		t.Errorf("%+v %+v", run.Evals, run.Examples)
	}
	if h := run.Header; h.Seed != 7 || h.Device != "cpu" || h.Versions["go"] != "x" || run.Name != "r" ||
		string(h.Configuration.(json.RawMessage)) != `{"b":1,"a":{"z":[1,2]}}` {
		t.Errorf("%+v", h)
	}
}

// plain replaces pointers by what they point to.
func plain(steps []Step) []string {
	var out []string
	for _, s := range steps {
		accuracy, mfu := *s.Accuracy, s.MFU
		s.Accuracy, s.MFU = nil, nil
		out = append(out, fmt.Sprint(s, accuracy, mfu != nil))
	}
	return out
}

// comparable strips a log of resume lines and of what depends on the clock.
func comparable(t *testing.T, path string) []string {
	t.Helper()
	var out []string
	for line := range strings.Lines(readFile(t, path)) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		if m["type"] == "resume" {
			continue
		}
		for _, key := range TimeFields {
			delete(m, key)
		}
		text, _ := json.Marshal(m)
		out = append(out, string(text))
	}
	return out
}

func TestResumedLogEqualsAStraightOne(t *testing.T) {
	dir := t.TempDir()
	straight, resumed := filepath.Join(dir, "a.jsonl"), filepath.Join(dir, "b.jsonl")
	write := func(l *Log, from, to int64, pace float64) {
		for n := from; n <= to; n++ {
			s := testStep(n)
			s.Seconds, s.TokensPerS = s.Seconds*pace, pace
			l.Write(s)
			if n%5 == 0 {
				l.Write(Eval{Step: n, Loss: 1 / float64(n), Rows: 3})
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
	}
	l, _ := openLog(t, straight, 0)
	write(l, 1, 20, 1)

	l, _ = openLog(t, resumed, 0)
	write(l, 1, 17, 2)
	torn := readFile(t, resumed) + `{"type":"step","step":18,"lo`
	if err := os.WriteFile(resumed, []byte(torn), 0o644); err != nil {
		t.Fatal(err)
	}
	l, warnings := openLog(t, resumed, 10)
	write(l, 11, 20, 3)
	if got, want := comparable(t, resumed), comparable(t, straight); !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if text := strings.Join(*warnings, "\n"); !strings.Contains(text, "the last line was cut short") || !strings.Contains(text, "8 lines after step 10") {
		t.Error(text)
	}
	// Resumed again from an earlier checkpoint: the history of resumes stays.
	l, _ = openLog(t, resumed, 5)
	write(l, 6, 20, 3)
	if got, want := comparable(t, resumed), comparable(t, straight); !slices.Equal(got, want) {
		t.Errorf("second resume: got\n%s", strings.Join(got, "\n"))
	}
	run, err := ReadLog(resumed)
	if err != nil || len(run.Resumes) != 2 || run.Resumes[0].Step != 10 || run.Resumes[1].Step != 5 || len(run.Steps) != 20 {
		t.Errorf("%v %+v", err, run.Resumes)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestFreshLogKeepsAnOlderOneAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.jsonl")
	for i := range 3 {
		l, warnings := openLog(t, path, 0)
		l.Write(testStep(int64(i + 1)))
		l.Close()
		if (len(*warnings) == 1) != (i > 0) {
			t.Errorf("start %d: %v", i, *warnings)
		}
	}
	for i, name := range []string{path + ".1", path + ".2", path} {
		if run, err := ReadLog(name); err != nil || run.Steps[0].Step != int64(i+1) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestResumeWithoutOrWithADamagedLog(t *testing.T) {
	dir := t.TempDir()
	missing := filepath.Join(dir, "missing.jsonl")
	l, warnings := openLog(t, missing, 40)
	l.Close()
	if run, err := ReadLog(missing); err != nil || len(run.Resumes) != 1 || len(*warnings) != 1 || !strings.Contains((*warnings)[0], "step 40") {
		t.Errorf("%v %v", err, *warnings)
	}
	damaged := filepath.Join(dir, "damaged.jsonl")
	if err := os.WriteFile(damaged, []byte("{\"type\":\"run\"}\n{\"type\":\"step\",\"st\x00\n{\"type\":\"step\",\"step\":9}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	l, warnings = openLog(t, damaged, 5)
	l.Close()
	if text := readFile(t, damaged); !strings.Contains(text, "\x00") || strings.Contains(text, `"step":9`) || len(*warnings) != 2 ||
		!strings.Contains((*warnings)[0], "damaged.jsonl:2") {
		t.Errorf("%q %v", text, *warnings)
	}
	if _, err := OpenLog(filepath.Join(dir, "no", "log.jsonl"), 0, testHeader, nil); fault.Of(err) != fault.Write {
		t.Errorf("kind %d of %v", fault.Of(err), err)
	}
}

// fullDisk is a file on a disk that fills up: a write past room keeps what fits and fails.
type fullDisk struct {
	data []byte
	room int
}

func (f *fullDisk) WriteAt(p []byte, at int64) (int, error) {
	n := min(len(p), max(f.room-int(at), 0))
	f.data = append(f.data[:at], p[:n]...)
	if n < len(p) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

func (f *fullDisk) Truncate(size int64) error {
	f.data = f.data[:min(int(size), len(f.data))]
	return nil
}

func (f *fullDisk) Close() error { return nil }

func TestFullDiskWarnsOnceAndGoesOn(t *testing.T) {
	disk := &fullDisk{room: 1000}
	var warnings []string
	l := &Log{file: disk, warn: func(s string) { warnings = append(warnings, s) }}
	l.Write(testHeader)
	for n := range int64(10) {
		l.Write(Note{n, strings.Repeat("x", 200)})
	}
	if !bytes.HasSuffix(disk.data, []byte("}\n")) || len(warnings) != 1 || !strings.Contains(warnings[0], "no space left") ||
		!strings.Contains(warnings[0], "training goes on") {
		t.Errorf("%q %v", disk.data, warnings)
	}
	kept := bytes.Count(disk.data, []byte("\n")) - 1
	disk.room = 1 << 20
	l.Write(Note{11, "after"})
	want := fmt.Sprintf(`{"type":"note","step":11,"text":"%d lines before this one could not be written"}`, 10-kept)
	if !strings.Contains(string(disk.data), want+"\n"+`{"type":"note","step":11,"text":"after"}`+"\n") {
		t.Errorf("want %s in %q", want, disk.data)
	}
	disk.room = 0
	empty := &Log{file: &fullDisk{}, header: []byte("{\"type\":\"run\"}\n"), warn: func(string) {}}
	empty.Write(Note{1, "lost"})
	empty.file.(*fullDisk).room = 1 << 20
	empty.Write(Note{2, ""})
	if got := string(empty.file.(*fullDisk).data); !strings.HasPrefix(got, "{\"type\":\"run\"}\n{\"type\":\"note\",\"step\":2,\"text\":\"1 lines before") {
		t.Errorf("the header must come first once there is room: %s", got)
	}
	l.Write(Note{12, ""})
	if err := l.Close(); err != nil || len(warnings) != 2 || !strings.Contains(warnings[1], "last 1 lines") {
		t.Errorf("%v %v", err, warnings)
	}
}

func TestReadLogIsStrictButForTheLastLine(t *testing.T) {
	const head = `{"type":"run","seed":1,"versions":{},"device":"cpu","time":"t","configuration":null}` + "\n"
	for _, c := range []struct{ text, want string }{
		{"", "the log is empty"},
		{`{"type":"st`, "the log is empty"},
		{`{"type":"step","step":1}` + "\n", `:1: expected a first line of {"type":"run"}`},
		{head + head, `:2: a second {"type":"run"} line`},
		{head + "{\n" + head, ":2: not a JSON object"},
		{head + "[1]\n", ":2: not a JSON object"},
		{head + "{} {}\n", ":2: more than one JSON value"},
		{head + `{"type":"step","step":"x"}` + "\n", ":2: step: expected a whole number, got x"},
		{head + `{"type":"step","step":1.5}` + "\n", ":2: step: expected a whole number of 64 bits, got 1.5"},
		{head + `{"type":"step","loss":"nan"}` + "\n", ":2: loss: expected a number, got nan"},
		{head + `{"type":"step","loss":1e999}` + "\n", ":2: loss: expected a number, got 1e999"},
		{head + `{"type":"step","phase":3}` + "\n", ":2: phase: expected a text, got 3"},
		{head + `{"type":"step","loss_parts":[1]}` + "\n", ":2: loss_parts: expected an object"},
		{head + `{"type":"example","masks":[{"answers":{}}]}` + "\n", ":2: masks: 0: answers: expected a list"},
	} {
		path := filepath.Join(t.TempDir(), "log.jsonl")
		if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		if _, err := ReadLog(path); err == nil || !strings.Contains(err.Error(), c.want) || fault.Of(err) != fault.Data {
			t.Errorf("%q: got %v, want %s", c.text, err, c.want)
		}
	}
	path := filepath.Join(t.TempDir(), "run-7", "log.jsonl")
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	text := head + `{"type":"step","step":2,"loss":1}` + "\n" + `{"type":"step","step":1,"new":{"a":1}}` + "\n" + `{"type":"later"}` + "\n" +
		`{"type":"step","step":2,"loss":3}` + "\n" + `{"type":"step","step":3,"lo`
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	run, err := ReadLog(path)
	if err != nil || run.Name != "run-7" || len(run.Steps) != 2 || run.Steps[0].Step != 1 || run.Steps[1].Loss != 3 || len(run.Warnings) != 2 ||
		!strings.Contains(run.Warnings[0], ":6: the last line was cut short") {
		t.Errorf("%v %+v", err, run)
	}
	if _, err := ReadLog(path + "x"); !errors.Is(err, os.ErrNotExist) || fault.Of(err) != fault.Data {
		t.Error(err)
	}
}

func TestOnlyObjectsAreLines(t *testing.T) {
	for _, line := range []any{3, "x", nil, []int{1}, struct{ C chan int }{}} {
		if data, err := encodeLine(line); err == nil {
			t.Errorf("%v became %s", line, data)
		}
	}
}

func FuzzReadLog(f *testing.F) {
	f.Add([]byte(`{"type":"run"}` + "\n" + `{"type":"step","step":1,"loss":"NaN","loss_parts":{"a":1}}` + "\n"))
	f.Add([]byte(`{"type":"run","configuration":{"a":[{"b":1}]}}` + "\n" + `{"type":"example","text":"[M]","mask":"[M]","masks":[{"answers":[{}]}]}`))
	f.Add([]byte(`{"type":"run"}` + "\n" + `{"type":"eval","step":-9223372036854775808,"loss":1e308,"accuracy":-1e308}` + "\n" + `{"type":"resume"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		path := filepath.Join(t.TempDir(), "log.jsonl")
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
		run, err := ReadLog(path)
		if err != nil {
			if fault.Of(err) != fault.Data {
				t.Fatal(err)
			}
			return
		}
		if err := WriteHTML(path+".html", []*Run{run, run}); err != nil {
			t.Fatal(err)
		}
	})
}
