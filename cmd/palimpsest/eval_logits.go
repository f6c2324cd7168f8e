package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"palimpsest/engine/checkpoint"
	"palimpsest/engine/fault"
	"palimpsest/engine/vfs"
)

func evalLogitsCommand() *cli.Command {
	return &cli.Command{
		Name:      "logits",
		Usage:     "write hidden states and logits of sequences of token ids, to compare them with another program's",
		ArgsUsage: "[IDS...]",
		Description: example("palimpsest eval logits --model models/gpt2 --out ours.safetensors 464,2068,7586,21831",
			"python -c \"from safetensors.numpy import load_file; print(load_file('ours.safetensors')['logits.0'])\"") +
			"\n\nAn argument, or a line of --input, is a sequence: ids with commas or spaces between them, taken as they are. FILE has hidden.N [tokens, width] and logits.N [tokens, vocabulary] of the N-th one. " +
			"Models of exlm and rmlm, and those tuned from exlm, read a sequence as in training: tokens with several states have as many rows, and places.N [rows] says which token each is of.",
		Flags: append(modelFlags(), inputFlag(),
			&cli.StringFlag{Name: "out", Usage: "safetensors `FILE` to write"},
			&cli.BoolFlag{Name: "single", Usage: "one state for every token, also in models that saw several in training"}),
		Action: evalLogits,
	}
}

func evalLogits(c *cli.Context) error {
	if err := need(c, "model", "out"); err != nil {
		return err
	}
	lines, err := inputLines(c)
	if err != nil {
		return err
	}
	sequences := make([][]int32, len(lines))
	for i, line := range lines {
		for _, word := range strings.FieldsFunc(line, func(r rune) bool { return r == ',' || r == ' ' || r == '\t' }) {
			id, err := strconv.ParseInt(word, 10, 32)
			if err != nil {
				return fault.Usage.Errorf("sequence %d: %q is no token id; hint: 464,2068,7586", i+1, word)
			}
			sequences[i] = append(sequences[i], int32(id))
		}
	}
	m, err := openModel(c)
	if err != nil {
		return err
	}
	defer m.Close()
	var tensors []checkpoint.Tensor
	for i, ids := range sequences {
		out, err := m.Outputs(ids, c.Bool("single"))
		if err != nil {
			return fmt.Errorf("sequence %d: %w", i+1, err)
		}
		width, vocab := m.Config.Model.Width, int(m.Config.Model.Vocab)
		tensors = append(tensors,
			checkpoint.Tensor{Name: fmt.Sprintf("hidden.%d", i), DType: checkpoint.F32, Shape: []int{len(out.Hidden) / width, width}, Data: out.Hidden},
			checkpoint.Tensor{Name: fmt.Sprintf("logits.%d", i), DType: checkpoint.F32, Shape: []int{len(out.Logits) / vocab, vocab}, Data: out.Logits})
		if out.Places != nil {
			tensors = append(tensors, checkpoint.Tensor{Name: fmt.Sprintf("places.%d", i), DType: checkpoint.I32, Shape: []int{len(out.Places)}, Data: out.Places})
		}
	}
	if err := writeTensors(c.String("out"), tensors); err != nil {
		return err
	}
	notes := []string{}
	if c.Bool("single") {
		notes = unexpanded(m)
	}
	result := struct {
		File      string   `json:"file"`
		Sequences int      `json:"sequences"`
		Notes     []string `json:"notes"`
	}{c.String("out"), len(sequences), notes}
	return show(c, result, func(w io.Writer) {
		fmt.Fprintf(w, "%s: hidden states and logits of %d sequences\n", result.File, result.Sequences)
		writeNotes(w, result.Notes)
	})
}

// writeTensors writes a file beside its place and renames it.
func writeTensors(path string, tensors []checkpoint.Tensor) (err error) {
	defer func() { err = fault.Write.Wrap(err) }()
	f, err := os.CreateTemp(filepath.Dir(path), vfs.TempPrefix+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // after the rename there is nothing of that name
	err = checkpoint.WriteSafetensors(f, tensors, nil)
	if err == nil {
		err = f.Chmod(0o644)
	}
	if closed := f.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
