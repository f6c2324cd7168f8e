#!/usr/bin/env bash
# MSLM (arXiv 2403.18025) against masking at random, of spans and of collocations, on NCBI-disease: one model a way of masking,
# from random weights, with detection of diseases on the same pass; then each tuned to tag. The test sentences tell the F1 of
# diseases, and how well masked diseases are recovered. DATA, SIZE, SEEDS and the others are explained in lib.sh.
. "$(dirname "$0")/../lib.sh"
needs 'github.com/cambridgeltl/MTL-Bioinformatics-2016, folder data/NCBI-disease-IOB' ncbi-disease/{train,devel,test}.tsv
case $SIZE in
cpu) VOCAB=4000 TUNE=170 RATE=2e-3 ;;
gpu) VOCAB=8000 TUNE=42 RATE=5e-4 ;;
esac

result tokenizer.txt palimpsest tokenizer train --json --kind wordpiece --vocab $VOCAB --format conll --out "$WORK/tokenizer.json" "$DATA/ncbi-disease/train.tsv"
for part in train devel test; do
	result $part.txt palimpsest data build --json --tokenizer "$WORK/tokenizer.json" --format conll --entity-types Disease --out "$WORK/$part" "$DATA/ncbi-disease/$part.tsv"
done

# base, span and pmi mask about as many tokens as mslm does (19 % of those outside of the ends), entity half as many.
arm base --set mslm.strategy=base --set mslm.base=0.19
arm span --set mslm.strategy=span --set mslm.base=0.19
arm pmi --set mslm.strategy=pmi --set mslm.base=0.19
arm mslm
arm entity --set mslm.strategy=entity --set mslm.entity=1
# Rates of entities (0, 0.25, 0.5, 0.75, 1) and of other tokens.
arm e0 --set mslm.strategy=base
for e in 0.25 0.75 1; do arm e$e --set mslm.entity=$e; done
for b in 0.075 0.225; do arm b$b --set mslm.base=$b; done
# Weights.
arm uniform --set mslm.weights=uniform
arm fixed --set mslm.weights=fixed --set mslm.w_e=3 --set mslm.w_b=1
# The authors' head, which also reads the original tokens, masked or not.
head=model.classifiers='[{name: entities, kind: detector, classes: 3}]'
arm base+ids --set mslm.strategy=base --set mslm.base=0.19 --set "$head"
arm span+ids --set mslm.strategy=span --set mslm.base=0.19 --set "$head"
arm pmi+ids --set mslm.strategy=pmi --set mslm.base=0.19 --set "$head"
arm mslm+ids --set "$head"
arm e1+ids --set mslm.entity=1 --set "$head"

one() { # FOLDER SEED SETTINGS...
	local run=$WORK/$1 same=()
	if [[ "$*" = *"$head"* ]]; then same=(--set "$head"); fi
	train "$1/train.json" --config "$CONFIG" --data "$WORK/train" --set "data.valid=$WORK/devel" --seed "$2" --out "$run/joint" "${@:3}"
	result "$1/ner.json" palimpsest eval ner --json --model "$run/joint" --data "$WORK/test"
	result "$1/sensitivity.json" palimpsest eval sensitivity --json --model "$run/joint" --data "$WORK/test"
	# The same model on masked test sentences, as the authors' code measures: eval ner does as the run says, so that a run is made of
	# one step that changes nothing. Collocations cannot be masked there: they need the training sentences.
	if [[ $1 != pmi* ]]; then
		train "$1/leaky-run.json" --config "$CONFIG" --data "$WORK/train" --set "data.valid=$WORK/devel" --seed "$2" --out "$run/leaky" \
			--set "train.init=$run/joint" --steps 1 --set optimizer.learning_rate=1e-30 --set mslm.compat.mslm_eval_masked=true --set eval.tokens=64 "${@:3}"
		result "$1/leaky.json" palimpsest eval ner --json --model "$run/leaky" --data "$WORK/test"
	fi
	train "$1/tune.json" --config "$CONFIG" --data "$WORK/train" --set "data.valid=$WORK/devel" --seed "$2" --out "$run/tuned" \
		--set "train.init=$run/joint" --set objective=tag --steps $TUNE --set optimizer.learning_rate=$RATE "${same[@]}"
	result "$1/tuned-ner.json" palimpsest eval ner --json --model "$run/tuned" --data "$WORK/test"
}
each one
table
