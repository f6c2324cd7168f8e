package text

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"palimpsest/engine/fault"
)

// Load reads a tokenizer.json; see Parse for what it may contain.
func Load(path string) (*Tokenizer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fault.Data.Errorf("tokenizer: %w; hint: make one with palimpsest tokenizer train", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fault.Data.Errorf("tokenizer: %w", err)
	}
	if info.Size() > maxTokenizerFile {
		return nil, fault.Data.Errorf("tokenizer %s: %d bytes, expected at most %d", path, info.Size(), maxTokenizerFile)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxTokenizerFile+1))
	if err != nil {
		return nil, fault.Data.Errorf("tokenizer: %w", err)
	}
	t, err := parse(data)
	if err != nil {
		return nil, fault.Data.Errorf("tokenizer %s: %w", path, err)
	}
	return t, nil
}

// Save writes tokenizer.json so that path holds the old content or the new at any moment: a temporary file beside it,
// fsync, rename, fsync of the folder. Errors have the kind fault.Write.
func (t *Tokenizer) Save(path string) (err error) {
	defer func() {
		if err != nil {
			err = fault.Write.Errorf("tokenizer: %w", err)
		}
	}()
	data, err := t.JSON()
	if err != nil {
		return err
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".tmp-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// byteLevel is what ByteLevel components are written with; the pre-tokenizer heeds the first flag, the decoder none.
const byteLevel = `{
    "type": "ByteLevel",
    "add_prefix_space": %t,
    "trim_offsets": true,
    "use_regex": true
  }`

// JSON returns the content of a tokenizer.json that the Hugging Face tokenizers library opens as it is. Equal tokenizers
// give equal bytes.
func (t *Tokenizer) JSON() ([]byte, error) {
	var b bytes.Buffer
	var failed error
	quoted := func(s string) string {
		var q bytes.Buffer
		enc := json.NewEncoder(&q)
		enc.SetEscapeHTML(false)
		failed = errors.Join(failed, enc.Encode(s))
		return string(bytes.TrimSuffix(q.Bytes(), []byte("\n")))
	}
	separate := func(i int) {
		if i > 0 {
			b.WriteByte(',')
		}
	}
	b.WriteString("{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [")
	for i, id := range t.Specials() {
		separate(i)
		fmt.Fprintf(&b, "\n    {\"id\": %d, \"content\": %s, \"single_word\": false, \"lstrip\": false, \"rstrip\": false, "+
			"\"normalized\": false, \"special\": true}", id, quoted(t.Token(id)))
	}
	b.WriteString("\n  ],\n  \"normalizer\": null,\n  \"pre_tokenizer\": ")
	fmt.Fprintf(&b, byteLevel, false)
	b.WriteString(",\n  \"post_processor\": null,\n  \"decoder\": ")
	fmt.Fprintf(&b, byteLevel, true)
	b.WriteString(",\n  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n" +
		"    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n" +
		"    \"byte_fallback\": false,\n    \"ignore_merges\": false,\n    \"vocab\": {")
	for id := range t.tokens {
		separate(id)
		fmt.Fprintf(&b, "\n      %s: %d", quoted(t.Token(int32(id))), id)
	}
	b.WriteString("\n    },\n    \"merges\": [")
	for i, m := range t.merges {
		separate(i)
		fmt.Fprintf(&b, "\n      [%s, %s]", quoted(t.Token(m.left)), quoted(t.Token(m.right)))
	}
	b.WriteString("\n    ]\n  }\n}\n")
	if failed == nil && b.Len() > maxTokenizerFile {
		failed = fmt.Errorf("%d bytes of JSON, more than the %d that are read back", b.Len(), maxTokenizerFile)
	}
	return b.Bytes(), failed
}
