"""What every training peer shares: it is built, warmed up, and then takes steps when it is told.

Called as `train_NAME.py REQUEST`, a JSON object (see `Request`). A peer builds its model and calls
`laps(loss)` after every step; between rounds that call waits for the next line of standard input,
the number of steps to take, and answers with one JSON line. So peers of several environments run
in turn, each by its own loop. Only the standard library, numpy and torch are used here.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

#: Steps before the first round: kernels, buffers, compilation.
WARM_UP = 2


@dataclass(frozen=True)
class Request:
    """One model, its data and its schedule. `tokens` is a file of uint16; `steps` the whole run,
    0 for speed alone (a rate that stays)."""

    setting: str
    vocabulary: int
    width: int
    layers: int
    heads: int
    hidden: int
    context: int
    rows: int
    tokens: str
    threads: int
    steps: int = 0
    seed: int = 0
    rate: float = 2e-3
    decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.95)
    clip: float = 1.0

    @property
    def compiled(self) -> bool:
        return "compiled" in self.setting

    def scale(self, step: int) -> float:
        """Share of the peak rate: up over the first 5 % of the steps, then linearly to 0."""
        if not self.steps:
            return 0.1
        up = max(1, self.steps // 20)
        return min((step + 1) / up, (self.steps - step) / (self.steps - up))

    def batch(self, step: int) -> Tensor:
        """Token ids [rows, context + 1]; every step reads the next tokens of the file."""
        ids = np.memmap(self.tokens, np.uint16, "r")
        size = self.rows * (self.context + 1)
        start = step * size % (len(ids) - size)
        rows = ids[start : start + size].astype(np.int64)
        return torch.from_numpy(rows).view(self.rows, self.context + 1)


def request() -> Request:
    """Read the request, seed torch and set its threads."""
    wanted = Request(**json.loads(sys.argv[1]))
    torch.set_num_threads(wanted.threads)
    torch.manual_seed(wanted.seed)
    if wanted.compiled:  # the compiler's own modules are not the training's memory
        import_module("torch._inductor.compile_fx")
    return wanted


def memory_mb(mark: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(mark)) / 1024


class Laps:
    """Times steps. Made after the imports and before the model, whose memory is counted."""

    def __init__(self) -> None:
        # Libraries print on the standard output; the answers go to where it was.
        self.answers = os.fdopen(os.dup(1), "w")
        os.dup2(2, 1)
        torch.ones(256, 256) @ torch.ones(256, 256)
        self.base = memory_mb("VmRSS")
        self.left, self.taken = WARM_UP, 0
        self.rows: list[tuple[float, ...]] = []
        self.clocks = (time.perf_counter(), time.process_time())

    def __call__(self, *values: Any) -> None:
        """End a step, whose loss or other figures are numbers or tensors of one."""
        told = [float(value) for value in values]
        now = (time.perf_counter(), time.process_time())
        self.rows.append((now[0] - self.clocks[0], now[1] - self.clocks[1], *told))
        self.left, self.taken = self.left - 1, self.taken + 1
        if not self.left:
            self.wait()
        self.clocks = (time.perf_counter(), time.process_time())

    def wait(self) -> None:
        """Answer with the round's steps; take the number of the next round's, or end."""
        answer = {"rows": self.rows, "peak_mb": memory_mb("VmHWM") - self.base}
        print(json.dumps(answer), file=self.answers, flush=True)
        line = sys.stdin.readline()
        if not line:
            os._exit(0)
        Path("/proc/self/clear_refs").write_text("5")  # the mark of the warm-up does not count
        self.left, self.rows = int(line), []


def endless(step: Any, laps: Laps) -> None:
    """Call `step(number)`, which returns the loss, until the input ends."""
    number = 0
    while True:
        laps(step(number))
        number += 1
