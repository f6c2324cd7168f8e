package main

import (
	"os"

	"palimpsest/engine/fault"
	"palimpsest/engine/runfile"
)

// Spec is a table file: what is read from the results, and what was claimed.
type Spec struct {
	Title     string            `yaml:"title" doc:"heading"`
	About     string            `yaml:"about" doc:"what is compared, and how"`
	Columns   []Column          `yaml:"columns" doc:"figures"`
	Rows      map[string]string `yaml:"rows" doc:"what an arm is, in words"`
	Claims    []Claim           `yaml:"claims" doc:"what should be seen"`
	Published string            `yaml:"published" doc:"published figures with their status, Markdown"`
	Remarks   map[string]string `yaml:"remarks" doc:"by size: what was found, and what limits it"`
}

// Column is a figure of every run.
type Column struct {
	Name   string  `yaml:"name" doc:"heading"`
	File   string  `yaml:"file" doc:"JSON result below the folder of an arm and seed"`
	Value  string  `yaml:"value" doc:"keys and indices with dots between"`
	Scale  float64 `yaml:"scale" doc:"factor"`
	Digits int     `yaml:"digits" min:"0" max:"9" doc:"decimals"`
	About  string  `yaml:"about" doc:"what it is"`
	// Some arms have no such result: there the file may be missing.
	Some bool   `yaml:"some" doc:"not every arm has it"`
	Size string `yaml:"size" doc:"only of experiments of this size"`
	// Claims want a figure of which more is better: a loss is read once more, negated and hidden.
	Hidden bool `yaml:"hidden" doc:"for claims, not in the table"`
}

// SetDefaults makes a column a plain number of two decimals.
func (c *Column) SetDefaults() { c.Scale, c.Digits = 1, 2 }

// Claim is a published effect: one arm has more (or less) of a figure than another.
type Claim struct {
	Says   string `yaml:"says" doc:"the effect, in words"`
	Status string `yaml:"status" doc:"who says so: paper, paper*, code, derived, ours"`
	Column string `yaml:"column" doc:"the figure"`
	Arm    string `yaml:"arm" doc:"arm that should have more"`
	Over   string `yaml:"over" doc:"arm that should have less"`
	Of     string `yaml:"of" doc:"the figure of the second arm, when another"`
}

func readSpec(path string) (s Spec, err error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return s, fault.Usage.Errorf("--spec: %w", err)
	}
	if err := runfile.Decode(path, content, &s); err != nil {
		return s, err
	}
	names := map[string]bool{}
	for _, c := range s.Columns {
		if c.Name == "" || c.File == "" || c.Value == "" || names[c.Name] {
			return s, fault.Usage.Errorf("%s: column %q: want a name of its own, a file and a value", path, c.Name)
		}
		names[c.Name] = true
	}
	for _, c := range s.Claims {
		if !names[c.Column] || c.Of != "" && !names[c.Of] {
			return s, fault.Usage.Errorf("%s: claim %q: there is no column %q", path, c.Says, c.Column)
		}
	}
	return s, nil
}
