"""What a corpus leaves on disk beside its tokens: documents, held-out documents, decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from regrow.corpus.page import Page
from regrow.files import write_jsonl
from regrow.records import Document

COLUMNS = ("id", "text", "source", "url", "domain", "format", "language", "licence")


def document_of(page: Page) -> Document:
    """The finished document of a page."""
    return Document(**{column: getattr(page, column) for column in COLUMNS})


def write_documents(folder: Path, pages: Sequence[Page]) -> None:
    """One Parquet file a source, one row a document."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    for source in dict.fromkeys(page.source for page in pages):
        own = [page for page in pages if page.source == source]
        columns = {column: [getattr(page, column) for page in own] for column in COLUMNS}
        pq.write_table(pa.table(columns), folder / f"{source}.parquet", compression="zstd")


def write_heldout(path: Path, pages: Sequence[Page]) -> None:
    """Held-out documents, as JSON lines."""
    write_jsonl(path, (asdict(document_of(page)) for page in pages))


def write_decisions(path: Path, pages: Sequence[Page]) -> None:
    """One row for every page read: kept or not, by which stage, why.

    `location` is the WARC record id, the file, or file:line; `detail` names the document that is
    copied (and how like it is), the item found, or the status.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, pa.Array] = {
        name: pa.array([getattr(page, name) for page in pages], pa.string())
        for name in ("id", "location", "source", "url", "domain", "format", "language", "detail")
    }
    reasons = [page.reason.partition(": ") for page in pages]
    columns["kept"] = pa.array([not page.reason for page in pages], pa.bool_())
    columns["stage"] = pa.array([stage for stage, _, _ in reasons], pa.string())
    columns["reason"] = pa.array([reason for _, _, reason in reasons], pa.string())
    columns["characters"] = pa.array([len(page.text) for page in pages], pa.int64())
    columns["quality"] = pa.array([page.quality for page in pages], pa.float32())
    pq.write_table(pa.table(columns), path, compression="zstd")
