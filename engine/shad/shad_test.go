package shad

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/kernels/philox"
)

func TestSample(t *testing.T) {
	for _, c := range []struct {
		n        int64
		fraction float64
		want     int
	}{{100, 0.01, 2}, {7473, 0.01, 75}, {2, 1, 2}, {3, 1, 3}, {1000, 0.1, 100}} {
		s, err := Sample(c.n, c.fraction, 9)
		if err != nil || len(s) != c.want {
			t.Errorf("%+v: %d pairs, %v", c, len(s), err)
		}
		sorted := slices.Sorted(slices.Values(s))
		if len(slices.Compact(sorted)) != c.want || sorted[0] < 0 || sorted[len(sorted)-1] >= c.n {
			t.Errorf("%+v: %v", c, s)
		}
		if again, _ := Sample(c.n, c.fraction, 9); !slices.Equal(s, again) {
			t.Error("another sample of the same seed")
		}
	}
	small, _ := Sample(1000, 0.05, 9)
	large, _ := Sample(1000, 0.5, 9)
	if !slices.Equal(small, large[:50]) {
		t.Error("a larger sample does not begin with the smaller one")
	}
	if _, err := Sample(1, 1, 9); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), "there are 1") {
		t.Error(err)
	}
	for _, f := range []float64{0, -1, 1.5, math.NaN()} {
		if _, err := Sample(10, f, 9); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "shad.shuffle_fraction") {
			t.Error(f, err)
		}
	}
}

// No pair keeps a response equal to its own, every response is used at most once, and what is dropped had no way out.
func TestDerange(t *testing.T) {
	draw := philox.New(3, philox.StreamTest, 0, 0)
	for trial := range 300 {
		n := 2 + draw.IntN(12)
		kinds := 2 + draw.IntN(n)
		keys, count := make([]int, n), map[int]int{}
		for i := range keys {
			keys[i] = draw.IntN(kinds)
			count[keys[i]]++
		}
		d, err := Derange(keys, uint64(trial))
		most := 0
		for _, c := range count {
			most = max(most, c)
		}
		if err != nil {
			if most < n-1 && n > 3 {
				t.Errorf("%v: %v", keys, err)
			}
			continue
		}
		used := map[int]bool{}
		dropped := 0
		for i, from := range d.From {
			if from < 0 {
				dropped++
				continue
			}
			if keys[from] == keys[i] || used[from] {
				t.Fatalf("%v: pair %d gets %d: %v", keys, i, from, d.From)
			}
			used[from] = true
		}
		// Hall: a derangement exists when no response has more than half of the pairs.
		if dropped != d.Dropped || dropped > max(0, 2*most-n) {
			t.Errorf("%v: %d dropped, counted %d, necessary %d", keys, dropped, d.Dropped, max(0, 2*most-n))
		}
	}
	if _, err := Derange([]int{4, 4, 4}, 1); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), "of 3 pairs 0") || !strings.Contains(err.Error(), "shuffle_fraction") {
		t.Error(err)
	}
	d, err := Derange([]int{1, 2}, 1)
	if err != nil || fmt.Sprint(d.From) != "[1 0]" || d.Repaired+d.Dropped != 0 {
		t.Errorf("%+v, %v", d, err)
	}
}

func TestGoldenDifferences(t *testing.T) {
	dir := filepath.Join("testdata", "golden")
	if other := os.Getenv("PALIMPSEST_GOLDEN"); other != "" {
		dir = other
	}
	raw, err := os.ReadFile(filepath.Join(dir, "shad.json"))
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		LD []struct {
			Name      string
			O         []float32 `json:"nll_o"`
			S         []float32 `json:"nll_s"`
			Mask      []int     `json:"loss_mask"`
			Threshold float64
			LD        []float64
			Class     []int
		}
		Errors string
	}
	if err := json.Unmarshal(raw, &file); err != nil || len(file.LD) == 0 {
		t.Fatalf("%d cases, %v", len(file.LD), err)
	}
	for _, c := range file.LD {
		o := Options{Threshold: c.Threshold}
		all, err := o.Differences(nil, c.O, c.S)
		if err != nil {
			t.Fatal(err)
		}
		var counted []float64
		for i, ld := range all {
			if math.Abs(ld-c.LD[i]) > 1e-11+1e-9*math.Abs(c.LD[i]) {
				t.Errorf("%s: LD %d is %g, want %g", c.Name, i, ld, c.LD[i])
			}
			if c.Mask[i] == 1 {
				counted = append(counted, ld)
			}
		}
		classes := o.Classes(nil, counted, nil)
		for i, want := range c.Class {
			if c.Mask[i] == 0 {
				if want != -1 {
					t.Errorf("%s: token %d outside of the mask has class %d", c.Name, i, want)
				}
				continue
			}
			if int(classes[0]) != want {
				t.Errorf("%s: token %d has class %d, want %d", c.Name, i, classes[0], want)
			}
			classes = classes[1:]
		}
	}
	// What the file lists under errors, as far as it is about losses.
	if !strings.Contains(file.Errors, "lists of different length") || !strings.Contains(file.Errors, "NaN loss") {
		t.Errorf("errors %q", file.Errors)
	}
	if _, err := (Options{}).Differences(nil, []float32{1}, nil); err == nil || !strings.Contains(err.Error(), "1 losses of the model, 0 of the tuned") {
		t.Error(err)
	}
	nan := float32(math.NaN())
	if _, err := (Options{}).Differences(nil, []float32{1, 2}, []float32{1, nan}); err == nil || !strings.Contains(err.Error(), "response token 1: the loss of the tuned model is NaN") {
		t.Error(err)
	}
	if _, err := (Options{}).Differences(nil, []float32{float32(math.Inf(1))}, []float32{1}); err == nil || !strings.Contains(err.Error(), "the loss of the model is +Inf") {
		t.Error(err)
	}
}

func TestClasses(t *testing.T) {
	base, tuned := []float32{1, 1, 1, 1, 1}, []float32{1.5, 0.75, 1.25, 1.125, 1}
	for _, c := range []struct {
		o      Options
		starts []bool
		want   string
	}{
		{Options{}, nil, "[1 0 1 1 0]"},
		{Options{Threshold: 0.25}, nil, "[1 0 0 0 0]"},
		{Options{Deadzone: 0.2}, nil, "[1 0 1 0 0]"},
		{Options{Words: true}, []bool{true, false, true, true, false}, "[1 1 1 1 1]"},
		{Options{Words: true, Threshold: 0.125}, []bool{false, false, true, false, false}, "[0 0 0 0 0]"},
		{Options{Words: true, Threshold: 0.12}, []bool{false, false, true, false, false}, "[1 1 1 1 1]"},
	} {
		ld, err := c.o.Differences(nil, base, tuned)
		if got := fmt.Sprint(c.o.Classes(nil, ld, c.starts)); err != nil || got != c.want {
			t.Errorf("%+v: %s, want %s, %v", c.o, got, c.want, err)
		}
	}
}

func TestSummary(t *testing.T) {
	var s Summary
	s.Add([]int32{7, 8, 7}, []float64{-0.1, 0.3, 0}, []byte{0, 1, 0})
	s.Add([]int32{7}, []float64{5}, []byte{1})
	s.Add(nil, nil, nil) // a document without a response token
	if s.Boilerplate != 2 || s.Reasoning != 2 || s.OneClass != 1 || s.Zero != 1 || math.Abs(s.Mean-1.3) > 1e-12 || s.Check() != nil {
		t.Errorf("%+v, %v", s, s.Check())
	}
	top := s.Top(0, 5, func(id int32) string { return fmt.Sprint("t", id) })
	if len(top) != 1 || top[0].Text != "t7" || top[0].Count != 2 || math.Abs(top[0].Share-2.0/3) > 1e-12 {
		t.Errorf("%+v", top)
	}
	total := int64(0)
	for _, n := range s.Histogram {
		total += n
	}
	if total != 4 || s.Histogram[Bin(5)] != 1 || Bin(-100) != 0 || Bin(100) != len(s.Histogram)-1 || Bin(0) != Bin(0.2) || Bin(0) == Bin(-1e-9) {
		t.Errorf("%v", s.Histogram)
	}
	if BinName(Bin(0.1)) != "0 to 0.25" || BinName(0) != "below -4" || BinName(len(s.Histogram)-1) != "4 and more" || BinClass(Bin(0.1), 0) != "reasoning" || BinClass(0, 0) != "boilerplate" {
		t.Error("names of bins")
	}
	var drawn strings.Builder
	if s.WriteHistogram(&drawn); !strings.Contains(drawn.String(), "0 to 0.25") || strings.Contains(drawn.String(), "below") {
		t.Error(drawn.String())
	}
	for name, c := range map[string]struct {
		s    Summary
		want string
	}{
		"none":  {Summary{}, "no response token"},
		"equal": {Summary{Boilerplate: 5, Zero: 5}, "the tuned model equals the model"},
		"one":   {Summary{Reasoning: 5, Mean: 0.5}, "0.0 % boilerplate, 100.0 % reasoning, mean difference 0.5"},
	} {
		if err := c.s.Check(); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file of losses that was left goes on behind what was committed, and equals one written at once.
func TestLosses(t *testing.T) {
	want := Scored{Model: "m", Data: "d", Tokenizer: "t", Length: 8, Compute: "f32", Device: "cpu"}
	documents := [][]float32{{1, 2.5}, {}, {3}, {0.25, 4, 5}}
	straight, parts := filepath.Join(t.TempDir(), "nll"), filepath.Join(t.TempDir(), "nll")
	put := func(name string, from, to int, commit bool) {
		t.Helper()
		w, err := WriteLosses(name, want)
		if err != nil {
			t.Fatal(err)
		}
		if int(w.Documents) != from {
			t.Fatalf("%d documents are there, want %d", w.Documents, from)
		}
		for _, d := range documents[from:to] {
			if err := w.Append(d); err != nil {
				t.Fatal(err)
			}
		}
		if commit {
			err = w.Commit(to == len(documents))
		}
		if err != nil || w.Close() != nil {
			t.Fatal(err)
		}
	}
	put(straight, 0, 4, true)
	put(parts, 0, 1, true)
	if r, err := ReadLosses(parts); r != nil || err != nil {
		t.Errorf("unfinished losses can be read: %v", err)
	}
	put(parts, 1, 3, false) // lost
	put(parts, 1, 2, true)
	put(parts, 2, 4, true)
	for _, ext := range []string{".f32", ".json"} {
		a, errA := os.ReadFile(straight + ext)
		b, errB := os.ReadFile(parts + ext)
		if errA != nil || errB != nil || string(a) != string(b) {
			t.Errorf("%s differs: %s, %s", ext, a, b)
		}
	}
	r, err := ReadLosses(parts)
	if err != nil || r == nil || r.Mean() != 15.75/6 {
		t.Fatalf("%+v, %v", r, err)
	}
	defer r.Close()
	for _, d := range documents {
		if got, err := r.Next(nil, len(d)); err != nil || !slices.Equal(got, d) {
			t.Errorf("%v, %v, want %v", got, err, d)
		}
	}
	if err := r.End(); err != nil {
		t.Error(err)
	}
	if _, err := r.Next(nil, 1); fault.Of(err) != fault.Data {
		t.Errorf("one more: %v", err)
	}
	if r, err := ReadLosses(straight + "-none"); r != nil || err != nil {
		t.Error(r, err)
	}
	if early, _ := ReadLosses(parts); fault.Of(early.End()) != fault.Data {
		t.Error("losses that nobody read")
	}
	other := want
	other.Model = "x"
	if _, err := WriteLosses(parts, other); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "model was m, is x") {
		t.Error(err)
	}
	elsewhere := want
	elsewhere.Device = "another"
	if w, err := WriteLosses(parts, elsewhere); err != nil || !w.Done || w.Device != "cpu" || w.Close() != nil {
		t.Errorf("finished losses of another device: %v", err)
	}
	half := filepath.Join(t.TempDir(), "half")
	put(half, 0, 1, true)
	if _, err := WriteLosses(half, elsewhere); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "device was cpu, is another") {
		t.Errorf("half of the losses on each of two devices: %v", err)
	}
	// Damage.
	raw, _ := os.ReadFile(parts + ".f32")
	raw[5] ^= 1
	os.WriteFile(parts+".f32", raw, 0o644)
	if _, err := WriteLosses(parts, want); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), "delete both") {
		t.Error(err)
	}
	damaged, err := ReadLosses(parts)
	if err == nil {
		_, err = damaged.Next(nil, 6)
	}
	if err != nil || fault.Of(damaged.End()) != fault.Data {
		t.Errorf("damage passes: %v", err)
	}
	os.WriteFile(parts+".f32", raw[:8], 0o644)
	if _, err := ReadLosses(parts); fault.Of(err) != fault.Data {
		t.Error(err)
	}
	os.WriteFile(parts+".json", []byte(`{"format":1,"tokens":4611686018427387904,"done":true}`), 0o644)
	if _, err := ReadLosses(parts); fault.Of(err) != fault.Data {
		t.Error(err)
	}
}

func TestCompare(t *testing.T) {
	a := Scored{Data: "d", Tokenizer: "t", Length: 8, Compute: "f32", Device: "cpu"}
	if note, err := Compare(&a, &a); note != "" || err != nil {
		t.Error(note, err)
	}
	for want, change := range map[string]func(*Scored){
		"data of the model is d, of the tuned model e": func(s *Scored) { s.Data = "e" },
		"length of the model is 8":                     func(s *Scored) { s.Length = 9 },
		"the tuned model in bf16":                      func(s *Scored) { s.Compute = "bf16" },
	} {
		b := a
		change(&b)
		if _, err := Compare(&a, &b); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
	b := a
	b.Device = "other"
	if note, err := Compare(&a, &b); err != nil || !strings.Contains(note, "deadzone") {
		t.Error(note, err)
	}
}

func TestStage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "out", "shad.json")
	inputs := map[string]string{"data": "a", "seed": "1"}
	s, err := BeginStage(path, "tune", inputs)
	if err != nil || s.Begun() || s.Done || s.Write(nil) != nil {
		t.Fatalf("%+v, %v", s, err)
	}
	if s, err = BeginStage(path, "tune", inputs); err != nil || !s.Begun() || s.Done {
		t.Fatalf("%+v, %v", s, err)
	}
	if err := s.Write(map[string]int{"pairs": 3}); err != nil {
		t.Fatal(err)
	}
	var result struct{ Pairs int }
	if s, err = BeginStage(path, "tune", inputs); err != nil || !s.Done || s.Read(&result) != nil || result.Pairs != 3 {
		t.Fatalf("%+v, %v", s, err)
	}
	_, err = BeginStage(path, "tune", map[string]string{"data": "b", "model": "m"})
	if fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), `data was "a", is "b"; model was "", is "m"; seed was "1", is ""`) {
		t.Error(err)
	}
	if _, err := BeginStage(path, "shuffle", inputs); fault.Of(err) != fault.Usage {
		t.Error(err)
	}
	os.WriteFile(path, []byte("{"), 0o644)
	if _, err := ReadStage(path); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
	os.WriteFile(path, []byte(`{"format": 9}`), 0o644)
	if _, err := ReadStage(path); fault.Of(err) != fault.Data {
		t.Error(err)
	}
}

func TestPage(t *testing.T) {
	var s Summary
	s.Add([]int32{1, 2}, []float64{-1, 1}, []byte{Boilerplate, Reasoning})
	p := &Page{Title: "a <b>", Facts: []string{"x & y"}, Documents: []PageDocument{{Number: 3, Parts: []PagePart{Context("why?"), Token("<script>", Boilerplate, 1, 0, -1), Token(" 42", Reasoning, 1, 2, 1)}}}}
	p.Top[0] = s.Top(0, 5, func(int32) string { return "####" })
	p.SetHistogram(&s, 0)
	path := filepath.Join(t.TempDir(), "page.html")
	if err := p.Write(path); err != nil {
		t.Fatal(err)
	}
	raw, _ := os.ReadFile(path)
	text := string(raw)
	for _, want := range []string{"a &lt;b&gt;", "x &amp; y", `<span class="context">why?</span>`, `<span class="boilerplate" title="LD -1.000: loss 1.000, after shuffled tuning 0.000" style="--s: 0.6">&lt;script&gt;</span>`,
		`<span class="reasoning"`, "####", `style="width: 100%"`, "Document 3"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page lacks %s", want)
		}
	}
	if strings.Contains(text, "ZgotmplZ") || strings.Contains(text, "http") {
		t.Error("the page has a value that the template refused, or needs the network")
	}
}
