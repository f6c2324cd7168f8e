"""Tokens/s of PyTorch's training steps of GPT-2 124M and BERT-base: torch.compile, scaled_dot_product_attention, bfloat16
autocast, fused AdamW with clipping, the head on loss rows alone (BERT). A JSON line for each model.

    python3 steps.py [--tokens 32768] [--updates 20] [--models gpt2,bert-base] [--device cuda] [--eager] [--tiny]

The models are those of train.py beside this file, with random weights. The losses are read at the end only.
"""

import argparse
import json
import os
import statistics
import sys
import time

out = os.fdopen(os.dup(1), "w")
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import train  # noqa: E402  (it takes standard output for itself, hence the copy above)
from train import F, torch  # noqa: E402,F401

MODELS = {
    "gpt2": dict(layers=12, width=768, heads=12, ff=3072, vocab=50257, context=1024, length=1024, types=0, norm_eps=1e-5, gelu_tanh=True, post_norm=False, causal=True),
    "bert-base": dict(layers=12, width=768, heads=12, ff=3072, vocab=30522, context=512, length=128, types=2, norm_eps=1e-12, gelu_tanh=False, post_norm=True, causal=False),
}
TINY = dict(layers=2, width=64, heads=2, ff=128, vocab=512, context=128, length=64)


def measure(name, a):
    s = dict(MODELS[name], variant="sdpa")
    if a.tiny:
        s.update(TINY)
    device = torch.device(a.device)
    sync = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    torch.manual_seed(1)
    model = train.Model(s).to(device)
    with torch.no_grad():
        for p in model.parameters():
            if p.dim() > 1:
                p.normal_(0, 0.02)
    sequences = max(1, a.tokens // s["length"])
    ids = torch.randint(s["vocab"], (sequences, s["length"]), device=device)
    count = ids.numel()
    rows = None if s["causal"] else torch.randperm(count, device=device)[: count * 15 // 100].sort().values
    targets = torch.randint(s["vocab"], (count if rows is None else len(rows),), device=device)
    parameters = list(model.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.1, fused=True)
    run = model if a.eager else torch.compile(model)

    def step():
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, dtype=torch.bfloat16):
            loss = run(ids, rows, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        return loss

    for _ in range(3):  # compiles
        first = step()
    sync()
    seconds, group = [], 4
    for _ in range(max(1, a.updates // group)):
        started = time.perf_counter()
        for _ in range(group):
            last = step()
        sync()
        seconds.append((time.perf_counter() - started) / group)
    return dict(model=name, library=f"PyTorch {torch.__version__}", variant="eager" if a.eager else "torch.compile", parameters=sum(p.numel() for p in parameters),
                tokens_per_step=count, length=s["length"], seconds_per_step=statistics.median(seconds), tokens_per_s=count / statistics.median(seconds),
                loss_first=first.item(), loss_last=last.item(), peak_memory_bytes=torch.cuda.max_memory_allocated() if device.type == "cuda" else train.peak_memory())


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--tokens", type=int, default=32768)
    arguments.add_argument("--updates", type=int, default=20)
    arguments.add_argument("--models", default="gpt2,bert-base")
    arguments.add_argument("--device", default="cuda")
    arguments.add_argument("--eager", action="store_true")
    arguments.add_argument("--tiny", action="store_true")
    a = arguments.parse_args()
    for name in a.models.split(","):
        out.write(json.dumps(measure(name, a)) + "\n")
        out.flush()


main()
