package engine

import (
	"bufio"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/model"
	"palimpsest/engine/shard"
	"palimpsest/engine/vfs"
	"palimpsest/kernels"
	"palimpsest/objectives"
)

// Files of a folder with a reference's logits: a committed folder of the kind that checkpoints are, verified as they are.
const (
	rowsFile     = "rows.bin" // row by row, little-endian float32: all logits; or ids and log-probabilities of the likeliest, and the log of the rest's mass
	rowKeysFile  = "keys.bin" // a rowKey by row
	rowsMetaFile = "rows.json"
)

// rowsMeta says what rows are of.
type rowsMeta struct {
	Format    int    `json:"format"`
	Weights   string `json:"weights"`   // hash of the reference's
	Tokenizer string `json:"tokenizer"` // hash
	Vocab     int    `json:"vocab"`
	TopK      int    `json:"top_k"` // 0: all logits
	Rows      int64  `json:"rows"`
}

const rowsFormat = 1

// bytes of a row.
func (m rowsMeta) bytes() int {
	if m.TopK > 0 {
		return 8*m.TopK + 4
	}
	return 4 * m.Vocab
}

// A rowKey identifies the tokens of a segment up to a row: half of the SHA-256 of the key before and the token.
type rowKey [16]byte

// rowKeys are the keys of all rows of a plan, whose segments must be causal: a row then depends on what is before it alone.
func rowKeys(dst []rowKey, p *objectives.Plan) ([]rowKey, error) {
	dst = append(dst[:0], make([]rowKey, len(p.Tokens))...)
	var in [20]byte
	for i, s := range p.Segments {
		if s.Mask != kernels.Causal {
			return nil, fault.Usage.Errorf("document %d: a row of a reference that is not causal does not depend on its prefix alone; hint: reference.provider: frozen", p.Documents[i])
		}
		clear(in[:])
		for row := s.Start; row < s.End; row++ {
			binary.LittleEndian.PutUint32(in[16:], uint32(p.Tokens[row]))
			sum := sha256.Sum256(in[:])
			copy(dst[row][:], sum[:])
			copy(in[:16], sum[:])
		}
	}
	return dst, nil
}

// CachedRows is what CacheReference made.
type CachedRows struct {
	Dir   string `json:"dir"`
	Rows  int64  `json:"rows"`
	Bytes int64  `json:"bytes"`
}

// CacheReference runs the reference once over all documents of a run, held-out ones included, and commits its logits in
// reference.cache: rows that the run's losses ask for, each prefix once.
func CacheReference(o Options) (made CachedRows, err error) {
	c := o.Config
	if c.Reference.Provider != "cached" {
		return made, fault.Usage.Errorf("reference.provider is %s; hint: --set reference.provider=cached", c.Reference.Provider)
	}
	made.Dir = c.Reference.Cache
	fs := o.FS
	if fs == nil {
		fs = vfs.OS{}
	}
	if err := checkpoint.CheckNew(fs, made.Dir); err != nil {
		return made, fmt.Errorf("reference.cache: %w", err)
	}
	c.Reference.Provider = "frozen"
	j, err := prepare(c)
	if err != nil {
		return made, err
	}
	defer j.close()
	if j.reference == nil {
		return made, fault.Usage.Errorf("no objective of the run compares with a reference")
	}
	if err := c.checkCached(int(j.config.Model.Vocab)); err != nil {
		return made, err
	}
	b, err := openDevice(c.Train.Device, c.Train.Threads)
	if err != nil {
		return made, err
	}
	defer b.Close()
	a := model.NewActivations(b, j.config.Model, j.capacity(), false)
	if err := j.fillReference(b, j.attachReference(b, a, nil)); err != nil {
		return made, err
	}
	w := &rowsWriter{j: j, a: a, meta: rowsMeta{Format: rowsFormat, Weights: j.reference.hash, Tokenizer: j.tokenizer.Hash(), Vocab: int(j.config.Model.Vocab), TopK: c.Reference.TopK},
		stop: func() bool { return o.Watch != nil && o.Watch.Stopping() }}
	err = checkpoint.Create(fs, made.Dir, 0, checkpoint.Contents{
		{Name: rowsFile, Write: w.rows},
		{Name: rowKeysFile, Write: func(out io.Writer) error { _, err := out.Write(w.keys); return err }},
		{Name: rowsMetaFile, Write: func(out io.Writer) error { return json.NewEncoder(out).Encode(w.meta) }},
	})
	made.Rows, made.Bytes = w.meta.Rows, w.meta.Rows*int64(w.meta.bytes()+len(rowKey{}))
	return made, err
}

// checkCached checks what depends on the model.
func (c *Config) checkCached(vocab int) error {
	if k := c.Reference.TopK; k >= vocab {
		return fault.Usage.Errorf("reference.top_k: %d of a vocabulary of %d; hint: 0 keeps all", k, vocab)
	}
	if c.packing() != string(shard.Whole) {
		return fault.Usage.Errorf("reference.provider: cached needs documents that are cut alike in every epoch; hint: data.packing: whole")
	}
	return nil
}

// rowsWriter computes rows.
type rowsWriter struct {
	j    *job
	a    *model.Activations
	meta rowsMeta
	seen map[rowKey]bool
	keys []byte
	row  []byte
	rank []int32
	stop func() bool
}

// rows writes the rows of all plans of the run.
func (w *rowsWriter) rows(out io.Writer) error {
	j := w.j
	w.seen = map[rowKey]bool{}
	buffered := bufio.NewWriterSize(out, 1<<20)
	var keys []rowKey
	err := j.eachPlan(func(p *objectives.Plan) (err error) {
		if w.stop() {
			return fault.Preempted.Errorf("asked to stop after %d rows; nothing was kept", w.meta.Rows)
		}
		if keys, err = rowKeys(keys, p); err != nil {
			return err
		}
		if err := w.a.Load(p, model.Step{}); err != nil {
			return err
		}
		w.a.ForwardReference()
		for i := range p.Terms {
			if err := w.term(i, &p.Terms[i], keys, buffered); err != nil {
				return err
			}
		}
		return nil
	})
	return cmp.Or(err, buffered.Flush())
}

// eachPlan calls f with all plans of the run that ask for the reference, one epoch of every objective and all held-out documents.
func (j *job) eachPlan(f func(p *objectives.Plan) error) error {
	each := func(next func() (*objectives.Plan, error), closing func() error, err error) error {
		if err != nil {
			return err
		}
		for {
			p, err := next()
			if errors.Is(err, io.EOF) {
				return closing()
			}
			if err != nil {
				return errors.Join(err, closing())
			}
			objectives.SetDenominators([]*objectives.Plan{p})
			if !p.NeedsReference {
				continue
			}
			if err := f(p); err != nil {
				return errors.Join(err, closing())
			}
		}
	}
	for i, o := range j.objectives {
		if slices.Contains(j.objectives[:i], o) {
			continue
		}
		c := shard.StreamConfig{Seed: j.config.Data.Seed, Epochs: 1, Window: j.config.Data.Window, Split: j.split(shard.Train), Planes: j.planes()}
		if err := each(planned(j.data, c, j.packing(), o, int(j.config.Model.Vocab), j.config.Model.Context, 0)); err != nil {
			return err
		}
	}
	for i := range j.evaluators {
		if !j.hasValid() {
			break
		}
		if err := each(j.heldOut(i, 0)); err != nil {
			return err
		}
	}
	return nil
}

// checkRows looks up all rows that the run will ask of cached logits, so that what they lack shows before the first step.
func (j *job) checkRows() error {
	if j.reference == nil || j.reference.rows == nil {
		return nil
	}
	return j.eachPlan(j.reference.rows.Find)
}

func (w *rowsWriter) term(index int, t *objectives.Term, keys []rowKey, out io.Writer) (failed error) {
	if !t.NeedsReference {
		return nil
	}
	err := w.a.ReferenceLogits(index, func(r int, logits []float32) {
		key := keys[t.Rows[r]]
		if w.seen[key] || failed != nil {
			return
		}
		w.seen[key] = true
		w.keys = append(w.keys, key[:]...)
		w.meta.Rows++
		_, failed = out.Write(w.encode(logits))
	})
	return cmp.Or(failed, err)
}

// encode is a row as it is kept.
func (w *rowsWriter) encode(logits []float32) []byte {
	w.row = w.row[:0]
	if w.meta.TopK == 0 {
		return littleEndian(w.row, logits)
	}
	w.rank = w.rank[:0]
	for id := range logits {
		w.rank = append(w.rank, int32(id))
	}
	slices.SortFunc(w.rank, func(a, b int32) int { return cmp.Or(cmp.Compare(logits[b], logits[a]), cmp.Compare(a, b)) })
	all := logSumExp(logits, w.rank)
	for _, id := range w.rank[:w.meta.TopK] {
		w.row = binary.LittleEndian.AppendUint32(w.row, uint32(id))
		w.row = binary.LittleEndian.AppendUint32(w.row, math.Float32bits(float32(float64(logits[id])-all)))
	}
	return binary.LittleEndian.AppendUint32(w.row, math.Float32bits(float32(logSumExp(logits, w.rank[w.meta.TopK:])-all)))
}

// logSumExp is that of some logits, in the order of ids.
func logSumExp(logits []float32, ids []int32) float64 {
	most, sum := math.Inf(-1), 0.0
	for _, id := range ids {
		most = max(most, float64(logits[id]))
	}
	for _, id := range ids {
		sum += math.Exp(float64(logits[id]) - most)
	}
	return most + math.Log(sum)
}

// cachedRows are a reference's logits on disk.
type cachedRows struct {
	dir  string
	meta rowsMeta
	file *os.File
	at   map[rowKey]int64

	terms [][]int64 // by term and row: number of the kept row
	keys  []rowKey
	raw   []byte
	kept  []bool
	rest  []int32
}

// openRows opens and verifies a folder of rows, and compares it with the run's reference.
func openRows(dir string, want rowsMeta) (_ *cachedRows, err error) {
	again := "; hint: make it again: remove the folder, and run the same command with --cache-reference"
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, fault.Checkpoint.Errorf("reference.cache: there is no folder %s; hint: run the same command with --cache-reference first", dir)
	}
	c, err := checkpoint.Open(vfs.OS{}, dir)
	if err != nil {
		return nil, fault.Checkpoint.Errorf("reference.cache: %w%s", err, again)
	}
	raw, err := c.Read(rowsMetaFile)
	if err != nil {
		return nil, err
	}
	r := &cachedRows{dir: dir, at: map[rowKey]int64{}}
	if err := json.Unmarshal(raw, &r.meta); err != nil {
		return nil, fault.Checkpoint.Errorf("reference.cache: %s/%s: %w", dir, rowsMetaFile, err)
	}
	for _, d := range []struct {
		what    string
		was, is any
	}{{"format", r.meta.Format, want.Format}, {"weights", r.meta.Weights, want.Weights}, {"tokenizer", r.meta.Tokenizer, want.Tokenizer},
		{"vocabulary", r.meta.Vocab, want.Vocab}, {"top_k", r.meta.TopK, want.TopK}} {
		if d.was != d.is {
			return nil, fault.Usage.Errorf("reference.cache: %s was made for the %s %v, the run's reference has %v%s", dir, d.what, d.was, d.is, again)
		}
	}
	keys, err := c.Read(rowKeysFile)
	if err != nil {
		return nil, err
	}
	path, err := c.Path(rowsFile)
	if err != nil {
		return nil, err
	}
	if r.file, err = os.Open(path); err != nil {
		return nil, fault.Checkpoint.Wrap(err)
	}
	info, err := r.file.Stat()
	if err == nil && (info.Size() != r.meta.Rows*int64(r.meta.bytes()) || int64(len(keys)) != r.meta.Rows*int64(len(rowKey{}))) {
		err = fmt.Errorf("%d bytes of rows and %d of keys do not fit %d rows", info.Size(), len(keys), r.meta.Rows)
	}
	if err != nil {
		r.file.Close()
		return nil, fault.Checkpoint.Errorf("reference.cache: %s: %w%s", dir, err, again)
	}
	for i := int64(0); len(keys) > 0; i++ {
		r.at[rowKey(keys[:len(rowKey{})])] = i
		keys = keys[len(rowKey{}):]
	}
	return r, nil
}

// Partial reports whether rows hold their likeliest tokens alone.
func (r *cachedRows) Partial() bool { return r.meta.TopK > 0 }

// Find looks up the rows of a plan.
func (r *cachedRows) Find(p *objectives.Plan) (err error) {
	if r.keys, err = rowKeys(r.keys, p); err != nil {
		return err
	}
	for len(r.terms) < len(p.Terms) {
		r.terms = append(r.terms, nil)
	}
	for i := range p.Terms {
		r.terms[i] = r.terms[i][:0]
		if !p.Terms[i].NeedsReference {
			continue
		}
		t := &p.Terms[i]
		live := len(t.Rows) - t.Filled
		for _, row := range t.Rows[:live] {
			at, ok := r.at[r.keys[row]]
			if !ok {
				s := slices.IndexFunc(p.Segments, func(s kernels.Segment) bool { return row < s.End })
				return fault.Data.Errorf("reference.cache: %s has no row for the first %d tokens of document %d: it was made from other documents, or cut in another way; hint: make it again: remove the folder, and run the same command with --cache-reference",
					r.dir, row-p.Segments[s].Start+1, p.Documents[s])
			}
			r.terms[i] = append(r.terms[i], at)
		}
		for range t.Filled { // which count nothing: any row will do
			r.terms[i] = append(r.terms[i], r.terms[i][live-1])
		}
	}
	return nil
}

// Read fills dst with rows [from,to) of a term. Of partial rows the rest's mass is spread over the tokens that were not kept in
// proportion to the trained model's probabilities, held constant.
func (r *cachedRows) Read(term, from, to int, dst, own []float32) error {
	V, n := r.meta.Vocab, r.meta.bytes()
	r.raw = append(r.raw[:0], make([]byte, n)...)
	for i, at := range r.terms[term][from:to] {
		if _, err := r.file.ReadAt(r.raw, at*int64(n)); err != nil {
			return fault.Checkpoint.Errorf("reference.cache: %s: row %d: %w", r.dir, at, err)
		}
		row := dst[i*V : (i+1)*V]
		if r.meta.TopK == 0 {
			for j := range row {
				row[j] = math.Float32frombits(binary.LittleEndian.Uint32(r.raw[4*j:]))
			}
			continue
		}
		if err := r.fillUp(row, own[i*V:(i+1)*V]); err != nil {
			return fault.Checkpoint.Errorf("reference.cache: %s: row %d: %w", r.dir, at, err)
		}
	}
	return nil
}

// fillUp decodes a partial row.
func (r *cachedRows) fillUp(row, own []float32) error {
	r.kept = append(r.kept[:0], make([]bool, len(row))...)
	raw := r.raw
	for range r.meta.TopK {
		id := binary.LittleEndian.Uint32(raw)
		if id >= uint32(len(row)) {
			return fmt.Errorf("token %d of %d", id, len(row))
		}
		row[id], r.kept[id] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4:])), true
		raw = raw[8:]
	}
	r.rest = r.rest[:0]
	for id, kept := range r.kept {
		if !kept {
			r.rest = append(r.rest, int32(id))
		}
	}
	shift := float64(math.Float32frombits(binary.LittleEndian.Uint32(raw))) - logSumExp(own, r.rest)
	for _, id := range r.rest {
		row[id] = float32(float64(own[id]) + shift)
	}
	return nil
}
