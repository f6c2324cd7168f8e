package engine

import (
	"io"
	"path/filepath"
	"slices"
	"strings"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/hf"
	"palimpsest/engine/model"
	"palimpsest/engine/runfile"
	"palimpsest/engine/text"
	"palimpsest/engine/vfs"
)

// baseName names the model that a run's adapters belong to: the folder that it was imported from, or what the run began with.
func baseName(o origin, config Config) string {
	if o.Folder != "" {
		return o.Folder
	}
	return filepath.Base(filepath.Clean(config.Train.Init))
}

// ImportAdapter puts the adapters of a folder of the library peft on a model, a run or checkpoint, and writes both as a checkpoint
// at out, which must not exist or be empty. Adapters that the model has are merged into it first.
func ImportAdapter(fs vfs.FS, folder, from, out string) (*Imported, error) {
	if err := checkpoint.CheckNew(fs, out); err != nil {
		return nil, err
	}
	if ok, err := vfs.Exists(fs, filepath.Join(from, "config.json")); err == nil && ok {
		return nil, fault.Usage.Errorf("%s is a Hugging Face folder; hint: palimpsest import %s --out MODEL, then palimpsest import --adapter %s MODEL --out OUT", from, from, folder)
	}
	c, err := findCheckpoint(from)
	if err != nil {
		return nil, err
	}
	config, err := readConfig(c)
	if err != nil {
		return nil, err
	}
	tokenizerJSON, err := c.Read(TokenizerFile)
	if err != nil {
		return nil, err
	}
	tokenizer, err := text.Parse(tokenizerJSON)
	if err != nil {
		return nil, fault.Checkpoint.Errorf("%s: %s: %w", c.Dir(), TokenizerFile, err)
	}
	base, err := mergedWeights(c, config)
	if err != nil {
		return nil, err
	}
	defer base.Close()
	was := config.Adapter
	config.Model.Adapter = model.Adapter{}
	p, err := hf.OpenAdapter(folder, config.Model, looksBack(config), tokenizer)
	if err != nil {
		return nil, err
	}
	if was.On() {
		p.Notes = append(p.Notes, "the adapters that the model had are merged into its weights")
	}
	config.Adapter, config.Train.Init = p.Adapter, from
	if err := config.adapt(); err != nil {
		return nil, err
	}
	list := p.Tensors
	for _, param := range model.Layout(config.Model).Params {
		if !slices.ContainsFunc(list, func(t checkpoint.Tensor) bool { return t.Name == param.Name }) {
			list = append(list, copied(base, param))
		}
	}
	weights, err := checkpoint.TensorFile(modelFile, list, nil)
	if err != nil {
		return nil, err
	}
	contents := checkpoint.Contents{checkpoint.BytesFile(configFile, runfile.Marshal(config)), checkpoint.BytesFile(TokenizerFile, tokenizerJSON)}
	for _, name := range c.Files() {
		if name == originFile || strings.HasPrefix(name, companionPrefix) {
			data, err := c.Read(name)
			if err != nil {
				return nil, err
			}
			contents = append(contents, checkpoint.BytesFile(name, data))
		}
	}
	r := &Imported{Dir: out, Family: "adapter", Objective: config.phaseList()[0].name(), Parameters: model.NumParams(config.Model), Vocab: tokenizer.Vocab(), Model: config.Model,
		Notes: append(p.Notes, adapterNote(config.Model))}
	return r, checkpoint.Create(fs, out, 0, append(contents, weights))
}

// copied is a parameter's tensor, as a source has it.
func copied(from weightSource, p *model.Param) checkpoint.Tensor {
	return checkpoint.Tensor{Name: p.Name, DType: checkpoint.F32, Shape: p.Shape, Data: func(w io.Writer) error {
		const chunk = 1 << 18
		values, raw := make([]float32, min(chunk, p.Len())), make([]byte, 0, 4*chunk)
		for at := 0; at < p.Len(); at += len(values) {
			values = values[:min(len(values), p.Len()-at)]
			if err := from.ReadRange(p.Name, int64(at), values); err != nil {
				return fault.Checkpoint.Wrap(err)
			}
			if err := finite(p.Name, values); err != nil {
				return err
			}
			if _, err := w.Write(littleEndian(raw[:0], values)); err != nil {
				return err
			}
		}
		return nil
	}}
}
