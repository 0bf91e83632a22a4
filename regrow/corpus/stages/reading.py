"""Input files to raw parts of bounded size: one large file is as good as many small ones."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from regrow.corpus.engine import Watch
from regrow.corpus.page import Page, Problems
from regrow.corpus.parts import once, write_pages
from regrow.corpus.read import read_file
from regrow.corpus.readers.files import InputFile
from regrow.corpus.stages.job import Job, Pipeline
from regrow.files import sha256_file, write_json

GROUP_PARTS = 4  # parts' worth of files that one task reads
GROUP_FILES = 1000
PART_PAGES = 4096


@dataclass(frozen=True)
class Group:
    """Files that one task reads."""

    number: int
    files: tuple[InputFile, ...]


def grouped(files: Sequence[InputFile], sizes: Sequence[int], part_mb: float) -> list[Group]:
    """Files in their order, cut into groups by size in bytes and number."""
    groups: list[list[InputFile]] = []
    room = 0
    for file, size in zip(files, sizes, strict=True):
        if not groups or room < size or len(groups[-1]) >= GROUP_FILES:
            groups.append([])
            room = int(GROUP_PARTS * part_mb * 2**20)
        groups[-1].append(file)
        room -= size
    return [Group(number, tuple(own)) for number, own in enumerate(groups)]


def page_id(page: Page) -> str:
    """An id by what a page holds and where it stands, the same on every machine."""
    content = page.body if page.body is not None else page.text.encode("utf-8", "replace")
    where = f"{page.source}\x1f{page.url}\x1f{page.location}\x1f"
    whole = where.encode("utf-8", "replace") + content
    return hashlib.blake2b(whole, digest_size=8).hexdigest()


def _cut(pages: Iterator[Page], part_mb: float) -> Iterator[list[Page]]:
    """Pages in lists of bounded size."""
    held: list[Page] = []
    size = 0
    for page in pages:
        held.append(page)
        size += len(page.body) if page.body is not None else len(page.text)
        if size >= part_mb * 2**20 or len(held) >= PART_PAGES:
            yield held
            held, size = [], 0
    if held:
        yield held


def read_group(job: Job, group: Group, watch: Watch) -> dict[str, Any]:
    """Write the raw parts of a group; tells their names and what could not be read."""
    store = job.store
    index = store.folder / "raw" / f"{group.number:05d}.json"

    def make(path: Path) -> dict[str, Any]:
        problems = Problems()
        pages = (page for f in group.files for page in read_file(f, f.source, problems))
        parts = []
        for number, held in enumerate(_cut(pages, job.settings.part_mb)):
            for page in held:
                page.id = page_id(page)
            part = store.path("raw", f"{group.number:05d}-{number:05d}")
            unfinished = part.with_name(f".{part.name}.{os.getpid()}.partial")
            write_pages(unfinished, held)
            os.replace(unfinished, part)
            parts.append({"name": part.stem, "pages": len(held), "sha256": sha256_file(part)})
        told = {"parts": parts, "problems": problems.rows, "left_out": problems.left_out}
        write_json(path, told)
        return told

    told: dict[str, Any] = once(index, make)
    raw = {part["name"]: part["sha256"] for part in told["parts"]}
    paths = {name: store.path("raw", name) for name in raw}
    if all(paths[name].is_file() and sha256_file(paths[name]) == raw[name] for name in raw):
        return told
    index.unlink()
    told = once(index, make)
    return told


def read_all(pipeline: Pipeline, files: Sequence[InputFile], sizes: Sequence[int]) -> Problems:
    """Read all files; returns what was set aside and left out."""
    groups = grouped(files, sizes, pipeline.job.settings.part_mb)
    told = pipeline.map(partial(read_group, pipeline.job), groups)
    names = tuple(part["name"] for one in told for part in one["parts"])
    pipeline.store = replace(pipeline.store, parts=names, texts="raw")
    problems = Problems(files=len(files))
    for one in told:
        left_out = {source: Counter(found) for source, found in one["left_out"].items()}
        problems.merge(Problems(one["problems"], 0, left_out))
    return problems
