"""regrow itself, through the same door as its peers."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import gopher


def near(source: Path, threshold: float) -> Callable[[], list[int]]:
    from regrow.corpus.deduplicate import near_copies
    from regrow.corpus.grams import hash_words
    from regrow.corpus.settings import DeduplicateSettings

    texts = common.texts_of(source)

    def work() -> list[int]:
        found = near_copies(hash_words(texts), DeduplicateSettings(threshold=threshold))
        return [i for i, (original, _) in enumerate(found) if original >= 0]

    return work


def plain_rules(source: Path) -> Callable[[], list[bool]]:
    """The peers' rules as plain Python: what their decisions are checked against."""
    counts = {name: re.compile(pattern) for name, pattern in gopher.COUNTS.items()}
    present = [re.compile(pattern) for pattern in gopher.PRESENT.values()]
    texts = common.texts_of(source)

    def broken(text: str) -> bool:
        found = {name: len(pattern.findall(text)) for name, pattern in counts.items()}
        return gopher.broken(found, sum(bool(pattern.search(text)) for pattern in present))

    return lambda: [broken(text) for text in texts]


def rules(source: Path) -> Callable[[], list[bool]]:
    """Gopher's rules on words and lines."""
    from regrow.corpus.rules_published import gopher_quality
    from regrow.corpus.shape import Shape

    texts = common.texts_of(source)
    return lambda: [bool(gopher_quality(Shape(text))) for text in texts]


def all_rules(source: Path) -> Callable[[], list[bool]]:
    """With those on repetition; the answer tells of the others only."""
    from regrow.corpus.rules_published import gopher, gopher_quality
    from regrow.corpus.shape import Shape

    texts = common.texts_of(source)

    def work() -> list[bool]:
        shapes = map(Shape, texts)
        return [bool(gopher(shape)) and bool(gopher_quality(shape)) for shape in shapes]

    return work


def encode(source: Path, tokenizer: str) -> Callable[[], list[list[int]]]:
    from regrow.corpus.tokenizer import Tokenizer

    texts, loaded = common.texts_of(source), Tokenizer.load(Path(tokenizer))
    os.environ["RAYON_NUM_THREADS"] = "1"  # as in a build, whose workers are processes
    loaded.encode_batch(texts[:1])  # the vocabulary's conversion is preparation, as tiktoken's

    def work() -> list[list[int]]:
        batches = (texts[i : i + 512] for i in range(0, len(texts), 512))
        return [ids for batch in batches for ids in loaded.encode_batch(batch)]

    return work


def end_to_end(source: Path, tokenizer: str) -> Callable[[], dict[str, Any]]:
    """WARC to shards with the whole engine, one process; the tokenizer is given."""
    from regrow.corpus.build import build
    from regrow.corpus.settings import CorpusSettings

    chosen = {"jobs": 1, "tokenizer": {"path": tokenizer}, "heldout_share": 0.0}
    settings = CorpusSettings.model_validate(chosen)

    def work() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            report = build({"crawl": [source]}, Path(folder) / "corpus", settings)
        counts = report["tokens"]["sources"]["crawl"]
        return {"tokens": counts["tokens"], "seconds": report["seconds"]}

    return work


if __name__ == "__main__":
    tasks = {
        "near": near,
        "rules": rules,
        "all_rules": all_rules,
        "plain_rules": plain_rules,
        "encode": encode,
    }
    common.answer(tasks | {"end_to_end": end_to_end})
