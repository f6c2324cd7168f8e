package shard

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"sort"
	"strings"
	"sync"

	"palimpsest/engine/fault"
)

const maxProblems = 100 // an error lists as many, then counts

// A Document is one document of a data set. Its slices share the memory of a decoded frame: read them, never write.
type Document struct {
	ID     int64  // position in the data set
	Epoch  uint32 // of the stream that yielded it
	Tokens []int32
	Planes map[string][]byte // one byte a token, for the planes asked for; nil without any
}

// A Dataset is an open data set. It is safe for concurrent use.
type Dataset struct {
	dir    string
	root   *os.Root
	index  Index
	shards []*data
	frames []int64 // first global frame of every shard, and the total
	docs   []int64 // first document of every shard, and the total
	stray  []string

	mu     sync.Mutex // guards the frame that Document read last
	last   []Document
	lastOf int64
}

// data is one shard: its files, and the first document of each frame once they are verified.
type data struct {
	declared *Shard
	tok, len *member
	planes   []*member

	mu    sync.Mutex
	first []int64 // first document of every frame within the shard, and the total; nil until verified
}

// Open opens the data set in dir. It reads and checks index.json, and compares the presence, kind and size of every file;
// all problems are reported together as fault.Data. Hashes are verified at the first use of a file, or by Verify.
func Open(dir string) (*Dataset, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fault.Data.Errorf("data set %s: %w; hint: give the folder that `data build` wrote", dir, err)
	}
	ds := &Dataset{dir: dir, root: root, lastOf: -1}
	if err := ds.open(); err != nil {
		root.Close()
		return nil, err
	}
	return ds, nil
}

func (ds *Dataset) open() error {
	text, err := readIndex(ds.root, ds.dir)
	if err != nil {
		return err
	}
	if ds.index, err = parseIndex(text, ds.dir+"/"+indexName); err != nil {
		return err
	}
	var problems problems
	expected := map[string]bool{}
	optional := map[string]bool{}
	for i := range ds.index.Shards {
		d := ds.newData(&ds.index.Shards[i])
		ds.shards = append(ds.shards, d)
		ds.frames = append(ds.frames, 0)
		ds.docs = append(ds.docs, 0)
		for _, m := range d.members() {
			expected[m.name] = true
			_, err := m.lstat()
			problems.add(err)
		}
		for _, p := range planeNames {
			optional[fileName(d.declared.Name, p)] = true
		}
	}
	ds.frames, ds.docs = append(ds.frames, 0), append(ds.docs, 0)
	for i, d := range ds.shards {
		ds.frames[i+1] = ds.frames[i] + d.declared.Frames
		ds.docs[i+1] = ds.docs[i] + d.declared.Documents
	}
	names, err := osFolder{ds.root}.Names()
	problems.add(fault.Data.Wrap(err))
	slices.Sort(names)
	for _, n := range names {
		switch {
		case !strings.HasSuffix(n, ".zst") || expected[n]:
		case optional[n]: // an AddPlane that was cut off; never read
			ds.stray = append(ds.stray, n)
		default:
			problems.add(fault.Data.Errorf("%s/%s: the index does not know this file; "+
				"hint: remove it, or restore the index that belongs to it",
				ds.dir, n))
		}
	}
	return problems.join()
}

func readIndex(root *os.Root, dir string) ([]byte, error) {
	info, err := root.Lstat(indexName)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fault.Data.Errorf("%s: no %s: not a data set, or an unfinished build; "+
			"hint: run `data build` to its end", dir, indexName)
	case err != nil:
		return nil, fault.Data.Errorf("%s/%s: %w", dir, indexName, err)
	case !info.Mode().IsRegular():
		return nil, fault.Data.Errorf("%s/%s: %s, expected a plain file; hint: links are refused", dir, indexName, info.Mode().Type())
	case info.Size() > maxIndexBytes:
		return nil, fault.Data.Errorf("%s/%s: %d bytes, at most %d", dir, indexName, info.Size(), maxIndexBytes)
	}
	f, err := root.Open(indexName)
	if err != nil {
		return nil, fault.Data.Errorf("%s/%s: %w", dir, indexName, err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxIndexBytes+1))
	if err != nil {
		return nil, fault.Data.Errorf("%s/%s: %w", dir, indexName, err)
	}
	return text, nil
}

func (ds *Dataset) newData(s *Shard) *data {
	member := func(kind string, width int, f File) *member {
		return &member{root: ds.root, dir: ds.dir, name: fileName(s.Name, kind), width: width, frames: s.Frames, File: f}
	}
	d := &data{declared: s, tok: member("tok", ds.index.Width(), s.Tok), len: member("len", lengthWidth, s.Len)}
	for i, p := range ds.index.Planes {
		d.planes = append(d.planes, member(p.Name, 1, s.Planes[i]))
	}
	return d
}

func (d *data) members() []*member { return append([]*member{d.tok, d.len}, d.planes...) }

// Close releases the folder. Streams of the data set must be closed before.
func (ds *Dataset) Close() error { return ds.root.Close() }

// Index returns the description of the data set; its Hash identifies the content.
func (ds *Dataset) Index() Index { return ds.index }

// Documents returns the number of documents.
func (ds *Dataset) Documents() int64 { return ds.index.Documents }

// Tokens returns the number of tokens.
func (ds *Dataset) Tokens() int64 { return ds.index.Tokens }

// Stray lists plane files that no index entry declares, left behind by an interrupted AddPlane. They are never read.
func (ds *Dataset) Stray() []string { return ds.stray }

// CheckTokenizer refuses a tokenizer other than the one that made the tokens.
func (ds *Dataset) CheckTokenizer(hash string, vocab int) error {
	t := ds.index.Tokenizer
	if t.Hash != hash || t.Vocab != vocab {
		return fault.Data.Errorf("data set %s was made with tokenizer %q of %d tokens, not with %q of %d; "+
			"hint: use the tokenizer it was built with, or build it again",
			ds.dir, t.Hash, t.Vocab, hash, vocab)
	}
	return nil
}

// ready verifies the files of a shard that a reader needs; planes are indices into Index.Planes.
func (d *data) ready(ctx context.Context, planes []int) error {
	if _, err := d.tok.load(ctx); err != nil {
		return err
	}
	lens, err := d.len.load(ctx)
	if err != nil {
		return err
	}
	for _, p := range planes {
		if _, err := d.planes[p].load(ctx); err != nil {
			return err
		}
		if err := d.sameFrames(d.planes[p]); err != nil {
			return err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.first == nil {
		d.first = firstDocuments(lens)
	}
	return nil
}

// firstDocuments returns the prefix sums of the documents by frame.
func firstDocuments(lens []entry) []int64 {
	first := make([]int64, len(lens)+1)
	for k, e := range lens {
		first[k+1] = first[k] + int64(e.raw/lengthWidth)
	}
	return first
}

// sameFrames checks that a plane's frames cover the same tokens as the shard's.
func (d *data) sameFrames(plane *member) error {
	for k, e := range plane.entries {
		if want := d.tok.entries[k].raw / uint32(d.tok.width); e.raw != want {
			return plane.errorf("frame %d has %d bytes for %d tokens", k, e.raw, want)
		}
	}
	return nil
}

// planeIndices translates plane names.
func (ds *Dataset) planeIndices(names []string) ([]int, error) {
	var list []int
	for _, n := range names {
		i := slices.IndexFunc(ds.index.Planes, func(p Plane) bool { return p.Name == n })
		if i < 0 {
			known := "none at all"
			if len(ds.index.Planes) > 0 {
				known = "only"
				for _, p := range ds.index.Planes {
					known += " " + p.Name
				}
			}
			return nil, fault.Data.Errorf("data set %s has no plane %q, %s; hint: 'palimpsest data annotate' adds bio, class and sign, 'palimpsest data build' makes the others", ds.dir, n, known)
		}
		if !slices.Contains(list, i) {
			list = append(list, i)
		}
	}
	return list, nil
}

// frame decodes global frame g: its documents that keep accepts (nil = all), in order, with the given planes.
func (ds *Dataset) frame(ctx context.Context, g int64, keep func(id int64) bool, planes []int) ([]Document, error) {
	i := sort.Search(len(ds.shards), func(i int) bool { return ds.frames[i+1] > g })
	d, k := ds.shards[i], int(g-ds.frames[i])
	if err := d.ready(ctx, planes); err != nil {
		return nil, err
	}
	first := ds.docs[i] + d.first[k]
	count := int(d.first[k+1] - d.first[k])
	documents := make([]Document, 0, count)
	for j := range int64(count) {
		if keep == nil || keep(first+j) {
			documents = append(documents, Document{ID: first + j})
		}
	}
	if len(documents) == 0 {
		return nil, nil
	}
	c := codecs.Get().(*codec)
	defer codecs.Put(c)
	return documents, ds.fill(c, d, k, first, documents, planes)
}

// fill decodes frame k of a verified shard into the given documents, a subset of the frame's in order.
func (ds *Dataset) fill(c *codec, d *data, k int, first int64, documents []Document, planes []int) error {
	lengths, err := d.len.readFrame(c, k, &c.lens)
	if err != nil {
		return err
	}
	raw, err := d.tok.readFrame(c, k, &c.tokens)
	if err != nil {
		return err
	}
	starts, err := d.starts(k, lengths, len(raw)/d.tok.width)
	if err != nil {
		return err
	}
	total := 0
	for _, doc := range documents {
		j := doc.ID - first
		total += starts[j+1] - starts[j]
	}
	tokens := make([]int32, total)
	for i := range documents {
		j := documents[i].ID - first
		a, b := starts[j], starts[j+1]
		documents[i].Tokens, tokens = tokens[:b-a:b-a], tokens[b-a:]
		if top := widen(documents[i].Tokens, raw[a*d.tok.width:b*d.tok.width], d.tok.width); top >= uint32(ds.index.Tokenizer.Vocab) {
			return d.outside(k, a, documents[i], ds.index.Tokenizer.Vocab)
		}
	}
	for _, p := range planes {
		raw, err := d.planes[p].readFrame(c, k, &c.plane)
		if err != nil {
			return err
		}
		values := make([]byte, 0, total)
		for i := range documents {
			j := documents[i].ID - first
			if documents[i].Planes == nil {
				documents[i].Planes = make(map[string][]byte, len(planes))
			}
			at := len(values)
			values = append(values, raw[starts[j]:starts[j+1]]...)
			documents[i].Planes[ds.index.Planes[p].Name] = values[at:len(values):len(values)]
		}
	}
	return nil
}

// starts turns the lengths of frame k into the documents' bounds and checks that they cover its tokens.
func (d *data) starts(k int, lengths []byte, tokens int) ([]int, error) {
	starts := make([]int, 1, len(lengths)/lengthWidth+1)
	at := 0
	for ; len(lengths) > 0; lengths = lengths[lengthWidth:] {
		n := binary.LittleEndian.Uint32(lengths)
		if n == 0 || n > MaxDocument || int(n) > tokens-at {
			return nil, d.len.errorf("frame %d, document %d: length %d with %d tokens of the frame left", k, len(starts)-1, n, tokens-at)
		}
		at += int(n)
		starts = append(starts, at)
	}
	if at != tokens {
		return nil, d.len.errorf("frame %d: the lengths add up to %d tokens, %s has %d", k, at, d.tok.name, tokens)
	}
	return starts, nil
}

// outside names the first token of a document that is not in the vocabulary.
func (d *data) outside(k, at int, doc Document, vocab int) error {
	i := slices.IndexFunc(doc.Tokens, func(t int32) bool { return uint32(t) >= uint32(vocab) })
	return d.tok.errorf("frame %d, token %d (document %d, token %d): id %d is outside the vocabulary of %d; "+
		"hint: the shards were made with another tokenizer",
		k, at+i, doc.ID, i, uint32(doc.Tokens[i]), vocab)
}

// Document returns document i, in [0, Documents()), with the named planes. It decodes one frame; the last one is kept, so
// that reading in order is cheap.
func (ds *Dataset) Document(i int64, planes ...string) (Document, error) {
	if i < 0 || i >= ds.Documents() {
		return Document{}, fault.Usage.Errorf("data set %s: document %d of %d", ds.dir, i, ds.Documents())
	}
	list, err := ds.planeIndices(planes)
	if err != nil {
		return Document{}, err
	}
	s := sort.Search(len(ds.shards), func(s int) bool { return ds.docs[s+1] > i })
	d := ds.shards[s]
	if err := d.ready(context.Background(), list); err != nil {
		return Document{}, err
	}
	local := i - ds.docs[s]
	k := sort.Search(len(d.first)-1, func(k int) bool { return d.first[k+1] > local })
	g := ds.frames[s] + int64(k)
	if len(list) > 0 { // planes are asked for rarely; only plain frames are kept
		documents, err := ds.frame(context.Background(), g, func(id int64) bool { return id == i }, list)
		if err != nil {
			return Document{}, err
		}
		return documents[0], nil
	}
	ds.mu.Lock()
	defer ds.mu.Unlock()
	if ds.lastOf != g {
		documents, err := ds.frame(context.Background(), g, nil, nil)
		if err != nil {
			return Document{}, err
		}
		ds.last, ds.lastOf = documents, g
	}
	return ds.last[local-d.first[k]], nil
}

// problems collects errors up to a limit.
type problems struct {
	list []error
	more int
}

func (p *problems) add(err error) {
	switch {
	case err == nil:
	case len(p.list) < maxProblems:
		p.list = append(p.list, err)
	default:
		p.more++
	}
}

func (p *problems) join() error {
	if p.more > 0 {
		p.list, p.more = append(p.list, fmt.Errorf("and %d more", p.more)), 0
	}
	return errors.Join(p.list...)
}
