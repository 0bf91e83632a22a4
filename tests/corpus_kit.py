"""What tests of whole corpus builds share."""

from __future__ import annotations

import json
from pathlib import Path

from regrow.corpus.settings import CorpusSettings

SMALL = CorpusSettings.model_validate({"tokenizer": {"vocabulary": 400}, "jobs": 1})


def story(i: int) -> str:
    return (
        f"Story {i} is about person{i} of the town. In the year {1900 + i} she lived in street{i} "
        f"and had a pet{i}. The people of the square said that dish{i} was what she liked best."
    )


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path
