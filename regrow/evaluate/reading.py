"""What a node makes of held-out documents: bits per byte, how these change along a row, and a page
to go on with."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regrow.errors import RegrowError
from regrow.evaluate.answering import Subject, draw
from regrow.evaluate.outcomes import Outcome
from regrow.evaluate.plans import Decoding
from regrow.files import read_jsonl
from regrow.seeds import derive

#: Tokens of a row that are told apart by where they stand, together.
STRETCH = 128


def heldout(path: Path, per_source: int) -> list[dict[str, Any]]:
    """The held-out documents to score: the first of each source by the hash of their ids."""
    sources: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in read_jsonl(path):
        sources[row.get("source", "")].append(row)
    chosen = []
    for source in sorted(sources):
        rows = sorted(sources[source], key=lambda row: derive("documents", row["id"]))
        chosen += rows[:per_source]
    return chosen


def language_modelling(node: Subject, documents: Sequence[dict[str, Any]]) -> list[Outcome]:
    """Bits per UTF-8 byte of the first context's worth of each document."""
    from regrow.generate.sampler import score

    began = time.perf_counter()
    encoded = node.tokenizer.encode_batch([row["text"] for row in documents])
    kept = [(row, ids[: node.context - 1]) for row, ids in zip(documents, encoded) if ids]
    results = score(node.model, [([node.tokenizer.start], ids) for _, ids in kept], batch=32)
    outcomes = []
    for (row, ids), result in zip(kept, results, strict=True):
        size = len(node.tokenizer.decode(ids).encode())
        bits = -float(np.asarray(result.logprobs, dtype=np.float64).sum()) / math.log(2) / size
        outcomes.append(
            Outcome(
                "language_modelling",
                row["id"],
                row["id"],
                {"source": row.get("source", "")},
                "bits per byte",
                bits,
            )
        )
    node.spent("language modelling", began)
    return outcomes


def by_position(node: Subject, documents: Sequence[dict[str, Any]]) -> list[Outcome]:
    """Bits per UTF-8 byte along rows of twice the context, `STRETCH` tokens at a time.

    A row holds documents of one source one after another, as rows of training do. Positions beyond
    the context are those that the model has without more training (`at_context`): rotary ones and
    ALiBi go on, learned ones are new and untrained.
    """
    from regrow.generate.sampler import score
    from regrow.model.stretch import at_context

    began = time.perf_counter()
    tokenizer, length = node.tokenizer, 2 * node.context
    packed: dict[str, list[int]] = defaultdict(list)
    encoded = tokenizer.encode_batch([row["text"] for row in documents])
    for row, ids in zip(documents, encoded):
        packed[row.get("source", "")] += [*ids, tokenizer.eos]
    rows = [
        (source, ids[first : first + length - 1])
        for source, ids in packed.items()
        for first in range(0, len(ids), length - 1)
    ]
    model = at_context(node.model, length, seed=0)
    results = score(model, [([tokenizer.start], ids) for _, ids in rows], batch=16, share=False)
    outcomes = []
    for number, ((source, ids), result) in enumerate(zip(rows, results, strict=True)):
        text = np.array(ids) != tokenizer.eos
        nats = np.where(text, -np.asarray(result.logprobs, dtype=np.float64), 0.0)
        for first in range(0, len(ids), STRETCH):
            end = min(first + STRETCH, length - 1)
            size = len(tokenizer.decode(ids[first:end]).encode())
            if end > len(ids) or not size:  # the last row ends before
                continue
            where = {"source": source, "position": f"{first}-{first + STRETCH}"}
            bits = float(nats[first:end].sum()) / math.log(2) / size
            name = f"{source} {number}"
            outcomes.append(Outcome("position", name, name, where, "bits per byte", bits))
    if not outcomes:
        raise RegrowError(
            f"the held-out documents of each source have fewer than {STRETCH} tokens, too "
            "few to read by position"
        )
    node.spent("position", began)
    return outcomes


def go_on(node: Subject, documents: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The opening of a held-out document, prose where there is any, that the node goes on with."""
    prose = [row for row in documents if row.get("format") == "prose"]
    opening = " ".join((prose or list(documents))[-1]["text"].split()[:12])
    prompt = [node.tokenizer.start, *node.tokenizer.encode(opening)]
    answer = draw(node, [prompt], Decoding(60, ()))[0][0]
    return {
        "title": "Go on with a page",
        "prompt": opening,
        "gold": "",
        "answer": answer.strip(),
        "right": None,
        "asked": "plain",
    }
