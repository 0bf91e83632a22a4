"""The training loop: any loss over any batches, resumed bit for bit, guarded against spikes."""

from __future__ import annotations

import contextlib
import json
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from regrow.errors import RegrowError
from regrow.files import sha256_json
from regrow.progress import Progress, silent
from regrow.seeds import derive
from regrow.train import device as devices
from regrow.train.checkpoint import Checkpoint, Checkpoints
from regrow.train.guard import Guard, GuardSettings
from regrow.train.meter import Meter
from regrow.train.optim import Optimizer, OptimSettings, build
from regrow.train.precision import choose
from regrow.train.prefetch import made_ahead
from regrow.train.schedule import Ramp, Schedule, plan

#: Called as loss_of(model, batch) -> (mean loss, number of tokens it is the mean of).
LossOf = Callable[[Any, Any], tuple[Tensor, int]]
#: Called as batch_of(step, first_row, rows) -> batch; must depend on nothing else. Off the CPU it
#: is called ahead of time, on a thread of its own.
BatchOf = Callable[[int, int, int], Any]


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """A run: `total` rows in batches of `rows`, each step in passes of at most `micro` rows (0:
    the whole batch); `ramp` says how the batch grows to that. `precision` is auto, bf16, fp16 or
    fp32; `device` auto, cuda, mps or cpu. `every` and `keep` say how often to save and how many to
    keep."""

    total: int
    rows: int = 16
    seed: int = 0
    micro: int = 0
    ramp: Ramp = field(default_factory=Ramp)
    precision: str = "auto"
    device: str = "auto"
    every: int = 200
    keep: int = 2
    optim: OptimSettings = field(default_factory=OptimSettings)
    schedule: Schedule = field(default_factory=Schedule)
    guard: GuardSettings | None = field(default_factory=GuardSettings)


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
    tokens: int = 0
    overflows: int = 0
    seconds: float = 0.0
    recent: list[float] = field(default_factory=list)
    seen: list[list[int]] = field(default_factory=list)


class _Run:
    def __init__(
        self,
        model: nn.Module,
        settings: TrainSettings,
        folder: Path,
        carry: Mapping[str, Tensor] | None,
        device: torch.device,
    ) -> None:
        self.settings, self.folder, self.device = settings, folder, device
        guard = settings.guard or GuardSettings(ready=10**9, patience=10**9)
        self.guard = Guard(guard)
        self.checkpoints = Checkpoints(folder / "checkpoints", settings.keep, guard.reach)
        self.plan = plan(settings.total, settings.rows, settings.ramp)
        shapes = {name: list(p.shape) for name, p in model.named_parameters()}
        self.identity = sha256_json([asdict(replace(settings, every=0, keep=0, device="")), shapes])
        saved = self.checkpoints.load()
        wanted = settings.precision
        wanted = saved.meta["precision"] if saved and wanted == "auto" else wanted
        self.precision = choose(wanted, device)
        self.optimizer: Optimizer = build(model.to(device), settings.optim, self.precision)
        self.state = _State()
        folder.mkdir(parents=True, exist_ok=True)
        self.metrics = open(folder / "metrics.jsonl", "ab")  # noqa: SIM115
        if saved is None:
            self.metrics.truncate(0)
            torch.manual_seed(derive(settings.seed, "train"))
            if carry is not None:
                self.optimizer.carry(carry)
            self.save()
        else:
            self.restore(saved)
            self.guard.load(saved.meta["guard"])
            self.metrics.truncate(saved.meta["metrics"])
            if saved.meta["threads"] != torch.get_num_threads():
                self.note(
                    f"threads changed from {saved.meta['threads']} to "
                    f"{torch.get_num_threads()}; weights may differ in the last bits"
                )
        for text in self.checkpoints.notes:
            self.note(text)

    def note(self, text: str) -> None:
        self.guard.ledger.append({"step": self.state.step, "event": "note", "why": text})

    def record(self, **values: Any) -> None:
        """Append a row of metrics; a number that is not finite becomes null."""
        clean = {
            k: None if isinstance(v, float) and not math.isfinite(v) else v
            for k, v in values.items()
        }
        self.metrics.write((json.dumps(clean) + "\n").encode())
        self.metrics.flush()

    def save(self) -> None:
        self.metrics.flush()
        os.fsync(self.metrics.fileno())
        meta = {
            "identity": self.identity,
            "count": self.optimizer.count,
            "guard": self.guard.state(),
            "state": asdict(self.state),
            "metrics": os.fstat(self.metrics.fileno()).st_size,
            "precision": self.precision.name,
            "threads": torch.get_num_threads(),
            "torch": torch.__version__,
        }
        tensors = {**self.optimizer.tensors(), **devices.random_state(self.device)}
        self.checkpoints.save(self.state.step, tensors, meta)

    def restore(self, saved: Checkpoint) -> None:
        if saved.meta["identity"] != self.identity:
            raise RegrowError(
                f"{self.checkpoints.folder} holds a run with other settings or another model; "
                "delete that folder to start anew"
            )
        self.optimizer.load(saved.tensors, saved.meta["count"])
        devices.set_random_state(self.device, saved.tensors)
        self.state = _State(**saved.meta["state"])

    def rewind(self) -> None:
        """Go back to before the spikes; the weights from then on depend only on the guard."""
        saved = self.checkpoints.load(self.guard.rewind_to)
        if saved is None:
            raise RegrowError(f"no checkpoint before step {self.guard.rewind_to} to rewind to")
        self.guard.rewound(saved.step, saved.meta["guard"])
        seconds = self.state.seconds
        self.restore(saved)
        self.state.seconds = seconds
        self.checkpoints.discard_after(saved.step)
        self.record(**self.guard.ledger[-1])

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
            trainable.grad.div_(count)
        return (total / count if count else 0.0), count

    def judge(self, loss: float, norm: float) -> str:
        """The guard's verdict; `overflow`, which is no spike, where only fp16's range was left."""
        if self.optimizer.loss_scale is None or math.isfinite(norm) or not math.isfinite(loss):
            return self.guard.check(self.state.step, loss, norm)
        self.optimizer.loss_scale.halve(self.state.step)
        self.state.overflows += 1
        return "overflow"

    def step(self, model: nn.Module, loss_of: LossOf, batch_of: BatchOf) -> dict[str, Any]:
        """One step: gradients, judgement, update. Returns its row of metrics."""
        start = time.perf_counter()
        state = self.state
        row, rows = self.plan[state.step]
        loss, count = self.gradients(model, loss_of, batch_of)
        norm = self.optimizer.gradient_norm()
        verdict = self.judge(loss, norm) if count else "skip"
        scale = self.settings.schedule.scale(state.step, row / self.settings.total)
        if verdict == "accept":
            self.optimizer.step(scale, norm)
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
            "scale": scale,
            "tokens_per_s": round(count / took, 1),
        }
        if verdict != "accept":
            values["verdict"] = verdict
        if self.optimizer.loss_scale is not None:
            values["loss_scale"] = self.optimizer.loss_scale.value
        self.record(**values)
        state.step += 1
        if verdict == "rewind":
            self.rewind()
        return values

    def summary(self) -> TrainSummary:
        state, ledger = self.state, self.guard.ledger
        events = [event["event"] for event in ledger]
        return TrainSummary(
            steps=self.optimizer.count,
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


def train(
    model: nn.Module,
    loss_of: LossOf,
    batch_of: BatchOf,
    settings: TrainSettings,
    folder: Path,
    progress: Progress = silent,
    carry: Mapping[str, Tensor] | None = None,
) -> TrainSummary:
    """Train, or continue what `folder` holds, or return at once what it finished.

    `loss_of(model, batch)` gives the mean loss and its number of tokens; `batch_of(step, row,
    rows)` must be a pure function of its arguments. Writes `folder/metrics.jsonl` (one row a
    step) and `folder/checkpoints/`. `carry` holds a parent's optimizer tensors; without it the
    optimizer starts anew. The model and its batches go to `settings.device`; on return it is back
    where it was and holds the fp32 masters, or their average where `settings.optim.average` is set.

    Killed anywhere and called again, it ends with the same bits, given the same number of threads.
    Ctrl-C or SIGTERM saves a checkpoint first and then raises KeyboardInterrupt. Raises RegrowError
    when the checkpoints are of other settings, the disk is full, or the loss keeps diverging.
    """
    device = devices.pick(settings.device)
    home = next(model.parameters()).device
    with devices.fork_random_state(device), _stop_flag() as stopped:
        run = _Run(model, settings, folder, carry, device)
        done = ([*run.plan, (settings.total, 0)])[run.state.step][0]
        progress(done, settings.total, phase=f"training on {device} in {run.precision.reason}")
        meter = Meter(model, run.precision, device)
        ahead = made_ahead(batch_of, run.plan, settings.micro, device.type)
        with contextlib.closing(run.metrics), ahead as batches:
            last = 0.0
            while run.state.step < len(run.plan):
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
                if stopped.is_set() or run.state.step % settings.every == 0:
                    run.save()
                if stopped.is_set():
                    raise KeyboardInterrupt
            if run.checkpoints.steps()[-1:] != [run.state.step]:
                run.save()
        progress(settings.total, settings.total, phase="trained")
        run.optimizer.release()
        model.to(home)
        return run.summary()


@contextlib.contextmanager
def _stop_flag() -> Iterator[threading.Event]:
    """An event that Ctrl-C or SIGTERM sets; the second Ctrl-C interrupts at once."""
    flag = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield flag
        return

    def stop(number: int, frame: Any) -> None:
        if flag.is_set():
            raise KeyboardInterrupt
        flag.set()

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
