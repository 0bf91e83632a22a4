"""JSONL and Parquet: one document a row."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from regrow.corpus.charset import repair
from regrow.corpus.page import Page, Problems, short
from regrow.corpus.readers.streams import Blob

MAX_LINE = 16 << 20  # bytes; a longer line of JSONL is set aside without being held in memory
_CHUNK = 1 << 16
_COLUMNS = {"text", "url", "domain", "source", "licence", "license", "format"}


def read_jsonl(blob: Blob, source: str, problems: Problems) -> Iterator[Page]:
    """Yield a page for each line; a broken one is set aside and the next is read."""
    number = 0
    with blob.open() as stream:
        while line := stream.readline(MAX_LINE + 1):
            number += 1
            cut = len(line) > MAX_LINE
            while cut and line and not line.endswith(b"\n"):
                line = stream.readline(_CHUNK)
            try:
                if cut:
                    raise ValueError(f"a line of more than {MAX_LINE >> 20} MB")
                if not line.strip():
                    continue
                page = _page(json.loads(line), source, f"{blob.name}:{number}")
            except (ValueError, RecursionError) as error:
                problems.add(source, f"{blob.where}:{number}", short(error))
            else:
                yield page


def read_parquet(blob: Blob, source: str, problems: Problems) -> Iterator[Page]:
    """Yield a page for each row; a row group that cannot be read costs its own rows only."""
    import pyarrow.parquet as pq

    with blob.open() as stream:
        table = pq.ParquetFile(stream)
        columns = [name for name in table.schema_arrow.names if name in _COLUMNS]
        if "text" not in columns:
            raise ValueError("no `text` column")
        first = 1
        for group in range(table.num_row_groups):
            number = first
            first += table.metadata.row_group(group).num_rows
            try:
                for batch in table.iter_batches(256, row_groups=[group], columns=columns):
                    for row in _rows(batch):
                        try:
                            page = _page(row, source, f"{blob.name}:{number}")
                        except ValueError as error:
                            problems.add(source, f"{blob.where}:{number}", short(error))
                        else:
                            yield page
                        number += 1
            except (OSError, ValueError) as error:
                what = f"rows {number} to {first - 1}: {short(error)}"
                problems.add(source, blob.where, what[:200])


def _rows(batch: Any) -> Iterator[dict[str, Any]]:
    """The rows of a batch, strings as bytes: pyarrow itself gives up on invalid UTF-8."""
    import pyarrow as pa

    columns = []
    for column in batch.columns:
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = column.cast(pa.large_binary())
        columns.append(column.to_pylist())
    for cells in zip(*columns, strict=True):
        yield dict(zip(batch.schema.names, cells, strict=True))


def _page(row: Any, source: str, location: str) -> Page:
    """A page from a row with `text` and optional url, domain, source, licence, format.

    Raises ValueError where the row is no object or its text no string; a field of another type
    counts as missing.
    """
    if not isinstance(row, Mapping):
        raise ValueError(f"not an object but {type(row).__name__}")
    text = row.get("text")
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    if not isinstance(text, str):
        raise ValueError("no `text` field of type string")

    def get(*names: str) -> str:
        for name in names:
            value = row.get(name)
            if isinstance(value, bytes):
                value = value.decode("utf-8", "replace")
            if isinstance(value, str) and value:
                return _sane(value)
        return ""

    kind, _, language = get("format").lower().partition("/")
    code = kind == "code"
    return Page(
        source,
        location,
        url=get("url"),
        text=_sane(text) if code else repair(_sane(text)),
        domain=get("domain", "source"),
        licence=get("licence", "license"),
        format="code" if code else "",
        code_language=language if code else "",
    )


def _sane(text: str) -> str:
    r"""Text that can be written as UTF-8: JSON may hold half of a surrogate pair ("\ud800")."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text
