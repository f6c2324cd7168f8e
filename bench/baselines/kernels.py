"""PyTorch's time for the ops and shapes of `palimpsest bench kernels`, to set beside ours.

    palimpsest bench kernels --device cuda --list --json > cases.jsonl
    python3 kernels.py cases.jsonl > torch.jsonl
    palimpsest bench kernels --device cuda --beside torch.jsonl

A line for each figure: {"op", "shape", "what", "seconds"}; for ops without a counterpart {"op", "shape", "reason"}.
Attention is scaled_dot_product_attention on separate [B,H,T,D] tensors, its backward through autograd; norms, softmax,
cross-entropy and activations are under torch.compile; AdamW is fused; products are bfloat16. Times are medians between
events on random data, the cache emptied before each.

    --quick   few repeats, for a look on a CPU (--device cpu)
"""

import argparse
import json
import math
import statistics
import sys
import time

try:
    import torch
    import torch.nn.functional as F
except ImportError as problem:
    sys.exit(f"{sys.executable}: {problem}")

GELU = {1: "none", 2: "tanh"}  # palimpsest's numbers of activations
NO_COUNTERPART = "no counterpart in PyTorch is measured"


class Clock:
    """The median time of a function: between events on a GPU, by the clock elsewhere."""

    def __init__(self, device, quick):
        self.cuda, self.quick = device.type == "cuda", quick
        self.flush = torch.empty(256 << 20, dtype=torch.int8, device=device) if self.cuda else None

    def once(self, call):
        if not self.cuda:
            started = time.perf_counter()
            call()
            return time.perf_counter() - started
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        self.flush.zero_()
        begin.record()
        call()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1000

    def median(self, call):
        for _ in range(2 if self.quick else 5):  # compiles, chooses algorithms
            call()
        if self.cuda:
            torch.cuda.synchronize()
        return statistics.median(self.once(call) for _ in range(3 if self.quick else 25))


class Bench:
    def __init__(self, device, compiled):
        self.device = device
        self.dtype = torch.bfloat16
        self.compile = torch.compile if compiled else (lambda f: f)
        self.functions = {}

    def random(self, *shape, dtype=None, grad=False):
        x = torch.randn(*shape, device=self.device, dtype=dtype or self.dtype)
        return x.requires_grad_(grad)

    def compiled(self, name, function):
        if name not in self.functions:
            self.functions[name] = self.compile(function)
        return self.functions[name]

    def backward(self, inputs, out):
        """The gradient alone, of a graph that is kept."""
        dout = torch.randn_like(out)
        return lambda: torch.autograd.grad(out, inputs, dout, retain_graph=True)

    def attention(self, s):
        if s["window"]:
            return None, "scaled_dot_product_attention has no window"
        B, T, H, K, D = s["segments"], s["length"], s["heads"], s["kv_heads"], s["width"]
        q, k, v = (self.random(B, heads, T, D, grad=s["backward"]) for heads in (H, K, K))

        def forward():
            return F.scaled_dot_product_attention(q, k, v, is_causal=s["causal"], dropout_p=s["dropout"], enable_gqa=H != K)

        return (self.backward((q, k, v), forward()) if s["backward"] else forward), "SDPA"

    def norm(self, s):
        R, C, rms = s["rows"], s["columns"], s["rms"]
        x, delta = self.random(R, C), self.random(R, C)
        gain, bias = self.random(C), self.random(C)

        def add_norm(x, delta, gain, bias):
            total = x + delta
            y = F.rms_norm(total, (C,), gain) if rms else F.layer_norm(total, (C,), gain, bias)
            return total, y

        def norm(x, gain, bias):
            return F.rms_norm(x, (C,), gain) if rms else F.layer_norm(x, (C,), gain, bias)

        if not s["backward"]:
            f = self.compiled(f"add_norm{rms}", add_norm)
            return (lambda: f(x, delta, gain, bias)), "torch.compile"
        inputs = [t.requires_grad_() for t in ((x, gain) if rms else (x, gain, bias))]
        return self.backward(inputs, self.compiled(f"norm{rms}", norm)(x, gain, bias)), "torch.compile"

    def masked_softmax(self, s):
        R, C = s["rows"], s["columns"]
        x, mask = self.random(R, C, grad=s["backward"]), torch.rand(R, C, device=self.device) < 0.5
        f = self.compiled("softmax", lambda x, mask: x.float().masked_fill(mask, -math.inf).softmax(-1).to(x.dtype))
        if s["backward"]:
            return self.backward((x,), f(x, mask)), "torch.compile"
        return (lambda: f(x, mask)), "torch.compile"

    def cross_entropy(self, s):
        R, V = s["rows"], s["vocab"]
        logits, weights = self.random(R, V, grad=True), torch.rand(R, device=self.device)
        targets = torch.randint(V, (R,), device=self.device)

        def loss(logits, targets, weights):
            return (F.cross_entropy(logits.float(), targets, reduction="none") * weights).sum()

        f = self.compiled("cross_entropy", loss)

        def both():
            logits.grad = None
            f(logits, targets, weights).backward()

        return both, "torch.compile, loss and gradient"

    def activation(self, s):
        if s["gated"]:
            x, n = self.random(s["rows"], 2 * s["columns"], grad=s["backward"]), s["columns"]
            f = self.compiled("gated", lambda x: F.silu(x[:, :n]) * x[:, n:])
        else:
            x, how = self.random(s["rows"], s["columns"], grad=s["backward"]), GELU[s["activation"]]
            f = self.compiled("gelu" + how, lambda x: F.gelu(x, approximate=how))
        if s["backward"]:
            return self.backward((x,), f(x)), "torch.compile"
        return (lambda: f(x)), "torch.compile"

    def embedding(self, s):
        ids = torch.randint(s["vocab"], (s["rows"],), device=self.device)
        tokens = self.random(s["vocab"], s["columns"], grad=s["backward"])
        if s["backward"]:
            return self.backward((tokens,), F.embedding(ids, tokens)), "F.embedding's, tokens alone"
        positions, at = self.random(s["length"], s["columns"]), torch.arange(s["rows"], device=self.device) % s["length"]
        f = self.compiled("embed", lambda tokens, ids, positions, at: tokens[ids] + positions[at])
        return (lambda: f(tokens, ids, positions, at)), "torch.compile"

    def rows(self, s):
        at = torch.arange(s["rows"], device=self.device) * s["of"] // s["rows"]
        x = self.random(s["of"], s["columns"])
        if s["scatter"]:
            src = self.random(s["rows"], s["columns"])
            return (lambda: x.index_add_(0, at, src)), "index_add_"
        return (lambda: x.index_select(0, at)), "index_select"

    def dropout(self, s):
        x = self.random(s["rows"], s["columns"])
        return (lambda: F.dropout(x, 0.1)), "F.dropout"

    def adamw(self, s):
        p = torch.nn.Parameter(self.random(s["elements"], dtype=torch.float32))
        p.grad = torch.randn_like(p)
        optimizer = torch.optim.AdamW([p], lr=1e-3, weight_decay=0.1, fused=True)
        return optimizer.step, "fused AdamW, without clipping and bfloat16 copy"

    def linear(self, s):
        R, I, O = s["rows"], s["in"], s["out"]
        x, w, dy = self.random(R, I), self.random(O, I), self.random(R, O)
        if s["form"] == "input":
            if s["activation"]:
                pre, how = self.random(R, I, grad=True), GELU[s["activation"]]
                f = self.compiled("dgelu" + how, lambda dx, pre: torch.ops.aten.gelu_backward(dx, pre, approximate=how))
                pre = pre.detach()
                return (lambda: f(dy @ w, pre)), "matmul and compiled GELU gradient"
            return (lambda: dy @ w), "matmul"
        if s["form"] == "weight":
            return (lambda: dy.t() @ x), "matmul, bfloat16 result, not added"
        bias = self.random(O) if s["bias"] else None
        if s["activation"]:
            how = GELU[s["activation"]]
            f = self.compiled("gelu" + how, lambda x: F.gelu(x, approximate=how))
            return (lambda: f(F.linear(x, w, bias))), "F.linear and compiled GELU"
        return (lambda: F.linear(x, w, bias)), "F.linear"

    def make(self, op, sizes):
        for name in ("attention", "norm", "masked_softmax", "cross_entropy", "activation", "gated", "embedding", "rows", "dropout", "adamw", "linear"):
            if op.startswith(name):
                return getattr(self, "activation" if name == "gated" else name)(sizes)
        return None, NO_COUNTERPART


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("cases", help="lines of palimpsest bench kernels --list --json")
    arguments.add_argument("--device", default="cuda")
    arguments.add_argument("--quick", action="store_true")
    arguments.add_argument("--eager", action="store_true", help="without torch.compile")
    a = arguments.parse_args()
    device = torch.device(a.device)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("PyTorch sees no GPU")
    torch.manual_seed(1)
    from torch._functorch import config

    config.donated_buffer = False  # backward passes run again and again over one graph
    clock, bench = Clock(device, a.quick), Bench(device, not a.eager)
    with open(a.cases) as lines:
        cases = [json.loads(line) for line in lines]
    for case in cases:
        call, figure = None, {"op": case["op"], "shape": case["shape"]}
        try:
            call, what = bench.make(case["op"], case["sizes"])
            if call is None:
                figure["reason"] = what
            else:
                figure.update(what=f"PyTorch {torch.__version__} {what}", seconds=clock.median(call))
        except Exception as problem:  # the other figures are worth having
            figure["reason"] = f"{type(problem).__name__}: {problem}".splitlines()[0]
        print(json.dumps(figure), flush=True)
        call = None  # with the memory that it holds
        if device.type == "cuda":
            torch.cuda.empty_cache()


main()
