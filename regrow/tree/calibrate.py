"""How fast this machine trains a recipe's models: a few seconds that give the expected time.

`python -m regrow.tree.calibrate SHAPES` times one process; `speeds` starts as many of them as
there will be workers, so that they get in each other's way as workers do, and remembers the
answer for an hour. On a CPU the processor's own time counts and not the clock, so that other work
of a moment does not stand in an estimate of hours; how much there is of it is told beside.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.files import read_json, sha256_json, write_json
from regrow.tree import edge
from regrow.tree.execute import environment
from regrow.tree.plan import MEASURE, Grown, Step
from regrow.tree.recipe import Recipe
from regrow.tree.stage import registry
from regrow.tree.worker import context

_FRESH = 3_600.0  # seconds
_TIMED_TOKENS = 2_048  # in one step
_TIMED_S = 1.0  # for one model
#: Tokens a second of training where all models are imported: 135M weights on a core.
_IMPORTED = 200.0
_TOO_LARGE = 3e12  # FLOPs of a timed step beyond which the rate is reckoned instead
_EFFICIENCY = 0.3  # of the matrix rate, for a whole step (research/microworld.md: .32 to .52)


@dataclass(frozen=True)
class Speeds:
    """Training tokens a second by model name, for one worker of `jobs`, and the format chosen.

    `busy` is how many times as long steps took by the clock, with what else ran meanwhile.
    """

    tokens_per_s: Mapping[str, float]
    precision: str
    threads: int
    busy: float = 1.0


def speeds(recipe: Recipe, runs: Path, jobs: int) -> Speeds:
    """Measured now, or taken from runs/calibration.json when it is of this hour and machine."""
    threads = max(1, edge.cores() // jobs)
    vocabulary = recipe.corpus.tokenizer.vocabulary
    shapes = {name: model.config(vocabulary).to_dict() for name, model in recipe.models.items()}
    key = sha256_json([edge.machine(), edge.versions(), threads, jobs, shapes])[:16]
    memory = runs / "calibration.json"
    known: dict[str, Any] = read_json(memory) if memory.is_file() else {}
    if key not in known or time.time() - known[key]["at"] > _FRESH:
        known[key] = {"at": time.time(), **_measure(shapes, jobs, threads)}
        write_json(memory, known)
    found = known[key]
    return Speeds(found["tokens_per_s"], found["precision"], threads, found.get("busy", 1.0))


def _measure(shapes: Mapping[str, Any], jobs: int, threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "regrow.tree.calibrate", json.dumps(shapes)]
    env = os.environ | environment(threads)
    started = [
        subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env
        )
        for _ in range(jobs)
    ]
    answers = []
    for process in started:
        out, trouble = process.communicate()
        if process.returncode:
            last = (trouble.strip().splitlines() or ["no message"])[-1]
            raise RegrowError(f"cannot time this machine: {last}; try `make clean` and `make grow`")
        answers.append(json.loads(out))
    mean = {name: sum(answer["tokens_per_s"][name] for answer in answers) / jobs for name in shapes}
    busy = max(answer["busy"] for answer in answers)
    return {"tokens_per_s": mean, "precision": answers[0]["precision"], "busy": busy}


def expected(recipe: Recipe, run: Path, steps: list[Step], speed: Speeds) -> dict[str, float]:
    """Seconds that each step will take here. Begun steps count what their time so far leaves."""
    grown, stages = Grown(recipe, run), registry()
    slowest = min(speed.tokens_per_s.values(), default=_IMPORTED)
    seconds = {}
    for step in steps:
        stage = stages[step.stage]
        amount = stage.estimate(context(grown, step.name))
        if stage.unit == "tokens":
            model = recipe.model_name(step.name.removesuffix(MEASURE))
            amount /= speed.tokens_per_s.get(model or "", slowest)
        seconds[step.name] = amount
        begun = run / step.name / edge.GROWING
        if step.state == "begun" and begun.is_file():
            seconds[step.name] = max(amount - read_json(begun)["seconds"], amount * 0.05)
    return seconds


def time_here(shapes: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Tokens a second of whole training steps of each shape in this process."""
    from regrow.model.config import ModelConfig
    from regrow.train.device import pick
    from regrow.train.precision import choose

    device = pick()
    precision = choose(device=device)
    rate = max(precision.bf16_gflops, precision.fp32_gflops) * 1e9
    found, busy = {}, 1.0
    for name, shape in shapes.items():
        config = ModelConfig(**shape)
        flops = config.flops_per_token()
        if flops * _TIMED_TOKENS > _TOO_LARGE:
            found[name] = rate * _EFFICIENCY / flops
        else:
            found[name], waited = _time_steps(config, device)
            busy = max(busy, waited)
    return {"tokens_per_s": found, "precision": f"{precision.reason}, on {device}", "busy": busy}


def _time_steps(config: Any, device: Any) -> tuple[float, float]:
    """Tokens a second of training steps: the quickest within a second, after one to warm up. And
    how many times as long they took by the clock as by the time of this thread, which works through
    the whole of a step on a CPU."""
    import torch

    from regrow.model.decoder import Decoder
    from regrow.train.device import synchronise
    from regrow.train.optim import OptimSettings, build
    from regrow.train.precision import choose

    model = Decoder(config).to(device)
    optimizer = build(model, OptimSettings(), choose(device=device))
    rows = max(1, _TIMED_TOKENS // config.context)
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(config.vocabulary, (rows, config.context + 1), generator=generator)
    ids = ids.to(device)
    own = time.thread_time if device.type == "cpu" else time.perf_counter
    times: list[float] = []
    by_clock: list[float] = []
    while len(times) < 2 or sum(by_clock) < _TIMED_S:
        start, clock = own(), time.perf_counter()
        optimizer.zero_grad()
        optimizer.backward(model.loss(ids[:, :-1], ids[:, 1:])[0])
        optimizer.step(1.0)
        synchronise(device)
        times.append(own() - start)
        by_clock.append(time.perf_counter() - clock)
    return rows * config.context / min(times[1:]), sum(by_clock[1:]) / sum(times[1:])


if __name__ == "__main__":
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    print(json.dumps(time_here(json.loads(sys.argv[1]))))
