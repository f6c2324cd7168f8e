package engine

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/cespare/xxhash/v2"

	"palimpsest/engine/fault"
	"palimpsest/engine/text"
)

// recordPairs are records of files: a first pass counts and hashes them, a second one takes the sample.
type recordPairs struct {
	o   *ShuffleOptions
	sum *xxhash.Digest
}

func (s *recordPairs) hash() string               { return fmt.Sprintf("%016x", s.sum.Sum64()) }
func (s *recordPairs) tokenizer() *text.Tokenizer { return s.o.Tokenizer }
func (s *recordPairs) ends() (bos, eos int32)     { return s.o.Encode.BOS, s.o.Encode.EOS }
func (s *recordPairs) close()                     {}

func (s *recordPairs) read(each func(d text.Document) error) error {
	for _, path := range s.o.Records.Paths {
		if path == "-" {
			return fault.Usage.Errorf("standard input cannot be read twice; hint: name a file")
		}
	}
	if t := s.o.Records.Template; s.o.Tokenizer == nil && t != "" && t != "plain" {
		return fault.Usage.Errorf("--template %s: shuffled records keep only the plain text; hint: --tokenizer makes a data set of them, with the template's special tokens", t)
	}
	r, err := text.Open(s.o.Records)
	if err != nil {
		return err
	}
	for d, err := range r.Documents() {
		if err != nil {
			return err
		}
		if err := each(d); err != nil {
			return err
		}
	}
	return nil
}

func (s *recordPairs) count() (n int64, err error) {
	s.sum = xxhash.New()
	err = s.read(func(d text.Document) error {
		at, err := responseStart(&d)
		fmt.Fprintln(s.sum, len(d.Text), at)
		s.sum.Write(d.Text)
		n++
		return err
	})
	return n, err
}

// responseStart finds where the first answer of a record begins.
func responseStart(d *text.Document) (int, error) {
	for _, span := range d.Spans {
		if span.Kind == text.Answer {
			switch {
			case len(bytes.TrimSpace(d.Text[:span.Start])) == 0:
				return 0, fault.Data.Errorf("%s:%d: the prompt is empty", d.Source, d.Line)
			case len(bytes.TrimSpace(d.Text[span.Start:])) == 0:
				return 0, fault.Data.Errorf("%s:%d: the response is empty", d.Source, d.Line)
			}
			return span.Start, nil
		}
	}
	return 0, fault.Data.Errorf("%s:%d: a record without a response; hint: --fields prompt=KEY,completion=KEY, or --shape alpaca or messages", d.Source, d.Line)
}

func (s *recordPairs) take(sample []int64) ([]pair, error) {
	wanted := make(map[int64]int, len(sample))
	for i, id := range sample {
		wanted[id] = i
	}
	pairs, n := make([]pair, len(sample)), int64(0)
	if s.o.Tokenizer == nil {
		return pairs, s.read(func(d text.Document) error {
			if i, ok := wanted[n]; ok {
				at, err := responseStart(&d)
				if err != nil {
					return err
				}
				// 'data build' puts the line end of the plain template back.
				pairs[i] = pair{promptText: strings.TrimSuffix(string(d.Text[:at]), "\n"), responseText: string(d.Text[at:])}
			}
			n++
			return nil
		})
	}
	r, err := text.Open(s.o.Records)
	if err != nil {
		return nil, err
	}
	encoding := s.o.Encode
	encoding.Planes = []string{text.PlaneLoss}
	_, err = text.EncodeAll(r, s.o.Tokenizer, encoding, func(e text.Encoded) (err error) {
		if i, ok := wanted[n]; ok {
			pairs[i], err = split("the record", e.Tokens, e.Planes[text.PlaneLoss], s.o.Tokenizer)
		}
		n++
		return err
	})
	return pairs, err
}

// jsonLine is an object on a line, with its text as it is.
func jsonLine(object any) ([]byte, error) {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)
	err := e.Encode(object)
	return line.Bytes(), err
}
