#!/usr/bin/env bash
# Compiles the kernels to PTX with clang, which needs no NVIDIA file. The text depends on the sources and on clang's version
# only.
#
#   ptx.sh OUT          every NAME.cu here -> OUT/sm_80/NAME.ptx
#   ptx.sh --check      compares the committed ptx/ with what the sources give
#   ptx.sh --gate       assembles ptx/ with ptxas: registers, no spill, no stack frame
#
# Variables: CLANG (clang++-19), PTXAS (else PATH, else a Python package that brings one: nvidia-cuda-nvcc-cu12, triton).
set -euo pipefail
cd "$(dirname "$0")"

CLANG=${CLANG:-clang++-19}
version=19

find_ptxas() {
	if [ -n "${PTXAS:-}" ]; then
		echo "$PTXAS"
	elif command -v ptxas; then
		:
	elif command -v python3 >/dev/null; then
		python3 - <<'PYTHON'
import glob, site, sys
for base in site.getsitepackages() + [site.getusersitepackages()] + sys.path:
    for path in ("nvidia/cuda_nvcc/bin/ptxas", "nvidia/cu13/bin/ptxas", "triton/backends/nvidia/bin/ptxas"):
        for found in glob.glob(base + "/" + path):
            print(found)
            sys.exit()
PYTHON
	fi
}

compile() { # OUT
	if ! command -v "$CLANG" >/dev/null; then
		echo "ptx: no $CLANG; hint: apt-get install clang-$version, or CLANG=..." >&2
		return 1
	fi
	if ! "$CLANG" --version | grep -q "clang version $version\."; then
		echo "ptx: $CLANG is not version $version, which the committed files were made with" >&2
		return 1
	fi
	mkdir -p "$1/sm_80"
	local file name
	for file in *.cu; do
		name=${file%.cu}
		# Without comments and indents the files are a quarter smaller.
		"$CLANG" -x cuda -std=c++17 --cuda-device-only --cuda-path=/nonexistent -nocudainc -nocudalib \
			--cuda-gpu-arch=sm_80 --cuda-feature=+ptx78 -O3 -Wall -Werror -Wno-unused-function -S "$file" -o - |
			sed -E 's|[[:space:]]*//.*$||; s/^[[:space:]]+//; /^$/d; s/[[:space:]]+$//' >"$1/sm_80/$name.ptx"
	done
}

case ${1:-} in
--check)
	new=$(mktemp -d)
	trap 'rm -rf "$new"' EXIT
	compile "$new"
	if ! diff -rq "$new" ptx; then
		echo "ptx: the committed PTX is not what the sources give; hint: make ptx, and commit kernels/ptx" >&2
		exit 1
	fi
	echo "ptx: kernels/ptx is what the sources give"
	;;
--gate)
	ptxas=$(find_ptxas)
	if [ -z "$ptxas" ]; then
		echo "ptx: NOT CHECKED for spills and stack frames: no ptxas; hint: pip install nvidia-cuda-nvcc-cu12, or PTXAS=..."
		exit 0
	fi
	"$ptxas" --version | tail -n 1
	failed=0
	printf '%-36s %10s %8s %8s\n' kernel registers spills stack
	for file in ptx/*/*.ptx; do
		arch=$(basename "$(dirname "$file")")
		if ! report=$("$ptxas" -v -arch="$arch" "$file" -o /dev/null 2>&1); then
			printf '%s\n' "$file" "$report"
			failed=1
			continue
		fi
		awk -v file="$file" '
			/Compiling entry function/ { split($0, q, "\047"); name = q[2] }
			/bytes stack frame/ { stack = $1; spills = $5 + $9 }
			/Used [0-9]+ registers/ {
				match($0, /Used [0-9]+/)
				printf "%-36s %10d %8d %8d\n", name, substr($0, RSTART + 5, RLENGTH - 5), spills, stack
				if (spills + stack > 0) { printf "%s: %s spills or has a stack frame\n", file, name; bad = 1 }
			}
			END { exit bad }' <<<"$report" || failed=1
	done
	exit $failed
	;;
'' | -*)
	echo "usage: ptx.sh OUT | --check | --gate" >&2
	exit 2
	;;
*)
	compile "$1"
	;;
esac
