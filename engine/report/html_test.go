package report

import (
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/kernels/philox"
)

// madeUp is a run of n log steps with everything a page can show.
func madeUp(name string, seed uint64, n int64) *Run {
	d := philox.New(seed, philox.StreamTest, 0, 0)
	run := &Run{Name: name, Header: Header{Objective: "mlm", Seed: seed, Device: "cpu <x>", Parameters: 1 << 20, Steps: n * 10,
		Configuration: json.RawMessage(fmt.Sprintf(`{"objective":"mlm","train":{"seed":%d,"phases":[{"a":1},{"a":"<b>"}],"betas":[0.9,0.98]}}`, seed))}}
	for i := int64(1); i <= n; i++ {
		s := testStep(i * 10)
		s.Loss += 0.1 * d.Normal()
		s.Phase = "clm"
		if i > n/2 {
			s.Phase = "mlm"
		}
		run.Steps = append(run.Steps, s)
		if i%4 == 0 {
			run.Evals = append(run.Evals, Eval{Step: i * 10, Phase: s.Phase, Loss: s.Loss + 0.1, Accuracy: new(0.3), BaselineLoss: new(6.5), BaselineAccuracy: new(0.0712)})
		}
	}
	run.Resumes = []Resume{{Step: n * 3, Time: "t"}}
	run.Examples = []Example{{n * 10, "the [MASK] of </script> [MASK]", "[MASK]", []Hole{{" light", []Answer{{" light", 0.8}, {"<i>", 0.1}}}, {"x", nil}}}}
	return run
}

func htmlOf(t *testing.T, runs ...*Run) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.html")
	if err := WriteHTML(path, runs); err != nil {
		t.Fatal(err)
	}
	text := readFile(t, path)
	wellFormed(t, text)
	return text
}

// wellFormed checks that every element is closed where it should be, and that nothing is fetched from elsewhere.
func wellFormed(t *testing.T, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	d.Strict = false
	d.Entity = xml.HTMLEntity
	for {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("not well formed: %v", err)
		}
		if element, ok := token.(xml.StartElement); ok {
			for _, a := range element.Attr {
				if slices.Contains([]string{"src", "href", "srcset", "action"}, a.Name.Local) {
					t.Errorf("<%s %s=%q> reaches out", element.Name.Local, a.Name.Local, a.Value)
				}
			}
		}
	}
	for _, word := range []string{"http:", "https:", "url(", "@import", "ZgotmplZ"} {
		if strings.Contains(text, word) {
			t.Errorf("the page contains %s", word)
		}
	}
}

var svgPattern = regexp.MustCompile(`(?s)<svg viewBox="0 0 (\d+) (\d+)".*?</svg>`)

// pictures returns the SVGs of a page after checking that each parses as XML and that every point lies in its plot.
func pictures(t *testing.T, text string) []string {
	t.Helper()
	var out []string
	for _, m := range svgPattern.FindAllStringSubmatch(text, -1) {
		out = append(out, m[0])
		d := xml.NewDecoder(strings.NewReader(m[0]))
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v in %s", err, m[0])
			}
			if element, ok := token.(xml.StartElement); ok && element.Name.Local == "polyline" {
				width, _ := strconv.ParseFloat(m[1], 64)
				height, _ := strconv.ParseFloat(m[2], 64)
				for _, a := range element.Attr {
					if a.Name.Local == "points" {
						checkPoints(t, a.Value, width, height)
					}
				}
			}
		}
	}
	return out
}

func checkPoints(t *testing.T, points string, width, height float64) {
	t.Helper()
	last := math.Inf(-1)
	for pair := range strings.SplitSeq(points, " ") {
		xs, ys, _ := strings.Cut(pair, ",")
		x, errX := strconv.ParseFloat(xs, 64)
		y, errY := strconv.ParseFloat(ys, 64)
		if errX != nil || errY != nil || !(x >= marginLeft && x <= width-marginRight && y >= marginTop && y <= height-marginBottom) || x < last {
			t.Fatalf("the point %q is outside the plot or goes back", pair)
		}
		last = x
	}
}

func TestPageOfOneRun(t *testing.T) {
	text := htmlOf(t, madeUp("a <script>alert(1)</script>", 1, 200))
	if n := len(pictures(t, text)); n != 6 {
		t.Errorf("%d charts, want 6", n)
	}
	for _, want := range []string{"a &lt;script&gt;alert(1)&lt;/script&gt;", "cpu &lt;x&gt;", "unigram baseline", "phase clm", "phase mlm", "resumed",
		"train.phases.1.a", "&lt;b&gt;", "[0.9,0.98]", "prefers-color-scheme: dark", "the <span class=\"hole\">[MASK]<sup>1</sup></span> of &lt;/script&gt;",
		`<div class="answer right" style="--p: 80%"><code>␣light</code><span>80.0%</span></div>`, "1048576", "after step 600", "unigram 7.1%"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(text, "alert(1)</script>") {
		t.Error("a name was not escaped")
	}
}

func TestPageOfSeveralRuns(t *testing.T) {
	one, two := madeUp("one", 1, 50), madeUp("two", 2, 80)
	text := htmlOf(t, one, two)
	if n := len(pictures(t, text)); n != 6 {
		t.Errorf("%d charts, want 6", n)
	}
	for _, want := range []string{"one, train clm", "two, held-out mlm", "Loss by term", "Comparison", "what the runs share", "2 runs on the same axes"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	table := text[strings.Index(text, "<h2>Comparison"):]
	table = table[:strings.Index(table, "</section>")]
	if !strings.Contains(table, "train.seed") || strings.Contains(table, "train.betas") {
		t.Error("the comparison does not show the keys that differ, and only these")
	}
}

func TestComparison(t *testing.T) {
	one, two, none := madeUp("one", 1, 40), madeUp("two", math.MaxUint64, 60), &Run{Name: "none"}
	one.Evals = []Eval{{Step: 10, Phase: "clm", Loss: 1, Accuracy: new(0.9)}, {Step: 20, Phase: "mlm", Loss: 2, Accuracy: new(0.5)},
		{Step: 30, Phase: "mlm", Loss: math.NaN(), Accuracy: new(0.4)}}
	two.Evals = []Eval{{Step: 15, Phase: "mlm", Loss: 3}, {Step: 40, Phase: "mlm", Loss: 3.5}}
	got := compare([]*Run{one, two, none})
	if want := []string{"best loss", "final loss", "best accuracy", "final accuracy", "steps", "tokens/s", "time", "parameters", "seed"}; !slices.Equal(got.Columns, want) {
		t.Fatalf("columns %q", got.Columns)
	}
	for i, want := range [][]figure{
		{{"2.0000 at 20", true}, {"NaN", false}, {"50.0%", false}, {"40.0%", false}, {"400", false}, {"3.33k", false}, {"2m13s", false}, {"1.05M", false}, {"1", false}},
		{{"3.0000 at 15", false}, {"3.5000", true}, {"", false}, {"", false}, {"600", false}, {"3.33k", false}, {"3m20s", false}, {"1.05M", false}, {"18446744073709551615", false}},
		{{"", false}, {"", false}, {"", false}, {"", false}, {"", false}, {"", false}, {"", false}, {"", false}, {"0", false}},
	} {
		for j, f := range got.Runs[i].Figures {
			if f != want[j] {
				t.Errorf("%s, %s: got %+v, want %+v", got.Runs[i].Name, got.Columns[j], f, want[j])
			}
		}
	}
	if two := compare([]*Run{one, two}); !slices.Equal(two.Keys, []string{"train.seed"}) || two.differences(0) != "train.seed = 1" {
		t.Errorf("keys %q, %q", two.Keys, two.differences(0))
	}
}

func TestPhasesHaveCurvesOfTheirOwn(t *testing.T) {
	run := madeUp("r", 1, 40)
	for i := range run.Steps { // ten steps of one, ten of the other
		run.Steps[i].Phase = []string{"clm", "mlm"}[i/10%2]
	}
	c := lossChart([]*Run{run})
	var names []string
	for _, k := range c.curves {
		names = append(names, k.name)
	}
	if want := []string{"train clm", "held-out clm", "train mlm", "held-out mlm"}; !slices.Equal(names, want) {
		t.Fatalf("curves %q, want %q", names, want)
	}
	one := c.curves[2]
	if len(one.x) != 20 || one.x[0] != 110 || one.x[10] != 310 || !slices.Equal(one.starts, []int{0, 10}) {
		t.Errorf("the second phase: %v, starts %v", one.x, one.starts)
	}
	if n := strings.Count(string(c.svg()), "<polyline"); n != 2+2+2 {
		t.Errorf("%d lines, want two for each phase and one for each held-out curve", n)
	}
	for i := range run.Evals { // as old logs have them
		run.Evals[i].Phase = ""
	}
	if c := lossChart([]*Run{run}); len(c.curves) != 3 || c.curves[2].name != "held-out" {
		t.Errorf("%d curves", len(c.curves))
	}
	one.y, one.smooth = make([]float64, 20), 5
	for i := 10; i < 20; i++ {
		one.y[i] = 1
	}
	if got := one.smoothed(); !slices.Equal(got, one.y) {
		t.Errorf("smoothing crosses the interruption: %v", got)
	}
}

func TestNotFiniteValuesAreGapsWithCrosses(t *testing.T) {
	run := madeUp("r", 1, 40)
	run.Examples, run.Evals, run.Resumes = nil, nil, nil
	run.Steps[10].Loss, run.Steps[11].Loss, run.Steps[30].Loss = math.NaN(), math.Inf(1), math.NaN()
	picture := pictures(t, htmlOf(t, run))[0]
	if n := strings.Count(picture, `class="broken"`); n != 3 {
		t.Errorf("%d crosses, want 3", n)
	}
	if n := strings.Count(picture, "<polyline"); n != 4 {
		t.Errorf("%d stretches, want 4: NaN splits each phase", n)
	}
	if !strings.Contains(picture, "<title>train clm: NaN at step 110</title>") || !strings.Contains(picture, "+Inf at step 120") {
		t.Error("the crosses do not say what they are")
	}
}

func TestOddRunsStillMakeAPage(t *testing.T) {
	only := func(change func(*Step), n int64) *Run {
		run := madeUp("odd", 1, n)
		for i := range run.Steps {
			change(&run.Steps[i])
		}
		return run
	}
	for name, run := range map[string]*Run{
		"nothing":   {Name: "odd"},
		"one step":  only(func(*Step) {}, 1),
		"flat":      only(func(s *Step) { s.Loss, s.GradNorm, s.LR, s.TokensPerS = 1, 0, 0, 0 }, 9),
		"all NaN":   only(func(s *Step) { s.Loss, s.GradNorm = math.NaN(), math.Inf(1) }, 9),
		"enormous":  only(func(s *Step) { s.Loss, s.GradNorm = 1e300*float64(s.Step), math.MaxFloat64 }, 90),
		"both ends": only(func(s *Step) { s.Loss = math.MaxFloat64 * float64(1-2*(s.Step/10%2)) }, 9),
		"tiny":      only(func(s *Step) { s.Loss, s.GradNorm, s.LR = 5e-324, 5e-324, 5e-324 }, 9),
		"negative":  only(func(s *Step) { s.Loss, s.TokensPerS = -float64(s.Step), -1 }, 90),
		"ten runs":  madeUp("long", 1, 5000),
	} {
		text := htmlOf(t, run)
		pictures(t, text)
		if strings.Contains(text, `="NaN"`) || strings.Contains(text, `"Inf`) || strings.Contains(text, ",NaN") {
			t.Errorf("%s: a coordinate is not finite", name)
		}
	}
	var many []*Run
	for i := range uint64(10) {
		many = append(many, madeUp(fmt.Sprint("r", i), i, 30))
	}
	pictures(t, htmlOf(t, many...))
}

func TestLongRunsAreThinnedWithoutLosingSpikes(t *testing.T) {
	run := madeUp("long", 1, 20_000)
	run.Steps[12_345].GradNorm = 77
	_, y := column(run.Steps, func(s Step) float64 { return s.GradNorm })
	x := make([]float64, len(y))
	for i := range x {
		x[i] = float64(i)
	}
	y[777] = math.NaN()
	tx, ty := thinned(x, y)
	if len(tx) > maxPoints*5/4 || !slices.Contains(ty, 77) || !slices.ContainsFunc(ty, math.IsNaN) || tx[0] != 0 || tx[len(tx)-1] != 19_999 ||
		!slices.IsSorted(tx) {
		t.Errorf("%d points", len(tx))
	}
	if size := len(htmlOf(t, run)); size > 1<<20 {
		t.Errorf("the page has %d bytes", size)
	}
}

func TestSmoothingKeepsGapsAndIgnoresSpikes(t *testing.T) {
	y := []float64{1, 1, 1, 1, 9, 1, 1, math.NaN(), 4, 4, 4}
	got := smoothed(y, 5)
	for i, want := range []float64{1, 1, 1, 1, 1, 1, 1, math.NaN(), 4, 4, 4} {
		if got[i] != want && !math.IsNaN(want) || math.IsNaN(want) != math.IsNaN(got[i]) {
			t.Errorf("%d: got %v, want %v", i, got[i], want)
		}
	}
}

func TestTicks(t *testing.T) {
	for _, c := range []struct {
		s    scale
		want string
	}{
		{scale{lo: 0, hi: 1}, "0 0.25 0.5 0.75 1"},
		{scale{lo: 1.9, hi: 8.3}, "2 4 6 8"},
		{scale{lo: 0, hi: 1e-3}, "0 2.5e-4 5e-4 7.5e-4 1e-3"},
		{scale{lo: -3, hi: 3}, "-2 0 2"},
		{scale{lo: 0.5, hi: 120, log: true}, "1 3 10 30 100"},
		{scale{lo: 1e-8, hi: 1e8, log: true}, "1e-8 1e-4 1 10k 100M"},
		{scale{lo: 0.8, hi: 30, log: true}, "1 2 5 10 20"},
	} {
		var got []string
		for _, tick := range c.s.ticks(4, tickText) {
			got = append(got, tick.label)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%+v: got %v, want %s", c.s, got, c.want)
		}
	}
	if s := newScale(0.1, 9, true, false); !s.log {
		t.Error("a spread of 90 asks for a logarithmic axis")
	}
	if s := newScale(0, 9, true, false); s.log {
		t.Error("zero has no logarithm")
	}
}

func TestWriteHTMLErrors(t *testing.T) {
	if err := WriteHTML("x.html", nil); fault.Of(err) != fault.Usage {
		t.Error(err)
	}
	dir := t.TempDir()
	path := filepath.Join(dir, "report.html")
	if err := os.Mkdir(path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := WriteHTML(path, []*Run{madeUp("r", 1, 9)}); fault.Of(err) != fault.Write {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
