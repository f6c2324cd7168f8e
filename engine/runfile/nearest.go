package runfile

import (
	"reflect"
	"slices"
	"strings"
)

// unknown is the message for a key that the section of type t at path does not have.
func (l *Loader) unknown(t reflect.Type, path, key string) string {
	if len(l.errs) >= maxErrors {
		return "unknown key"
	}
	names := fieldNames(t)
	if near := Nearest(key, names); near != "" {
		return "unknown key; did you mean " + near + "?"
	}
	all := l.paths()
	if slices.Contains(all, key) && strings.Contains(key, ".") {
		section, name, _ := cutLast(key)
		return "unknown key; write it as a section, " + section + ": {" + name + ": ...}"
	}
	// The same name in another section is more telling than a similar one.
	for _, exact := range []bool{true, false} {
		for _, p := range all {
			section, name, _ := cutLast(p)
			switch {
			case section == path:
			case name == key || !exact && path == "" && Nearest(key, []string{name}) != "":
				return "unknown key; did you mean " + p + "?"
			case !exact && Nearest(key, []string{name}) != "":
				return "unknown key; " + nameList(names, "known here: ") + "; or did you mean " + p + "?"
			}
		}
	}
	return "unknown key; " + nameList(names, "known here: ")
}

// Nearest returns the candidate that a user most likely meant by name, or "" when none is close.
func Nearest(name string, candidates []string) string {
	plain := strings.NewReplacer("-", "", "_", "", ".", "")
	fold := func(s string) string { return plain.Replace(strings.ToLower(s)) }
	best, bestDistance := "", 0
	for _, c := range candidates {
		if c == "" {
			continue
		}
		if fold(c) == fold(name) {
			return c
		}
		most := min(3, max(len(c), len(name))/3)
		d := distance(name, c, most)
		if d <= most && (best == "" || d < bestDistance) {
			best, bestDistance = c, d
		}
	}
	if best != "" {
		return best
	}
	for _, c := range candidates {
		if len(name) > 1 && (name == initials(c) || len(name) > 2 && strings.HasPrefix(c, name)) {
			return c
		}
	}
	return ""
}

// initials of learning_rate are lr.
func initials(s string) string {
	words := strings.Split(s, "_")
	if len(words) < 2 {
		return ""
	}
	out := ""
	for _, w := range words {
		out += w[:min(1, len(w))]
	}
	return out
}

// distance counts insertions, deletions, substitutions and swaps of neighbours (optimal string alignment); past most it
// may stop early and returns more than most.
func distance(a, b string, most int) int {
	if max(len(a), len(b))-min(len(a), len(b)) > most {
		return most + 1
	}
	before, above, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range above {
		above[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(above[j]+1, row[j-1]+1, above[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, above, row = above, row, before
	}
	return above[len(b)]
}

func fieldNames(t reflect.Type) []string {
	var names []string
	for _, f := range fieldsOf(t) {
		names = append(names, f.name)
	}
	return names
}

func nameList(names []string, lead string) string {
	const most = 16
	if len(names) > most {
		return lead + strings.Join(names[:most], ", ") + ", ..."
	}
	return lead + strings.Join(names, ", ")
}

// cutLast splits optimizer.learning_rate into its section and name.
func cutLast(path string) (section, name string, nested bool) {
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		return path[:i], path[i+1:], true
	}
	return "", path, false
}
