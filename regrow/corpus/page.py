"""What flows through the corpus: a page, and the notes on what never became one."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(slots=True)
class Page:
    """A document on its way through the pipeline; stages fill in the later fields."""

    source: str
    location: str  # record id, file, or file:line; files are named from their root
    url: str = ""
    body: bytes | None = None  # still to be extracted; then None
    text: str = ""
    content_type: str = ""
    charset: str = ""
    status: int = 200
    domain: str = ""
    format: str = ""
    language: str = ""
    code_language: str = ""  # programming language by file name or shebang, in lower case
    licence: str = ""
    id: str = ""
    reason: str = ""  # why it was left out, "stage: reason"; empty while kept
    detail: str = ""
    quality: float | None = None
    characters: int = 0  # of the text when it was last written
    head: str = ""  # the beginning of the text, for people who look at what was left out
    cluster: str = ""  # the survivor of the near-duplicates it belongs to, itself included


@dataclass(slots=True)
class Problems:
    """What could not be read, row by row, and what was not wanted, counted by reason."""

    rows: list[dict[str, str]] = field(default_factory=list)
    files: int = 0
    left_out: dict[str, Counter[str]] = field(default_factory=dict)  # by source

    def add(self, source: str, path: Path | str, reason: str) -> None:
        """Set a broken file, row or record aside."""
        self.rows.append({"source": source, "path": str(path), "reason": reason})

    def leave_out(self, source: str, reason: str) -> None:
        """Count a sound file that is no document, as a vendored one."""
        self.left_out.setdefault(source, Counter())[reason] += 1

    def merge(self, other: Problems) -> None:
        """Take over what another process noted."""
        self.rows += other.rows
        self.files += other.files
        for source, reasons in other.left_out.items():
            self.left_out.setdefault(source, Counter()).update(reasons)


def short(error: BaseException) -> str:
    """An error as one line of at most 200 characters."""
    said = str(error).strip().splitlines()
    return f"{type(error).__name__}: {said[0] if said else ''}"[:200]
