package engine

import (
	"bytes"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

func TestDryRunShowsTheFirstBatch(t *testing.T) {
	data := dataset(t, 300)
	c := tinyConfig(data, 10)
	p, err := DryRun(Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	if p.Steps != 10 || p.Data.Documents != 300 || p.Data.HeldOut < 5 || p.Data.HeldOut > 30 || p.Data.TokensStep != 3*192 {
		t.Errorf("%+v", p.Data)
	}
	if p.Parameters < 600*32 || p.Memory.Weights != 16*p.Parameters || p.Memory.Activations < 192*32*4 || p.Memory.Data <= 0 || p.Memory.Total() <= p.Memory.Weights+p.Memory.Activations || p.FLOPs < 6*float64(p.Parameters-600*32)*192 {
		t.Errorf("parameters %d, memory %+v, FLOPs %g", p.Parameters, p.Memory, p.FLOPs)
	}
	asked := 0
	for _, s := range p.Batch.Examples {
		for _, token := range s.Tokens {
			if (token.Target != "") != (token.Weight > 0) {
				t.Errorf("token %+v", token)
			}
			if token.Original != "" && token.Target != token.Original {
				t.Errorf("masked token %q is not asked for: %+v", token.Original, token)
			}
			if token.Target != "" {
				asked++
			}
		}
	}
	if asked == 0 || p.Batch.Terms[0].Name != "mlm" || p.Batch.Terms[0].Den < float64(p.Batch.Rows) || p.Batch.Fill < 0.5 || p.Batch.Fill > 1 {
		t.Errorf("%d tokens asked for; batch %+v", asked, p.Batch)
	}
}

// A data set with the plane "loss" is learned where the plane says so, which is told; data.loss_plane: false learns all.
func TestContextOfTheDataSet(t *testing.T) {
	dir := datasetWith(t, 100, objectives.PlaneLoss, func(_ []byte, tokens int) []byte {
		return append(make([]byte, tokens/2), bytes.Repeat([]byte{1}, tokens-tokens/2)...)
	})
	plain := tinyConfig(dir, 3)
	plain.Data.Valid = Held{Dir: dataset(t, 50)}
	if _, err := DryRun(Options{Config: plain}); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), `no plane "loss"`) {
		t.Errorf("held-out data without the plane: %v", err)
	}
	rows := map[bool]int{}
	for _, use := range []bool{true, false} {
		c := tinyConfig(dir, 3)
		c.Objective, c.Data.LossPlane = "clm", use
		p, err := DryRun(Options{Config: c})
		if err != nil {
			t.Fatal(err)
		}
		rows[use] = p.Batch.Rows
		want := map[bool]string{true: "neither asked for nor masked", false: "data.loss_plane is false"}[use]
		if !strings.Contains(strings.Join(p.Notes, "\n"), want) {
			t.Errorf("notes %q", p.Notes)
		}
		mustTrain(t, Options{Config: c, Out: filepath.Join(t.TempDir(), "run")})
	}
	if share := float64(rows[true]) / float64(rows[false]); share < 0.3 || share > 0.7 {
		t.Errorf("%d rows with the plane, %d without", rows[true], rows[false])
	}
}

// A section of the run file that no phase reads is not passed over in silence.
func TestUnusedSectionsAreTold(t *testing.T) {
	dir := dataset(t, 60)
	for objective, want := range map[string]string{"clm": "mask", "mlm": ""} {
		c := tinyConfig(dir, 3)
		c.Objective, c.Mask.P = objective, 0.3
		p, err := DryRun(Options{Config: c})
		if err != nil {
			t.Fatal(err)
		}
		if told := strings.Contains(strings.Join(p.Notes, "\n"), "the section mask is not used"); told != (want == "mask") {
			t.Errorf("%s: notes %q", objective, p.Notes)
		}
	}
}

// Keys of the section mask that exlm and rmlm pass over are told too.
func TestUnusedKeysOfMaskAreTold(t *testing.T) {
	for _, x := range []struct {
		objective string
		change    func(m *objectives.Mask)
		want      string
	}{
		{"exlm", func(m *objectives.Mask) { m.Replace = [3]float64{0.5, 0.5, 0} }, "mask.replace"},
		{"rmlm", func(m *objectives.Mask) { m.Replace = [3]float64{0.5, 0.5, 0} }, "mask.replace"},
		{"rmlm", func(m *objectives.Mask) { m.Unit = "word" }, "of the section mask all but p and schedule"},
		{"exlm", func(m *objectives.Mask) { m.Unit, m.Replace = "word", [3]float64{1, 0, 0} }, ""},
		{"mlm", func(m *objectives.Mask) { m.Unit, m.Replace = "word", [3]float64{0.5, 0.5, 0} }, ""},
	} {
		c := tinyConfig("", 3)
		c.Objective, c.Mask.P = x.objective, 0.3
		x.change(&c.Mask)
		if got := strings.Join(c.unusedMask(), "; "); got != x.want {
			t.Errorf("%s: %q, want %q", x.objective, got, x.want)
		}
	}
}

// Where a document begins with more context than is shown, the picture begins shortly before what is learned.
func TestPreviewShowsWhatIsAskedFor(t *testing.T) {
	const context = previewTokens + 20
	c := tinyConfig(datasetWith(t, 60, objectives.PlaneLoss, func(_ []byte, tokens int) []byte {
		loss := make([]byte, tokens)
		for i := context; i < tokens; i++ {
			loss[i] = 1
		}
		return loss
	}), 3)
	c.Objective, c.Model.Context, c.Data.Length, c.Data.TokensPerStep = "clm", 256, 256, 512
	p, err := DryRun(Options{Config: c})
	if err != nil {
		t.Fatal(err)
	}
	for i, s := range p.Batch.Examples {
		asked := 0
		for _, token := range s.Tokens {
			if token.Term != "" {
				asked++
			}
		}
		if s.From > 0 && (s.From != context-1-previewContext || s.Tokens[previewContext].Term == "" || s.Tokens[previewContext-1].Term != "") || s.From == 0 && asked > 0 {
			t.Errorf("example %d begins behind %d tokens, asks for %d of %d", i, s.From, asked, len(s.Tokens))
		}
	}
	if p.Batch.Examples[0].From+p.Batch.Examples[1].From+p.Batch.Examples[2].From == 0 {
		t.Errorf("no document is longer than %d tokens", context)
	}
}

// A term with few rows is shown where it is, in place of the last of the first segments.
func TestPreviewShowsEveryTerm(t *testing.T) {
	p := &objectives.Plan{Terms: []objectives.Term{{Rows: []int32{21, 33}}, {Rows: []int32{0, 7, 12}}, {}}}
	for i := range int32(8) {
		p.Segments = append(p.Segments, kernels.Segment{Start: 5 * i, End: 5*i + 5})
	}
	if got, want := shownSegments(p), []shownSegment{{0, -1}, {1, -1}, {4, 21}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	p.Terms[0].Rows = []int32{14, 33}
	if got, want := shownSegments(p), []shownSegment{{0, -1}, {1, -1}, {2, -1}}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
