package engine

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/hf"
	"palimpsest/engine/model"
	"palimpsest/engine/report"
	"palimpsest/engine/runfile"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
	"palimpsest/engine/vfs"
)

// Models come from Hugging Face folders as checkpoints and go to them; package hf knows the formats.

// Files of an imported checkpoint beside those of every checkpoint: what became of the folder, and its own companions.
const (
	originFile      = "origin.json"
	companionPrefix = "hf."
)

// Imported is what Import made.
type Imported struct {
	Dir        string       `json:"dir"`
	Family     string       `json:"model_type"`
	Objective  string       `json:"objective"` // what a model of its kind is trained for
	Parameters int64        `json:"parameters"`
	Vocab      int          `json:"vocab"` // of the tokenizer
	Model      model.Config `json:"-"`
	New        []string     `json:"new"`   // parameters that begin anew
	Notes      []string     `json:"notes"` // what was left out, and the like
}

// Import turns a Hugging Face folder into a checkpoint at out, which must not exist or be empty. seed decides the initial values
// of heads that the folder lacks.
func Import(fs vfs.FS, folder, out string, seed uint64) (*Imported, error) {
	if err := checkpoint.CheckNew(fs, out); err != nil {
		return nil, err
	}
	im, err := hf.Open(folder, seed)
	if err != nil {
		return nil, err
	}
	defer im.Close()
	c := Default()
	c.Objective, c.Model, c.Data.Valid = objectiveOf(im), im.Model, Held{}
	c.Train.Dropout = 0
	r := &Imported{Dir: out, Family: im.Family, Objective: c.Objective, Parameters: model.NumParams(im.Model), Vocab: im.Tokenizer.Vocab(),
		Model: im.Model, New: im.New, Notes: im.Notes}
	origin, err := hf.Origin{Family: im.Family, Folder: filepath.Base(filepath.Clean(folder)), New: im.New, Bare: im.Bare, Notes: im.Notes}.JSON()
	if err != nil {
		return nil, err
	}
	weights, err := checkpoint.TensorFile(modelFile, im.Tensors(), nil)
	if err != nil {
		return nil, err
	}
	contents := checkpoint.Contents{checkpoint.BytesFile(configFile, runfile.Marshal(c)), checkpoint.BytesFile(TokenizerFile, im.TokenizerJSON),
		checkpoint.BytesFile(originFile, origin), weights}
	for name, data := range im.Companions {
		contents = append(contents, checkpoint.BytesFile(companionPrefix+name, data))
	}
	slices.SortStableFunc(contents[3:], func(a, b checkpoint.File) int { return strings.Compare(a.Name, b.Name) })
	return r, checkpoint.Create(fs, out, 0, contents)
}

// objectiveOf is what a model of that kind is trained for.
func objectiveOf(im *hf.Import) string {
	heads := im.Model.Classifiers
	switch {
	case len(heads) > 0 && heads[0].Kind == "token":
		return "tag"
	case len(heads) > 0:
		return "classify"
	case im.Causal:
		return "clm"
	}
	return "mlm"
}

// ExportOptions say what Export writes.
type ExportOptions struct {
	From      string // run folder or checkpoint
	Out       string // must not exist or be empty
	Head      string // "lm", "none" or the name of a classification head; "": what the last phase trained
	DType     checkpoint.DType
	ShardSize int64
	Lossy     bool
	Adapter   bool   // the adapters alone, in the layout of peft
	Version   string // of the program, for the model card
	FS        vfs.FS
}

// Export writes a run's best or newest checkpoint, or the one that is named, as a Hugging Face folder.
func Export(o ExportOptions) (*hf.Exported, error) {
	if err := checkpoint.CheckNew(o.FS, o.Out); err != nil {
		return nil, err
	}
	c, err := findCheckpoint(o.From)
	if err != nil {
		return nil, err
	}
	config, err := readConfig(c)
	if err != nil {
		return nil, err
	}
	x := hf.ExportOptions{Model: config.Model, Head: o.Head, Dropout: config.Train.Dropout, DType: o.DType, ShardSize: o.ShardSize, Lossy: o.Lossy,
		Causal: looksBack(config), ReadsLast: config.Classify.Read == "last"}
	if x.Causal && slices.ContainsFunc(config.phaseList(), func(p Phase) bool {
		return slices.ContainsFunc(config.partsOf(p), func(part string) bool { return part == "mlm" || part == "mntp" || part == "mslm" })
	}) {
		x.Notes = append(x.Notes, "the model was trained with attention to both sides as well; the exported class looks back only")
	}
	if x.TokenizerJSON, err = c.Read(TokenizerFile); err != nil {
		return nil, err
	}
	if x.Tokenizer, err = text.Parse(x.TokenizerJSON); err != nil {
		return nil, fault.Checkpoint.Errorf("%s: %s: %w", c.Dir(), TokenizerFile, err)
	}
	origin, err := originOf(c, config, x.Tokenizer.Hash())
	if err != nil {
		return nil, err
	}
	x.Companions = origin.companions
	if origin.own {
		x.Skip = origin.New
	}
	if x.Head == "" {
		x.Head = defaultHead(config, origin.own && origin.Bare || len(x.Skip) > 0)
	}
	open := mergedWeights
	if o.Adapter {
		open = storedWeights
	}
	weights, err := open(c, config)
	if err != nil {
		return nil, err
	}
	defer weights.Close()
	x.Model.Adapter, x.Tensors = model.Adapter{}, weights
	switch {
	case o.Adapter && !config.Adapter.On():
		return nil, fault.Usage.Errorf("%s has no adapters (adapter.rank: 0); hint: without --adapter the whole model is exported", c.Dir())
	case o.Adapter:
		contents, exported, err := hf.ExportAdapter(x, config.Adapter, baseName(origin, config))
		if err != nil {
			return nil, err
		}
		return &exported, checkpoint.WriteFolder(o.FS, o.Out, contents)
	case config.Adapter.On():
		x.Notes = append(x.Notes, "the adapters are merged into the weights")
	}
	card := o.card(c, config)
	if origin.Family != "" {
		card.Origin = origin.Folder
	}
	x.Card = card.Markdown
	contents, exported, err := hf.Export(x)
	if err != nil {
		return nil, err
	}
	return &exported, checkpoint.WriteFolder(o.FS, o.Out, contents)
}

// looksBack reports whether a model was trained with attention to what is before a token only. A model that was trained both ways
// counts as causal, as generating is what needs it.
func looksBack(c Config) bool {
	back := false
	if c.Causal() {
		return true
	}
	for _, p := range c.phaseList() {
		switch p.Objective {
		case "classify", "tag":
			back = back || c.Classify.Attend == "back"
		}
	}
	return back
}

// defaultHead is the head that the last phase trained; none where an imported model came without one.
func defaultHead(c Config, bare bool) string {
	phases := c.phaseList()
	last, kind := phases[len(phases)-1].Objective, "token"
	if last == "classify" {
		kind = "sequence"
	}
	if classifies(last) {
		for _, h := range c.Model.Classifiers {
			if h.Kind == kind && (c.Classify.Head == "" || c.Classify.Head == h.Name) {
				return h.Name
			}
		}
	}
	if bare {
		return "none"
	}
	return "lm"
}

// readConfig is the configuration of the run that wrote a checkpoint.
func readConfig(c *checkpoint.Checkpoint) (Config, error) {
	config := Default()
	raw, err := c.Read(configFile)
	if err != nil {
		return config, err
	}
	if err := runfile.Decode(filepath.Join(c.Dir(), configFile), raw, &config); err != nil {
		return config, fault.Checkpoint.Errorf("%w", err)
	}
	return config, fault.Checkpoint.Wrap(config.adapt())
}

// An origin is the Hugging Face folder behind a checkpoint.
type origin struct {
	hf.Origin
	companions map[string][]byte
	own        bool // the checkpoint is the imported one itself
}

// maxChain bounds how many runs, each begun with the weights of the one before, are followed back.
const maxChain = 16

// originOf finds the imported checkpoint that a model goes back to by train.init. The companions belong to the tokenizer, so a
// chain with another one ends, as does one whose folders are gone.
func originOf(c *checkpoint.Checkpoint, config Config, tokenizer string) (o origin, err error) {
	for i := range maxChain {
		if c.Has(originFile) {
			o.own = i == 0
			return o, o.read(c)
		}
		if config.Train.Init == "" {
			return o, nil
		}
		if _, err := os.Stat(config.Train.Init); errors.Is(err, os.ErrNotExist) {
			return o, nil
		}
		if c, err = findCheckpoint(config.Train.Init); err != nil {
			return o, err
		}
		if config, err = readConfig(c); err != nil {
			return o, err
		}
		raw, err := c.Read(TokenizerFile)
		if err != nil {
			return o, err
		}
		if t, err := text.Parse(raw); err != nil || t.Hash() != tokenizer {
			return o, err
		}
	}
	return o, nil
}

func (o *origin) read(c *checkpoint.Checkpoint) error {
	raw, err := c.Read(originFile)
	if err != nil {
		return err
	}
	if o.Origin, err = hf.ParseOrigin(raw); err != nil {
		return fault.Checkpoint.Errorf("%s: %s: %w", c.Dir(), originFile, err)
	}
	o.companions = map[string][]byte{}
	for _, file := range c.Files() {
		if name, ok := strings.CutPrefix(file, companionPrefix); ok {
			if o.companions[name], err = c.Read(file); err != nil {
				return err
			}
		}
	}
	return nil
}

// card collects the record of the run for the model card. What is gone, such as the data set, is left out of it.
func (o ExportOptions) card(c *checkpoint.Checkpoint, config Config) *hf.Card {
	card := &hf.Card{Name: filepath.Base(filepath.Clean(o.Out)), Version: o.Version, Step: c.Step(), Created: c.Created(), Configuration: runfile.Marshal(config)}
	for _, p := range config.phaseList() {
		card.Objectives = append(card.Objectives, p.Objective)
	}
	for _, log := range []string{filepath.Join(o.From, LogFile), filepath.Join(filepath.Dir(filepath.Dir(filepath.Clean(c.Dir()))), LogFile)} {
		run, err := report.ReadLog(log)
		if err != nil {
			continue
		}
		card.Trained, card.Device, card.Versions = true, run.Header.Device, run.Header.Versions
		for _, s := range run.Steps {
			if s.Step <= c.Step() {
				card.Losses = append(card.Losses, hf.CardLoss{Step: s.Step, Tokens: s.Tokens, Loss: s.Loss})
			}
		}
		for _, e := range run.Evals {
			if e.Step <= c.Step() {
				if e.NLL != nil {
					e.BaselineLoss = nil // which is not of this loss
				}
				card.Evaluations = append(card.Evaluations, hf.CardEvaluation{Step: e.Step, Phase: e.Phase, Loss: e.Loss, Perplexity: e.Perplexity, Rows: e.Rows,
					Accuracy: e.Accuracy, Baseline: e.BaselineLoss})
			}
		}
		break
	}
	if ds, err := shard.Open(config.Data.Train); err == nil && config.Data.Train != "" {
		defer ds.Close()
		index := ds.Index()
		card.Data = &hf.CardData{Documents: index.Documents, Tokens: index.Tokens, Hash: hashText(ds), CreatedBy: index.CreatedBy}
		for _, s := range index.Shards {
			if !slices.Contains(card.Data.Sources, s.Source) {
				card.Data.Sources = append(card.Data.Sources, s.Source)
			}
		}
	}
	return card
}
