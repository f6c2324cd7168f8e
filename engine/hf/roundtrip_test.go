package hf

import (
	"encoding/json"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/objectives"
)

// Every family comes back bit by bit and key by key, from one file or several, in each type.
func TestRoundTrip(t *testing.T) {
	for kind, make := range folders {
		for _, dtype := range []checkpoint.DType{checkpoint.F32, checkpoint.BF16, checkpoint.F16} {
			perFile := map[checkpoint.DType]int{checkpoint.BF16: 7}[dtype]
			f := make()
			im, ours := imported(t, f.write(t, dtype, perFile))
			if im.Family != kind || im.Causal != (kind == "gpt2" || kind == "llama") || len(im.New) > 0 {
				t.Errorf("%s: %+v", kind, im)
			}
			o := options(im, ours)
			if o.DType = dtype; perFile > 0 {
				o.ShardSize = 4000
			}
			dir, e := exported(t, o)
			w, _, err := openWeights(dir)
			if err != nil {
				t.Fatal(err)
			}
			defer w.close()
			if names := slices.Sorted(maps.Keys(f.tensors)); !slices.Equal(w.names(), names) {
				t.Errorf("%s: tensors %v, want %v", kind, w.names(), names)
				continue
			}
			for name, shape := range f.tensors {
				if info := w.info(name); !slices.Equal(info.Shape, shape) || info.DType != dtype {
					t.Errorf("%s: %s is %s %v", kind, name, info.DType, info.Shape)
				}
				if !sameBits(readAll(t, w.where[name], name), values(name, length(shape))) {
					t.Errorf("%s: %s changed", kind, name)
				}
			}
			if many := len(w.files) > 1; many != (perFile > 0) || many != slices.Contains(e.Files, indexFile) {
				t.Errorf("%s: files %v", kind, e.Files)
			}
			var config map[string]any
			raw, err := os.ReadFile(filepath.Join(dir, configFile))
			if err != nil || json.Unmarshal(raw, &config) != nil {
				t.Fatal(err)
			}
			was, err := json.Marshal(f.config)
			if err != nil {
				t.Fatal(err)
			}
			var want map[string]any
			if err := json.Unmarshal(was, &want); err != nil {
				t.Fatal(err)
			}
			for _, gone := range []string{"n_ctx", "pretraining_tp", "classifier_pooling", "sparse_prediction", "n_inner"} { // without effect, or their default
				delete(want, gone)
			}
			for key, value := range want {
				if a, b := encode(t, config[key]), encode(t, value); a != b {
					t.Errorf("%s: %s is %s, was %s", kind, key, a, b)
				}
			}
			again, err := Open(dir, 1)
			if err != nil {
				t.Fatalf("%s: the export is not taken back: %v", kind, err)
			}
			defer again.Close()
			if again.Model.Layers != tL || encode(t, plain(again.Model)) != encode(t, plain(im.Model)) {
				t.Errorf("%s: the model is %+v, was %+v", kind, again.Model, im.Model)
			}
		}
	}
}

func encode(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Where each number of theirs lies in ours, for the kinds of places that are not one to one.
func TestPlaces(t *testing.T) {
	_, b := imported(t, bertLM().write(t, checkpoint.F32, 0))
	qkv := readAll(t, b, "layers.1.attention.qkv.weight")
	for i, part := range []string{"query", "key", "value"} {
		name := "bert.encoder.layer.1.attention.self." + part
		if !sameBits(qkv[i*tC*tC:(i+1)*tC*tC], values(name+".weight", tC*tC)) ||
			!sameBits(readAll(t, b, "layers.1.attention.qkv.bias")[i*tC:(i+1)*tC], values(name+".bias", tC)) {
			t.Errorf("bert: %s is not where it belongs", part)
		}
	}
	_, g := imported(t, gpt2LM().write(t, checkpoint.F32, 0))
	up, theirs := readAll(t, g, "layers.2.mlp.up.weight"), values("transformer.h.2.mlp.c_fc.weight", 4*tC*tC)
	for out := range 4 * tC {
		for in := range tC {
			if up[out*tC+in] != theirs[in*4*tC+out] {
				t.Fatal("gpt2: c_fc is not transposed")
			}
		}
	}
	im, l := imported(t, llamaLM().write(t, checkpoint.F32, 0))
	gates := readAll(t, l, "layers.0.mlp.up.weight")
	if !sameBits(gates[:tF*tC], values("model.layers.0.mlp.gate_proj.weight", tF*tC)) || !sameBits(gates[tF*tC:], values("model.layers.0.mlp.up_proj.weight", tF*tC)) {
		t.Error("llama: gates come first, values second")
	}
	if qkv := readAll(t, l, "layers.0.attention.qkv.weight"); len(qkv) != (3+1+1)*4*tC || !sameBits(qkv[4*4*tC:], values("model.layers.0.self_attn.v_proj.weight", 4*tC)) {
		t.Error("llama: grouped values come last")
	}
	if im.Model.KVHeads != 1 || im.Model.Tied.Yes() || im.Model.RopeBase != 5000 {
		t.Errorf("llama: %+v", im.Model)
	}
	im, r := imported(t, robertaLM().write(t, checkpoint.F32, 0))
	if info, _ := r.Info("embed.positions.weight"); im.Model.Context != tT || im.Model.PositionOffset != 3 || info.Shape[0] != tT+3 {
		t.Errorf("roberta: %+v", im.Model)
	}
	im, _ = imported(t, modernLM().write(t, checkpoint.F32, 0))
	if a := im.Model.Attention; a != (model.Attention{Window: 8, GlobalEvery: 2, LocalBase: 10000}) || im.Model.RopeBase != 160000 || im.Model.Norm != "layernorm" {
		t.Errorf("modernbert: %+v", im.Model)
	}
}

// rename gives tensors other names.
func (f folder) rename(old ...string) folder {
	r := strings.NewReplacer(old...)
	out := folder{f.config, map[string][]int{}}
	for name, shape := range f.tensors {
		out.tensors[r.Replace(name)] = shape
	}
	return out
}

func TestOtherSpellings(t *testing.T) {
	old := bertLM().rename("LayerNorm.weight", "LayerNorm.gamma", "LayerNorm.bias", "LayerNorm.beta")
	_, s := imported(t, old.write(t, checkpoint.F32, 0))
	if !sameBits(readAll(t, s, "layers.0.mlp.norm.weight"), values("bert.encoder.layer.0.output.LayerNorm.gamma", tC)) {
		t.Error("gamma is the norm's weight")
	}
	five := llamaLM()
	delete(five.config, "rope_theta")
	five.config["rope_parameters"] = map[string]any{"rope_type": "llama3", "rope_theta": 7.0, "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8}
	im, _ := imported(t, five.write(t, checkpoint.F32, 0))
	if im.Model.RopeBase != 7 || im.Model.RopeScaling != (model.RopeScaling{Kind: "llama3", Factor: 8, Low: 1, High: 4, Original: 8}) {
		t.Errorf("rope_parameters: %+v", im.Model)
	}
	five = modernLM()
	for _, key := range []string{"global_rope_theta", "local_rope_theta", "global_attn_every_n_layers"} {
		delete(five.config, key)
	}
	five.config["layer_types"] = []string{globalLayer, localLayer, globalLayer}
	five.config["rope_parameters"] = map[string]any{globalLayer: map[string]any{"rope_type": "default", "rope_theta": 9.0}, localLayer: map[string]any{"rope_theta": 8.0}}
	im, _ = imported(t, five.write(t, checkpoint.F32, 0))
	if im.Model.RopeBase != 9 || im.Model.Attention != (model.Attention{Window: 8, GlobalEvery: 2, LocalBase: 8}) {
		t.Errorf("layer_types: %+v", im.Model)
	}
}

// A body without a head gets a new one, says so, and goes back without it.
func TestBodies(t *testing.T) {
	f := bertFolder("bert", 0).rename("bert.", "")
	f.config["architectures"] = []string{"BertModel"}
	f.add("pooler.dense.weight", tC, tC)
	f.add("pooler.dense.bias", tC)
	f.add("embeddings.position_ids", 1, tT)
	dir := f.write(t, checkpoint.F32, 0)
	im, s := imported(t, dir)
	notes := strings.Join(im.Notes, "\n")
	for _, want := range []string{"pooler.dense.weight", "embeddings.position_ids", "new", "head.lm.transform.weight", "padded: 10 rows"} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes do not mention %s:\n%s", want, notes)
		}
	}
	if len(im.New) != 5 || !im.Bare {
		t.Errorf("new: %v", im.New)
	}
	if w := readAll(t, s, "head.lm.norm.weight"); w[0] != 1 {
		t.Errorf("a new norm's weight is %v", w[0])
	}
	if w := readAll(t, s, "head.lm.transform.weight"); w[0] == 0 || w[0] == w[1] {
		t.Errorf("new weights are %v", w[:2])
	}
	o := options(im, s)
	o.Head = "none"
	out, e := exported(t, o)
	w, _, err := openWeights(out)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if e.Architecture != "BertModel" || len(w.where) != len(f.tensors)-3 || !sameBits(readAll(t, w.where["embeddings.LayerNorm.bias"], "embeddings.LayerNorm.bias"), values("embeddings.LayerNorm.bias", tC)) {
		t.Errorf("%+v: %v", e, w.names())
	}
	var parts map[string]json.RawMessage
	raw, err := os.ReadFile(filepath.Join(out, tokenizerFile))
	if err != nil || json.Unmarshal(raw, &parts) != nil || !strings.Contains(string(parts["post_processor"]), "TemplateProcessing") {
		t.Errorf("the tokenizer frames no texts: %s, %v", parts["post_processor"], err)
	}
}

func TestClassifiers(t *testing.T) {
	f := bertFolder("bert", 0)
	f.config["architectures"] = []string{"BertForTokenClassification"}
	f.linear("classifier", true, 5, tC)
	im, s := imported(t, f.write(t, checkpoint.F32, 0))
	if len(im.Model.Classifiers) != 1 || im.Model.Classifiers[0] != (objectives.Head{Name: "tag", Kind: "token", Classes: 5}) {
		t.Fatalf("%+v", im.Model.Classifiers)
	}
	o := options(im, s)
	o.Head = "tag"
	dir, e := exported(t, o)
	w, _, err := openWeights(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	if e.Architecture != "BertForTokenClassification" || !slices.Equal(w.names(), slices.Sorted(maps.Keys(f.tensors))) {
		t.Errorf("%+v: %v", e, w.names())
	}
	o.Head = "mood"
	if _, _, err := Export(o); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "tag") {
		t.Errorf("an unknown head: %v", err)
	}
	f = modernLM()
	delete(f.tensors, "decoder.bias")
	f.config["architectures"], f.config["classifier_pooling"] = []string{"ModernBertForSequenceClassification"}, "cls"
	f.linear("classifier", true, 3, tC)
	im, s = imported(t, f.write(t, checkpoint.F32, 0))
	if !sameBits(readAll(t, s, "head.cls.label.transform.weight"), values("head.dense.weight", tC*tC)) || len(im.New) != 3 {
		t.Errorf("new: %v", im.New)
	}
	o = options(im, s)
	o.Head = "label"
	if _, e, err := Export(o); err != nil || e.Architecture != "ModernBertForSequenceClassification" {
		t.Errorf("%+v, %v", e, err)
	}
	o.ReadsLast = true
	if _, _, err := Export(o); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "first token") {
		t.Errorf("a head that reads the last token: %v", err)
	}
	f.config["classifier_pooling"] = "mean"
	if im, _ := imported(t, f.write(t, checkpoint.F32, 0)); len(im.Model.Classifiers) != 0 {
		t.Errorf("a head that reads the mean: %v", im.Model.Classifiers)
	}
	f = bertFolder("bert", 0) // of sequences: the pooler has no place, so neither has what reads it
	f.config["architectures"] = []string{"BertForSequenceClassification"}
	f.linear("classifier", true, 5, tC)
	f.linear("bert.pooler.dense", true, tC, tC)
	if im, _ = imported(t, f.write(t, checkpoint.F32, 0)); len(im.Model.Classifiers) != 0 || !strings.Contains(strings.Join(im.Notes, "\n"), "classifier.weight") {
		t.Errorf("%v", im.Notes)
	}
}

// Rounding is to nearest, ties to even; what is too large is an error that names the tensor.
func TestNarrowTypes(t *testing.T) {
	for _, c := range []struct {
		v     float32
		dtype checkpoint.DType
		want  float32
		fits  bool
	}{{1 + 0x1p-8, checkpoint.BF16, 1, true}, {1 + 3*0x1p-8, checkpoint.BF16, 1 + 0x1p-6, true}, {math.MaxFloat32, checkpoint.BF16, 0, false},
		{1 + 0x1p-11, checkpoint.F16, 1, true}, {65519, checkpoint.F16, 65504, true}, {65520, checkpoint.F16, 0, false}, {-65520, checkpoint.F16, 0, false}} {
		err := overflow("w", []float32{c.v}, 0, c.dtype)
		if (err == nil) != c.fits {
			t.Errorf("%v as %s: %v", c.v, c.dtype, err)
			continue
		}
		if !c.fits {
			if !strings.Contains(err.Error(), "w: element 0") {
				t.Error(err)
			}
			continue
		}
		path := filepath.Join(t.TempDir(), "x")
		var b strings.Builder
		if err := checkpoint.WriteSafetensors(&b, []checkpoint.Tensor{{Name: "w", DType: c.dtype, Shape: []int{1}, Data: checkpoint.Encode(nil, []float32{c.v}, c.dtype)}}, nil); err != nil {
			t.Fatal(err)
		}
		put(t, filepath.Dir(path), "x", []byte(b.String()))
		s, err := checkpoint.OpenSafetensors(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := readAll(t, s, "w")[0]; got != c.want {
			t.Errorf("%v as %s is %v, want %v", c.v, c.dtype, got, c.want)
		}
		s.Close()
	}
}
