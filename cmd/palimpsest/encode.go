package main

import (
	"runtime"
	"sync"
	"time"

	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
	"palimpsest/engine/text"
)

// A batch travels from the reader through one encoder to the writer; the queue of batches keeps the order of the files.
type batch struct {
	documents []text.Document
	tokens    [][]int32
	done      chan struct{} // closed when tokens is filled
}

const (
	batchDocuments = 64
	batchBytes     = 1 << 20
)

type buildStats struct {
	bytes    int64 // of text in written documents
	tooShort int64
}

// encodeAll reads all documents, encodes them on every core and appends them to the writer in the order of reading.
func encodeAll(reader *text.Reader, t *text.Tokenizer, f framing, w *shard.Writer, status *statusLine) (buildStats, error) {
	workers := runtime.GOMAXPROCS(0)
	work := make(chan *batch, workers)
	queue := make(chan *batch, 2*workers)
	quit := make(chan struct{})
	progress := &buildProgress{total: totalBytes(reader.Files()), start: time.Now()}

	var readErr error // written before queue is closed
	go func() {
		defer close(queue)
		defer close(work)
		readErr = readBatches(reader, func(b *batch) bool {
			for _, out := range []chan *batch{queue, work} {
				select {
				case out <- b:
				case <-quit:
					return false
				}
			}
			return true
		})
	}()
	var encoders sync.WaitGroup
	for range workers {
		encoders.Go(func() {
			encoder := t.NewEncoder()
			for b := range work {
				for _, d := range b.documents {
					b.tokens = append(b.tokens, encodeDocument(encoder, d.Text, f))
				}
				close(b.done)
			}
		})
	}
	stats, err := writeBatches(queue, f, w, progress, status)
	close(quit)
	for range queue { // let the reader end
	}
	encoders.Wait()
	if err == nil {
		err = readErr
	}
	return stats, err
}

// readBatches groups documents so that handing them over costs little, and passes the groups on until pass refuses.
func readBatches(reader *text.Reader, pass func(*batch) bool) error {
	b, bytes := &batch{done: make(chan struct{})}, 0
	for d, err := range reader.Documents() {
		if err != nil {
			return err
		}
		b.documents = append(b.documents, d)
		bytes += len(d.Text)
		if len(b.documents) < batchDocuments && bytes < batchBytes {
			continue
		}
		if !pass(b) {
			return nil
		}
		b, bytes = &batch{done: make(chan struct{})}, 0
	}
	if len(b.documents) > 0 {
		pass(b)
	}
	return nil
}

// encodeDocument returns the tokens of a document with its begin and end, or nil for one that is too short.
func encodeDocument(e *text.Encoder, content []byte, f framing) []int32 {
	tokens := make([]int32, 0, len(content)/3+2)
	if f.bos >= 0 {
		tokens = append(tokens, f.bos)
	}
	frame := len(tokens)
	tokens = e.Encode(tokens, content)
	if len(tokens)-frame < f.minTokens {
		return nil
	}
	if f.eos >= 0 {
		tokens = append(tokens, f.eos)
	}
	return tokens
}

func writeBatches(queue <-chan *batch, f framing, w *shard.Writer, progress *buildProgress, status *statusLine) (stats buildStats, err error) {
	for b := range queue {
		<-b.done
		for i, tokens := range b.tokens {
			d := b.documents[i]
			progress.bytes.Add(int64(len(d.Text)))
			if tokens == nil {
				stats.tooShort++
				continue
			}
			if err := w.Append(tokens); err != nil {
				return stats, fault.Of(err).Errorf("%s:%d: %w", d.Source, d.Line, err)
			}
			stats.bytes += int64(len(d.Text))
			progress.documents.Add(1)
			progress.tokens.Add(int64(len(tokens)))
		}
		status.update(progress.String)
	}
	return stats, nil
}
