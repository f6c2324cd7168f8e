package text

import (
	"fmt"
	"strconv"
	"strings"

	"palimpsest/engine/fault"
)

// A table of names in the provenance of a plane begins with what it is and a version; then come the names, quoted as in Go.
const (
	bioPrefix   = "BIO 1:"
	labelPrefix = "LABEL 1:"
)

// FormatEntityTypes writes the table of types for a bio plane's provenance, followed by a remark of the caller's.
func FormatEntityTypes(types []string, remark string) string {
	return formatNames(bioPrefix, types, remark)
}

// ParseEntityTypes reads the types that FormatEntityTypes wrote. Errors are fault.Data.
func ParseEntityTypes(provenance string) ([]string, error) {
	return parseNames(bioPrefix, entityTypeTable, provenance)
}

// FormatClasses writes the table of classes for a label plane's provenance, followed by a remark of the caller's.
func FormatClasses(classes []string, remark string) string {
	return formatNames(labelPrefix, classes, remark)
}

// ParseClasses reads the classes that FormatClasses wrote. Errors are fault.Data.
func ParseClasses(provenance string) ([]string, error) {
	return parseNames(labelPrefix, labelTable, provenance)
}

func formatNames(prefix string, names []string, remark string) string {
	var b strings.Builder
	b.WriteString(prefix)
	for _, name := range names {
		fmt.Fprintf(&b, " %q", name)
	}
	if remark != "" {
		b.WriteString("; " + remark)
	}
	return b.String()
}

func parseNames(prefix string, kind tableKind, provenance string) ([]string, error) {
	rest, ok := strings.CutPrefix(provenance, prefix)
	if !ok {
		return nil, fault.Data.Errorf("provenance %.100q has no table of %s; expected it to begin with %q", provenance, kind.all, prefix)
	}
	var names []string
	for strings.HasPrefix(rest, ` "`) {
		quoted, err := strconv.QuotedPrefix(rest[1:])
		if err != nil || len(names) == kind.most {
			return nil, fault.Data.Errorf("provenance %.100q: the table of %s ends badly after %d", provenance, kind.all, len(names))
		}
		name, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, fault.Data.Errorf("provenance %.100q: %s %s: %w", provenance, kind.what, quoted, err)
		}
		names = append(names, name)
		rest = rest[1+len(quoted):]
	}
	if rest != "" && !strings.HasPrefix(rest, "; ") {
		return nil, fault.Data.Errorf("provenance %.100q: expected a quoted %s at %.40q", provenance, kind.what, rest)
	}
	return names, nil
}
