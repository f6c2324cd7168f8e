package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
	"palimpsest/kernels/philox"
)

func fillMaskCommand() *cli.Command {
	return &cli.Command{
		Name:      "fill-mask",
		Usage:     "fill the masks of a text with the most probable tokens",
		ArgsUsage: "[TEXT...]",
		Description: example("palimpsest fill-mask --model runs/first 'if err != <mask> {'",
			"palimpsest fill-mask --model runs/first --mask-random 0.15 --input lines.txt",
			"palimpsest fill-mask --model runs/first --held-out 5") +
			"\n\nA mask is written <mask> or [MASK]; it stands for one token, and a space before it belongs to the answer.",
		Flags: append(modelFlags(),
			&cli.IntFlag{Name: "top", Value: 5, Usage: "`NUMBER` of answers for each mask"},
			inputFlag(),
			&cli.Float64Flag{Name: "mask-random", Usage: "mask this `SHARE` of the words, at least one a line, and show the truth beside the answers"},
			&cli.IntFlag{Name: "held-out", Usage: "take this `NUMBER` of lines from the documents that the run held out, and mask them at random"},
			&cli.Uint64Flag{Name: "seed", Value: 1, Usage: "`NUMBER` that decides the random masks"},
		),
		Action: fillMask,
	}
}

// A cloze is a text with holes.
type cloze struct {
	ids   []int32
	shown string   // the text with the masks in place
	truth []string // what was masked, when that is known
}

type answerView struct {
	ID    int32   `json:"id"`
	Token string  `json:"token"`
	P     float64 `json:"p"`
}

type maskView struct {
	Truth   string       `json:"truth,omitempty"`
	Answers []answerView `json:"answers"`
}

type clozeView struct {
	Text  string     `json:"text"`
	Masks []maskView `json:"masks"`
}

func fillMask(c *cli.Context) error {
	share := c.Float64("mask-random")
	heldOut := c.Int("held-out")
	switch {
	case c.Int("top") < 1:
		return fault.Usage.Errorf("--top: want 1 or more, not %d", c.Int("top"))
	case !(share >= 0 && share <= 1):
		return fault.Usage.Errorf("--mask-random: want a share in [0,1], not %g", share)
	case heldOut < 0:
		return fault.Usage.Errorf("--held-out: want a number of lines, not %d", heldOut)
	case heldOut > 0 && (c.Args().Present() || c.String("input") != ""):
		return fault.Usage.Errorf("give a text or --held-out, not both")
	case heldOut > 0 && !c.IsSet("mask-random"):
		share = 0.15
	}
	m, err := openModel(c)
	if err != nil {
		return err
	}
	defer m.Close()
	if !slices.Contains(trainedFor(m.Config), "mlm") {
		return fault.Usage.Errorf("%s was trained for %s, which fills no masks; hint: palimpsest generate", m.Dir, strings.Join(trainedFor(m.Config), ", "))
	}
	if m.Tokenizer.Mask < 0 {
		return fault.Data.Errorf("the tokenizer of %s has no mask token", m.Dir)
	}
	var lines []string
	if heldOut > 0 {
		lines, err = heldOutLines(m, heldOut)
	} else {
		lines, err = inputLines(c)
	}
	if err != nil {
		return err
	}
	clozes := make([]cloze, len(lines))
	for i, line := range lines {
		if heldOut > 0 || c.IsSet("mask-random") {
			draw := philox.New(c.Uint64("seed"), philox.StreamMask, uint64(i), 0)
			clozes[i] = maskWords(m.Tokenizer, line, share, &draw)
		} else {
			clozes[i] = writtenMasks(m.Tokenizer, line)
		}
		switch n := len(clozes[i].ids); {
		case !slices.Contains(clozes[i].ids, m.Tokenizer.Mask):
			return fault.Data.Errorf("text %d: nothing to fill in %q; hint: write <mask>, or use --mask-random 0.15", i+1, line)
		case n > m.Config.Model.Context:
			return fault.Data.Errorf("text %d: %d tokens, and the model takes %d; hint: shorter lines", i+1, n, m.Config.Model.Context)
		}
	}
	answers, err := answer(m, clozes, c.Int("top"))
	if err != nil {
		return err
	}
	return showAnswers(c, clozeViews(m.Tokenizer, clozes, answers))
}

func answer(m *engine.Model, clozes []cloze, top int) ([][][]eval.Answer, error) {
	sequences := make([][]int32, len(clozes))
	for i := range clozes {
		sequences[i] = clozes[i].ids
	}
	context := m.Config.Model.Context
	capacity := model.Capacity{Tokens: max(context, 1024), Rows: max(context, 1024)}
	return eval.FillMask(model.NewActivations(m.Backend, m.Config.Model, capacity, false), m.Weights, capacity, sequences, m.Tokenizer.Mask, top)
}

// writtenMasks reads a text in which the user wrote masks. A space before a mask is left to the answer, as tokens of words
// begin with their space.
func writtenMasks(t *text.Tokenizer, line string) cloze {
	name := t.Token(t.Mask)
	out := cloze{shown: line}
	for {
		at, width := -1, 0
		for _, spelling := range []string{name, "<mask>", "[MASK]"} {
			if i := strings.Index(line, spelling); i >= 0 && (at < 0 || i < at) {
				at, width = i, len(spelling)
			}
		}
		if at < 0 {
			out.ids = t.Encode(out.ids, []byte(line))
			return out
		}
		out.ids = append(t.Encode(out.ids, []byte(strings.TrimSuffix(line[:at], " "))), t.Mask)
		line = line[at+width:]
	}
}

// maskWords masks every word of a text with a probability, and one in any case. Words without a letter or a digit are only
// masked when there are no others.
func maskWords(t *text.Tokenizer, line string, share float64, draw *philox.Draw) cloze {
	ids := t.Encode(nil, []byte(line))
	starts := t.WordStarts(nil, ids)
	var words [][2]int // half-open ranges of tokens
	var plain [][2]int
	for i := 0; i < len(ids); {
		end := i + 1
		for end < len(ids) && !starts[end] {
			end++
		}
		word := [2]int{i, end}
		spelling := string(t.Decode(ids[i:end]))
		switch {
		case strings.ContainsFunc(spelling, func(r rune) bool { return unicode.IsLetter(r) || unicode.IsDigit(r) }):
			words = append(words, word)
		case strings.TrimSpace(spelling) != "":
			plain = append(plain, word)
		}
		i = end
	}
	if len(words) == 0 {
		words = plain
	}
	out := cloze{ids: slices.Clone(ids)}
	if len(words) == 0 {
		return out
	}
	first := words[int(draw.Float64()*float64(len(words)))]
	for _, word := range words {
		if draw.Float64() >= share && word != first {
			continue
		}
		for i := word[0]; i < word[1]; i++ {
			out.truth = append(out.truth, string(t.Decode(ids[i:i+1])))
			out.ids[i] = t.Mask
		}
	}
	var shown strings.Builder
	for i, id := range out.ids {
		if id != t.Mask {
			shown.Write(t.Decode(out.ids[i : i+1]))
			continue
		}
		if strings.HasPrefix(string(t.Decode(ids[i:i+1])), " ") {
			shown.WriteByte(' ')
		}
		shown.WriteString(t.Token(t.Mask))
	}
	out.shown = shown.String()
	return out
}

// heldOutLines takes a line each from documents that the run held out, in their order, skipping lines of few words.
func heldOutLines(m *engine.Model, n int) ([]string, error) {
	d := m.Config.Data
	dir, share := d.Train, d.Valid.Share
	if d.Valid.Dir != "" {
		dir, share = d.Valid.Dir, 0
	}
	ds, err := openData(dir)
	if err != nil {
		return nil, err
	}
	defer ds.Close()
	if err := ds.CheckTokenizer(m.Tokenizer.Hash(), m.Tokenizer.Vocab()); err != nil {
		return nil, err
	}
	if share == 0 && d.Valid.Dir == "" {
		return nil, fault.Usage.Errorf("the run held out no documents (data.valid: 0); hint: give a text, or --input FILE")
	}
	part := shard.Valid
	if share == 0 {
		part = shard.All
	}
	holds, err := ds.Selector(d.Seed, shard.Split{Valid: share, Part: part})
	if err != nil {
		return nil, err
	}
	var lines []string
	for id := int64(0); id < ds.Documents() && len(lines) < n; id++ {
		if holds != nil && !holds(id) {
			continue
		}
		document, err := ds.Document(id)
		if err != nil {
			return nil, err
		}
		content := slices.DeleteFunc(slices.Clone(document.Tokens), m.Tokenizer.IsSpecial)
		if line := tellingLine(m.Tokenizer, string(m.Tokenizer.Decode(content)), min(48, m.Config.Model.Context)); line != "" {
			lines = append(lines, line)
		}
	}
	if len(lines) == 0 {
		return nil, fault.Data.Errorf("%s: no held-out document has a line to show; hint: give a text, or --input FILE", dir)
	}
	return lines, nil
}

// tellingLine returns the first line from the middle of a document on that has at least six words and fits, or "".
func tellingLine(t *text.Tokenizer, document string, most int) string {
	lines := strings.Split(document, "\n")
	for _, half := range [][]string{lines[len(lines)/2:], lines[:len(lines)/2]} {
		for _, line := range half {
			line = strings.TrimSpace(line)
			if len(line) < 8*most && len(strings.Fields(line)) >= 6 && len(t.Encode(nil, []byte(line))) <= most {
				return line
			}
		}
	}
	return ""
}

// clozeViews joins texts and answers.
func clozeViews(t *text.Tokenizer, clozes []cloze, answers [][][]eval.Answer) []clozeView {
	var views []clozeView
	for i, z := range clozes {
		view := clozeView{Text: z.shown}
		for m, candidates := range answers[i] {
			mask := maskView{}
			for _, a := range candidates {
				mask.Answers = append(mask.Answers, answerView{a.ID, string(t.Decode([]int32{a.ID})), a.Probability})
			}
			if z.truth != nil {
				mask.Truth = z.truth[m]
			}
			view.Masks = append(view.Masks, mask)
		}
		views = append(views, view)
	}
	return views
}

func showAnswers(c *cli.Context, views []clozeView) error {
	if c.Bool("json") {
		for _, view := range views {
			if err := printJSON(c.App.Writer, view); err != nil {
				return err
			}
		}
		return nil
	}
	return show(c, nil, func(w io.Writer) {
		hits, known := 0, 0
		for _, view := range views {
			fmt.Fprintln(w, view.Text)
			for _, mask := range view.Masks {
				var list []string
				for _, a := range mask.Answers {
					list = append(list, fmt.Sprintf("%q %.0f%%", a.Token, 100*a.P))
				}
				truth := ""
				if mask.Truth != "" {
					known++
					if mask.Truth == mask.Answers[0].Token {
						hits++
					}
					truth = fmt.Sprintf("truth %q, answers ", mask.Truth)
				}
				fmt.Fprintf(w, "    %s%s\n", truth, strings.Join(list, ", "))
			}
		}
		if known > 0 {
			fmt.Fprintf(w, "%d of %d masks have the truth as first answer\n", hits, known)
		}
	})
}
