#!/usr/bin/env python3
"""Train small SentencePiece models on a text and write each as a tokenizer.json as the T5 and LLaMA-2 families have it.

t5.json        Unigram, the precompiled nmt_nfkc normaliser, Metaspace
fallback.json  Unigram with byte fallback, no normaliser, Metaspace for the first word only
llama.json     BPE over characters with byte fallback; whole lines are one word
bpe.json       BPE over characters without byte fallback, unknown characters not fused, Metaspace

Needs the packages tokenizers, sentencepiece and protobuf."""
import argparse
import collections
import io
import pathlib

import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers


def train(lines, **options):
    """The trained model's parsed protocol buffer."""
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines), model_writer=out, num_threads=1, minloglevel=2, hard_vocab_limit=False,
        max_sentence_length=1 << 16, character_coverage=1.0, **options)
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(out.getvalue())
    return model


def merges(pieces):
    """Pairs of pieces that make a piece, best score of what they make first, then the order of their parts."""
    ids = {p.piece: i for i, p in enumerate(pieces)}
    found = []
    for i, p in enumerate(pieces):
        if p.type != p.NORMAL:
            continue
        parts = [(p.piece[:k], p.piece[k:]) for k in range(1, len(p.piece))]
        parts = [(a, b) for a, b in parts if a in ids and b in ids]
        found += [(-p.score, ids[a], ids[b], a, b) for a, b in parts]
    return [(a, b) for _, _, _, a, b in sorted(found)]


def unigram(model, fallback):
    pieces = [(p.piece, p.score) for p in model.pieces]
    return Tokenizer(models.Unigram(pieces, unk_id=model.trainer_spec.unk_id, byte_fallback=fallback))


def t5(lines, vocab):
    model = train(lines, model_type="unigram", vocab_size=vocab, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    t = unigram(model, False)
    charsmap = model.normalizer_spec.precompiled_charsmap
    t.normalizer = normalizers.Sequence([normalizers.Precompiled(charsmap), normalizers.Strip(left=False, right=True),
                                         normalizers.Replace(Regex(" {2,}"), "\u2581")])
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    t.decoder = decoders.Metaspace(prepend_scheme="always")
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in ("<pad>", "</s>", "<unk>")])
    return t


def fallback(lines, vocab):
    model = train(lines, model_type="unigram", vocab_size=vocab, byte_fallback=True, normalization_rule_name="identity",
                  remove_extra_whitespaces=False)
    t = unigram(model, True)
    t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first")
    t.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="first")])
    return t


def bpe(lines, vocab, byte_fallback):
    model = train(lines, model_type="bpe", vocab_size=vocab, byte_fallback=byte_fallback, normalization_rule_name="identity",
                  remove_extra_whitespaces=False, allow_whitespace_only_pieces=True, split_digits=True)
    ids = {p.piece: i for i, p in enumerate(model.pieces)}
    t = Tokenizer(models.BPE(ids, merges(model.pieces), unk_token="<unk>", fuse_unk=byte_fallback, byte_fallback=byte_fallback))
    if byte_fallback:
        t.normalizer = normalizers.Sequence([normalizers.Prepend("\u2581"), normalizers.Replace(" ", "\u2581")])
        t.decoder = decoders.Sequence([decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    else:
        t.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
        t.decoder = decoders.Metaspace(prepend_scheme="always")
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in ("<unk>", "<s>", "</s>")])
    return t


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("text", help="text file to train on, as mixed_text.py makes it")
    p.add_argument("out", help="folder to write to")
    p.add_argument("--vocab", type=int, default=8000)
    p.add_argument("--alphabet", type=int, default=3000, help="so many of the most frequent characters may get a token")
    a = p.parse_args()
    text = pathlib.Path(a.text).read_bytes().decode().replace("\0", "")
    kept = {c for c, _ in collections.Counter(text).most_common(a.alphabet)} | {"\n"}
    lines = [s for s in "".join(c for c in text if c in kept).split("\n") if s]
    out = pathlib.Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    t5(lines, a.vocab).save(str(out / "t5.json"))
    fallback(lines, a.vocab).save(str(out / "fallback.json"))
    bpe(lines, a.vocab, True).save(str(out / "llama.json"))
    bpe(lines, a.vocab, False).save(str(out / "bpe.json"))


if __name__ == "__main__":
    main()
