package bench

import (
	"errors"
	"io"
	"time"

	"palimpsest/engine/fault"
	"palimpsest/engine/shard"
)

// DataResult is the speed of the data path: decode, verify, shuffle, pack.
type DataResult struct {
	Time       string  `json:"time"`
	Version    string  `json:"version"`
	Data       string  `json:"data"`
	Tokens     int64   `json:"tokens"`
	Packing    string  `json:"packing"`
	Decoders   int     `json:"decoders"`
	TokensPerS float64 `json:"tokens_per_s"` // of the median pass
	Seconds    Spread  `json:"seconds"`
	Fill       float64 `json:"fill"` // share of the steps' capacity that was used
}

// Data streams a data set once a run and packs it into steps. The first pass, which also verifies the hash of every
// file, is counted like the others: each pass opens the data set anew.
func Data(dir string, pack shard.PackConfig, stream shard.StreamConfig, runs int, version string) (DataResult, error) {
	r := DataResult{Time: time.Now().UTC().Format(time.RFC3339), Version: version, Data: dir, Packing: string(pack.Mode), Decoders: stream.Decoders}
	stream.Epochs = 1
	var seconds []float64
	for range runs {
		started := time.Now()
		stats, err := pass(dir, pack, stream)
		if err != nil {
			return r, err
		}
		seconds = append(seconds, time.Since(started).Seconds())
		r.Tokens, r.Fill = stats.Tokens, stats.Fill
	}
	if r.Tokens == 0 {
		return r, fault.Data.Errorf("%s holds no token to pack", dir)
	}
	r.Seconds = spread(seconds)
	r.TokensPerS = float64(r.Tokens) / r.Seconds.Median
	return r, nil
}

func pass(dir string, pack shard.PackConfig, config shard.StreamConfig) (shard.PackStats, error) {
	ds, err := shard.Open(dir)
	if err != nil {
		return shard.PackStats{}, err
	}
	defer ds.Close()
	s, err := ds.Stream(config, shard.Cursor{})
	if err != nil {
		return shard.PackStats{}, err
	}
	defer s.Close()
	p, err := shard.NewPacker(s, pack)
	if err != nil {
		return shard.PackStats{}, err
	}
	for {
		if _, err := p.Next(); errors.Is(err, io.EOF) {
			return p.Stats(), nil
		} else if err != nil {
			return shard.PackStats{}, err
		}
	}
}
