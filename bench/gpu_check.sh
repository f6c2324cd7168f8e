#!/usr/bin/env bash
# Tests and measures one NVIDIA GPU in one go, in under 9 minutes, on a machine that has its driver and nothing else.
#
#   make gpu-check             on a machine with Go, a C compiler and a GPU: builds bin/gpu, then runs this
#
#   make gpu-pack              elsewhere: builds bin/gpu (20 MiB); carry it with bench/gpu_check.sh and
#   bash bench/gpu_check.sh    bench/baselines to the machine with the GPU, at the same places, and run this there
#
#   GPU_CHECK_EMULATED=1 make gpu-check     the same flow over the emulated driver, in tiny sizes: a test of this script
#
# What it runs: doctor, the kernels' self-test, every device test, 200 steps of training whose losses are held against the
# same run on the CPU (and, over the first steps, a naive bfloat16 one), PyTorch's time for every kernel where python3 has
# torch, bench kernels beside it, bench train for GPT-2 124M and BERT-base, a larger run of 200 steps, and PyTorch's
# training steps. Each has a time limit; when one fails the others go on, and the exit code is 1. Exit code 5: no device.
#
# Results: bench/results/DEVICE/DATE-COMMIT.json and .md (and .log, of a failure), under $OUT instead of bench/results where
# that variable is set; of the emulation in bin/gpu-emulated.
#   PALIMPSEST_PYTHON    the Python that has torch (python3)
#   GPU_CHECK_SECONDS    for everything (520)
set -uo pipefail
cd "$(dirname "$0")/.."

W=$(mktemp -d)
trap 'rm -rf "$W"' EXIT
export W PACK=$W/pack P=$W/pack/palimpsest BASELINES=$PWD/bench/baselines PYTHON=${PALIMPSEST_PYTHON:-python3} PYTHONDONTWRITEBYTECODE=1
EMULATED=${GPU_CHECK_EMULATED:-0}
TOTAL=${GPU_CHECK_SECONDS:-520}

[ -e bin/gpu/palimpsest.gz ] || { echo "gpu-check: bin/gpu is not there; hint: make gpu-pack where Go is installed" >&2; exit 2; }
cp -r bin/gpu "$PACK" && gunzip "$P.gz" "$PACK"/*/*.test.gz || exit 6
"$P" --version >/dev/null || { echo "gpu-check: palimpsest does not run here; hint: make gpu-pack on a system as old as this one (glibc)" >&2; exit 1; }
if [ "$EMULATED" = 1 ]; then
	export PALIMPSEST_LIBCUDA=$PWD/bin/libcuda-emu.so
	[ -e "$PALIMPSEST_LIBCUDA" ] || { echo "gpu-check: bin/libcuda-emu.so is not there; hint: make emulator" >&2; exit 2; }
fi

"$P" doctor --json >"$W/doctor.json" 2>"$W/doctor.err" || { cat "$W/doctor.err" >&2; exit 1; }
DEVICE=$(sed -n 's/.*"devices":\[{"ordinal":0,"name":"\([^"]*\)".*/\1/p' "$W/doctor.json")
if [ -z "$DEVICE" ]; then
	echo "gpu-check: there is no CUDA device here: $(sed -n 's/.*"gpu":{[^}]*"reason":"\([^"]*\)".*/\1/p' "$W/doctor.json")" >&2
	exit 5
fi

# Sizes: of a GPU, or of its emulation.
if [ "$EMULATED" = 1 ]; then
	export KERNELS='--quick --scale tiny' TINY_STEPS=12 SMALL_STEPS=4 YARD_STEPS=8 TESTS='Selftest|RelativeBatches|Replay|Resume'
	export TINY='--set model.layers=1 --set model.width=32 --set model.heads=2 --set model.kv_heads=2 --set model.ff=64 --set data.tokens_per_step=128'
	export SMALL=$TINY
	export GPT2='--preset clm-cpu-tiny --set model.layers=1 --set model.width=32 --set model.heads=2 --set model.kv_heads=2 --set model.ff=64 --set data.tokens_per_step=128 --length 64 --vocab 512 --updates 4'
	export BERT="--preset mlm-cpu-tiny ${GPT2#--preset clm-cpu-tiny}"
	export TORCH_KERNELS='--device cpu --quick --eager' TORCH_STEPS='--device cpu --tiny --eager --tokens 256 --updates 4'
else
	export KERNELS='' TINY_STEPS=200 SMALL_STEPS=200 YARD_STEPS=20 TESTS='.*'
	export TINY='--set model.width=64 --set model.heads=2 --set model.kv_heads=2 --set model.ff=256 --set data.tokens_per_step=512'
	export SMALL='--set model.layers=4 --set model.width=256 --set model.heads=4 --set model.kv_heads=4 --set model.ff=1024 --set data.tokens_per_step=2048'
	export GPT2='--set objective=clm --set model.preset=gpt2 --vocab 50257 --set train.dropout=0 --set data.tokens_per_step=32768 --length 1024 --updates 24'
	export BERT='--set objective=mlm --set model.preset=bert-base --vocab 30522 --set train.dropout=0 --set data.tokens_per_step=32768 --length 128 --updates 24'
	export TORCH_KERNELS='' TORCH_STEPS='--tokens 32768 --updates 20'
fi

STAGES='' ROWS='' FAILED=0
quoted() { tr -d '\000-\037' | sed 's/\\/\\\\/g; s/"/\\"/g'; }

# stage NAME SECONDS SCRIPT: runs it with a limit; its log is $W/NAME.log, its last line what it says.
stage() {
	local name=$1 limit=$2 began=$SECONDS code says
	if [ $((TOTAL - SECONDS)) -lt "$limit" ]; then limit=$((TOTAL - SECONDS)); fi
	printf '\n=== %s\n' "$name"
	if [ "$limit" -lt 2 ]; then
		code=124 says='not run: the time for everything is used up'
	else
		timeout -k 5 "$limit" bash -uo pipefail -c "$3" >"$W/$name.log" 2>&1
		code=$?
		tail -n 25 "$W/$name.log"
		says=$(grep -v '^[[:space:]]*$' "$W/$name.log" | tail -n 1 | cut -c1-300)
		if [ "$code" = 124 ] || [ "$code" = 137 ]; then says="stopped after $limit s: $says"; fi
	fi
	if [ "$code" != 0 ]; then FAILED=1; fi
	printf '=== %s: exit code %d, %d s\n' "$name" "$code" $((SECONDS - began))
	STAGES+="${STAGES:+,}{\"name\":\"$name\",\"code\":$code,\"seconds\":$((SECONDS - began)),\"limit\":$limit,\"says\":\"$(printf '%s' "$says" | quoted)\"}"
	ROWS+="| $name | $([ "$code" = 0 ] && echo passed || echo "FAILED ($code)") | $((SECONDS - began)) | ${says//|/\\|} |"$'\n'
}

TEST='tests() { # package: its device tests, run where its testdata is
	if [ ! -e "$PACK/$1/$1.test" ]; then echo "$1 has no device test"; return; fi
	cd "$PACK/$1" || return
	local n; n=$("./$1.test" -test.list "$TESTS" | grep -c "^Test.*Device$")
	PALIMPSEST_GPU=1 "./$1.test" -test.run "^Test($TESTS).*Device\$" -test.v >"$W/$1.test.log" 2>&1; local code=$?
	grep -E "^ *--- FAIL|^panic|^fatal|_test.go:.*(want|wrong)" "$W/$1.test.log" | head -n 20
	echo "$n tests of $1, with their parts $(grep -c -- "--- PASS" "$W/$1.test.log") passed, $(grep -c -- "--- FAIL" "$W/$1.test.log") failed"
	return $code
}'
TRAIN='run() { # name, device, steps, further options
	local name=$1 device=$2 steps=$3; shift 3
	"$P" train --preset clm-cpu-tiny --data "$PACK/shards" --out "$W/$name" --device "$device" --steps "$steps" --set log.every=1 --set eval.every=0 \
		--set eval.tokens=2048 --set checkpoint.every=0 "$@" | tail -n 3
}'

SPOKEN='spoken() { sed -n "s/.*\"tokens_per_s\":\([0-9]*\).*\"mfu\":\([0-9.]*\).*/\1 tokens\/s, MFU \2/p" "$1"; }'

stage doctor 20 '"$P" doctor'
stage selftest 30 "$TEST; TESTS=Selftest; tests kernels"
stage tests-cuda 40 "$TEST; tests cuda"
stage tests-kernels 150 "$TEST; tests kernels"
stage tests-engine 90 "$TEST; tests engine"
stage losses-tiny 60 "$TRAIN"'; run tiny-cuda cuda $TINY_STEPS $TINY && run tiny-cpu cpu $TINY_STEPS $TINY && {
	run tiny-naive refbf16 $TINY_STEPS --set stop_after=$YARD_STEPS $TINY; [ $? = 75 ]; } &&
	"$P" bench losses --json "$W/tiny-cuda" "$W/tiny-cpu" "$W/tiny-naive" >"$W/losses-tiny.json"; code=$?
	"$P" bench losses "$W/tiny-cuda" "$W/tiny-cpu" "$W/tiny-naive" && exit $code'
HAVE_TORCH=0
if "$PYTHON" -c 'import torch' 2>/dev/null; then HAVE_TORCH=1; fi
export HAVE_TORCH
if [ "$HAVE_TORCH" = 1 ]; then
	stage pytorch-kernels 100 '"$P" bench kernels --device cuda --list --json $KERNELS >"$W/cases.jsonl" &&
		"$PYTHON" -u "$BASELINES/kernels.py" "$W/cases.jsonl" $TORCH_KERNELS >"$W/torch-kernels.lines"; code=$?
		echo "$(grep -c seconds "$W/torch-kernels.lines") figures, $(grep -c reason "$W/torch-kernels.lines") shapes without one"; exit $code'
	grep '}$' "$W/torch-kernels.lines" >"$W/torch-kernels.jsonl"
fi
touch "$W/torch-kernels.jsonl"
stage kernels 130 '"$P" bench kernels --device cuda --beside "$W/torch-kernels.jsonl" --out "$W/kernels" $KERNELS'
stage train-gpt2 50 "$SPOKEN"'; "$P" bench train --set train.device=cuda $GPT2 --json >"$W/train-gpt2.json" && spoken "$W/train-gpt2.json"'
stage train-bert 50 "$SPOKEN"'; "$P" bench train --set train.device=cuda $BERT --json >"$W/train-bert.json" && spoken "$W/train-bert.json"'
stage losses-small 80 "$TRAIN"'; run small-cuda cuda $SMALL_STEPS $SMALL && run small-cpu cpu $SMALL_STEPS $SMALL &&
	"$P" bench losses --json "$W/small-cuda" "$W/small-cpu" >"$W/losses-small.json"; code=$?
	"$P" bench losses "$W/small-cuda" "$W/small-cpu" && exit $code'
if [ "$HAVE_TORCH" = 1 ]; then
	stage pytorch-steps 110 '"$PYTHON" -u "$BASELINES/steps.py" $TORCH_STEPS >"$W/torch-steps.lines"; code=$?; cat "$W/torch-steps.lines"
		echo "$(grep -c "}$" "$W/torch-steps.lines") models"; exit $code'
	grep '}$' "$W/torch-steps.lines" >"$W/torch-steps.jsonl"
else
	printf '\n%s has no torch: PyTorch is not measured (PALIMPSEST_PYTHON names another)\n' "$PYTHON"
	ROWS+="| pytorch | not run | 0 | $PYTHON has no torch |"$'\n'
fi
touch "$W/torch-steps.jsonl"

object() { if [ -s "$1" ]; then cat "$1"; else echo null; fi; }
lines() { printf '['; paste -sd, "$1" | tr -d '\n'; printf ']'; }
number() { sed -n "s/.*\"$1\":\([0-9.e+-]*\).*/\1/p" "$2" 2>/dev/null | head -n 1; }

slug=$(printf '%s' "$DEVICE" | tr 'A-Z' 'a-z' | sed 's/[^a-z0-9]\{1,\}/-/g; s/^-//; s/-$//')
into=bench/results
if [ "$EMULATED" = 1 ]; then into=bin/gpu-emulated; fi
into=${OUT:-$into}/$slug
commit=$(cat "$PACK/commit")
stem=$into/$(date -u +%F)-$commit
mkdir -p "$into" || exit 6
{
	printf '{"v":1,"time":"%s","commit":"%s","device":"%s","emulated":%s,"seconds":%d,' "$(date -u +%FT%TZ)" "$commit" "$(printf '%s' "$DEVICE" | quoted)" \
		"$([ "$EMULATED" = 1 ] && echo true || echo false)" $SECONDS
	printf '"stages":[%s],"doctor":%s,"kernels":%s,' "$STAGES" "$(object "$W/doctor.json")" "$(object "$W/kernels.json")"
	printf '"train_gpt2":%s,"train_bert":%s,' "$(object "$W/train-gpt2.json")" "$(object "$W/train-bert.json")"
	printf '"losses_tiny":%s,"losses_small":%s,' "$(object "$W/losses-tiny.json")" "$(object "$W/losses-small.json")"
	printf '"pytorch_kernels":%s,"pytorch_steps":%s}\n' "$(lines "$W/torch-kernels.jsonl")" "$(lines "$W/torch-steps.jsonl")"
} >"$stem.json" || exit 6
{
	printf '# %s, %s, commit %s\n\n' "$DEVICE" "$(date -u +%F)" "$commit"
	if [ "$EMULATED" = 1 ]; then printf 'Over the emulated driver on a CPU: a test of the flow, no measurement.\n\n'; fi
	printf '| stage | came out | s | last words |\n| --- | --- | --- | --- |\n%s\n' "$ROWS"
	printf '| training step | tokens/s here | MFU of measured peak | of datasheet | tokens/s PyTorch |\n| --- | --- | --- | --- | --- |\n'
	for m in gpt2 bert; do
		theirs=$(grep "\"model\": \"$m" "$W/torch-steps.jsonl" | sed -n 's/.*"tokens_per_s": \([0-9]*\).*/\1/p')
		printf '| %s | %s | %s | %s | %s |\n' "$m" "$(number tokens_per_s "$W/train-$m.json")" "$(number mfu "$W/train-$m.json")" \
			"$(number datasheet_mfu "$W/train-$m.json")" "${theirs:--}"
	done
	printf '\n## Kernels\n\n'
	if [ -s "$W/kernels.md" ]; then cat "$W/kernels.md"; else echo 'No figures.'; fi
} >"$stem.md" || exit 6
if [ $FAILED != 0 ]; then # what is needed to find out why, from elsewhere
	for log in "$W"/*.log; do printf '=== %s\n' "${log##*/}" && tail -c 200000 "$log"; done >"$stem.log"
fi
printf '\n%s' "$ROWS"
printf '\nwrote %s.json and .md in %d s: %s\n' "$stem" $SECONDS "$([ $FAILED = 0 ] && echo 'all stages passed' || echo 'some stages FAILED')"
exit $FAILED
