#!/usr/bin/env bash
# AntLM (arXiv 2412.03275), causal, masked and causal phases over one network, against causal and masked modelling alone for the
# same number of tokens, on a small English corpus: the questions of GSM8K, and Shakespeare by paragraphs. Minimal pairs of BLiMP
# are scored both ways, whatever a model was trained for. DATA, SIZE, SEEDS and the others are explained in lib.sh.
. "$(dirname "$0")/../lib.sh"
needs 'github.com/openai/grade-school-math, grade_school_math/data' gsm8k/train.jsonl
needs 'github.com/karpathy/char-rnn, data/tinyshakespeare/input.txt' tinyshakespeare.txt
[ -d "$DATA/blimp" ] || fail 3 "there is no folder $DATA/blimp; hint: the folder data of github.com/alexwarstadt/blimp; any of its sets will do"
for file in "$DATA"/blimp/*.jsonl; do NEEDED+=("blimp/$(basename "$file")"); done
case $SIZE in
cpu) VOCAB=4096 PAIRS=200 FIRST='steps: 300' MIDDLE='steps: 1200' ALL='steps: 1800' ;;
gpu) VOCAB=8192 PAIRS=1000 FIRST='epochs: 4' MIDDLE='epochs: 16' ALL='epochs: 24' ;;
esac

corpus=("$DATA/gsm8k/train.jsonl" "$DATA/tinyshakespeare.txt")
result tokenizer.txt palimpsest tokenizer train --json --vocab $VOCAB --field question --unit paragraph --out "$WORK/tokenizer.json" "${corpus[@]}"
result data.txt palimpsest data build --json --tokenizer "$WORK/tokenizer.json" --field question --unit paragraph --out "$WORK/data" "${corpus[@]}"
for file in "$DATA"/blimp/*.jsonl; do
	result "blimp/$(basename "$file")" head -n $PAIRS "$file"
done

arm clm --set "phases=[{objective: clm, $ALL}]"
arm mlm --set "phases=[{objective: mlm, $ALL}]"
arm antlm --set "phases=[{objective: clm, $FIRST}, {objective: mlm, $MIDDLE}, {objective: clm, $FIRST}]"
if [ "$SIZE" = gpu ]; then # GPT-BERT's way, inside every step
	arm mntp --set "phases=[{mix: {mntp: 1, clm: 1}, $ALL}]"
fi
if [ "$SIZE" = cpu ]; then # as many steps on a twelfth of the text: 24 epochs, as published, instead of 2
	arm clm-24 --set "phases=[{objective: clm, $ALL}]"
	arm mlm-24 --set "phases=[{objective: mlm, $ALL}]"
	arm antlm-24 --set "phases=[{objective: clm, $FIRST}, {objective: mlm, $MIDDLE}, {objective: clm, $FIRST}]"
	parts() { # NAME head|tail LINES BYTES: a data set of parts of both files
		result "$1.jsonl" "$2" "$3" "$DATA/gsm8k/train.jsonl"
		result "$1-plays.txt" "$2" "$4" "$DATA/tinyshakespeare.txt"
		result "$1.txt" palimpsest data build --json --tokenizer "$WORK/tokenizer.json" --field question --unit paragraph --out "$WORK/$1" "$WORK/$1.jsonl" "$WORK/$1-plays.txt"
	}
	parts small head -n600 -c90000
	parts other tail -n400 -c60000
fi

one() { # FOLDER SEED SETTINGS...
	local run=$WORK/$1/run data=$WORK/data other=()
	if [[ $1 = *-24/* ]]; then data=$WORK/small other=(--data "$WORK/other"); fi
	train "$1/train.json" --config "$CONFIG" --data "$data" --seed "$2" --out "$run" "${@:3}"
	result "$1/blimp.json" palimpsest eval blimp --json --model "$run" --data "$WORK/blimp"
	result "$1/clm.json" palimpsest eval loss --json --model "$run" "${other[@]}" --objective clm
	result "$1/mlm.json" palimpsest eval loss --json --model "$run" "${other[@]}" --objective mlm
}
each one
table
