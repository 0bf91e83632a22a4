"""Daft: near-duplicates by its MinHash, and Gopher's rules as column expressions."""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from itertools import pairwise
from operator import add
from pathlib import Path

import common
import gopher


def near(source: Path, threshold: float, hashes: int = 112) -> Callable[[], list[int]]:
    """Bands of the signature that agree are edges; components keep their first text."""
    import daft
    from daft import col
    from daft.functions import hash as hash_of
    from daft.functions import lower, minhash, regexp_replace
    from daft.functions import slice as part

    bands, rows = common.bands_for(threshold, hashes)

    def work() -> list[int]:
        words = regexp_replace(lower(col("text")), r"\W+", " ")
        signature = minhash(words, num_hashes=bands * rows, ngram_size=5)
        frame = daft.read_parquet(str(source)).select("id", signature.alias("signature"))
        frame = frame.with_column(
            "signature", col("signature").cast(daft.DataType.list(daft.DataType.uint32()))
        ).collect()
        edges: list[tuple[int, int]] = []
        for first in range(0, bands * rows, rows):
            key = hash_of(part(col("signature"), first, first + rows))
            groups = frame.select("id", key.alias("key")).groupby("key")
            members = groups.agg(col("id").list_agg().alias("ids")).to_pydict()["ids"]
            edges += [pair for ids in members if len(ids) > 1 for pair in pairwise(ids)]
        return common.all_but_first(frame.count_rows(), edges)

    return work


def rules(source: Path) -> Callable[[], list[bool]]:
    import daft
    from daft import DataType, col
    from daft.functions import regexp_count

    def work() -> list[bool]:
        text = col("text")
        counts = {k: regexp_count(text, p).cast(DataType.int64()) for k, p in gopher.COUNTS.items()}
        frame = daft.read_parquet(str(source))
        found = [
            (regexp_count(text, p) > 0).cast(DataType.int64()) for p in gopher.PRESENT.values()
        ]
        frame = frame.select(
            "id", reduce(add, found).alias("stop"), *(e.alias(k) for k, e in counts.items())
        )
        broken = gopher.broken({name: col(name) for name in gopher.COUNTS}, col("stop"))
        return frame.select("id", broken.alias("broken")).sort("id").to_pydict()["broken"]

    return work


if __name__ == "__main__":
    common.answer({"near": near, "rules": rules})
