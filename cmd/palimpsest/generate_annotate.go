package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"palimpsest/engine/fault"
	"palimpsest/engine/text"
	"palimpsest/engine/vfs"
)

// spanRecord is an unwanted span of a generation, in code points.
type spanRecord struct {
	Start int    `json:"start"`
	End   int    `json:"end"`
	Text  string `json:"text"`
}

// generationRecord is a line of a file of generations, as the shape generation reads it.
type generationRecord struct {
	Prompt     string        `json:"prompt"`
	Generation string        `json:"generation"`
	Spans      *[]spanRecord `json:"spans,omitempty"` // nil: nobody looked yet
	Tokens     []int32       `json:"tokens"`
	Ended      bool          `json:"ended"`
	LogProb    float64       `json:"log_prob"`
}

// judged is a text with what a finder finds in it.
type judged struct {
	text     []byte
	spans    [][2]int
	unwanted []bool // by token
	n        int    // unwanted tokens
}

// judge looks for what is unwanted in the text of tokens.
func judge(t *text.Tokenizer, f text.SpanFinder, tokens []int32) (j judged, err error) {
	spelled, starts, ends := t.Spell(tokens)
	j = judged{text: spelled, unwanted: make([]bool, len(tokens))}
	if f == nil {
		return j, nil
	}
	if j.spans, err = f.Find(spelled); err != nil {
		return j, err
	}
	signs, _ := text.SpanSigns(j.spans, starts, ends, false)
	for i, s := range signs {
		if j.unwanted[i] = s == text.SignUnwanted; j.unwanted[i] {
			j.n++
		}
	}
	return j, nil
}

// records turns spans of bytes into code points.
func (j judged) records() []spanRecord {
	list, at, point := []spanRecord{}, 0, 0
	for _, s := range j.spans {
		point += utf8.RuneCount(j.text[at:s[0]])
		word := j.text[s[0]:s[1]]
		end := point + utf8.RuneCount(word)
		list = append(list, spanRecord{point, end, string(word)})
		at, point = s[1], end
	}
	return list
}

// marked shows a text with its spans in brackets.
func (j judged) marked() string {
	var b strings.Builder
	at := 0
	for _, s := range j.spans {
		fmt.Fprintf(&b, "%s[%s]", j.text[at:s[0]], j.text[s[0]:s[1]])
		at = s[1]
	}
	b.Write(j.text[at:])
	return b.String()
}

type outputsResult struct {
	File      string  `json:"file"`
	Source    string  `json:"source"` // of the spans; empty without any
	Prompts   int     `json:"prompts"`
	Texts     int     `json:"texts"`
	Empty     int     `json:"empty"` // ended at once, left out
	Tokens    int64   `json:"tokens"`
	Marked    int     `json:"texts_with_unwanted"`
	Unwanted  int64   `json:"unwanted_tokens"`
	Spans     int     `json:"spans"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"tokens_per_second"`
	examples  []string
}

// annotateOutputs writes the continuations of prompts with what is unwanted in them.
func annotateOutputs(c *cli.Context, g *continuer, prompts []string, contexts [][]int32) error {
	path := c.String("annotate")
	if exists(path) && !c.Bool("force") {
		return fault.Usage.Errorf("%s exists already; hint: choose another --annotate, or add --force to replace it", path)
	}
	for i, prompt := range prompts {
		if !utf8.ValidString(prompt) {
			return fault.Data.Errorf("prompt %d is not valid UTF-8, which JSON needs", i+1)
		}
	}
	finder, origin, err := finderOf(c)
	if err != nil {
		return err
	}
	r := outputsResult{File: path, Source: origin, Prompts: len(prompts)}
	status, start, total := newStatusLine(c), time.Now(), len(prompts)*g.samples
	err = writeLines(path, func(lines *json.Encoder) error {
		return g.each(contexts, func(o continuation) error {
			status.update(func() string { return fmt.Sprintf("%s of %s texts", count(r.Texts+r.Empty), count(total)) })
			if len(o.Tokens) == 0 {
				r.Empty++
				return nil
			}
			j, err := judge(g.m.Tokenizer, finder, o.Tokens)
			if err != nil {
				return err
			}
			record := generationRecord{prompts[o.prompt], string(j.text), nil, o.Tokens, o.Ended, o.LogProb}
			if finder != nil {
				spans := j.records()
				record.Spans = &spans
			}
			r.Texts++
			r.Tokens += int64(len(o.Tokens))
			r.Unwanted += int64(j.n)
			r.Spans += len(j.spans)
			if len(j.spans) > 0 {
				if r.Marked++; len(r.examples) < 3 {
					r.examples = append(r.examples, prompts[o.prompt]+j.marked())
				}
			}
			return fault.Write.Wrap(lines.Encode(record))
		})
	})
	status.clear()
	if err != nil {
		return err
	}
	r.Seconds = time.Since(start).Seconds()
	r.PerSecond = float64(r.Tokens) / max(r.Seconds, 1e-9)
	return show(c, r, r.print)
}

func (r *outputsResult) print(w io.Writer) {
	fmt.Fprintf(w, "%s: %s texts of %s tokens from %s prompts, %.1f s (%.0f tokens/s)\n", r.File, count(r.Texts), count(r.Tokens), count(r.Prompts), r.Seconds, r.PerSecond)
	if r.Empty > 0 {
		fmt.Fprintf(w, "note: %s texts ended before they began, left out\n", count(r.Empty))
	}
	if r.Source == "" {
		fmt.Fprintf(w, "note: nobody looked for unwanted spans; hint: --words, --patterns or --regexp, or add \"spans\" to the lines\n")
		return
	}
	fmt.Fprintf(w, "unwanted: %s spans, %s tokens (%.2f of 1,000), in %s texts (%.1f %%)\n", count(r.Spans), count(r.Unwanted),
		1000*float64(r.Unwanted)/float64(max(1, r.Tokens)), count(r.Marked), 100*float64(r.Marked)/float64(max(1, r.Texts)))
	for _, e := range r.examples {
		fmt.Fprintf(w, "  %s\n", clipped(e, 200))
	}
	if r.Spans == 0 {
		fmt.Fprintf(w, "note: nothing is unwanted, so there is nothing to learn from; hint: more --samples, or another list\n")
		return
	}
	fmt.Fprintf(w, "next: palimpsest data build --tokenizer TOKENIZER --shape generation --out negatives %s\n", r.File)
}

// clipped shows a text on one line.
func clipped(s string, most int) string {
	s = strings.Join(strings.Fields(s), " ")
	if runes := []rune(s); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return s
}

// writeLines writes JSON lines beside the file's place and renames them once they are whole.
func writeLines(path string, fill func(lines *json.Encoder) error) error {
	f, err := os.CreateTemp(filepath.Dir(path), vfs.TempPrefix+filepath.Base(path)+"-*")
	if errors.Is(err, os.ErrNotExist) {
		return fault.Write.Errorf("%s: there is no folder %s; hint: mkdir -p %s", path, filepath.Dir(path), filepath.Dir(path))
	}
	if err != nil {
		return fault.Write.Wrap(err)
	}
	defer os.Remove(f.Name()) // after the rename there is nothing of that name
	buffered := bufio.NewWriter(f)
	lines := json.NewEncoder(buffered)
	lines.SetEscapeHTML(false)
	if err := fill(lines); err != nil {
		f.Close()
		return err
	}
	err = buffered.Flush()
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	return fault.Write.Wrap(err)
}
