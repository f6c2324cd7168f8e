package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine/fault"
	"palimpsest/engine/text"
)

// finderFlags choose what finds unwanted text.
func finderFlags(category string) []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Category: category, Name: "words", Usage: "`FILE` with a word or phrase on each line (or .tsv, .json, as lists of terms), found as whole words, whatever their case"},
		&cli.BoolFlag{Category: category, Name: "keep-case", Usage: "words must have the case of the text"},
		&cli.StringFlag{Category: category, Name: "patterns", Usage: "`FILE` with a regular expression (RE2) on each line"},
	}
}

// detectorFlags are finderFlags for what a model writes.
func detectorFlags(category string) []cli.Flag {
	return append(finderFlags(category),
		&cli.StringFlag{Category: category, Name: "regexp", Usage: "regular `EXPRESSION` (RE2), as one of --patterns"},
		&cli.StringFlag{Category: category, Name: "detector", Usage: "`FILE` that another program wrote: JSON lines with generation and its spans, of every text that comes up"})
}

// finderOf returns what the options name, nil without one, and its name for a plane's provenance.
func finderOf(c *cli.Context) (f text.SpanFinder, origin string, err error) {
	given := ""
	for _, name := range []string{"words", "patterns", "regexp", "detector"} {
		if c.String(name) == "" {
			continue
		}
		if given != "" {
			return nil, "", fault.Usage.Errorf("--%s and --%s: one of them says what is unwanted; hint: patterns can be words too, (?i)\\bword\\b", given, name)
		}
		given = name
	}
	path := c.String(given)
	switch given {
	case "words":
		f, err = text.ReadWords(path, c.Bool("keep-case"))
	case "patterns":
		f, err = text.ReadPatterns(path)
	case "detector":
		f, err = text.ReadMarked(path)
	case "regexp":
		if f, err = text.NewPatterns(path); err != nil {
			return nil, "", fault.Of(err).Errorf("--regexp: %w", err)
		}
		return f, fmt.Sprintf("--regexp %.200q", path), nil
	}
	switch {
	case err != nil:
		return nil, "", err
	case c.Bool("keep-case") && given != "words" && c.String("terms") == "":
		return nil, "", fault.Usage.Errorf("--keep-case is about words, and there is no --words")
	case given == "":
		return nil, "", nil
	}
	sums, err := fileSums([]string{path})
	return f, fmt.Sprintf("--%s %s", given, sums), err
}

// commandRules are those that --rule names; words and patterns are rules of their own.
func commandRules() []string {
	return slices.DeleteFunc(slices.Clone(text.SignRules), func(r string) bool { return r == text.RuleFind })
}

// signFlags say which tokens of a generation are unwanted.
func signFlags() []cli.Flag {
	const signs = "Unwanted tokens (the plane sign)"
	return append([]cli.Flag{
		&cli.StringFlag{Category: signs, Name: "rule", Value: text.RuleAuto, Usage: "what is unwanted in a generation: align (tokens outside a longest common subsequence with its correction), align_first (of each " +
			"run of those the first), diff (tokens that differ at the same index), first (the first of these), full (all), spans (the record's), auto (spans where a record has them, else align); " +
			"correct, correct_diff, correct_first: nothing is, and of the correction, in the generation's place, all, what differs or the first that differs is learned, by the objective clm"},
		&cli.StringFlag{Category: signs, Name: "span-tokens", Value: "all", Usage: "of a span (also of words and patterns): all, or first, which leaves the others untrained and pushes down every phrase with that start"},
	}, finderFlags(signs)...)
}

// signRule reads the options of signFlags.
func signRule(c *cli.Context) (rule text.SignRule, err error) {
	rule.Name = c.String("rule")
	if !slices.Contains(commandRules(), rule.Name) {
		return rule, fault.Usage.Errorf("--rule: want one of %s, not %q; hint: --words FILE and --patterns FILE are rules of their own", strings.Join(commandRules(), ", "), rule.Name)
	}
	switch tokens := c.String("span-tokens"); tokens {
	case "all":
	case "first":
		rule.FirstToken = true
	default:
		return rule, fault.Usage.Errorf("--span-tokens: want all or first, not %q", tokens)
	}
	if rule.Find, rule.Source, err = finderOf(c); err != nil {
		return rule, err
	}
	switch {
	case rule.Find != nil && c.IsSet("rule"):
		return rule, fault.Usage.Errorf("--rule %s and %s are two rules; hint: leave one of them out", rule.Name, rule.Source)
	case rule.Find != nil:
		rule.Name = text.RuleFind
	case rule.FirstToken && rule.Name != text.RuleSpans && rule.Name != text.RuleAuto:
		return rule, fault.Usage.Errorf("--span-tokens is about spans, which --rule %s has none of; hint: align_first", rule.Name)
	}
	return rule, nil
}

// signLine tells what a sign plane holds.
func signLine(n text.SignCounts) string {
	return fmt.Sprintf("%s tokens unwanted, %s kept, %s not trained", count(n.Unwanted), count(n.Kept), count(n.None))
}
