package hf

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/text"
)

// PEFT is a folder of the library peft, read for a model that it fits.
type PEFT struct {
	Adapter model.Adapter
	Tensors []checkpoint.Tensor // of all adapters, and of a head that was trained beside them, under our names
	Notes   []string
}

// OpenAdapter reads a folder of peft for a model without adapters, whose attention looks back only or not. Modules that are one
// layer here may each have an A of their own: these are stacked to a higher rank, over a B that is zero where a module does
// not belong to an A, which is the same sum. All keys and tensors that are not understood, or do not fit, are named in an error
// of kind fault.Data.
func OpenAdapter(dir string, c model.Config, causal bool, tokenizer *text.Tokenizer) (*PEFT, error) {
	f, held, lost := choose(c, causal, facts{tokenizer: tokenizer})
	if len(lost) > 0 {
		return nil, fault.Usage.Errorf("%s belongs to a model of transformers, and none there is this one; the nearest, %s, has no place for:\n  %s", dir, f.name, strings.Join(lost, "\n  "))
	}
	held.Classifiers = c.Classifiers
	p := &PEFT{}
	r := &adapterReader{dir: dir, layers: map[string]*adaptedLayer{}, heads: map[string][]float32{}}
	if err := r.readConfig(p); err != nil {
		return nil, err
	}
	if err := r.readTensors(f, f.places(held)); err != nil {
		return nil, err
	}
	r.assemble(p, c)
	c.Adapter = p.Adapter
	if problems := c.CheckAdapter(); len(problems) > 0 {
		return nil, fault.Data.Errorf("%s: becomes an adapter of rank %d here, as modules of its own A are stacked, which does not fit: %v", dir, p.Adapter.Rank, problems)
	}
	return p, nil
}

// adaptedLayer is what a layer of ours gets of the modules that it is there.
type adaptedLayer struct {
	place *place
	a, b  [][]float32 // by piece: [r,in], [rows,r]; nil where that module has none
}

// adapterReader is a folder on its way in.
type adapterReader struct {
	dir     string
	rank    int // there
	alpha   float64
	dropout float64
	rooted  bool // B A is multiplied by alpha / sqrt(rank), not alpha / rank

	layers   map[string]*adaptedLayer
	heads    map[string][]float32 // trained in full, by our name: whole tensors
	order    []*place             // of heads
	problems []string
}

// unmoved are the ways to begin an adapter that leave the base as it is; the others change it when they begin.
var unmoved = []string{"true", "false", `"gaussian"`, `"orthogonal"`, `"eva"`}

// told are keys without a say in what the adapter computes.
var told = set(`auto_mapping base_model_name_or_path task_type revision inference_mode peft_version target_modules exclude_modules
	layers_to_transform layers_pattern fan_in_fan_out modules_to_save megatron_config megatron_core loftq_config eva_config
	qalora_group_size ensure_weight_tying runtime_config`)

func (r *adapterReader) readConfig(p *PEFT) error {
	path := filepath.Join(r.dir, adapterConfigFile)
	data, err := readFile(path, maxConfig)
	if err != nil {
		return err
	}
	s, err := parseSettings(path, data)
	if err != nil {
		return err
	}
	if kind := read(s, "peft_type", ""); kind != "LORA" {
		s.bad("peft_type: %q is not supported, only LORA", kind)
	}
	r.rank = s.needed("r")
	r.alpha = s.positive("lora_alpha", 8)
	r.rooted = read(s, "use_rslora", false)
	if r.dropout = read(s, "lora_dropout", 0.0); !(r.dropout >= 0 && r.dropout < 1) {
		s.bad("lora_dropout: want a number from 0 to below 1, not %g", r.dropout)
	}
	only(s, "use_dora", false, "magnitudes beside the adapters (DoRA)")
	only(s, "use_qalora", false, "pooled inputs of adapters (QALoRA)")
	only(s, "lora_bias", false, "biases of B")
	only(s, "bias", "none", "biases of the base are not trained beside adapters")
	if s.has("init_lora_weights") && !slices.Contains(unmoved, string(s.values["init_lora_weights"])) {
		s.bad("init_lora_weights: %s begins by changing the weights of the base; hint: peft's save_pretrained(..., path_initial_model_for_weight_conversion=...) makes a plain adapter of it",
			s.values["init_lora_weights"])
	}
	for key, raw := range s.values {
		if empty := slices.Contains([]string{"false", "{}", "[]", `""`}, string(raw)); !s.asked[key] && !told[key] && !empty {
			s.bad("%s: %.60s is not known here, and may change what the adapter computes", key, raw)
		}
	}
	if len(s.problems) > 0 {
		slices.Sort(s.problems)
		return fault.Data.Errorf("%s: %s", s.file, strings.Join(s.problems, "\n"+s.file+": "))
	}
	var base string
	if raw, ok := s.values["base_model_name_or_path"]; ok && json.Unmarshal(raw, &base) == nil && base != "" {
		p.Notes = append(p.Notes, fmt.Sprintf("the adapter says that it belongs to %q; nothing in it tells whether this is that model", base))
	}
	return nil
}

// open opens the tensors, which peft also wrote as a pickle.
func (r *adapterReader) open() (*checkpoint.Safetensors, error) {
	if !exists(r.dir, adapterWeightsFile) && exists(r.dir, "adapter_model.bin") {
		return nil, fault.Data.Errorf("%s: no %s; adapter_model.bin is a pickle, which runs code when it is read, and is never opened here; hint: load and save it with peft where you trust it",
			r.dir, adapterWeightsFile)
	}
	return checkpoint.OpenSafetensors(filepath.Join(r.dir, adapterWeightsFile))
}

func (r *adapterReader) bad(format string, args ...any) {
	r.problems = append(r.problems, fmt.Sprintf(format, args...))
}

// readTensors gives every tensor of the folder its place.
func (r *adapterReader) readTensors(f *family, places []place) error {
	file, err := r.open()
	if err != nil {
		return err
	}
	defer file.Close()
	names := file.Names()
	for _, name := range names {
		if err := r.readTensor(f, places, file, name); err != nil {
			return fmt.Errorf("%s: %w", r.dir, err)
		}
	}
	for layer, l := range r.layers {
		for i, at := range l.place.pieces {
			if (l.a[i] == nil) != (l.b[i] == nil) {
				r.bad("%s has only one of lora_A and lora_B (%s)", strings.TrimSuffix(at.name, ".weight"), layer)
			}
		}
	}
	if len(r.layers) == 0 && len(r.problems) == 0 {
		r.bad("there is no adapter in it: no tensor ends with .lora_A.weight")
	}
	if len(r.problems) > 0 {
		slices.Sort(r.problems)
		return fault.Data.Errorf("%s: the tensors are not those of adapters on this model, of type %s:\n  %s", filepath.Join(r.dir, adapterWeightsFile), f.name, strings.Join(r.problems, "\n  "))
	}
	return nil
}

// find looks up the place and piece of a tensor of the base.
func find(places []place, name string, head bool) (*place, int) {
	for i := range places {
		if strings.HasPrefix(places[i].param.Name, model.ClassifierPrefix) != head {
			continue
		}
		if k := slices.IndexFunc(places[i].pieces, func(p piece) bool { return p.name == name }); k >= 0 {
			return &places[i], k
		}
	}
	return nil, 0
}

func (r *adapterReader) readTensor(f *family, places []place, file *checkpoint.Safetensors, name string) error {
	info, _ := file.Info(name)
	if !slices.Contains([]checkpoint.DType{checkpoint.F32, checkpoint.BF16, checkpoint.F16}, info.DType) {
		r.bad("%s is %s; supported: F32, BF16, F16", name, info.DType)
		return nil
	}
	values := func() ([]float32, error) {
		v := make([]float32, info.Len())
		if err := file.ReadAsFloat32(name, v); err != nil {
			return nil, err
		}
		return v, finite(name, v, 0)
	}
	bare, ok := strings.CutPrefix(name, peftPrefix)
	if !ok {
		r.bad("%s does not begin with %s", name, peftPrefix)
		return nil
	}
	for _, half := range []string{".lora_A.weight", ".lora_B.weight"} {
		if module, ok := strings.CutSuffix(bare, half); ok {
			return r.readHalf(f, places, name, module, info.Shape, half == ".lora_A.weight", values)
		}
	}
	p, at := find(places, bare, true)
	if p == nil {
		r.bad("%s is neither an adapter nor a part of a classification head of the model", name)
		return nil
	}
	if !slices.Equal(info.Shape, p.pieces[at].shape) || len(p.pieces) != 1 {
		r.bad("%s has shape %v, the model's head has %v", name, info.Shape, p.pieces[at].shape)
		return nil
	}
	v, err := values()
	r.heads[p.param.Name], r.order = v, append(r.order, p)
	return err
}

// readHalf takes A or B of a module.
func (r *adapterReader) readHalf(f *family, places []place, name, module string, shape []int, isA bool, values func() ([]float32, error)) error {
	p, at := find(places, f.canonical(module+".weight"), false)
	if p == nil || !slices.Contains(model.AdapterTargets, targetOf(strings.TrimSuffix(p.param.Name, ".weight"))) {
		r.bad("%s: of %s there are no adapters here; known: the modules of %s", name, module, strings.Join(model.AdapterTargets, ", "))
		return nil
	}
	layer := strings.TrimSuffix(p.param.Name, ".weight")
	if r.layers[layer] == nil {
		r.layers[layer] = &adaptedLayer{p, make([][]float32, len(p.pieces)), make([][]float32, len(p.pieces))}
	}
	want, half := []int{p.pieces[at].rows, r.rank}, r.layers[layer].b
	if isA {
		want, half = []int{r.rank, p.param.Shape[1]}, r.layers[layer].a
	}
	if !slices.Equal(shape, want) {
		r.bad("%s has shape %v, the model and r: %d want %v", name, shape, r.rank, want)
		return nil
	}
	var err error
	half[at], err = values()
	return err
}

// assemble stacks what the layers have to one rank, and gives layers of a target that have nothing zeros.
func (r *adapterReader) assemble(p *PEFT, c model.Config) {
	p.Adapter = model.Adapter{Rank: r.rank, Dropout: r.dropout, Scaling: "standard", Heads: true}
	if r.rooted {
		p.Adapter.Scaling = "rank_stabilized"
	}
	for layer, l := range r.layers {
		if target := targetOf(layer); !slices.Contains(p.Adapter.Targets, target) {
			p.Adapter.Targets = append(p.Adapter.Targets, target)
		}
		p.Adapter.Rank = max(p.Adapter.Rank, r.rank*len(l.distinct()))
	}
	slices.SortFunc(p.Adapter.Targets, func(a, b string) int {
		return slices.Index(model.AdapterTargets, a) - slices.Index(model.AdapterTargets, b)
	})
	more := float64(p.Adapter.Rank) / float64(r.rank)
	if r.rooted {
		more = math.Sqrt(more)
	}
	p.Adapter.Alpha = r.alpha * more
	if p.Adapter.Rank > r.rank {
		p.Notes = append(p.Notes, fmt.Sprintf("modules with an A each are one layer here: rank %d becomes %d, with as much of it zero as belongs to other modules", r.rank, p.Adapter.Rank))
	}
	var without []string
	for _, target := range p.Adapter.Targets {
		for i := range c.Layers {
			layer := fmt.Sprintf("layers.%d.%s", i, target)
			if r.layers[layer] == nil {
				without = append(without, layer)
			}
			in, out := c.Adapted(target)
			a, b := r.layers[layer].stack(p.Adapter.Rank, r.rank, in, out)
			nameA, nameB := model.AdapterNames(layer)
			p.Tensors = append(p.Tensors, floats(nameA, a, p.Adapter.Rank, in), floats(nameB, b, p.Adapter.Rank, out))
		}
	}
	if len(without) > 0 {
		p.Notes = append(p.Notes, "without an adapter there, zero here: "+listed(without))
	}
	for _, at := range r.order {
		p.Tensors = append(p.Tensors, floats(at.param.Name, r.heads[at.param.Name], at.param.Shape...))
	}
}

// distinct lists the first piece of every A that is not like an earlier one.
func (l *adaptedLayer) distinct() (pieces []int) {
	for i, a := range l.a {
		if a != nil && !slices.ContainsFunc(pieces, func(k int) bool { return slices.Equal(l.a[k], a) }) {
			pieces = append(pieces, i)
		}
	}
	return pieces
}

// stack returns A [rank,in] and B transposed, [rank,out], of which every distinct A there takes r rows.
func (l *adaptedLayer) stack(rank, r, in, out int) (a, b []float32) {
	a, b = make([]float32, rank*in), make([]float32, rank*out)
	if l == nil {
		return a, b
	}
	distinct := l.distinct()
	for k, first := range distinct {
		copy(a[k*r*in:], l.a[first])
	}
	for i, at := range l.place.pieces {
		if l.a[i] == nil {
			continue
		}
		k := slices.IndexFunc(distinct, func(d int) bool { return slices.Equal(l.a[d], l.a[i]) })
		for row := range at.rows {
			for j := range r {
				b[(k*r+j)*out+at.from+row] = l.b[i][row*r+j]
			}
		}
	}
	return a, b
}

func floats(name string, values []float32, shape ...int) checkpoint.Tensor {
	return checkpoint.Tensor{Name: name, DType: checkpoint.F32, Shape: shape, Data: func(w io.Writer) error { return writeFloats(w, values) }}
}
