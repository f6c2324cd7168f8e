package shard

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"testing"
)

// What parseIndex accepts is consistent and survives being written again.
func FuzzParseIndex(f *testing.F) {
	text, err := os.ReadFile(filepath.Join(build(f, corpus(4, 60, 300, 31), small(300)), indexName))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte(`{"format":1,"shards":[{"name":"../x"}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		var draft Index // a right self-hash leads on to the checks behind it
		if json.Unmarshal(text, &draft) == nil {
			draft.Hash = draft.sum()
			text, _ = json.Marshal(draft)
		}
		x, err := parseIndex(text, "index.json")
		if err != nil {
			return
		}
		again, err := encodeIndex(&x)
		if err != nil {
			t.Fatal(err)
		}
		if y, err := parseIndex(again, "index.json"); err != nil || !reflect.DeepEqual(x, y) {
			t.Fatalf("%v\n%+v\n%+v", err, x, y)
		}
	})
}

// Any bytes as a shard file: no panic, and nothing is delivered that the seek table does not declare.
func FuzzFrames(f *testing.F) {
	dir := build(f, corpus(20, 60, 300, 32), WriterOptions{Vocab: 300, FrameTokens: 100})
	text, err := os.ReadFile(filepath.Join(dir, "00000.tok.zst"))
	if err != nil {
		f.Fatal(err)
	}
	x := open(f, dir).Index()
	f.Add(text, x.Shards[0].Frames, x.Shards[0].Tok.RawBytes)
	f.Fuzz(func(t *testing.T, text []byte, frames, raw int64) {
		file := File{Bytes: int64(len(text)), RawBytes: raw}
		if frames < 1 || frames > 1<<40 || raw < 1 || raw > 1<<20 || file.check(raw, frames) != nil {
			return
		}
		m := &member{name: "x", width: 2, frames: frames, File: file}
		entries, err := m.readTable(bytes.NewReader(text))
		if err != nil {
			return
		}
		c := codecs.Get().(*codec)
		defer codecs.Put(c)
		total := int64(0)
		for k, e := range entries {
			out, err := m.decode(c, bytes.NewReader(text), k, e, &c.tokens)
			if err == nil && len(out) != int(e.raw) {
				t.Fatalf("frame %d: %d bytes, declared %d", k, len(out), e.raw)
			}
			total += int64(e.raw)
		}
		if total != raw {
			t.Fatalf("%d raw bytes, declared %d", total, raw)
		}
	})
}
