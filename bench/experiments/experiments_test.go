package main

import (
	"encoding/json"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine"
	"palimpsest/engine/fault"
	"palimpsest/engine/runfile"
)

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

const tableFile = `
title: A against B
columns:
  - {name: score, file: eval.json, value: sets.1.right, scale: 100, digits: 1, about: percent}
  - {name: less, file: eval.json, value: loss, scale: -1, hidden: true}
  - {name: extra, file: extra.json, value: n, some: true}
  - {name: elsewhere, file: none.json, value: n, size: gpu}
claims:
  - {says: a has more, status: paper*, column: score, arm: a, over: b}
  - {says: a loses less, column: less, arm: a, over: b}
  - {says: b has more, column: score, arm: b, over: a}
  - {says: of an arm that was left out, column: score, arm: c, over: a}
  - {says: of another size, column: elsewhere, arm: a, over: b}
published: nothing
`

// results makes a working folder of two arms and three seeds.
func results(t *testing.T) Options {
	dir := t.TempDir()
	o := Options{Spec: filepath.Join(dir, "table.yaml"), Name: "x", Size: "cpu", Work: filepath.Join(dir, "work"), Data: dir, Out: filepath.Join(dir, "out"),
		Seeds: []string{"1", "2", "3"}, Files: []string{"table.yaml"}, Arms: []Arm{{"a", ""}, {"b", "--set x=1"}}}
	write(t, o.Spec, tableFile)
	write(t, filepath.Join(o.Work, "doctor.json"), `{"cpu": "C", "cores": 2, "memory_bytes": 2147483648, "gpu": {"devices": [{"name": "G"}]}}`)
	commands := "data.txt\t1.5\tprepare\n"
	for i, right := range map[string][]float64{"a": {0.5, 0.6, 0.7}, "b": {0.2, 0.3, 0.4}} {
		for k, seed := range o.Seeds {
			at := filepath.Join(o.Work, i, "seed-"+seed)
			score, _ := json.Marshal(map[string]any{"sets": []any{nil, map[string]any{"right": right[k]}}, "loss": []float64{1, 2, 3}[k]})
			write(t, filepath.Join(at, "eval.json"), string(score))
			write(t, filepath.Join(at, "train.json"), `{"run": "`+at+`/run", "tokens": 1000, "seconds": 2}`)
			write(t, filepath.Join(at, "run/log.jsonl"), `{"device": "cpu", "versions": {"palimpsest": "v1"}, "parameters": 5000000}`+"\n")
			commands += i + "/seed-" + seed + "/train.json\t2\ttrain " + i + seed + "\n"
		}
	}
	write(t, filepath.Join(o.Work, "a/seed-2/extra.json"), `{"n": 7}`)
	write(t, filepath.Join(o.Work, "commands.tsv"), commands)
	return o
}

func TestTable(t *testing.T) {
	o := results(t)
	r, err := Read(o)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Verdicts) != 3 {
		t.Fatalf("%d verdicts, want those of arms and columns that are there: %+v", len(r.Verdicts), r.Verdicts)
	}
	for i, want := range []string{seen, notSeen, reversed} {
		if r.Verdicts[i].Verdict != want {
			t.Errorf("%s: %s, want %s", r.Verdicts[i].Says, r.Verdicts[i].Verdict, want)
		}
	}
	if v := r.Verdicts[0]; math.Abs(v.Difference-30) > 1e-9 || math.Abs(v.StdErr-10*math.Sqrt(2./3)) > 1e-9 {
		t.Errorf("difference %g, standard error %g", v.Difference, v.StdErr)
	}
	page := r.Markdown()
	for _, want := range []string{
		"| a has more | paper\\* | score: a − b | +30.0 | 8.2 | +30.0 +30.0 +30.0 | **seen** |",
		"| a |  | 60.0 ± 10.0 | 7.00 ± 0.00 (1) | 5.00 | 1,000 | 500 | 2 |",
		"| b |  | 30.0 ± 10.0 | - | 5.00 |",
		"* C, 2 cores, 2 GiB, G; device of the runs: cpu\n", "commit v1;", "14 s in all", "    prepare\n    train a1\n\n"[:24],
	} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q:\n%s", want, page)
		}
	}
	if strings.Contains(page, "| less |") || strings.Contains(page, "elsewhere") || strings.Contains(page, "train b") {
		t.Errorf("the page shows what it should not:\n%s", page)
	}
	if r.Data[0].SHA256 == "" || r.Data[0].Bytes != int64(len(tableFile)) {
		t.Errorf("data %+v", r.Data)
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		difference, stdErr float64
		seeds              int
		want               string
	}{{2.1, 1, 3, seen}, {2, 1, 3, notSeen}, {-2.1, 1, 3, reversed}, {0, 0, 3, notSeen}, {5, 0, 1, unjudged}} {
		if got := verdict(c.difference, c.stdErr, c.seeds); got != c.want {
			t.Errorf("%+v: %s", c, got)
		}
	}
}

func TestMissingAndBrokenResults(t *testing.T) {
	for name, c := range map[string]struct {
		spoil func(o *Options)
		kind  fault.Kind
		want  string
	}{
		"a seed is missing":  {func(o *Options) { o.Seeds = append(o.Seeds, "4") }, fault.Data, "seed-4/eval.json"},
		"a number is none":   {func(o *Options) { write(t, o.Work+"/a/seed-1/eval.json", `{"sets": [1, {"right": "x"}]}`) }, fault.Data, "there is no number sets.1.right"},
		"a list is short":    {func(o *Options) { write(t, o.Work+"/a/seed-1/eval.json", `{"sets": []}`) }, fault.Data, "no index of a list of 0"},
		"a result is torn":   {func(o *Options) { write(t, o.Work+"/a/seed-1/eval.json", `{"sets"`) }, fault.Data, "a/seed-1/eval.json"},
		"commands are torn":  {func(o *Options) { write(t, o.Work+"/commands.tsv", "x\n") }, fault.Data, "commands.tsv:1"},
		"a file is missing":  {func(o *Options) { o.Files = []string{"gone"} }, fault.Data, "gone"},
		"an unknown column":  {func(o *Options) { write(t, o.Spec, "title: x\nclaims: [{says: y, column: z}]\n") }, fault.Usage, "no column"},
		"an unknown key":     {func(o *Options) { write(t, o.Spec, "titel: x\n") }, fault.Usage, "titel"},
		"the log is missing": {func(o *Options) { os.Remove(o.Work + "/b/seed-1/run/log.jsonl") }, fault.Data, "log.jsonl"},
	} {
		o := results(t)
		c.spoil(&o)
		if _, err := Read(o); fault.Of(err) != c.kind || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestScripts runs every script with a program that does nothing: the arms are what the table speaks of, seeds are
// interleaved, a second start runs nothing again, and another command for the same result is refused.
func TestScripts(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	scripts, _ := filepath.Glob("*/run.sh")
	if len(scripts) == 0 {
		t.Fatal("no scripts")
	}
	for _, script := range scripts {
		name := filepath.Dir(script)
		spec, err := readSpec(filepath.Join(name, "table.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, size := range []string{"cpu", "gpu"} {
			config := engine.Default()
			content, err := os.ReadFile(filepath.Join(name, size+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			if err := runfile.Decode(name+"/"+size+".yaml", content, &config); err != nil {
				t.Error(err)
			}
		}
		dir := t.TempDir()
		stub, said := filepath.Join(dir, "stub"), filepath.Join(dir, "said")
		write(t, stub, "#!/bin/sh\necho \"$@\" >>"+said+"\necho '{}'\n")
		if err := os.Chmod(stub, 0o755); err != nil {
			t.Fatal(err)
		}
		for _, file := range dataFiles {
			write(t, filepath.Join(dir, "data", file), strings.Repeat("ROMEO:\n", 20)+strings.Repeat("JULIET:\n", 20))
		}
		start := func(env ...string) (output string, code int) {
			cmd := exec.Command(bash, script)
			cmd.Env = append(os.Environ(), "DATA="+dir+"/data", "WORK="+dir+"/work", "OUT="+dir+"/out", "PALIMPSEST="+stub, "SEEDS=1 2", "ARMS=", "SET=", "SIZE=gpu", "NOTE=", "TOOL=echo")
			cmd.Env = append(cmd.Env, env...)
			out, err := cmd.CombinedOutput()
			if err != nil && cmd.ProcessState == nil {
				t.Fatal(err)
			}
			return string(out), cmd.ProcessState.ExitCode()
		}
		out, code := start()
		if code != 0 {
			t.Fatalf("%s: exit code %d: %s", script, code, out)
		}
		arms := out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:]
		small, code := start("SIZE=cpu", "SEEDS=1", "WORK="+dir+"/small")
		if code != 0 {
			t.Fatalf("%s: exit code %d: %s", script, code, small)
		}
		arms += small[strings.LastIndex(strings.TrimSpace(small), "\n")+1:]
		for _, c := range spec.Claims {
			for _, arm := range []string{c.Arm, c.Over} {
				if !strings.Contains(arms, "--arm "+arm+"=") {
					t.Errorf("%s: %q is claimed of %q, which is no arm", script, c.Says, arm)
				}
			}
		}
		for arm := range spec.Rows {
			if !strings.Contains(arms, "--arm "+arm+"=") {
				t.Errorf("%s: there is no arm %q", script, arm)
			}
		}
		order := made(t, dir+"/work/commands.tsv")
		first := slices.IndexFunc(order, func(f string) bool { return strings.Contains(f, "/seed-2/") })
		if first < 0 || slices.ContainsFunc(order[first:], func(f string) bool { return strings.Contains(f, "/seed-1/") }) {
			t.Errorf("%s: seeds are not interleaved: %s", script, order)
		}
		if out, code = start(); code != 0 || len(made(t, dir+"/work/commands.tsv")) != len(order) {
			t.Errorf("%s: a second start ends with %d and makes results again: %s", script, code, out)
		}
		if out, code = start("SET=train.threads=1"); code != 2 || !strings.Contains(out, "another command") {
			t.Errorf("%s: another command for the same result: exit code %d: %s", script, code, out)
		}
		if out, code = start("DATA=" + dir); code != 3 || !strings.Contains(out, "hint") {
			t.Errorf("%s: without data: exit code %d: %s", script, code, out)
		}
		if out, code = start("SIZE=tpu"); code != 2 || !strings.Contains(out, "tpu") {
			t.Errorf("%s: an unknown size: exit code %d: %s", script, code, out)
		}
	}
}

// dataFiles are those that scripts read.
var dataFiles = []string{"ncbi-disease/train.tsv", "ncbi-disease/devel.tsv", "ncbi-disease/test.tsv", "gsm8k/train.jsonl", "gsm8k/test.jsonl",
	"tinyshakespeare.txt", "blimp/a.jsonl", "blimp/b.jsonl", "xsum-hallucination.csv"}

// made lists the results of a working folder in the order in which they were made.
func made(t *testing.T, commands string) (files []string) {
	list, err := readCommands(commands)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range list {
		files = append(files, c.file)
	}
	return files
}
