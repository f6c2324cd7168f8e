"""Calls of the palimpsest binary."""
import json
import os
import subprocess

BINARY = os.path.abspath(os.environ.get("PALIMPSEST", "palimpsest"))


class Failed(Exception):
    """A command ended with another exit code than 0."""


def run(*arguments, text=None):
    """The standard output of a command."""
    done = subprocess.run([BINARY, *arguments], input=text, capture_output=True, text=True, encoding="utf-8")
    if done.returncode != 0:
        raise Failed(f"palimpsest {' '.join(arguments)}: exit code {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def result(*arguments, text=None):
    """The result of a command that prints one JSON object."""
    return json.loads(run(*arguments, "--json", text=text))


def outputs(model, rows, file):
    """Hidden states and logits of rows of token ids, as two lists of arrays."""
    from safetensors.numpy import load_file
    run("eval", "logits", "--model", model, "--out", file, *(",".join(map(str, row)) for row in rows))
    tensors = load_file(file)
    return [tensors[f"hidden.{i}"] for i in range(len(rows))], [tensors[f"logits.{i}"] for i in range(len(rows))]
