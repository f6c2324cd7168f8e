#!/usr/bin/env bash
# ExLM (arXiv 2501.13397) against masked modelling on the same texts (mlm) and for the same time (mlm++), and its preliminary study
# of repeated masked modelling, on the sentences of NCBI-disease: each model is trained from random weights, asked for masked
# tokens of the test sentences, and then tuned to tag diseases. DATA, SIZE, SEEDS and the others are explained in lib.sh.
. "$(dirname "$0")/../lib.sh"
needs 'github.com/cambridgeltl/MTL-Bioinformatics-2016, folder data/NCBI-disease-IOB' ncbi-disease/{train,devel,test}.tsv
case $SIZE in
cpu) VOCAB=2000 LONGER=1140 TUNE=170 RATE=2e-3 TEXTS=1024 ;;
gpu) VOCAB=4000 LONGER=1600 TUNE=42 RATE=5e-4 TEXTS=8192 ;;
esac

result tokenizer.txt palimpsest tokenizer train --json --kind wordpiece --vocab $VOCAB --format conll --out "$WORK/tokenizer.json" "$DATA/ncbi-disease/train.tsv"
for part in train devel test; do
	result $part.txt palimpsest data build --json --tokenizer "$WORK/tokenizer.json" --format conll --entity-types Disease --out "$WORK/$part" "$DATA/ncbi-disease/$part.tsv"
done

# As many steps of about as many tokens: rows per 1,024 tokens grow with expansion. mlm++ has 1.9 times the steps, the ratio of
# seconds that the paper tells.
rows() { echo $((TEXTS * $1 / 1024)); }
mlm=(--set objective=mlm --set "data.tokens_per_step=$TEXTS")
exlm=(--set "data.tokens_per_step=$(rows 1776)")
arm mlm "${mlm[@]}"
arm mlm++ "${mlm[@]}" --steps $LONGER
arm exlm "${exlm[@]}"
arm exlm-k1 --set exlm.k=1 --set "data.tokens_per_step=$(rows 1068)"
arm exlm-sparse "${exlm[@]}" --set exlm.dag=sparse
if [ "$SIZE" = gpu ]; then
	arm exlm-none "${exlm[@]}" --set exlm.dag=none
	arm exlm-1d "${exlm[@]}" --set exlm.rope=1d
	arm exlm-k2 --set exlm.k=2 --set "data.tokens_per_step=$(rows 1300)"
	arm exlm-k8 --set exlm.k=8 --set "data.tokens_per_step=$(rows 2700)"
fi
# Repeated: p and k; a token loses all copies with p^k.
for pk in 0.387,2 0.622,4 0.622,1 0.622,2; do
	if [ "$SIZE,$pk" = cpu,0.622,2 ]; then continue; fi
	arm "p${pk%,*}-k${pk#*,}" --set objective=rmlm --set "data.tokens_per_step=$((TEXTS * ${pk#*,}))" --set "mask.p=${pk%,*}" --set "rmlm.k=${pk#*,}"
done

one() { # FOLDER SEED SETTINGS...
	local run=$WORK/$1
	train "$1/train.json" --config "$CONFIG" --data "$WORK/train" --set "data.valid=$WORK/devel" --seed "$2" --out "$run/run" "${@:3}"
	result "$1/loss.json" palimpsest eval loss --json --model "$run/run" --data "$WORK/test"
	train "$1/tune.json" --config "$CONFIG" --data "$WORK/train" --set "data.valid=$WORK/devel" --seed "$2" --out "$run/tuned" \
		--set "train.init=$run/run" --set objective=tag --set data.tokens_per_step=$TEXTS --steps $TUNE --set optimizer.learning_rate=$RATE
	result "$1/ner.json" palimpsest eval ner --json --model "$run/tuned" --data "$WORK/test"
}
each one
table
