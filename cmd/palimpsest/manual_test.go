package main

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"palimpsest/engine"
	"palimpsest/engine/runfile"
)

// plainManual is the manual page with its escapes undone.
func plainManual(t *testing.T) string {
	t.Helper()
	page := must(t, "manual")
	for i, line := range strings.Split(strings.TrimSuffix(page, "\n"), "\n") {
		if request, _, _ := strings.Cut(line, " "); strings.HasPrefix(line, ".") && !strings.Contains(" .TH .SH .SS .PP .TP .nf .fi ", " "+request+" ") {
			t.Errorf("line %d: unknown request %q", i+1, line)
		}
		if strings.HasPrefix(line, "'") || strings.Contains(strings.ReplaceAll(line, `\e`, ""), `\\`) {
			t.Errorf("line %d: roff would read %q in its own way", i+1, line)
		}
	}
	return strings.NewReplacer(`\-`, "-", `\e`, `\`, `\&`, "", `\fB`, "", `\fR`, "", `\(dq`, `"`).Replace(page)
}

func TestManualHasEverything(t *testing.T) {
	page := plainManual(t)
	for name, c := range leaves(newApp().Commands, "") {
		_, section, ok := strings.Cut(page, ".SS \""+strings.TrimSpace(program+" "+name+" "+c.ArgsUsage)+"\"\n")
		if !ok {
			t.Errorf("the manual lacks %s", name)
			continue
		}
		if end := strings.Index(section, "\n.S"); end >= 0 {
			section = section[:end]
		}
		for _, f := range c.Flags {
			placeholder, what := usageOf(f)
			if head := strings.TrimSpace("--" + strings.Join(f.Names(), ", --") + " " + placeholder); !strings.Contains(section, ".TP\n"+head+"\n"+what) {
				t.Errorf("%s: the manual lacks %q with %q", name, head, what)
			}
		}
		for line := range strings.Lines(strings.TrimPrefix(c.Description, "Example:\n")) {
			if !strings.Contains(section, strings.TrimRight(line, "\n")) {
				t.Errorf("%s: the manual lacks the line %q", name, line)
			}
		}
	}
	for _, k := range runfile.Describe(engine.Default()) {
		if !strings.Contains(page, "\n"+k.Path) || !strings.Contains(page, k.Doc) {
			t.Errorf("the manual lacks the key %s", k.Path)
		}
	}
}

func TestReadmeHasTheExitCodes(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	table := "| exit code | meaning | a scheduler should |\n| --- | --- | --- |\n"
	for _, e := range exitCodes {
		table += fmt.Sprintf("| %d | %s | %s |\n", int(e.code), e.meaning, e.then)
	}
	if !strings.Contains(string(readme), table+"\n") {
		t.Errorf("the README's table of exit codes is not\n%s", table)
	}
	for _, f := range runFolder {
		if name, _, _ := strings.Cut(f[0], "/"); !strings.Contains(string(readme), "`"+name) {
			t.Errorf("the README does not mention %s", f[0])
		}
	}
	for _, e := range environment[2:] {
		if !strings.Contains(string(readme), e[0]) {
			t.Errorf("the README does not mention %s", e[0])
		}
	}
}
