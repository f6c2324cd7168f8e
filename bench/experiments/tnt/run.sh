#!/usr/bin/env bash
# TNT (arXiv 2406.13660) and its baselines NL and UL. Words: a model of Shakespeare's plays unlearns to say thou, thee and thy, from
# its own outputs, and continues other speakers' names before and after. Spans: a model of news summaries unlearns what people
# marked as hallucinated in summaries (XSum), and reads other articles' summaries. Each variant is trained with several
# factors alpha, which give a curve. DATA, SIZE, SEEDS and the others are explained in lib.sh.
. "$(dirname "$0")/../lib.sh"
needs 'github.com/karpathy/char-rnn, data/tinyshakespeare/input.txt' tinyshakespeare.txt
needs 'github.com/google-research-datasets/xsum_hallucination_annotations, hallucination_annotations_xsum_summaries.csv' xsum-hallucination.csv
case $SIZE in
cpu) VOCAB=1024 SPOKEN=1000 NEWS=300 SAMPLES=12 ;;
gpu) VOCAB=4096 SPOKEN=1000 NEWS=200 SAMPLES=40 ;;
esac
ALPHAS='0.1 1 10 100 1000' MARKS='0.1 1 10'

printf '%s\n' thou thee thy >"$WORK/words.txt"
speakers() { grep -E '^[A-Z][A-Za-z ]*:$' "$DATA/tinyshakespeare.txt" | sort | uniq -c | awk -v odd="$1" '$1 >= 20 { sub(/^ *[0-9]+ /, ""); if (NR % 2 == odd) print }'; }
result prompts.txt speakers 1
result prompts-test.txt speakers 0
result spoken-tokenizer.txt palimpsest tokenizer train --json --vocab $VOCAB --unit paragraph --out "$WORK/spoken.json" "$DATA/tinyshakespeare.txt"
result spoken.txt palimpsest data build --json --tokenizer "$WORK/spoken.json" --unit paragraph --out "$WORK/spoken" "$DATA/tinyshakespeare.txt"
# What at least 2 of 3 people marked; a fifth of the articles is for the test.
result xsum.txt palimpsest data convert --json --vote 2 --valid 0.2 --out "$WORK/xsum" "$DATA/xsum-hallucination.csv"
result news-tokenizer.txt palimpsest tokenizer train --json --vocab $VOCAB --field generation --out "$WORK/news.json" "$WORK/xsum/train.jsonl"
result news.txt palimpsest data build --json --tokenizer "$WORK/news.json" --shape text --field generation --out "$WORK/news" "$WORK/xsum/train.jsonl"
for part in train valid; do
	result marked-$part.txt palimpsest data build --json --tokenizer "$WORK/news.json" --shape generation --out "$WORK/marked-$part" "$WORK/xsum/$part.jsonl"
done

arm base
for variant in TNFF TNRF NL UL TNFLL; do arm $variant --set objective=tnt --set tnt.variant=$variant; done
if [ "$SIZE" = gpu ]; then
	for variant in TNRR TNRLL; do arm $variant --set objective=tnt --set tnt.variant=$variant; done
fi

# The models that the others begin with.
base() { # FOLDER SEED
	train "$1/train.json" --config "$CONFIG" --data "$WORK/spoken" --seed "$2" --steps $SPOKEN --out "$WORK/$1/spoken"
	train "$1/news.json" --config "$CONFIG" --data "$WORK/news" --seed "$2" --steps $NEWS --out "$WORK/$1/news"
	result "$1/own.txt" palimpsest generate --json --model "$WORK/$1/spoken" --input "$WORK/prompts.txt" --samples $SAMPLES --temperature 1 --seed "$2" \
		--annotate "$WORK/$1/own.jsonl" --words "$WORK/words.txt"
	result "$1/data.txt" palimpsest data build --json --tokenizer "$WORK/spoken.json" --shape generation --out "$WORK/$1/own" "$WORK/$1/own.jsonl"
}

one() { # FOLDER SEED SETTINGS...
	local at=$1 seed=$2 alpha name words=() marks=() tuning=(--set optimizer.learning_rate=3e-4 --set optimizer.weight_decay=0 --steps 100)
	shift 2
	if [ $# = 0 ]; then
		base "$at" "$seed"
		return
	fi
	for alpha in $ALPHAS; do
		name=words-$alpha.json
		if [ "$alpha" = 10 ]; then name=train.json; fi
		train "$at/$name" --config "$CONFIG" --data "$WORK/base/seed-$seed/own" --seed "$seed" --out "$WORK/$at/words-$alpha" \
			--set "train.init=$WORK/base/seed-$seed/spoken" --set "tnt.alpha=$alpha" "${tuning[@]}" "$@"
		words+=(--model "$WORK/$at/words-$alpha")
	done
	for alpha in $MARKS; do
		train "$at/spans-$alpha.json" --config "$CONFIG" --data "$WORK/marked-train" --seed "$seed" --out "$WORK/$at/spans-$alpha" \
			--set "train.init=$WORK/base/seed-$seed/news" --set "tnt.alpha=$alpha" "${tuning[@]}" "$@"
		marks+=(--model "$WORK/$at/spans-$alpha")
	done
	result "$at/words.json" palimpsest eval avoid --json --reference "$WORK/base/seed-$seed/spoken" "${words[@]}" --input "$WORK/prompts-test.txt" \
		--samples 8 --temperature 1 --words "$WORK/words.txt"
	result "$at/spans.json" palimpsest eval avoid --json --reference "$WORK/base/seed-$seed/news" "${marks[@]}" --data "$WORK/marked-valid" --max-tokens 1
	result "$at/half.json" experiments curve --words "$WORK/$at/words.json" --spans "$WORK/$at/spans.json"
}
each one
table
