package shard

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/kernels/philox"
)

const testHash = "tokenizer-1"

// corpus returns n seeded documents of 1 to longest tokens.
func corpus(n, longest, vocab int, seed uint64) [][]int32 {
	d := philox.New(seed, philox.StreamTest, 0, 0)
	docs := make([][]int32, n)
	for i := range docs {
		docs[i] = make([]int32, 1+d.IntN(longest))
		for j := range docs[i] {
			docs[i][j] = int32(d.IntN(1 + d.IntN(vocab))) // skewed, so that frames compress
		}
	}
	return docs
}

// small options: frames of about 100 tokens, shards of about 1000.
func small(vocab int) WriterOptions {
	return WriterOptions{TokenizerHash: testHash, Vocab: vocab, BOS: 0, EOS: -1, FrameTokens: 100, ShardTokens: 1000, Source: "test"}
}

func build(t testing.TB, docs [][]int32, o WriterOptions) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "set")
	w, err := Create(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range docs {
		if err := w.Append(d); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

func open(t testing.TB, dir string) *Dataset {
	t.Helper()
	ds, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ds.Close() })
	return ds
}

func stream(t testing.TB, ds *Dataset, c StreamConfig, from Cursor) *Stream {
	t.Helper()
	s, err := ds.Stream(c, from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// drain reads a stream to its end or to limit documents.
func drain(s *Stream, limit int) ([]Document, error) {
	var docs []Document
	for len(docs) < limit {
		d, err := s.Next()
		if errors.Is(err, io.EOF) {
			return docs, nil
		}
		if err != nil {
			return docs, err
		}
		docs = append(docs, d)
	}
	return docs, nil
}

// readAll reads a data set in order and everything it could complain about.
func readAll(dir string) ([][]int32, error) {
	ds, err := Open(dir)
	if err != nil {
		return nil, err
	}
	defer ds.Close()
	s, err := ds.Stream(StreamConfig{Epochs: 1, Window: 3}, Cursor{})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	docs, err := drain(s, 1<<30)
	var tokens [][]int32
	for _, d := range docs {
		tokens = append(tokens, d.Tokens)
	}
	_, verify := ds.Verify(nil)
	return tokens, errors.Join(err, verify)
}

func wantKind(t *testing.T, kind fault.Kind, err error) {
	t.Helper()
	if fault.Of(err) != kind {
		t.Errorf("error %v (kind %d), want kind %d", err, fault.Of(err), kind)
	}
}

func sameTokens(t *testing.T, got, want [][]int32) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("documents differ: %d of them, want %d", len(got), len(want))
	}
}

// editIndex rewrites index.json with a valid self-hash, as a careful forger would.
func editIndex(t *testing.T, dir string, edit func(x *Index)) {
	t.Helper()
	path := filepath.Join(dir, indexName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	x, err := parseIndex(text, path)
	if err != nil {
		t.Fatal(err)
	}
	edit(&x)
	x.Hash = x.sum()
	if text, err = marshal(x); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

func planeOf(d Document) []byte {
	v := make([]byte, len(d.Tokens))
	for i, t := range d.Tokens {
		v[i] = byte(int(t)*7 + int(d.ID))
	}
	return v
}

func ids(docs []Document) string {
	s := ""
	for _, d := range docs {
		s += fmt.Sprintf("%d/%d ", d.Epoch, d.ID)
	}
	return s
}
