"""Import and export of small models with random weights, both ways against transformers."""
import json
import pathlib

import numpy
import torch
import transformers
from safetensors.numpy import load_file
from tokenizers import Tokenizer
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSequenceClassification, AutoModelForTokenClassification, AutoTokenizer

import families
import ours

TOLERANCE = 1e-4  # of hidden states and logits, which are of the order of 1: rounding of float32 through a few layers

# Parts of a folder that have no place in palimpsest; the import must name them.
WITHOUT_PLACE = {"bert-body": ["pooler."], "bert-pretraining": ["bert.pooler.", "cls.seq_relationship."]}
# What transformers makes anew when it opens the exported folder.
MADE_ANEW = {"bert-body": ["pooler."]}
AUTO = {"MaskedLM": AutoModelForMaskedLM, "CausalLM": AutoModelForCausalLM, "LMHeadModel": AutoModelForCausalLM,
        "TokenClassification": AutoModelForTokenClassification, "SequenceClassification": AutoModelForSequenceClassification}


def answers(model, rows):
    """Hidden states behind the last norm, and logits where the class has them, of rows one by one."""
    hidden, logits = [], []
    with torch.no_grad():
        for row in rows:
            ids = torch.tensor([row])
            hidden.append(model.base_model(input_ids=ids).last_hidden_state[0].float().numpy())
            out = model(input_ids=ids)
            out = out.get("logits", out.get("prediction_logits"))
            if out is not None:
                logits.append(out[0].float().numpy())
    return hidden, logits


def apart(a, b):
    return max(float(numpy.abs(x - y).max()) for x, y in zip(a, b, strict=True))


def tensors_of(folder):
    found = {}
    for file in sorted(pathlib.Path(folder).glob("*.safetensors")):
        found |= load_file(file)
    return found


def begins(names, prefixes):
    return all(any(n.startswith(p) for p in prefixes) for n in names)


def opened(folder, **options):
    """The folder as AutoModel of its class opens it, and what that has to say about the keys."""
    architecture = json.loads(pathlib.Path(folder, "config.json").read_text())["architectures"][0]
    auto = next((c for end, c in AUTO.items() if architecture.endswith(end)), AutoModel)
    model, info = auto.from_pretrained(folder, output_loading_info=True, **options)
    return model.eval(), info, auto.__name__


def check(variant, work, seed):
    """One variant: import, compare, export, compare. Returns the row of the table with a list of problems."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    row = {"variant": variant, "seed": seed, "problems": []}
    def expect(true, problem):
        if not true:
            row["problems"].append(problem)
    work = pathlib.Path(work, variant)
    theirs, imported, back, again = (str(work / n) for n in ("theirs", "imported", "back", "again"))
    model = families.make(variant, families.FRESH, seed)
    row["class"] = type(model).__name__
    families.save(model, theirs, families.FRESH)
    draw = torch.Generator().manual_seed(seed)
    rows = [torch.randint(families.SPECIALS, families.FRESH["vocab"], (n,), generator=draw).tolist() for n in (50, 33, 1)]
    hidden, logits = answers(model, rows)

    notes = ours.result("import", theirs, "--out", imported)["notes"]
    our_hidden, our_logits = ours.outputs(imported, rows, str(work / "ours.safetensors"))
    row["hidden"] = apart(our_hidden, hidden)
    expect(row["hidden"] <= TOLERANCE, f"hidden states differ by {row['hidden']:.1e}")
    if logits and logits[0].shape == our_logits[0].shape:
        row["logits"] = apart(our_logits, logits)
        expect(row["logits"] <= TOLERANCE, f"logits differ by {row['logits']:.1e}")
        expect(all((a.argmax(-1) == b.argmax(-1)).all() for a, b in zip(our_logits, logits)), "another argmax")

    ours.run("export", imported, "--out", back)
    was, now = tensors_of(theirs), tensors_of(back)
    lost = sorted(set(was) - set(now))
    expect(not set(now) - set(was), f"new tensors {sorted(set(now) - set(was))}")
    expect(begins(lost, WITHOUT_PLACE.get(variant, [])), f"lost tensors {lost}")
    expect(all(any(p in n for n in notes) for p in WITHOUT_PLACE.get(variant, [])), f"the import does not name what it leaves out: {notes}")
    row["lost"] = lost
    row["identical"] = all(now[n].tobytes() == was[n].tobytes() and now[n].shape == was[n].shape for n in now if n in was)
    ours.run("import", back, "--out", str(work / "imported-again"))
    ours.run("export", str(work / "imported-again"), "--out", again)
    row["identical"] &= pathlib.Path(back, "model.safetensors").read_bytes() == pathlib.Path(again, "model.safetensors").read_bytes()
    expect(row["identical"], "the weights are not the same bits after import and export")

    reopened, info, row["auto"] = opened(back)
    expect(begins(info["missing_keys"], MADE_ANEW.get(variant, [])), f"missing keys {info['missing_keys']}")
    expect(not info["unexpected_keys"] and not info["mismatched_keys"], f"unexpected keys {info['unexpected_keys']} {info['mismatched_keys']}")
    their_hidden, their_logits = answers(reopened, rows)
    row["reopened"] = apart(their_hidden, hidden)
    if logits:
        row["reopened"] = max(row["reopened"], apart(their_logits, logits))
        expect(all((a.argmax(-1) == b.argmax(-1)).all() for a, b in zip(their_logits, logits)), "another argmax in the exported folder")
    expect(row["reopened"] <= TOLERANCE, f"the exported folder's answers differ by {row['reopened']:.1e}")
    line = "The quick, brown fox jumps over wizards"
    tokenizer = Tokenizer.from_file(f"{theirs}/tokenizer.json")
    expect(AutoTokenizer.from_pretrained(back)(line, add_special_tokens=False).input_ids == tokenizer.encode(line).ids, "another tokenizer")

    for name, dtype in (("bfloat16", torch.bfloat16), ("float16", torch.float16)):
        narrow = str(work / name)
        ours.run("export", imported, "--out", narrow, "--dtype", name, "--shard-size", "100KB")
        expect(len(list(pathlib.Path(narrow).glob("*.safetensors"))) > 1, "one file in spite of --shard-size")
        reopened, _, _ = opened(narrow, dtype="auto")
        state = model.state_dict()
        same = all(torch.equal(v, state[n].to(dtype)) for n, v in reopened.state_dict().items() if n in state and v.is_floating_point() and n not in lost
                   and "inv_freq" not in n)
        expect(same, f"{name} is not rounded as torch rounds it")
        ours.run("import", narrow, "--out", str(work / (name + "-imported")))
    return row


def check_all(work, seed):
    for variant in families.VARIANTS:
        try:
            row = check(variant, work, seed)
        except (ours.Failed, OSError, ValueError, KeyError) as e:
            row = {"variant": variant, "seed": seed, "problems": [f"{type(e).__name__}: {e}"]}
        yield row
