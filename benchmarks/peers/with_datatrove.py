"""datatrove: Gopher's filter, and FineWeb's pipeline from WARC to token shards.

Language identification is left out, since its fastText model is downloaded on first use.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common


def rules(source: Path) -> Callable[[], list[bool]]:
    """Its own reading of Gopher's rules, on words as spaCy finds them."""
    from datatrove.data import Document
    from datatrove.pipeline.filters import GopherQualityFilter

    keeper = GopherQualityFilter()
    documents = [Document(text=text, id=str(i)) for i, text in enumerate(common.texts_of(source))]
    keeper.filter(documents[0])  # loads the word splitter
    return lambda: [keeper.filter(document) is not True for document in documents]


def end_to_end(source: Path, tokenizer: str) -> Callable[[], dict[str, Any]]:
    """WARC, Trafilatura, Gopher, C4 and FineWeb filters, MinHash at 14 bands of 8, token shards."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import MinhashDedupCluster, MinhashDedupFilter
    from datatrove.pipeline.dedup.minhash import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.extractors import Trafilatura
    from datatrove.pipeline.filters import (
        C4QualityFilter,
        FineWebQualityFilter,
        GopherQualityFilter,
        GopherRepetitionFilter,
    )
    from datatrove.pipeline.readers import JsonlReader, WarcReader
    from datatrove.pipeline.tokens import DocumentTokenizer
    from datatrove.pipeline.writers.jsonl import JsonlWriter

    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)

    def work() -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            at = {
                k: f"{folder}/{k}" for k in ("kept", "signatures", "buckets", "gone", "last", "ids")
            }
            read = JsonlReader(at["kept"])
            steps = [
                [
                    WarcReader(str(source.parent), glob_pattern=source.name),
                    Trafilatura(favour_precision=True, timeout=60),
                    GopherRepetitionFilter(),
                    GopherQualityFilter(),
                    C4QualityFilter(filter_no_terminal_punct=False),
                    FineWebQualityFilter(),
                    JsonlWriter(at["kept"]),
                ],
                [read, MinhashDedupSignature(output_folder=at["signatures"], config=config)],
                [MinhashDedupBuckets(at["signatures"], at["buckets"], config=config)],
                [MinhashDedupCluster(at["buckets"], at["gone"], config=config)],
                [read, MinhashDedupFilter(input_folder=at["gone"]), JsonlWriter(at["last"])],
                [
                    JsonlReader(at["last"]),
                    DocumentTokenizer(at["ids"], tokenizer_name_or_path=tokenizer, eos_token=None),
                ],
            ]
            for number, step in enumerate(steps):
                tasks = 14 if number == 2 else 1
                LocalPipelineExecutor(step, tasks=tasks, logging_dir=f"{folder}/log{number}").run()
            size = sum(file.stat().st_size for file in Path(at["ids"]).rglob("*.ds"))
            return {"tokens": size // 2}

    return work


if __name__ == "__main__":
    common.answer({"rules": rules, "end_to_end": end_to_end})
