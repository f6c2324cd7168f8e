package hf

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/text"
)

// ExportOptions say what is exported and how.
type ExportOptions struct {
	Model         model.Config
	Tensors       Tensors // parameters under our names, float32
	Tokenizer     *text.Tokenizer
	TokenizerJSON []byte            // as the checkpoint has it
	Companions    map[string][]byte // of the folder that the model was imported from
	Skip          []string          // parameters that nobody trained: heads that an import made up
	Causal        bool              // attention looks back only
	Head          string            // "lm", "none", or the name of a classification head
	ReadsLast     bool              // a classification head for sequences reads the last token, not the first
	Dropout       float64
	DType         checkpoint.DType // F32, BF16 or F16
	ShardSize     int64            // bytes of tensors in a file
	Notes         []string         // of the caller, before those of the export
	Lossy         bool             // go on without what the architecture has no place for
	Card          func(Exported) []byte
}

// Tensors give parts of named tensors, of which nothing is missing.
type Tensors interface {
	ReadRange(name string, from int64, dst []float32) error
}

// Exported says what an export consists of.
type Exported struct {
	Family       string   `json:"model_type"`
	Architecture string   `json:"architecture"`
	Parameters   int64    `json:"parameters"`
	Bytes        int64    `json:"bytes"` // of tensors
	DType        string   `json:"dtype"`
	Files        []string `json:"files"`
	Lost         []string `json:"lost"`  // with Lossy: choices without a place
	Notes        []string `json:"notes"` // what is left out or added
}

// typeNames are torch's names of element types.
var typeNames = map[checkpoint.DType]string{checkpoint.F32: "float32", checkpoint.BF16: "bfloat16", checkpoint.F16: "float16"}

// target is a tensor of theirs to be written.
type target struct {
	piece
	source    string // parameter of ours; "" where there is none
	shift     int    // rows of ours to pass over
	width     int    // elements of a row of ours
	transpose bool
	fill      []float32 // without a source: the parameter that would be
}

// Export lays out a folder: config.json, weights, tokenizer and companions, model card. Nothing is written yet: the contents read
// from Tensors when they are.
func Export(o ExportOptions) (checkpoint.Contents, Exported, error) {
	x := facts{tokenizer: o.Tokenizer, Dropout: o.Dropout}
	f, held, lost := choose(o.Model, o.Causal, x)
	e := Exported{Family: f.name, DType: typeNames[o.DType], Lost: lost, Notes: append([]string{}, o.Notes...), Files: []string{}}
	if len(lost) > 0 && !o.Lossy {
		looks := map[bool]string{true: "looks back only", false: "looks to both sides"}[o.Causal]
		return nil, e, fault.Usage.Errorf("of the architectures here whose attention %s, as this model's, none holds it; the nearest, %s, has no place for:\n  %s\n"+
			"hint: --lossy exports what it can hold, with weights that need further training there", looks, f.name, strings.Join(lost, "\n  "))
	}
	if err := e.chooseClass(f, &o, &held); err != nil {
		return nil, e, err
	}
	targets, err := e.targets(f, &o, held)
	if err != nil {
		return nil, e, err
	}
	contents, err := e.weightFiles(&o, targets)
	if err != nil {
		return nil, e, err
	}
	others, err := e.documents(f, &o, held, x)
	if err != nil {
		return nil, e, err
	}
	contents = append(contents, others...)
	for _, file := range contents {
		e.Files = append(e.Files, file.Name)
	}
	slices.Sort(e.Files)
	if o.Card != nil {
		e.Files = append(e.Files, cardFile)
		contents = append(contents, checkpoint.BytesFile(cardFile, o.Card(e)))
	}
	return contents, e, nil
}

func (e *Exported) note(format string, args ...any) {
	e.Notes = append(e.Notes, fmt.Sprintf(format, args...))
}

// chooseClass decides the class by the head and takes the other heads out of the configuration.
func (e *Exported) chooseClass(f *family, o *ExportOptions, held *model.Config) error {
	heads := o.Model.Classifiers
	held.Classifiers = nil
	var names []string
	for _, h := range heads {
		names = append(names, h.Name)
		if h.Name != o.Head {
			e.note("the %s head %s is left out: the folder has one head", h.Kind, h.Name)
			continue
		}
		switch {
		case h.Kind == "token" && f.tokens != "":
			e.Architecture = f.tokens
		case h.Kind == "sequence" && f.sequences != "" && !o.ReadsLast:
			e.Architecture, held.HeadAct = f.sequences, "gelu" // of every head for sequences here
		default:
			return fault.Usage.Errorf("the %s head %s (logits of every token, with a layer before them in a detector, or dense, GELU, norm and logits of a sequence's first token) has no counterpart in %s; hint: --head none exports the body, --head lm the language model",
				h.Kind, h.Name, f.name)
		}
		held.Classifiers = append(slices.Clip(held.Classifiers), h)
	}
	switch {
	case e.Architecture != "":
	case o.Head == "lm":
		e.Architecture = f.lm
	case o.Head == "none":
		e.Architecture = f.body
	default:
		return fault.Usage.Errorf("the model has no head %q; known: lm, none%s", o.Head, strings.Join(append([]string{""}, names...), ", "))
	}
	if e.Architecture != f.lm {
		e.note("the language model's head is left out: %s has none", e.Architecture)
	}
	return nil
}

// targets lists the tensors of the folder with where they come from.
func (e *Exported) targets(f *family, o *ExportOptions, held model.Config) ([]target, error) {
	have := map[string]*model.Param{}
	for _, p := range model.Layout(o.Model).Params {
		have[p.Name] = p
	}
	used := map[string]bool{}
	var list []target
	var added, left []string
	for _, p := range f.places(held) {
		name := p.param.Name
		if e.Architecture != f.lm && strings.HasPrefix(name, "head.lm.") {
			used[name] = true
			continue
		}
		if len(p.pieces) == 0 {
			return nil, fault.Internal.Errorf("parameter %s has no counterpart in %s", name, f.name)
		}
		source, width, shift := have[name], p.param.Len()/p.param.Shape[0], 0
		if source != nil && name == "embed.positions.weight" {
			shift = o.Model.PositionOffset - held.PositionOffset
		}
		if source != nil && (len(source.Shape) != len(p.param.Shape) || shift < 0 || source.Len()/source.Shape[0] != width ||
			source.Shape[0]-shift != p.param.Shape[0]) {
			source = nil
		}
		for _, at := range p.pieces {
			if e.Architecture == f.body {
				at.name = strings.TrimPrefix(at.name, f.prefix)
			}
			t := target{piece: at, shift: shift, width: width, transpose: p.transpose}
			if source != nil {
				used[name], t.source = true, name
			} else {
				t.fill = fillOf(held, p)
				added = append(added, at.name)
			}
			list = append(list, t)
		}
	}
	for _, p := range model.Layout(o.Model).Params {
		if classifier := strings.HasPrefix(p.Name, model.ClassifierPrefix); !used[p.Name] && !classifier && !slices.Contains(o.Skip, p.Name) {
			left = append(left, p.Name)
		}
	}
	switch {
	case len(added) > 0 && len(e.Lost) == 0:
		e.note("added, with zeros and ones that change nothing: %s", strings.Join(added, ", "))
	case len(added) > 0:
		e.note("new, with initial values: %s", strings.Join(added, ", "))
	}
	if len(left) > 0 {
		e.note("left out, without a place in %s: %s", e.Architecture, strings.Join(left, ", "))
	}
	return list, nil
}

// fillOf is a parameter that a model does not have: as it would begin, but for the token types, which begin as zeros.
func fillOf(held model.Config, p place) []float32 {
	if p.param.Name == "embed.types.weight" {
		return make([]float32, p.param.Len())
	}
	return model.Layout(held).InitialValues(p.index, 1)
}

// weightFiles spreads the tensors over files in their order, as transformers does.
func (e *Exported) weightFiles(o *ExportOptions, targets []target) (checkpoint.Contents, error) {
	var shards [][]checkpoint.Tensor
	room := int64(-1)
	for _, t := range targets {
		elements := int64(1)
		for _, d := range t.shape {
			elements *= int64(d)
		}
		bytes := elements * int64(o.DType.Size())
		if bytes > room {
			shards, room = append(shards, nil), o.ShardSize
		}
		room -= bytes
		last := len(shards) - 1
		shards[last] = append(shards[last], checkpoint.Tensor{Name: t.name, DType: o.DType, Shape: t.shape, Data: t.writer(o)})
		e.Parameters, e.Bytes = e.Parameters+elements, e.Bytes+bytes
	}
	var contents checkpoint.Contents
	where := object{}
	for i, tensors := range shards {
		name := weightsFile
		if len(shards) > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", i+1, len(shards))
		}
		file, err := checkpoint.TensorFile(name, tensors, nil)
		if err != nil {
			return nil, err
		}
		contents = append(contents, file)
		for _, t := range tensors {
			where = append(where, member{t.Name, name})
		}
	}
	if len(shards) > 1 {
		contents = append(contents, checkpoint.BytesFile(indexFile, indented(object{
			{"metadata", object{{"total_size", e.Bytes}}}, {"weight_map", where.sorted()}})))
	}
	return contents, nil
}

// writer gives the bytes of a tensor in its type.
func (t target) writer(o *ExportOptions) func(io.Writer) error {
	return func(w io.Writer) error {
		total := int64(t.rows * t.width)
		first := int64((t.from + t.shift) * t.width)
		load := func(from int64, values []float32) error {
			if t.source == "" {
				copy(values, t.fill[int64(t.from*t.width)+from:])
				return nil
			}
			if err := o.Tensors.ReadRange(t.source, first+from, values); err != nil {
				return fault.Checkpoint.Wrap(err)
			}
			return finite(t.source, values, first+from)
		}
		store := func(from int64, values []float32) error {
			if err := overflow(t.name, values, from, o.DType); err != nil {
				return fault.Usage.Errorf("%w; hint: --dtype float32 or bfloat16", err)
			}
			_, err := w.Write(checkpoint.Encode(nil, values, o.DType))
			return err
		}
		if !t.transpose {
			return inChunks(total, func(from int64, values []float32) error {
				if err := load(from, values); err != nil {
					return err
				}
				return store(from, values)
			})
		}
		values := make([]float32, total)
		if err := load(0, values); err != nil {
			return err
		}
		return store(0, transposed(values, t.rows, t.width))
	}
}

// documents are the files beside the weights.
func (e *Exported) documents(f *family, o *ExportOptions, held model.Config, x facts) (contents checkpoint.Contents, err error) {
	config := append(object{{"architectures", []string{e.Architecture}}, {"torch_dtype", e.DType}}, f.write(held, x)...)
	if h := held.Classifiers; len(h) > 0 {
		names, ids := object{}, object{}
		for i := range h[0].Classes {
			label := fmt.Sprintf("LABEL_%d", i)
			names, ids = append(names, member{fmt.Sprint(i), label}), append(ids, member{label, i})
		}
		config = append(config, member{"id2label", names}, member{"label2id", ids})
	}
	add := func(name string, data []byte) { contents = append(contents, checkpoint.BytesFile(name, data)) }
	if config, err = kept(config, o.Companions[configFile], f); err != nil {
		return nil, err
	}
	add(configFile, indented(config.sorted()))
	tokenizer := o.TokenizerJSON
	companions := o.Companions
	if companions[tokenizerConfigFile] == nil {
		if companions = tokenizerCompanions(o.Tokenizer, held.Context, f.causal); !f.causal {
			if tokenizer, err = framed(tokenizer, o.Tokenizer); err != nil {
				return nil, err
			}
		}
	}
	add(tokenizerFile, tokenizer)
	for _, name := range []string{tokenizerConfigFile, specialTokensFile} {
		if data, ok := companions[name]; ok {
			add(name, data)
		}
	}
	if f.causal {
		generation := o.Companions[generationFile]
		if generation == nil {
			generation = indented(object{{"bos_token_id", orNull(o.Tokenizer.BOS)}, {"eos_token_id", orNull(o.Tokenizer.EOS)}, {"pad_token_id", orNull(o.Tokenizer.Pad)}})
		}
		add(generationFile, generation)
	}
	return contents, nil
}

// kept adds to a config.json what the one that the model came with says beyond the computation, such as names and ids of tokens.
func kept(config object, original []byte, f *family) (object, error) {
	if original == nil {
		return config, nil
	}
	s, err := parseSettings(configFile, original)
	if err != nil {
		return nil, err
	}
	if read(s, "model_type", "") != f.name {
		return config, nil
	}
	for _, key := range slices.Sorted(maps.Keys(s.values)) {
		if !harmless[key] || ownKeys[key] {
			continue
		}
		if i := slices.IndexFunc(config, func(m member) bool { return m.key == key }); i >= 0 {
			config[i].value = s.values[key]
		} else {
			config = append(config, member{key, s.values[key]})
		}
	}
	return config, nil
}

// ownKeys are of the exported folder, not of the one that the model came from.
var ownKeys = set(`_name_or_path architectures auto_map dtype id2label label2id model_type num_labels problem_type torch_dtype transformers_version`)
