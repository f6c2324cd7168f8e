#!/usr/bin/env python3
"""Record what Hugging Face's tokenizers make of small cases for the Unigram, character BPE, precompiled charsmap and
Metaspace parts, as engine/text/testdata/sentencepiece.json. The models are trained here on generated text, the same at
every run. Needs the packages tokenizers, sentencepiece and protobuf."""
import argparse
import base64
import json
import pathlib
import random
import struct
import tempfile

import tokenizers
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers

import make_sentencepiece
import mixed_text

# A small normaliser: source and replacement in code points. Deletions, growth, and clusters that lose their end.
RULES = ["2460\t31", "FB01\t66 69", "BD\t31 2044 32", "65 301\tE9", "AD\t", "200B\t", "3000\t20", "D\t20", "D A\t20", "FF21\t41", "1100 1161\tAC00",
         "958\t915 93C", "2026\t2E 2E 2E", "FEFF\t"]
CLUSTERS = [0x61, 0x0D, 0x0A, 0x01, 0x301, 0x200C, 0x200D, 0x915, 0x94D, 0x958, 0x903, 0x600, 0x1100, 0x1161, 0x11A8, 0xAC00, 0xAC01, 0xA9,
            0x2764, 0xFE0F, 0x1F600, 0x1F1E6, 0x1F3FD, 0x93C, 0x1039, 0x1000]


def trained(lines, **options):
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as rules:
        rules.write("\n".join(RULES) + "\n")
        rules.flush()
        return make_sentencepiece.train(lines, normalization_rule_tsv=rules.name, **options)


def encoded(model, texts):
    """[text, ids, ends in bytes] of texts that are one piece each."""
    rows = []
    for text in texts:
        tokens = model.tokenize(text)
        rows.append([text, [t.id for t in tokens], [t.offsets[1] for t in tokens]])
    return rows


def normalized(charsmap, texts):
    """[text, normalised text, place in text of each character of it]."""
    t = Tokenizer(models.WordLevel({"u": 0}, unk_token="u"))
    t.normalizer = normalizers.Precompiled(charsmap)
    t.pre_tokenizer = pre_tokenizers.Split(Regex("(?m:.)"), "isolated")
    return [[s, t.normalizer.normalize_str(s), [a for a, _ in t.encode(s).offsets]] for s in texts]


def one_byte_charsmap():
    """A charsmap that makes of every cluster under six bytes, and of every other character, one Y."""
    units = [0] * 2048
    units[0] = 256 << 10
    for label in range(1, 256):
        at = 256 ^ label
        units[at] = label | 1 << 8 | 512 << 10
        units[at ^ 512] = 1 << 31
    return struct.pack("<I", 4 * len(units)) + struct.pack(f"<{len(units)}I", *units) + b"Y\0"


def metaspaces(texts):
    rows = []
    for scheme in ("always", "first", "never"):
        for split in (True, False):
            m = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)
            rows += [[scheme, split, s, [[p, a, b] for p, (a, b) in m.pre_tokenize_str(s)]] for s in texts]
    return rows


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("out", help="JSON file to write")
    a = p.parse_args()
    draw = random.Random(11)
    lines = [mixed_text.line(draw, draw.choice(["english", "code", "cyrillic", "han"])) for _ in range(600)]
    kept = {c for s in lines for c in s if ord(c) < 0x460}
    lines = ["".join(c for c in s if c in kept) for s in lines]
    seen = [mixed_text.line(draw, k)[:60].replace("\n", " ") for k in ("english", "code", "odd", "bytes", "codepoints", "emoji", "cyrillic") for _ in range(8)]
    texts = [s for s in (s.replace(" ", "\u2581") for s in seen) if s] + ["x", "\u2581", "\u2581" * 9, "-" * 40, "<unk>", "a<unk>\u4e00", "<0x41>", "\u4e00\u4e8c\u4e09"]

    small = {"model_type": "unigram", "vocab_size": 340, "add_dummy_prefix": False}
    plain = trained(lines, unk_surface="", **small)
    with_bytes = trained(lines, byte_fallback=True, **{**small, "vocab_size": 600})
    out = {"tokenizers": tokenizers.__version__, "unigram": [], "bpe": []}
    for model, fallback in ((plain, False), (with_bytes, True)):
        saved = json.loads(make_sentencepiece.unigram(model, fallback).to_str(), parse_float=str)["model"]
        t = Tokenizer.from_str(json.dumps({"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
            "pre_tokenizer": None, "post_processor": None, "decoder": None, "model": {**saved, "vocab": [[x, float(s)] for x, s in saved["vocab"]]}}))
        pieces = [[x, repr(float(s))] for x, s in saved["vocab"]]
        out["unigram"].append({"pieces": pieces, "unk": saved["unk_id"], "byte_fallback": fallback, "cases": encoded(t.model, texts)})
    model = make_sentencepiece.train(lines, model_type="bpe", vocab_size=600, byte_fallback=True, normalization_rule_name="identity")
    ids = {x.piece: i for i, x in enumerate(model.pieces)}
    partial = {x: i for x, i in ids.items() if x not in ("<0xE4>", "<0xF0>", "<0x00>")}
    pairs = make_sentencepiece.merges(model.pieces)
    for vocab, unk, fallback, fuse, ignore in ((ids, "<unk>", True, True, False), (partial, "<unk>", True, True, False), (partial, "<unk>", True, False, True),
                                               (ids, "<unk>", False, False, False), (ids, "<unk>", False, True, False), (ids, None, False, True, False)):
        m = models.BPE(vocab, pairs, unk_token=unk, byte_fallback=fallback, fuse_unk=fuse, ignore_merges=ignore)
        out["bpe"].append({"without": sorted(set(ids) - set(vocab)), "unk": ids[unk] if unk else -1, "byte_fallback": fallback, "fuse_unk": fuse,
                           "ignore_merges": ignore, "cases": encoded(m, texts[::2])})
    out["bpe_vocab"], out["bpe_merges"] = ids, pairs
    charsmap = plain.normalizer_spec.precompiled_charsmap
    odd = [c for r in RULES for c in ["".join(chr(int(x, 16)) for x in r.split("\t")[0].split())]] + ["a", " ", "\u0301", "\u0600", "\u4e00", "\U0001F600", "\r\n"]
    sources = seen + odd + ["".join(draw.choice(odd) for _ in range(draw.randint(2, 12))) for _ in range(120)]
    out["charsmap"], out["normalized"] = base64.b64encode(charsmap).decode(), normalized(charsmap, sources)
    out["clusters"] = [[s, n] for s, n, _ in normalized(one_byte_charsmap(), ["".join(chr(draw.choice(CLUSTERS)) for _ in range(draw.randint(1, 12))) for _ in range(400)])]
    out["metaspace"] = metaspaces([s for s in seen[::6] if s] + ["Hey friend", " Hey", "  a  b  ", "\u2581a b", " ", "a", "a\u2581", "\u00e9 \u4e00"])
    rows = [f"{json.dumps(k)}: " + ("[\n" + ",\n".join(json.dumps(x) for x in v) + "]" if isinstance(v, list) else json.dumps(v)) for k, v in out.items()]
    pathlib.Path(a.out).write_text("{" + ",\n".join(rows) + "}\n")


if __name__ == "__main__":
    main()
