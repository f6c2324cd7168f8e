#!/usr/bin/env python3
"""Compare palimpsest's tokens with those of Hugging Face's tokenizers, line by line: ids, offsets, and speed on one core.

  compare_tokenizers.py tokenizer.json text.txt --palimpsest ./palimpsest
  compare_tokenizers.py tokenizer.json --mixed 2000000 --folder texts/ --palimpsest ./palimpsest

The binary is run as `palimpsest tokenizer encode TOKENIZER.JSON --offsets --json`: it reads a text a line from standard
input and writes a line {"ids": [...], "offsets": [[start, end], ...]} for each, offsets in code points, no special tokens
added. Prints JSON; exit code 1 when something differs. Needs the package tokenizers."""
import argparse
import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
os.environ["GOMAXPROCS"] = "1"

import tokenizers

import mixed_text


def one_core():
    """Keep this process and its children on one core; False where the system cannot."""
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    return True


def ours(binary, tokenizer, lines, options):
    """Encoded lines and the seconds of the whole process."""
    with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as sink:
        source.write("".join(s + "\n" for s in lines).encode())
        source.seek(0)
        start = time.perf_counter()
        done = subprocess.run([binary, "tokenizer", "encode", tokenizer, *options], stdin=source, stdout=sink)
        seconds = time.perf_counter() - start
        if done.returncode != 0:
            sys.exit(f"{binary} ended with exit code {done.returncode}")
        sink.seek(0)
        return sink.read().decode().splitlines(), seconds


def theirs(tokenizer, lines):
    """Encoded lines and the seconds of encoding them, one call a line."""
    encode = tokenizer.encode
    start = time.perf_counter()
    out = [encode(s, add_special_tokens=False) for s in lines]
    return out, time.perf_counter() - start


def differences(lines, mine, reference, most):
    """Count and first examples of lines whose ids or offsets differ."""
    count, ids, examples = 0, 0, []
    for number, (text, got, want) in enumerate(itertools.zip_longest(lines, mine, reference), 1):
        got = json.loads(got) if got is not None else {"ids": None, "offsets": None}
        want = {"ids": want.ids, "offsets": [list(o) for o in want.offsets]} if want is not None else {"ids": None, "offsets": None}
        if got["ids"] == want["ids"] and got["offsets"] == want["offsets"]:
            continue
        count += 1
        ids += got["ids"] != want["ids"]
        if len(examples) < most:
            examples.append({"line": number, "text": text, "palimpsest": {k: got[k] for k in want}, "tokenizers": want})
    return {"mismatches": count, "mismatches_ids": ids, "examples": examples}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("tokenizer", help="tokenizer.json")
    p.add_argument("text", nargs="?", help="text file, a text a line")
    p.add_argument("--mixed", type=int, metavar="BYTES", help="build so much mixed text instead")
    p.add_argument("--folder", help="half of the mixed text comes from the files in here")
    p.add_argument("--seed", type=int, default=1, help="of the mixed text")
    p.add_argument("--palimpsest", default="palimpsest", help="the binary")
    p.add_argument("--rounds", type=int, default=3, help="measure so often, in turns; the median counts")
    p.add_argument("--examples", type=int, default=5, help="show so many differences")
    a = p.parse_args()
    if (a.text is None) == (a.mixed is None):
        p.error("give either a text file or --mixed")
    if a.mixed is not None:
        lines = mixed_text.mixed(a.mixed, a.seed, a.folder)
    else:
        lines = pathlib.Path(a.text).read_bytes().decode("utf-8", "replace").removesuffix("\n").split("\n")
    pinned = one_core()
    megabytes = sum(len(s.encode()) + 1 for s in lines) / 1e6
    tokenizer = tokenizers.Tokenizer.from_file(a.tokenizer)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    options = ["--offsets", "--json"]
    start_seconds, our_seconds, their_seconds = [], [], []
    for _ in range(a.rounds):
        _, seconds = ours(a.palimpsest, a.tokenizer, [], options)
        start_seconds.append(seconds)
        mine, seconds = ours(a.palimpsest, a.tokenizer, lines, options)
        our_seconds.append(seconds)
        reference, seconds = theirs(tokenizer, lines)
        their_seconds.append(seconds)
    net = max(1e-9, statistics.median(our_seconds) - statistics.median(start_seconds))
    their_speed = megabytes / statistics.median(their_seconds)
    result = {
        "tokenizer": a.tokenizer, "tokenizers": tokenizers.__version__, "one_core": pinned, "rounds": a.rounds,
        "megabytes": round(megabytes, 6), "lines": len(lines), "tokens": sum(len(e.ids) for e in reference),
        **differences(lines, mine, reference, a.examples),
        "palimpsest_mb_per_s": round(megabytes / net, 2), "tokenizers_mb_per_s": round(their_speed, 2),
        "ratio": round(megabytes / net / their_speed, 2),
        "conditions": "palimpsest: a process, reading lines and writing JSON, less its start; tokenizers: encode() a line, no output",
    }
    json.dump(result, sys.stdout, indent=1)
    print()
    return 1 if result["mismatches"] else 0


if __name__ == "__main__":
    sys.exit(main())
