package main

import (
	"path/filepath"
	"testing"
)

// The reference of a run from disk: made once, used, and refused where it does not belong; dry runs show what it takes, and
// evaluations what the objective measures.
func TestReferenceVerbs(t *testing.T) {
	shards, base := trained(t, "clm-cpu-tiny")
	words := write(t, filepath.Join(t.TempDir(), "words.txt"), "the\n")
	must(t, "data", "annotate", shards, "--plane", "sign", "--words", words)
	rows := filepath.Join(t.TempDir(), "rows")
	run := []string{"train", "--preset", "tnt-cpu-tiny", "--data", shards, "--set", "train.init=" + base, "--set", "data.tokens_per_step=256", "--steps", "4", "--set", "eval.tokens=2000"}
	contains(t, must(t, append(run, "--dry-run")...), "reference ", "term        unwanted", "term        kept", "-10 unwanted", "the reference is ")
	refuses(t, 2, []string{"reference.provider is frozen", "hint"}, append(run, "--cache-reference")...)
	run = append(run, "--set", "reference={provider: cached, cache: "+rows+"}")
	out := filepath.Join(t.TempDir(), "out")
	refuses(t, 4, []string{"reference.cache", "--cache-reference"}, append(run, "--out", out)...)
	contains(t, must(t, append(run, "--cache-reference")...), "rows of the reference's logits")
	refuses(t, 2, []string{"reference.cache", rows}, append(run, "--cache-reference")...)
	must(t, append(run, "--out", out)...)
	contains(t, must(t, "eval", "loss", "--model", out), "kl ", "unwanted_log_p", "unwanted_first")
	must(t, "generate", "--model", out, "The quick", "--max-tokens", "4")
}
