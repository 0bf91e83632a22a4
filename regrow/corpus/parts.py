"""What stages leave on disk: pages in Parquet parts, verdicts on them, and the marks of completion.

Every document has a number: its part in the high bits, its row in the low ones. A stage over single
pages writes new texts; a stage that compares pages writes verdicts, which are laid over the texts
when a part is read again.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np

from regrow.corpus.page import Page
from regrow.errors import RegrowError
from regrow.files import read_json, sha256_file, write_json

ROW_BITS = 24  # documents of a part, at most
GROUP_BYTES = 8 << 20  # of a file that grows
GROUP_ROWS = 4096  # of a table that is read by ranges of a column

_TYPES = {"str": "string", "bytes | None": "binary", "int": "int64", "float | None": "float32"}


def once(target: Path, make: Callable[..., Any], *beside: Path) -> Any:
    """What `make` told when it wrote the target and the files beside it; made only where needed.

    `make` is given a path for each file. Files appear whole or not at all; a mark keeps what was
    told and the checksums, and where a file is missing or damaged all are made anew.
    """
    mark, targets = target.with_name(f"{target.name}.done"), (target, *beside)
    if mark.is_file():
        known = read_json(mark)
        sums = [sha256_file(path) if path.is_file() else None for path in targets]
        if sums == known["sha256"]:
            return known["told"]
        mark.unlink()
    partial = [path.with_name(f".{path.name}.{os.getpid()}.partial") for path in targets]
    for path in targets:
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        told = make(*partial)
        for written, path in zip(partial, targets):
            os.replace(written, path)
        write_json(mark, {"sha256": [sha256_file(path) for path in targets], "told": told})
    except OSError as error:
        why = error.strerror or error
        raise RegrowError(f"cannot write {target}: {why}; free space and run again") from error
    finally:
        for written in partial:
            written.unlink(missing_ok=True)
    return told


def write_table(path: Path, columns: Mapping[str, Any], group: int | None = None) -> None:
    """Write columns as one Parquet file, in groups of so many rows.

    The bytes depend on the values only.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table(dict(columns))
    pq.write_table(table, path, group, compression="lz4", write_statistics=True)


class Growing:
    """A Parquet file that tables are added to, in groups of `group` bytes: each leaves up to 20 kB
    in memory until the file is closed, so that small parts must not be one each."""

    def __init__(self, path: Path, compression: str = "zstd", group: int = GROUP_BYTES) -> None:
        self.path, self.compression, self.group = path, compression, group
        self._writer: Any = None
        self._held: list[Any] = []

    def add(self, table: Any) -> None:
        """Add the rows of an Arrow table; all tables have the same columns."""
        self._held.append(table)
        if sum(held.nbytes for held in self._held) >= self.group:
            self._write()

    def _write(self) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._held:
            table = pa.concat_tables(self._held)
            if self._writer is None:
                self._writer = pq.ParquetWriter(
                    self.path, table.schema, compression=self.compression
                )
            self._writer.write_table(table)
            self._held = []

    def close(self) -> None:
        """Write what is left; there is no file if there was no table."""
        self._write()
        if self._writer is not None:
            self._writer.close()


def _schema() -> Any:
    import pyarrow as pa

    kinds = {"string": pa.string(), "binary": pa.binary(), "int64": pa.int64(),
             "float32": pa.float32()}  # fmt: skip
    return pa.schema([(f.name, kinds[_TYPES[str(f.type)]]) for f in fields(Page)])


def write_pages(path: Path, pages: Sequence[Page]) -> None:
    """Write pages as Parquet, a column a field; a lone surrogate becomes a question mark.

    Of a page that was left out the text is not kept, only how it began.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = []
    for page in pages:
        if page.reason:
            page.text = ""
    for field in _schema():
        values = list(map(attrgetter(field.name), pages))
        try:
            columns.append(pa.array(values, field.type))
        except UnicodeEncodeError:
            whole = [value.encode("utf-8", "replace").decode() for value in values]
            columns.append(pa.array(whole, field.type))
    pq.write_table(pa.table(columns, schema=_schema()), path, compression="lz4")


def read_pages(path: Path) -> list[Page]:
    """The pages of a part. Raises RegrowError that names the file where it is damaged."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path).read()
    except MemoryError:  # Arrow's own is an ArrowException as well
        raise
    except (OSError, pa.ArrowException) as error:
        raise RegrowError(f"{path} is damaged ({error}); run again to make it anew") from error
    return [Page(*row) for row in zip(*(column.to_pylist() for column in table.columns))]


@dataclass(frozen=True)
class Store:
    """Where the pages stand: their texts in `texts`, with the `verdicts` laid over them in turn."""

    folder: Path
    parts: tuple[str, ...] = ()
    texts: str = ""
    verdicts: tuple[str, ...] = ()

    def path(self, stage: str, name: str) -> Path:
        """The file of a part or bucket that a stage leaves."""
        return self.folder / stage / f"{name}.parquet"

    def files(self, stage: str) -> list[Path]:
        """All files that a stage left, in order."""
        return sorted((self.folder / stage).glob("[!.]*.parquet"))

    def first(self, part: str) -> int:
        """The number of the first document of a part."""
        return self.parts.index(part) << ROW_BITS

    def load(self, part: str) -> list[Page]:
        """The pages of a part as the stages so far left them."""
        pages = read_pages(self.path(self.texts, part))
        first = self.first(part)
        for stage in self.verdicts:
            for row in self.rows(stage, part):
                page = pages[row.pop("number") - first]
                for name, value in row.items():
                    if value is not None:
                        setattr(page, name, value)
        return pages

    def rows(self, stage: str, part: str) -> list[dict[str, Any]]:
        """The verdicts of a stage on the documents of a part."""
        import pyarrow.parquet as pq

        rows: list[dict[str, Any]] = pq.ParquetFile(self.path(stage, part)).read().to_pylist()
        return rows

    def rewritten(self, stage: str) -> Store:
        """After a stage that wrote new texts."""
        return replace(self, texts=stage, verdicts=())

    def judged(self, stage: str) -> Store:
        """After a stage that wrote verdicts."""
        return replace(self, verdicts=(*self.verdicts, stage))


def read_between(table: Any, column: str, low: Any, high: Any) -> Any:
    """The rows of a table, a path or an open file, sorted by `column` where it is in [low, high);
    to the end where `high` is None."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    file = pq.ParquetFile(table) if isinstance(table, Path) else table
    place = file.schema_arrow.get_field_index(column)
    groups = []
    for group in range(file.num_row_groups):
        known = file.metadata.row_group(group).column(place).statistics
        told = known is not None and known.has_min_max
        if not told or ((high is None or known.min < high) and known.max >= low):
            groups.append(group)
    rows = file.read_row_groups(groups)
    if not len(rows):
        return rows  # its columns may have no types
    kind = rows.schema.field(place).type  # as a plain number 2^63 and more would be refused
    inside = pc.greater_equal(rows[column], pa.scalar(low, kind))
    if high is not None:
        inside = pc.and_(inside, pc.less(rows[column], pa.scalar(high, kind)))
    return rows.filter(inside)


def columns(paths: Iterable[Path], *names: str) -> list[np.ndarray]:
    """Columns of many tables, end to end."""
    import pyarrow.parquet as pq

    tables = [pq.ParquetFile(path).read(columns=list(names)) for path in paths]
    return [
        np.concatenate([table[name].to_numpy() for table in tables]) if tables else np.empty(0)
        for name in names
    ]


def column(paths: Iterable[Path], name: str) -> np.ndarray:
    """One column of many tables, end to end."""
    return columns(paths, name)[0]
