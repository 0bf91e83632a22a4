"""The quality classifier over the sources that ask for it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from regrow.corpus import quality
from regrow.corpus.engine import Watch
from regrow.corpus.extract import extract
from regrow.corpus.page import Page, Problems, short
from regrow.corpus.parts import ROW_BITS, Store, columns, once, write_table
from regrow.corpus.read import read
from regrow.corpus.stages.job import Job, Pipeline
from regrow.errors import RegrowError
from regrow.seeds import derive

LEAST_REFERENCE = 20  # trusted documents that a classifier needs
SAMPLE = 50_000  # documents of the crawl, and of the reference, that it learns from


def _asked(job: Job, part: str) -> Iterator[tuple[int, Page]]:
    """Numbers and pages that the classifier has to score."""
    for number, page in enumerate(job.store.load(part), job.store.first(part)):
        if not page.reason and page.source in job.settings.quality.sources:
            yield number, page


def rank_part(job: Job, part: str, watch: Watch) -> None:
    """The pages of a part that may be learnt from, with the ranks by which they are drawn."""

    def make(path: Path) -> None:
        ranks = [(derive("quality sample", page.id), n) for n, page in _asked(job, part)]
        rank, number = np.asarray(ranks, np.int64).reshape(-1, 2).T
        write_table(path, {"rank": rank, "number": number})

    once(job.store.path("quality-ranks", part), make)


def _sample(store: Store, characters: int) -> list[Page]:
    """The pages with the lowest ranks, as many as are learnt from, in their order; cut short."""
    lowest = np.empty((2, 0), np.int64)
    for path in store.files("quality-ranks"):
        both = np.concatenate([lowest, columns([path], "rank", "number")], 1)
        lowest = both[:, np.argsort(both[0], kind="stable")[:SAMPLE]]
    chosen = np.sort(lowest[1])
    pages = []
    for part in store.parts:
        low = store.first(part)
        own = chosen[(chosen >= low) & (chosen < low + (1 << ROW_BITS))]
        held = store.load(part) if len(own) else []
        for page in (held[number - low] for number in own.tolist()):
            page.text = page.text[:characters]
            pages.append(page)
    return pages


def score_part(job: Job, classifier: quality.Classifier, part: str, watch: Watch) -> dict[str, int]:
    """Verdicts by score on the pages of a part; tells how many were scored and left out."""

    def make(path: Path) -> dict[str, int]:
        settings = job.settings
        asked = list(_asked(job, part))
        values = classifier.scores([page for _, page in asked])
        left = [
            not quality.keep(page.text, value, settings.quality, settings.seed)
            for (_, page), value in zip(asked, values)
        ]
        write_table(
            path,
            {
                "number": [number for number, _ in asked],
                "quality": values,
                "reason": ["quality: below the draw" if out else None for out in left],
            },
        )
        return {"scored": len(asked), "left": sum(left)}

    told: dict[str, int] = once(job.store.path("quality", part), make)
    return told


def _trusted(reference: Sequence[Path], characters: int) -> list[str]:
    """The texts of the reference, cut short. Raises RegrowError where they are too few."""
    problems = Problems()
    texts: list[str] = []
    for page in read({"reference": reference}, problems):
        if page.body is not None:
            _extract(page, problems)
        if page.text.strip():
            texts.append(page.text[:characters])
        if len(texts) == SAMPLE:
            break
    if len(texts) < LEAST_REFERENCE:
        told = [f"; {row['path']}: {row['reason']}" for row in problems.rows[:1]]
        raise RegrowError(
            f"the reference {', '.join(map(str, reference))} holds {len(texts)} texts of the "
            f"{LEAST_REFERENCE} that a quality classifier needs{''.join(told)}; give more, or none"
        )
    return texts


def _extract(page: Page, problems: Problems) -> None:
    try:
        extract(page)
    except Exception as error:  # whatever a parser raises costs this page only
        page.reason = short(error)
    if page.reason:
        problems.add(page.source, page.location, page.reason)


def drop_low_quality(pipeline: Pipeline, reference: Sequence[Path]) -> None:
    """Learn from the reference and a sample of the crawl, and apply the keep rule."""
    settings, store = pipeline.job.settings, pipeline.store
    read_to = settings.quality.characters
    texts = _trusted(reference, read_to) if reference else []
    pipeline.map(partial(rank_part, pipeline.job), store.parts)
    pages = _sample(store, read_to)
    if len(pages) < 2 or not texts:
        why = {"used": False, "why": "too few documents", "reference": len(texts)}
        pipeline.notes["quality"] = why
        return
    folder = store.folder / "quality-models"
    classifier = quality.learn(pages, texts, settings.quality, settings.seed, folder)
    told = pipeline.map(partial(score_part, pipeline.job, classifier), store.parts)
    pipeline.store = store.judged("quality")
    pipeline.notes["quality"] = {
        "used": True,
        "model": settings.quality.model,
        "sources": list(settings.quality.sources),
        "reference": len(texts),
        "learnt_from": len(pages),
        "scored": sum(one["scored"] for one in told),
        "left_out": sum(one["left"] for one in told),
        "calibration": round(classifier.calibration, 4),
        "reference_kept": round(classifier.reference_kept, 4),
    }
