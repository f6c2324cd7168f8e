#!/usr/bin/env python3
"""Build a reproducible mixed text for comparing tokenizers: lines of several scripts, emoji, code, odd Unicode and bytes
at random, and, where --folder names one, lines of the text files in it. Standard library only."""
import argparse
import pathlib
import random
import sys

# First and last code point of what words of a script are drawn from, and what stands between words.
SCRIPTS = {
    "latin": ([(0x61, 0x7A)] * 8 + [(0xE0, 0xFF), (0x100, 0x17F)], " "),
    "vietnamese": ([(0x61, 0x7A)] * 3 + [(0x1EA0, 0x1EF9)], " "),
    "greek": ([(0x3B1, 0x3C9)] * 6 + [(0x1F00, 0x1F15), (0x3AC, 0x3AF)], " "),
    "cyrillic": ([(0x430, 0x44F)] * 8 + [(0x400, 0x45F)], " "),
    "hebrew": ([(0x5D0, 0x5EA)] * 6 + [(0x5B0, 0x5BC)], " "),
    "arabic": ([(0x627, 0x64A)] * 6 + [(0x64B, 0x652), (0xFE70, 0xFEFC)], " "),
    "devanagari": ([(0x905, 0x939)] * 3 + [(0x93E, 0x94D), (0x958, 0x95F)], " "),
    "bengali": ([(0x985, 0x9B9)] * 3 + [(0x9BE, 0x9CD)], " "),
    "tamil": ([(0xB85, 0xBB9)] * 3 + [(0xBBE, 0xBCD)], " "),
    "thai": ([(0xE01, 0xE2E)] * 3 + [(0xE30, 0xE4E)], ""),
    "georgian": ([(0x10D0, 0x10FA)], " "),
    "hangul": ([(0xAC00, 0xD7A3)] * 5 + [(0x1100, 0x11FF)], " "),
    "kana": ([(0x3041, 0x3096)] * 3 + [(0x30A1, 0x30FA), (0xFF66, 0xFF9F)], ""),
    "han": ([(0x4E00, 0x9FA5)] * 8 + [(0xF900, 0xFA6D), (0x20000, 0x2A6D6)], ""),
}
ENGLISH = """the of and to in a is that for it as was with be by on not he i this are or his from at which but have an had they
you were their one all we can her has there been if more when will would who so no out up into language model learns
tokens doesn't it's we'll I'm they've he'd you're who's New York 1984 3.14159 10,000 U.S.A. e-mail""".split()
CODE = ["func", "return", "if", "err", "!=", "nil", "{", "}", "(", ")", "[]byte", ":=", "\t", "\t\t", "    ", "//", "/*", "*/", "#include",
        "<stdio.h>", "def", "self.", "lambda", "x", "i++", "0xFF", '"%s\\n"', "==", "&&", "->", ";", "__init__", "camelCase", "snake_case"]
EMOJI = ["\U0001F600", "\U0001F469\u200D\U0001F469\u200D\U0001F467", "\U0001F1E9\U0001F1EA", "\U0001F44D\U0001F3FD", "\u2764\uFE0F",
         "\U0001F3F4\U000E0067\U000E0062\U000E007F", "1\uFE0F\u20E3", "\u263A", "\U0001FAE0"]
ODD = ["\u00A0", "\u2003", "\u3000", "\u200B", "\uFEFF", "\u00AD", "\u0301", "e\u0301", "\u0345", "\u2460", "\uFB01", "\u00BD", "\u1E9B\u0323",
       "\uFF21", "\u2581", "\u2581\u2581", "\x00", "\x01", "\x7F", "\x85", "\r", "\r\n", "\u2028", "\t", "\u0130", "\u01C5", "\u03A3", "\u1100\u1161\u11A8",
       "\uFFFD", "\uE000", "\U0010FFFF", "\uFFFF", "\u0600a", "<s>", "</s>", "<unk>", "<0x41>", "[MASK]", "\u0958\u0301", "\u2460\u0301", " \u0301", "  ", "   "]


def word(draw, ranges, low=1, high=9):
    return "".join(chr(draw.randint(*draw.choice(ranges))) for _ in range(draw.randint(low, high)))


def line(draw, kind):
    """One line of a kind, without its end."""
    n = draw.randint(1, 24)
    if kind == "english":
        return " ".join(draw.choice(ENGLISH) for _ in range(n)).capitalize() + draw.choice([".", "!", "?", "...", ""])
    if kind == "code":
        return draw.choice(["", "\t", "    "]) + " ".join(draw.choice(CODE) for _ in range(n))
    if kind == "emoji":
        return draw.choice(["", " "]).join(draw.choice(EMOJI + ENGLISH[:20]) for _ in range(n))
    if kind == "odd":
        return "".join(draw.choice(ODD + ENGLISH[:20]) for _ in range(n))
    if kind == "bytes":
        return draw.randbytes(n * 4).decode("utf-8", "replace")
    if kind == "codepoints":
        points = (draw.choice([draw.randrange(0x3000), draw.randrange(0x10000), draw.randrange(0x110000)]) for _ in range(n * 2))
        return "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)
    ranges, between = SCRIPTS[kind]
    return between.join(word(draw, ranges) for _ in range(n))


def mixed(size, seed=1, folder=None, suffixes=(".txt", ".go", ".py", ".md", ".csv", ".jsonl")):
    """Lines (without "\\n" in them) of about size bytes of UTF-8, half of them from the files in folder, if one is given."""
    draw = random.Random(seed)
    kinds = ["english", "code", "emoji", "odd", "odd", "bytes", "codepoints", *SCRIPTS]
    lines, total, target = [], 0, size // 2 if folder else size
    while total < target:
        text = line(draw, draw.choice(kinds)).replace("\n", " ")
        lines.append(text)
        total += len(text.encode()) + 1
    if folder:
        files = sorted(p for p in pathlib.Path(folder).rglob("*") if p.suffix in suffixes and p.is_file())
        draw.shuffle(files)
        for path in files:
            text = path.read_bytes()[: 1 << 16].decode("utf-8", "replace")
            lines += text.split("\n")
            total += len(text.encode())
            if total >= size:
                break
        if total < size:
            sys.exit(f"{folder} holds too little text for {size} bytes")
    draw.shuffle(lines)
    return lines


def main():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("out", help="text file to write")
    p.add_argument("--bytes", type=int, default=2_000_000, help="size to reach")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--folder", help="take half of the text from files in this folder")
    a = p.parse_args()
    pathlib.Path(a.out).write_text("\n".join(mixed(a.bytes, a.seed, a.folder)) + "\n", encoding="utf-8", newline="")


if __name__ == "__main__":
    main()
