package hf

import (
	"io"
	"slices"
	"strings"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
)

// Adapters go out in the layout of the library peft: adapter_config.json, and adapter_model.safetensors with A [r,in] and
// B [out,r] of every module of theirs that is adapted. Where theirs has several modules for a layer of ours, each gets the
// layer's A and its own rows of B, which is the same sum.

// Names of files in a folder of peft.
const (
	adapterConfigFile  = "adapter_config.json"
	adapterWeightsFile = "adapter_model.safetensors"
)

// peftPrefix is in front of every tensor's name there.
const peftPrefix = "base_model.model."

// ExportAdapter lays out a folder with the adapters of a model, and with its classification head where that was trained beside
// them. o.Model is the model without them; base names the model that they belong to. Nothing is written yet, as in Export.
func ExportAdapter(o ExportOptions, a model.Adapter, base string) (checkpoint.Contents, Exported, error) {
	f, held, lost := choose(o.Model, o.Causal, facts{tokenizer: o.Tokenizer, Dropout: o.Dropout})
	e := Exported{Family: f.name, DType: typeNames[o.DType], Lost: []string{}, Notes: append([]string{}, o.Notes...), Files: []string{adapterConfigFile, adapterWeightsFile}}
	if len(lost) > 0 {
		return nil, e, fault.Usage.Errorf("adapters belong to a model of transformers, and none there is this one; the nearest, %s, has no place for:\n  %s\n"+
			"hint: without --adapter and with --lossy, what it can hold is exported with the adapters merged into it", f.name, strings.Join(lost, "\n  "))
	}
	if err := e.chooseClass(f, &o, &held); err != nil {
		return nil, e, err
	}
	e.Notes = slices.DeleteFunc(e.Notes, func(note string) bool { return strings.HasPrefix(note, "the language model's head") }) // it is the base's
	var tensors []checkpoint.Tensor
	var modules, adapted, saved []string
	transpose := false
	for _, p := range f.places(held) {
		if e.Architecture != f.lm && strings.HasPrefix(p.param.Name, "head.lm.") {
			continue
		}
		layer := strings.TrimSuffix(p.param.Name, ".weight")
		isAdapted := layer != p.param.Name && slices.Contains(a.Targets, targetOf(layer))
		for _, at := range p.pieces {
			if e.Architecture == f.body {
				at.name = strings.TrimPrefix(at.name, f.prefix)
			}
			module, weight := strings.CutSuffix(at.name, ".weight")
			if weight {
				modules = append(modules, module)
			}
			switch {
			case isAdapted:
				transpose = transpose || p.transpose
				adapted = append(adapted, module)
				tensors = append(tensors, o.halves(layer, peftPrefix+module, p.param.Shape, at, a.Rank)...)
			case a.Heads && strings.HasPrefix(p.param.Name, model.ClassifierPrefix):
				saved = append(saved, strings.TrimSuffix(module, ".bias"))
				t := target{piece: at, source: p.param.Name, width: p.param.Len() / p.param.Shape[0], transpose: p.transpose}
				tensors = append(tensors, checkpoint.Tensor{Name: peftPrefix + at.name, DType: o.DType, Shape: at.shape, Data: t.writer(&o)})
			}
		}
	}
	for _, t := range tensors {
		n := int64(1)
		for _, d := range t.Shape {
			n *= int64(d)
		}
		e.Parameters, e.Bytes = e.Parameters+n, e.Bytes+n*int64(o.DType.Size())
	}
	file, err := checkpoint.TensorFile(adapterWeightsFile, tensors, map[string]string{"format": "pt"})
	if err != nil {
		return nil, e, err
	}
	slices.Sort(saved)
	config := object{
		{"peft_type", "LORA"}, {"task_type", e.task(f, len(saved) > 0)}, {"base_model_name_or_path", base}, {"r", a.Rank}, {"lora_alpha", number(a.Alpha)},
		{"use_rslora", a.Scaling == "rank_stabilized"}, {"target_modules", shortest(adapted, modules)}, {"fan_in_fan_out", transpose},
		{"modules_to_save", orNone(slices.Compact(saved))}, {"lora_dropout", a.Dropout}, {"bias", "none"}, {"use_dora", false}, {"init_lora_weights", true},
		{"inference_mode", true},
	}
	return checkpoint.Contents{checkpoint.BytesFile(adapterConfigFile, indented(config.sorted())), file}, e, nil
}

// targetOf is the place of a layer in its block, as targets of adapters are named.
func targetOf(layer string) string {
	pattern, _ := general(layer)
	return strings.TrimPrefix(pattern, "layers.*.")
}

// task is peft's name of what a class is for; null where it has none.
func (e *Exported) task(f *family, head bool) any {
	switch e.Architecture {
	case f.lm:
		if f.causal {
			return "CAUSAL_LM"
		}
	case f.tokens:
		if head {
			return "TOKEN_CLS"
		}
	case f.sequences:
		if head {
			return "SEQ_CLS"
		}
	case f.body:
		return "FEATURE_EXTRACTION"
	}
	return nil
}

// number is whole where it can be: peft declares lora_alpha so.
func number(x float64) any {
	if n := int64(x); float64(n) == x {
		return n
	}
	return x
}

func orNone(list []string) any {
	if len(list) == 0 {
		return nil
	}
	return list
}

// halves are A and the rows of B that belong to a piece of a layer of shape [out,in].
func (o *ExportOptions) halves(layer, name string, shape []int, at piece, rank int) []checkpoint.Tensor {
	out, in := shape[0], shape[1]
	nameA, nameB := model.AdapterNames(layer)
	read := func(name string, columns int) ([]float32, error) {
		values := make([]float32, rank*columns)
		if err := o.Tensors.ReadRange(name, 0, values); err != nil {
			return nil, fault.Checkpoint.Wrap(err)
		}
		return values, finite(name, values, 0)
	}
	write := func(w io.Writer, name string, values []float32) error {
		if err := overflow(name, values, 0, o.DType); err != nil {
			return fault.Usage.Errorf("%w; hint: --dtype float32 or bfloat16", err)
		}
		_, err := w.Write(checkpoint.Encode(nil, values, o.DType))
		return err
	}
	return []checkpoint.Tensor{
		{Name: name + ".lora_A.weight", DType: o.DType, Shape: []int{rank, in}, Data: func(w io.Writer) error {
			a, err := read(nameA, in)
			if err != nil {
				return err
			}
			return write(w, nameA, a)
		}},
		{Name: name + ".lora_B.weight", DType: o.DType, Shape: []int{at.rows, rank}, Data: func(w io.Writer) error {
			b, err := read(nameB, out) // [r,out]
			if err != nil {
				return err
			}
			return write(w, nameB, transposed(b, rank, out)[at.from*rank:(at.from+at.rows)*rank])
		}},
	}
}

// shortest names modules by the ends of their names that no other module of the model has, as peft looks them up. "dense" alone
// is the end of too many in heads that are not read here.
func shortest(wanted, all []string) []string {
	isWanted := map[string]bool{}
	for _, w := range wanted {
		isWanted[w] = true
	}
	var ends []string
	for _, w := range wanted {
		parts := strings.Split(w, ".")
		end := w
		for n := 1; n < len(parts); n++ {
			try := strings.Join(parts[len(parts)-n:], ".")
			if try != "dense" && !slices.ContainsFunc(all, func(m string) bool { return !isWanted[m] && (m == try || strings.HasSuffix(m, "."+try)) }) {
				end = try
				break
			}
		}
		ends = append(ends, end)
	}
	slices.Sort(ends)
	return slices.Compact(ends)
}
