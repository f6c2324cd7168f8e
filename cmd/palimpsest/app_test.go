package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/urfave/cli/v2"
)

// call runs the program with some arguments and standard input.
func call(stdin string, arguments ...string) (code int, stdout, stderr string) {
	var out, err bytes.Buffer
	code = run(arguments, strings.NewReader(stdin), &out, &err)
	return code, out.String(), err.String()
}

// must runs the program and fails the test unless it succeeds.
func must(t *testing.T, arguments ...string) string {
	t.Helper()
	code, stdout, stderr := call("", arguments...)
	if code != 0 {
		t.Fatalf("palimpsest %s: exit code %d: %s", strings.Join(arguments, " "), code, stderr)
	}
	return stdout
}

// refuses runs the program and wants an exit code and a message that contains all of the parts.
func refuses(t *testing.T, code int, parts []string, arguments ...string) {
	t.Helper()
	got, _, stderr := call("", arguments...)
	if got != code {
		t.Errorf("palimpsest %s: exit code %d, want %d: %s", strings.Join(arguments, " "), got, code, stderr)
	}
	for _, part := range parts {
		if !strings.Contains(stderr, part) {
			t.Errorf("palimpsest %s: the message lacks %q: %s", strings.Join(arguments, " "), part, stderr)
		}
	}
}

func write(t *testing.T, path, content string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// leaves lists all verbs without sub-verbs, with their names.
func leaves(commands []*cli.Command, prefix string) map[string]*cli.Command {
	list := map[string]*cli.Command{}
	for _, c := range commands {
		name := strings.TrimSpace(prefix + " " + c.Name)
		if len(c.Subcommands) == 0 {
			list[name] = c
		}
		for n, s := range leaves(c.Subcommands, name) {
			list[n] = s
		}
	}
	return list
}

func TestEveryFlagIsDocumented(t *testing.T) {
	app := newApp()
	verbs := leaves(app.Commands, "")
	for name, c := range verbs {
		help := must(t, append(strings.Fields(name), "--help")...)
		if c.Usage == "" || !strings.Contains(help, c.Usage) {
			t.Errorf("%s: help does not say what it does", name)
		}
		if !strings.Contains(help, "palimpsest "+name) {
			t.Errorf("%s: help has no example", name)
		}
		json := false
		seen := map[string]bool{}
		for _, f := range c.Flags {
			d, ok := f.(cli.DocGenerationFlag)
			if !ok || strings.TrimSpace(d.GetUsage()) == "" {
				t.Errorf("%s: --%s is not documented", name, f.Names()[0])
				continue
			}
			for _, n := range f.Names() {
				if seen[n] {
					t.Errorf("%s: --%s is defined twice", name, n)
				}
				seen[n] = true
				json = json || n == "json"
				if !strings.Contains(help, "--"+n) {
					t.Errorf("%s: help lacks --%s", name, n)
				}
			}
		}
		if !json {
			t.Errorf("%s: no --json", name)
		}
	}
	help := must(t, "--help")
	for _, verb := range []string{"doctor", "tokenizer", "data", "train", "eval", "fill-mask", "generate", "preset", "report"} {
		if !strings.Contains(help, "   "+verb+" ") {
			t.Errorf("help lacks %s", verb)
		}
	}
	for _, verb := range []string{"tokenizer train", "tokenizer inspect", "data build", "data verify", "data inspect", "eval loss", "preset ls", "preset show", "preset copy"} {
		if verbs[verb] == nil {
			t.Errorf("there is no verb %s", verb)
		}
	}
	if a, b := must(t, "help", "data", "build"), must(t, "data", "build", "--help"); a != b {
		t.Error("help VERB and VERB --help differ")
	}
}

func TestUsageErrors(t *testing.T) {
	for _, x := range []struct {
		arguments string
		parts     []string
	}{
		{"trian", []string{"palimpsest: ", "trian", "did you mean train?"}},
		{"frobnicate", []string{"known: doctor, tokenizer"}},
		{"data", []string{"palimpsest data: ", "build, verify, inspect"}},
		{"data bild", []string{"did you mean build?"}},
		{"train --step 3", []string{"palimpsest train: ", "unknown option --step", "--steps"}},
		{"train --xyzzy", []string{"known here", "--config"}},
		{"train --steps many", []string{"many", "train --help"}},
		{"train --steps", []string{"steps", "train --help"}},
		{"train extra", []string{"unexpected argument", "extra"}},
		{"train --preset mlm-cpu-tiny --data x", []string{"missing --out"}},
		{"train --preset mlm-cpu-tiny --config x", []string{"exclude each other"}},
		{"train --config /nowhere/run.yaml", []string{"no file /nowhere/run.yaml", "preset copy"}},
		{"train --preset mlm-cpu-tyni --data x --out y", []string{"did you mean mlm-cpu-tiny?"}},
		{"train --preset mlm-cpu-tiny --set optimizer.learning_rat=1 --set train.seed=x --out y --data z",
			[]string{"palimpsest train: --set optimizer.learning_rat", "learning_rate", "palimpsest train: --set train.seed"}},
		{"train --preset mlm-cpu-tiny --out y", []string{"data.train", "--data"}},
		{"tokenizer train", []string{"missing --out"}},
		{"tokenizer train --out /tmp/never.json", []string{"name the files"}},
		{"tokenizer inspect", []string{"a tokenizer.json"}},
		{"data build x", []string{"missing --tokenizer, --out"}},
		{"data verify", []string{"the folder of a data set"}},
		{"preset show nothing", []string{"clm-cpu-small"}},
		{"preset copy mlm-cpu-tiny", []string{"want two arguments"}},
		{"preset ls more", []string{"unexpected argument"}},
		{"doctor now", []string{"unexpected argument"}},
		{"eval loss", []string{"missing --model"}},
		{"fill-mask text", []string{"missing --model"}},
		{"fill-mask --model x --top 0 text", []string{"--top"}},
		{"fill-mask --model x --mask-random 2 text", []string{"--mask-random"}},
		{"fill-mask --model x --held-out 3 text", []string{"not both"}},
		{"generate --model x --temperature -1 text", []string{"--temperature"}},
		{"generate --model x --top-p 0 text", []string{"--top-p"}},
		{"generate --model x --max-tokens 0 text", []string{"--max-tokens"}},
		{"report", []string{"name the run folders"}},
	} {
		refuses(t, 2, x.parts, strings.Fields(x.arguments)...)
	}
}

func TestErrorsAsJSON(t *testing.T) {
	code, _, stderr := call("", "data", "verify", "/nowhere/at/all", "--json")
	var got struct {
		V        int    `json:"v"`
		Error    string `json:"error"`
		ExitCode int    `json:"exit_code"`
	}
	if err := json.Unmarshal([]byte(stderr), &got); err != nil {
		t.Fatalf("%v: %s", err, stderr)
	}
	if code != 3 || got.V != outputVersion || got.ExitCode != 3 || !strings.Contains(got.Error, "/nowhere/at/all") {
		t.Errorf("exit code %d, %+v", code, got)
	}
}

func TestOptionsStandAnywhere(t *testing.T) {
	commands := newApp().Commands
	for _, x := range [][2]string{
		{"data build a --out o b --force", "data build --out o --force -- a b"},
		{"data build --out=o -- --force", "data build --out=o -- --force"},
		{"fill-mask text --model m -", "fill-mask --model m -- text -"},
		{"help data build", "data build --help"},
		{"data bild x", "data bild x"},
		{"--version", "--version"},
	} {
		got, _ := arrange(strings.Fields(x[0]), commands)
		if g := strings.Join(got, " "); g != x[1] {
			t.Errorf("%q is arranged as %q, want %q", x[0], g, x[1])
		}
	}
}

func TestNumbersInWords(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567", -123: "-123"} {
		if got := count(n); got != want {
			t.Errorf("count(%d) is %s, want %s", n, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 20: "1.0 MiB", 1<<20 - 1: "1.0 MiB", 1 << 50: "1.0 PiB"} {
		if got := size(n); got != want {
			t.Errorf("size(%d) is %s, want %s", n, got, want)
		}
	}
}
