package main

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"palimpsest/engine/shard"
	"palimpsest/engine/text"
)

// errStopped says that encodeAll was asked to leave.
var errStopped = errors.New("asked to stop")

// encodeAll reads and encodes all documents and appends them to the writer in the order of reading. When it is asked
// to leave it returns errStopped at once, even while reading waits for input: the writer is not used any more then, and the reader
// belongs to the goroutine that is left behind.
func (b *build) encodeAll(w *shard.Writer) (text.EncodeStats, error) {
	var gate sync.Mutex // held while the writer is used
	left := false
	start := time.Now()
	var documents, tokens, bytes int64
	each := func(d text.Encoded) error {
		gate.Lock()
		defer gate.Unlock()
		if left {
			return errStopped
		}
		if err := w.Mark(d.Mark.String()); err != nil {
			return err
		}
		if err := w.AppendWith(d.Tokens, d.Planes); err != nil {
			return err
		}
		documents, tokens, bytes = documents+1, tokens+int64(len(d.Tokens)), bytes+int64(d.Bytes)
		b.status.update(func() string {
			done, total := b.reader.Progress()
			share := ""
			if total > 0 {
				share = fmt.Sprintf("%3.0f%%  ", 100*float64(done)/float64(total))
			}
			return fmt.Sprintf("%s%s documents  %s tokens  %s/s", share, count(documents), count(tokens),
				size(int64(float64(bytes)/max(1e-3, time.Since(start).Seconds()))))
		})
		return nil
	}
	type outcome struct {
		stats text.EncodeStats
		err   error
	}
	ended := make(chan outcome, 1)
	go func() {
		stats, err := text.EncodeAll(b.reader, b.tokenizer, b.encoding, each)
		ended <- outcome{stats, err}
	}()
	select {
	case r := <-ended:
		return r.stats, r.err
	case <-b.watch.Stopped():
		gate.Lock()
		defer gate.Unlock()
		left = true
		return text.EncodeStats{}, errStopped
	}
}
