package engine

import (
	"encoding/json"
	"errors"
	"io"
	"testing"

	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
)

// Any bytes as a checkpoint's state.json: the place in the data that it names is refused, or documents come from there.
func FuzzState(f *testing.F) {
	ds, err := shard.Open(dataset(f, 40))
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() { ds.Close() })
	good, err := json.Marshal(state{Format: stateFormat, Step: 3, Cursor: shard.Cursor{Epoch: 1, Document: 2}, Best: &bestLoss{}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"cursor":{"epoch":4294967295,"window":-1,"document":9223372036854775807,"offset":-9}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var s state
		if json.Unmarshal(data, &s) != nil {
			return
		}
		stream, err := ds.Stream(shard.StreamConfig{Seed: 1, Shuffle: true, Window: 2}, s.Cursor)
		if err == nil {
			defer stream.Close()
			var d shard.Document
			if d, err = stream.Next(); err == nil && len(d.Tokens) == 0 {
				t.Error("a document of no tokens")
			}
		}
		if err != nil && !errors.Is(err, io.EOF) && fault.Of(err) != fault.Data {
			t.Errorf("kind %d: %v", fault.Of(err), err)
		}
	})
}
