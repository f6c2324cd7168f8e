package hf

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/text"
	"palimpsest/engine/vfs"
	"palimpsest/kernels/philox"
)

// A folder is one of Hugging Face as transformers writes it, with the names and shapes spelt out here, apart from the tables
// that are tested.
type folder struct {
	config  map[string]any
	tensors map[string][]int
}

const (
	tV, tC, tF, tL, tT = 270, 12, 20, 3, 16 // vocabulary with rows to spare, width, feed-forward, layers, positions
	tH, tK             = 4, 2
)

// tokenizerJSON is byte-level BPE with four special tokens and no merges.
func tokenizerJSON(t testing.TB) []byte {
	tokenizer, _, err := text.Train(func(yield func([]byte, error) bool) { yield([]byte("a b c"), nil) }, text.TrainOptions{Vocab: 260})
	if err != nil {
		t.Fatal(err)
	}
	data, err := tokenizer.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (f folder) add(name string, shape ...int) { f.tensors[name] = shape }

func (f folder) linear(name string, bias bool, out, in int) {
	f.add(name+".weight", out, in)
	if bias {
		f.add(name+".bias", out)
	}
}

func (f folder) norm(name string) {
	f.add(name+".weight", tC)
	f.add(name+".bias", tC)
}

func bertFolder(kind string, offset int) folder {
	f := folder{map[string]any{"model_type": kind, "architectures": []string{map[string]string{"bert": "BertForMaskedLM", "roberta": "RobertaForMaskedLM"}[kind]},
		"vocab_size": tV, "hidden_size": tC, "num_hidden_layers": tL, "num_attention_heads": tH, "intermediate_size": tF, "max_position_embeddings": tT + offset,
		"type_vocab_size": 2, "layer_norm_eps": 1e-12, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "position_embedding_type": "absolute", "use_cache": true,
		"pad_token_id": 2, "initializer_range": 0.02}, map[string][]int{}}
	f.add(kind+".embeddings.word_embeddings.weight", tV, tC)
	f.add(kind+".embeddings.position_embeddings.weight", tT+offset, tC)
	f.add(kind+".embeddings.token_type_embeddings.weight", 2, tC)
	f.norm(kind + ".embeddings.LayerNorm")
	for i := range tL {
		p := fmt.Sprintf("%s.encoder.layer.%d.", kind, i)
		for _, part := range []string{"query", "key", "value"} {
			f.linear(p+"attention.self."+part, true, tC, tC)
		}
		f.linear(p+"attention.output.dense", true, tC, tC)
		f.norm(p + "attention.output.LayerNorm")
		f.linear(p+"intermediate.dense", true, tF, tC)
		f.linear(p+"output.dense", true, tC, tF)
		f.norm(p + "output.LayerNorm")
	}
	return f
}

func bertLM() folder {
	f := bertFolder("bert", 0)
	f.linear("cls.predictions.transform.dense", true, tC, tC)
	f.norm("cls.predictions.transform.LayerNorm")
	f.add("cls.predictions.bias", tV)
	return f
}

func robertaLM() folder {
	f := bertFolder("roberta", 3)
	f.config["layer_norm_eps"] = 1e-5
	f.linear("lm_head.dense", true, tC, tC)
	f.norm("lm_head.layer_norm")
	f.add("lm_head.bias", tV)
	return f
}

func gpt2LM() folder {
	f := folder{map[string]any{"model_type": "gpt2", "architectures": []string{"GPT2LMHeadModel"}, "vocab_size": tV, "n_embd": tC, "n_layer": tL, "n_head": tH,
		"n_positions": tT, "n_ctx": tT, "n_inner": nil, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5, "attn_pdrop": 0.1}, map[string][]int{}}
	f.add("transformer.wte.weight", tV, tC)
	f.add("transformer.wpe.weight", tT, tC)
	f.norm("transformer.ln_f")
	for i := range tL {
		p := fmt.Sprintf("transformer.h.%d.", i)
		f.norm(p + "ln_1")
		f.norm(p + "ln_2")
		for _, c := range []struct {
			name    string
			in, out int
		}{{"attn.c_attn", tC, 3 * tC}, {"attn.c_proj", tC, tC}, {"mlp.c_fc", tC, 4 * tC}, {"mlp.c_proj", 4 * tC, tC}} {
			f.add(p+c.name+".weight", c.in, c.out)
			f.add(p+c.name+".bias", c.out)
		}
	}
	return f
}

func llamaLM() folder {
	f := folder{map[string]any{"model_type": "llama", "architectures": []string{"LlamaForCausalLM"}, "vocab_size": tV, "hidden_size": tC, "num_hidden_layers": tL,
		"num_attention_heads": tH - 1, "num_key_value_heads": 1, "intermediate_size": tF, "max_position_embeddings": tT, "rms_norm_eps": 1e-6, "rope_theta": 5000.0,
		"hidden_act": "silu", "attention_bias": false, "rope_scaling": nil, "tie_word_embeddings": false, "pretraining_tp": 1, "head_dim": 4}, map[string][]int{}}
	f.add("model.embed_tokens.weight", tV, tC)
	f.add("model.norm.weight", tC)
	f.add("lm_head.weight", tV, tC)
	for i := range tL {
		p := fmt.Sprintf("model.layers.%d.", i)
		f.add(p+"input_layernorm.weight", tC)
		f.add(p+"post_attention_layernorm.weight", tC)
		f.linear(p+"self_attn.q_proj", false, tC, tC)
		f.linear(p+"self_attn.k_proj", false, 4, tC)
		f.linear(p+"self_attn.v_proj", false, 4, tC)
		f.linear(p+"self_attn.o_proj", false, tC, tC)
		f.linear(p+"mlp.gate_proj", false, tF, tC)
		f.linear(p+"mlp.up_proj", false, tF, tC)
		f.linear(p+"mlp.down_proj", false, tC, tF)
	}
	return f
}

func modernLM() folder {
	f := folder{map[string]any{"model_type": "modernbert", "architectures": []string{"ModernBertForMaskedLM"}, "vocab_size": tV, "hidden_size": tC, "num_hidden_layers": tL,
		"num_attention_heads": tK, "intermediate_size": tF, "max_position_embeddings": tT, "norm_eps": 1e-5, "norm_bias": false, "attention_bias": false, "mlp_bias": false,
		"decoder_bias": true, "classifier_bias": false, "classifier_activation": "gelu", "classifier_pooling": "mean", "hidden_activation": "gelu", "local_attention": 8,
		"global_attn_every_n_layers": 2, "global_rope_theta": 160000.0, "local_rope_theta": 10000.0, "sparse_prediction": false}, map[string][]int{}}
	f.add("model.embeddings.tok_embeddings.weight", tV, tC)
	f.add("model.embeddings.norm.weight", tC)
	f.add("model.final_norm.weight", tC)
	for i := range tL {
		p := fmt.Sprintf("model.layers.%d.", i)
		if i > 0 {
			f.add(p+"attn_norm.weight", tC)
		}
		f.linear(p+"attn.Wqkv", false, 3*tC, tC)
		f.linear(p+"attn.Wo", false, tC, tC)
		f.add(p+"mlp_norm.weight", tC)
		f.linear(p+"mlp.Wi", false, 2*tF, tC)
		f.linear(p+"mlp.Wo", false, tC, tF)
	}
	f.add("head.dense.weight", tC, tC)
	f.add("head.norm.weight", tC)
	f.add("decoder.bias", tV)
	return f
}

var folders = map[string]func() folder{"bert": bertLM, "roberta": robertaLM, "gpt2": gpt2LM, "llama": llamaLM, "modernbert": modernLM}

// values draws the elements of a tensor; they are representable in any of the types.
func values(name string, n int) []float32 {
	seed := uint64(0)
	for _, r := range name {
		seed = seed*131 + uint64(r)
	}
	d := philox.New(seed, philox.StreamTest, 0, 0)
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(d.IntN(255)-127) / 64
	}
	return v
}

func length(shape []int) int {
	n := 1
	for _, d := range shape {
		n *= d
	}
	return n
}

// write makes the folder in files of at most that many tensors, one file for 0.
func (f folder) write(t testing.TB, dtype checkpoint.DType, perFile int) string {
	t.Helper()
	dir := t.TempDir()
	config, err := json.Marshal(f.config)
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, configFile, config)
	put(t, dir, tokenizerFile, tokenizerJSON(t))
	names := slices.Sorted(maps.Keys(f.tensors))
	where := map[string]string{}
	save := func(file string, names []string) {
		var tensors []checkpoint.Tensor
		for _, name := range names {
			where[name] = file
			tensors = append(tensors, checkpoint.Tensor{Name: name, DType: dtype, Shape: f.tensors[name], Data: values(name, length(f.tensors[name]))})
		}
		var b strings.Builder
		if err := checkpoint.WriteSafetensors(&b, tensors, nil); err != nil {
			t.Fatal(err)
		}
		put(t, dir, file, []byte(b.String()))
	}
	if perFile == 0 {
		save(weightsFile, names)
		return dir
	}
	i := 0
	for part := range slices.Chunk(names, perFile) {
		save(fmt.Sprintf("model-%d.safetensors", i), part)
		i++
	}
	index, err := json.Marshal(map[string]any{"metadata": map[string]any{"total_size": 1}, "weight_map": where})
	if err != nil {
		t.Fatal(err)
	}
	put(t, dir, indexFile, index)
	return dir
}

func put(t testing.TB, dir, name string, data []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), data, 0o666); err != nil {
		t.Fatal(err)
	}
}

// imported reads a folder and returns our tensors as a file, as a checkpoint has them.
func imported(t testing.TB, dir string) (*Import, *checkpoint.Safetensors) {
	t.Helper()
	im, err := Open(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	path := filepath.Join(t.TempDir(), "ours.safetensors")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := checkpoint.WriteSafetensors(out, im.Tensors(), nil); err != nil {
		t.Fatal(err)
	}
	s, err := checkpoint.OpenSafetensors(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return im, s
}

// options export what was imported.
func options(im *Import, s *checkpoint.Safetensors) ExportOptions {
	return ExportOptions{Model: im.Model, Tensors: s, Tokenizer: im.Tokenizer, TokenizerJSON: im.TokenizerJSON, Companions: im.Companions, Skip: im.New,
		Causal: im.Causal, Head: "lm", DType: checkpoint.F32, ShardSize: 1 << 40}
}

// exported writes a folder.
func exported(t testing.TB, o ExportOptions) (string, Exported) {
	t.Helper()
	contents, e, err := Export(o)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "out")
	if err := checkpoint.WriteFolder(vfs.OS{}, dir, contents); err != nil {
		t.Fatal(err)
	}
	return dir, e
}

func readAll(t testing.TB, s *checkpoint.Safetensors, name string) []float32 {
	t.Helper()
	info, ok := s.Info(name)
	if !ok {
		t.Fatalf("no tensor %s", name)
	}
	v := make([]float32, info.Len())
	if err := s.ReadRange(name, 0, v); err != nil {
		t.Fatal(err)
	}
	return v
}

func sameBits(a, b []float32) bool {
	return slices.EqualFunc(a, b, func(x, y float32) bool { return math.Float32bits(x) == math.Float32bits(y) })
}
