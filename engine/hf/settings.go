package hf

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"palimpsest/engine/fault"
)

// settings is a config.json that is being read. It remembers which keys were asked for and what was wrong, so that all problems
// come out at once and no key is passed over unseen.
type settings struct {
	file     string
	values   map[string]json.RawMessage
	asked    map[string]bool
	problems []string
	notes    []string
}

func parseSettings(file string, data []byte) (*settings, error) {
	s := &settings{file: file, asked: map[string]bool{}}
	if err := json.Unmarshal(data, &s.values); err != nil {
		return nil, fault.Data.Errorf("%s: %w", file, err)
	}
	if s.values == nil {
		return nil, fault.Data.Errorf("%s: expected an object, found null", file)
	}
	for key, value := range s.values { // null means what a missing key means
		if string(value) == "null" {
			delete(s.values, key)
		}
	}
	return s, nil
}

func (s *settings) bad(format string, args ...any) {
	s.problems = append(s.problems, fmt.Sprintf(format, args...))
}

func (s *settings) note(format string, args ...any) {
	s.notes = append(s.notes, fmt.Sprintf(format, args...))
}

// has reports whether a key has a value.
func (s *settings) has(key string) bool {
	s.asked[key] = true
	_, ok := s.values[key]
	return ok
}

// read returns the value of a key, or what transformers takes where it is missing.
func read[T any](s *settings, key string, missing T) T {
	if !s.has(key) {
		return missing
	}
	var v T
	if err := json.Unmarshal(s.values[key], &v); err != nil {
		s.bad("%s: want %s, not %.60s", key, kindOf(v), s.values[key])
		return missing
	}
	return v
}

func kindOf(v any) string {
	switch v.(type) {
	case bool:
		return "true or false"
	case int:
		return "a whole number"
	case float64:
		return "a number"
	case string:
		return "a string"
	case []string:
		return "a list of strings"
	}
	return "an object"
}

// size reads a number of at least 1.
func (s *settings) size(key string, missing int) int {
	n := read(s, key, missing)
	if n < 1 || n > math.MaxInt32 {
		s.bad("%s: want a size of 1 or more, not %d", key, n)
		return 1
	}
	return n
}

// needed is size of a key without which nothing can be said about the model.
func (s *settings) needed(key string) int {
	if !s.has(key) {
		s.bad("%s is missing", key)
		return 1
	}
	return s.size(key, 1)
}

// positive reads a number above 0.
func (s *settings) positive(key string, missing float64) float64 {
	v := read(s, key, missing)
	if !(v > 0) || math.IsInf(v, 0) {
		s.bad("%s: want a number above 0, not %g", key, v)
		return 1
	}
	return v
}

// only refuses every value of a key but one, which is also what a missing key means.
func only[T comparable](s *settings, key string, want T, why string) {
	if got := read(s, key, want); got != want {
		s.bad("%s: %v is not supported, only %v: %s", key, got, want, why)
	}
}

// choice looks a string up in a table.
func (s *settings) choice(key, missing string, table map[string]string) string {
	name := read(s, key, missing)
	v, ok := table[name]
	if !ok {
		s.bad("%s: %q is not supported; supported: %s", key, name, strings.Join(slices.Sorted(maps.Keys(table)), ", "))
	}
	return v
}

// harmless are keys of every model that have no say in what it computes for given weights and tokens: names, dropout and losses
// (which belong to training: the run file has its own), how to generate, how transformers runs it.
var harmless = set(`_name_or_path architectures model_type transformers_version torch_dtype dtype use_cache return_dict
	output_attentions output_hidden_states torchscript use_bfloat16 tf_legacy_loss pruned_heads chunk_size_feed_forward
	problem_type id2label label2id num_labels finetuning_task task_specific_params tokenizer_class prefix
	bos_token_id eos_token_id pad_token_id sep_token_id cls_token_id mask_token_id unk_token_id decoder_start_token_id
	initializer_range initializer_cutoff_factor gradient_checkpointing auto_map _attn_implementation
	_attn_implementation_autoset attn_implementation
	hidden_dropout_prob attention_probs_dropout_prob classifier_dropout attn_pdrop embd_pdrop resid_pdrop attention_dropout
	embedding_dropout mlp_dropout summary_activation summary_first_dropout summary_proj_to_labels summary_type
	summary_use_proj
	max_length min_length do_sample early_stopping num_beams num_beam_groups diversity_penalty temperature top_k top_p
	typical_p repetition_penalty length_penalty no_repeat_ngram_size encoder_no_repeat_ngram_size bad_words_ids
	num_return_sequences output_scores return_dict_in_generate forced_bos_token_id forced_eos_token_id
	remove_invalid_values exponential_decay_length_penalty suppress_tokens begin_suppress_tokens`)

func set(words string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(words) {
		m[w] = true
	}
	return m
}

// finish reports everything that was wrong, and tells about keys that nobody asked for.
func (s *settings) finish() error {
	only(s, "is_decoder", false, "a decoder with cross-attention")
	only(s, "is_encoder_decoder", false, "two stacks")
	only(s, "add_cross_attention", false, "attention to a second stack")
	var unknown []string
	for key := range s.values {
		if !s.asked[key] && !harmless[key] {
			unknown = append(unknown, key)
		}
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		s.note("%s: keys that are not known here and were not looked at: %s", s.file, strings.Join(unknown, ", "))
	}
	if _, ok := s.values["quantization_config"]; ok {
		s.bad("quantization_config: quantised weights are not supported; hint: save the model in float32, bfloat16 or float16")
	}
	if raw, ok := s.values["pruned_heads"]; ok && string(raw) != "{}" {
		s.bad("pruned_heads: layers with fewer heads are not supported")
	}
	if len(s.problems) > 0 {
		return fault.Data.Errorf("%s: %s", s.file, strings.Join(s.problems, "\n"+s.file+": "))
	}
	return nil
}
