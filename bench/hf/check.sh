#!/usr/bin/env bash
# Checks ./palimpsest against transformers, tokenizers and PyTorch, into bench/results/hf/DATE.{md,json}; 'make test-hf' runs
# it. The Python environment is made in ./.venv-hf from the package index, with the versions of bench/hf/requirements.txt,
# which takes minutes and about 7 GB the first time. HF_PYTHON names a Python that has all of it already. SEED and ONLY are
# the options --seed and --only of check.py.
set -euo pipefail
cd "$(dirname "$0")/../.."

VENV=.venv-hf
WANTED=bench/hf/requirements.txt

if [ -z "${HF_PYTHON:-}" ]; then
	HF_PYTHON=$VENV/bin/python
	if ! cmp -s "$WANTED" "$VENV/installed.txt"; then
		command -v python3 >/dev/null || { echo "test-hf: there is no python3; hint: apt-get install python3 python3-venv, or HF_PYTHON=/path/to/python" >&2; exit 2; }
		echo "test-hf: making $VENV with the packages of $WANTED"
		python3 -m venv --clear "$VENV" || { echo "test-hf: no environment could be made; hint: apt-get install python3-venv" >&2; exit 2; }
		"$HF_PYTHON" -m pip install --quiet --disable-pip-version-check -r "$WANTED" ||
			{ echo "test-hf: the packages could not be installed; hint: this needs the package index, or HF_PYTHON=/path/to/python that has them" >&2; exit 2; }
		cp "$WANTED" "$VENV/installed.txt"
	fi
fi
exec "$HF_PYTHON" -W ignore bench/hf/check.py --palimpsest ./palimpsest --out bench/results/hf ${SEED:+--seed "$SEED"} ${ONLY:+--only "$ONLY"}
