package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/fault"
	"palimpsest/engine/runfile"
)

// completeVerb is what the shells' scripts ask, with the words so far, the last of which is being typed. It answers a line
// for each word that fits, a tab and what it means behind it, and fileNames where file names do. It is not in the table
// of verbs, for it answers from it.
const completeVerb, fileNames = "__complete", ":files"

func completionCommand() *cli.Command {
	return &cli.Command{
		Name:      "completion",
		Usage:     "print a script that lets a shell complete verbs, options and run-file keys",
		ArgsUsage: "bash|zsh|fish",
		Description: example("source <(palimpsest completion bash)   # in ~/.bashrc",
			"palimpsest completion zsh > ~/.zfunc/_palimpsest   # a folder of $fpath",
			"palimpsest completion fish > ~/.config/fish/completions/palimpsest.fish"),
		Action: printCompletion,
	}
}

func printCompletion(c *cli.Context) error {
	shell, err := oneArgument(c, "the name of a shell")
	if err != nil {
		return err
	}
	for _, s := range shellScripts {
		if s.shell == shell {
			return show(c, map[string]string{"shell": shell, "script": s.script}, func(w io.Writer) { io.WriteString(w, s.script) })
		}
	}
	return fault.Usage.Errorf("no completion for %q; known: %s", shell, strings.Join(shellNames(), ", "))
}

func shellNames() (list []string) {
	for _, s := range shellScripts {
		list = append(list, s.shell)
	}
	return list
}

// writeCandidates answers completeVerb.
func writeCandidates(w io.Writer, words []string, app *cli.App) {
	list, files := complete(joinAssignments(words), app)
	for _, c := range list {
		fmt.Fprintf(w, "%s\t%s\n", c.text, strings.Join(strings.Fields(c.what), " "))
	}
	if files {
		fmt.Fprintln(w, fileNames)
	}
}

// joinAssignments undoes what bash does to a=b: three words.
func joinAssignments(words []string) []string {
	var out []string
	join := false
	for i, word := range words {
		alone := word == "=" && i > 0
		if (join || alone) && len(out) > 0 {
			out[len(out)-1] += word
		} else {
			out = append(out, word)
		}
		join = alone
	}
	return out
}

// A candidate is a word that may stand where one is being typed.
type candidate struct{ text, what string }

// complete lists what the last word may become, and whether file names are among it.
func complete(words []string, app *cli.App) (list []candidate, files bool) {
	if len(words) == 0 {
		words = []string{""}
	}
	current, words := words[len(words)-1], words[:len(words)-1]
	defer func() {
		list = slices.DeleteFunc(list, func(c candidate) bool { return !strings.HasPrefix(c.text, current) })
	}()
	if len(words) > 0 && words[0] == "help" {
		words = words[1:]
	}
	var verb *cli.Command
	commands := app.Commands
	for len(words) > 0 && len(commands) > 0 {
		i := slices.IndexFunc(commands, func(c *cli.Command) bool { return c.Name == words[0] })
		if i < 0 {
			return nil, false
		}
		verb, commands, words = commands[i], commands[i].Subcommands, words[1:]
	}
	if len(commands) > 0 {
		for _, c := range commands {
			list = append(list, candidate{c.Name, c.Usage})
		}
		if verb == nil {
			list = append(list, candidate{"help", "show the options of a verb"}, candidate{"--version", "print the version"})
		}
		return append(list, candidate{"--help", "show help"}), false
	}
	if slices.Contains(words, "--") {
		return argumentValues(verb)
	}
	if option, value, ok := strings.Cut(current, "="); ok && strings.HasPrefix(option, "-") {
		list, files = optionValues(strings.TrimLeft(option, "-"), value, verb)
		for i := range list {
			list[i].text = option + "=" + list[i].text
		}
		return list, files
	}
	if n := len(words); n > 0 && strings.HasPrefix(words[n-1], "-") {
		if name := strings.TrimLeft(words[n-1], "-"); takesValue(name, verb.Flags) {
			return optionValues(name, current, verb)
		}
	}
	if strings.HasPrefix(current, "-") {
		for _, f := range verb.Flags {
			option := "--" + f.Names()[0]
			if _, repeats := f.(*cli.StringSliceFlag); repeats || !slices.Contains(words, option) {
				_, what := usageOf(f)
				list = append(list, candidate{option, what})
			}
		}
		return append(list, candidate{"--help", "show help"}), false
	}
	return argumentValues(verb)
}

// optionValues lists what may follow an option, of which value is there already.
func optionValues(name, value string, verb *cli.Command) (list []candidate, files bool) {
	switch name {
	case "preset":
		return presetCandidates(), false
	case "device":
		return keyValues("train.device"), false
	case "resume":
		return []candidate{{"auto", "from the newest checkpoint of the run folder"}, {"never", "afresh"}}, true
	case "set":
		if key, _, ok := strings.Cut(value, "="); ok {
			for _, v := range keyValues(key) {
				list = append(list, candidate{key + "=" + v.text, v.what})
			}
			return list, false
		}
		for _, k := range runfile.Describe(engine.Default()) {
			if k.Type != "a section" {
				list = append(list, candidate{k.Path + "=", describeKey(k)})
			}
		}
		return list, false
	}
	for _, f := range verb.Flags {
		if slices.Contains(f.Names(), name) {
			placeholder, _ := usageOf(f)
			return nil, slices.Contains([]string{"FILE", "FOLDER", "PATH"}, placeholder)
		}
	}
	return nil, false
}

// argumentValues lists what may stand as an argument of a verb: names where it wants names, else files.
func argumentValues(verb *cli.Command) (list []candidate, files bool) {
	switch {
	case strings.Contains(verb.ArgsUsage, "|") && verb.ArgsUsage == strings.ToLower(verb.ArgsUsage): // the choices themselves
		for choice := range strings.SplitSeq(verb.ArgsUsage, "|") {
			list = append(list, candidate{choice, ""})
		}
		return list, false
	case verb.ArgsUsage == "":
		return nil, false
	case strings.HasPrefix(verb.ArgsUsage, "NAME"): // of a preset; a FILE may follow
		return presetCandidates(), verb.ArgsUsage != "NAME"
	}
	return nil, true
}

func presetCandidates() (list []candidate) {
	for _, name := range presetNames() {
		what := ""
		if content, err := readPreset(name); err == nil {
			what = headline(content)
		}
		list = append(list, candidate{name, what})
	}
	return list
}

// keyValues lists the choices that a key of a run file has.
func keyValues(path string) (list []candidate) {
	for _, k := range runfile.Describe(engine.Default()) {
		if k.Path != path {
			continue
		}
		for _, choice := range k.Enum {
			if choice != "" {
				list = append(list, candidate{choice, ""})
			}
		}
		if len(list) == 0 && (k.Default == "true" || k.Default == "false") {
			list = []candidate{{"true", ""}, {"false", ""}}
		}
	}
	return list
}

// usageOf returns the name that stands for an option's value, "" if it has none, and what the option does.
func usageOf(f cli.Flag) (placeholder, what string) {
	documented, ok := f.(cli.DocGenerationFlag)
	if !ok {
		return "", ""
	}
	what = documented.GetUsage()
	if before, rest, ok := strings.Cut(what, "`"); ok {
		name, after, _ := strings.Cut(rest, "`")
		return name, before + name + after
	}
	if documented.TakesValue() {
		return "VALUE", what
	}
	return "", what
}

// shellScripts hand the words to completeVerb and its answer to the shell. They know no verb and no option.
var shellScripts = []struct{ shell, script string }{
	{"bash", `# bash completion for palimpsest
_palimpsest() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        if [[ $line == :files ]]; then
            compopt -o default 2>/dev/null
            continue
        fi
        line=${line%%$'\t'*}
        [[ $line == *= ]] && compopt -o nospace 2>/dev/null
        # bash takes what is behind = for a word of its own
        if [[ ${COMP_WORDS[COMP_CWORD]} == = || ${COMP_WORDS[COMP_CWORD - 1]} == = ]]; then
            if [[ $line == *= ]]; then line=${line#*=}; else line=${line##*=}; fi
        fi
        COMPREPLY+=("$line")
    done < <("$1" __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -F _palimpsest palimpsest
`},
	{"zsh", `#compdef palimpsest
# zsh completion for palimpsest
_palimpsest() {
    local line text files
    local -a whole open
    for line in "${(@f)$("$words[1]" __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        text="${${line%%$'\t'*}//:/\\:}:${line#*$'\t'}"
        case $line in
            '') ;;
            :files) files=1 ;;
            *=$'\t'*) [[ ${line%%$'\t'*} == *= ]] && open+=("$text") || whole+=("$text") ;;
            *) whole+=("$text") ;;
        esac
    done
    (( $#whole )) && _describe -V palimpsest whole
    (( $#open )) && _describe -V palimpsest open -S ''
    [[ -n $files ]] && _files
}
if [[ $funcstack[1] == _palimpsest ]]; then
    _palimpsest "$@"
else
    compdef _palimpsest palimpsest
fi
`},
	{"fish", `# fish completion for palimpsest
function __palimpsest_complete
    set -l words (commandline -opc)
    set -l program $words[1]
    set -e words[1]
    set -l current (commandline -ct)
    for line in ($program __complete $words "$current" 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path "$current"
        else
            echo $line
        end
    end
end
complete -c palimpsest -f -a '(__palimpsest_complete)'
`},
}
