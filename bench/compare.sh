#!/usr/bin/env bash
# Training steps here and in PyTorch, side by side, into bench/results/compare/DATE-DEVICE.{jsonl,md,png}; 'make
# bench-compare' runs it. PALIMPSEST_PYTHON names a Python that has torch. The machine should do nothing else meanwhile.
# It takes about a quarter of an hour on two cores: the smallest and the largest models at every length, those between at
# the shortest and the longest. FULL=1 runs all. DEVICE=cuda measures a GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
cases=gpt2-tiny,gpt2-mini/128,gpt2-mini/1024,gpt2-small/128,gpt2-small/1024,gpt2,bert-tiny,bert-small/128,bert-small/512,bert-base
if [ "${FULL:-0}" = 1 ]; then
	cases=
fi
exec ./palimpsest bench compare --device "${DEVICE:-cpu}" --cases "$cases" --rounds 4 --out bench/results/compare
