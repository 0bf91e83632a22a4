"""The training loop: any loss over any batches, resumed bit for bit, guarded against spikes."""

from __future__ import annotations

import bisect
import contextlib
import json
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from regrow.files import writing
from regrow.progress import Progress, silent
from regrow.seeds import derive
from regrow.train import device as devices
from regrow.train import recovery
from regrow.train.checkpoint import Checkpoint, Checkpoints
from regrow.train.guard import Guard, GuardSettings, Reading
from regrow.train.identity import check, identity
from regrow.train.meter import Meter
from regrow.train.optim import Optimizer, OptimSettings, build
from regrow.train.precision import choose
from regrow.train.prefetch import made_ahead
from regrow.train.schedule import Ramp, Schedule, plan
from regrow.train.script import Script
from regrow.train.stop import stop_flag

#: Called as loss_of(model, batch) -> (mean loss, number of tokens it is the mean of).
LossOf = Callable[[Any, Any], tuple[Tensor, int]]
#: Called as batch_of(step, first_row, rows) -> batch; must depend on nothing else. Off the CPU it
#: is called ahead of time, on a thread of its own.
BatchOf = Callable[[int, int, int], Any]
#: Called as keep(row, weights) where a run stands before one of the rows that it is to be met at,
#: or at its end: the weights by parameter name, in memory that changes afterwards.
Keep = Callable[[int, dict[str, Tensor]], None]
#: Called as alter(weights) where a run stands before the row that it is given for: changes the fp32
#: weights, by parameter name, as a function of nothing but them, and alike if called again.
Alter = Callable[[dict[str, Tensor]], None]
#: Token embeddings, in a decoder by itself or within another module.
_EMBEDDING = re.compile(r"(^|\.)embedding(\.weight)?$")


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """A run: `total` rows in batches of `rows`, each step in passes of at most `micro` rows (0:
    the whole batch); `ramp` says how the batch grows to that. `precision` is auto, bf16, fp16 or
    fp32; `device` auto, cuda, mps or cpu. A checkpoint is saved `every` so many steps; the `keep`
    newest stay, and those at multiples of `spaced` steps (0: none). From the rows `changes` on the
    data are other ones on purpose, and the guard measures anew."""

    total: int
    rows: int = 16
    seed: int = 0
    micro: int = 0
    ramp: Ramp = field(default_factory=Ramp)
    precision: str = "auto"
    device: str = "auto"
    every: int = 200
    keep: int = 2
    spaced: int = 0
    optim: OptimSettings = field(default_factory=OptimSettings)
    schedule: Schedule = field(default_factory=Schedule)
    guard: GuardSettings = field(default_factory=GuardSettings)
    changes: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class TrainSummary:
    """What a run did. `loss` is the mean over the last 5 % of its steps; `seen` the row ranges
    [first, end) that moved weights, in order; `overflows` the number of steps lost to fp16's range;
    `ledger` spikes, rewinds and what resuming found. The weights are a function of the
    settings, the batches and `threads`."""

    steps: int
    rows: int
    tokens: int
    loss: float
    seconds: float
    tokens_per_s: float
    precision: str
    reason: str
    device: str
    threads: int
    overflows: int
    spikes: int
    rewinds: int
    seen: tuple[tuple[int, int], ...]
    ledger: tuple[dict[str, Any], ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for an edge record."""
        return asdict(self)


@dataclass(slots=True)
class _State:
    """What a checkpoint holds beside the optimizer."""

    step: int = 0
    updates: int = 0
    tokens: int = 0
    overflows: int = 0
    seconds: float = 0.0
    recent: list[float] = field(default_factory=list)
    seen: list[list[int]] = field(default_factory=list)


class Run:
    """What changes during a run, on disk and in memory, and how it takes one step."""

    def __init__(
        self,
        model: nn.Module,
        settings: TrainSettings,
        folder: Path,
        checkpoints: Checkpoints,
        data: str,
        device: torch.device,
    ) -> None:
        self.settings, self.folder, self.device = settings, folder, device
        self.checkpoints = checkpoints
        self.plan = plan(settings.total, settings.rows, settings.ramp)
        self.guard = Guard(settings.guard, len(self.plan))
        self.changes = {self.step_of(row) for row in settings.changes}
        self.script = Script(settings.guard.script)
        checkpoints.reach = self.guard.reach
        self.identity = identity(model, settings, data)
        saved = checkpoints.load()
        if saved is not None:
            check(saved.meta["identity"], self.identity, checkpoints.folder)
        wanted = settings.precision
        wanted = saved.meta["precision"] if saved and wanted == "auto" else wanted
        self.precision = choose(wanted, device)
        self.optimizer: Optimizer = build(model.to(device), settings.optim, self.precision)
        names = self.optimizer.trainable.names
        self.embeddings = [name for name in names if _EMBEDDING.search(name)]
        self.state = _State()
        (folder / recovery.DIVERGED).unlink(missing_ok=True)
        self.metrics = open(folder / "metrics.jsonl", "ab", buffering=0)  # noqa: SIM115
        if saved is None:
            self.metrics.truncate(0)
            torch.manual_seed(derive(settings.seed, "train"))
            self.save()
        else:
            self.restore(saved)
            self.guard.load(saved.meta["guard"])
            self.script.load(saved.meta["script"])
            recovery.obey(self)
            self.cut_metrics(saved.meta["metrics"])
            for what, now in _platform().items():
                if (before := saved.meta[what]) != now:
                    why = f"{what} changed from {before} to {now}; "
                    self.note(why + "weights may differ in the last bits")
        recovery.tell_broken(self)

    def cut_metrics(self, size: int) -> None:
        """Leave the rows up to the checkpoint; where some are gone the rest comes after what is."""
        found = os.fstat(self.metrics.fileno()).st_size
        self.metrics.truncate(min(size, found))
        if found < size:
            self.note(f"metrics.jsonl lacks rows of steps before {self.state.step}")

    def note(self, why: str) -> None:
        """Put a remark into the ledger."""
        self.guard.note(self.state.step, "note", why=why)

    def step_of(self, row: int) -> int:
        """The first step that begins at this row or after it."""
        return bisect.bisect_left([first for first, _ in self.plan], row)

    def due(
        self, marks: Mapping[int, Keep], alters: Mapping[int, Alter]
    ) -> dict[int, list[Callable[[], None]]]:
        """What is to be called before each step, or at the end.

        What alters rows within the last batch comes before it: no step begins after them.
        """
        due: dict[int, list[Callable[[], None]]] = {}
        for row, alter in alters.items():
            step = min(self.step_of(row), len(self.plan) - 1)
            due.setdefault(step, []).append(partial(self.optimizer.alter, alter))
        for row, keep in marks.items():
            meet = partial(keep, row, self.optimizer.weights())
            due.setdefault(self.step_of(row), []).append(meet)
        return due

    def record(self, **values: Any) -> None:
        """Append a row of metrics; a number that is not finite becomes null."""
        lost = {k: None for k, v in values.items() if isinstance(v, float) and not math.isfinite(v)}
        line = (json.dumps(values | lost) + "\n").encode()
        with writing(self.folder / "metrics.jsonl"):
            while line:  # a disk that fills takes a part, and refuses the rest
                line = line[self.metrics.write(line) :]

    def save(self) -> None:
        """Save where the run stands, in the background."""
        with writing(self.folder / "metrics.jsonl"):
            os.fsync(self.metrics.fileno())
        meta = {
            "identity": self.identity,
            "count": self.optimizer.count,
            "guard": self.guard.state(),
            "script": self.script.state(),
            "state": asdict(self.state),
            "metrics": os.fstat(self.metrics.fileno()).st_size,
            "precision": self.precision.name,
            **_platform(),
        }
        tensors = {**self.optimizer.tensors(), **devices.random_state(self.device)}
        self.checkpoints.save(self.state.step, tensors, meta)

    def restore(self, saved: Checkpoint) -> None:
        """Stand where the checkpoint was saved; the guard and the script have their own ways."""
        self.state = _State(**saved.meta["state"])
        self.optimizer.load(saved.tensors, saved.meta["count"], self.state.updates)
        devices.set_random_state(self.device, saved.tensors)

    def embedding_norm(self) -> float:
        """The norm of the embeddings' gradients alone."""
        return self.optimizer.trainable.gradients.norm(self.embeddings)

    def gradients(self, model: nn.Module, loss_of: LossOf, batch_of: BatchOf) -> tuple[float, int]:
        """Accumulate a step's gradients; returns the mean loss and its number of tokens."""
        row, rows = self.plan[self.state.step]
        micro = self.settings.micro or rows
        trainable = self.optimizer.trainable
        trainable.zero_grad()
        total, count = 0.0, 0
        for low in range(0, rows, micro):
            batch = batch_of(self.state.step, row + low, min(micro, rows - low))
            loss, n = loss_of(model, devices.move(batch, self.device))
            if n == 0:
                continue
            self.optimizer.backward(loss, 1.0 if micro >= rows else n)
            total, count = total + float(loss.detach()) * n, count + n
        if micro < rows and count:
            trainable.gradients.scale(1 / count)
        return (total / count if count else 0.0), count

    def judge(self, now: Reading) -> str:
        """The guard's verdict. `overflow`, which is no spike, where only fp16's range was left, or
        where the guard lets be what fp16 cannot take."""
        scale = self.optimizer.loss_scale if self.optimizer.overflowed(now.norm) else None
        if scale is None or not math.isfinite(now.loss):
            verdict = self.guard.check(self.state.step, now)
            if scale is None or verdict != "accept":
                return verdict
        scale.halve(self.state.step)
        self.state.overflows += 1
        return "overflow"

    def step(self, model: nn.Module, loss_of: LossOf, batch_of: BatchOf) -> dict[str, Any]:
        """One step: gradients, judgement, update. Returns its row of metrics."""
        start = time.perf_counter()
        state = self.state
        row, rows = self.plan[state.step]
        loss, count = self.gradients(model, loss_of, batch_of)
        norm, embedding = self.optimizer.gradient_norm(), self.embedding_norm()
        overflow = math.isfinite(loss) and self.optimizer.overflowed(norm)
        sound = overflow or math.isfinite(loss + norm) or recovery.sound(self)
        now = Reading(loss, norm, embedding, (row, row + rows), sound)
        verdict = self.judge(now) if count else "skip"
        scale = self.settings.schedule.scale(state.step, row / self.settings.total)
        scale *= self.script.rate
        if verdict == "accept":
            self.optimizer.step(scale, norm)
            if self.saves(state.step + 1) and not recovery.sound(self):
                verdict = self.guard.check(state.step, replace(now, sound=False))
        if verdict == "accept":
            state.updates += 1
            state.tokens += count
            state.recent = [*state.recent, loss][-max(1, len(self.plan) // 20) :]
            if state.seen and state.seen[-1][1] == row:
                state.seen[-1][1] = row + rows
            else:
                state.seen.append([row, row + rows])
        took = time.perf_counter() - start
        state.seconds += took
        values: dict[str, Any] = {
            "step": state.step,
            "rows": row + rows,
            "tokens": state.tokens,
            "loss": loss,
            "norm": norm,
            "embedding_norm": embedding,
            "scale": scale,
            "tokens_per_s": round(count / took, 1),
        }
        if verdict != "accept":
            values["verdict"] = verdict
        if self.optimizer.loss_scale is not None:
            values["loss_scale"] = self.optimizer.loss_scale.value
        self.record(**values)
        if verdict == "rewind":
            recovery.rewind(self)
        else:
            state.step += 1
        return values

    def saves(self, step: int) -> bool:
        """Whether a checkpoint is due when the run stands before this step."""
        return step % self.settings.every == 0 or step == len(self.plan)

    def summary(self) -> TrainSummary:
        """What the run did up to now."""
        state, ledger = self.state, self.guard.ledger
        events = [event["event"] for event in ledger]
        return TrainSummary(
            steps=state.updates,
            rows=sum(end - first for first, end in state.seen),
            tokens=state.tokens,
            loss=sum(state.recent) / max(1, len(state.recent)),
            seconds=state.seconds,
            tokens_per_s=state.tokens / max(1e-9, state.seconds),
            precision=self.precision.name,
            reason=self.precision.reason,
            device=str(self.device),
            threads=torch.get_num_threads(),
            overflows=state.overflows,
            spikes=events.count("spike"),
            rewinds=events.count("rewind"),
            seen=tuple((first, end) for first, end in state.seen),
            ledger=tuple(ledger),
        )


def _platform() -> dict[str, Any]:
    """What the last bits of the weights depend on beside the settings."""
    return {"threads": torch.get_num_threads(), "torch": str(torch.__version__)}


def train(
    model: nn.Module,
    loss_of: LossOf,
    batch_of: BatchOf,
    settings: TrainSettings,
    folder: Path,
    progress: Progress = silent,
    marks: Mapping[int, Keep] = MappingProxyType({}),
    alters: Mapping[int, Alter] = MappingProxyType({}),
    data: str = "",
) -> TrainSummary:
    """Train, or continue what `folder` holds, or return at once what it finished.

    `loss_of(model, batch)` gives the mean loss and its number of tokens; `batch_of(step, row,
    rows)` must be a pure function of its arguments. Writes `folder/metrics.jsonl` (one row a
    step) and `folder/checkpoints/`. `marks` and `alters` are called at their rows, again where a
    run goes back over one. The model and its batches go to `settings.device`; on return it is back
    where it was and holds the fp32 masters, or their average where `settings.optim.average` is set.
    `data` says in any words, a digest for example, what the batches are of.

    Killed anywhere and called again, it ends with the same bits, given the same number of threads.
    Ctrl-C or SIGTERM saves a checkpoint first, of sound weights, and then raises KeyboardInterrupt.
    Raises RegrowError when the checkpoints are of other settings, `data` or starting weights, none
    is whole, another process holds the folder, the disk is full, or the loss keeps diverging
    (`folder/diverged.md` tells how).
    """
    device = devices.pick(settings.device)
    home = next(model.parameters()).device
    saving = Checkpoints(folder / "checkpoints", settings.keep, spaced=settings.spaced)
    with devices.fork_random_state(device), stop_flag() as stopped, saving as checkpoints:
        run = Run(model, settings, folder, checkpoints, data, device)
        done = ([*run.plan, (settings.total, 0)])[run.state.step][0]
        progress(done, settings.total, phase=f"training on {device} in {run.precision.reason}")
        meter = Meter(model, run.precision, device)
        ahead = made_ahead(batch_of, run.plan, settings.micro, device.type)
        with contextlib.closing(run.metrics), ahead as batches:
            last = 0.0
            due = run.due(marks, alters)
            while run.state.step < len(run.plan):
                recovery.intervene(run)
                for call in due.get(run.state.step, ()):
                    call()
                if run.state.step in run.changes:
                    run.guard.forget()
                if run.guard.skips(run.state.step):
                    run.state.step += 1
                    continue
                values = run.step(model, loss_of, batches)
                now = time.monotonic()
                if now - last > 0.2:
                    last = now
                    progress(
                        values["rows"],
                        settings.total,
                        loss=values["loss"],
                        tokens_per_s=values["tokens_per_s"],
                        spikes=sum(one["event"] == "spike" for one in run.guard.ledger),
                        phase="training",
                        **meter.share(values["tokens_per_s"]),
                    )
                checkpoints.check()
                if run.saves(run.state.step) or (stopped.is_set() and recovery.sound(run)):
                    run.save()
                if stopped.is_set():
                    checkpoints.wait()
                    raise KeyboardInterrupt
            for call in due.get(len(run.plan), ()):
                call()
            if checkpoints.steps()[-1:] != [run.state.step]:
                run.save()
        progress(settings.total, settings.total, phase="trained")
        run.optimizer.release()
        model.to(home)
        return run.summary()
