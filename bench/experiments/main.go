// Command experiments is what the scripts NAME/run.sh need beside palimpsest:
//
//	table    means and deviations over seeds, and whether what was claimed is seen, from a working folder's results
//	curve    what a trade-off costs at a fixed gain, from the models of a variant
//	agree    how far two planes 'class' of the same documents agree
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"palimpsest/engine/fault"
)

// Options say where an experiment is and what it was made of.
type Options struct {
	Spec, Name, Size, Work, Data, Note, Out string
	Seeds, Files                            []string
	Arms                                    []Arm
}

// Arm is one of the things compared.
type Arm struct {
	Name     string
	Settings string // options of 'palimpsest train', as a shell reads them
}

func main() {
	verbs := map[string]func(args []string) error{"table": table, "curve": curve, "agree": agree}
	if len(os.Args) < 2 || verbs[os.Args[1]] == nil {
		fmt.Fprintln(os.Stderr, "experiments: say table, curve or agree; hint: bench/experiments/NAME/run.sh do")
		os.Exit(int(fault.Usage))
	}
	if err := verbs[os.Args[1]](os.Args[2:]); err != nil {
		fmt.Fprintln(os.Stderr, "experiments:", err)
		os.Exit(int(fault.Of(err)))
	}
}

func table(args []string) error {
	var o Options
	var seeds, files string
	flags := flag.NewFlagSet("experiments table", flag.ContinueOnError)
	flags.StringVar(&o.Spec, "spec", "", "table `FILE`: columns and claims")
	flags.StringVar(&o.Name, "name", "", "`NAME` of the experiment")
	flags.StringVar(&o.Size, "size", "", "cpu or gpu")
	flags.StringVar(&o.Work, "work", "", "`FOLDER` with the results")
	flags.StringVar(&o.Data, "data", "", "`FOLDER` of the data files")
	flags.StringVar(&o.Note, "note", "", "remark on the conditions")
	flags.StringVar(&o.Out, "out", "", "`FOLDER` to write to")
	flags.StringVar(&seeds, "seeds", "", "seeds, with spaces between")
	flags.StringVar(&files, "files", "", "files below --data, with spaces between")
	flags.Func("arm", "`NAME=SETTINGS`; may be repeated", func(s string) error {
		name, settings, ok := strings.Cut(s, "=")
		if !ok || name == "" {
			return fmt.Errorf("want NAME=SETTINGS, not %q", s)
		}
		o.Arms = append(o.Arms, Arm{name, settings})
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return fault.Usage.Wrap(err)
	}
	o.Seeds, o.Files = strings.Fields(seeds), strings.Fields(files)
	if len(o.Arms) == 0 || len(o.Seeds) == 0 || o.Spec == "" || o.Work == "" || o.Out == "" {
		return fault.Usage.Errorf("--spec, --work, --out, --seeds and --arm are needed; hint: the scripts NAME/run.sh give them")
	}
	r, err := Read(o)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return fault.Write.Wrap(err)
	}
	stem := filepath.Join(o.Out, o.Name+"-"+o.Size)
	object, err := r.JSON()
	if err != nil {
		return err
	}
	for _, f := range []struct {
		suffix  string
		content []byte
	}{{".md", []byte(r.Markdown())}, {".json", object}} {
		if err := os.WriteFile(stem+f.suffix, f.content, 0o644); err != nil {
			return fault.Write.Wrap(err)
		}
	}
	fmt.Printf("%s\nwrote %s.md and .json\n", r.verdictTable(), stem)
	return nil
}
