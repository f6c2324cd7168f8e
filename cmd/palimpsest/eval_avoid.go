package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"palimpsest/engine"
	"palimpsest/engine/eval"
	"palimpsest/engine/fault"
	"palimpsest/engine/text"
)

func evalAvoidCommand() *cli.Command {
	const detector = "What is unwanted"
	return &cli.Command{
		Name:  "avoid",
		Usage: "how much less a model writes what is unwanted than an old one, and how much else has changed",
		Description: example("palimpsest eval avoid --reference runs/base --model runs/avoid --input prompts.txt --words unwanted.txt --data negatives-test --clean shards-test",
			"palimpsest eval avoid --reference runs/base --model runs/a1 --model runs/a10 --model runs/a100 --input prompts.txt --words unwanted.txt --png curve.png") +
			"\n\nBoth models continue the prompts (--prompt, arguments, --input, or what the documents of --data have before their signs), which should be none of those that were trained on, " +
			"with the same random noise at every token, so that only what a model changed differs. " +
			"Counted are texts with something unwanted, and such tokens of 1,000; compared are new and old texts, all and those whose old text was clean: BLEU (corpus, 4 words), " +
			"ROUGE-L, share of equal tokens, share of identical texts; judged are the texts' negative log-likelihood under the old model and the share that repeats a phrase of four words. " +
			"Teacher-forced on --data (plane sign): probability of unwanted tokens where they stand, KL(old || new) and negative log-likelihood at kept tokens; on --clean: both at all tokens. " +
			"With several models a table and, with --png, the curve of reduction against similarity.",
		ArgsUsage: "[PROMPT...]",
		Flags: slices.Concat([]cli.Flag{
			&cli.StringFlag{Name: "reference", Usage: "run `FOLDER` of the old model, that the others began with"},
			&cli.StringSliceFlag{Name: "model", Usage: "run `FOLDER` of a new model; may be repeated, in the order of the curve"},
			&cli.StringFlag{Name: "device", Value: "auto", Usage: "auto, cpu or cuda"},
			&cli.IntFlag{Name: "threads", Usage: "`NUMBER` of CPU threads; 0 takes all"},
			&cli.StringFlag{Name: "data", Usage: "data set `FOLDER` with the plane sign: generations that were not trained on"},
			&cli.StringFlag{Name: "clean", Usage: "data set `FOLDER` of ordinary text"},
			&cli.Int64Flag{Name: "tokens", Value: 100_000, Usage: "`NUMBER` of tokens to read of each of the two; 0 reads all"},
			&cli.StringFlag{Name: "out", Usage: "JSON lines `FILE` to write, with the texts of all models"},
			&cli.StringFlag{Name: "png", Usage: "picture `FILE` to write: reduction against BLEU, a point a model"},
			promptFlag(), inputFlag()}, samplingFlags(64, 0), detectorFlags(detector)),
		Action: evalAvoid,
	}
}

// avoided is what a model gives beside the old one.
type avoided struct {
	Model   string           `json:"model"`
	Step    int64            `json:"step"`
	Series  string           `json:"series"` // what joins the points of a curve: the objective, with its variant
	Label   string           `json:"label"`  // of the point
	After   *eval.Occurrence `json:"after,omitempty"`
	Reduced *float64         `json:"reduction"`      // of the rate of texts; null where there is nothing to reduce
	PerTok  *float64         `json:"reduction_1000"` // of unwanted tokens
	All     *eval.Similarity `json:"similarity,omitempty"`
	Clean   *eval.Similarity `json:"similarity_where_clean,omitempty"` // of texts whose old one has nothing unwanted
	Signed  *eval.Drift      `json:"signed,omitempty"`                 // on --data
	Plain   *eval.Drift      `json:"clean,omitempty"`                  // on --clean
	folder  string           // name of the run's
}

type avoidResult struct {
	Reference string           `json:"reference"`
	Step      int64            `json:"step"`
	Source    string           `json:"source"` // of what is unwanted
	Before    *eval.Occurrence `json:"before,omitempty"`
	Models    []avoided        `json:"models"`
	Smoothing string           `json:"bleu_smoothing"`
	Seconds   float64          `json:"seconds"`
	Notes     []string         `json:"notes"`
}

// avoidance is what measuring several models needs.
type avoidance struct {
	old      *engine.Model
	runner   eval.Runner
	finder   text.SpanFinder
	sampling eval.Sampling
	samples  int
	prompts  []string
	contexts [][]int32
	texts    []writtenText // of the old model
	signed   *engine.SignedText
	clean    *engine.SignedText
	lines    *json.Encoder // nil: texts go nowhere
	status   *statusLine
	result   *avoidResult
}

// writtenText is a continuation with what is unwanted in it.
type writtenText struct {
	continuation
	judged
	words []string
}

func evalAvoid(c *cli.Context) error {
	if err := need(c, "reference", "model"); err != nil {
		return err
	}
	sampling, samples, err := samplingOf(c)
	if err != nil {
		return err
	}
	if c.Int64("tokens") < 0 {
		return fault.Usage.Errorf("--tokens: want 0 or more, not %d", c.Int64("tokens"))
	}
	finder, origin, err := finderOf(c)
	if err != nil {
		return err
	}
	old, err := engine.OpenModel(c.String("reference"), c.String("device"), c.Int("threads"))
	if err != nil {
		return err
	}
	defer old.Close()
	if !old.Config.Causal() {
		return fault.Usage.Errorf("%s continues no text", old.Dir)
	}
	sampling.Coupled = true
	start := time.Now()
	r := avoidResult{Reference: old.Dir, Step: old.Step, Source: origin, Models: []avoided{}, Smoothing: "halved in turn (mteval-v13a)", Notes: []string{}}
	a := avoidance{old: old, runner: old.Runner(), finder: finder, sampling: sampling, samples: samples, status: newStatusLine(c), result: &r}
	defer a.status.clear()
	if err := a.read(c); err != nil {
		return err
	}
	if err := a.check(c); err != nil {
		return err
	}
	measure := func(lines *json.Encoder) error {
		a.lines = lines
		if err := a.before(); err != nil {
			return err
		}
		for _, dir := range c.StringSlice("model") {
			if err := a.model(dir, c.String("device"), c.Int("threads")); err != nil {
				return err
			}
		}
		return nil
	}
	if out := c.String("out"); out != "" {
		err = writeLines(out, measure)
	} else {
		err = measure(nil)
	}
	if err != nil {
		return err
	}
	r.tellApart()
	switch path := c.String("png"); {
	case path == "":
	case r.Before.Rate == 0:
		r.Notes = append(r.Notes, fmt.Sprintf("nothing is unwanted in the old texts, so that there is no reduction to draw in %s; hint: more prompts or --samples", path))
	default:
		if err := r.draw(path); err != nil {
			return fault.Of(err).Errorf("--png: %w", err)
		}
	}
	r.Seconds = time.Since(start).Seconds()
	a.status.clear()
	return show(c, r, r.print)
}

// check opens the new models once, so that what is wrong with the last one shows before the first one writes.
func (a *avoidance) check(c *cli.Context) error {
	if c.IsSet("png") && (a.finder == nil || len(a.contexts) == 0) {
		return fault.Usage.Errorf("--png draws by how much unwanted texts were reduced; hint: it needs prompts, and --words, --patterns, --regexp or --detector")
	}
	for _, dir := range c.StringSlice("model") {
		m, err := a.open(dir, c.String("device"), c.Int("threads"))
		if err != nil {
			return err
		}
		m.Close()
	}
	return nil
}

// open opens a new model that can be compared with the old one.
func (a *avoidance) open(dir, device string, threads int) (*engine.Model, error) {
	m, err := engine.OpenModel(dir, device, threads)
	if err != nil {
		return nil, err
	}
	if err = a.old.SameTokens(m); err == nil && !m.Config.Causal() {
		err = fault.Usage.Errorf("%s continues no text", m.Dir)
	}
	if n := a.old.Config.Model.Context; err == nil && len(a.contexts) > 0 && m.Config.Model.Context != n {
		err = fault.Usage.Errorf("%s sees %d tokens, the old model %d: their texts cannot be compared", m.Dir, m.Config.Model.Context, n)
	}
	if err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// read takes the data sets and prompts.
func (a *avoidance) read(c *cli.Context) (err error) {
	context := a.old.Config.Model.Context
	load := func(name string, signs bool) (*engine.SignedText, error) {
		dir := c.String(name)
		if dir == "" {
			return nil, nil
		}
		s, err := a.old.ReadSigned(dir, signs, context, c.Int64("tokens"))
		if err != nil {
			return nil, fault.Of(err).Errorf("--%s: %w", name, err)
		}
		if s.Cut > 0 {
			a.result.Notes = append(a.result.Notes, fmt.Sprintf("%s unwanted tokens of %s lie behind the context of %d tokens and do not count", count(s.Cut), dir, context))
		}
		return &s, nil
	}
	if a.signed, err = load("data", true); err != nil {
		return err
	}
	if a.clean, err = load("clean", false); err != nil {
		return err
	}
	g := &continuer{m: a.old}
	switch {
	case len(c.StringSlice("prompt")) > 0 || c.Args().Present() || c.String("input") != "":
		if a.prompts, err = promptsOf(c); err != nil {
			return err
		}
		if g, err = newContinuer(a.old, a.sampling, a.samples); err != nil {
			return err
		}
		if a.contexts, err = g.contexts(a.prompts); err != nil {
			return err
		}
	case a.signed != nil:
		for _, s := range a.signed.Sequences {
			n := slices.IndexFunc(s.Signs, func(v int8) bool { return v != 0 })
			if n > 0 {
				a.contexts = append(a.contexts, s.Tokens[:n])
				spelled, _, _ := a.old.Tokenizer.Spell(s.Tokens[:n])
				a.prompts = append(a.prompts, string(spelled))
			}
		}
		if n := len(a.signed.Sequences) - len(a.contexts); n > 0 {
			a.result.Notes = append(a.result.Notes, fmt.Sprintf("%s documents of --data have nothing before their signs, so there is no text from them", count(n)))
		}
	case a.clean == nil:
		return fault.Usage.Errorf("nothing to measure on; hint: --input FILE with prompts, --data FOLDER with signs, --clean FOLDER with ordinary text")
	}
	for _, p := range a.prompts {
		if !utf8.ValidString(p) {
			return fault.Data.Errorf("prompt %.40q is not valid UTF-8", p)
		}
	}
	if a.finder == nil && len(a.contexts) > 0 {
		a.result.Notes = append(a.result.Notes, "nothing says what is unwanted in the texts; hint: --words, --patterns or --regexp, or --out FILE and another program's spans in it as --detector")
	}
	return nil
}

// before writes the old model's texts.
func (a *avoidance) before() (err error) {
	if len(a.contexts) == 0 {
		return nil
	}
	if a.texts, err = a.write(a.old); err != nil {
		return err
	}
	a.result.Before, err = a.occurrence(a.texts)
	return err
}

// write continues all prompts with a model.
func (a *avoidance) write(m *engine.Model) ([]writtenText, error) {
	g, err := newContinuer(m, a.sampling, a.samples)
	if err != nil {
		return nil, err
	}
	var texts []writtenText
	err = g.each(a.contexts, func(o continuation) error {
		a.status.update(func() string {
			return fmt.Sprintf("%s: %s of %s texts", m.Dir, count(len(texts)), count(len(a.contexts)*a.samples))
		})
		j, err := judge(m.Tokenizer, a.finder, o.Tokens)
		if err != nil {
			return err
		}
		texts = append(texts, writtenText{o, j, eval.Words(string(j.text))})
		if a.lines == nil {
			return nil
		}
		record := struct {
			Model string `json:"model"`
			generationRecord
		}{m.Dir, generationRecord{a.prompts[o.prompt], string(j.text), nil, append([]int32{}, o.Tokens...), o.Ended, o.LogProb}}
		if a.finder != nil {
			spans := j.records()
			record.Spans = &spans
		}
		return fault.Write.Wrap(a.lines.Encode(record))
	})
	return texts, err
}

// occurrence counts what is unwanted in texts and asks the old model how likely they are.
func (a *avoidance) occurrence(texts []writtenText) (*eval.Occurrence, error) {
	o, end := new(eval.Occurrence), a.end()
	var sequences []eval.Signed
	for _, t := range texts {
		o.Add(len(t.Tokens), t.n, t.words)
		context := a.contexts[t.prompt]
		s := eval.Signed{Tokens: slices.Concat(context, t.Tokens)}
		if t.Ended {
			s.Tokens = append(s.Tokens, end)
		}
		s.Signs = make([]int8, len(s.Tokens))
		for i := len(context); i < len(s.Signs); i++ {
			s.Signs[i] = 1
		}
		sequences = append(sequences, s)
	}
	sum, tokens, err := eval.TokenNLL(a.runner, sequences)
	o.NLL = sum / float64(max(1, tokens))
	return o, err
}

// end is the token that ends a text.
func (a *avoidance) end() int32 {
	_, end := documentEnds(a.old)
	return end
}

// model measures one new model.
func (a *avoidance) model(dir, device string, threads int) error {
	m, err := a.open(dir, device, threads)
	if err != nil {
		return err
	}
	defer m.Close()
	r := avoided{Model: m.Dir, Step: m.Step}
	r.folder = filepath.Base(filepath.Clean(dir))
	r.Series, r.Label = seriesOf(m, r.folder)
	if len(a.contexts) > 0 {
		texts, err := a.write(m)
		if err != nil {
			return err
		}
		if r.After, err = a.occurrence(texts); err != nil {
			return err
		}
		if a.finder != nil {
			r.Reduced, r.PerTok = eval.Reduction(a.result.Before.Rate, r.After.Rate), eval.Reduction(a.result.Before.PerThousand, r.After.PerThousand)
		}
		var all, clean eval.SimilarityScorer
		for i, t := range texts {
			old := a.texts[i]
			all.Add(t.words, old.words, t.Tokens, old.Tokens)
			if old.n == 0 {
				clean.Add(t.words, old.words, t.Tokens, old.Tokens)
			}
		}
		similar, same := all.Score(), clean.Score()
		r.All, r.Clean = &similar, &same
	}
	runner := m.Runner()
	for _, x := range []struct {
		text *engine.SignedText
		into **eval.Drift
	}{{a.signed, &r.Signed}, {a.clean, &r.Plain}} {
		if x.text == nil {
			continue
		}
		drift, err := eval.MeasureDrift(a.runner, runner, x.text.Sequences)
		if err != nil {
			return err
		}
		*x.into = &drift
	}
	a.result.Models = append(a.result.Models, r)
	return nil
}

// tellApart adds their folders to the labels of points that are called alike.
func (r *avoidResult) tellApart() {
	alike := map[[2]string]int{}
	for _, m := range r.Models {
		alike[[2]string{m.Series, m.Label}]++
	}
	for i := range r.Models {
		if m := &r.Models[i]; alike[[2]string{m.Series, m.Label}] > 1 && m.Label != m.folder {
			m.Label += " " + m.folder
		}
	}
}

// seriesOf names the curve that the model of a folder is a point of, and the point.
func seriesOf(m *engine.Model, folder string) (series, label string) {
	trained := trainedFor(m.Config)
	series, label = trained[len(trained)-1], folder
	if c := m.Config.TNT; series == "tnt" {
		series = c.Variant
		label = fmt.Sprintf("alpha %g", c.Factor())
	}
	return series, label
}
