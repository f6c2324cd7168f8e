package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine/fault"
)

// endless serves line after line, one a Read, and asks the program to leave after some of them.
type endless struct {
	lines  int
	rest   string // of the last one
	stopAt int
	stop   context.CancelFunc
}

func endlessLine(i int) string {
	return fmt.Sprintf("the quick brown fox number %d jumps over the lazy dog\n", i)
}

func (e *endless) Read(p []byte) (int, error) {
	if e.rest == "" {
		if e.lines == e.stopAt {
			e.stop()
		}
		e.lines++
		e.rest = endlessLine(e.lines)
	}
	n := copy(p, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

// interrupted runs a build of standard input that is asked to leave after so many lines.
func interrupted(stopAt int, arguments ...string) (err error) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	app := newApp()
	app.Reader, app.Writer, app.ErrWriter = &endless{stopAt: stopAt, stop: stop}, io.Discard, io.Discard
	arguments, _ = arrange(arguments, app.Commands)
	return app.RunContext(ctx, append([]string{program}, arguments...))
}

func TestDataBuildGoesOn(t *testing.T) {
	_, tokenizer := corpus(t)
	dir := t.TempDir()
	out := filepath.Join(dir, "out")
	build := func(out string, more ...string) []string {
		return append([]string{"data", "build", "--tokenizer", tokenizer, "--out", out, "--unit", "line", "--shard-tokens", "2000", "--workers", "1", "-"}, more...)
	}
	var lines strings.Builder
	for i := range 4000 {
		lines.WriteString(endlessLine(i + 1))
	}
	err := interrupted(3000, build(out)...)
	if fault.Of(err) != fault.Preempted || !strings.Contains(err.Error(), "complete shards are kept") {
		t.Fatalf("%v", err)
	}
	if !exists(filepath.Join(out, progressFile)) || exists(filepath.Join(out, "index.json")) {
		t.Fatal("no unfinished build was left")
	}
	refuses(t, 3, []string{"index.json"}, "data", "verify", out)

	// Other settings, another text, and then the same.
	refuses(t, 2, []string{"interrupted build with other settings", "--distinct was false, now true", "--min-tokens was 1, now 2", "--force"},
		build(out, "--distinct", "--min-tokens", "2")...)
	code, _, stderr := call("something else\n", build(out)...)
	if code != 3 || !strings.Contains(stderr, "were encoded before") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	contains(t, stderr, "complete shards are kept", "--force")
	code, stdout, stderr := call(lines.String(), build(out, "--workers", "3")...)
	if code != 0 {
		t.Fatal(stderr)
	}
	contains(t, stderr, "going on with an interrupted build")
	contains(t, stdout, "4,000 documents", "after the interruption")
	must(t, "data", "verify", out)

	straight := filepath.Join(dir, "straight")
	if code, _, stderr := call(lines.String(), build(straight)...); code != 0 {
		t.Fatal(stderr)
	}
	same(t, out, straight)

	// Standard input cannot be read again, so --force makes room for the next call.
	if err := interrupted(3000, build(filepath.Join(dir, "stdin"))...); fault.Of(err) != fault.Preempted {
		t.Fatal(err)
	}
	code, _, stderr = call("something else\n", build(filepath.Join(dir, "stdin"), "--force")...)
	if code != 3 || !strings.Contains(stderr, "were encoded before") || !strings.Contains(stderr, "run it again") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if code, _, stderr := call("something else\n", build(filepath.Join(dir, "stdin"))...); code != 0 {
		t.Error(stderr)
	}

	// --force starts anew where a build cannot go on: other settings, another text, damage.
	for _, x := range []struct {
		name, stdin, note string
		damage            bool
		more              []string
	}{
		{"settings", lines.String(), "--unit was", false, []string{"--unit", "paragraph"}},
		{"damage", lines.String(), "00000.tok.zst", true, nil},
	} {
		out := filepath.Join(dir, x.name)
		if err := interrupted(3000, build(out)...); fault.Of(err) != fault.Preempted {
			t.Fatal(err)
		}
		if x.damage {
			name := filepath.Join(out, "00000.tok.zst.tmp")
			content, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			content[len(content)/2] ^= 1
			write(t, name, string(content))
			code, _, stderr := call(x.stdin, build(out)...)
			if code != 3 || !strings.Contains(stderr, "--force starts anew") {
				t.Errorf("damage: exit code %d: %s", code, stderr)
			}
		}
		code, _, stderr := call(x.stdin, build(out, append(x.more, "--force")...)...)
		if code != 0 || !strings.Contains(stderr, "was removed") || !strings.Contains(stderr, x.note) {
			t.Errorf("%s: exit code %d: %s", x.name, code, stderr)
		}
		must(t, "data", "verify", out)
	}
}

func TestDataBuildStopsBeforeAShard(t *testing.T) {
	_, tokenizer := corpus(t)
	out := filepath.Join(t.TempDir(), "out")
	err := interrupted(50, "data", "build", "--tokenizer", tokenizer, "--out", out, "--unit", "line", "-")
	if fault.Of(err) != fault.Preempted || !strings.Contains(err.Error(), "nothing is kept") {
		t.Errorf("%v", err)
	}
	if left, _ := os.ReadDir(out); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// Files that have changed since are noticed, and --force starts anew.
func TestDataBuildForceAfterAChange(t *testing.T) {
	_, tokenizer := corpus(t)
	dir := t.TempDir()
	var lines strings.Builder
	for i := range 1000 {
		lines.WriteString(endlessLine(i))
	}
	first, second := write(t, filepath.Join(dir, "a.txt"), lines.String()), write(t, filepath.Join(dir, "b.jsonl"), "no record\n")
	out := filepath.Join(dir, "out")
	build := []string{"data", "build", "--tokenizer", tokenizer, "--out", out, "--unit", "line", "--shard-tokens", "2000", first, second}
	refuses(t, 3, []string{"b.jsonl:1", "complete shards are kept"}, build...)
	write(t, second, `{"text":"the fox"}`+"\n")
	write(t, first, strings.Replace(lines.String(), "quick", "slow", 1))
	refuses(t, 3, []string{"are not those that were encoded before", "--force"}, build...)
	contains(t, must(t, append(build, "--force")...), "1,001 documents")
	must(t, "data", "verify", out)
}

// A replacement that is interrupted leaves the old data set alone and goes on beside it.
func TestDataBuildForceGoesOn(t *testing.T) {
	texts, tokenizer := corpus(t)
	out := filepath.Join(t.TempDir(), "out")
	must(t, "data", "build", "--tokenizer", tokenizer, "--out", out, texts)
	build := []string{"data", "build", "--tokenizer", tokenizer, "--out", out, "--unit", "line", "--shard-tokens", "2000", "--force", "-"}
	if err := interrupted(3000, build...); fault.Of(err) != fault.Preempted {
		t.Fatal(err)
	}
	contains(t, must(t, "data", "inspect", out), "20 documents")
	var lines strings.Builder
	for i := range 3500 {
		lines.WriteString(endlessLine(i + 1))
	}
	code, stdout, stderr := call(lines.String(), build...)
	if code != 0 {
		t.Fatal(stderr)
	}
	contains(t, stderr, "going on")
	contains(t, stdout, "3,500 documents")
	must(t, "data", "verify", out)
	if left, _ := filepath.Glob(out + ".*"); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}

// same compares all files of two folders.
func same(t *testing.T, a, b string) {
	t.Helper()
	names, err := os.ReadDir(a)
	if err != nil {
		t.Fatal(err)
	}
	others, err := os.ReadDir(b)
	if err != nil || len(names) != len(others) {
		t.Fatalf("%d and %d files, %v", len(names), len(others), err)
	}
	for _, n := range names {
		x, err := os.ReadFile(filepath.Join(a, n.Name()))
		if err != nil {
			t.Fatal(err)
		}
		y, err := os.ReadFile(filepath.Join(b, n.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(x, y) {
			t.Errorf("%s differs", n.Name())
		}
	}
}

func TestRecipesStayShort(t *testing.T) {
	long := strings.Repeat("ä", 1000)
	if a, b := bounded(long, 251), bounded(long+"x", 251); a == b || len(a) > 320 || !strings.HasPrefix(a, "ää") {
		t.Errorf("%q and %q", a, b)
	}
	if got := recipeDifference("a=1\nb=2\n", "a=1\nb=3\nc=4\n"); got != "b was 2, now 3; c is 4, and was not known then" {
		t.Error(got)
	}
}
