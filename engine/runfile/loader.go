// Package runfile fills a tree of Go structs from YAML, strictly: every unknown key, wrong type, value out of range and
// failed check is reported at once, with file, line and the nearest known name, and nothing is guessed.
//
// Fields are configured by tags:
//
//	LearningRate float64 `yaml:"learning_rate" doc:"peak rate" min:">0" max:"1" unit:"..."`
//	Kind         string  `yaml:"kind" enum:"adamw,sgd"`
//
// A yaml tag may add ",omitempty" (not marshalled when zero) or ",inline" (the struct's keys stand in its parent). Fields
// without a tag are no configuration. Bounds are inclusive unless they start with > or <; they and enumerations hold for
// every item of a list. Kinds: bool, ints, floats, string, time.Duration, structs, pointers to structs (optional sections,
// switched off by null), slices and arrays, maps with string keys, and types that implement Scalar.
package runfile

import (
	"cmp"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"palimpsest/engine/fault"
)

// A Loader fills one struct from several sources in turn, later ones winning, and collects what is wrong with all of them:
//
//	l := runfile.New(&config)          // config holds the defaults
//	l.Decode("run.yaml", data)
//	l.Set("train.steps=100")
//	l.Check()
//	if err := l.Err(); err != nil { ... }
//
// After an error the struct is partly filled and must not be used.
type Loader struct {
	into    reflect.Value // the struct
	errs    []Error
	files   []string          // in order of appearance, for sorting
	origins map[string]origin // of every key given so far
	failed  map[string]bool   // keys whose value could not be taken
	broken  bool              // a whole source was unreadable
	known   []string          // all paths of the tree, for suggestions
	more    int               // findings beyond maxErrors
}

// maxErrors is far more than anyone reads, and keeps the work on a file that is no run file at all small.
const maxErrors = 200

type origin struct {
	file string
	line int
}

// New returns a Loader into the struct that into points to. It panics when the struct cannot be configured from YAML, a
// mistake in the program that shows at once.
func New(into any) *Loader {
	v := reflect.ValueOf(into)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		panic(fmt.Sprintf("runfile: New takes a pointer to a struct, not %T", into))
	}
	checkType(v.Elem().Type(), "", map[reflect.Type]bool{})
	return &Loader{into: v.Elem(), origins: map[string]origin{}, failed: map[string]bool{}}
}

// Decode reads a YAML document (at most 1 MiB). Keys that it does not name keep what they hold; lists are replaced whole.
func (l *Loader) Decode(name string, data []byte) {
	root, errs := parse(data)
	for _, e := range errs {
		l.add(origin{name, e.Line}, e.Key, e.Message)
	}
	if len(errs) > 0 {
		l.broken = true
	}
	if root == nil || root.kind == nullNode {
		return
	}
	if root.kind != mapNode {
		l.broken = true
		l.add(origin{name, root.line}, "", fmt.Sprintf("expected keys and values (%s), got %s",
			nameList(fieldNames(l.into.Type()), "known: "), root.describe()))
		return
	}
	(&decoder{l, name, true}).section(l.into, root, "")
}

// Fail adds a finding of the caller's about a key, with the line that gave it when that is known.
func (l *Loader) Fail(key, format string, args ...any) {
	l.add(l.origin(key), key, fmt.Sprintf(format, args...))
}

// Check asks every struct of the tree that is a Validator, and adds what they find except about keys whose value was already
// refused. It does nothing when a source could not be read at all, for its findings would be about something else.
func (l *Loader) Check() {
	if !l.broken {
		l.check(l.into, "")
	}
}

func (l *Loader) check(v reflect.Value, path string) {
	t := v.Type()
	switch {
	case isScalarType(t):
	case section(t) != nil:
		if v.Kind() == reflect.Pointer {
			if v.IsNil() {
				return
			}
			v = v.Elem()
		}
		if validator, ok := v.Addr().Interface().(Validator); ok {
			for _, p := range validator.Validate() {
				if key := join(path, p.Key); !l.refused(key) {
					l.Fail(key, "%s", p.Message)
				}
			}
		}
		for _, f := range fieldsOf(v.Type()) {
			l.check(v.FieldByIndex(f.index), join(path, f.name))
		}
	case isList(t):
		for i := range v.Len() {
			l.check(v.Index(i), join(path, fmt.Sprint(i)))
		}
	case isMap(t):
		for _, key := range sortedKeys(v) {
			item := reflect.New(t.Elem()).Elem()
			item.Set(v.MapIndex(key))
			l.check(item, join(path, key.String()))
		}
	}
}

// refused reports whether key, something above it or something below it already has an error.
func (l *Loader) refused(key string) bool {
	if key == "" {
		return false
	}
	for failed := range l.failed {
		if failed == key || strings.HasPrefix(failed, key+".") || strings.HasPrefix(key, failed+".") {
			return true
		}
	}
	return false
}

// Origin tells where a key got its value: a file and line, or an override and 0, or "" and 0 for a default. For a key that
// was not given itself it is the origin of the section above.
func (l *Loader) Origin(key string) (file string, line int) {
	o := l.origin(key)
	return o.file, o.line
}

func (l *Loader) origin(key string) origin {
	for {
		if o, ok := l.origins[key]; ok {
			return o
		}
		above, _, nested := cutLast(key)
		if !nested {
			return origin{}
		}
		key = above
	}
}

// Given reports whether a source named the key itself, so that its value is no default.
func (l *Loader) Given(key string) bool {
	_, ok := l.origins[key]
	return ok
}

// Err returns all findings as Errors of kind fault.Usage, file by file in the order of lines, or nil.
func (l *Loader) Err() error {
	if len(l.errs) == 0 {
		return nil
	}
	rank := func(e Error) int {
		if i := slices.Index(l.files, e.File); i >= 0 {
			return i
		}
		return len(l.files)
	}
	sorted := slices.Clone(l.errs)
	slices.SortStableFunc(sorted, func(a, b Error) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(a.Line, b.Line))
	})
	if l.more > 0 {
		sorted = append(sorted, Error{Message: fmt.Sprintf("and %d more", l.more)})
	}
	return fault.Usage.Wrap(Errors(sorted))
}

func (l *Loader) add(o origin, key, message string) {
	if o.file != "" && !slices.Contains(l.files, o.file) {
		l.files = append(l.files, o.file)
	}
	if len(l.errs) == maxErrors {
		l.more++
		return
	}
	l.errs = append(l.errs, Error{o.file, o.line, key, message})
}

// forget drops what is known of the keys below path, whose values are replaced.
func (l *Loader) forget(path string) {
	for key := range l.origins {
		if strings.HasPrefix(key, path+".") {
			delete(l.origins, key)
		}
	}
	for key := range l.failed {
		if strings.HasPrefix(key, path+".") {
			delete(l.failed, key)
		}
	}
}

// enter looks through the pointer of an optional section, making the section when it is off.
func (l *Loader) enter(v reflect.Value) reflect.Value {
	if v.Kind() != reflect.Pointer {
		return v
	}
	if v.IsNil() {
		v.Set(reflect.New(v.Type().Elem()))
		setDefaults(v.Elem())
	}
	return v.Elem()
}

// paths lists every key of the tree that can be named without an index.
func (l *Loader) paths() []string {
	if l.known == nil {
		for _, k := range Describe(reflect.New(l.into.Type()).Interface()) {
			if !strings.Contains(k.Path, ".N.") {
				l.known = append(l.known, k.Path)
			}
		}
	}
	return l.known
}

// Decode fills the struct that into points to from one YAML document; see Loader.Decode.
func Decode(name string, data []byte, into any) error {
	l := New(into)
	l.Decode(name, data)
	return l.Err()
}

// Set applies assignments to the struct that into points to; see Loader.Set.
func Set(into any, assignments []string) error {
	l := New(into)
	l.Set(assignments...)
	return l.Err()
}

// Check runs the Validators in the tree that into points to; see Loader.Check.
func Check(into any) error {
	l := New(into)
	l.Check()
	return l.Err()
}
