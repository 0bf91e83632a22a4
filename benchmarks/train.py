"""Training beside its peers: tokens/s, share of the matrix-product rate, memory, and loss.

    python benchmarks/train.py [--width 192 384 768] [--rounds 5]        # speed and memory
    python benchmarks/train.py --loss [--steps 300] [--seeds 3]          # loss at the first width

Every contestant is a process of its own that trains the same shape on the same tokens with the
same threads by its own loop (peers/train_*.py), a few steps in turn each round, so that a busy
machine slows all alike; the median step counts. `--cpu-time` counts processor time instead of the
clock. The product rate is measured between the rounds. Memory is the peak of resident memory while
training above that before the model was made. Without `--only`, each peer runs in the settings
that were its fastest here; `--only all` runs every setting. A peer without environment is skipped
(see peers/launch.py); what torch.compile built is kept in a folder beside the environments.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers.launch import ENVIRONMENTS, HERE, python_of

from regrow.model.config import ModelConfig
from regrow.train.precision import gemm_rate

#: By width: 1.4M (the recipes' own), 4M, 17M and 68M parameters; rows of a batch beside them.
SHAPES = {
    128: (ModelConfig(3072, 128, 5, 4, 4, 352, 256, tied=False), 8),
    192: (ModelConfig(4096, 192, 6, 6, 6, 512, 256, tied=False), 16),
    384: (ModelConfig(8192, 384, 6, 6, 6, 1024, 256, tied=False), 16),
    768: (ModelConfig(16384, 768, 6, 12, 12, 2048, 512, tied=False), 8),
}
#: Seconds of steps that each contestant takes in a round.
TURN_S = 1.5
SETTINGS = {
    "regrow": ("bf16 adamw", "bf16 muon", "fp32 adamw"),
    "plain": ("masters compiled", "autocast compiled", "masters", "autocast", "fp32 compiled"),
    "transformers": ("autocast compiled", "autocast", "bf16 compiled", "bf16", "fp32 compiled"),
    "litgpt": ("bf16-mixed compiled", "bf16-mixed", "bf16-true compiled", "32-true compiled"),
}
BEST = (
    "regrow bf16 adamw",
    "regrow bf16 muon",
    "plain masters compiled",
    "plain autocast compiled",
    "transformers autocast compiled",
    "litgpt bf16-mixed compiled",
    "litgpt bf16-true compiled",
)


class Contestant:
    """One process that takes steps when it is told."""

    def __init__(
        self, name: str, python: Path, request: dict[str, Any], cache: Path, kind: str = "train"
    ) -> None:
        peer, setting = name.split(" ", 1)
        self.name = name
        root = str(HERE.parent.parent)
        env = os.environ | {
            "PYTHONPATH": root if peer == "regrow" else "",
            "HF_HUB_OFFLINE": "1",
            "OMP_NUM_THREADS": str(request["threads"]),
            "TORCHINDUCTOR_CACHE_DIR": str(cache / peer),
            "TORCHINDUCTOR_FX_GRAPH_CACHE": "1",
        }
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115
        self.process = subprocess.Popen(
            [python, HERE / f"{kind}_{peer}.py", json.dumps(request | {"setting": setting})],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=env,
            text=True,
        )

    def answer(self) -> dict[str, Any] | None:
        """The steps of a round; None, and a line that says why, where the process has failed."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        self.errors.seek(0)
        print(f"{self.name} failed: {self.errors.read().decode().strip()[-400:]}")
        return None

    def run(self, steps: int) -> dict[str, Any] | None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{steps}\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        self.process.kill()
        self.process.communicate()
        self.errors.close()


def contestants(
    options: argparse.Namespace, width: int, tokens: Path, **more: Any
) -> Iterator[Contestant]:
    """Start those that were asked for, all at once; yield each when its warm-up is over."""
    shape, rows = SHAPES[width]
    names = ("vocabulary", "width", "layers", "heads", "hidden", "context")
    request = {name: getattr(shape, name) for name in names}
    request |= {"rows": rows, "tokens": str(tokens), "threads": options.threads, **more}
    started = []
    for name in options.only:
        peer = name.split()[0]
        python = python_of("regrow" if peer == "plain" else peer, options.environments)
        if python:
            started.append(Contestant(name, python, request, options.environments / "compiled"))
    for contestant in started:
        if contestant.answer():
            yield contestant
        else:
            contestant.close()


def rate(threads: int, cpu_time: bool) -> float:
    """GFLOP/s of a bf16 product now."""
    clock = time.process_time if cpu_time else time.perf_counter
    return gemm_rate(torch.bfloat16, 512, 0.2, clock) * (threads if cpu_time else 1)


def speed(options: argparse.Namespace, width: int, tokens: Path) -> None:
    """Print the rows of the table for one width."""
    shape, rows = SHAPES[width]
    per_step = rows * shape.context
    running = list(contestants(options, width, tokens))
    took: dict[str, list[float]] = {one.name: [] for one in running}
    peak: dict[str, float] = {}
    rates = []
    clock = 1 if options.cpu_time else 0
    for _ in range(options.rounds):
        rates.append(rate(options.threads, options.cpu_time))
        for one in running:
            last = took[one.name][-1:] or [TURN_S]
            answer = one.run(max(1, round(TURN_S / last[0])))
            if answer:
                scale = options.threads if options.cpu_time else 1
                took[one.name] += [row[clock] / scale for row in answer["rows"]]
                peak[one.name] = max(peak.get(one.name, 0), answer["peak_mb"])
    for one in running:
        one.close()
    if not running:
        return
    ours = statistics.median(took[running[0].name])
    product = statistics.median(rates)
    for name, steps in took.items():
        step = statistics.median(steps)
        share = shape.flops_per_token() * per_step / step / 1e9 / product
        print(f"| {width} | {name} | {per_step / step:.0f} | {step / ours:.2f} | {share:.2f} "
              f"| {peak[name]:.0f} | {len(steps)} |", flush=True)  # fmt: skip


def tokens_of_python(vocabulary: int, path: Path) -> None:
    """Python's own library in a BPE of its own, as uint16, files in an order of their own."""
    import random
    import sysconfig

    from tokenizers import ByteLevelBPETokenizer

    library = Path(sysconfig.get_paths()["stdlib"])
    files = [p for p in sorted(library.rglob("*.py")) if "site-packages" not in p.parts]
    random.Random(0).shuffle(files)
    texts = [p.read_text(errors="ignore") for p in files]
    tokenizer = ByteLevelBPETokenizer()
    tokenizer.train_from_iterator(texts, vocabulary, show_progress=False)
    ids = [i for encoded in tokenizer.encode_batch(texts) for i in encoded.ids]
    np.array(ids, np.uint16).tofile(path)
    print(f"{len(ids)} tokens of {len(files)} files")


def loss(options: argparse.Namespace, tokens: Path) -> None:
    """Print the mean loss of the last tenth of a run on tokens not seen before, by seed."""
    found: dict[str, list[float]] = {}
    for seed in range(options.seeds):
        more = {"steps": options.steps, "seed": seed, "rate": options.rate}
        for one in contestants(options, options.width[0], tokens, **more):
            answer = one.run(options.steps - 2)
            one.close()
            if answer:
                last = [row[2] for row in answer["rows"]][-options.steps // 10 :]
                found.setdefault(one.name, []).append(statistics.mean(last))
    for name, losses in found.items():
        spread = max(losses) - min(losses)
        each = ", ".join(f"{one:.3f}" for one in losses)
        print(f"| {name} | {statistics.mean(losses):.3f} | {spread:.3f} | {each} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--width", type=int, nargs="+", choices=SHAPES, default=[192, 384, 768])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--only", nargs="+", default=BEST, help="as 'regrow bf16 adamw', or all")
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--loss", action="store_true")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.only == ["all"]:
        options.only = [f"{peer} {one}" for peer, all_ in SETTINGS.items() for one in all_]
    with tempfile.TemporaryDirectory() as folder:
        tokens = Path(folder) / "tokens.bin"
        if options.loss:
            tokens_of_python(SHAPES[options.width[0]][0].vocabulary, tokens)
            print("| contestant | loss | spread | seeds |\n|---|---|---|---|")
            loss(options, tokens)
            return
        product = rate(options.threads, options.cpu_time)
        print(f"{options.threads} threads, torch {torch.__version__}, bf16 products at "
              f"{product:.0f} GFLOP/s before the first round\n")  # fmt: skip
        print("| width | contestant | tokens/s | regrow is faster by | share of product rate "
              "| peak MB | steps |\n|---|---|---|---|---|---|---|")  # fmt: skip
        for width in options.width:
            vocabulary = SHAPES[width][0].vocabulary
            ids = np.random.default_rng(0).integers(0, vocabulary, 200_000)
            ids.astype(np.uint16).tofile(tokens)
            speed(options, width, tokens)


if __name__ == "__main__":
    main()
