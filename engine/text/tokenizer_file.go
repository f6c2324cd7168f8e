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

// A jsonWriter writes JSON with the order of keys given and without escapes that HTML needs.
type jsonWriter struct {
	bytes.Buffer
	err error
}

// marshal returns a value with its first line unindented.
func (w *jsonWriter) marshal(value any, indent string) []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent(indent, "  ")
	w.err = errors.Join(w.err, enc.Encode(value))
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func (w *jsonWriter) quoted(s string) string { return string(w.marshal(s, "")) }

func (w *jsonWriter) separate(i int) {
	if i > 0 {
		w.WriteByte(',')
	}
}

// JSON returns the content of a tokenizer.json that the Hugging Face tokenizers library opens as it is. Equal tokenizers
// give equal bytes.
func (t *Tokenizer) JSON() ([]byte, error) {
	var w jsonWriter
	part := func(key string, value any) {
		fmt.Fprintf(&w, ",\n  \"%s\": %s", key, w.marshal(value, "  "))
	}
	w.WriteString("{\n  \"version\": \"1.0\"")
	part("truncation", t.spec.truncation)
	part("padding", t.spec.padding)
	w.WriteString(",\n  \"added_tokens\": [")
	for i, a := range t.spec.added {
		w.separate(i)
		fmt.Fprintf(&w, "\n    {\"id\": %d, \"content\": %s, \"single_word\": %t, \"lstrip\": %t, \"rstrip\": %t, "+
			"\"normalized\": %t, \"special\": %t}", a.ID, w.quoted(a.Content), a.SingleWord, a.LStrip, a.RStrip, a.Normalized, a.Special)
	}
	w.WriteString("\n  ]")
	part("normalizer", t.spec.normalizer)
	part("pre_tokenizer", t.spec.preTokenizer)
	part("post_processor", t.spec.postProcessor)
	part("decoder", t.spec.decoder)
	w.WriteString(",\n  \"model\": ")
	t.writeModel(&w)
	w.WriteString("\n}\n")
	if w.err == nil && w.Len() > maxTokenizerFile {
		w.err = fmt.Errorf("%d bytes of JSON, more than the %d that are read back", w.Len(), maxTokenizerFile)
	}
	return w.Bytes(), w.err
}
