package shard

import (
	"context"
	"os"
	"slices"
	"sort"

	"github.com/cespare/xxhash/v2"

	"palimpsest/engine/fault"
)

// A Report counts what Verify has checked.
type Report struct {
	Shards    int
	Files     int
	Bytes     int64
	Documents int64
	Tokens    int64
	Stray     []string // see Dataset.Stray
}

// Verify checks everything declared: the hash of every file, compressed and decompressed, every frame, every document
// length and every token id. It goes on after a problem and returns all of them together (fault.Data). The report counts
// what was found sound. progress, when not nil, is told the compressed bytes done of the total; each byte counts twice, for
// the file's hash and for its frames.
func (ds *Dataset) Verify(progress func(done, total int64)) (Report, error) {
	report := Report{Stray: ds.stray}
	var total, done int64
	for i := range ds.shards {
		for _, m := range ds.shards[i].members() {
			total += 2 * m.Bytes
		}
	}
	step := func(n int64) {
		done += n
		if progress != nil {
			progress(done, total)
		}
	}
	var problems problems
	for i := range ds.shards {
		// A fresh member, so that what an earlier stream has verified is read again.
		d := ds.newData(&ds.index.Shards[i])
		before := len(problems.list) + problems.more
		ds.verifyShard(d, ds.docs[i], &problems, step)
		for _, m := range d.members() {
			report.Files++
			report.Bytes += m.Bytes
		}
		if len(problems.list)+problems.more == before {
			report.Shards++
			report.Documents += d.declared.Documents
			report.Tokens += d.declared.Tokens
		}
	}
	return report, problems.join()
}

func (ds *Dataset) verifyShard(d *data, first int64, problems *problems, step func(int64)) {
	files := make([]*os.File, len(d.members()))
	sound := true
	for i, m := range d.members() {
		f, _, err := m.open()
		if err != nil {
			problems.add(err)
			sound = false
			continue
		}
		defer f.Close()
		files[i] = f
		problems.add(m.checkHash(context.Background(), f, step))
		if m.entries, err = m.readTable(f); err != nil {
			problems.add(err)
			sound = false
		}
	}
	if !sound {
		return // without every seek table the frames cannot be matched; the problem above names the file
	}
	for _, p := range d.planes {
		if err := d.sameFrames(p); err != nil {
			problems.add(err)
			return
		}
	}
	ds.verifyFrames(d, first, files, problems, step)
}

// verifyFrames decodes every frame of a shard's files side by side; documents is the number of the shard's first one.
func (ds *Dataset) verifyFrames(d *data, documents int64, files []*os.File, problems *problems, step func(int64)) {
	c := codecs.Get().(*codec)
	defer codecs.Put(c)
	members := d.members()
	digests := make([]xxhash.Digest, len(members))
	failed := make([]bool, len(members))
	for i := range digests {
		digests[i].Reset()
	}
	var ids []int32
	vocab := uint32(ds.index.Tokenizer.Vocab)
	for k := range d.tok.entries {
		raw := make([][]byte, len(members))
		for i, m := range members {
			out := &c.plane // planes are only hashed, one after the other
			if i < 2 {
				out = []*[]byte{&c.tokens, &c.lens}[i]
			}
			var err error
			if raw[i], err = m.decode(c, files[i], k, m.entries[k], out); err != nil {
				problems.add(err)
				failed[i] = true
			} else {
				digests[i].Write(raw[i])
			}
			step(int64(m.entries[k].bytes))
		}
		if raw[0] != nil {
			tokens := len(raw[0]) / d.tok.width
			starts := []int{0, tokens} // when the lengths are lost, the frame counts as one document
			if raw[1] != nil {
				if s, err := d.starts(k, raw[1], tokens); err != nil {
					problems.add(err)
				} else {
					starts = s
				}
			}
			ids = slices.Grow(ids[:0], tokens)[:tokens]
			if top := widen(ids, raw[0], d.tok.width); top >= vocab {
				at := slices.IndexFunc(ids, func(t int32) bool { return uint32(t) >= vocab })
				j := sort.SearchInts(starts, at+1) - 1
				problems.add(d.outside(k, starts[j], Document{ID: documents + int64(j), Tokens: ids[starts[j]:starts[j+1]]}, int(vocab)))
			}
		}
		documents += int64(d.len.entries[k].raw / lengthWidth)
	}
	for i, m := range members {
		step(tableBytes(m.frames))
		if got := Sum(digests[i].Sum64()); !failed[i] && got != m.RawXXH64 {
			problems.add(fault.Data.Errorf("%s/%s: xxh64 of the decompressed content is %016x, the index declares %016x; "+
				"hint: restore the file or build again",
				m.dir, m.name, uint64(got), uint64(m.RawXXH64)))
		}
	}
}
