package hf

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/vfs"
)

// drawn are tensors of adapters that were never anywhere: a function of their names.
type drawn struct{ Tensors }

func (d drawn) ReadRange(name string, from int64, dst []float32) error {
	if !model.IsAdapter(name) {
		return d.Tensors.ReadRange(name, from, dst)
	}
	copy(dst, values(name, int(from)+len(dst))[from:])
	return nil
}

func adapterOf(rank int, targets ...string) model.Adapter {
	a := model.DefaultAdapter()
	a.Rank, a.Alpha, a.Targets = rank, 7, targets
	return a
}

// exportedAdapter writes the adapters of a folder's model.
func exportedAdapter(t *testing.T, o ExportOptions, a model.Adapter) (dir string, e Exported) {
	t.Helper()
	o.Tensors = drawn{o.Tensors}
	contents, e, err := ExportAdapter(o, a, "base")
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(t.TempDir(), "peft")
	if err := checkpoint.WriteFolder(vfs.OS{}, dir, contents); err != nil {
		t.Fatal(err)
	}
	return dir, e
}

// contentsOf are the tensors that a folder gave.
func contentsOf(t *testing.T, list []checkpoint.Tensor) map[string][]byte {
	t.Helper()
	got := map[string][]byte{}
	for _, tensor := range list {
		var b strings.Builder
		if err := tensor.Data.(func(io.Writer) error)(&b); err != nil {
			t.Fatal(err)
		}
		got[tensor.Name] = []byte(b.String())
	}
	return got
}

// The folders have the names that peft looks up, and come back with the same bits.
func TestAdaptersRoundTrip(t *testing.T) {
	for family, x := range map[string]struct {
		targets []string
		modules []string // in adapter_config.json
		some    map[string][]int
	}{
		"bert": {[]string{"attention.qkv", "mlp.down"}, []string{"0.output.dense", "1.output.dense", "2.output.dense", "key", "query", "value"}, map[string][]int{
			"bert.encoder.layer.1.attention.self.key.lora_A.weight": {2, tC}, "bert.encoder.layer.1.attention.self.key.lora_B.weight": {tC, 2},
			"bert.encoder.layer.2.output.dense.lora_A.weight": {2, tF}}},
		"roberta": {model.Config{}.AdapterTargets(), []string{"intermediate.dense", "key", "output.dense", "query", "value"}, map[string][]int{
			"roberta.encoder.layer.0.intermediate.dense.lora_B.weight": {tF, 2}}},
		"gpt2": {[]string{"attention.qkv", "attention.proj"}, []string{"attn.c_proj", "c_attn"}, map[string][]int{"transformer.h.0.attn.c_attn.lora_B.weight": {3 * tC, 2}}},
		"llama": {[]string{"attention.qkv", "mlp.up"}, []string{"gate_proj", "k_proj", "q_proj", "up_proj", "v_proj"}, map[string][]int{
			"model.layers.1.self_attn.k_proj.lora_B.weight": {4, 2}, "model.layers.1.mlp.gate_proj.lora_A.weight": {2, tC}}},
		"modernbert": {model.Config{}.AdapterTargets(), []string{"Wi", "Wo", "Wqkv"}, map[string][]int{"model.layers.0.mlp.Wi.lora_B.weight": {2 * tF, 2}}},
	} {
		t.Run(family, func(t *testing.T) {
			im, s := imported(t, folders[family]().write(t, checkpoint.F32, 0))
			a := adapterOf(2, x.targets...)
			if family == "llama" {
				a.Scaling, a.Dropout = "rank_stabilized", 0.125
			}
			dir, e := exportedAdapter(t, options(im, s), a)
			var c map[string]any
			data, err := os.ReadFile(filepath.Join(dir, adapterConfigFile))
			if err != nil || json.Unmarshal(data, &c) != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprint(c["target_modules"]); got != fmt.Sprint(x.modules) {
				t.Errorf("modules %s, want %v", got, x.modules)
			}
			want := map[string]any{"peft_type": "LORA", "r": 2.0, "lora_alpha": 7.0, "fan_in_fan_out": family == "gpt2", "use_rslora": family == "llama", "lora_dropout": a.Dropout, "bias": "none", "modules_to_save": nil,
				"base_model_name_or_path": "base", "task_type": nil}
			if im.Causal {
				want["task_type"] = "CAUSAL_LM"
			}
			for key, v := range want {
				if got, ok := c[key]; !ok || got != v {
					t.Errorf("%s is %v, want %v", key, got, v)
				}
			}
			file, err := checkpoint.OpenSafetensors(filepath.Join(dir, adapterWeightsFile))
			if err != nil {
				t.Fatal(err)
			}
			defer file.Close()
			for name, shape := range x.some {
				if info, ok := file.Info(peftPrefix + name); !ok || !slices.Equal(info.Shape, shape) {
					t.Errorf("%s: %v, want %v", name, info.Shape, shape)
				}
			}
			p, err := OpenAdapter(dir, im.Model, im.Causal, im.Tokenizer)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := fmt.Sprintf("%+v", p.Adapter), fmt.Sprintf("%+v", a); got != want {
				t.Errorf("%s came back as %s", want, got)
			}
			got := contentsOf(t, p.Tensors)
			elements := int64(0)
			for name, b := range got {
				var want strings.Builder
				if err := writeFloats(&want, values(name, len(b)/4)); err != nil || want.String() != string(b) {
					t.Errorf("%s came back with other numbers: %v", name, err)
				}
				elements += int64(len(b) / 4)
			}
			if len(got) != 2*tL*len(x.targets) || e.Parameters < elements {
				t.Errorf("%d tensors of %d numbers, exported %d", len(got), elements, e.Parameters)
			}
		})
	}
}

// peftFolder writes a folder of peft by hand.
func peftFolder(t *testing.T, config map[string]any, tensors map[string][]int) string {
	t.Helper()
	dir := t.TempDir()
	data, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, adapterConfigFile, data)
	var list []checkpoint.Tensor
	for name, shape := range tensors {
		list = append(list, checkpoint.Tensor{Name: name, DType: checkpoint.F32, Shape: shape, Data: values(name, length(shape))})
	}
	slices.SortFunc(list, func(a, b checkpoint.Tensor) int { return strings.Compare(a.Name, b.Name) })
	var b strings.Builder
	if err := checkpoint.WriteSafetensors(&b, list, nil); err != nil {
		t.Fatal(err)
	}
	put(t, dir, adapterWeightsFile, []byte(b.String()))
	return dir
}

func floatsOf(t *testing.T, b []byte) []float32 {
	t.Helper()
	v := make([]float32, len(b)/4)
	s, err := checkpoint.NewSafetensors(strings.NewReader(safetensorsOf(t, b)), int64(len(safetensorsOf(t, b))), "x")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ReadFloat32("x", v); err != nil {
		t.Fatal(err)
	}
	return v
}

func safetensorsOf(t *testing.T, raw []byte) string {
	t.Helper()
	var b strings.Builder
	x := checkpoint.Tensor{Name: "x", DType: checkpoint.F32, Shape: []int{len(raw) / 4}, Data: func(w io.Writer) error { _, err := w.Write(raw); return err }}
	if err := checkpoint.WriteSafetensors(&b, []checkpoint.Tensor{x}, nil); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Query and value with an A each become one adapter of twice the rank, whose product is that of both.
func TestAdaptersStack(t *testing.T) {
	im, _ := imported(t, folders["llama"]().write(t, checkpoint.F32, 0))
	const layer = "base_model.model.model.layers.1.self_attn."
	kv := im.Model.KVHeads * im.Model.Width / im.Model.Heads
	dir := peftFolder(t, map[string]any{"peft_type": "LORA", "r": 3, "lora_alpha": 6, "use_rslora": true, "peft_version": "0.18.0", "alpha_pattern": map[string]any{}, "eva_config": nil}, map[string][]int{
		layer + "q_proj.lora_A.weight": {3, tC}, layer + "q_proj.lora_B.weight": {tC, 3}, layer + "v_proj.lora_A.weight": {3, tC}, layer + "v_proj.lora_B.weight": {kv, 3}})
	p, err := OpenAdapter(dir, im.Model, true, im.Tokenizer)
	if err != nil {
		t.Fatal(err)
	}
	if a := p.Adapter; a.Rank != 6 || a.Scaling != "rank_stabilized" || a.Scale()-6/1.7320508 > 1e-6 || !slices.Equal(a.Targets, []string{"attention.qkv"}) {
		t.Errorf("%+v", a)
	}
	if notes := strings.Join(p.Notes, "; "); !strings.Contains(notes, "rank 3 becomes 6") || !strings.Contains(notes, "zero here: layers.0.attention.qkv, layers.2.attention.qkv") {
		t.Errorf("notes: %s", notes)
	}
	got := contentsOf(t, p.Tensors)
	nameA, nameB := model.AdapterNames("layers.1.attention.qkv")
	a, b, out := floatsOf(t, got[nameA]), floatsOf(t, got[nameB]), tC+2*kv
	for row := range out {
		for column := range tC {
			sum, want := float32(0), float32(0)
			for k := range 6 {
				sum += b[k*out+row] * a[k*tC+column]
			}
			part, at, rows := "q_proj", row, tC
			if row >= tC+kv {
				part, at, rows = "v_proj", row-tC-kv, kv
			}
			if row < tC || row >= tC+kv {
				x, y := values(layer+part+".lora_A.weight", 3*tC), values(layer+part+".lora_B.weight", rows*3)
				for k := range 3 {
					want += y[at*3+k] * x[k*tC+column]
				}
			}
			if d := sum - want; d > 1e-5 || d < -1e-5 {
				t.Fatalf("element %d,%d is %g, want %g", row, column, sum, want)
			}
		}
	}
}

func TestAdaptersThatAreRefused(t *testing.T) {
	im, s := imported(t, folders["llama"]().write(t, checkpoint.F32, 0))
	const q = "base_model.model.model.layers.1.self_attn.q_proj"
	config := func(key string, value any) map[string]any {
		c := map[string]any{"peft_type": "LORA", "r": 2, "lora_alpha": 4}
		c[key] = value
		return c
	}
	good := map[string][]int{q + ".lora_A.weight": {2, tC}, q + ".lora_B.weight": {tC, 2}}
	with := func(name string, shape ...int) map[string][]int {
		m := map[string][]int{q + ".lora_A.weight": {2, tC}, q + ".lora_B.weight": {tC, 2}}
		if m[name] = shape; len(shape) == 0 {
			delete(m, name)
		}
		return m
	}
	if _, err := OpenAdapter(peftFolder(t, config("r", 2), good), im.Model, true, im.Tokenizer); err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		config  map[string]any
		tensors map[string][]int
		says    []string
	}{
		{config("peft_type", "IA3"), good, []string{adapterConfigFile, "peft_type", "IA3"}},
		{config("peft_type", nil), good, []string{"peft_type"}},
		{config("r", 0), good, []string{"r: want a size"}},
		{config("lora_alpha", "x"), good, []string{"lora_alpha"}},
		{config("lora_dropout", 1), good, []string{"lora_dropout: want a number from 0 to below 1"}},
		{config("use_dora", true), good, []string{"use_dora", "DoRA"}},
		{config("bias", "lora_only"), good, []string{"bias: lora_only"}},
		{config("rank_pattern", map[string]int{"q_proj": 4}), good, []string{"rank_pattern", "not known"}},
		{config("init_lora_weights", "pissa"), good, []string{"init_lora_weights", "pissa"}},
		{config("something_new", 3), good, []string{"something_new: 3 is not known here"}},
		{config("r", 3), good, []string{q + ".lora_A.weight has shape [2 12]", "want [3 12]"}},
		{config("r", 2), with(q + ".lora_B.weight"), []string{"only one of lora_A and lora_B"}},
		{config("r", 2), with(q+".lora_B.weight", 2, tC), []string{"has shape [2 12]", "want [12 2]"}},
		{config("r", 2), with("base_model.model.model.embed_tokens.lora_A.weight", 2, tV), []string{"embed_tokens", "known: the modules of attention.qkv"}},
		{config("r", 2), with("base_model.model.model.layers.7.self_attn.q_proj.lora_A.weight", 2, tC), []string{"layers.7"}},
		{config("r", 2), with("base_model.model.lm_head.weight", tV, tC), []string{"lm_head.weight is neither"}},
		{config("r", 2), with("model.layers.0.x", 3), []string{"does not begin with base_model.model."}},
		{config("r", 2), map[string][]int{}, []string{"no adapter in it"}},
	} {
		_, err := OpenAdapter(peftFolder(t, x.config, x.tensors), im.Model, true, im.Tokenizer)
		if fault.Of(err) != fault.Data {
			t.Errorf("%v: %v", x.says, err)
			continue
		}
		for _, part := range x.says {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("the message lacks %q: %v", part, err)
			}
		}
	}
	for _, x := range []struct {
		file string
		data string
		says string
	}{
		{adapterConfigFile, "{", "unexpected end"}, {adapterConfigFile, "null", "expected an object"}, {adapterWeightsFile, "short", adapterWeightsFile},
	} {
		dir := peftFolder(t, config("r", 2), good)
		put(t, dir, x.file, []byte(x.data))
		if _, err := OpenAdapter(dir, im.Model, true, im.Tokenizer); err == nil || !strings.Contains(err.Error(), x.says) {
			t.Errorf("%s %q: %v", x.file, x.data, err)
		}
	}
	pickle := peftFolder(t, config("r", 2), good)
	if err := os.Rename(filepath.Join(pickle, adapterWeightsFile), filepath.Join(pickle, "adapter_model.bin")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenAdapter(pickle, im.Model, true, im.Tokenizer); fault.Of(err) != fault.Data || !strings.Contains(err.Error(), "pickle") {
		t.Error(err)
	}
	odd := options(im, s)
	odd.Model.Positions = "rope2d"
	if _, _, err := ExportAdapter(odd, adapterOf(2, "mlp.up"), "base"); fault.Of(err) != fault.Usage || !strings.Contains(err.Error(), "positions: rope2d") {
		t.Error(err)
	}
}

// A head that was trained with the adapters goes along both ways.
func TestAdaptersWithAHead(t *testing.T) {
	f := bertFolder("bert", 0)
	f.config["architectures"] = []string{"BertForTokenClassification"}
	f.linear("classifier", true, 5, tC)
	im, s := imported(t, f.write(t, checkpoint.F32, 0))
	o := options(im, s)
	o.Head = "tag"
	dir, e := exportedAdapter(t, o, adapterOf(1, "attention.proj"))
	data, err := os.ReadFile(filepath.Join(dir, adapterConfigFile))
	if err != nil || !strings.Contains(string(data), `"TOKEN_CLS"`) || !strings.Contains(string(data), `"classifier"`) || e.Architecture != "BertForTokenClassification" {
		t.Errorf("%+v\n%s %v", e, data, err)
	}
	p, err := OpenAdapter(dir, im.Model, false, im.Tokenizer)
	if err != nil {
		t.Fatal(err)
	}
	got := contentsOf(t, p.Tensors)
	for _, name := range []string{"head.cls.tag.weight", "head.cls.tag.bias"} {
		if !sameBits(floatsOf(t, got[name]), readAll(t, s, name)) {
			t.Errorf("%s came back with other numbers", name)
		}
	}
}
