package main

import (
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine/fault"
	"palimpsest/engine/runfile"
)

const program = "palimpsest"

// newApp builds the whole command line. Help, parsing and completion come from this one table of verbs and flags.
func newApp() *cli.App {
	app := &cli.App{
		Name:      program,
		Usage:     "train language models from your own text, on a CPU",
		UsageText: "palimpsest VERB [options]",
		Description: "Example:\n" +
			"  palimpsest tokenizer train --vocab 8192 --out tokenizer.json texts/\n" +
			"  palimpsest data build --tokenizer tokenizer.json --out shards texts/\n" +
			"  palimpsest train --preset mlm-cpu-tiny --data shards --out runs/first\n\n" +
			"'palimpsest VERB --help' shows the options of a verb.",
		Version:                   buildVersion(),
		HideHelpCommand:           true,
		DisableSliceFlagSeparator: true, // --set mask.replace=[1,0,0] is one value
		ExitErrHandler:            func(*cli.Context, error) {},
		Commands: []*cli.Command{
			doctorCommand(), tokenizerCommand(), dataCommand(), trainCommand(), sweepCommand(), shadCommand(), evalCommand(), fillMaskCommand(), exlmCommand(),
			generateCommand(), importModelCommand(), exportModelCommand(), presetCommand(), reportCommand(), benchCommand(), completionCommand(), manualCommand(),
		},
		OnUsageError: usageError,
	}
	app.Action = func(c *cli.Context) error {
		if c.Args().Present() {
			return unknownVerb(c.Args().First(), app.Commands)
		}
		return cli.ShowAppHelp(c)
	}
	finish(app.Commands)
	return app
}

// finish gives every verb what all have in common.
func finish(commands []*cli.Command) {
	for _, command := range commands {
		command.HideHelpCommand = true
		command.OnUsageError = usageError
		if len(command.Subcommands) > 0 {
			command.Action = func(c *cli.Context) error {
				if c.Args().Present() {
					return unknownVerb(c.Args().First(), command.Subcommands)
				}
				return fault.Usage.Errorf("say what to do: %s", names(command.Subcommands))
			}
			finish(command.Subcommands)
			continue
		}
		command.Flags = append(command.Flags, &cli.BoolFlag{Name: "json", Usage: "print the result as JSON, for programs"})
		for _, f := range command.Flags {
			if b, ok := f.(*cli.BoolFlag); ok {
				b.DisableDefaultText = true
			}
		}
	}
}

// run is the program: it returns the exit code.
func run(arguments []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
	defer func() { // Go's own exit code for this, 2, means a wrong command line here
		if mistake := recover(); mistake != nil {
			fmt.Fprintf(stderr, "%s: internal error: %v\n%s", program, mistake, debug.Stack())
			code = int(fault.Internal)
		}
	}()
	app := newApp()
	app.Reader, app.Writer, app.ErrWriter = stdin, stdout, stderr
	if len(arguments) > 0 && arguments[0] == completeVerb {
		writeCandidates(stdout, arguments[1:], app)
		return 0
	}
	arguments, verb := arrange(arguments, app.Commands)
	err := app.Run(append([]string{program}, arguments...))
	if err == nil {
		return 0
	}
	kind := fault.Of(err)
	if asksForJSON(arguments) {
		printJSON(stderr, failure{err.Error(), int(kind)})
		return int(kind)
	}
	name := strings.TrimSpace(program + " " + verb)
	var findings runfile.Errors
	if errors.As(err, &findings) {
		for _, finding := range findings {
			fmt.Fprintf(stderr, "%s: %v\n", name, finding)
		}
		return int(kind)
	}
	fmt.Fprintf(stderr, "%s: %v\n", name, err)
	return int(kind)
}

type failure struct {
	Error    string `json:"error"`
	ExitCode int    `json:"exit_code"`
}

// arrange moves options in front of the other arguments, so that they may stand anywhere, and returns the verb's name.
// "help VERB" becomes "VERB --help".
func arrange(arguments []string, commands []*cli.Command) (arranged []string, verb string) {
	if len(arguments) > 0 && arguments[0] == "help" {
		arguments = append(slices.Clone(arguments[1:]), "--help")
	}
	var flags []cli.Flag
	for len(arguments) > 0 {
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.Name == arguments[0] })
		if i < 0 {
			break
		}
		arranged = append(arranged, arguments[0])
		flags, commands, arguments = commands[i].Flags, commands[i].Subcommands, arguments[1:]
	}
	verb = strings.Join(arranged, " ")
	if len(arranged) == 0 || len(commands) > 0 {
		return append(arranged, arguments...), verb
	}
	var rest []string
	for i := 0; i < len(arguments); i++ {
		a := arguments[i]
		if a == "--" {
			rest = append(rest, arguments[i+1:]...)
			break
		}
		if a == "-" || !strings.HasPrefix(a, "-") {
			rest = append(rest, a)
			continue
		}
		arranged = append(arranged, a)
		if name := strings.TrimLeft(a, "-"); takesValue(name, flags) && i+1 < len(arguments) {
			i++
			arranged = append(arranged, arguments[i])
		}
	}
	if len(rest) > 0 {
		arranged = append(append(arranged, "--"), rest...)
	}
	return arranged, verb
}

// takesValue says whether the next argument belongs to the flag: not for switches, --flag=value and unknown ones.
func takesValue(name string, flags []cli.Flag) bool {
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			_, isSwitch := f.(*cli.BoolFlag)
			return !isSwitch
		}
	}
	return false
}

func asksForJSON(arguments []string) bool {
	for _, a := range arguments {
		switch a {
		case "--":
			return false
		case "--json", "-json", "--json=true", "-json=true":
			return true
		}
	}
	return false
}

// usageError turns what the flag parser says into an error that names the way out.
func usageError(c *cli.Context, err error, _ bool) error {
	message := err.Error()
	var wrong string
	if _, e := fmt.Sscanf(message, "flag provided but not defined: %s", &wrong); e != nil {
		return fault.Usage.Errorf("%s; hint: palimpsest %s --help", message, verbOf(c))
	}
	wrong = strings.TrimLeft(wrong, "-")
	var known []string
	for _, f := range c.Command.Flags {
		known = append(known, f.Names()...)
	}
	if near := runfile.Nearest(wrong, known); near != "" {
		return fault.Usage.Errorf("unknown option --%s; did you mean --%s?", wrong, near)
	}
	return fault.Usage.Errorf("unknown option --%s; known here: --%s", wrong, strings.Join(known, ", --"))
}

func verbOf(c *cli.Context) string {
	return strings.TrimPrefix(strings.TrimPrefix(c.Command.HelpName, program), " ")
}

func unknownVerb(name string, commands []*cli.Command) error {
	known := make([]string, len(commands))
	for i, c := range commands {
		known[i] = c.Name
	}
	if near := runfile.Nearest(name, known); near != "" {
		return fault.Usage.Errorf("unknown verb %q; did you mean %s?", name, near)
	}
	return fault.Usage.Errorf("unknown verb %q; known: %s", name, names(commands))
}

func names(commands []*cli.Command) string {
	known := make([]string, len(commands))
	for i, c := range commands {
		known[i] = c.Name
	}
	return strings.Join(known, ", ")
}

// need refuses a call without one of the options that a verb cannot do without, all missing ones at once.
func need(c *cli.Context, options ...string) error {
	var missing []string
	for _, name := range options {
		if !c.IsSet(name) || c.String(name) == "" { // options that repeat are no empty string
			missing = append(missing, "--"+name)
		}
	}
	if len(missing) > 0 {
		return fault.Usage.Errorf("missing %s; hint: palimpsest %s --help", strings.Join(missing, ", "), verbOf(c))
	}
	return nil
}

// oneArgument returns the only argument that is no option.
func oneArgument(c *cli.Context, what string) (string, error) {
	if c.NArg() != 1 {
		return "", fault.Usage.Errorf("want one argument, %s, not %d; hint: palimpsest %s --help", what, c.NArg(), verbOf(c))
	}
	return c.Args().First(), nil
}

func noArguments(c *cli.Context) error {
	if c.NArg() > 0 {
		return fault.Usage.Errorf("unexpected argument %q; hint: palimpsest %s --help", c.Args().First(), verbOf(c))
	}
	return nil
}

// example is the description of a verb: lines to copy.
func example(lines ...string) string { return "Example:\n  " + strings.Join(lines, "\n  ") }
