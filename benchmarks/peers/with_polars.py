"""Polars: Gopher's rules as column expressions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import common
import gopher


def rules(source: Path) -> Callable[[], list[bool]]:
    import polars as pl

    def work() -> list[bool]:
        text = pl.col("text").str
        counts = [text.count_matches(p).cast(pl.Int64).alias(k) for k, p in gopher.COUNTS.items()]
        found = [text.contains(p).cast(pl.Int64) for p in gopher.PRESENT.values()]
        frame = pl.scan_parquet(source).select(*counts, pl.sum_horizontal(found).alias("stop"))
        broken = gopher.broken({name: pl.col(name) for name in gopher.COUNTS}, pl.col("stop"))
        return frame.select(broken.alias("broken")).collect()["broken"].to_list()

    return work


if __name__ == "__main__":
    common.answer({"rules": rules})
