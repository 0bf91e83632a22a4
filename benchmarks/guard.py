"""The spike guard against planted faults: caught, false alarms, and what is left of the harm.

    python benchmarks/guard.py [--steps 240] [--each 5] [--clean 20] [--first-seed 0] [--json FILE]

A tiny decoder learns bytes of Python's own library, so nothing is downloaded. Clean runs, one a
seed, give the spread of the final loss (on held-out files) and the false alarms. Then each kind of
fault is planted `--each` times, at a random step of a run whose seed has a clean twin, under the
guard and beside it under `ignore`. Caught means: the ledger holds a spike at the fault or, at the
latest, when the next checkpoint is due (a damaged weight that does no harm is noticed only then).
Settings are regrow's defaults. Try changes to them on other seeds than those you report
(`--first-seed 1000`).
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import sysconfig
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.seeds import rng
from regrow.train.guard import GuardSettings
from regrow.train.loop import TrainSettings, TrainSummary, train
from regrow.train.optim import OptimSettings
from regrow.train.schedule import Schedule

CONTEXT, ROWS = 48, 8
CONFIG = ModelConfig(
    vocabulary=256, width=32, layers=2, heads=2, kv_heads=2, hidden=64, context=CONTEXT
)
LATE = 24  # steps after a fault within which it counts as caught: a checkpoint comes as often


@functools.cache
def text() -> tuple[np.ndarray, np.ndarray]:
    """Bytes to learn from and bytes held out: whole files of the standard library."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(path for path in root.glob("*.py")) + sorted(root.glob("asyncio/*.py"))
    held = files[::12]
    parts = [[path for path in files if path not in held], held]
    learn, test = (b"".join(path.read_bytes() for path in part) for part in parts)
    return np.frombuffer(learn, np.uint8), np.frombuffer(test, np.uint8)


def rows_of(data: np.ndarray, places: np.ndarray) -> torch.Tensor:
    """Rows of CONTEXT + 1 bytes from these places."""
    return torch.from_numpy(data[places[:, None] + np.arange(CONTEXT + 1)].astype(np.int64))


@torch.no_grad()
def final_loss(model: Decoder) -> float:
    """The loss on the same 512 held-out rows for every run."""
    data = text()[1]
    ids = rows_of(data, rng("held out").integers(0, len(data) - CONTEXT - 1, 512))
    return float(model.loss(ids[:, :-1], ids[:, 1:])[0])


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault of a kind over the steps [first, end)."""

    kind: str
    first: int
    end: int
    size: float
    seed: int


#: Kinds of fault, and for how many steps each lasts.
KINDS = {
    "random bytes": 1, "garbage stretch": 6, "loss NaN": 1, "gradient x100-1000": 1,
    "NaN weight": 1, "flipped bit": 1, "rate x30": 5,
}  # fmt: skip


def plant(kind: str, seed: int, steps: int) -> Fault:
    """A fault at a random place in the middle 70 % of a run."""
    chance = rng(seed, "fault", kind)
    first = int(chance.integers(round(0.2 * steps), round(0.9 * steps)))
    return Fault(kind, first, first + KINDS[kind], 10 ** float(chance.uniform(2, 3)), seed)


@dataclass(frozen=True)
class Jumping(Schedule):
    """A schedule whose rate is 30 times too high for some steps."""

    first: int = 0
    end: int = 0

    def scale(self, step: int, progress: float) -> float:
        planned = Schedule.scale(self, step, progress)
        return planned * 30 if self.first <= step < self.end else planned


def damage(model: Decoder, fault: Fault) -> None:
    """Spoil one weight, as failing hardware would: NaN, or the exponent's highest bit flipped."""
    chance = rng(fault.seed, "weight")
    names = [name for name, p in model.named_parameters() if p.ndim == 2]
    flat = model.get_parameter(names[int(chance.integers(len(names)))]).data.view(-1)
    place = int(chance.integers(flat.numel()))
    if fault.kind == "NaN weight":
        flat[place] = torch.nan
    else:
        flat.view(torch.int32)[place] ^= 1 << 30


def run(seed: int, steps: int, guard: GuardSettings, fault: Fault | None) -> dict[str, Any]:
    """One run; faults come in through the arguments that anyone can give to `train`."""
    data = text()[0]
    kind = fault.kind if fault else ""
    broken = False

    def at(step: int) -> bool:
        return fault is not None and fault.first <= step < fault.end

    def batch_of(step: int, row: int, rows: int) -> tuple[int, torch.Tensor]:
        places = [rng(seed, row + i).integers(0, len(data) - CONTEXT - 1) for i in range(rows)]
        ids = rows_of(data, np.array(places))
        if at(step) and kind == "random bytes":
            ids = torch.from_numpy(rng(seed, "noise", step).integers(0, 256, tuple(ids.shape)))
        if at(step) and kind == "garbage stretch":
            word = rng(seed, "garbage", step).integers(0, 256, 8)
            ids = torch.from_numpy(np.resize(word, tuple(ids.shape)))
        return step, ids

    def loss_of(model: Decoder, batch: tuple[int, torch.Tensor]) -> tuple[torch.Tensor, int]:
        nonlocal broken
        step, ids = batch
        if at(step) and kind in ("NaN weight", "flipped bit") and not broken and fault:
            broken = True
            damage(model, fault)
        loss, n = model.loss(ids[:, :-1], ids[:, 1:])
        if at(step) and kind == "gradient x100-1000" and fault:
            loss = loss + (fault.size - 1) * (loss - loss.detach())  # the value stays as it is
        return (loss * torch.nan if at(step) and kind == "loss NaN" else loss), n

    schedule = Schedule(warmup=20)
    if fault and kind == "rate x30":
        schedule = Jumping(warmup=20, first=fault.first, end=fault.end)
    settings = TrainSettings(
        total=steps * ROWS, rows=ROWS, seed=seed, precision="fp32", every=max(10, steps // 10),
        optim=OptimSettings("adamw", rate=8e-3, decay=0.05, clip=1.0), schedule=schedule,
        guard=guard,
    )  # fmt: skip
    model = Decoder(CONFIG, seed=seed)
    with tempfile.TemporaryDirectory() as folder:
        summary = train(model, loss_of, batch_of, settings, Path(folder))
    return {"seed": seed, "kind": kind, "loss": final_loss(model), **told(summary, fault)}


def told(summary: TrainSummary, fault: Fault | None) -> dict[str, Any]:
    """What the ledger says: steps of spikes, whether the fault is among them, rewinds."""
    spikes = [event for event in summary.ledger if event["event"] == "spike"]
    caught = fault and any(fault.first <= e["step"] < fault.end + LATE for e in spikes)
    false = [e for e in spikes if not fault or e["step"] < fault.first]
    return {
        "caught": bool(caught), "false": [f"step {e['step']}: {e['why']}" for e in false],
        "rewinds": summary.rewinds, "at": fault.first if fault else None,
    }  # fmt: skip


def line(name: str, rows: list[dict[str, Any]], twins: dict[int, float]) -> str:
    """A row of the table; the last column counts runs farther than 2 sd from their clean twin."""
    spread = statistics.stdev(twins.values())
    losses = [row["loss"] for row in rows]
    apart = [row["loss"] - twins[row["seed"]] for row in rows]
    return (
        f"| {name} | {len(rows)} | {sum(row['caught'] for row in rows)} "
        f"| {sum(bool(row['false']) for row in rows)} | {sum(row['rewinds'] for row in rows)} "
        f"| {statistics.mean(losses):.3f} | {max(losses):.3f} | {statistics.mean(apart):+.3f} "
        f"| {sum(not abs(difference) <= 2 * spread for difference in apart)} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--each", type=int, default=5)
    parser.add_argument("--clean", type=int, default=20)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    say = functools.partial(print, flush=True)
    start = time.perf_counter()
    guard = GuardSettings()
    seeds = [given.first_seed + i for i in range(given.clean)]
    clean = [run(seed, given.steps, guard, None) for seed in seeds]
    losses = [row["loss"] for row in clean]
    twins = dict(zip(seeds, losses))
    say(f"{given.steps} steps of {ROWS} rows; guard {guard.for_run(given.steps)}")
    spread = f"{statistics.mean(losses):.3f} +- {statistics.stdev(losses):.3f}"
    say(f"clean runs: final loss {spread}, {min(losses):.3f} to {max(losses):.3f}\n")
    say("| runs | n | caught | with false alarm | rewinds | loss | worst | to twin | beyond 2 sd |")
    say("|---|---|---|---|---|---|---|---|---|")
    say(line("clean", clean, twins))
    everything = clean
    for mode in ("guard", "ignore"):
        arm = []
        for kind_number, kind in enumerate(KINDS):
            rows = []
            for i in range(given.each):
                seed = seeds[(kind_number * given.each + i) % len(seeds)]
                fault = plant(kind, seed, given.steps)
                rows.append(run(seed, given.steps, replace(guard, mode=mode), fault))
            say(line(f"{mode}: {kind}", rows, twins))
            arm += rows
        say(line(f"**{mode}: all**", arm, twins))
        everything = everything + [{**row, "mode": mode} for row in arm]
    for row in everything:
        if row["false"]:
            say(f"false alarm, seed {row['seed']} {row['kind']}: {'; '.join(row['false'])}")
        if row["kind"] and not row["caught"]:
            say(f"missed: seed {row['seed']} {row['kind']} at {row['at']}, loss {row['loss']:.3f}")
    say(f"\n{time.perf_counter() - start:.0f} s on one thread")
    if given.json:
        given.json.write_text(json.dumps(everything, indent=1))


if __name__ == "__main__":
    main()
