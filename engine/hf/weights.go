package hf

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
)

// Names of files in a folder.
const (
	configFile  = "config.json"
	weightsFile = "model.safetensors"
	indexFile   = "model.safetensors.index.json"
)

// Bounds of what is read into memory.
const (
	maxConfig = 16 << 20
	maxIndex  = 256 << 20
)

// weights are the tensors of a folder, of one file or of several.
type weights struct {
	files []*checkpoint.Safetensors
	where map[string]*checkpoint.Safetensors // by tensor
}

func (w *weights) close() error {
	var errs []error
	for _, f := range w.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

func (w *weights) names() []string { return slices.Sorted(maps.Keys(w.where)) }

func (w *weights) info(name string) checkpoint.TensorInfo {
	t, _ := w.where[name].Info(name)
	return t
}

// openWeights opens model.safetensors, or the files that model.safetensors.index.json names.
func openWeights(dir string) (_ *weights, notes []string, err error) {
	w := &weights{where: map[string]*checkpoint.Safetensors{}}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	single, indexed := exists(dir, weightsFile), exists(dir, indexFile)
	switch {
	case single:
		if indexed {
			notes = append(notes, fmt.Sprintf("%s is there as well as %s, which is read, as transformers does", indexFile, weightsFile))
		}
		f, err := w.open(dir, weightsFile)
		if err != nil {
			return nil, nil, err
		}
		for _, name := range f.Names() {
			w.where[name] = f
		}
		return w, notes, nil
	case indexed:
		return w, nil, w.openIndexed(dir)
	}
	return nil, nil, noWeights(dir)
}

func exists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

func (w *weights) open(dir, name string) (*checkpoint.Safetensors, error) {
	f, err := checkpoint.OpenSafetensors(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	w.files = append(w.files, f)
	return f, nil
}

// openIndexed opens the files of an index. The map and the files must tell the same, tensor by tensor.
func (w *weights) openIndexed(dir string) error {
	path := filepath.Join(dir, indexFile)
	data, err := readFile(path, maxIndex)
	if err != nil {
		return err
	}
	var index struct {
		Map map[string]string `json:"weight_map"`
	}
	if err := json.Unmarshal(data, &index); err != nil {
		return fault.Data.Errorf("%s: %w", path, err)
	}
	if len(index.Map) == 0 {
		return fault.Data.Errorf("%s: weight_map is missing or empty", path)
	}
	byFile := map[string]*checkpoint.Safetensors{}
	for _, name := range slices.Sorted(maps.Keys(index.Map)) {
		file := index.Map[name]
		if byFile[file] == nil {
			if file == "" || strings.HasPrefix(file, ".") || strings.ContainsAny(file, `/\:`+"\x00") {
				return fault.Data.Errorf("%s: weight_map: %s is in %q, which is no plain name of a file of this folder", path, name, file)
			}
			if byFile[file], err = w.open(dir, file); err != nil {
				return err
			}
		}
		if _, ok := byFile[file].Info(name); !ok {
			return fault.Data.Errorf("%s: weight_map: %s should be in %s, which does not have it; hint: copy the whole folder anew", path, name, file)
		}
		w.where[name] = byFile[file]
	}
	for _, file := range slices.Sorted(maps.Keys(byFile)) {
		for _, name := range byFile[file].Names() {
			if w.where[name] != byFile[file] {
				return fault.Data.Errorf("%s: %s has the tensor %s, which weight_map does not name there; hint: copy the whole folder anew", path, file, name)
			}
		}
	}
	return nil
}

// noWeights says what is there instead of safetensors and how to convert it.
func noWeights(dir string) error {
	others, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		return fault.Data.Wrap(err)
	}
	for _, other := range others {
		name := filepath.Base(other)
		switch {
		case strings.HasPrefix(name, "pytorch_model") && strings.HasSuffix(name, ".bin"), strings.HasSuffix(name, ".pt"), strings.HasSuffix(name, ".pth"):
			return fault.Data.Errorf("%s: no %s; %s is a pickle, which runs code when it is read, and is never opened here; hint: convert it where you trust it: "+
				"python -c \"from transformers import AutoModel; AutoModel.from_pretrained('%s').save_pretrained('NEW', safe_serialization=True)\", "+
				"with AutoModelForCausalLM or AutoModelForMaskedLM for a model with its head; then copy the tokenizer's files beside it", dir, weightsFile, name, dir)
		case name == "tf_model.h5", name == "flax_model.msgpack", strings.HasSuffix(name, ".gguf"):
			return fault.Data.Errorf("%s: no %s; %s is of another format; hint: save the model with transformers' save_pretrained", dir, weightsFile, name)
		}
	}
	return fault.Data.Errorf("%s: neither %s nor %s; hint: give a folder made by transformers' save_pretrained", dir, weightsFile, indexFile)
}

// readFile reads a small regular file.
func readFile(path string, most int64) ([]byte, error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fault.Data.Errorf("%s: there is no such file", path)
	}
	if err == nil && (!info.Mode().IsRegular() || info.Size() > most) {
		err = fmt.Errorf("expected a file of at most %d bytes, it has %d", most, info.Size())
	}
	if err != nil {
		return nil, fault.Data.Errorf("%s: %w", path, err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fault.Data.Errorf("%s: %w", path, err)
	}
	return data, nil
}
