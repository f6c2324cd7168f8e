#!/usr/bin/env bash
# Measures the cases of the README's table on this machine into bench/results/DATE-cpu.jsonl. 'make bench' runs it; the
# machine should do nothing else meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
out=bench/results/$(date -u +%F)-cpu.jsonl
mkdir -p bench/results
: >"$out"

step() { # name, then what makes the case
	local name=$1
	shift
	echo "$name" >&2
	./palimpsest bench train --case "$name" "$@" >>"$out"
}
step "mlm-cpu-tiny (the demo's)" --preset mlm-cpu-tiny --vocab 4096 --updates 40
step "8 layers, width 512, causal" --preset clm-cpu-small --set data.tokens_per_step=4096 --set model.context=512 --length 512 --vocab 16384 --updates 5
step "GPT-2 124M, 1024 tokens" --set objective=clm --set model.preset=gpt2 --vocab 50257 --set train.dropout=0 --set data.tokens_per_step=1024 --length 1024 --updates 4
step "GPT-2 124M, 4 x 64 tokens" --set objective=clm --set model.preset=gpt2 --vocab 50257 --set train.dropout=0 --set data.tokens_per_step=256 --set data.length=64 --length 64 --updates 8
step "BERT-base, masked, 128 tokens" --set objective=mlm --set model.preset=bert-base --vocab 30522 --set train.dropout=0 --set data.tokens_per_step=2048 --length 128 --updates 4

# The data path on the demo's kind of text: the Go standard library's source.
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
src=$(go env GOROOT)/src
./palimpsest tokenizer train --vocab 8192 --out "$dir/tokenizer.json" --include '*.go' "$src" >&2
./palimpsest data build --tokenizer "$dir/tokenizer.json" --out "$dir/shards" --include '*.go' "$src" >&2
for packing in cut whole; do
	./palimpsest bench data --case "Go source, shuffled, packing $packing" --data "$dir/shards" --packing "$packing" --decoders 1 --runs 7 >>"$out"
done
./palimpsest bench table bench/results
