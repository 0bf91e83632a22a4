"""Going back in a run: the guard's rewinds, interventions by hand, the report when all failed."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import torch

from regrow.errors import RegrowError
from regrow.files import write_atomic
from regrow.train.checkpoint import Checkpoint

if TYPE_CHECKING:
    from regrow.train.loop import Run

#: What a person finds in the run's folder when the guard gave up.
DIVERGED = "diverged.md"
#: So many of the last events are told there; a ledger may be long.
EVENTS = 40


def rewind(run: Run) -> None:
    """Go back to before the spikes; the weights from then on depend only on the guard.

    Raises RegrowError, and writes the report, when it went back too often already.
    """
    guard, step = run.guard, run.state.step
    if guard.exhausted:
        raise RegrowError(report(run))
    to = guard.rewind_to
    oldest = next(iter(run.checkpoints.steps()), None)
    saved = _back(run, run.checkpoints.load(to) or run.checkpoints.load(oldest), to)
    first, end = guard.rewound(saved.meta["guard"])
    rows = [run.plan[first][0], sum(run.plan[min(end, len(run.plan)) - 1])]
    guard.note(step, "rewind", to=saved.step, skip=[first, end], rows=rows)
    run.record(**guard.ledger[-1])


def intervene(run: Run) -> None:
    """Do by hand what the script wants at this step."""
    while (now := run.script.due(run.state.step)) is not None:
        step, guard = run.state.step, run.guard
        if now.rewind is not None:  # the rest is done there
            saved = _back(run, run.checkpoints.load(now.rewind), now.rewind)
            run.script.rewound(now, saved.meta["script"])
            guard.load({**saved.meta["guard"], "ledger": guard.ledger})
        else:
            guard.leave_out(step, step + now.skip)
            if now.reset:
                run.optimizer.reset()
        obey(run)
        guard.note(step, "by hand", **{key: value for key, value in asdict(now).items() if value})
        run.record(**guard.ledger[-1])


def obey(run: Run) -> None:
    """Clip as was set by hand; the rate set by hand is looked up at every step."""
    clip = run.settings.optim.clip if run.script.clip is None else run.script.clip
    run.optimizer.settings = replace(run.optimizer.settings, clip=clip)


def sound(run: Run) -> bool:
    """Whether all weights are finite, masters and working ones."""
    trainable = run.optimizer.trainable
    both = (trainable.master, trainable.working)
    return all(math.isfinite(float(torch.linalg.vector_norm(one))) for one in both)


def tell_broken(run: Run) -> None:
    """Put into the ledger which checkpoints were found broken."""
    for text in run.checkpoints.notes:
        run.note(text)
    run.checkpoints.notes.clear()


def _back(run: Run, saved: Checkpoint | None, to: int) -> Checkpoint:
    """Be again at the checkpoint for step `to`; the steps between the two will be repeated."""
    tell_broken(run)
    if saved is None:
        raise RegrowError(f"no checkpoint is left to rewind to step {to}; start anew")
    seconds = run.state.seconds
    run.restore(saved)
    run.state.seconds = seconds
    run.checkpoints.discard_after(saved.step)
    return saved


def report(run: Run) -> str:
    """Write `diverged.md`: what happened, under which settings, what to try. Returns one line."""
    guard, settings = run.guard, run.settings
    first = guard.streak[0]
    why = guard.ledger[-1]["why"]
    path = run.folder / DIVERGED
    rows = [_row(event) for event in guard.ledger[-EVENTS:]]
    optim = {k: v for k, v in asdict(settings.optim).items() if v is not None}
    text = f"""# Training stopped: it diverged

At step {first} the loss or a gradient spiked again ({why}), after {guard.rewinds} rewinds without
{guard.window} quiet steps between them. The checkpoints are kept; nothing is lost.

## What happened (the last {len(rows)} of {len(guard.ledger)} events)

| step | event | loss | norm | embedding | limit | rows | why |
|---|---|---|---|---|---|---|---|
{chr(10).join(rows)}

Rows are rows of training data, [first, end); the metrics of every step are in metrics.jsonl.

## In force

- guard: {_words(asdict(guard.settings))}
- optimizer: {_words(optim)}
- schedule: {_words(asdict(settings.schedule))}

## What helped others

1. A learning rate of 0.5 to 0.9 of this one (OPT-175B, GLM-130B, BLOOM 104B).
2. Another look at the documents in the rows above (GLM-130B skipped noisy data by hand).
3. A lower clip, 0.3 for 1.0 (OPT-175B); a longer warm-up; fp32 where this was bf16 or fp16.

Change the settings, delete `checkpoints` beside this file, and run again.
"""
    write_atomic(path, text)
    return (
        f"training diverged at step {first} again after {guard.rewinds} rewinds ({why}); "
        f"lower the learning rate or look at the data there: {path} tells what happened"
    )


def _row(event: dict[str, Any]) -> str:
    cells = [event.get(key) for key in ("loss", "norm", "embedding", "limit", "rows", "why")]
    if event["event"] == "rewind":
        cells[-1] = f"back to step {event['to']}, left out steps {event['skip']}"
    return "| " + " | ".join(_cell(cell) for cell in (event["step"], event["event"], *cells)) + " |"


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value).replace("|", "/")


def _words(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {_cell(value)}" for name, value in values.items() if value != ())
