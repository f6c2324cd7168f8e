#!/usr/bin/env bash
# SHAD and RFT (arXiv 2412.14780) on GSM8K. A causal model of questions and answers without calculator marks and answer lines is
# trained from random weights, so that it knows the language but not the format. A copy of it is tuned on 1 % of the pairs, marks and
# all, with answers of other questions; a token whose loss grew is called reasoning, any other boilerplate. These classes are held
# against what is known: '<<', '>>' and '####' are format, what is between them and the final answer is reasoning. Then the model
# is tuned to answer, by each method. DATA, SIZE, SEEDS and the others are explained in lib.sh.
. "$(dirname "$0")/../lib.sh"
needs 'github.com/openai/grade-school-math, grade_school_math/data' gsm8k/{train,test}.jsonl
case $SIZE in
cpu) VOCAB=2000 STEPS=2000 TUNE=300 RATE=1e-3 TOKENS=60000 ;;
gpu) VOCAB=4000 STEPS=3000 TUNE=400 RATE=3e-4 TOKENS=0 ;;
esac

pairs=(--fields prompt=question,completion=answer)
result tokenizer.txt palimpsest tokenizer train --json --vocab $VOCAB "${pairs[@]}" --out "$WORK/tokenizer.json" "$DATA/gsm8k/train.jsonl"
built() { result "$1.txt" palimpsest data build --json --tokenizer "$WORK/tokenizer.json" "${pairs[@]}" --out "$WORK/$1" "$DATA/gsm8k/$2.jsonl"; }
printf '%s\n' '<<' '>>' '\n####' >"$WORK/format.patterns"
printf '%s\n' '<<[^>]*>>' '#### .*' >"$WORK/reasoning.patterns" # with their format, which is known to be that
result plain.jsonl sed -E 's/<<[^>]*>>//g; s/\\n#### [^"]*"\}$/"}/' "$DATA/gsm8k/train.jsonl"
result plain.txt palimpsest data build --json --tokenizer "$WORK/tokenizer.json" "${pairs[@]}" --out "$WORK/plain" "$WORK/plain.jsonl"
for known in format reasoning; do
	built $known test
	result $known-class.txt palimpsest data annotate --json --plane class --patterns "$WORK/$known.patterns" "$WORK/$known"
done

arm base
for method in sft alpha rft random; do arm $method --set objective=rft --set shad.method=$method; done
if [ "$SIZE" = gpu ]; then
	for method in dft focal rho1; do arm $method --set objective=rft --set shad.method=$method; done
fi

# The model that the others begin with, the classes of its training and test pairs, and how far they are right.
base() { # FOLDER SEED
	local at=$1 run=$WORK/$1/run
	built "$at/train" train
	built "$at/test" test
	train "$at/train.json" --config "$CONFIG" --data "$WORK/plain" --set data.loss_plane=false --seed "$2" --steps $STEPS --out "$run"
	result "$at/shad.json" palimpsest shad run --json --config "$CONFIG" --model "$run" --data "$WORK/$at/train" --seed "$2" --set "optimizer.learning_rate=$RATE" --out "$WORK/$at/shad"
	result "$at/score.json" palimpsest shad score --json --config "$CONFIG" --model "$run" --tuned "$WORK/$at/shad/tuned" --data "$WORK/$at/test" --out "$WORK/$at/scores"
	result "$at/agree.json" experiments agree --scores "$WORK/$at/scores" --data "$WORK/$at/test" --boilerplate "$WORK/format" --reasoning "$WORK/reasoning"
}

one() { # FOLDER SEED SETTINGS...
	local base=$WORK/base/seed-$2 run=$WORK/$1/run
	if [ $# = 2 ]; then
		base "$1" "$2"
	else
		train "$1/train.json" --config "$CONFIG" --data "$base/train" --seed "$2" --out "$run" \
			--set "train.init=$base/run" --steps $TUNE --set "optimizer.learning_rate=$RATE" "${@:3}"
	fi
	result "$1/classes.json" palimpsest eval loss --json --model "$run" --objective rft --tokens $TOKENS --data "$base/test"
	result "$1/format.json" palimpsest eval loss --json --model "$run" --objective rft --tokens $TOKENS --data "$WORK/format"
	result "$1/reasoning.json" palimpsest eval loss --json --model "$run" --objective rft --tokens $TOKENS --data "$WORK/reasoning"
}
each one
table
