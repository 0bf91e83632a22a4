"""What a node makes of held-out documents: bits per byte, and a page to go on with."""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regrow.evaluate.answering import Subject, draw
from regrow.evaluate.outcomes import Outcome
from regrow.evaluate.plans import Decoding
from regrow.files import read_jsonl
from regrow.seeds import derive


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
