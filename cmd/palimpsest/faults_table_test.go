package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every test that the table of faults names exists, and every row has one or says why not.
func TestTableOfFaultsNamesItsTests(t *testing.T) {
	root := filepath.Join("..", "..")
	content, err := os.ReadFile(filepath.Join(root, "engine", "FAULTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	section := string(content)
	have := map[string]bool{}
	define := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		for _, m := range define.FindAllStringSubmatch(string(content), -1) {
			have[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	rows, named := 0, regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	for _, line := range strings.Split(section, "\n") {
		if !strings.HasPrefix(line, "| ") || strings.HasPrefix(line, "| case") || strings.HasPrefix(line, "| ---") {
			continue
		}
		rows++
		tests := named.FindAllStringSubmatch(line, -1)
		if len(tests) == 0 && !strings.Contains(line, "not tested: ") {
			t.Errorf("no test and no reason: %s", line)
		}
		for _, m := range tests {
			if !have[m[1]] {
				t.Errorf("there is no %s: %s", m[1], line)
			}
		}
	}
	if rows < 30 {
		t.Errorf("only %d rows", rows)
	}
	for _, m := range named.FindAllStringSubmatch(section, -1) {
		if !have[m[1]] {
			t.Errorf("there is no %s", m[1])
		}
	}
}
