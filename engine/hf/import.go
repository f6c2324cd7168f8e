package hf

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/text"
	"palimpsest/objectives"
)

// Import is an opened folder whose every tensor has found its place.
type Import struct {
	Family    string // model_type
	Causal    bool   // attention looks back only
	Model     model.Config
	Tokenizer *text.Tokenizer
	// TokenizerJSON is the content of tokenizer.json as it is, or made of older files.
	TokenizerJSON []byte
	// Companions are further files by name that an export of the same model gives back.
	Companions map[string][]byte
	Notes      []string // what is not taken over, what is new, what was not looked at
	New        []string // parameters that the folder lacks and that begin anew
	Bare       bool     // the folder's class is the body, without any head

	family  *family
	weights *weights
	places  []place
	found   map[string]string // canonical name -> name in the folder
	chosen  map[string]string // name of a piece -> name in the folder
	fresh   map[string]bool   // by parameter: begins anew
	seed    uint64
}

// Open reads a folder. seed decides the initial values of heads that it lacks. All tensors that are not understood, missing or of
// the wrong shape are named in one error of kind fault.Data. The caller closes the result.
func Open(dir string, seed uint64) (_ *Import, err error) {
	path := filepath.Join(dir, configFile)
	data, err := readFile(path, maxConfig)
	if err != nil {
		return nil, err
	}
	s, err := parseSettings(path, data)
	if err != nil {
		return nil, err
	}
	im := &Import{seed: seed, fresh: map[string]bool{}, chosen: map[string]string{}}
	if im.family, err = familyOf(s); err != nil {
		return nil, err
	}
	im.Family, im.Causal = im.family.name, im.family.causal
	c := im.family.read(s)
	if err := s.finish(); err != nil {
		return nil, err
	}
	if err := im.loadTokenizer(dir); err != nil {
		return nil, err
	}
	var notes []string
	if im.weights, notes, err = openWeights(dir); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			im.Close()
		}
	}()
	im.Notes = slices.Concat(im.Notes, notes, s.notes)
	if err := im.findNames(); err != nil {
		return nil, fmt.Errorf("%s: %w", dir, err)
	}
	architecture := ""
	if list := read(s, "architectures", []string(nil)); len(list) > 0 {
		architecture = list[0]
	}
	im.Bare = architecture == im.family.body
	c.Classifiers = im.classifiers(architecture, c.HeadAct == "gelu" && read(s, "classifier_pooling", "cls") == "cls")
	if err := im.resolve(c, path); err != nil {
		return nil, err
	}
	if err := im.match(architecture); err != nil {
		return nil, fault.Data.Errorf("%s: %w", dir, err)
	}
	return im, nil
}

// Close closes the folder's files.
func (im *Import) Close() error { return im.weights.close() }

func familyOf(s *settings) (*family, error) {
	kind := read(s, "model_type", "")
	for _, f := range families {
		if f.name == kind {
			return f, nil
		}
	}
	if kind == "" {
		return nil, fault.Data.Errorf("%s: model_type is missing; supported: %s", s.file, familyNames())
	}
	return nil, fault.Data.Errorf("%s: model_type %q is not supported; supported: %s", s.file, kind, familyNames())
}

// resolve completes and checks the configuration.
func (im *Import) resolve(c model.Config, file string) error {
	resolved, problems := c.Resolve(im.Tokenizer.Vocab())
	if len(problems) > 0 {
		var lines []string
		for _, p := range problems {
			lines = append(lines, fmt.Sprintf("%s: makes no model here: model.%v", file, p))
		}
		return fault.Data.Errorf("%s", strings.Join(lines, "\n"))
	}
	if spare := int(resolved.Vocab) - im.Tokenizer.Vocab(); spare > 0 {
		im.note("the vocabulary is padded: %d rows of the embedding belong to no token; they are kept", spare)
	}
	im.Model = resolved
	return nil
}

func (im *Import) note(format string, args ...any) {
	im.Notes = append(im.Notes, fmt.Sprintf(format, args...))
}

// findNames lists the folder's tensors by canonical name.
func (im *Import) findNames() error {
	im.found = map[string]string{}
	for _, name := range im.weights.names() {
		canonical := im.family.canonical(name)
		if other, taken := im.found[canonical]; taken {
			return fault.Data.Errorf("tensors %s and %s are the same one under two names", other, name)
		}
		im.found[canonical] = name
	}
	return nil
}

// classifiers finds a classification head of a form that has a place here. first says that one for sequences reads the first token
// and has GELU.
func (im *Import) classifiers(architecture string, first bool) []objectives.Head {
	kind, name := "", ""
	switch {
	case architecture == "":
		return nil
	case architecture == im.family.tokens:
		kind, name = "token", "tag"
	case architecture == im.family.sequences && first:
		kind, name = "sequence", "label"
	default:
		return nil
	}
	rules := im.family.classifier(kind)
	logits := im.family.full(rules[len(rules)-2].theirs[0])
	file, ok := im.found[logits]
	if !ok {
		return nil
	}
	shape := im.weights.info(file).Shape
	if len(shape) != 2 || shape[0] < 2 || shape[0] > objectives.NoLabel {
		return nil
	}
	return []objectives.Head{{Name: name, Kind: kind, Classes: shape[0]}}
}

// match gives every parameter its tensors and accounts for every tensor of the folder.
func (im *Import) match(architecture string) error {
	f := im.family
	im.places = f.places(im.Model)
	var problems []string
	bad := func(format string, args ...any) { problems = append(problems, fmt.Sprintf(format, args...)) }
	headless := im.headless(architecture)
	known := map[string]bool{}
	for _, p := range im.places {
		if headless && strings.HasPrefix(p.param.Name, "head.lm.") {
			im.fresh[p.param.Name] = true
			im.New = append(im.New, p.param.Name)
			continue
		}
		if len(p.pieces) == 0 {
			bad("parameter %s has no counterpart in %s", p.param.Name, f.name)
		}
		for _, piece := range p.pieces {
			name, err := im.source(piece, known)
			if err != nil {
				bad("%v", err)
				continue
			}
			im.chosen[piece.name] = name
			info := im.weights.info(name)
			if !slices.Equal(info.Shape, piece.shape) {
				bad("%s has shape %v, %s wants %v", name, info.Shape, configFile, piece.shape)
			}
			if !slices.Contains([]checkpoint.DType{checkpoint.F32, checkpoint.BF16, checkpoint.F16}, info.DType) {
				bad("%s is %s; supported: F32, BF16, F16", name, info.DType)
			}
		}
	}
	dropped := map[string][]string{} // by reason
	for canonical, name := range im.found {
		if known[canonical] {
			continue
		}
		why, ok := f.left(canonical)
		if !ok && headless && im.headPart(canonical) {
			why, ok = "a head of another task than the language model's", true
		}
		if !ok {
			bad("%s is not understood", name)
			continue
		}
		dropped[why] = append(dropped[why], name)
	}
	if len(problems) > 0 {
		slices.Sort(problems)
		return fmt.Errorf("the tensors are not those of a model of type %s:\n  %s", f.name, strings.Join(problems, "\n  "))
	}
	im.tell(dropped)
	return nil
}

// tell notes what is left out and what is new.
func (im *Import) tell(dropped map[string][]string) {
	var lines []string
	for why, names := range dropped {
		slices.Sort(names)
		lines = append(lines, fmt.Sprintf("left out, %s: %s", why, listed(names)))
	}
	slices.Sort(lines)
	im.Notes = append(im.Notes, lines...)
	switch {
	case len(im.New) > 0:
		im.note("the folder has no head of a language model; it is new, with random values of seed %d, and must be trained before it is of use: %s", im.seed, strings.Join(im.New, ", "))
	case len(im.Model.Classifiers) > 0 && im.Model.Tied.Yes():
		im.note("the language model's head is the embedding")
	}
}

// listed shortens a long list of names.
func listed(names []string) string {
	const most = 6
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// headless reports whether the folder is of a class without the language model's head. A folder that says it has one, or says
// nothing and has a part of it, must have all of it.
func (im *Import) headless(architecture string) bool {
	parts, there := 0, 0
	for _, p := range im.places {
		if !strings.HasPrefix(p.param.Name, "head.lm.") {
			continue
		}
		for _, piece := range p.pieces {
			parts++
			if im.has(piece) {
				there++
			}
		}
	}
	other := architecture != "" && architecture != im.family.lm
	return parts > 0 && there < parts && (there == 0 && architecture != im.family.lm || other)
}

// headPart reports whether a tensor belongs to the language model's head.
func (im *Import) headPart(canonical string) bool {
	for _, p := range im.places {
		if strings.HasPrefix(p.param.Name, "head.lm.") && slices.ContainsFunc(p.pieces, func(at piece) bool {
			return at.name == canonical || slices.Contains(at.also, canonical)
		}) {
			return true
		}
	}
	return false
}

func (im *Import) has(p piece) bool {
	for _, name := range append([]string{p.name}, p.also...) {
		if _, ok := im.found[name]; ok {
			return true
		}
	}
	return false
}

// source returns the tensor that a piece is read from and marks all its names as known. Names that are tied must agree.
func (im *Import) source(p piece, known map[string]bool) (name string, err error) {
	for _, canonical := range append([]string{p.name}, p.also...) {
		there, ok := im.found[canonical]
		if !ok {
			continue
		}
		known[canonical] = true
		if name == "" {
			name = there
			continue
		}
		same, err := im.equal(name, there)
		if err != nil {
			return "", err
		}
		if !same {
			return "", fmt.Errorf("%s and %s differ, but %s says that they are one (tie_word_embeddings); hint: \"tie_word_embeddings\": false, if both are meant", name, there, configFile)
		}
	}
	if name == "" {
		return "", fmt.Errorf("%s is missing", describe(p.name, p.shape))
	}
	return name, nil
}

// equal compares two tensors bit by bit.
func (im *Import) equal(a, b string) (bool, error) {
	x, y := im.weights.info(a), im.weights.info(b)
	if x.DType != y.DType || !slices.Equal(x.Shape, y.Shape) {
		return false, nil
	}
	if !slices.Contains([]checkpoint.DType{checkpoint.F32, checkpoint.BF16, checkpoint.F16}, x.DType) {
		return false, fmt.Errorf("%s is %s; supported: F32, BF16, F16", a, x.DType)
	}
	var left, right [4096]float32
	for from := int64(0); from < x.Len(); from += int64(len(left)) {
		n := min(int64(len(left)), x.Len()-from)
		if err := im.weights.where[a].ReadRange(a, from, left[:n]); err != nil {
			return false, err
		}
		if err := im.weights.where[b].ReadRange(b, from, right[:n]); err != nil {
			return false, err
		}
		if left != right {
			return false, nil
		}
	}
	return true, nil
}

// Origin is what a checkpoint keeps of the folder that it was made of.
type Origin struct {
	Family string   `json:"model_type"`
	Folder string   `json:"folder"` // its last name
	New    []string `json:"new"`    // parameters that began anew
	Bare   bool     `json:"bare"`   // its class was the body, without any head
	Notes  []string `json:"notes"`
}

// JSON is the content of the origin's file.
func (o Origin) JSON() ([]byte, error) { return json.MarshalIndent(o, "", "  ") }

// ParseOrigin reads what JSON wrote.
func ParseOrigin(data []byte) (o Origin, err error) {
	err = json.Unmarshal(data, &o)
	return o, err
}
