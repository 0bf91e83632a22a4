"""What tests of whole corpus builds share."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regrow.corpus.engine import Done, Watch, Work
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


class Here:
    """Does tasks in this process, so that a test can stop what they do."""

    def map(self, work: Work, tasks: Sequence[Any], done: Done) -> list[Any]:
        results = []
        for task in tasks:
            results.append(work(task, Watch()))
            done(len(results))
        return results

    def close(self) -> None:
        """Nothing to let go."""
