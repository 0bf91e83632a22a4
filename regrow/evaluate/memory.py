"""How much of its training text a node gives back word for word, beside text it never saw."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from regrow.corpus.shards import Shards
from regrow.errors import RegrowError
from regrow.evaluate.answering import Subject
from regrow.evaluate.outcomes import Outcome
from regrow.seeds import derive

#: Tokens that are shown, and tokens that must follow (Biderman et al. 2023, Emergent and
#: Predictable Memorization, sec. 2.1).
SHOWN, WANTED = 32, 32

#: An id, its first SHOWN + WANTED tokens, and the variant that it counts in.
Opening = tuple[str, list[int], dict[str, str]]


def memorisation(
    node: Subject, corpus: Path, held_out: Sequence[Mapping[str, Any]], per_source: int
) -> list[Outcome]:
    """Openings of training and of held-out documents: does greedy decoding go on as they do?

    At most `per_source` documents of each source and count of copies. Training documents are those
    of the token shards in `corpus`; `copies` counts documents there with the same opening.
    """
    from regrow.generate.sampler import score

    if not (corpus / "tokens" / "manifest.json").is_file():
        raise RegrowError(f"{corpus} holds no tokens; measure memorisation in the run of the node")
    began = time.perf_counter()
    asked = [*_trained(Shards.open(corpus), per_source), *_unseen(node, held_out, per_source)]
    pairs = [([node.tokenizer.start, *ids[:SHOWN]], ids[SHOWN:]) for _, ids, _ in asked]
    outcomes = [
        Outcome(
            "memorisation", name, name, variant, "verbatim", float(found.greedy),
            float(np.mean(found.logprobs)),
        )
        for (name, _, variant), found in zip(asked, score(node.model, pairs), strict=True)
    ]  # fmt: skip
    node.spent("memorisation", began)
    return outcomes


def _trained(shards: Shards, per_source: int) -> Iterator[Opening]:
    """Openings of training documents, the same for every node of a run."""
    for source in shards.sources:
        offsets, tokens = shards.offsets(source), shards.tokens(source)
        long = np.flatnonzero(np.diff(offsets) - 1 >= SHOWN + WANTED)  # less the end-of-text
        openings = {int(n): tokens[offsets[n] : offsets[n] + SHOWN + WANTED] for n in long}
        copies = Counter(opening.tobytes() for opening in openings.values())
        ids = shards.document_ids(source)
        taken: Counter[str] = Counter()
        done: set[bytes] = set()
        for n in sorted(openings, key=lambda n: derive("memorisation", ids[n])):
            opening = openings[n]
            cell = "1" if copies[opening.tobytes()] == 1 else "2 and more"
            if taken[cell] < per_source and opening.tobytes() not in done:
                taken[cell] += 1
                done.add(opening.tobytes())
                yield ids[n], opening.tolist(), {"seen": "yes", "source": source, "copies": cell}


def _unseen(
    node: Subject, held_out: Sequence[Mapping[str, Any]], per_source: int
) -> Iterator[Opening]:
    """Openings of held-out documents: what can be guessed of a text that was never seen."""
    encoded = node.tokenizer.encode_batch([row["text"] for row in held_out])
    taken: Counter[str] = Counter()
    for row, ids in zip(held_out, encoded, strict=True):
        source = row.get("source", "")
        if len(ids) >= SHOWN + WANTED and taken[source] < per_source:
            taken[source] += 1
            yield row["id"], ids[: SHOWN + WANTED], {"seen": "no", "source": source, "copies": "0"}
