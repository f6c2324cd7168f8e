package text

import (
	"bytes"
	"strings"
	"unicode/utf8"
)

// A decoder is a component of tokenizer.json; its fields are its keys there. It rewrites the names of tokens into pieces of text,
// which are joined in the end.
type decoder interface {
	decode(names []string) []string
}

// decodeNames is Decode for models other than byte-level BPE. Without a decoder the names are joined by spaces.
func (t *Tokenizer) decodeNames(ids []int32) []byte {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = string(utf8.RuneError)
		if t.valid(id) {
			names[i] = t.names[id]
		}
	}
	if t.spec.decoder == nil {
		return []byte(strings.Join(names, " "))
	}
	return []byte(strings.Join(t.spec.decoder.decode(names), ""))
}

type decoderSequence struct {
	Type     string    `json:"type"`
	Decoders []decoder `json:"decoders"`
}

func (d *decoderSequence) decode(names []string) []string {
	for _, part := range d.Decoders {
		names = part.decode(names)
	}
	return names
}

// decode reads the byte-level alphabet; a name with other characters stands for itself.
func (*byteLevel) decode(names []string) []string {
	var all []byte
	for _, name := range names {
		if token, _, ok := surfaceBytes(name); ok {
			all = append(all, token...)
		} else {
			all = append(all, name...)
		}
	}
	return []string{string(bytes.ToValidUTF8(all, []byte("\uFFFD")))}
}

// A plainDecoder has no keys: ByteFallback and Fuse.
type plainDecoder struct {
	Type string `json:"type"`
}

func (d *plainDecoder) decode(names []string) []string {
	if d.Type == "Fuse" {
		return []string{strings.Join(names, "")}
	}
	var out []string
	var pending []byte
	flush := func() {
		if utf8.Valid(pending) && len(pending) > 0 {
			out = append(out, string(pending))
		} else {
			for range pending {
				out = append(out, "\uFFFD")
			}
		}
		pending = pending[:0]
	}
	for _, name := range names {
		if b, ok := byteName(name); ok {
			pending = append(pending, b)
			continue
		}
		flush()
		out = append(out, name)
	}
	flush()
	return out
}

type wordPieceDecoder struct {
	Type    string `json:"type"`
	Prefix  string `json:"prefix"`
	Cleanup bool   `json:"cleanup"`
}

// cleanup removes the spaces of tokenized English before punctuation and the endings of contractions.
var cleanup = []string{" .", ".", " ?", "?", " !", "!", " ,", ",", " ' ", "'", " n't", "n't", " 'm", "'m", " do not", " don't",
	" 's", "'s", " 've", "'ve", " 're", "'re"}

func (d *wordPieceDecoder) decode(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		if rest, ok := strings.CutPrefix(name, d.Prefix); ok && i > 0 {
			name = rest
		} else if i > 0 {
			name = " " + name
		}
		for k := 0; d.Cleanup && k < len(cleanup); k += 2 {
			name = strings.ReplaceAll(name, cleanup[k], cleanup[k+1])
		}
		out[i] = name
	}
	return out
}

func (m *metaspacePreTokenizer) decode(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		space := " "
		if i == 0 && m.PrependScheme != "never" {
			space = ""
		}
		out[i] = strings.ReplaceAll(name, m.Replacement, space)
	}
	return out
}

// A stripDecoder takes up to so many of a character from the start and the end of every name.
type stripDecoder struct {
	Type    string `json:"type"`
	Content string `json:"content"`
	Start   int    `json:"start"`
	Stop    int    `json:"stop"`
}

func (d *stripDecoder) decode(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		for n := 0; n < d.Start && strings.HasPrefix(name, d.Content); n++ {
			name = name[len(d.Content):]
		}
		for n := 0; n < d.Stop && strings.HasSuffix(name, d.Content); n++ {
			name = name[:len(name)-len(d.Content)]
		}
		out[i] = name
	}
	return out
}

type replaceDecoder struct {
	Type    string  `json:"type"`
	Pattern pattern `json:"pattern"`
	Content string  `json:"content"`
}

func (d *replaceDecoder) decode(names []string) []string {
	out := make([]string, len(names))
	for i, name := range names {
		text := []byte(name)
		var b strings.Builder
		for at := 0; at < len(text); {
			from, to := d.Pattern.find(text, at)
			b.Write(text[at:from])
			if to > from {
				b.WriteString(d.Content)
			}
			at = to
		}
		out[i] = b.String()
	}
	return out
}
