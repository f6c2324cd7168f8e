package hf

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/text"
)

// The files from before there was tokenizer.json give the same tokens as one.
func TestOlderTokenizerFiles(t *testing.T) {
	dir := gpt2LM().write(t, checkpoint.F32, 0)
	tokenizer, _, err := text.Train(func(yield func([]byte, error) bool) {
		yield([]byte(strings.Repeat("low lower lowest newest ", 9)), nil)
	},
		text.TrainOptions{Vocab: 262, Specials: []string{"<|endoftext|>"}})
	if err != nil {
		t.Fatal(err)
	}
	data, err := tokenizer.JSON()
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Model struct {
			Vocab  json.RawMessage `json:"vocab"`
			Merges [][2]string     `json:"merges"`
		} `json:"model"`
	}
	if err := json.Unmarshal(data, &file); err != nil {
		t.Fatal(err)
	}
	merges := "#version: 0.2\n"
	for _, m := range file.Model.Merges {
		merges += m[0] + " " + m[1] + "\n"
	}
	if err := os.Remove(filepath.Join(dir, tokenizerFile)); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "vocab.json", file.Model.Vocab)
	put(t, dir, "merges.txt", []byte(merges))
	im, err := Open(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	im.Close()
	if im.Tokenizer.Hash() != tokenizer.Hash() || !strings.Contains(strings.Join(im.Notes, "\n"), "merges.txt") {
		t.Errorf("another tokenizer than the one of tokenizer.json; notes %v", im.Notes)
	}
	put(t, dir, "merges.txt", []byte("#version: 0.2\nl o w\n"))
	refused(t, "three tokens", dir, "merges.txt, line 2")
	put(t, dir, "vocab.json", []byte("{}"))
	put(t, dir, "merges.txt", []byte(merges))
	refused(t, "no special token", dir, "vocab.json", "<|endoftext|>")

	dir = bertLM().write(t, checkpoint.F32, 0)
	if err := os.Remove(filepath.Join(dir, tokenizerFile)); err != nil {
		t.Fatal(err)
	}
	put(t, dir, "vocab.txt", []byte("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nlow\n##er\n##est\nÉté\nété\n"))
	for lower, want := range map[bool][]int32{true: {5, 6, 9}, false: {1, 8}} {
		put(t, dir, tokenizerConfigFile, fmt.Appendf(nil, `{"do_lower_case": %t, "strip_accents": false, "mask_token": {"content": "[MASK]"}, "cls_token": "<start>"}`, lower))
		im, err := Open(dir, 1)
		if err != nil {
			t.Fatal(err)
		}
		im.Close()
		if got := im.Tokenizer.Encode(nil, []byte("LOWer Été")); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("lower case %t: %v, want %v", lower, got, want)
		}
		if notes := strings.Join(im.Notes, "\n"); im.Tokenizer.Mask != 4 || !strings.Contains(notes, "vocab.txt") || !strings.Contains(notes, "<start>") {
			t.Errorf("mask %d; notes %s", im.Tokenizer.Mask, notes)
		}
	}
	put(t, dir, "vocab.txt", []byte("[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nlow\nlow\n"))
	refused(t, "a token twice", dir, "vocab.txt, line 7")
	put(t, dir, "vocab.txt", []byte("[PAD]\n[UNK]\n"))
	refused(t, "no mask", dir, "vocab.txt", "[CLS]")
	put(t, dir, tokenizerConfigFile, []byte("{"))
	refused(t, "half a file", dir, tokenizerConfigFile)
}
