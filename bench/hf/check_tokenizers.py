"""Tokenizers of every kind, trained on mixed text, against the library tokenizers on other mixed text: ids, offsets, and speed on
one core. Half of the text comes from files, of Go's standard library where Go is found."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

import make_sentencepiece
import mixed_text
import ours
from record_tokenizers import LLAMA3

MEGABYTES = 1.5  # of text for each
VOCAB = 8000


def byte_level(lines, pre, ignore_merges):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    t.pre_tokenizer = pre
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=VOCAB, special_tokens=["<|endoftext|>"], show_progress=False,
                                                     initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    return t


def gpt2(lines):
    return byte_level(lines, pre_tokenizers.ByteLevel(add_prefix_space=False), False)


def llama3(lines):
    split = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
    return byte_level(lines, pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]), True)


def bert(lines):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer, t.pre_tokenizer, t.decoder = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", AddedToken("[MASK]", special=True)]
    t.train_from_iterator(lines, trainers.WordPieceTrainer(vocab_size=VOCAB, special_tokens=special, limit_alphabet=2000, show_progress=False))
    return t


# Name in the table, file.
KINDS = {
    "byte-level BPE, GPT-2's split": "gpt2.json",
    "byte-level BPE, LLaMA-3's split": "llama3.json",
    "WordPiece, BERT's normaliser": "bert.json",
    "WordPiece of all-MiniLM-L6-v2": "minilm.json",
    "Unigram, T5's normaliser": "t5.json",
    "Unigram with byte fallback": "fallback.json",
    "SentencePiece BPE with byte fallback, LLaMA-2": "llama.json",
    "SentencePiece BPE without byte fallback": "bpe.json",
}


def source_folder():
    """Files for half of the text; None, and all of it is generated, where there is no Go."""
    try:
        root = subprocess.run([os.environ.get("GO", "go"), "env", "GOROOT"], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None
    return str(pathlib.Path(root, "src")) if pathlib.Path(root, "src").is_dir() else None


def train(work, minilm, seed):
    """Write all tokenizers to a folder."""
    lines = mixed_text.mixed(1_500_000, seed + 1000, source_folder())
    gpt2(lines).save(f"{work}/gpt2.json")
    llama3(lines).save(f"{work}/llama3.json")
    bert(lines).save(f"{work}/bert.json")
    shutil.copy(f"{minilm}/tokenizer.json", f"{work}/minilm.json")
    text = pathlib.Path(work, "text.txt")
    text.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    subprocess.run([sys.executable, make_sentencepiece.__file__, str(text), work, "--vocab", str(VOCAB)], check=True)


def check_all(work, minilm, seed):
    train(work, minilm, seed)
    folder = source_folder()
    for kind, file in KINDS.items():
        command = [sys.executable, str(pathlib.Path(__file__).with_name("compare_tokenizers.py")), f"{work}/{file}", "--palimpsest", ours.BINARY,
                   "--mixed", str(int(MEGABYTES * 1e6)), "--seed", str(seed), *(["--folder", folder] if folder else [])]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8")
        row = {"kind": kind, "seed": seed, "problems": []}
        try:
            row |= json.loads(done.stdout)
            row["tokenizer"] = file
        except ValueError:
            row["problems"].append(f"exit code {done.returncode}: {done.stderr.strip()}")
        if row.get("mismatches"):
            row["problems"].append(f"{row['mismatches']} lines differ")
        if row.get("megabytes", 0) < 1:
            row["problems"].append(f"compared {row.get('megabytes', 0)} MB, want 1 at least")
        yield row
