#!/usr/bin/env python3
"""Record how PyTorch trains small models of transformers: for each, a folder with the model, the batches of ten steps, the
gradient of every parameter in the first step, and the loss of every step. engine/hf tests against it.

  record_training.py engine/hf/testdata/training                  # the cases in the repository
  record_training.py DIR --fresh --seed 7                         # larger ones, of more variants
  PALIMPSEST_HF_CASES=DIR go test ./engine/hf -run Recorded -count=1 -v

A batch's rows have different lengths and are padded on the right; the file has them end to end, without the padding. Needs the
packages torch, transformers and tokenizers."""
import argparse
import json
import pathlib

import torch
import transformers
from safetensors.torch import save_file

import families

STEPS = 10
ADAMW = dict(learning_rate=3e-3, betas=[0.9, 0.98], eps=1e-8, weight_decay=0.1, clip=1.0)
KEPT = ["bert", "roberta", "gpt2", "llama", "modernbert"]


def batch(draw, size, causal):
    """Token ids [B,T], their mask, and labels as transformers wants them."""
    longest = size["context"] - 2
    lengths = torch.randint(longest // 2, longest + 1, (4,), generator=draw)
    ids = torch.randint(families.SPECIALS, size["vocab"], (4, int(lengths.max())), generator=draw)
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    ids = ids.masked_fill(mask == 0, families.PAD)
    hidden = mask.bool()
    if not causal:
        hidden = hidden & (torch.rand(ids.shape, generator=draw) < 0.3)
        hidden[:, 1] = True
    labels = torch.where(hidden, ids, -100)
    if not causal:
        ids = torch.where(hidden & (torch.rand(ids.shape, generator=draw) < 0.8), families.SPECIAL.index("[MASK]"), ids)
    return ids, mask, labels


def packed(ids, mask, labels, causal):
    """The same batch end to end: tokens, lengths, rows that bear a loss, their targets."""
    tokens, lengths, rows, targets = [], [], [], []
    for i in range(len(ids)):
        n, start = int(mask[i].sum()), len(tokens)
        tokens += ids[i, :n].tolist()
        lengths.append(n)
        for t in range(n - 1 if causal else n):
            target = int(labels[i, t + 1 if causal else t])
            if target != -100:
                rows.append(start + t)
                targets.append(target)
    return {k: torch.tensor(v, dtype=torch.int64) for k, v in dict(tokens=tokens, lengths=lengths, rows=rows, targets=targets).items()}


def record(variant, folder, size, seed):
    model = families.make(variant, size, seed).train()
    families.save(model, folder, size)
    causal = model.__class__.__name__ in ("GPT2LMHeadModel", "LlamaForCausalLM")
    groups = [{"params": [p for p in model.parameters() if p.ndim >= 2], "weight_decay": ADAMW["weight_decay"]},
              {"params": [p for p in model.parameters() if p.ndim < 2], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=ADAMW["learning_rate"], betas=ADAMW["betas"], eps=ADAMW["eps"])
    draw = torch.Generator().manual_seed(seed)
    tensors, losses, factors = {}, [], []
    for step in range(STEPS):
        ids, mask, labels = batch(draw, size, causal)
        tensors |= {f"{k}.{step}": v for k, v in packed(ids, mask, labels, causal).items()}
        factors.append(1 - step / STEPS / 2)
        for g in optimizer.param_groups:
            g["lr"] = ADAMW["learning_rate"] * factors[-1]
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            tensors |= {"gradient." + name: (torch.zeros_like(p) if p.grad is None else p.grad).clone() for name, p in model.named_parameters()}
        torch.nn.utils.clip_grad_norm_(model.parameters(), ADAMW["clip"])
        optimizer.step()
        losses.append(float(loss.detach()))
    save_file(tensors, f"{folder}/case.safetensors")
    case = dict(variant=variant, seed=seed, causal=causal, steps=STEPS, adamw=ADAMW, factors=factors, losses=losses,
                versions=dict(torch=torch.__version__.split("+")[0], transformers=transformers.__version__))
    pathlib.Path(folder, "case.json").write_text(json.dumps(case, indent=1) + "\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", help="folder to write to")
    p.add_argument("--fresh", action="store_true", help="all variants, of a larger size")
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    torch.set_num_threads(1)
    for variant in families.TRAINED if a.fresh else KEPT:
        folder = pathlib.Path(a.out, variant)
        folder.mkdir(parents=True, exist_ok=True)
        record(variant, str(folder), families.FRESH if a.fresh else families.KEPT, a.seed)
        for name in ("generation_config.json",):
            (folder / name).unlink(missing_ok=True)


if __name__ == "__main__":
    main()
