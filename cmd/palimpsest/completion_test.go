package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// offered asks as the shells' scripts do.
func offered(t *testing.T, words ...string) (list []string, files bool) {
	t.Helper()
	for line := range strings.Lines(must(t, append([]string{completeVerb}, words...)...)) {
		if line == fileNames+"\n" {
			files = true
			continue
		}
		word, _, ok := strings.Cut(line, "\t")
		if !ok {
			t.Fatalf("%q: the line %q has no tab", words, line)
		}
		list = append(list, word)
	}
	return list, files
}

func TestCompletionOffersEveryVerbAndOption(t *testing.T) {
	var walk func(commands []*cli.Command, path []string)
	walk = func(commands []*cli.Command, path []string) {
		list, _ := offered(t, append(slices.Clone(path), "")...)
		for _, c := range commands {
			if !slices.Contains(list, c.Name) {
				t.Errorf("%q lacks %s", path, c.Name)
			}
			verb := append(slices.Clone(path), c.Name)
			if len(c.Subcommands) > 0 {
				walk(c.Subcommands, verb)
				continue
			}
			options, files := offered(t, append(verb, "-")...)
			for _, f := range c.Flags {
				if !slices.Contains(options, "--"+f.Names()[0]) {
					t.Errorf("%q lacks --%s", verb, f.Names()[0])
				}
			}
			if len(options) != len(c.Flags)+1 || files {
				t.Errorf("%q offers %q", verb, options)
			}
		}
	}
	walk(newApp().Commands, nil)
}

func TestCompletionOfValues(t *testing.T) {
	for _, x := range []struct {
		words, want string // as typed; want all that is offered, or the first words of it and "..."
		files       bool
	}{
		{"tr", "train", false},
		{"help data bui", "build", false},
		{"no-such-verb ", "", false},
		{"train --dry", "--dry-run", false},
		{"train --dry-run --dry", "", false},
		{"train --set a=1 --se", "--set ...", false},
		{"train --set schedule.fin", "schedule.final=", false},
		{"train --set optimizer.kind=a", "optimizer.kind=adamw", false},
		{"train --set = optimizer.kind = a", "--set=optimizer.kind=adamw", false}, // as bash cuts it
		{"train --set data.shuffle=", "data.shuffle=true data.shuffle=false", false},
		{"train --device cp", "cpu", false},
		{"train --device=cp", "--device=cpu", false},
		{"train --preset mlm-cpu-t", "mlm-cpu-tiny", false},
		{"train --resume ", "auto never", true},
		{"train --steps ", "", false},
		{"train --out ", "", true},
		{"train ", "", false},
		{"preset show clm-g", "clm-gpu", false},
		{"preset copy clm-g", "clm-gpu", true},
		{"completion ", "bash zsh fish", false},
		{"report ", "", true},
		{"report -- -", "", true},
	} {
		got, files := offered(t, strings.Split(x.words, " ")...)
		want, open := strings.CutSuffix(x.want, " ...")
		if g := strings.Join(got, " "); g != want && !(open && strings.HasPrefix(g, want)) || files != x.files {
			t.Errorf("%q offers %q, files %v; want %q, files %v", x.words, got, files, x.want, x.files)
		}
	}
}

func TestCompletionScripts(t *testing.T) {
	app := newApp()
	for _, shell := range shellNames() {
		script := must(t, "completion", shell)
		if !strings.Contains(script, "__complete ") || completeVerb != "__complete" || !strings.Contains(script, fileNames) || strings.Contains(script, "\\\\t") {
			t.Errorf("%s: %s", shell, script)
		}
		for name := range leaves(app.Commands, "") { // what it does not know cannot drift
			if strings.Contains(script, " "+name+" ") && name != "completion" {
				t.Errorf("the %s script knows the verb %s", shell, name)
			}
		}
	}
	if c := completionCommand(); c.ArgsUsage != strings.Join(shellNames(), "|") {
		t.Errorf("%s, but there are %q", c.ArgsUsage, shellNames())
	}
	refuses(t, 2, []string{"tcsh", "bash, zsh, fish"}, "completion", "tcsh")
	refuses(t, 2, []string{"the name of a shell"}, "completion")
}
