package main

import (
	"os"
	"strings"
	"testing"

	"palimpsest/bench"
	"palimpsest/engine/fault"
)

func TestReadmeShowsTheCommittedResults(t *testing.T) {
	table, err := bench.Table("../../bench/results")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(readme), table) {
		t.Errorf("the README's tables are not those of 'palimpsest bench table bench/results'; paste them anew:\n%s", table)
	}
}

func TestBenchRefusals(t *testing.T) {
	for _, x := range []struct{ args, says string }{
		{"bench train --updates 0", "--updates"},
		{"bench train --length 100000", "model.context"},
		{"bench data", "--data"},
		{"bench data --data x --packing loose", "--packing"},
		{"bench table", "results folder"},
		{"bench compare --cases gpt3", "gpt2-tiny"},
		{"bench compare --variants fast", "sdpa"},
		{"bench compare --rounds 0", "--rounds"},
	} {
		refuses(t, int(fault.Usage), []string{x.says}, strings.Fields(x.args)...)
	}
}
