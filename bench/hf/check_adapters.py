"""Low-rank adapters beside the library peft: those trained here on a model of transformers there, and theirs here."""
import pathlib
import random

import torch
import transformers
from peft import LoraConfig, PeftModel, get_peft_model

import check_models
import families
import ours

TOLERANCE = 1e-4  # of logits, as for models
CHANGE = 1e-2     # that the adapters make at least

# Variant: targets here, modules there of an adapter of their own, keys of LoraConfig.
VARIANTS = {
    "bert": ("attention.qkv, mlp.down", ["query", "value"], {}),
    "roberta": ("attention.qkv, attention.proj, mlp.up, mlp.down", ["key", "attention.output.dense", "intermediate.dense"], {"use_rslora": True}),
    "gpt2": ("attention.qkv, attention.proj, mlp.up, mlp.down", ["c_attn", "mlp.c_proj"], {}),
    "llama": ("attention.qkv, mlp.down", ["q_proj", "k_proj", "v_proj", "up_proj", "o_proj"], {}),
    "llama-tied": ("attention.proj, mlp.up", ["q_proj", "v_proj"], {"use_rslora": True}),
    "modernbert": ("attention.qkv, attention.proj, mlp.up, mlp.down", ["Wqkv", "mlp.Wo"], {}),
    "bert-tokens": ("attention.qkv, mlp.down", ["query", "value"], {"task_type": "TOKEN_CLS"}),
}
RANK = 3


def shards(work, model, seed):
    """A data set of words that the tokenizer has."""
    draw = random.Random(seed)
    words = "the quick brown fox jumps over the lazy dog while five wizards vex a jolly quartz king".split()
    text = pathlib.Path(work, "text.txt")
    text.write_text("\n".join(" ".join(draw.choices(words, k=12)) for _ in range(60)) + "\n")
    ours.run("data", "build", "--tokenizer", f"{model}/tokenizer.json", "--unit", "line", "--out", f"{work}/shards", str(text))
    return f"{work}/shards"


def check(variant, work, seed):
    transformers.logging.set_verbosity_error()
    row = {"variant": variant, "seed": seed, "problems": []}
    def expect(true, problem):
        if not true:
            row["problems"].append(problem)
    def near(name, got, want):
        row[name] = check_models.apart(got, want)
        expect(row[name] <= TOLERANCE, f"{name}: logits differ by {row[name]:.1e}")
    targets, modules, keys = VARIANTS[variant]
    heads = "task_type" in keys
    work = pathlib.Path(work, variant)
    theirs, imported, run, merged, adapter, own, onto, again = (str(work / n) for n in ("theirs", "imported", "run", "merged", "adapter", "own", "onto", "again"))
    model = families.make(variant, families.FRESH, seed)
    families.save(model, theirs, families.FRESH)
    draw = torch.Generator().manual_seed(seed)
    rows = [torch.randint(families.SPECIALS, families.FRESH["vocab"], (n,), generator=draw).tolist() for n in (50, 33, 1)]
    _, base = check_models.answers(model, rows)
    ours.run("import", theirs, "--out", imported)

    if not heads:  # trained here
        causal = type(model).__name__.endswith(("CausalLM", "LMHeadModel"))
        ours.run("train", "--data", shards(work, imported, seed), "--out", run, "--steps", "5", *(f"--set={s}" for s in (
            f"train.init={imported}", f"objective={'clm' if causal else 'mlm'}", f"adapter.rank={RANK}", "adapter.alpha=7.5", f"adapter.targets=[{targets}]",
            "optimizer.learning_rate=0.05", "schedule.warmup=0", "data.tokens_per_step=256", "data.valid=0", "train.dropout=0")))
        mine = ours.outputs(run, rows, str(work / "run.safetensors"))[1]
        expect(check_models.apart(mine, base) > CHANGE, "the adapters change nothing")
        ours.run("export", run, "--adapter", "--out", adapter)
        ours.run("export", run, "--out", merged)
        loaded = PeftModel.from_pretrained(families.make(variant, families.FRESH, seed), adapter).eval()
        near("to_peft", check_models.answers(loaded.base_model.model, rows)[1], mine)
        near("merged", check_models.answers(check_models.opened(merged)[0], rows)[1], mine)
        adapted = sum(name.endswith("lora_A") for name, _ in loaded.named_modules())
        expect(2 * adapted == len(check_models.load_file(f"{adapter}/adapter_model.safetensors")), f"peft adapts {adapted} modules, the folder has others")
        ours.run("import", "--adapter", adapter, imported, "--out", str(work / "back"))
        near("back", ours.outputs(str(work / "back"), rows, str(work / "back.safetensors"))[1], mine)

    torch.manual_seed(seed)
    tuned = get_peft_model(families.make(variant, families.FRESH, seed), LoraConfig(r=RANK, lora_alpha=5, target_modules=modules, init_lora_weights=False, **keys)).eval()
    if heads:
        with torch.no_grad():
            tuned.base_model.model.classifier.modules_to_save["default"].weight.add_(0.3)
    tuned.save_pretrained(own)
    _, want = check_models.answers(tuned.base_model.model, rows)
    expect(check_models.apart(want, base) > CHANGE, "peft's adapters change nothing")
    ours.run("import", "--adapter", own, imported, "--out", onto)
    if heads:
        ours.run("export", onto, "--out", merged, "--head", "tag")
        near("from_peft", check_models.answers(check_models.opened(merged)[0], rows)[1], want)
    else:
        near("from_peft", ours.outputs(onto, rows, str(work / "onto.safetensors"))[1], want)
    ours.run("export", onto, "--adapter", "--out", again, *(["--head", "tag"] if heads else []))
    loaded = PeftModel.from_pretrained(families.make(variant, families.FRESH, seed), again).eval()
    near("again", check_models.answers(loaded.base_model.model, rows)[1], want)
    return row


def check_all(work, seed):
    for variant in VARIANTS:
        try:
            row = check(variant, work, seed)
        except (ours.Failed, OSError, ValueError, KeyError, RuntimeError) as e:
            row = {"variant": variant, "seed": seed, "problems": [f"{type(e).__name__}: {e}"]}
        yield row
