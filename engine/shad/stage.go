package shad

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

const stageFormat = 1

// A Stage is the record of a stage of SHAD: what it was made from, and once it is done what it gave.
type Stage struct {
	Format int               `json:"format"`
	Stage  string            `json:"stage"`
	Inputs map[string]string `json:"inputs"`
	Done   bool              `json:"done"`
	Result json.RawMessage   `json:"result,omitempty"`

	path  string
	begun bool
}

// Begun reports whether the stage was begun before.
func (s *Stage) Begun() bool { return s.begun }

// BeginStage reads or makes the record of a stage. A record of other inputs is refused, with every difference; with Done there is
// nothing to do but to read the result.
func BeginStage(path, stage string, inputs map[string]string) (*Stage, error) {
	s, err := ReadStage(path)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return &Stage{Format: stageFormat, Stage: stage, Inputs: inputs, path: path}, nil
	}
	if s.Stage != stage {
		return nil, fault.Usage.Errorf("%s is of the stage %s, not of %s; hint: another --out", path, s.Stage, stage)
	}
	names := slices.Sorted(maps.Keys(inputs))
	for name := range s.Inputs {
		if _, ok := inputs[name]; !ok {
			names = append(names, name)
		}
	}
	var differences []string
	for _, name := range names {
		if was, is := s.Inputs[name], inputs[name]; was != is {
			differences = append(differences, fmt.Sprintf("%s was %q, is %q", name, was, is))
		}
	}
	if len(differences) > 0 {
		return nil, fault.Usage.Errorf("%s was made from other inputs: %s; hint: go back to those, or choose another --out", filepath.Dir(path), strings.Join(differences, "; "))
	}
	return s, nil
}

// ReadStage reads a record; nil when there is none.
func ReadStage(path string) (*Stage, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fault.Data.Wrap(err)
	}
	s := &Stage{path: path, begun: true}
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fault.Data.Errorf("%s: %w", path, err)
	}
	if s.Format != stageFormat {
		return nil, fault.Data.Errorf("%s is of format %d, this program reads %d", path, s.Format, stageFormat)
	}
	return s, nil
}

// Write keeps the record, with a result once there is one.
func (s *Stage) Write(result any) error {
	if result != nil {
		text, err := json.Marshal(result)
		if err != nil {
			return err
		}
		s.Result, s.Done = text, true
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(s.path), 0o755); err != nil {
		return fault.Write.Wrap(err)
	}
	return fault.Write.Wrap(vfs.WriteAtomic(vfs.OS{}, s.path, append(text, '\n')))
}

// Read fills into with the result of a stage that is done.
func (s *Stage) Read(into any) error {
	if err := json.Unmarshal(s.Result, into); err != nil {
		return fault.Data.Errorf("%s: %w", s.path, err)
	}
	return nil
}
