#!/usr/bin/env bash
# From nothing to a trained model in ./demo, on text that every Go installation has. 'make demo' runs it; every command is
# printed before it runs, so that it can be repeated by hand on other files. An interrupted demo goes on where it was.
set -euo pipefail
cd "$(dirname "$0")/.."

GO=${GO:-go}
OUT=demo
VOCAB=4096
STEPS=${DEMO_STEPS:-}

say() { printf '\n== %s\n' "$*"; }
run() { printf '$'; printf ' %q' "$@"; printf '\n'; "$@"; }
fail() { printf 'demo: %s\n' "$*" >&2; exit 2; }
trap : INT # what runs is asked to stop and says so; the script then ends by its exit code

say "What is here"
command -v "$GO" >/dev/null || fail "Go is missing; hint: install Go 1.26 or newer from https://go.dev/dl"
"$GO" version
if [ "$("$GO" env CGO_ENABLED)" = 1 ]; then
	cc=$("$GO" env CC)
	if command -v "${cc%% *}" >/dev/null; then
		echo "C compiler: $cc"
	else
		echo "no C compiler ($cc): the build goes without C kernels and is slower; hint: sudo apt-get install gcc libc6-dev"
		export CGO_ENABLED=0
	fi
fi

say "Build ./palimpsest"
run make --no-print-directory build

products() { ./palimpsest doctor --json | sed -n 's/.*"products":"\([^"]*\)".*/\1/p'; }
cgo() { ./palimpsest doctor --json | grep -q '"cgo":true'; }
has_openblas() { case $(products) in *OpenBLAS\ [0-9]*) true ;; *) false ;; esac; } # opened, used or not
if cgo && ! has_openblas && [ -z "${PALIMPSEST_OPENBLAS+set}" ]; then
	say "OpenBLAS, for fast matrix products"
	install=(apt-get install -y --no-install-recommends libopenblas0-pthread)
	if ! command -v apt-get >/dev/null; then
		echo "not found; going on with the built-in products. Install OpenBLAS with your system's package manager"
	elif [ "$(id -u)" = 0 ]; then
		run "${install[@]}" >/dev/null || { run apt-get update >/dev/null && run "${install[@]}" >/dev/null; } ||
			echo "cannot be installed; going on with the built-in products"
	elif sudo -n true 2>/dev/null; then
		run sudo -n "${install[@]}" >/dev/null || echo "cannot be installed; going on with the built-in products"
	else
		echo "not found; going on with the built-in products. To install it: sudo apt-get install libopenblas0-pthread"
	fi
fi
run ./palimpsest doctor

# As many steps as take about 2 minutes at the rate of matrix products that doctor measured; an interrupted demo keeps its
# number.
rate=$(./palimpsest doctor --json | sed -n 's/.*"sgemm_gflops":\([0-9]*\).*/\1/p')
if [ -z "$STEPS" ] && [ ! -e "$OUT/finished" ]; then STEPS=$(cat "$OUT/steps" 2>/dev/null || true); fi
if [ -z "$STEPS" ]; then
	STEPS=$((rate * 10))
	if [ "$STEPS" -gt 2000 ]; then STEPS=2000; fi
	if [ "$STEPS" -lt 120 ]; then STEPS=120; fi
	if [ "$STEPS" -lt 1000 ]; then echo "demo: products are slow here ($rate GFLOP/s): $STEPS steps are trained, which learns little"; fi
fi
EVAL=32768 # held-out tokens
if ! cgo; then EVAL=4096; fi

# Text: the Go standard library's source (no testdata, no vendor), and Newton's Opticks where the installation has it.
SRC="$("$GO" env GOROOT)/src"
[ -d "$SRC/net/http" ] || fail "the Go installation has no standard library source in $SRC; hint: install Go from https://go.dev/dl"
TEXT=()
for packages in bufio bytes 'encoding/*' fmt 'go/*' io net 'net/*' os sort strconv strings sync 'text/*' time; do
	TEXT+=("$SRC/$packages/*.go")
done
OPTICKS=$(find -L "$SRC" -maxdepth 3 -name 'Isaac.Newton-Opticks.txt' 2>/dev/null | head -n 1 || true)
if [ -n "$OPTICKS" ]; then TEXT+=("$OPTICKS"); else echo "demo: this Go installation lacks Isaac.Newton-Opticks.txt; going on without"; fi

# A finished demo, or one with other settings, is made anew; an interrupted one goes on.
settings="$("$GO" version) vocab $VOCAB steps $STEPS text ${TEXT[*]} paragraphs"
if [ -e "$OUT/finished" ] || [ "$(cat "$OUT/settings" 2>/dev/null)" != "$settings" ]; then rm -rf "$OUT"; fi
mkdir -p "$OUT"
[ -e "$OUT/settings" ] && say "Going on with the interrupted demo in ./$OUT"
printf '%s\n' "$settings" >"$OUT/settings"
printf '%s\n' "$STEPS" >"$OUT/steps"

say "1. A tokenizer: byte-level BPE, $VOCAB tokens"
[ -e "$OUT/tokenizer.json" ] || run ./palimpsest tokenizer train --vocab "$VOCAB" --out "$OUT/tokenizer.json" "${TEXT[@]}"
run ./palimpsest tokenizer inspect --longest 4 --text 'if err != nil { return err }' "$OUT/tokenizer.json"

say "2. A data set: compressed shards of tokens"
[ -e "$OUT/shards/index.json" ] || run ./palimpsest data build --unit paragraph --min-tokens 8 --tokenizer "$OUT/tokenizer.json" --out "$OUT/shards" "${TEXT[@]}"
run ./palimpsest data verify "$OUT/shards"

say "3. Training: a small masked language model"
code=0
run ./palimpsest train --preset mlm-cpu-tiny --steps "$STEPS" --set "eval.tokens=$EVAL" --data "$OUT/shards" --out "$OUT/run" || code=$?
if [ "$code" = 75 ]; then
	echo "demo: interrupted; 'make demo' goes on from here"
	exit 75
fi
[ "$code" = 0 ] || exit "$code"

say "4. How good is it on documents that it never saw?"
run ./palimpsest eval loss --model "$OUT/run" --tokens "$((EVAL * 2))"

say "5. Its answers on lines of those documents"
run ./palimpsest fill-mask --model "$OUT/run" --held-out 6 --top 4
run ./palimpsest fill-mask --model "$OUT/run" --top 4 'if err != <mask> {' 'for i := range <mask> {'

touch "$OUT/finished"
cat <<END

== Done in $SECONDS s. What to try next
Open $OUT/run/report.html in a browser: curves, settings, answers.
Look closer:             ./palimpsest train --preset mlm-cpu-tiny --data $OUT/shards --dry-run
Train longer:            ./palimpsest train --preset mlm-cpu-tiny --data $OUT/shards --out runs/longer --steps 20000
A model that writes:     ./palimpsest train --preset clm-cpu-tiny --data $OUT/shards --out runs/clm
                         ./palimpsest generate --model runs/clm 'func main() {'
Your own text:           the README, "Your own text"
END
