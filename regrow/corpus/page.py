"""A document on its way through the pipeline."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Page:
    """Stages fill in the later fields."""

    source: str
    location: str  # record id, file, or file:line; unique within its file
    url: str = ""
    body: bytes | None = None  # still to be extracted; then None
    text: str = ""
    content_type: str = ""
    charset: str = ""
    status: int = 200
    domain: str = ""
    format: str = ""
    language: str = ""
    licence: str = ""
    id: str = ""
    reason: str = ""  # why it was left out, "stage: reason"; empty while kept
    detail: str = ""
    quality: float | None = None
    characters: int = 0  # of the text when it was last written
    head: str = ""  # the beginning of the text, for people who look at what was left out
    cluster: str = ""  # the survivor of the near-duplicates it belongs to, itself included
