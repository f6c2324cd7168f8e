package main

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"syscall"

	"github.com/urfave/cli/v2"

	"palimpsest/engine/fault"
	"palimpsest/engine/text"
)

func tokenizerEncodeCommand() *cli.Command {
	return &cli.Command{
		Name:      "encode",
		Usage:     "write the token ids of each line of standard input, as the model of an imported tokenizer would get them",
		ArgsUsage: "TOKENIZER.JSON",
		Description: example("palimpsest tokenizer encode tokenizer.json < lines.txt",
			"palimpsest tokenizer encode tokenizer.json --offsets --json < lines.txt"),
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "offsets", Usage: "also the place of every token, in code points of its line"},
			&cli.BoolFlag{Name: "special", Usage: "put the special tokens of the tokenizer's post-processor around each line"},
			&cli.BoolFlag{Name: "plain", Usage: "find no special tokens in the text, as with training data"},
		},
		Action: encodeLines,
	}
}

// encodeLines streams: a line of input is a line of output, {"ids": [...], "offsets": [[start, end], ...]} or ids between spaces
// with START:END behind each.
func encodeLines(c *cli.Context) error {
	file, err := oneArgument(c, "a tokenizer.json")
	if err != nil {
		return err
	}
	special, plain, offsets := c.Bool("special"), c.Bool("plain"), c.Bool("offsets")
	if special && plain {
		return fault.Usage.Errorf("--special and --plain exclude each other")
	}
	t, err := text.Load(file)
	if err != nil {
		return err
	}
	encoder := t.NewEncoder()
	in, out := bufio.NewReaderSize(c.App.Reader, 1<<20), bufio.NewWriterSize(c.App.Writer, 1<<20)
	var line, row []byte
	var ids []int32
	var spans []text.Span
	for {
		line = line[:0]
		part, err := in.ReadSlice('\n')
		for errors.Is(err, bufio.ErrBufferFull) {
			line = append(line, part...)
			part, err = in.ReadSlice('\n')
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fault.Data.Errorf("standard input: %w", err)
		}
		if len(part) == 0 && len(line) == 0 {
			break
		}
		if len(line) > 0 {
			part = append(line, part...)
			line = part
		}
		content := bytes.TrimSuffix(part, []byte("\n"))
		switch {
		case plain && offsets:
			ids, spans = t.EncodeOffsets(content)
		case plain:
			ids = encoder.Encode(ids[:0], content)
		case !special && !offsets:
			ids = encoder.EncodeSpecials(ids[:0], content)
		default:
			input, err := encoder.EncodeInput(content, nil, text.InputOptions{Specials: special})
			if err != nil {
				return err
			}
			ids, spans = input.IDs, input.Offsets
		}
		row = appendEncoded(row[:0], ids, spans, offsets, c.Bool("json"))
		if _, err := out.Write(row); err != nil {
			return brokenPipe(err)
		}
		if err != nil {
			break
		}
	}
	return brokenPipe(out.Flush())
}

// brokenPipe takes a reader that has seen enough for success.
func brokenPipe(err error) error {
	if errors.Is(err, syscall.EPIPE) {
		return nil
	}
	return fault.Write.Wrap(err)
}

func appendEncoded(row []byte, ids []int32, spans []text.Span, offsets, json bool) []byte {
	if !json {
		for i, id := range ids {
			if i > 0 {
				row = append(row, ' ')
			}
			row = strconv.AppendInt(row, int64(id), 10)
			if offsets {
				row = strconv.AppendInt(append(row, ' '), int64(spans[i].Start), 10)
				row = strconv.AppendInt(append(row, ':'), int64(spans[i].End), 10)
			}
		}
		return append(row, '\n')
	}
	row = append(row, `{"ids":[`...)
	for i, id := range ids {
		if i > 0 {
			row = append(row, ',')
		}
		row = strconv.AppendInt(row, int64(id), 10)
	}
	row = append(row, ']')
	if offsets {
		row = append(row, `,"offsets":[`...)
		for i, s := range spans {
			if i > 0 {
				row = append(row, ',')
			}
			row = strconv.AppendInt(append(row, '['), int64(s.Start), 10)
			row = append(strconv.AppendInt(append(row, ','), int64(s.End), 10), ']')
		}
		row = append(row, ']')
	}
	return append(row, "}\n"...)
}
