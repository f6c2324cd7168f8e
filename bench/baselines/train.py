"""The PyTorch side of `palimpsest bench compare`: the same model, weights, batch and optimiser in plain PyTorch.

Requests come as JSON lines on standard input, answers go as JSON lines to standard output (bench/compare_child.go):
{"setup": {...}} builds the model, {"steps": n} trains n steps on the one batch, the end of the input ends the process.
Parameters carry palimpsest's names, so that the file of its initial weights is read by name.
"""

import json
import math
import os
import struct
import sys
import time

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # whatever else prints goes to standard error


def answer(**values):
    answers.write(json.dumps(values) + "\n")
    answers.flush()


try:
    import torch
    import torch.nn.functional as F
    from torch import nn
except ImportError as problem:
    answer(error=f"{sys.executable}: {problem}", missing="torch")
    sys.exit(0)


class Attention(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.heads, self.causal, self.fused = s["heads"], s["causal"], s["variant"] != "eager"
        self.norm = nn.LayerNorm(s["width"], eps=s["norm_eps"])
        self.qkv = nn.Linear(s["width"], 3 * s["width"])
        self.proj = nn.Linear(s["width"], s["width"])
        if self.causal and not self.fused:
            hidden = torch.ones(s["length"], s["length"], dtype=torch.bool).triu(1)
            self.register_buffer("hidden", hidden, persistent=False)

    def forward(self, x):
        B, T, C = x.shape
        q, k, v = self.qkv(x).view(B, T, 3, self.heads, C // self.heads).permute(2, 0, 3, 1, 4)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=self.causal)
        else:
            scores = q @ k.transpose(-2, -1) * (1 / math.sqrt(q.size(-1)))
            if self.causal:
                scores = scores.masked_fill(self.hidden, float("-inf"))
            y = scores.softmax(-1) @ v
        return self.proj(y.transpose(1, 2).reshape(B, T, C))


class MLP(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.tanh = "tanh" if s["gelu_tanh"] else "none"
        self.norm = nn.LayerNorm(s["width"], eps=s["norm_eps"])
        self.up = nn.Linear(s["width"], s["ff"])
        self.down = nn.Linear(s["ff"], s["width"])

    def forward(self, x):
        return self.down(F.gelu(self.up(x), approximate=self.tanh))


class Block(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.post = s["post_norm"]
        self.attention, self.mlp = Attention(s), MLP(s)

    def forward(self, x):
        if self.post:
            x = self.attention.norm(x + self.attention(x))
            return self.mlp.norm(x + self.mlp(x))
        x = x + self.attention(self.attention.norm(x))
        return x + self.mlp(self.mlp.norm(x))


class Embed(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.tokens = nn.Embedding(s["vocab"], s["width"])
        self.positions = nn.Embedding(s["context"], s["width"])
        self.types = nn.Embedding(s["types"], s["width"]) if s["types"] else None
        self.norm = nn.LayerNorm(s["width"], eps=s["norm_eps"]) if s["post_norm"] else None

    def forward(self, ids):
        x = self.tokens(ids) + self.positions.weight[: ids.size(1)]
        if self.types is not None:
            x = x + self.types.weight[0]
        return x if self.norm is None else self.norm(x)


class Head(nn.Module):
    """BERT's head: transform, GELU, norm, then the tied product with a bias. GPT-2's is the tied product alone."""

    def __init__(self, s):
        super().__init__()
        self.bert = s["post_norm"]
        if self.bert:
            self.transform = nn.Linear(s["width"], s["width"])
            self.norm = nn.LayerNorm(s["width"], eps=s["norm_eps"])
            self.bias = nn.Parameter(torch.zeros(s["vocab"]))

    def forward(self, x, tokens):
        if not self.bert:
            return F.linear(x, tokens)
        return F.linear(self.norm(F.gelu(self.transform(x))), tokens, self.bias)


class Model(nn.Module):
    def __init__(self, s):
        super().__init__()
        self.embed = Embed(s)
        self.layers = nn.ModuleList(Block(s) for _ in range(s["layers"]))
        self.final = nn.ModuleDict({} if s["post_norm"] else {"norm": nn.LayerNorm(s["width"], eps=s["norm_eps"])})
        self.head = nn.ModuleDict({"lm": Head(s)})

    def forward(self, ids, rows, targets):
        """The mean loss of targets [n] at rows [n]; without rows, of targets [B*T] with -100 where there is none."""
        x = self.embed(ids)
        for layer in self.layers:
            x = layer(x)
        if "norm" in self.final:
            x = self.final["norm"](x)
        x = x.flatten(0, 1)
        if rows is not None:
            x = x[rows]
        return F.cross_entropy(self.head["lm"](x, self.embed.tokens.weight).float(), targets)


def read_weights(path, model):
    """Fills the parameters from a safetensors file of float32, one tensor at a time."""
    with open(path, "rb") as file, torch.no_grad():
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
        header.pop("__metadata__", None)
        for name, parameter in model.named_parameters():
            entry = header.pop(name)
            if entry["dtype"] != "F32" or entry["shape"] != list(parameter.shape):
                raise ValueError(f"{name}: {entry}, want float32 {list(parameter.shape)}")
            begin, end = entry["data_offsets"]
            file.seek(8 + length + begin)
            values = torch.frombuffer(bytearray(file.read(end - begin)), dtype=torch.float32)
            parameter.copy_(values.view(parameter.shape))
        if header:
            raise ValueError(f"{path}: not in this model: {sorted(header)}")


def peak_memory():
    try:
        with open("/proc/self/status") as status:
            for line in status:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) << 10
    except OSError:
        pass
    return 0


def product_rate(device, size=1024, runs=5):
    """The best rate in FLOP/s of a product of that size cubed in float32: what the library's products reach here."""
    x, w = torch.ones(size, size, device=device), torch.ones(size, size, device=device)
    best = math.inf
    for _ in range(runs):
        started = time.perf_counter()
        F.linear(x, w)
        if device.type == "cuda":
            torch.cuda.synchronize()
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best


class Side:
    def __init__(self, s):
        torch.set_num_threads(s["threads"])
        torch.manual_seed(1)
        self.device = torch.device(s["device"])
        model = Model(s)
        read_weights(s["weights"], model)
        model.to(self.device)
        labels = torch.full((len(s["tokens"]),), -100, dtype=torch.long)
        rows, targets = torch.tensor(s["rows"]), torch.tensor(s["targets"])
        labels[rows] = targets
        self.ids = torch.tensor(s["tokens"]).view(-1, s["length"]).to(self.device)
        self.rows = rows.to(self.device) if s["head_rows"] == "loss" else None
        self.targets = (targets if s["head_rows"] == "loss" else labels).to(self.device)
        self.parameters = list(model.parameters())
        matrices = [p for p in self.parameters if p.dim() > 1]
        others = [p for p in self.parameters if p.dim() <= 1]
        o = s["optimizer"]
        self.clip = o["clip"]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": o["weight_decay"]}, {"params": others, "weight_decay": 0.0}],
            lr=o["learning_rate"], betas=tuple(o["betas"]), eps=o["eps"], fused=True)
        self.bf16 = s["precision"] == "bfloat16"
        self.model = torch.compile(model) if s["variant"] == "compile" else model

    def step(self):
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bf16):
            loss = self.model(self.ids, self.rows, self.targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, self.clip)
        self.optimizer.step()
        return loss.item()

    def peak(self):
        return torch.cuda.max_memory_allocated() if self.device.type == "cuda" else peak_memory()


def main():
    side = None
    for line in sys.stdin:
        request = json.loads(line)
        try:
            if "setup" in request:
                side = Side(request["setup"])
                count = sum(p.numel() for p in side.parameters)
                answer(library=f"PyTorch {torch.__version__}", parameters=count, product_rate=product_rate(side.device))
            else:
                losses = [side.step() for _ in range(request["steps"])]
                answer(losses=losses, peak_memory=side.peak())
        except Exception as problem:  # whatever it is, the other side has to know
            answer(error=f"{type(problem).__name__}: {problem}")


if __name__ == "__main__":
    main()
