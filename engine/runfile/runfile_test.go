package runfile

import (
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"palimpsest/engine/fault"
)

type vocabulary int // 0 is auto

func (v *vocabulary) UnmarshalScalar(text string) error {
	if text == "auto" {
		*v = 0
		return nil
	}
	i, err := parseInt(text)
	if err != nil || i.magnitude > 1<<20 || i.negative {
		return fmt.Errorf("expected auto or a size, got %s", text)
	}
	*v = vocabulary(i.magnitude)
	return nil
}

func (v vocabulary) MarshalScalar() string {
	if v == 0 {
		return "auto"
	}
	return fmt.Sprint(int(v))
}

type model struct {
	Preset string     `yaml:"preset" doc:"named sizes"`
	Vocab  vocabulary `yaml:"vocab" doc:"auto takes the tokenizer's"`
	Layers int        `yaml:"layers" min:"1"`
	Width  int        `yaml:"width" min:"1" unit:"floats"`
}

type mask struct {
	P       float64    `yaml:"p" min:"0" max:"<1"`
	Unit    string     `yaml:"unit" enum:"token,word,span"`
	Replace [3]float64 `yaml:"replace" min:"0"`
}

func (m mask) Validate() []Problem {
	if sum := m.Replace[0] + m.Replace[1] + m.Replace[2]; math.Abs(sum-1) > 1e-9 {
		return []Problem{Problemf("replace", "the shares sum to %v, expected 1", sum)}
	}
	return nil
}

type optimizer struct {
	Kind         string    `yaml:"kind" enum:"adamw,sgd" doc:"update rule"`
	LearningRate float64   `yaml:"learning_rate" min:">0"`
	Betas        []float64 `yaml:"betas" min:"0" max:"<1"`
	Clip         float32   `yaml:"clip"`
}

type phase struct {
	Objective string   `yaml:"objective" enum:"clm,mlm"`
	Steps     int64    `yaml:"steps" min:"0"`
	Weight    float64  `yaml:"weight"`
	Tags      []string `yaml:"tags,omitempty"`
}

func (p *phase) SetDefaults() { p.Weight = 1 }

func (p phase) Validate() []Problem {
	if p.Steps == 0 {
		return []Problem{Problemf("steps", "a phase needs steps")}
	}
	return nil
}

type distributed struct {
	Ranks uint8         `yaml:"ranks"`
	Wait  time.Duration `yaml:"wait" min:"1" unit:"seconds"`
}

func (d *distributed) SetDefaults() { *d = distributed{1, 30 * time.Second} }

type common struct {
	StopAfter int  `yaml:"stop_after" min:"0"`
	Verbose   bool `yaml:"verbose"`
}

type config struct {
	Objective string             `yaml:"objective" enum:"clm,mlm"`
	Phases    []phase            `yaml:"phases,omitempty"`
	Model     model              `yaml:"model" doc:"the network"`
	Mask      mask               `yaml:"mask"`
	Optimizer optimizer          `yaml:"optimizer"`
	Dist      *distributed       `yaml:"dist"`
	Weights   map[string]float64 `yaml:"weights"`
	Note      string             `yaml:"note"`
	Common    common             `yaml:",inline"`
	hidden    int
}

func defaults() *config {
	return &config{
		Objective: "mlm",
		Model:     model{Preset: "tiny", Layers: 2, Width: 64},
		Mask:      mask{0.15, "token", [3]float64{0.8, 0.1, 0.1}},
		Optimizer: optimizer{"adamw", 1e-3, []float64{0.9, 0.98}, 1},
	}
}

const sample = `# a run
objective: clm
phases:
  - {objective: clm, steps: 1_000}
  - objective: mlm
    steps: 2e3
    weight: 0.5
    tags: [a, "b c"]
model: {preset: bert-tiny, vocab: auto, layers: 4, width: 256}
mask:
  p: .2
optimizer:
  learning_rate: 1E-4   # peak
  betas: [0.9, 0.999]
dist: {ranks: 2, wait: 5m}
weights: {b: 2, a: 1}
note: no
stop_after: 7
verbose: true
`

func TestDecodeKeepsDefaultsAndReadsAll(t *testing.T) {
	for _, text := range []string{sample, strings.ReplaceAll(sample, "\n", "\r\n"), "\ufeff" + sample, "---\n" + sample} {
		got := defaults()
		if err := Decode("run.yaml", []byte(text), got); err != nil {
			t.Fatal(err)
		}
		want := defaults()
		want.Objective = "clm"
		want.Phases = []phase{{"clm", 1000, 1, nil}, {"mlm", 2000, 0.5, []string{"a", "b c"}}}
		want.Model = model{"bert-tiny", 0, 4, 256}
		want.Mask.P = 0.2
		want.Optimizer.LearningRate = 1e-4
		want.Optimizer.Betas = []float64{0.9, 0.999}
		want.Dist = &distributed{2, 5 * time.Minute}
		want.Weights = map[string]float64{"a": 1, "b": 2}
		want.Note = "no"
		want.Common = common{7, true}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("got %+v\nwant %+v", got, want)
		}
	}
}

func TestEmptyFilesAndSectionsChangeNothing(t *testing.T) {
	for _, text := range []string{"", "# nothing\n", "---\n", "model:\nmask: # all commented out\n", "{}", "null"} {
		got := defaults()
		if err := Decode("run.yaml", []byte(text), got); err != nil || !reflect.DeepEqual(got, defaults()) {
			t.Errorf("%q: %v, %+v", text, err, got)
		}
	}
}

// messages decodes text and returns the error's lines.
func messages(t *testing.T, text string) []string {
	t.Helper()
	err := Decode("run.yaml", []byte(text), defaults())
	if err == nil {
		return nil
	}
	if fault.Of(err) != fault.Usage {
		t.Fatalf("%q: kind %d, want usage", text, fault.Of(err))
	}
	return strings.Split(err.Error(), "\n")
}

func TestMessages(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"lerning_rate: 1\n", "run.yaml:1: lerning_rate: unknown key; did you mean optimizer.learning_rate?"},
		{"optimizer:\n  lerning_rate: 1\n", "run.yaml:2: optimizer.lerning_rate: unknown key; did you mean learning_rate?"},
		{"optimizer:\n  lr: 1\n", "run.yaml:2: optimizer.lr: unknown key; did you mean learning_rate?"},
		{"optimizer:\n  Learning-Rate: 1\n", "run.yaml:2: optimizer.Learning-Rate: unknown key; did you mean learning_rate?"},
		{"model:\n  betas: [1]\n", "run.yaml:2: model.betas: unknown key; did you mean optimizer.betas?"},
		{"optimizer.clip: 1\n", "run.yaml:1: optimizer.clip: unknown key; write it as a section, optimizer: {clip: ...}"},
		{"model: {zzzzzz: 1}\n", "run.yaml:1: model.zzzzzz: unknown key; known here: preset, vocab, layers, width"},
		{"phases:\n- modle: 1\n", "run.yaml:2: phases.0.modle: unknown key; known here: objective, steps, weight, tags; or did you mean model?"},
		{"phases:\n- stepps: 1\n", "run.yaml:2: phases.0.stepps: unknown key; did you mean steps?"},
		{"optimizer: {learning_rate: \"1e-4\"}", `run.yaml:1: optimizer.learning_rate: expected a number, got the quoted text "1e-4"; drop the quotes`},
		{"optimizer: {learning_rate: fast}", "run.yaml:1: optimizer.learning_rate: expected a number, got fast"},
		{"optimizer: {learning_rate: .nan}", "run.yaml:1: optimizer.learning_rate: expected a number, got .nan"},
		{"optimizer: {learning_rate: 0}", "run.yaml:1: optimizer.learning_rate: must be more than 0, got 0"},
		{"optimizer: {learning_rate: 1e999}", "run.yaml:1: optimizer.learning_rate: expected a number, got 1e999 (beyond the range of a 64-bit float)"},
		{"optimizer: {learning_rate: 1e-999}", "run.yaml:1: optimizer.learning_rate: expected a number, got 1e-999 (too close to zero for a 64-bit float)"},
		{"optimizer: {clip: 1e39}", "run.yaml:1: optimizer.clip: expected a number, got 1e39 (beyond the range of a 32-bit float)"},
		{"optimizer: {betas: 0.9}", "run.yaml:1: optimizer.betas: expected a list, got 0.9; hint: write [0.9]"},
		{"optimizer:\n  betas:\n  - 0.5\n  - 1\n", "run.yaml:4: optimizer.betas.1: must be less than 1, got 1"},
		{"optimizer: {kind: adam}", "run.yaml:1: optimizer.kind: expected one of adamw, sgd, got adam; did you mean adamw?"},
		{"optimizer: adamw", "run.yaml:1: optimizer: expected a section (keys: kind, learning_rate, betas, clip), got adamw"},
		{"mask: {p: 15%}", "run.yaml:1: mask.p: expected a number, got 15%; write 0.15"},
		{"mask: {p: .inf}", "run.yaml:1: mask.p: must be finite, got .inf"},
		{"mask: {p: -0.1}", "run.yaml:1: mask.p: must not be negative, got -0.1"},
		{"mask: {replace: [1, 0]}", "run.yaml:1: mask.replace: expected a list of 3, got a list of 2"},
		{"stop_after: 1,000", "run.yaml:1: stop_after: expected a whole number, got 1,000; write 1000"},
		{"stop_after: 1.5", "run.yaml:1: stop_after: expected a whole number, got 1.5 (not a whole number)"},
		{"stop_after: 010", "run.yaml:1: stop_after: expected a whole number, got 010 (a leading zero is ambiguous: leave it out, or write 0o for an octal number)"},
		{"stop_after: 9223372036854775808", "run.yaml:1: stop_after: expected a whole number, got 9223372036854775808 (must be between -9223372036854775808 and 9223372036854775807)"},
		{"stop_after:", "run.yaml:1: stop_after: expected a whole number, got nothing"},
		{"model: {width: 0}", "run.yaml:1: model.width: must be at least 1 floats, got 0"},
		{"model: {vocab: big}", "run.yaml:1: model.vocab: expected auto or a size, got big"},
		{"dist: {ranks: 300}", "run.yaml:1: dist.ranks: expected a whole number, got 300 (must be at most 255)"},
		{"dist: {ranks: -1}", "run.yaml:1: dist.ranks: expected a whole number, got -1 (must not be negative)"},
		{"dist: {wait: 10}", "run.yaml:1: dist.wait: expected a duration such as 30s or 5m, got 10"},
		{"dist: {wait: 1ms}", "run.yaml:1: dist.wait: must be at least 1 seconds, got 1ms"},
		{"verbose: yes", "run.yaml:1: verbose: expected true or false, got yes"},
		{"note:\n", `run.yaml:1: note: expected text, got nothing; write "" for an empty text`},
		{"note: [a]\n", "run.yaml:1: note: expected text, got a list"},
		{"verbose: true\nnote: a\nverbose: false\n", "run.yaml:3: verbose: given twice in this section, first at line 1"},
		{"weights: {a: 1, a: 2}\n", "run.yaml:1: weights.a: given twice in this section"},
		{"weights: {a: x}\n", "run.yaml:1: weights.a: expected a number, got x"},
		{"- a\n", "run.yaml:1: expected keys and values (known: objective, phases, model, mask, optimizer, dist, weights, note, stop_after, verbose), got a list"},
		{"note: a\n---\nnote: b\n", "run.yaml:3: the file holds 2 documents (---), but a run file is one"},
		{"a: &x 1\n", "run.yaml:1: anchors (&name) are not accepted; write the value out, or quote a text that starts with &"},
		{"note: *x\n", "run.yaml:1: aliases (*name) are not accepted; write the value out, or quote a text that starts with *"},
		{"model: {<<: {width: 3}}\n", "run.yaml:1: merge keys (<<) are not accepted; write the keys out"},
		{"note: !!str 3\n", "run.yaml:1: tags (!!str) are not accepted; the key decides the type"},
		{"note: \xff\n", "run.yaml:1: byte 0xff is not UTF-8 text; is this a YAML file?"},
		{"note: a\nmodel:\n\twidth: 3\n", "run.yaml:3: YAML syntax: found character '\t' that cannot start any token; indent with spaces"},
		{"a: [1\nb: 2\n", "run.yaml:2: YAML syntax: ',' or ']' must be specified"},
		{"? [a, b]\n: c\n", "run.yaml:2: YAML syntax: found an invalid key for this map"},
	} {
		got := messages(t, c.text)
		if len(got) != 1 || got[0] != c.want {
			t.Errorf("%q:\n got %q\nwant %q", c.text, got, c.want)
		}
	}
}

func TestAllErrorsAtOnceInOrderOfLines(t *testing.T) {
	text := "objektive: mlm\nmodel:\n  layers: none\n  widht: 3\nmask: {p: 2, unit: chars}\noptimizer:\n  betas: [a, 0.5, b]\nphases:\n- steps: -1\n"
	got := messages(t, text)
	for i, want := range []string{"run.yaml:1: objektive", "run.yaml:3: model.layers", "run.yaml:4: model.widht", "run.yaml:5: mask.p",
		"run.yaml:5: mask.unit", "run.yaml:7: optimizer.betas.0", "run.yaml:7: optimizer.betas.2", "run.yaml:9: phases.0.steps"} {
		if i >= len(got) || !strings.HasPrefix(got[i], want+":") {
			t.Fatalf("line %d: want %s in\n%s", i, want, strings.Join(got, "\n"))
		}
	}
	if len(got) != 8 {
		t.Errorf("%d messages, want 8:\n%s", len(got), strings.Join(got, "\n"))
	}
	var list Errors
	if err := Decode("run.yaml", []byte(text), defaults()); !errors.As(err, &list) || list[1].Line != 3 || list[1].Key != "model.layers" ||
		list[1].File != "run.yaml" {
		t.Errorf("Errors are not reachable: %+v", list)
	}
}

func TestBombsAndDepthAreRefused(t *testing.T) {
	bomb := "a: &a [x,x]\nb: &b [*a,*a]\nc: &c [*b,*b]\nnote: *c\n"
	if got := messages(t, bomb); len(got) != 8 {
		t.Errorf("every anchor and alias should be named: %q", got)
	}
	for name, text := range map[string]string{
		"flow lists":  strings.Repeat("[", 100_000),
		"flow maps":   strings.Repeat("{a: ", 50_000),
		"dashes":      strings.Repeat("- ", 50_000),
		"questions":   strings.Repeat("? ", 50_000),
		"flow dashes": "[" + strings.Repeat("- ", 50_000),
		"colons":      strings.Repeat(": ", 50_000),
		"closed":      "]\n" + strings.Repeat("- ", 50_000),
		"too long":    "note: " + strings.Repeat("x", maxBytes),
	} {
		if got := messages(t, text); len(got) == 0 {
			t.Errorf("%s accepted", name)
		}
	}
}

func TestLongFiles(t *testing.T) {
	var many strings.Builder
	many.WriteString("phases:\n")
	for range 2_000 {
		many.WriteString("- {objective: clm, steps: 1, tags: [a]}\n")
	}
	c := defaults()
	if err := Decode("x", []byte(many.String()), c); err != nil || len(c.Phases) != 2_000 {
		t.Errorf("%v, %d phases", err, len(c.Phases))
	}
	many.Reset()
	for i := range 9_000 {
		fmt.Fprintf(&many, "k%d: %d\n", i, i)
	}
	if got := messages(t, strings.Repeat("a:\n", 300_000)); len(got) != 1 || got[0] != "run.yaml:10001: more than 10000 keys and items" {
		t.Errorf("%q", got)
	}
	if got := messages(t, many.String()); len(got) != maxErrors+1 || got[maxErrors] != "and 8800 more" {
		t.Errorf("%d messages, last %q", len(got), got[len(got)-1])
	}
}

type loop struct {
	Next *loop  `yaml:"next"`
	List []loop `yaml:"list"`
	N    int    `yaml:"n"`
}

func TestTypesThatContainThemselves(t *testing.T) {
	var l loop
	if err := Decode("x", []byte("next: {next: {n: 2}, list: [{n: 1}]}\nn: 3\n"), &l); err != nil || l.Next.Next.N != 2 || l.Next.List[0].N != 1 {
		t.Errorf("%v %+v", err, l)
	}
	if n := len(Describe(l)); n != 3 {
		t.Errorf("%d keys", n)
	}
}

func TestProgrammersMistakesPanic(t *testing.T) {
	for name, into := range map[string]any{
		"no pointer": config{}, "channel": &struct {
			C chan int `yaml:"c"`
		}{}, "twice": &struct {
			A int `yaml:"a"`
			B int `yaml:"a"`
		}{}, "bound": &struct {
			A int `yaml:"a" min:"few"`
		}{}, "private": &struct {
			a int `yaml:"a"`
		}{}} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			New(into)
		}()
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte("a: &a [*a]\n<<: x"))
	f.Add([]byte("note: |+\n  x\n\n---\n"))
	f.Add([]byte("? {a: [}\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c := defaults()
		l := New(c)
		l.Decode("f", data)
		l.Set(string(data))
		l.Check()
		if err := l.Err(); err != nil {
			if fault.Of(err) != fault.Usage || err.Error() == "" {
				t.Fatalf("%v", err)
			}
			return
		}
	})
}
