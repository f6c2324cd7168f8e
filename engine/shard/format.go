package shard

import (
	"encoding/binary"
	"path/filepath"
	"regexp"
	"slices"
)

const (
	indexName      = "index.json"
	unfinishedName = "UNFINISHED" // marks a folder that Create may clear
	temporary      = ".tmp"

	lengthWidth = 4 // bytes of a document length on disk
)

// planeNames are the planes the format knows: loss (0 = context only), bio (entity tags, 255 = none), label (class of the
// document at every token, 255 = none), class, and sign
// (int8 kept as its byte).
var planeNames = []string{"bio", "class", "label", "loss", "sign"}

func knownPlane(name string) bool { return slices.Contains(planeNames, name) }

var (
	plainName   = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)
	writtenName = regexp.MustCompile(`^([0-9]{5}\.(tok|len|bio|class|label|loss|sign)\.zst(\.tmp)?|(index|progress)\.json\.tmp|progress\.json|UNFINISHED)$`)
)

// safeName reports whether a shard's name can only mean a file directly in the folder.
func safeName(name string) bool { return plainName.MatchString(name) && filepath.IsLocal(name) }

func fileName(shard, kind string) string { return shard + "." + kind + ".zst" }

func dtypeOf(vocab int) string {
	if vocab <= 1<<16 {
		return "uint16"
	}
	return "uint32"
}

func dtypeWidth(dtype string) int {
	if dtype == "uint16" {
		return 2
	}
	return 4
}

func appendTokens(raw []byte, tokens []int32, width int) []byte {
	if width == 2 {
		for _, t := range tokens {
			raw = binary.LittleEndian.AppendUint16(raw, uint16(t))
		}
		return raw
	}
	for _, t := range tokens {
		raw = binary.LittleEndian.AppendUint32(raw, uint32(t))
	}
	return raw
}

// widen converts raw tokens to dst, which has room for exactly those, and returns the largest id as an unsigned number.
// Narrow tokens are loaded four at a time; the loops are the only per-token work of a reader beside zstd.
func widen(dst []int32, raw []byte, width int) uint32 {
	var top uint32
	if width == 2 {
		whole := len(dst) &^ 3
		for i := 0; i+4 <= whole; i += 4 {
			v := binary.LittleEndian.Uint64(raw[2*i : 2*i+8])
			a, b, c, d := uint32(v&0xFFFF), uint32(v>>16&0xFFFF), uint32(v>>32&0xFFFF), uint32(v>>48)
			o := (*[4]int32)(dst[i : i+4])
			o[0], o[1], o[2], o[3] = int32(a), int32(b), int32(c), int32(d)
			top = max(top, max(a, b), max(c, d))
		}
		for i := whole; i < len(dst); i++ {
			t := uint32(binary.LittleEndian.Uint16(raw[2*i:]))
			dst[i], top = int32(t), max(top, t)
		}
		return top
	}
	for i := range dst {
		t := binary.LittleEndian.Uint32(raw[4*i:])
		dst[i], top = int32(t), max(top, t)
	}
	return top
}
