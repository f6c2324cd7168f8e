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
			"\n\nAn argument, or a line of --input, is a sequence: ids with commas or spaces between them, taken as they are. FILE has hidden.N [tokens, width] and logits.N [tokens, vocabulary] of the N-th one.",
		Flags: append(modelFlags(), inputFlag(),
			&cli.StringFlag{Name: "out", Usage: "safetensors `FILE` to write"}),
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
		out, err := m.Outputs(ids)
		if err != nil {
			return fmt.Errorf("sequence %d: %w", i+1, err)
		}
		tensors = append(tensors,
			checkpoint.Tensor{Name: fmt.Sprintf("hidden.%d", i), DType: checkpoint.F32, Shape: []int{len(ids), m.Config.Model.Width}, Data: out.Hidden},
			checkpoint.Tensor{Name: fmt.Sprintf("logits.%d", i), DType: checkpoint.F32, Shape: []int{len(ids), int(m.Config.Model.Vocab)}, Data: out.Logits})
	}
	if err := writeTensors(c.String("out"), tensors); err != nil {
		return err
	}
	result := struct {
		File      string   `json:"file"`
		Sequences int      `json:"sequences"`
		Notes     []string `json:"notes"`
	}{c.String("out"), len(sequences), unexpanded(m)}
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
