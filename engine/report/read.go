package report

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"palimpsest/engine/fault"
)

// maxLine bounds a log line; a resolved configuration has a few kilobytes.
const maxLine = 16 << 20

// A Run is a log that was read back.
type Run struct {
	Name     string // of the header, else of the folder that holds the log
	Path     string
	Header   Header // its Configuration is a json.RawMessage, which keeps the order of keys
	Steps    []Step // by step, each once: of repeated lines the last counts
	Evals    []Eval // likewise by step and objective; behind those of other objectives that of the step's own phase
	Examples []Example
	Classes  *Classes // the last; nil without any
	Resumes  []Resume
	Notes    []Note
	Warnings []string // a torn last line, repeated steps

	headed bool
}

// ReadLog reads a log. A last line without an end that is no JSON is what a killed process leaves: it is left out and told in
// Warnings. Anything else that is not as it should be is an error of kind fault.Data that names the line. Line types and
// keys that this version does not know are passed over.
func ReadLog(path string) (*Run, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fault.Data.Errorf("log: %w", err)
	}
	defer file.Close()
	run := &Run{Path: path}
	in := bufio.NewReaderSize(file, 1<<16)
	for n := 1; ; n++ {
		line, whole, err := readLine(in)
		if err == io.EOF && len(line) == 0 {
			break
		}
		if err != nil && err != io.EOF {
			return nil, fault.Data.Errorf("%s:%d: %w", path, n, err)
		}
		if !whole && !json.Valid(line) {
			run.Warnings = append(run.Warnings, fmt.Sprintf("%s:%d: the last line was cut short and is left out", path, n))
			break
		}
		if err := run.add(line, n); err != nil {
			return nil, fault.Data.Errorf("%s:%d: %w", path, n, err)
		}
	}
	if !run.headed {
		return nil, fault.Data.Errorf("%s: the log is empty", path)
	}
	if run.Name = run.Header.Name; run.Name == "" {
		if absolute, err := filepath.Abs(path); err == nil {
			run.Name = filepath.Base(filepath.Dir(absolute))
		}
	}
	run.tidy()
	return run, nil
}

// readLine returns the next line without its end; whole is false for a last line that has none.
func readLine(in *bufio.Reader) (line []byte, whole bool, err error) {
	for {
		part, err := in.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > maxLine {
			return nil, false, fmt.Errorf("a line of more than %d bytes", maxLine)
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return line, false, err
		}
		return line[:len(line)-1], true, nil
	}
}

func (r *Run) add(line []byte, n int) error {
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.UseNumber()
	var object map[string]any
	if err := dec.Decode(&object); err != nil {
		return fmt.Errorf("not a JSON object: %w", err)
	}
	if dec.More() {
		return errors.New("more than one JSON value on a line")
	}
	kind, _ := object["type"].(string)
	if n == 1 && kind != "run" {
		return errors.New(`expected a first line of {"type":"run"}; is this a run's log.jsonl?`)
	}
	switch kind {
	case "run":
		if n != 1 {
			return errors.New(`a second {"type":"run"} line; hint: one log belongs to one run`)
		}
		var raw struct {
			Configuration json.RawMessage `json:"configuration"`
		}
		if err := json.Unmarshal(line, &raw); err != nil {
			return err
		}
		if err := fill(reflect.ValueOf(&r.Header).Elem(), object); err != nil {
			return err
		}
		r.Header.Configuration, r.headed = raw.Configuration, true
		return nil
	case "step":
		return appendLine(&r.Steps, object)
	case "eval":
		return appendLine(&r.Evals, object)
	case "example":
		return appendLine(&r.Examples, object)
	case "classes":
		r.Classes = new(Classes)
		return fill(reflect.ValueOf(r.Classes).Elem(), object)
	case "resume":
		return appendLine(&r.Resumes, object)
	case "note":
		return appendLine(&r.Notes, object)
	}
	return nil
}

func appendLine[T any](to *[]T, object map[string]any) error {
	var line T
	if err := fill(reflect.ValueOf(&line).Elem(), object); err != nil {
		return err
	}
	*to = append(*to, line)
	return nil
}

// tidy sorts steps and evaluations and keeps the last of each step, and of evaluations of each objective there.
func (r *Run) tidy() {
	var repeated int
	r.Steps, repeated = lastOfEach(r.Steps, func(s Step) (int64, string) { return s.Step, "" })
	if repeated > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("%s: %d steps stand there more than once; the last counts", r.Path, repeated))
	}
	r.Evals, _ = lastOfEach(r.Evals, func(e Eval) (int64, string) { return e.Step, e.Phase })
}

// lastOfEach sorts lines by step and drops those that come again, with the same step and name.
func lastOfEach[T any](lines []T, key func(T) (step int64, name string)) (kept []T, repeated int) {
	slices.SortStableFunc(lines, func(a, b T) int {
		x, _ := key(a)
		y, _ := key(b)
		return cmp.Compare(x, y)
	})
	for i, line := range lines {
		step, name := key(line)
		again := false
		for _, later := range lines[i+1:] {
			s, n := key(later)
			if s != step {
				break
			}
			again = again || n == name
		}
		if again {
			repeated++
			continue
		}
		kept = append(kept, line)
	}
	return kept, repeated
}
