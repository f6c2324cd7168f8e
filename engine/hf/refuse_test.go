package hf

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
)

// refused opens a folder that must be refused as bad data, with a message that names all of says.
func refused(t *testing.T, what, dir string, says ...string) {
	t.Helper()
	im, err := Open(dir, 1)
	if err == nil {
		im.Close()
		t.Errorf("%s: accepted", what)
		return
	}
	if fault.Of(err) != fault.Data {
		t.Errorf("%s: of kind %d: %v", what, fault.Of(err), err)
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("%s: the message lacks %q: %v", what, s, err)
		}
	}
}

// Every key that changes what is computed, and that has no place here, is an error that names it.
func TestConfigurationsThatAreRefused(t *testing.T) {
	for _, c := range []struct {
		family, key string
		value       any
	}{
		{"bert", "hidden_act", "relu"}, {"bert", "position_embedding_type", "relative_key"}, {"bert", "is_decoder", true}, {"bert", "hidden_size", 0},
		{"bert", "hidden_size", nil}, {"bert", "hidden_size", "12"}, {"bert", "num_attention_heads", 5}, {"bert", "layer_norm_eps", -1}, {"bert", "embedding_size", 3},
		{"bert", "vocab_size", 200}, {"bert", "vocab_size", 1 << 40}, {"bert", "num_hidden_layers", 1 << 20}, {"bert", "model_type", "t5"}, {"bert", "model_type", nil},
		{"bert", "pruned_heads", map[string]any{"0": []int{1}}}, {"bert", "add_cross_attention", true}, {"bert", "quantization_config", map[string]any{"bits": 4}},
		{"roberta", "pad_token_id", 100}, {"roberta", "pad_token_id", -7},
		{"gpt2", "scale_attn_weights", false}, {"gpt2", "scale_attn_by_inverse_layer_idx", true}, {"gpt2", "activation_function", "relu"}, {"gpt2", "n_head", 7},
		{"llama", "rope_scaling", map[string]any{"rope_type": "yarn", "factor": 2.0}}, {"llama", "rope_scaling", map[string]any{"type": "dynamic", "factor": 2.0}},
		{"llama", "rope_scaling", map[string]any{"rope_type": "linear", "factor": 0.1}},
		{"llama", "rope_scaling", 4}, {"llama", "rope_parameters", map[string]any{"rope_theta": 1.0}}, {"llama", "head_dim", 8}, {"llama", "hidden_act", "relu"},
		{"llama", "partial_rotary_factor", 0.5}, {"llama", "num_key_value_heads", 2},
		{"modernbert", "norm_bias", true}, {"modernbert", "layer_types", []string{localLayer, localLayer, globalLayer}}, {"modernbert", "layer_types", []string{globalLayer}},
		{"modernbert", "rope_parameters", map[string]any{globalLayer: map[string]any{"rope_type": "linear", "factor": 2.0}}}, {"modernbert", "rope_parameters", map[string]any{"elsewhere": map[string]any{"rope_theta": 2.0}}},
		{"modernbert", "local_attention", 1}, {"modernbert", "hidden_activation", "tanh"},
	} {
		f := folders[c.family]()
		f.config[c.key] = c.value
		says := c.key
		switch c.key {
		case "num_attention_heads", "n_head":
			says = "model.heads"
		case "num_key_value_heads":
			says = "model.kv_heads"
		}
		if c.key == "rope_scaling" && encode(t, c.value) == `{"factor":0.1,"rope_type":"linear"}` || c.key == "num_hidden_layers" || c.key == "vocab_size" && c.value == 200 {
			says = "model."
		}
		refused(t, c.family+" "+c.key+" "+encode(t, c.value), f.write(t, checkpoint.F32, 0), configFile, says)
	}
	f := bertLM()
	f.config["a_new_key"] = 3
	if im, _ := imported(t, f.write(t, checkpoint.F32, 0)); !strings.Contains(strings.Join(im.Notes, "\n"), "a_new_key") {
		t.Errorf("an unknown key is not told: %v", im.Notes)
	}
}

func TestTensorsThatAreRefused(t *testing.T) {
	f := bertLM()
	f.add("bert.encoder.layer.0.adapter.weight", 3)
	f.add("bert.encoder.layer.7.output.dense.weight", tC, tF)
	delete(f.tensors, "bert.encoder.layer.1.attention.self.key.bias")
	delete(f.tensors, "cls.predictions.bias")
	f.add("bert.embeddings.LayerNorm.weight", tC+1)
	refused(t, "all at once", f.write(t, checkpoint.F32, 0), "adapter.weight is not understood", "layer.7.output.dense.weight is not understood",
		"layer.1.attention.self.key.bias [12] is missing", "cls.predictions.bias [270] is missing", "bert.embeddings.LayerNorm.weight has shape [13]")

	refused(t, "doubles", bertLM().write(t, checkpoint.F64, 0), "F64")

	f = bertLM()
	f.add("embeddings.LayerNorm.weight", tC)
	refused(t, "one tensor twice", f.write(t, checkpoint.F32, 0), "same one under two names")

	f = gpt2LM()
	f.add("lm_head.weight", tV, tC)
	refused(t, "a head that should be tied", f.write(t, checkpoint.F32, 0), "lm_head.weight", "differ", "tie_word_embeddings")
	f.config["tie_word_embeddings"] = false
	if im, _ := imported(t, f.write(t, checkpoint.F32, 0)); im.Model.Tied.Yes() {
		t.Error("a free head is tied")
	}
	f = gpt2LM() // buffers are known
	f.add("transformer.h.0.attn.bias", 1, 1, tT, tT)
	f.add("transformer.h.0.attn.masked_bias", 1)
	if im, _ := imported(t, f.write(t, checkpoint.F32, 0)); !strings.Contains(strings.Join(im.Notes, "\n"), "attn.masked_bias") {
		t.Errorf("dropped in silence: %v", im.Notes)
	}
	f = llamaLM()
	delete(f.tensors, "lm_head.weight")
	refused(t, "a free head that is not there", f.write(t, checkpoint.F32, 0), "lm_head.weight [270 12] is missing")
}

// A number that is not finite stops the conversion.
func TestWeightThatIsNotFinite(t *testing.T) {
	dir := gpt2LM().write(t, checkpoint.F32, 0)
	data, err := os.ReadFile(filepath.Join(dir, weightsFile))
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, weightsFile, append(data[:len(data)-4], checkpoint.Encode(nil, []float32{float32(math.NaN())}, checkpoint.F32)...))
	im, err := Open(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	if err := checkpoint.WriteSafetensors(&bytes.Buffer{}, im.Tensors(), nil); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), "not finite") {
		t.Errorf("%v", err)
	}
}

func TestFilesThatAreRefused(t *testing.T) {
	refused(t, "no folder", filepath.Join(t.TempDir(), "absent"), configFile)
	dir := bertLM().write(t, checkpoint.F32, 0)
	if err := os.Rename(filepath.Join(dir, weightsFile), filepath.Join(dir, "pytorch_model.bin")); err != nil {
		t.Fatal(err)
	}
	refused(t, "a pickle", dir, "pytorch_model.bin", "pickle", "save_pretrained")
	dir = bertLM().write(t, checkpoint.F32, 0)
	put(t, dir, configFile, []byte("null"))
	refused(t, "null", dir, configFile)
	put(t, dir, configFile, []byte(`{"model_type": `))
	refused(t, "half a file", dir, configFile)
	dir = bertLM().write(t, checkpoint.F32, 0)
	if err := os.Remove(filepath.Join(dir, tokenizerFile)); err != nil {
		t.Fatal(err)
	}
	refused(t, "no tokenizer", dir, "tokenizer.json", "AutoTokenizer")

	index := func(change func(m map[string]string)) string {
		dir := bertLM().write(t, checkpoint.F32, 20)
		raw, err := os.ReadFile(filepath.Join(dir, indexFile))
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Map map[string]string `json:"weight_map"`
		}
		if err := json.Unmarshal(raw, &file); err != nil {
			t.Fatal(err)
		}
		change(file.Map)
		put(t, dir, indexFile, []byte(encode(t, file)))
		return dir
	}
	const bias = "cls.predictions.bias"
	for _, name := range []string{"../model-0.safetensors", "/etc/passwd", "sub/model-0.safetensors", "", ".hidden", `a\b`} {
		refused(t, "outside: "+name, index(func(m map[string]string) { m[bias] = name }), "no plain name", bias)
	}
	refused(t, "another file", index(func(m map[string]string) { m[bias] = "model-0.safetensors" }), bias, "does not have it")
	refused(t, "not named", index(func(m map[string]string) { delete(m, bias) }), bias, "does not name")
	refused(t, "a file too many", index(func(m map[string]string) { m["x"] = "model-9.safetensors" }), "model-9.safetensors")
	refused(t, "empty", index(func(m map[string]string) { clear(m) }), "weight_map")
}

// What no architecture holds is refused choice by choice, and exported with losses that are named.
func TestLossy(t *testing.T) {
	im, _ := imported(t, bertLM().write(t, checkpoint.F32, 0))
	c, problems := model.Config{Vocab: 270, Layers: 2, Width: 16, Heads: 2, Context: 8, Positions: "rope2d", Transform: yes, HeadBias: yes, InitScale: "none",
		Links: model.Links{Features: "hidden+position", Positions: 16, States: 4}}.Resolve(260)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var tensors []checkpoint.Tensor
	for _, p := range model.Layout(c).Params {
		tensors = append(tensors, checkpoint.Tensor{Name: p.Name, DType: checkpoint.F32, Shape: p.Shape, Data: values(p.Name, p.Len())})
	}
	var b bytes.Buffer
	if err := checkpoint.WriteSafetensors(&b, tensors, nil); err != nil {
		t.Fatal(err)
	}
	s, err := checkpoint.NewSafetensors(bytes.NewReader(b.Bytes()), int64(b.Len()), "ours")
	if err != nil {
		t.Fatal(err)
	}
	o := options(im, s)
	o.Model, o.Companions, o.Card = c, nil, (&Card{Name: "x"}).Markdown
	_, _, err = Export(o)
	if fault.Of(err) != fault.Usage {
		t.Fatalf("%v", err)
	}
	for _, want := range []string{"model.positions: rope2d", "model.placement: pre", "model.links.features: hidden+position", "model.links.states: 4", "--lossy"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the refusal does not mention %s: %v", want, err)
		}
	}
	o.Lossy = true
	dir, e := exported(t, o)
	w, _, err := openWeights(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.close()
	const up = "bert.encoder.layer.1.intermediate.dense.weight"
	if e.Architecture != "BertForMaskedLM" || !sameBits(readAll(t, w.where[up], up), values("layers.1.mlp.up.weight", 64*16)) {
		t.Errorf("%+v", e)
	}
	card, err := os.ReadFile(filepath.Join(dir, cardFile))
	if err != nil || !strings.Contains(string(card), "rope2d") {
		t.Errorf("the card does not say what is lost: %s, %v", card, err)
	}
	if again, err := Open(dir, 1); err != nil {
		t.Error(err)
	} else {
		again.Close()
	}
	o.Causal = true // attention that only looks back is another choice of class
	if _, _, err := Export(o); err != nil {
		t.Error(err)
	}
}

// Shapes of choices that fit without loss although the architecture has more: biases of zeros, a table of types, unused rows.
func TestFits(t *testing.T) {
	im, _ := imported(t, bertLM().write(t, checkpoint.F32, 0))
	for _, c := range []struct {
		config model.Config
		causal bool
		family string
	}{
		{model.Config{Preset: "gpt2"}, true, "gpt2"}, {model.Config{Preset: "gpt2", Bias: no}, true, "gpt2"}, {model.Config{Preset: "llama-tiny"}, true, "llama"},
		{model.Config{Preset: "llama-tiny", MLP: "geglu"}, true, "llama"}, {model.Config{Preset: "bert-mini"}, false, "bert"},
		{model.Config{Preset: "bert-mini", HeadBias: no}, false, "bert"}, {model.Config{Preset: "roberta-base"}, false, "bert"}, // its padding token is another one
		{model.Config{Preset: "roberta-base", PositionOffset: 3}, false, "roberta"}, {model.Config{Preset: "modernbert-base"}, false, "modernbert"},
		{model.Config{Preset: "modernbert-base", MLP: "swiglu"}, false, "modernbert"},
	} {
		resolved, problems := c.config.Resolve(260)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if f, _, lost := choose(resolved, c.causal, facts{tokenizer: im.Tokenizer}); f.name != c.family || len(lost) > 0 {
			t.Errorf("%+v: %s, lost %v", c.config, f.name, lost)
		}
	}
	for _, c := range []model.Config{{Preset: "ltg-bert"}, {Preset: "gpt-bert-base"}, {Preset: "exlm-base"}, {Preset: "tiny"}, {Preset: "gpt2"}} {
		resolved, problems := c.Resolve(260)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if f, _, lost := choose(resolved, false, facts{tokenizer: im.Tokenizer}); len(lost) == 0 {
			t.Errorf("%s fits %s", c.Preset, f.name)
		}
	}
}

// Whatever config.json says, reading it ends with a model that can be laid out or with an error.
func FuzzConfig(f *testing.F) {
	for _, make := range folders {
		data, err := json.Marshal(make().config)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte(`{"model_type":"modernbert","layer_types":[],"rope_parameters":{"full_attention":null}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		s, err := parseSettings(configFile, data)
		if err != nil {
			return
		}
		family, err := familyOf(s)
		if err != nil {
			return
		}
		c := family.read(s)
		if s.finish() != nil {
			return
		}
		c, problems := c.Resolve(1)
		if len(problems) > 0 || c.Layers > 64 {
			return
		}
		for _, p := range family.places(c) {
			if len(p.pieces) == 0 {
				t.Errorf("%s: parameter %s has no counterpart", family.name, p.param.Name)
			}
		}
	})
}
