package engine

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"palimpsest/engine/fault"
	"palimpsest/engine/shad"
	"palimpsest/engine/shard"
	"palimpsest/engine/signals"
	"palimpsest/engine/text"
	"palimpsest/objectives"
)

// ScoreOptions say how the response tokens of a data set get their classes.
type ScoreOptions struct {
	Config       Config // device, length and the section shad
	Model, Tuned string // theta_o and theta_s; "": its losses are in Out already, or come later
	Data         string // data set that gets the plane class
	Out          string // folder of the losses
	StrictLength bool   // a response beyond the length is an error
	Replace      bool   // replace a plane class that was made otherwise
	HTML         string // file of a page with coloured text; "": none
	Version      string
	Watch        *signals.Watcher
	Progress     func(which string, documents, of int64) // may be nil
}

// Score is what scoring gave. Without the losses of both models only those that are there are told.
type Score struct {
	Data  string       `json:"data"`
	Out   string       `json:"out"`
	Model *shad.Scored `json:"model"`
	Tuned *shad.Scored `json:"tuned"`
	*shad.Summary
	Top    [2][]shad.TokenCount `json:"top,omitempty"` // by class: boilerplate, reasoning
	Page   string               `json:"page,omitempty"`
	Before bool                 `json:"was_done"` // the plane was there, made in the same way
	Notes  []string             `json:"notes"`
}

// Names of the files of losses.
const (
	lossesOfModel = "nll-model"
	lossesOfTuned = "nll-tuned"
)

const (
	topTokens     = 20
	pageDocuments = 40
)

// ScoreClasses computes the losses of response tokens under the models that are named, and once both are there the classes of
// the tokens, as the plane class of the data set. Losses that are there are not computed again.
func ScoreClasses(o ScoreOptions) (r Score, err error) {
	r = Score{Data: o.Data, Out: o.Out, Notes: []string{}}
	ds, tokenizer, err := openResponses(o.Data)
	if err != nil {
		return r, err
	}
	defer ds.Close()
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return r, fault.Write.Wrap(err)
	}
	for i, path := range []string{o.Model, o.Tuned} {
		if path == "" {
			continue
		}
		if err := o.scoreOne(ds, sides[i].what, path, filepath.Join(o.Out, sides[i].name)); err != nil {
			return r, err
		}
	}
	c, err := o.open(ds, tokenizer)
	if err != nil {
		return r, err
	}
	r.Model, r.Tuned = c.scored(0), c.scored(1)
	c.close()
	for i, s := range []*shad.Scored{r.Model, r.Tuned} {
		if s == nil {
			r.Notes = append(r.Notes, fmt.Sprintf("the losses of the %s are not there yet, so there are no classes; hint: the same command with --%s", sides[i].what, sides[i].option))
		} else if s.Cut > 0 && i == 0 {
			r.Notes = append(r.Notes, fmt.Sprintf("%d of %d documents are longer than the %d tokens that are seen: %d response tokens are in no class", s.Truncated, s.Documents, s.Length, s.Cut))
		}
	}
	if r.Model == nil || r.Tuned == nil {
		return r, nil
	}
	return r, o.classify(&r, ds, tokenizer)
}

// sides are the two models, by name.
var sides = [2]struct{ what, option, name string }{{"model", "model", lossesOfModel}, {"tuned model", "tuned", lossesOfTuned}}

// scoreOne makes the file of losses of one model, unless it is there.
func (o *ScoreOptions) scoreOne(ds *shard.Dataset, what, path, name string) error {
	m, err := OpenModel(path, o.Config.Train.Device, o.Config.Train.Threads)
	if err != nil {
		return err
	}
	defer m.Close()
	if err := ds.CheckTokenizer(m.Tokenizer.Hash(), m.Tokenizer.Vocab()); err != nil {
		return err
	}
	s, err := newLossScorer(m, o.Config.Data.Length, o.Config.Data.TokensPerStep)
	if err != nil {
		return err
	}
	s.strict = o.StrictLength
	var stop func() bool
	if o.Watch != nil {
		stop = o.Watch.Stopping
	}
	_, err = s.losses(ds, name, stop, func(documents int64) {
		if o.Progress != nil {
			o.Progress(what, documents, ds.Documents())
		}
	})
	return err
}

// A classifier reads the losses of both models beside the documents of a data set, in order.
type classifier struct {
	options   shad.Options
	tokenizer *text.Tokenizer
	readers   [2]*shad.LossReader // nil: not there
	length    int

	losses  [2][]float32 // of the document at hand
	ld      []float64
	classes []byte
}

func (o *ScoreOptions) open(ds *shard.Dataset, t *text.Tokenizer) (c *classifier, err error) {
	s := o.Config.SHAD
	c = &classifier{options: shad.Options{Threshold: s.Threshold, Deadzone: s.Deadzone, Words: s.Smooth == "word"}, tokenizer: t}
	for i, side := range sides {
		if c.readers[i], err = shad.ReadLosses(filepath.Join(o.Out, side.name)); err != nil {
			c.close()
			return nil, err
		}
		if r := c.readers[i]; r != nil {
			c.length = r.Length
			if got := responsesHash(ds); got != r.Data {
				c.close()
				return nil, fault.Data.Errorf("%s has the losses of data %s, the data set %s is %s; hint: another --out for another data set", filepath.Join(o.Out, side.name), r.Data, o.Data, got)
			}
		}
	}
	return c, nil
}

// scored is what is known of the losses of one model, nil when they are not there.
func (c *classifier) scored(i int) *shad.Scored {
	if c.readers[i] == nil {
		return nil
	}
	return &c.readers[i].Scored
}

func (c *classifier) close() {
	for _, r := range c.readers {
		if r != nil {
			r.Close()
		}
	}
}

// next classifies the response tokens of the next document, whose places it returns.
func (c *classifier) next(d shard.Document) (at []int, err error) {
	at, _ = responses(d, c.length)
	for i, r := range c.readers {
		if c.losses[i], err = r.Next(c.losses[i][:0], len(at)); err != nil {
			return nil, err
		}
	}
	if c.ld, err = c.options.Differences(c.ld[:0], c.losses[0], c.losses[1]); err != nil {
		return nil, fault.Data.Errorf("document %d: %w", d.ID, err)
	}
	var starts []bool
	if c.options.Words {
		all := c.tokenizer.WordStarts(nil, d.Tokens)
		for _, i := range at {
			starts = append(starts, all[i])
		}
	}
	c.classes = c.options.Classes(c.classes[:0], c.ld, starts)
	return at, nil
}

// end checks that both files were used up and are whole.
func (c *classifier) end() error {
	return errors.Join(c.readers[0].End(), c.readers[1].End())
}

// classify makes the classes in two passes: one that counts and judges them, and one that writes the plane.
func (o *ScoreOptions) classify(r *Score, ds *shard.Dataset, t *text.Tokenizer) error {
	note, err := shad.Compare(r.Model, r.Tuned)
	if err != nil {
		return err
	}
	if note != "" {
		r.Notes = append(r.Notes, note)
	}
	page := &shad.Page{Title: "Boilerplate and reasoning: " + o.Data}
	if r.Summary, err = o.summarise(ds, t, page); err != nil {
		return err
	}
	if err := r.Summary.Check(); err != nil {
		return err
	}
	show := func(id int32) string { return shown(t, id) }
	for class := range r.Top {
		r.Top[class] = r.Summary.Top(class, topTokens, show)
	}
	s := o.Config.SHAD
	origin := classOrigin{Model: r.Model.Model, Tuned: r.Tuned.Model, Data: responsesHash(ds), Tokenizer: ds.Index().Tokenizer.Hash, Length: r.Model.Length,
		Threshold: s.Threshold, Deadzone: s.Deadzone, Smooth: s.Smooth, Counts: [2]int64{r.Boilerplate, r.Reasoning}, Histogram: r.Histogram}
	if err := o.writePlane(r, ds, t, origin); err != nil {
		return err
	}
	if o.HTML == "" {
		return nil
	}
	page.Top, r.Page = r.Top, o.HTML
	page.Facts = append(page.Facts, fmt.Sprintf("%d response tokens of %d documents: %.1f %% boilerplate, %.1f %% reasoning", r.Tokens(), r.Documents, 100*r.Share(), 100*(1-r.Share())),
		fmt.Sprintf("mean loss %.4f under the model, %.4f after shuffled tuning; reasoning is a difference above %g nats", r.Model.Mean(), r.Tuned.Mean(), s.Threshold),
		fmt.Sprintf("model %s, tuned model %s", r.Model.Path, r.Tuned.Path))
	page.SetHistogram(r.Summary, s.Threshold)
	return page.Write(o.HTML)
}

// summarise is the first pass; the page gets some documents.
func (o *ScoreOptions) summarise(ds *shard.Dataset, t *text.Tokenizer, page *shad.Page) (*shad.Summary, error) {
	c, err := o.open(ds, t)
	if err != nil {
		return nil, err
	}
	defer c.close()
	stream, err := ds.Stream(shard.StreamConfig{Epochs: 1, Planes: []string{objectives.PlaneLoss}}, shard.Cursor{})
	if err != nil {
		return nil, err
	}
	defer stream.Close()
	summary, ids := &shad.Summary{Cut: c.readers[0].Cut}, []int32{}
	for {
		d, err := stream.Next()
		if errors.Is(err, io.EOF) {
			return summary, c.end()
		}
		if err != nil {
			return nil, err
		}
		at, err := c.next(d)
		if err != nil {
			return nil, err
		}
		ids = ids[:0]
		for _, i := range at {
			ids = append(ids, d.Tokens[i])
		}
		summary.Add(ids, c.ld, c.classes)
		if o.HTML != "" && len(page.Documents) < pageDocuments {
			page.Documents = append(page.Documents, c.view(d, at))
		}
	}
}

// view shows a document with the classes at hand.
func (c *classifier) view(d shard.Document, at []int) shad.PageDocument {
	v, from := shad.PageDocument{Number: d.ID}, 0
	show := func(tokens []int32) string { return strings.ToValidUTF8(string(c.tokenizer.Decode(tokens)), "\uFFFD") }
	for k, i := range at {
		if from < i {
			v.Parts = append(v.Parts, shad.Context(show(d.Tokens[from:i])))
		}
		v.Parts = append(v.Parts, shad.Token(show(d.Tokens[i:i+1]), c.classes[k], c.losses[0][k], c.losses[1][k], c.ld[k]))
		from = i + 1
	}
	if from < len(d.Tokens) {
		v.Parts = append(v.Parts, shad.Context(show(d.Tokens[from:])))
	}
	return v
}

// writePlane is the second pass. A plane that was made in the same way stays.
func (o *ScoreOptions) writePlane(r *Score, ds *shard.Dataset, t *text.Tokenizer, origin classOrigin) error {
	for _, p := range ds.Index().Planes {
		switch {
		case p.Name != objectives.PlaneClass:
		case p.Provenance == origin.String():
			r.Before = true
			return nil
		case !o.Replace:
			return fault.Usage.Errorf("%s has a plane class that was made otherwise (%.300s); hint: --replace replaces it", o.Data, p.Provenance)
		default:
			r.Notes = append(r.Notes, "the plane class that was there is replaced")
		}
	}
	c, err := o.open(ds, t)
	if err != nil {
		return err
	}
	defer c.close()
	plane := shard.Plane{Name: objectives.PlaneClass, Provenance: origin.String()}
	_, err = shard.PutPlane(o.Data, plane, shard.PlaneOptions{Replace: o.Replace, Read: []string{objectives.PlaneLoss}}, func(d shard.Document) ([]byte, error) {
		plane := make([]byte, len(d.Tokens))
		for i := range plane {
			plane[i] = objectives.NoTokenClass
		}
		at, err := c.next(d)
		for k, i := range at {
			plane[i] = c.classes[k]
		}
		return plane, err
	})
	return err
}

// shown is a token as text; control characters are escaped.
func shown(t *text.Tokenizer, id int32) string {
	quoted := strconv.Quote(string(t.Decode([]int32{id})))
	return quoted[1 : len(quoted)-1]
}
