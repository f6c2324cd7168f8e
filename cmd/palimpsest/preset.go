package main

import (
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/runfile"
)

// presetFiles are run files named OBJECTIVE-SIZE.yaml; the first comment of each says what it is.
//
//go:embed presets/*.yaml
var presetFiles embed.FS

func presetCommand() *cli.Command {
	return &cli.Command{
		Name:  "preset",
		Usage: "list, show or copy the run files that come with the program, and all their keys",
		Subcommands: []*cli.Command{
			{Name: "ls", Usage: "list the presets", Description: example("palimpsest preset ls"), Action: listPresets},
			{
				Name: "show", Usage: "print a preset", ArgsUsage: "NAME",
				Description: example("palimpsest preset show mlm-cpu-tiny"), Action: showPreset,
			},
			{
				Name: "copy", Usage: "write a preset to a file, to change it there", ArgsUsage: "NAME FILE",
				Description: example("palimpsest preset copy mlm-cpu-tiny run.yaml", "palimpsest train --config run.yaml --data shards --out runs/first"),
				Action:      copyPreset,
			},
			{
				Name: "keys", Usage: "describe every key of a run file, with its default",
				Description: example("palimpsest preset keys"),
				Flags:       []cli.Flag{&cli.BoolFlag{Name: "markdown", Usage: "as the table of the README"}},
				Action:      listKeys,
			},
		},
	}
}

func presetNames() (list []string) {
	entries, err := presetFiles.ReadDir("presets")
	if err != nil {
		panic(err) // embedded
	}
	for _, e := range entries {
		list = append(list, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return list
}

func readPreset(name string) ([]byte, error) {
	content, err := presetFiles.ReadFile("presets/" + name + ".yaml")
	if err == nil {
		return content, nil
	}
	known := presetNames()
	if near := runfile.Nearest(name, known); near != "" {
		return nil, fault.Usage.Errorf("there is no preset %q; did you mean %s?", name, near)
	}
	return nil, fault.Usage.Errorf("there is no preset %q; known: %s", name, strings.Join(known, ", "))
}

// headline is the comment that a preset begins with, on one line.
func headline(content []byte) string {
	var words []string
	for line := range strings.Lines(string(content)) {
		comment, ok := strings.CutPrefix(line, "#")
		if !ok {
			break
		}
		words = append(words, strings.TrimSpace(comment))
	}
	return strings.Join(words, " ")
}

func listPresets(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	type preset struct {
		Name string `json:"name"`
		What string `json:"what"`
	}
	list := []preset{}
	for _, name := range presetNames() {
		content, err := readPreset(name)
		if err != nil {
			return err
		}
		list = append(list, preset{name, headline(content)})
	}
	return show(c, map[string]any{"presets": list, "models": model.PresetNames()}, func(w io.Writer) {
		for _, p := range list {
			fmt.Fprintf(w, "%-14s %s\n", p.Name, p.What)
		}
		fmt.Fprintf(w, "\nModels that a run file can name (model.preset): %s\n", strings.Join(model.PresetNames(), ", "))
	})
}

func showPreset(c *cli.Context) error {
	name, err := oneArgument(c, "the name of a preset")
	if err != nil {
		return err
	}
	content, err := readPreset(name)
	if err != nil {
		return err
	}
	return show(c, map[string]string{"name": name, "content": string(content)}, func(w io.Writer) { w.Write(content) })
}

func copyPreset(c *cli.Context) error {
	if c.NArg() != 2 {
		return fault.Usage.Errorf("want two arguments, the name of a preset and a file, not %d; hint: palimpsest preset copy --help", c.NArg())
	}
	name, file := c.Args().Get(0), c.Args().Get(1)
	content, err := readPreset(name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(file, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return fault.Usage.Errorf("%s exists already and is left alone; hint: choose another name", file)
	}
	if err == nil {
		_, err = f.Write(content)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		return fault.Write.Wrap(err)
	}
	return show(c, map[string]string{"name": name, "file": file}, func(w io.Writer) {
		fmt.Fprintf(w, "%s is a copy of %s\nnext: palimpsest train --config %s --data shards --out runs/first\n", file, name, file)
	})
}

func listKeys(c *cli.Context) error {
	if err := noArguments(c); err != nil {
		return err
	}
	keys := runfile.Describe(engine.Default())
	return show(c, map[string]any{"keys": keys}, func(w io.Writer) {
		if c.Bool("markdown") {
			io.WriteString(w, keyTable(keys))
			return
		}
		for _, k := range keys {
			fmt.Fprintf(w, "%-26s %-15s %s\n", k.Path, defaultOf(k), describeKey(k))
		}
	})
}

// describeKey joins what is known of a key: meaning, unit, choices, bounds.
func describeKey(k runfile.Key) string {
	text := k.Doc
	add := func(format string, args ...any) {
		if text != "" {
			text += "; "
		}
		text += fmt.Sprintf(format, args...)
	}
	if k.Unit != "" {
		add("in %s", k.Unit)
	}
	var choices []string
	for _, e := range k.Enum {
		if e != "" {
			choices = append(choices, e)
		}
	}
	if len(choices) > 1 {
		add("one of %s", strings.Join(choices, ", "))
	}
	if k.Type == "a section" {
		return text + " (section)"
	}
	return text
}

// defaultOf is a key's default in words; what a model leaves open its preset decides.
func defaultOf(k runfile.Key) string {
	switch k.Default {
	case "0", "0.0", `""`:
		if strings.HasPrefix(k.Path, "model.") {
			return "the preset's"
		}
		if k.Default == `""` {
			return ""
		}
	}
	return k.Default
}

// keyTable is the table of all keys in the README, which a test compares with it.
func keyTable(keys []runfile.Key) string {
	var b strings.Builder
	b.WriteString("| key | default | meaning |\n| --- | --- | --- |\n")
	for _, k := range keys {
		value := defaultOf(k)
		if value == k.Default && value != "" {
			value = "`" + value + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", k.Path, value, strings.ReplaceAll(describeKey(k), "|", "\\|"))
	}
	return b.String()
}
