"""Training beside PyTorch: fresh cases of record_training.py, which engine/hf's TestRecordedTraining compares."""
import json
import os
import pathlib
import re
import subprocess
import sys

GO = os.environ.get("GO", "go")
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]


def tolerances():
    """The figures that the Go test demands."""
    source = (REPOSITORY / "engine/hf/recorded_test.go").read_text(encoding="utf-8")
    return {k: float(re.search(rf"\b{k} = ([0-9.e-]+)", source)[1]) for k in ("gradientTolerance", "gradientFloor", "lossTolerance")}


def check_all(work, seeds):
    for seed in seeds:
        cases = str(pathlib.Path(work, f"cases-{seed}"))
        script = str(pathlib.Path(__file__).with_name("record_training.py"))
        subprocess.run([sys.executable, script, cases, "--fresh", "--seed", str(seed)], check=True)
        done = subprocess.run([GO, "test", "./engine/hf", "-run", "^TestRecordedTraining$", "-count=1", "-v"], cwd=REPOSITORY, capture_output=True,
                              text=True, encoding="utf-8", env=os.environ | {"PALIMPSEST_HF_CASES": cases})
        found, problems, kind = [], {}, ""
        for line in done.stdout.splitlines():
            if m := re.match(r"=== (?:RUN|NAME) +TestRecordedTraining/(\S+)", line):
                kind = m[1]
            elif m := re.search(r"agreement: (\{.*\})", line):
                found.append(json.loads(m[1]) | {"seed": seed})
            elif m := re.search(r"recorded_test\.go:\d+: (.*)", line):
                problems.setdefault(kind, []).append(m[1])
        for row in found:
            row["problems"] = problems.pop(f"{row['variant']}/{row['device']}", [])
            yield row
        rest = [p for list in problems.values() for p in list]
        wrong = not found or (done.returncode != 0 and not rest and not any(r["problems"] for r in found))
        if rest or wrong:
            yield {"variant": "all", "seed": seed, "problems": rest or [f"go test: exit code {done.returncode}: {(done.stdout + done.stderr)[-500:]}"]}
