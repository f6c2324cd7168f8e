package hf

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"

	"palimpsest/engine/fault"
	"palimpsest/engine/text"
)

// Files beside the weights.
const (
	tokenizerFile       = "tokenizer.json"
	tokenizerConfigFile = "tokenizer_config.json"
	specialTokensFile   = "special_tokens_map.json"
	generationFile      = "generation_config.json"
	cardFile            = "README.md"
)

// companionFiles are given back by an export of the same model.
var companionFiles = []string{configFile, tokenizerConfigFile, specialTokensFile, generationFile}

const maxTokenizer = 256 << 20

// loadTokenizer reads tokenizer.json, or the files from before there was one, and the companions.
func (im *Import) loadTokenizer(dir string) error {
	im.Companions = map[string][]byte{}
	for _, name := range companionFiles {
		if exists(dir, name) {
			data, err := readFile(filepath.Join(dir, name), maxConfig)
			if err != nil {
				return err
			}
			im.Companions[name] = data
		}
	}
	file, data, err := im.tokenizerJSON(dir)
	if err != nil {
		return err
	}
	if im.Tokenizer, err = text.Parse(data); err != nil {
		return fault.Data.Errorf("%s: %w", filepath.Join(dir, file), err)
	}
	im.TokenizerJSON = data
	return im.checkRoles(dir)
}

// tokenizerJSON finds or makes a tokenizer.json.
func (im *Import) tokenizerJSON(dir string) (file string, data []byte, err error) {
	if exists(dir, tokenizerFile) {
		data, err = readFile(filepath.Join(dir, tokenizerFile), maxTokenizer)
		return tokenizerFile, data, err
	}
	switch {
	case im.family == bert && exists(dir, "vocab.txt"):
		im.note("tokenizer.json is made of vocab.txt")
		data, err = im.wordPieceJSON(dir)
		return "vocab.txt", data, err
	case (im.family == gpt2 || im.family == roberta) && exists(dir, "vocab.json") && exists(dir, "merges.txt"):
		im.note("tokenizer.json is made of vocab.json and merges.txt")
		data, err = im.bpeJSON(dir)
		return "vocab.json", data, err
	}
	const hint = "hint: python -c \"from transformers import AutoTokenizer; AutoTokenizer.from_pretrained('%s').save_pretrained('%s')\" writes one"
	return "", nil, fault.Data.Errorf("%s: no "+tokenizerFile+"; "+hint, dir, dir, dir)
}

// checkRoles compares the special tokens that the folder names with those that the tokenizer has roles for here.
func (im *Import) checkRoles(dir string) error {
	named, err := im.specialTokens(dir)
	if err != nil {
		return err
	}
	for _, r := range []struct {
		keys []string
		id   int32
		role string
	}{{[]string{"bos_token", "cls_token"}, im.Tokenizer.BOS, "begins a document"}, {[]string{"eos_token", "sep_token"}, im.Tokenizer.EOS, "ends a document"},
		{[]string{"mask_token"}, im.Tokenizer.Mask, "stands for a hidden token"}} {
		for _, key := range r.keys {
			if name := named[key]; name != "" && (r.id < 0 || im.Tokenizer.Token(r.id) != name) {
				here := "none"
				if r.id >= 0 {
					here = im.Tokenizer.Token(r.id)
				}
				im.note("%s of the folder is %s, but what %s here is %s", key, name, r.role, here)
				break
			}
		}
	}
	return nil
}

// specialTokens reads the names of special tokens from the companions.
func (im *Import) specialTokens(dir string) (map[string]string, error) {
	named := map[string]string{}
	for _, file := range []string{tokenizerConfigFile, specialTokensFile} {
		data, ok := im.Companions[file]
		if !ok {
			continue
		}
		var values map[string]json.RawMessage
		if err := json.Unmarshal(data, &values); err != nil {
			return nil, fault.Data.Errorf("%s: %w", filepath.Join(dir, file), err)
		}
		for key, value := range values {
			var name string
			var token struct{ Content string }
			switch {
			case !strings.HasSuffix(key, "_token"):
			case json.Unmarshal(value, &name) == nil && name != "":
				named[key] = name
			case json.Unmarshal(value, &token) == nil && token.Content != "":
				named[key] = token.Content
			}
		}
	}
	return named, nil
}

// addedToken is an entry of added_tokens.
func addedToken(id int, name string) object {
	return object{{"id", id}, {"content", name}, {"single_word", false}, {"lstrip", name == "<mask>"}, {"rstrip", false}, {"normalized", false}, {"special", true}}
}

// framing is a post-processor that puts a token before and one behind a text.
func framing(bos string, bosID int, eos string, eosID int) object {
	special := func(name string, kind int) object {
		return object{{"SpecialToken", object{{"id", name}, {"type_id", kind}}}}
	}
	sequence := func(id string, kind int) object {
		return object{{"Sequence", object{{"id", id}, {"type_id", kind}}}}
	}
	entry := func(name string, id int) object {
		return object{{"id", name}, {"ids", []int{id}}, {"tokens", []string{name}}}
	}
	return object{{"type", "TemplateProcessing"},
		{"single", []object{special(bos, 0), sequence("A", 0), special(eos, 0)}},
		{"pair", []object{special(bos, 0), sequence("A", 0), special(eos, 0), sequence("B", 1), special(eos, 1)}},
		{"special_tokens", object{{bos, entry(bos, bosID)}, {eos, entry(eos, eosID)}}}}
}

// wordPieceJSON makes BERT's tokenizer of vocab.txt, whose line number is the id (transformers: convert_slow_tokenizer).
func (im *Import) wordPieceJSON(dir string) ([]byte, error) {
	path := filepath.Join(dir, "vocab.txt")
	data, err := readFile(path, maxTokenizer)
	if err != nil {
		return nil, err
	}
	options := struct {
		Lower   *bool `json:"do_lower_case"`
		Chinese *bool `json:"tokenize_chinese_chars"`
		Accents *bool `json:"strip_accents"`
	}{}
	if raw, ok := im.Companions[tokenizerConfigFile]; ok {
		if err := json.Unmarshal(raw, &options); err != nil {
			return nil, fault.Data.Errorf("%s: %w", filepath.Join(dir, tokenizerConfigFile), err)
		}
	}
	or := func(p *bool) bool { return p == nil || *p }
	if options.Lower == nil {
		im.note("tokenizer_config.json does not say whether texts are lower-cased; they are, as is BERT's default")
	}
	vocab, ids := object{}, map[string]int{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		token := strings.TrimRight(lines.Text(), "\r")
		if _, taken := ids[token]; taken || token == "" {
			return nil, fault.Data.Errorf("%s, line %d: %q is empty or comes twice", path, len(vocab)+1, token)
		}
		ids[token] = len(vocab)
		vocab = append(vocab, member{token, len(vocab)})
	}
	if err := lines.Err(); err != nil {
		return nil, fault.Data.Errorf("%s: %w", path, err)
	}
	var added []object
	for _, name := range []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"} {
		id, ok := ids[name]
		if !ok {
			return nil, fault.Data.Errorf("%s: BERT's token %s is missing", path, name)
		}
		added = append(added, addedToken(id, name))
	}
	var accents any
	if options.Accents != nil {
		accents = *options.Accents
	}
	return indented(object{{"version", "1.0"}, {"truncation", nil}, {"padding", nil}, {"added_tokens", added},
		{"normalizer", object{{"type", "BertNormalizer"}, {"clean_text", true}, {"handle_chinese_chars", or(options.Chinese)},
			{"strip_accents", accents}, {"lowercase", or(options.Lower)}}},
		{"pre_tokenizer", object{{"type", "BertPreTokenizer"}}},
		{"post_processor", framing("[CLS]", ids["[CLS]"], "[SEP]", ids["[SEP]"])},
		{"decoder", object{{"type", "WordPiece"}, {"prefix", "##"}, {"cleanup", true}}},
		{"model", object{{"type", "WordPiece"}, {"unk_token", "[UNK]"}, {"continuing_subword_prefix", "##"},
			{"max_input_chars_per_word", 100}, {"vocab", vocab}}}}), nil
}

// bpeJSON makes the byte-level tokenizer of GPT-2 and RoBERTa of vocab.json and merges.txt.
func (im *Import) bpeJSON(dir string) ([]byte, error) {
	vocabJSON, err := readFile(filepath.Join(dir, "vocab.json"), maxTokenizer)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "merges.txt")
	data, err := readFile(path, maxTokenizer)
	if err != nil {
		return nil, err
	}
	var ids map[string]int
	if err := json.Unmarshal(vocabJSON, &ids); err != nil {
		return nil, fault.Data.Errorf("%s: %w", filepath.Join(dir, "vocab.json"), err)
	}
	var merges [][2]string
	for i, line := range strings.Split(string(data), "\n") {
		line = strings.TrimRight(line, "\r")
		if line == "" || i == 0 && strings.HasPrefix(line, "#version") {
			continue
		}
		left, right, ok := strings.Cut(line, " ")
		if !ok || strings.Contains(right, " ") {
			return nil, fault.Data.Errorf("%s, line %d: expected two tokens with a space between them", path, i+1)
		}
		merges = append(merges, [2]string{left, right})
	}
	names := []string{"<|endoftext|>"}
	if im.family == roberta {
		names = []string{"<s>", "<pad>", "</s>", "<unk>", "<mask>"}
	}
	var added []object
	for _, name := range names {
		id, ok := ids[name]
		if !ok {
			return nil, fault.Data.Errorf("%s: the token %s is missing", filepath.Join(dir, "vocab.json"), name)
		}
		added = append(added, addedToken(id, name))
	}
	byteLevel := func() object {
		return object{{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}}
	}
	var post any = byteLevel()
	if im.family == roberta {
		pair := func(name string) []any { return []any{name, ids[name]} }
		post = object{{"type", "RobertaProcessing"}, {"sep", pair("</s>")}, {"cls", pair("<s>")}, {"trim_offsets", true}, {"add_prefix_space", false}}
	}
	return indented(object{{"version", "1.0"}, {"truncation", nil}, {"padding", nil}, {"added_tokens", added}, {"normalizer", nil},
		{"pre_tokenizer", byteLevel()}, {"post_processor", post}, {"decoder", byteLevel()},
		{"model", object{{"type", "BPE"}, {"dropout", nil}, {"unk_token", nil}, {"continuing_subword_prefix", nil}, {"end_of_word_suffix", nil},
			{"fuse_unk", false}, {"byte_fallback", false}, {"ignore_merges", false}, {"vocab", json.RawMessage(vocabJSON)}, {"merges", merges}}}}), nil
}

// framed returns a tokenizer.json that puts a document's first and last token around a text, as the model was trained, where the
// file says nothing about it.
func framed(data []byte, t *text.Tokenizer) ([]byte, error) {
	var parts map[string]json.RawMessage
	if err := json.Unmarshal(data, &parts); err != nil {
		return nil, fmt.Errorf("%s: %w", tokenizerFile, err)
	}
	if string(parts["post_processor"]) != "null" || t.BOS < 0 || t.EOS < 0 || t.BOS == t.EOS {
		return data, nil
	}
	out := object{}
	for _, key := range []string{"version", "truncation", "padding", "added_tokens", "normalizer", "pre_tokenizer", "post_processor", "decoder", "model"} {
		if key == "post_processor" {
			out = append(out, member{key, framing(t.Token(t.BOS), int(t.BOS), t.Token(t.EOS), int(t.EOS))})
		} else if value, ok := parts[key]; ok {
			out = append(out, member{key, value})
		}
	}
	return indented(out), nil
}

// tokenizerCompanions are tokenizer_config.json and special_tokens_map.json of a tokenizer that was made here.
func tokenizerCompanions(t *text.Tokenizer, context int, causal bool) map[string][]byte {
	special := object{}
	add := func(key string, id int32) {
		if id >= 0 {
			special = append(special, member{key, t.Token(id)})
		}
	}
	add("bos_token", t.BOS)
	add("eos_token", t.EOS)
	if !causal {
		add("cls_token", t.BOS)
		add("sep_token", t.EOS)
		add("mask_token", t.Mask)
	}
	add("pad_token", t.Pad)
	config := append(object{{"tokenizer_class", "PreTrainedTokenizerFast"}, {"model_max_length", context}, {"clean_up_tokenization_spaces", false},
		{"model_input_names", []string{"input_ids", "attention_mask"}}}, special...)
	return map[string][]byte{tokenizerConfigFile: indented(config), specialTokensFile: indented(special)}
}
