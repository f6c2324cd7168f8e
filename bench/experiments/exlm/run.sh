#!/usr/bin/env bash
# ExLM (arXiv 2501.13397) against masked modelling on the same texts (mlm) and for the same time (mlm++), and its preliminary study
# of repeated masked modelling: on the sentences of NCBI-disease, each model is trained from random weights, asked for masked
# tokens of other sentences, and then tuned to tag diseases. DATA, SIZE, SEEDS and the others are explained in lib.sh.
. "$(dirname "$0")/../lib.sh"
needs 'github.com/cambridgeltl/MTL-Bioinformatics-2016, folder data/NCBI-disease-IOB' ncbi-disease/{train,devel,test}.tsv
case $SIZE in
cpu) VOCAB=2000 LONGER=1000 TUNE=170 RATE=2e-3 ;;
gpu) VOCAB=4000 LONGER=1600 TUNE=42 RATE=5e-4 ;;
esac

result tokenizer.txt palimpsest tokenizer train --json --kind wordpiece --vocab $VOCAB --format conll --out "$WORK/tokenizer.json" "$DATA/ncbi-disease/train.tsv"
for part in train devel test; do
	result $part.txt palimpsest data build --json --tokenizer "$WORK/tokenizer.json" --format conll --entity-types Disease --out "$WORK/$part" "$DATA/ncbi-disease/$part.tsv"
done
