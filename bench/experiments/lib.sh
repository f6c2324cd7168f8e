# What the experiments share: each NAME/run.sh begins by reading this file. An experiment is a list of arms that differ in a few
# settings. Every arm is trained and measured by the same palimpsest commands, for every seed, the first seed of all arms
# before the second of any. Each command is printed, and kept with its time in commands.tsv of the working folder: any row of
# a table can be repeated by hand. Interrupted, the same script goes on: results that are there are not made again.
#
#   DATA         folder of the data files (data); a script whose files are missing says where they come from
#   SIZE         cpu: minutes on two cores; gpu: minutes on one GPU (cpu); the run file is NAME/SIZE.yaml
#   SEEDS        "1 2 3"
#   ARMS         only these arms, "base mslm"; all, when empty
#   SET          settings for every run, "train.threads=2"; more of 'train --set', when empty none
#   WORK         working folder, which can be removed when the table is written (runs/experiments/NAME-SIZE)
#   OUT          folder of the tables (bench/results/experiments)
#   NOTE         a remark on the conditions, for the table
#   PALIMPSEST   the program (./palimpsest)
#   TOOL         the program of this folder, 'experiments' in what is printed (go run ./bench/experiments)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

NAME=$(basename "$(dirname "$0")")
HERE=bench/experiments/$NAME
DATA=${DATA:-data} SIZE=${SIZE:-cpu} SEEDS=${SEEDS:-1 2 3} ARMS=${ARMS:-} SET=${SET:-}
WORK=${WORK:-runs/experiments/$NAME-$SIZE} OUT=${OUT:-bench/results/experiments} NOTE=${NOTE:-}
PALIMPSEST=${PALIMPSEST:-./palimpsest} TOOL=${TOOL:-go run ./bench/experiments}
CONFIG=$WORK/run.yaml

fail() { # CODE MESSAGE
	printf '%s: %s\n' "$NAME" "$2" >&2
	exit "$1"
}
palimpsest() { "$PALIMPSEST" "$@"; }
experiments() { $TOOL "$@"; }

[ -e "$HERE/$SIZE.yaml" ] || fail 2 "SIZE=$SIZE: there is no $HERE/$SIZE.yaml"
command -v "$PALIMPSEST" >/dev/null || fail 2 "there is no program $PALIMPSEST; hint: make build"
mkdir -p "$WORK" || exit 6
if [ -e "$CONFIG" ]; then
	cmp -s "$HERE/$SIZE.yaml" "$CONFIG" || fail 2 "$HERE/$SIZE.yaml is not what $WORK was begun with; hint: rm -r $WORK, or WORK=another folder"
else
	cp "$HERE/$SIZE.yaml" "$CONFIG"
fi
COMMANDS=$WORK/commands.tsv # result, seconds, command; a line is written when the command has succeeded
touch "$COMMANDS"
declare -A MADE=() # command by result
while IFS=$'\t' read -r file _ line; do MADE[$file]=$line; done <"$COMMANDS"

# needs WHERE FILE...: files below $DATA that the experiment reads, and where a person gets them.
NEEDED=()
needs() {
	local file
	for file in "${@:2}"; do
		[ -e "$DATA/$file" ] || fail 3 "there is no $DATA/$file; hint: DATA=folder; it is published at $1"
		NEEDED+=("$file")
	done
}

# arm NAME SETTINGS...: one of the things that are compared, with its options of 'palimpsest train'.
NAMES=()
declare -A SETTINGS=()
arm() {
	if [ -n "$ARMS" ] && [[ " $ARMS " != *" $1 "* ]]; then return; fi
	NAMES+=("$1")
	SETTINGS[$1]=''
	if [ $# -gt 1 ]; then printf -v "SETTINGS[$1]" ' %q' "${@:2}"; fi
}

# each FUNCTION: calls it with FOLDER SEED SETTINGS... for every arm and seed; FOLDER, below $WORK, is where its results belong.
each() {
	local seed name
	for seed in $SEEDS; do
		for name in "${NAMES[@]}"; do
			eval "$1 $name/seed-$seed $seed${SETTINGS[$name]}"
		done
	done
}

# result FILE COMMAND...: keeps what a command prints as $WORK/FILE, unless the same command has made it before.
result() {
	local file=$1 out=$WORK/$1 line began code took
	shift
	printf -v line '%q ' "$@"
	line=${line% }
	if [ -e "$out" ]; then
		[ "${MADE[$file]-}" = "$line" ] || fail 2 "$out was made by another command (${MADE[$file]-}); hint: rm -r $WORK, or WORK=another folder"
		return
	fi
	[ -d "${out%/*}" ] || mkdir -p "${out%/*}" || exit 6
	printf '%s\n' "$line"
	began=${EPOCHREALTIME/[.,]/} code=0
	"$@" >"$out.part" || code=$?
	if [ $code != 0 ]; then
		rm -f "$out.part"
		fail $code "exit code $code of: $line"
	fi
	took=$((${EPOCHREALTIME/[.,]/} - began))
	printf '%s\t%d.%02d\t%s\n' "$file" $((took / 1000000)) $((took / 10000 % 100)) "$line" >>"$COMMANDS"
	mv "$out.part" "$out"
}

# train FILE OPTIONS...: 'palimpsest train' with the settings that all runs have.
train() {
	local file=$1 all=() setting
	for setting in $SET; do all+=(--set "$setting"); done
	result "$file" palimpsest train --json "${all[@]}" "${@:2}"
}

# table: writes $OUT/NAME-SIZE.md and .json from the results and NAME/table.yaml.
table() {
	local name settings=()
	for name in "${NAMES[@]}"; do settings+=(--arm "$name=${SETTINGS[$name]# }"); done
	palimpsest doctor --json >"$WORK/doctor.json"
	experiments table --spec "$HERE/table.yaml" --name "$NAME" --size "$SIZE" --work "$WORK" --seeds "$SEEDS" --data "$DATA" --files "${NEEDED[*]}" \
		--note "$NOTE" --out "$OUT" "${settings[@]}"
}
