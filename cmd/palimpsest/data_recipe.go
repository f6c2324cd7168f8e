package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/cespare/xxhash/v2"
	"github.com/urfave/cli/v2"

	"palimpsest/engine/text"
)

const (
	recipeText  = 250 // bytes of one setting that a recipe shows; of longer ones it has a hash
	recipeNames = 100 // the same of names that may come from another data set
	recipePaths = 900 // the same of all paths: the whole must stay within shard's limit of 4096
)

// buildRecipe writes everything that the documents of a build depend on, a setting a line, but for the content of the files.
// What changes no result, such as --workers, is no part of it.
func buildRecipe(c *cli.Context, t *text.Tokenizer, read text.ReaderOptions, o text.EncodeOptions, shardTokens int) string {
	var b strings.Builder
	line := func(name, value string) { fmt.Fprintf(&b, "%s=%s\n", name, value) }
	line("version", bounded(strconv.Quote(c.App.Version), recipeText))
	line("tokenizer", t.Hash())
	line("paths", bounded(fmt.Sprintf("%q", c.Args().Slice()), recipePaths))
	for _, f := range readerFlags() {
		name := f.Names()[0]
		line("--"+name, bounded(settingOf(c, name), recipeText))
	}
	line("--label", bounded(strconv.Quote(read.Label), recipeText))
	line("--labels", bounded(fmt.Sprintf("%q", read.Labels), recipeNames))
	var types []string // of another data set
	if c.IsSet("labels-from") {
		types = read.EntityTypes
	}
	line("--labels-from", bounded(fmt.Sprintf("%q", types), recipeNames))
	line("--bos", fmt.Sprint(o.BOS >= 0))
	line("--eos", fmt.Sprint(o.EOS >= 0))
	line("--min-tokens", strconv.Itoa(o.MinTokens))
	line("--planes", strings.Join(o.Planes, ","))
	line("--first-subword", fmt.Sprint(o.FirstSubword))
	if o.Sign.Name != "" && slices.Contains(o.Planes, text.PlaneSign) {
		line("--rule", o.Sign.Name)
		line("--span-tokens", c.String("span-tokens"))
		line("--words", bounded(o.Sign.Source, recipeText))
		line("--keep-case", fmt.Sprint(c.Bool("keep-case")))
	}
	line("--shard-tokens", strconv.Itoa(shardTokens))
	return b.String()
}

// settingOf writes the value of an option on one line.
func settingOf(c *cli.Context, name string) string {
	switch v := c.Value(name).(type) {
	case string:
		return strconv.Quote(v)
	case cli.StringSlice:
		return fmt.Sprintf("%q", v.Value())
	default:
		return fmt.Sprint(v)
	}
}

// bounded cuts a long value, at any byte, and adds the hash of all of it. The index wants valid UTF-8.
func bounded(value string, most int) string {
	if len(value) <= most {
		return value
	}
	return fmt.Sprintf("%s... (%d bytes, xxh64 %016x)", strings.ToValidUTF8(value[:most], ""), len(value), xxhash.Sum64String(value))
}

// recipeDifference names the settings that two recipes do not share.
func recipeDifference(old, now string) string {
	was := map[string]string{}
	for line := range strings.Lines(old) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		was[name] = value
	}
	var differences []string
	for line := range strings.Lines(now) {
		name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "=")
		before, known := was[name]
		switch {
		case !known:
			differences = append(differences, fmt.Sprintf("%s is %s, and was not known then", name, value))
		case before != value:
			differences = append(differences, fmt.Sprintf("%s was %s, now %s", name, before, value))
		}
	}
	if len(differences) == 0 {
		return "the program of then had more settings"
	}
	return strings.Join(differences, "; ")
}
