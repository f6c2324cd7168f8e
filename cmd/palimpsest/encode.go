package main

import (
	"fmt"
	"os"
	"time"

	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
)

// encodeAll reads and encodes all documents and appends them to the writer in the order of reading.
func encodeAll(reader *text.Reader, t *text.Tokenizer, o text.EncodeOptions, w *shard.Writer, status *statusLine) (text.EncodeStats, error) {
	total, start := totalBytes(reader.Files()), time.Now()
	var documents, tokens, bytes int64
	return text.EncodeAll(reader, t, o, func(d text.Encoded) error {
		if err := w.Append(d.Tokens); err != nil {
			return fault.Of(err).Errorf("%s:%d: %w", d.Source, d.Line, err)
		}
		documents, tokens, bytes = documents+1, tokens+int64(len(d.Tokens)), bytes+int64(d.Bytes)
		status.update(func() string {
			return fmt.Sprintf("%3.0f%%  %s documents  %s tokens  %s/s", 100*min(1, float64(bytes)/float64(max(1, total))),
				count(documents), count(tokens), size(int64(float64(bytes)/max(1e-3, time.Since(start).Seconds()))))
		})
		return nil
	})
}

// totalBytes adds up file sizes, for a percentage; a file that is gone will be reported when it is read.
func totalBytes(files []string) (n int64) {
	for _, name := range files {
		if info, err := os.Stat(name); err == nil {
			n += info.Size()
		}
	}
	return n
}
