#!/usr/bin/env python3
"""Train tiny tokenizers of every kind with Hugging Face's tokenizers and record what it makes of tricky texts: ids, offsets,
inputs with special tokens, pairs, truncation, padding, decoded text. engine/text tests against the result.

  record_tokenizers.py ../../engine/text/testdata/tokenizers.json

Needs the package tokenizers."""
import json
import sys

import tokenizers
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

TEXTS = [
    "", " ", "a", "Hello, world! It's 3.14159 o'clock, DON'T they'LL 'S 'ſ", "  two  spaces   and\ttabs\t\t\nlines\r\n\r\n  end  ",
    "Съешь же ещё этих мягких французских булок, да выпей чаю.", "天地玄黃,宇宙洪荒。日月盈昃 すもももももも ｱｲｳ 한국어 각 각",
    "ἐν ἀρχῇ ἦν ὁ λόγος — नमस्ते दुनिया, مرحبا بالعالم, שלום עולם, สวัสดีชาวโลก", "😀👩‍👩‍👧‍👦🇩🇪👍🏽❤️ 1️⃣",
    "naïve café e\u0301 q\u0307\u0323 İstanbul ǅ ﬁne ½ Ａ①Ⅷ ẛ̣", "x\u0000y\u0001z\u007f\u0085\u00a0\u2003\u3000\u2028\u200b\ufeff\ufffd\ue000\U0010ffff",
    "1234567890123 007 ٣٤٥ 12,345.67", "func (t *T) Do() error { return fmt.Errorf(\"%w: %d\\n\", err, n) } // snake_case camelCase HTTPServer2",
    "<s>Hi</s><mask> <mask>[MASK]  [SEP]<unk> the  theory snake_case snake_cases\u00c9x \u00e9x", "\u0301\u0301a\u0301", "▁a▁ b <0x41>",
    "a" * 70 + " " + "ab" * 60, "$1+1=2^x `~ <|end|>|", "\u1100\u1161\u11a8 \u0958\u0301 \u0f73\u0344 \ua7f2 \U0001e030",
]
PAIRS = [("Hello, world!", "It's fine."), ("one two three four five six seven", "a b"), ("a b", "one two three four five six seven eight"), ("x", "")]
CORPUS = (TEXTS + ["the theory of the thing that then and there the other others mother brother"] * 4) * 3

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
O200K = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|"
         r"\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def byte_level(specials, normalizer=None, pre=None, ignore_merges=False, vocab=330):
    t = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    if normalizer is not None:
        t.normalizer = normalizer
    t.pre_tokenizer = pre
    t.decoder = decoders.ByteLevel()
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=vocab, special_tokens=specials, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    return t


def split(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior, invert), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def word_piece(specials, normalizer, pre, vocab=400, most=100):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=most))
    if normalizer is not None:
        t.normalizer = normalizer
    t.pre_tokenizer = pre
    t.decoder = decoders.WordPiece(cleanup=most == 100)
    t.train_from_iterator(CORPUS, trainers.WordPieceTrainer(
        vocab_size=vocab, special_tokens=specials, limit_alphabet=150, show_progress=False))
    return t


def gpt2():
    return byte_level(["<|endoftext|>"], pre=pre_tokenizers.ByteLevel(add_prefix_space=False))


def gpt2_split():
    return byte_level(["<s>"], pre=split(GPT2, "removed", True))


def roberta():
    t = byte_level(["<s>", "<pad>", "</s>", "<unk>", AddedToken("<mask>", lstrip=True, special=True)], pre=pre_tokenizers.ByteLevel(add_prefix_space=True))
    t.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0), trim_offsets=True, add_prefix_space=True)
    t.enable_truncation(12, stride=3)
    t.enable_padding(length=16, pad_id=1, pad_token="<pad>")
    return t


def llama3():
    t = byte_level(["<|begin_of_text|>", "<|end|>"], pre=split(LLAMA3), ignore_merges=True)
    begin = "<|begin_of_text|>"
    t.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=True),
        processors.TemplateProcessing(single=f"{begin} $A", pair=f"{begin} $A {begin}:1 $B:1", special_tokens=[(begin, 0)])])
    t.enable_truncation(9, strategy="only_first", direction="left")
    return t


def qwen2():
    t = byte_level(["<|endoftext|>"], normalizers.NFC(), split(QWEN2))
    t.add_tokens([AddedToken("  ", normalized=True, special=False), AddedToken("snake_case", single_word=True), AddedToken("Éx", normalized=True),
                  AddedToken("the", rstrip=True, normalized=False)])
    t.post_processor = processors.ByteLevel(trim_offsets=True, add_prefix_space=False)
    return t


def o200k():
    return byte_level(["<|endoftext|>"], pre=split(O200K))


def digits():
    pre = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.Punctuation("merged_with_next"),
                                   pre_tokenizers.ByteLevel(add_prefix_space=True)])
    return byte_level(["<s>"], normalizers.NFD(), pre)


def bert():
    t = word_piece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer())
    t.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    t.enable_truncation(10, stride=2)
    t.enable_padding(pad_id=0, pad_token="[PAD]", pad_to_multiple_of=8, direction="left")
    return t


def bert_cased():
    t = word_piece(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], normalizers.BertNormalizer(lowercase=False, strip_accents=False),
                   pre_tokenizers.BertPreTokenizer())
    t.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return t


def mixture():
    normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip(),
                                       normalizers.StripAccents()])
    t = word_piece(["[UNK]"], normalizer, pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True)]), most=20)
    t.add_tokens([AddedToken("İst", normalized=True)])
    return t


def mixture2():
    pre = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("merged_with_previous"), pre_tokenizers.Digits(),
        pre_tokenizers.Split("th", "merged_with_next"), pre_tokenizers.Split(Regex("a"), "contiguous")])
    return word_piece(["[UNK]", AddedToken("the", lstrip=True, rstrip=True, special=True)],
                      normalizers.Sequence([normalizers.NFKD(), normalizers.Prepend("_")]), pre)


def llama2():
    t = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    t.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    t.train_from_iterator(CORPUS, trainers.BpeTrainer(
        vocab_size=450, special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)], limit_alphabet=60, show_progress=False))
    # The names of bytes are tokens of the model, not added ones.
    spec = json.loads(t.to_str())
    spec["added_tokens"] = spec["added_tokens"][:3]
    t = Tokenizer.from_str(json.dumps(spec))
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    t.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s>:1 $B:1", special_tokens=[("<s>", 1)])
    return t


def t5():
    t = Tokenizer(models.Unigram())
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " ")])
    t.pre_tokenizer = pre_tokenizers.Metaspace()
    t.decoder = decoders.Metaspace()
    t.train_from_iterator(CORPUS, trainers.UnigramTrainer(vocab_size=300, special_tokens=["<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False))
    t.post_processor = processors.TemplateProcessing(single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)])
    return t


def encoding(e):
    return {"ids": e.ids, "types": e.type_ids, "offsets": [list(o) for o in e.offsets], "special": e.special_tokens_mask, "attention": e.attention_mask}


def record(make):
    t = make()
    truncated = Tokenizer.from_str(t.to_str())
    unpadded = Tokenizer.from_str(t.to_str())
    unpadded.no_padding()
    t.no_truncation()
    t.no_padding()
    cases = []
    for text in TEXTS:
        e = t.encode(text, add_special_tokens=False)
        decoded = t.decode(e.ids, skip_special_tokens=False)
        if "\ufffd" in decoded and "\ufffd" not in text:
            decoded = None  # the decoder took the name of an added token for bytes
        cases.append({"text": text, "ids": e.ids, "offsets": [list(o) for o in e.offsets], "decoded": decoded,
                      "input": encoding(truncated.encode(text)), "overflow": [encoding(o) for o in unpadded.encode(text).overflowing]})
    pairs = []
    for a, b in PAIRS:
        try:
            pairs.append({"a": a, "b": b, "input": encoding(truncated.encode(a, b))})
        except BaseException as e:  # the library cannot shorten it
            pairs.append({"a": a, "b": b, "error": str(e)})
    return {"name": make.__name__, "tokenizer": json.loads(truncated.to_str()), "cases": cases, "pairs": pairs}


KINDS = [gpt2, gpt2_split, roberta, llama3, qwen2, o200k, digits, bert, bert_cased, mixture, mixture2, llama2, t5]


def main():
    out = {"tokenizers": tokenizers.__version__, "kinds": [record(k) for k in KINDS]}
    with open(sys.argv[1], "w", encoding="utf-8") as f:
        json.dump(out, f, ensure_ascii=True, separators=(",", ":"))
        f.write("\n")


if __name__ == "__main__":
    main()
