from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from regrow.corpus.build import build
from regrow.corpus.settings import CorpusSettings, RepeatSettings
from regrow.corpus.stages.repeats import joined, line_units, passage_units


def own(i: int, n: int = 120) -> str:
    return " ".join(f"word{i}x{j}" for j in range(n))


def built(folder: Path, texts: list[str], stage: str, **repeats: Any) -> tuple[dict, list[str]]:
    path = folder / "in.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    settings = CorpusSettings.model_validate(
        {"stages": [stage], "repeats": repeats, "tokenizer": {"vocabulary": 300}, "jobs": 1}
    )
    report = build({"web": [path]}, folder / "out", settings)
    return report, pq.read_table(folder / "out/documents/web.parquet")["text"].to_pylist()


def test_a_line_of_three_documents_stays_in_the_first_only(tmp_path: Path) -> None:
    line = "Copyright by the printers of the town, who keep all of their rights to this page."
    other = "A line that only two of the documents hold is left where it stands in both of them."
    texts = [
        f"{own(0)}\n{line}\n{other}",
        f"{line}\n{own(1)}\n{other}",
        f"{own(2)}\n{line.upper()}",
    ]
    report, left = built(tmp_path, texts, "repeated lines")
    assert left == [texts[0], f"{own(1)}\n{other}", own(2)]
    assert report["repeated_lines"]["cut"] == 2


def test_short_lines_are_never_looked_at() -> None:
    hashes, spans = line_units("short\n" + "a longer line " * 5 + "\n\n", RepeatSettings())
    assert len(hashes) == 1
    assert spans.tolist() == [[6, 6 + 70]]


def test_a_passage_is_cut_from_its_first_word_to_its_last(tmp_path: Path) -> None:
    passage = own(9, 60)
    texts = [
        f"{own(0)} {passage} {own(1)}",
        f"{own(2)}, {passage.upper()}. {own(3)}",
        f"{own(4)} {own(9, 49)} {own(5)}",  # one word too short
    ]
    report, left = built(tmp_path, texts, "repeated passages")
    assert left == [texts[0], f"{own(2)}, . {own(3)}", texts[2]]
    assert report["repeated_passages"]["cut"] == 60 - 50 + 1


def test_a_document_that_is_hardly_anything_else_goes(tmp_path: Path) -> None:
    texts = [own(0, 300), f"{own(0, 300)} and a few words more", own(1)]
    report, left = built(tmp_path, texts, "repeated passages")
    assert left == [texts[0], texts[2]]
    reasons = report["funnel"]["sources"]["web"]["reasons"]
    assert reasons == {"repeated passages: hardly anything else": 1}


def test_a_text_that_repeats_itself_loses_the_second_time(tmp_path: Path) -> None:
    _, left = built(tmp_path, [f"{own(0, 60)} {own(1)} {own(0, 60)} {own(2)}"], "repeated passages")
    assert left == [f"{own(0, 60)} {own(1)}  {own(2)}"]


def test_runs_of_words_by_hand() -> None:
    hashes, spans = passage_units("a b c d e f a b c d e", RepeatSettings(passage=5))
    assert spans.tolist() == [[i, i + 5] for i in range(7)]
    assert hashes[0] == hashes[6]
    assert len(set(hashes.tolist())) == 6


@pytest.mark.parametrize(
    ("spans", "expected"),
    [([], []), ([[3, 5], [0, 2]], [(0, 2), (3, 5)]), ([[0, 4], [4, 6], [2, 3]], [(0, 6)])],
)
def test_spans_that_touch_are_one(spans: list[list[int]], expected: list[Any]) -> None:
    assert joined(np.asarray(spans, np.int64).reshape(-1, 2)) == expected
