package runfile

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestMarshalRoundTrips(t *testing.T) {
	c := defaults()
	if err := Decode("run.yaml", []byte(sample), c); err != nil {
		t.Fatal(err)
	}
	c.Optimizer.LearningRate = math.Nextafter(1e-5, 1)
	c.Optimizer.Clip = float32(math.Inf(1))
	c.Optimizer.Betas = []float64{0, math.Copysign(0, -1), 0.1 + 0.2, 5e-324, 1 - 1e-16}
	c.Phases[0].Weight, c.Phases[1].Weight, c.Dist.Wait = 1e300, 123456789.25, 2*time.Hour
	for _, note := range []string{"", "no", "1e3", "a: b", "- x", "#", "line\nline", `"q" \ 'x'`, "é 😀", "\u2028\ufeff\x1b", " pad ", "../data", "~", "a #b", "2020-01-01"} {
		c.Note = note
		c.Weights = map[string]float64{note: 1, "b": 2}
		for _, data := range [][]byte{Marshal(c), MarshalDoc(c)} {
			var back config
			if err := Decode("x", data, &back); err != nil {
				t.Fatalf("%v in\n%s", err, data)
			}
			if !reflect.DeepEqual(c, &back) || math.Signbit(back.Optimizer.Betas[1]) != true {
				t.Fatalf("%+v\n%+v\n%s", c, back, data)
			}
		}
	}
	off := defaults()
	on := defaults()
	on.Dist = &distributed{}
	if err := Decode("x", Marshal(off), on); err != nil || on.Dist != nil {
		t.Errorf("an optional section that is off must come back off: %v %+v", err, on.Dist)
	}
}

func TestMarshalLayout(t *testing.T) {
	c := defaults()
	c.Phases = []phase{{"clm", 4, 1, []string{"a"}}, {"mlm", 1 << 40, 1e-7, nil}}
	c.Weights = map[string]float64{"z": 1, "on": 2}
	want := `objective: mlm  # one of clm, mlm
phases:
  - objective: clm
    steps: 4
    weight: 1.0
    tags: [a]
  - objective: mlm
    steps: 1099511627776
    weight: 1.0e-07
model:  # the network
  preset: tiny  # named sizes
  vocab: auto  # auto takes the tokenizer's
  layers: 2
  width: 64  # unit: floats
mask:
  p: 0.15
  unit: token  # one of token, word, span
  replace: [0.8, 0.1, 0.1]
optimizer:
  kind: adamw  # update rule; one of adamw, sgd
  learning_rate: 0.001
  betas: [0.9, 0.98]
  clip: 1.0
dist: null
weights:
  "on": 2.0
  z: 1.0
note: ""
stop_after: 0
verbose: false
`
	if got := string(MarshalDoc(c)); got != want {
		t.Errorf("got\n%s", got)
	}
	if got := string(Marshal(*c)); strings.Contains(got, "#") || !strings.HasPrefix(got, "objective: mlm\nphases:\n  - objective") {
		t.Errorf("got\n%s", got)
	}
}

func TestDescribe(t *testing.T) {
	keys := map[string]Key{}
	var order []string
	for _, k := range Describe(defaults()) {
		keys[k.Path] = k
		order = append(order, k.Path)
	}
	if !strings.HasPrefix(strings.Join(order, " "), "objective phases phases.N.objective phases.N.steps phases.N.weight phases.N.tags model model.preset") {
		t.Error(order)
	}
	if k := keys["optimizer.kind"]; !reflect.DeepEqual(k, Key{"optimizer.kind", "text", "adamw", "update rule", []string{"adamw", "sgd"}, "", "", ""}) {
		t.Errorf("%+v", k)
	}
	if k := keys["mask.p"]; k.Type != "a number" || k.Default != "0.15" || k.Min != "0" || k.Max != "<1" {
		t.Errorf("%+v", k)
	}
	if keys["phases.N.weight"].Default != "1.0" || keys["dist"].Default != "null" || keys["dist.wait"].Default != "30s" || keys["model"].Doc != "the network" {
		t.Errorf("%+v", keys)
	}
}

// FuzzRoundTrip holds that what Decode accepts survives Marshal and Decode, whatever the text.
func FuzzRoundTrip(f *testing.F) {
	f.Add("a: b", 1e-3, int64(3))
	f.Add("\u0085\n \t", math.Inf(-1), int64(math.MinInt64))
	f.Fuzz(func(t *testing.T, note string, number float64, whole int64) {
		if strings.ToValidUTF8(note, "") != note || math.IsNaN(number) {
			return
		}
		c := defaults()
		c.Note, c.Weights = note, map[string]float64{note: number}
		c.Phases = []phase{{Objective: "clm", Steps: max(whole, -whole-1), Tags: []string{note}}}
		c.Optimizer.Clip = float32(number)
		var back config
		if err := Decode("f", MarshalDoc(c), &back); err != nil {
			t.Fatalf("%v in\n%s", err, Marshal(c))
		}
		if !reflect.DeepEqual(c, &back) {
			t.Fatalf("%+v\n%+v\n%s", c, back, Marshal(c))
		}
	})
}

func TestJSONHasTheSameKeysAndOrder(t *testing.T) {
	c := defaults()
	c.Phases = []phase{{"clm", 4, 1e-7, nil}}
	c.Weights = map[string]float64{"z": math.Inf(1), "a\"": 1e21}
	c.Dist = &distributed{2, time.Minute}
	want := `{"objective":"mlm","phases":[{"objective":"clm","steps":4,"weight":1e-07}],` +
		`"model":{"preset":"tiny","vocab":"auto","layers":2,"width":64},"mask":{"p":0.15,"unit":"token","replace":[0.8,0.1,0.1]},` +
		`"optimizer":{"kind":"adamw","learning_rate":0.001,"betas":[0.9,0.98],"clip":1},"dist":{"ranks":2,"wait":"1m"},` +
		`"weights":{"a\"":1e+21,"z":".inf"},"note":"","stop_after":0,"verbose":false}`
	if got := string(JSON(c)); got != want || !json.Valid([]byte(got)) {
		t.Errorf("got %s", got)
	}
}
