"""Steps of a run in a process of their own.

`python -m regrow.tree.worker RUN STEP` does one step. Without STEP it does the steps whose names
come line by line on standard input, so that libraries are loaded once, and dies when that input
ends, because then the process that started it is gone.

Progress goes to standard output as JSON lines: {"done", "total", "metrics"}, at the end of a step
{"finished": seconds} or {"error": line}. What libraries print goes to workers/STEP/log.txt.
"""

from __future__ import annotations

import contextlib
import errno
import gc
import json
import os
import queue
import shutil
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TextIO

from regrow.errors import RegrowError
from regrow.files import lock, read_json, write_atomic, write_json
from regrow.tree import edge, links
from regrow.tree.card import card
from regrow.tree.fingerprint import Inputs
from regrow.tree.plan import MEASURE, Grown
from regrow.tree.recipe import Recipe
from regrow.tree.stage import Stage, StageContext, registry
from regrow.tree.stages import reading

RECIPE = "recipe.json"
#: Writers of metrics, apart from the JSONL, as words: tensorboard, wandb.
LOG_TO = "REGROW_LOG_TO"
_SAID_EVERY = 0.2
_SAVED_EVERY = 10.0

Say = Callable[[dict[str, Any]], None]


def main(arguments: list[str]) -> int:
    """Do the step that is named, or those that come on standard input; 0 when all are finished."""
    run, *names = arguments
    with _private_stdout() as out:

        def say(message: dict[str, Any]) -> None:
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps(message), file=out, flush=True)

        return max(attempt(Path(run), name, say) for name in names or _asked())


def attempt(run: Path, name: str, say: Say) -> int:
    """Do a step and say how it ended; returns the exit code."""
    folder = run / "workers" / name.replace("/", "-")
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "log.txt", "a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    try:
        with _own(folder):
            _forget()
            say({"finished": work(run, name, say)})
        return 0
    except Exception as error:
        traceback.print_exc()
        say({"error": explain(error)})
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


def _asked() -> Iterator[str]:
    """The names on standard input as they come; its end is the end of this process group."""
    names: queue.Queue[str] = queue.Queue()

    def listen() -> None:
        for line in sys.stdin:
            names.put(line.strip())
        os.killpg(os.getpgrp(), signal.SIGKILL)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        yield names.get()


def _forget() -> None:
    """Start a step as a new process would: no memory of the last one, the same random numbers."""
    gc.collect()
    if torch := sys.modules.get("torch"):
        from regrow.memory import give_back

        torch.manual_seed(0)
        give_back()


def explain(error: Exception) -> str:
    """An exception as one line for the user."""
    if isinstance(error, RegrowError):
        return str(error)
    full = isinstance(error, OSError) and error.errno == errno.ENOSPC
    if full or "No space left on device" in str(error):
        return "the disk is full; free space and run the same command again, nothing is lost"
    first = str(error).strip().splitlines()
    return f"{type(error).__name__}: {first[0] if first else 'no message'}"


def work(run: Path, name: str, say: Say) -> float:
    """Do one step of a run; returns the seconds it took."""
    recipe = Recipe.model_validate(read_json(run / RECIPE))
    grown = Grown(recipe, run)
    if name.endswith(MEASURE):
        return _measure(grown, name, say)
    return _grow(grown, name, say)


def context(grown: Grown, name: str) -> StageContext:
    """What the stage of a step is given, without progress."""
    recipe, run = grown.recipe, grown.run
    node_name = name.removesuffix(MEASURE)
    node = recipe.nodes.get(node_name)
    return StageContext(
        recipe=recipe,
        name=node_name,
        node=node,
        folder=run / node_name,
        parent=run / node.parent if node and node.parent else None,
        run=run,
        seed=recipe.seed,
        threads=int(os.environ.get("OMP_NUM_THREADS") or edge.cores()),
    )


def _grow(grown: Grown, name: str, say: Say) -> float:
    given = context(grown, name)
    stage = registry()[given.node.stage if given.node else name]
    inputs = grown.inputs(name)
    begun = _begin(given, stage, inputs)
    start = time.monotonic()

    def taken() -> float:
        return round(begun["seconds"] + time.monotonic() - start, 3)

    def save() -> None:
        if stage.resumable:
            write_json(given.folder / edge.GROWING, begun | {"seconds": taken()})

    with _mirrored(given):
        record = stage.grow(replace(given, progress=_reporter(say, save)))
    done = edge.Edge(
        name=name,
        stage=given.node.stage if given.node else name,
        parent=given.node.parent if given.node else None,
        fingerprint=inputs.fingerprint,
        inputs=inputs.values,
        started=begun["started"],
        finished=edge.clock(),
        seconds=taken(),
        attempts=begun["attempts"],
        threads=given.threads,
        weights=edge.weights_of(given.folder),
        versions=edge.versions(),
        machine=edge.machine(),
        record=record | reading.counts(given.folder),
    )
    if given.node:
        _draw(given.folder)
        write_atomic(given.folder / "README.md", card(grown.recipe, done, given.corpus))
    edge.write_edge(given.folder, done)
    (given.folder / edge.GROWING).unlink(missing_ok=True)
    for checkpoints in [*given.folder.rglob("checkpoints")]:
        shutil.rmtree(checkpoints, ignore_errors=True)
    return done.seconds


def _draw(folder: Path) -> None:
    """The loss plot of a node that was trained; a node without one is as good."""
    if (folder / "metrics.jsonl").is_file():
        from regrow.train.plot import draw

        try:
            draw(folder)
        except Exception:
            traceback.print_exc()


def _mirrored(given: StageContext) -> contextlib.AbstractContextManager[None]:
    """A node's metrics go where `regrow run --log-to` said."""
    names = os.environ.get(LOG_TO, "").split()
    if not names or given.node is None:
        return contextlib.nullcontext()
    from regrow.train.log import follow

    return follow(given.folder, names)


def _begin(given: StageContext, stage: Stage, inputs: Inputs) -> dict[str, Any]:
    """Make the folder ready: as it was left where the step goes on, else empty."""
    path = given.folder / edge.GROWING
    if stage.resumable and path.is_file():
        begun: dict[str, Any] = read_json(path)
        begun["attempts"] += 1
    else:
        links.remove(given.folder)
        given.folder.mkdir(parents=True)
        begun = {"fingerprint": inputs.fingerprint, "inputs": dict(inputs.values),
                 "started": edge.clock(), "seconds": 0.0, "attempts": 1,
                 "threads": given.threads}  # fmt: skip
    if stage.resumable:
        write_json(path, begun)
    return begun


def _measure(grown: Grown, name: str, say: Say) -> float:
    given = context(grown, name)
    inputs = grown.inputs(name)
    links.own(given.folder)
    start = time.monotonic()
    record = registry()["measure"].grow(replace(given, progress=_reporter(say, None)))
    found = edge.read_edge(given.folder)
    if found is None:
        raise RegrowError(f"{given.name} is not grown; run `regrow run --to {given.name}`")
    scores = given.folder / "scores.json"
    measured = {
        "fingerprint": inputs.fingerprint,
        "inputs": dict(inputs.values),
        "seconds": round(time.monotonic() - start, 3),
        "record": record,
        "scores": read_json(scores) if scores.is_file() else [],
    }
    done = replace(found, measured=measured)
    write_atomic(given.folder / "README.md", card(grown.recipe, done, given.corpus))
    edge.write_edge(given.folder, done)
    return float(measured["seconds"])


def _reporter(say: Say, save: Callable[[], None] | None) -> Callable[..., None]:
    """A progress callback that speaks five times a second at most and saves the time taken."""
    said, saved = 0.0, time.monotonic()

    def progress(done: float, total: float, **metrics: Any) -> None:
        nonlocal said, saved
        now = time.monotonic()
        if now - said >= _SAID_EVERY or done >= total:
            plain = {key: v for key, v in metrics.items() if isinstance(v, int | float | str)}
            say({"done": float(done), "total": float(total), "metrics": plain})
            said = now
        if save is not None and now - saved >= _SAVED_EVERY:
            save()
            saved = now

    return progress


@contextlib.contextmanager
def _private_stdout() -> Iterator[TextIO]:
    """The real standard output, for messages only; libraries print to another file then."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w") as out:
        yield out


@contextlib.contextmanager
def _own(folder: Path, patience: float = 20.0) -> Iterator[None]:
    """Hold the step's lock; a worker left over from a killed run gets a moment to die."""
    until = time.monotonic() + patience
    with contextlib.ExitStack() as stack:
        while True:
            try:
                stack.enter_context(lock(folder))
                break
            except RegrowError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
