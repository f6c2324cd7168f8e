#!/usr/bin/env bash
# ExLM (arXiv 2501.13397) against masked modelling on the same texts (mlm) and for the same time (mlm++), and its preliminary study
# of repeated masked modelling. On a CPU the texts are the characters of Shakespeare's plays, which small models learn in minutes;
# on a GPU the sentences of NCBI-disease, and models are also tuned to tag diseases. DATA, SIZE, SEEDS and the others are
# explained in lib.sh.
#
# The arms of mlm and exlm go on from one masked model (base), but for exlm-cold: with dense links from random weights a small
# model learns which states follow each other before it knows what they say, and settles on paths that have nothing to do with
# the masks (see the table's remarks).
. "$(dirname "$0")/../lib.sh"
case $SIZE in
cpu) TEXTS=2048 WARM=1200 STEPS=600 LONGER=1320 COLD=1000 REPEATED=1400 ;;
gpu) TEXTS=8192 WARM=340 STEPS=500 LONGER=1100 COLD=840 REPEATED=840 TUNE=42 ;;
esac

if [ "$SIZE" = cpu ]; then
	needs 'github.com/karpathy/char-rnn, data/tinyshakespeare/input.txt' tinyshakespeare.txt
	result train.txt head -c 1003854 "$DATA/tinyshakespeare.txt"
	result test.txt tail -c +1003855 "$DATA/tinyshakespeare.txt"
	result tokenizer.txt palimpsest tokenizer train --json --vocab 260 --out "$WORK/tokenizer.json" "$WORK/train.txt" # bytes
	for part in train test; do
		result $part-data.txt palimpsest data build --json --tokenizer "$WORK/tokenizer.json" --unit paragraph --out "$WORK/$part" "$WORK/$part.txt"
	done
	VALID=0.02
else
	needs 'github.com/cambridgeltl/MTL-Bioinformatics-2016, folder data/NCBI-disease-IOB' ncbi-disease/{train,devel,test}.tsv
	result tokenizer.txt palimpsest tokenizer train --json --kind wordpiece --vocab 4000 --format conll --out "$WORK/tokenizer.json" "$DATA/ncbi-disease/train.tsv"
	for part in train devel test; do
		result $part-data.txt palimpsest data build --json --tokenizer "$WORK/tokenizer.json" --format conll --entity-types Disease --out "$WORK/$part" "$DATA/ncbi-disease/$part.tsv"
	done
	VALID=$WORK/devel
fi

# Arms: what they begin with (-: random weights), steps and settings. As many texts a step: rows per 1,024 tokens grow with
# expansion. mlm++ has the time of exlm: a step of exlm takes 2.2 times that of mlm on two cores (published: 1.9, on a GPU).
rows() { echo $((TEXTS * $1 / 1024)); }
mlm=(--set objective=mlm --set "data.tokens_per_step=$TEXTS")
exlm=(--set "data.tokens_per_step=$(rows 1776)")
arm base - $WARM "${mlm[@]}"
arm mlm base $STEPS "${mlm[@]}"
arm mlm++ base $LONGER "${mlm[@]}"
arm exlm base $STEPS "${exlm[@]}"
arm exlm-k1 base $STEPS --set exlm.k=1 --set "data.tokens_per_step=$(rows 1068)"
arm exlm-k2 base $STEPS --set exlm.k=2 --set "data.tokens_per_step=$(rows 1300)"
arm exlm-sparse base $STEPS "${exlm[@]}" --set exlm.dag=sparse
arm exlm-none base $STEPS "${exlm[@]}" --set exlm.dag=none --set exlm.blank=pad
arm exlm-cold - $COLD "${exlm[@]}"
if [ "$SIZE" = gpu ]; then
	arm exlm-k8 base $STEPS --set exlm.k=8 --set "data.tokens_per_step=$(rows 2700)"
	arm base-1d - $WARM "${mlm[@]}" --set model.positions=rope
	arm exlm-1d base-1d $STEPS "${exlm[@]}" --set exlm.rope=1d
fi
# Repeated: p and k; a token loses all copies with p^k.
for pk in 0.15,1 0.387,2 0.622,4 0.622,1 0.622,2; do
	arm "p${pk%,*}-k${pk#*,}" - $REPEATED --set objective=rmlm --set "data.tokens_per_step=$((TEXTS * ${pk#*,}))" --set "mask.p=${pk%,*}" --set "rmlm.k=${pk#*,}"
done
declare -A LOSES=([1]=0.15 [2]=0.387 [4]=0.622) # by k: the p that loses 15 % of the tokens

one() { # FOLDER SEED BASE STEPS SETTINGS...
	local run=$WORK/$1 begin=()
	if [ "$3" != - ]; then begin=(--set "train.init=$WORK/$3/seed-$2/run"); fi
	train "$1/train.json" --config "$CONFIG" --data "$WORK/train" --set "data.valid=$VALID" --seed "$2" --steps "$4" --out "$run/run" "${begin[@]}" "${@:5}"
	if [[ $1 = p*-k* ]]; then
		local k=${1#*-k}
		result "$1/lost.json" palimpsest eval loss --json --model "$run/run" --data "$WORK/test" --set "mask.p=${LOSES[${k%%/*}]}"
	else
		result "$1/loss.json" palimpsest eval loss --json --model "$run/run" --data "$WORK/test"
	fi
	if [ "$SIZE" = gpu ]; then
		train "$1/tune.json" --config "$CONFIG" --data "$WORK/train" --set "data.valid=$VALID" --seed "$2" --out "$run/tuned" \
			--set "train.init=$run/run" --set objective=tag --set "data.tokens_per_step=$TEXTS" --steps "$TUNE" --set optimizer.learning_rate=5e-4
		result "$1/ner.json" palimpsest eval ner --json --model "$run/tuned" --data "$WORK/test"
	fi
}
each one
table
