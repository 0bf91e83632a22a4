"""Published scores of GPT-3's family and its contemporaries, always with the setting.

`published/scores.csv` holds model, benchmark, setting, score, and the title and address of the
source. Scores of one benchmark in two settings are not comparable: BLOOM's HellaSwag reads 53.5,
74.4 or 76.4 by protocol.
"""

from __future__ import annotations

import csv
import functools
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

FILE = Path(__file__).with_name("published") / "scores.csv"

#: The family, in the order of its tree; other models are shown after it.
FAMILY = (
    "davinci", "code-davinci-002", "text-davinci-002", "text-davinci-003", "gpt-3.5-turbo",
    "gpt-3.5-turbo-0301", "ChatGPT",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Published:
    """One published score, in the units that its setting names (mostly per cent)."""

    model: str
    benchmark: str
    setting: str
    score: float
    source_title: str
    source_address: str

    def to_row(self) -> dict[str, str | float]:
        """A row of JSON."""
        return asdict(self)


@functools.cache
def published_scores() -> tuple[Published, ...]:
    """All rows of the table, in its order."""
    with open(FILE, encoding="utf-8", newline="") as file:
        return tuple(
            Published(
                row["model"], row["benchmark"], row["setting"], float(row["score"]),
                row["source_title"], row["source_address"],
            )
            for row in csv.DictReader(file)
        )  # fmt: skip


def published_for(benchmarks: Sequence[str]) -> list[Published]:
    """The rows of these benchmarks: the family first, in the order of its tree."""
    place = {name: n for n, name in enumerate(FAMILY)}
    rows = [row for row in published_scores() if row.benchmark in set(benchmarks)]
    return sorted(rows, key=lambda row: place.get(row.model.split(" (")[0], len(FAMILY)))
