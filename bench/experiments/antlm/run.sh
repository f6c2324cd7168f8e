#!/usr/bin/env bash
# AntLM (arXiv 2412.03275) against causal and masked modelling alone at the same number of epochs, on a small English corpus (the
# questions of GSM8K, and Shakespeare by paragraphs). Minimal pairs of BLiMP are scored both ways, whatever a model was trained
# for; half of the corpus' held-out documents' losses stand beside. DATA, SIZE, SEEDS and the others are explained in lib.sh.
. "$(dirname "$0")/../lib.sh"
needs 'github.com/alexwarstadt/blimp, folder data (any of its sets)' blimp
needs 'github.com/openai/grade-school-math' gsm8k/train.jsonl
needs 'github.com/karpathy/char-rnn, data/tinyshakespeare/input.txt' tinyshakespeare.txt
