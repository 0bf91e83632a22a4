"""Stages that take moments: a node's weights are a chain of digests, resumable at every link."""

from __future__ import annotations

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.files import write_atomic, write_json
from regrow.tree.stage import Stage, StageContext

LINKS = 12


def chain(context: StageContext) -> dict[str, Any]:
    """Link after link from the parent's weights, with a checkpoint after each."""
    trouble = os.environ.get("FAKE_TROUBLE", "")
    checkpoint = context.folder / "checkpoints" / "state.json"
    if checkpoint.is_file():
        first, digest = json.loads(checkpoint.read_text())
    else:
        before = context.parent / "model.safetensors" if context.parent else None
        first, digest = 0, before.read_text() if before else ""
    print("a library speaks")  # must not be taken for a message
    for link in range(first, LINKS):
        text = f"{digest} {context.name} {context.seed} {link}"
        digest = hashlib.sha256(text.encode()).hexdigest()
        write_json(checkpoint, [link + 1, digest])
        with open(context.run / "links.log", "a") as log:
            log.write(f"{context.name} {link}\n")
        context.progress(link + 1, LINKS, loss=1 / (link + 1), tokens_per_s=1000.0)
        time.sleep(float(os.environ.get("FAKE_DELAY", "0")))
        if link == 5 and trouble == f"{context.name} full":
            raise OSError(28, "No space left on device")
        if link == 5 and trouble == f"{context.name} user":
            raise RegrowError("the rate is too high; halve settings.rate")
        if link == 5 and trouble == f"{context.name} bug":
            raise ValueError("a mistake of ours")
        if link == 5 and trouble == f"{context.name} dies":
            os.kill(os.getpid(), 9)
    write_atomic(context.folder / "model.safetensors", digest)
    write_json(context.folder / "config.json", {"architectures": ["LlamaForCausalLM"]})
    write_json(context.folder / "tokenizer.json", {})
    return {"tokens": context.node.tokens if context.node else 0, "threads": context.threads}


def write(name: str) -> Any:
    """A step that is not resumable and refuses to start on leavings."""

    def grow(context: StageContext) -> dict[str, Any]:
        assert list(context.folder.iterdir()) == []
        write_atomic(context.folder / f"{name}.txt", str(context.seed))
        time.sleep(float(os.environ.get("FAKE_DELAY", "0")))
        return {}

    return grow


def measure(context: StageContext) -> dict[str, Any]:
    row = {"node": context.name, "ability": "knowledge", "variant": {"shots": "8"}, "n": 10,
           "score": 0.5, "low": 0.3, "high": 0.7, "chance": 0.1, "seed": 0,
           "metric": "accuracy"}  # fmt: skip
    write_json(context.folder / "scores.json", [row])
    with open(context.run / "links.log", "a") as log:
        log.write(f"{context.name} measured\n")
    return {}


def report(context: StageContext) -> dict[str, Any]:
    write_json(context.folder / "abilities.json", [])
    write_atomic(Path(context.folder) / "index.html", "<html></html>")
    return {}


def tokens(context: StageContext) -> float:
    return float(context.node.tokens) if context.node else 0.0


def second(context: StageContext) -> float:
    return 1.0


STAGES = {
    "pretrain": Stage(chain, tokens),
    "supervised": Stage(chain, tokens),
    "feedme": Stage(chain, tokens),
    "rlhf": Stage(chain, tokens),
    "world": Stage(write("world"), second, unit="seconds", resumable=False),
    "corpus": Stage(write("corpus"), second, unit="seconds", resumable=False),
    "measure": Stage(measure, second, unit="seconds"),
    "report": Stage(report, second, unit="seconds", resumable=False),
}
