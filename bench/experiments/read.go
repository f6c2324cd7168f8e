package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"palimpsest/engine/fault"
)

// A Result is everything that a table shows.
type Result struct {
	V        int        `json:"v"`
	Name     string     `json:"experiment"`
	Size     string     `json:"size"`
	Time     string     `json:"time"`
	Devices  []string   `json:"devices"`  // of the runs, without repetition
	Versions []string   `json:"versions"` // the program's, of the runs
	Machine  string     `json:"machine"`
	Note     string     `json:"note,omitempty"`
	Seconds  float64    `json:"seconds"` // of all commands
	Seeds    []string   `json:"seeds"`
	Data     []DataFile `json:"data"`
	Arms     []Measured `json:"arms"`
	Verdicts []Verdict  `json:"claims"`
	Commands []string   `json:"commands"` // of the preparation, and of the first arm and seed
	spec     Spec
}

// DataFile is a file that was read.
type DataFile struct {
	File   string `json:"file"`
	Bytes  int64  `json:"bytes"`
	SHA256 string `json:"sha256"`
}

// Measured is an arm with its figures by column.
type Measured struct {
	Arm        string            `json:"arm"`
	Settings   string            `json:"settings"`
	Parameters int64             `json:"parameters"`
	Figures    map[string]Figure `json:"figures"`
	Tokens     Figure            `json:"tokens"`       // trained on, of a run
	TokensPerS Figure            `json:"tokens_per_s"` // of training
	Seconds    Figure            `json:"seconds"`      // of all commands of a seed
}

// A command is a line of commands.tsv.
type command struct {
	file, line string
	seconds    float64
}

// Read collects the results of an experiment.
func Read(o Options) (r Result, err error) {
	spec, err := readSpec(o.Spec)
	if err != nil {
		return r, err
	}
	r = Result{V: 1, Name: o.Name, Size: o.Size, Time: time.Now().UTC().Format(time.RFC3339), Note: o.Note, Seeds: o.Seeds, spec: spec}
	for _, file := range o.Files {
		f, err := digest(filepath.Join(o.Data, file), file)
		if err != nil {
			return r, err
		}
		r.Data = append(r.Data, f)
	}
	commands, err := readCommands(filepath.Join(o.Work, "commands.tsv"))
	if err != nil {
		return r, err
	}
	for _, c := range commands {
		r.Seconds += c.seconds
		if first := o.Arms[0].Name + "/seed-" + o.Seeds[0] + "/"; !strings.Contains(c.file, "/seed-") || strings.HasPrefix(c.file, first) {
			r.Commands = append(r.Commands, c.line)
		}
	}
	if r.Machine, err = machine(filepath.Join(o.Work, "doctor.json")); err != nil {
		return r, err
	}
	for _, arm := range o.Arms {
		m, err := r.measure(o, arm, commands)
		if err != nil {
			return r, err
		}
		r.Arms = append(r.Arms, m)
	}
	r.Verdicts, err = r.judge()
	return r, err
}

// measure reads the results of all seeds of an arm.
func (r *Result) measure(o Options, arm Arm, commands []command) (m Measured, err error) {
	m = Measured{Arm: arm.Name, Settings: arm.Settings, Figures: map[string]Figure{}}
	values := map[string][]float64{}
	var tokens, rates, seconds []float64
	for _, seed := range o.Seeds {
		at := arm.Name + "/seed-" + seed
		for _, c := range r.spec.Columns {
			if c.Size != "" && c.Size != o.Size {
				continue
			}
			v, err := lookUp(filepath.Join(o.Work, at, c.File), c.Value)
			if c.Some && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, errNoNumber)) {
				continue
			}
			if err != nil {
				return m, err
			}
			values[c.Name] = append(values[c.Name], c.Scale*v)
		}
		trained := filepath.Join(o.Work, at, "train.json")
		n, err := lookUp(trained, "tokens")
		if err != nil {
			return m, err
		}
		s, err := lookUp(trained, "seconds")
		if err != nil {
			return m, err
		}
		all := 0.0
		for _, c := range commands {
			if strings.HasPrefix(c.file, at+"/") {
				all += c.seconds
			}
		}
		tokens, rates, seconds = append(tokens, n), append(rates, n/max(s, 1e-9)), append(seconds, all)
		if err := r.conditions(&m, trained); err != nil {
			return m, err
		}
	}
	for name, list := range values {
		m.Figures[name] = figure(list)
	}
	m.Tokens, m.TokensPerS, m.Seconds = figure(tokens), figure(rates), figure(seconds)
	return m, nil
}

// conditions notes what a run says about its device and program.
func (r *Result) conditions(m *Measured, trained string) error {
	var result struct {
		Run string `json:"run"`
	}
	if err := decode(trained, &result); err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(result.Run, "log.jsonl"))
	if err != nil {
		return fault.Data.Errorf("%s: %w; hint: a table is made where the runs are", trained, err)
	}
	defer f.Close()
	line, err := bufio.NewReader(f).ReadBytes('\n')
	if err != nil {
		return fault.Data.Errorf("%s: no first line: %w", f.Name(), err)
	}
	var header struct {
		Device     string            `json:"device"`
		Versions   map[string]string `json:"versions"`
		Parameters int64             `json:"parameters"`
	}
	if err := json.Unmarshal(line, &header); err != nil {
		return fault.Data.Errorf("%s:1: %w", f.Name(), err)
	}
	m.Parameters = header.Parameters
	for _, add := range []struct {
		list *[]string
		one  string
	}{{&r.Devices, header.Device}, {&r.Versions, header.Versions["palimpsest"]}} {
		if !slices.Contains(*add.list, add.one) {
			*add.list = append(*add.list, add.one)
		}
	}
	return nil
}

func decode(path string, into any) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fault.Data.Errorf("%w; hint: the script that makes it goes on where it was left", err)
	}
	if err := json.Unmarshal(content, into); err != nil {
		return fault.Data.Errorf("%s: %w", path, err)
	}
	return nil
}

var errNoNumber = errors.New("there is no number")

// lookUp reads a number of a JSON file: keys of objects and indices of lists, with dots between.
func lookUp(path, value string) (float64, error) {
	var v any
	if err := decode(path, &v); err != nil {
		return 0, err
	}
	for _, key := range strings.Split(value, ".") {
		switch at := v.(type) {
		case map[string]any:
			v = at[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i < 0 || i >= len(at) {
				return 0, fault.Data.Errorf("%s: %s: %q is no index of a list of %d", path, value, key, len(at))
			}
			v = at[i]
		default:
			v = nil
		}
	}
	n, ok := v.(float64)
	if !ok {
		return 0, fault.Data.Errorf("%s: %w %s", path, errNoNumber, value)
	}
	return n, nil
}

func readCommands(path string) (list []command, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Data.Wrap(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(string(content)), "\n") {
		parts := strings.SplitN(line, "\t", 3)
		if len(parts) != 3 {
			return nil, fault.Data.Errorf("%s:%d: want result, seconds and command with tabs between", path, i+1)
		}
		seconds, err := strconv.ParseFloat(parts[1], 64)
		if err != nil {
			return nil, fault.Data.Errorf("%s:%d: %w", path, i+1, err)
		}
		list = append(list, command{parts[0], parts[2], seconds})
	}
	return list, nil
}

func digest(path, name string) (d DataFile, err error) {
	f, err := os.Open(path)
	if err != nil {
		return d, fault.Data.Wrap(err)
	}
	defer f.Close()
	h := sha256.New()
	n, err := io.Copy(h, f)
	return DataFile{name, n, fmt.Sprintf("%x", h.Sum(nil))}, fault.Data.Wrap(err)
}

// machine describes the computer from the output of doctor.
func machine(path string) (string, error) {
	var d struct {
		CPU    string `json:"cpu"`
		Cores  int    `json:"cores"`
		Memory int64  `json:"memory_bytes"`
		GPU    struct {
			Devices []struct {
				Name string `json:"name"`
			} `json:"devices"`
		} `json:"gpu"`
	}
	if err := decode(path, &d); err != nil {
		return "", err
	}
	s := fmt.Sprintf("%s, %d cores, %d GiB", d.CPU, d.Cores, d.Memory>>30)
	for _, gpu := range d.GPU.Devices {
		s += ", " + gpu.Name
	}
	return s, nil
}
