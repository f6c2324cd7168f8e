package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/fault"
	"palimpsest/engine/runfile"
)

func manualCommand() *cli.Command {
	return &cli.Command{
		Name:        "manual",
		Usage:       "print the manual page, with all verbs, options, run-file keys and exit codes",
		Description: example("palimpsest manual | man -l -", "palimpsest manual > ~/.local/share/man/man1/palimpsest.1"),
		Action: func(c *cli.Context) error {
			if err := noArguments(c); err != nil {
				return err
			}
			text := manual(c.App)
			return show(c, map[string]string{"roff": text}, func(w io.Writer) { io.WriteString(w, text) })
		},
	}
}

// exitCodes is the contract with schedulers.
var exitCodes = []struct {
	code          fault.Kind
	meaning, then string
}{
	{fault.OK, "done", "-"},
	{fault.Internal, "internal error", "retry a few times"},
	{fault.Usage, "usage or configuration", "fail"},
	{fault.Data, "bad data or tokenizer", "fail"},
	{fault.Checkpoint, "no usable checkpoint where one was demanded", "fail"},
	{fault.Device, "no such device, or out of its memory", "fail"},
	{fault.Write, "cannot write (disk full, read-only)", "fail"},
	{fault.Diverged, "diverged (non-finite steps used up)", "fail"},
	{fault.Peer, "a device or a peer was lost, or timed out", "restart all"},
	{fault.Preempted, "preempted, checkpoint committed", "requeue"},
}

// environment is what the program heeds.
var environment = [][2]string{
	{"NO_COLOR", "when set to anything: no colours, and plain progress lines on a terminal too"},
	{"TERM", "dumb means the same"},
	{"PALIMPSEST_OPENBLAS", "path of the OpenBLAS library to use; set but empty: none"},
}

// runFolder is what train leaves in its --out.
var runFolder = [][2]string{
	{"config.yaml", "the configuration, everything resolved"},
	{"log.jsonl", "a header line, then a line a log step, evaluation or note"},
	{"tb/", "TensorBoard event files, one for each process of the run"},
	{"report.html", "a page with the curves"},
	{"checkpoints/step-NNNNNNN/", "model.safetensors, optimizer, state, tokenizer, and a manifest with the hash of each file"},
}

// A roff is a manual page in the man macros.
type roff struct{ strings.Builder }

// manual is the manual page of the program, from the table of verbs and flags that also parses them.
func manual(app *cli.App) string {
	var r roff
	r.request(`.TH PALIMPSEST 1 "" %s`, quoted(program+" "+app.Version))
	r.request(".SH NAME")
	r.text(program + " - " + app.Usage)
	r.request(".SH SYNOPSIS")
	r.bold("palimpsest VERB", " [options] [arguments]")
	r.request(".SH DESCRIPTION")
	r.text("Options may stand anywhere behind the verb; -- ends them. " +
		"Every verb takes --help, and --json for a result that programs can read, one object on a line with a version \"v\".")
	r.description(app.Description)
	r.request(".SH VERBS")
	r.verbs(app.Commands, program)
	r.request(".SH RUN FILE")
	r.text("Keys of the YAML file that train --config reads and --set KEY=VALUE changes, with their defaults. N stands for an index.")
	for _, k := range runfile.Describe(engine.Default()) {
		value := ""
		if d := defaultOf(k); d != "" {
			value = " (" + d + ")"
		}
		r.item(k.Path, value, describeKey(k))
	}
	r.request(".SH EXIT STATUS")
	for _, e := range exitCodes {
		then := ""
		if e.then != "-" {
			then = "; a scheduler should " + e.then
		}
		r.item(fmt.Sprint(int(e.code)), "", e.meaning+then)
	}
	r.request(".SH ENVIRONMENT")
	for _, e := range environment {
		r.item(e[0], "", e[1])
	}
	r.request(".SH FILES")
	r.text("A run folder holds:")
	for _, f := range runFolder {
		r.item(f[0], "", f[1])
	}
	return r.String()
}

func (r *roff) verbs(commands []*cli.Command, prefix string) {
	for _, c := range commands {
		name := prefix + " " + c.Name
		if len(c.Subcommands) > 0 {
			r.verbs(c.Subcommands, name)
			continue
		}
		r.request(".SS %s", quoted(strings.TrimSpace(name+" "+c.ArgsUsage)))
		r.text(sentence(c.Usage))
		for _, f := range c.Flags {
			placeholder, what := usageOf(f)
			value := ""
			if d, ok := f.(cli.DocGenerationFlag); ok && d.TakesValue() {
				value = " " + placeholder
				if text := d.GetDefaultText(); text != "" {
					what += " (default: " + text + ")"
				}
			}
			var names []string
			for _, n := range f.Names() {
				names = append(names, "--"+n)
			}
			r.item(strings.Join(names, ", "), value, what)
		}
		r.description(c.Description)
	}
}

// description writes paragraphs; those that begin with "Example:" are set as they stand.
func (r *roff) description(text string) {
	for paragraph := range strings.SplitSeq(text, "\n\n") {
		lines, isExample := strings.CutPrefix(paragraph, "Example:\n")
		r.request(".PP")
		if !isExample {
			r.text(paragraph)
			continue
		}
		r.text("Example:")
		r.request(".PP\n.nf")
		for line := range strings.Lines(lines) {
			r.text(strings.TrimRight(line, "\n"))
		}
		r.request(".fi")
	}
}

func sentence(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:] + "."
}

func (r *roff) request(format string, args ...any) { fmt.Fprintf(r, format+"\n", args...) }

func (r *roff) text(text string) { r.request("%s", escaped(text)) }

func (r *roff) bold(strong, rest string) {
	r.request(`\fB%s\fR%s`, strings.TrimPrefix(escaped(strong), `\&`), strings.TrimPrefix(escaped(rest), `\&`))
}

// item is an entry of a list of terms.
func (r *roff) item(strong, rest, what string) {
	r.request(".TP")
	r.bold(strong, rest)
	r.text(what)
}

// escaped keeps a text from meaning something to roff.
func escaped(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`).Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		return `\&` + text
	}
	return text
}

// quoted is a text as an argument of a request.
func quoted(text string) string { return `"` + strings.ReplaceAll(escaped(text), `"`, `\(dq`) + `"` }
