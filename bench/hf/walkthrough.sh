#!/usr/bin/env bash
# The README's section "Start from a pretrained model", command by command, in a folder of its own (default: a new one that is
# removed). PYTHON has the packages of bench/hf/requirements.txt, PALIMPSEST is the binary, STEPS replaces the number of steps.
set -euo pipefail
cd "$(dirname "$0")/../.."

README=$PWD/README.md
PALIMPSEST=$(realpath "${PALIMPSEST:-palimpsest}")
PYTHON=$(command -v "${PYTHON:-python3}")
SRC=$("${GO:-go}" env GOROOT)/src
WORK=${1:-}
if [ -z "$WORK" ]; then
	WORK=$(mktemp -d)
	trap 'rm -rf "$WORK"' EXIT
fi
cd "$WORK"
ln -s "$PALIMPSEST" palimpsest
mkdir texts
# Newton's Opticks, where the Go installation has it, else Go's own sources stand for the reader's text.
if [ -e "$SRC/testdata/Isaac.Newton-Opticks.txt" ]; then
	cp "$SRC/testdata/Isaac.Newton-Opticks.txt" texts/
else
	echo "no Isaac.Newton-Opticks.txt in $SRC/testdata; going on with Go's sources"
	cp "$SRC"/net/http/*.go texts/
fi

# What is indented in the section; its pip is that of PYTHON, which has everything.
awk '/^## /{here = $0 == "## Start from a pretrained model"} here && /^    /{print substr($0, 5)}' "$README" >commands
grep -q 'palimpsest export' commands || { echo "walkthrough: the README's section has no commands" >&2; exit 1; }
if [ -n "${STEPS:-}" ]; then sed -i "s/--steps [0-9]*/--steps $STEPS/" commands; fi
python() { "$PYTHON" "$@"; }
pip() { "$PYTHON" -m pip --disable-pip-version-check "$@"; }
export HF_HUB_OFFLINE=1
set -v
source ./commands
