package shard

// A Summary is what `data inspect` shows of a data set; it comes from the index alone.
type Summary struct {
	Dir       string         `json:"dir"`
	CreatedBy string         `json:"created_by"`
	Tokenizer Tokenizer      `json:"tokenizer"`
	DType     string         `json:"dtype"`
	Planes    []Plane        `json:"planes"`
	Hash      Sum            `json:"index_xxh64"`
	Shards    []ShardSummary `json:"shards"`
	Total     ShardSummary   `json:"total"`
}

// A ShardSummary is one row of the table.
type ShardSummary struct {
	Name       string  `json:"name"`
	Source     string  `json:"source,omitempty"`
	Documents  int64   `json:"documents"`
	Tokens     int64   `json:"tokens"`
	Frames     int64   `json:"frames"`
	Bytes      int64   `json:"bytes"`       // compressed, all files of the shard
	RawBytes   int64   `json:"raw_bytes"`   // decompressed
	Ratio      float64 `json:"ratio"`       // RawBytes / Bytes
	MeanLength float64 `json:"mean_length"` // tokens a document
}

// Inspect summarises the data set.
func (ds *Dataset) Inspect() Summary {
	x := &ds.index
	s := Summary{
		Dir: ds.dir, CreatedBy: x.CreatedBy, Tokenizer: x.Tokenizer, DType: x.DType, Planes: x.Planes, Hash: x.Hash,
		Total: ShardSummary{Name: "total"},
	}
	for i := range x.Shards {
		d := &x.Shards[i]
		row := ShardSummary{Name: d.Name, Source: d.Source, Documents: d.Documents, Tokens: d.Tokens, Frames: d.Frames}
		for _, f := range append([]File{d.Tok, d.Len}, d.Planes...) {
			row.Bytes += f.Bytes
			row.RawBytes += f.RawBytes
		}
		t := &s.Total
		t.Documents, t.Tokens, t.Frames = t.Documents+row.Documents, t.Tokens+row.Tokens, t.Frames+row.Frames
		t.Bytes, t.RawBytes = t.Bytes+row.Bytes, t.RawBytes+row.RawBytes
		row.complete()
		s.Shards = append(s.Shards, row)
	}
	s.Total.complete()
	return s
}

func (r *ShardSummary) complete() {
	r.Ratio = float64(r.RawBytes) / float64(r.Bytes)
	r.MeanLength = float64(r.Tokens) / float64(r.Documents)
}
