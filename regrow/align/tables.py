"""Rows with their numbers out of JSON lines, Parquet and folders that `datasets` saved.

A row that cannot be read is set aside with its number and why; the next one is read.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regrow.corpus.readers.streams import DECOMPRESSORS, Blob, decompressed
from regrow.errors import RegrowError
from regrow.files import read_json

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class SetAside:
    """A row that nothing is learnt from: the line of its file (or row of its table), from 1."""

    file: str
    line: int
    reason: str


@dataclass
class Tally:
    """What became of the rows of one file: `rows` were read, `aside` of them set aside."""

    file: str
    rows: int = 0
    aside: list[SetAside] = field(default_factory=list)

    def add(self, line: int, reason: str) -> None:
        """Set a row aside."""
        self.aside.append(SetAside(self.file, line, reason))


def numbered(path: Path, tally: Tally) -> Iterator[tuple[int, Row]]:
    """(number from 1, row) of a file or a folder; blank lines are no rows.

    Raises RegrowError where the whole of it cannot be read.
    """
    if not path.exists():
        raise RegrowError(f"{path} is missing; check the paths under `data` in the recipe")
    kind = Path(path.stem if path.suffix in DECOMPRESSORS else path.name).suffix
    read = _folder if path.is_dir() else {".parquet": _parquet, ".json": _array}.get(kind, _lines)
    try:  # pyarrow's errors are among these
        yield from read(path, tally)
    except (OSError, EOFError, zlib.error, ValueError, KeyError) as error:
        raise RegrowError(f"{path} cannot be read ({error}); replace the file") from error


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file or folder. Raises RegrowError at the first that cannot be read."""
    tally = Tally(path.name)
    for _, row in numbered(path, tally):
        yield row
        if tally.aside:
            break
    for one in tally.aside:
        raise RegrowError(f"{path} line {one.line}: {one.reason}; mend or remove it")


def _lines(path: Path, tally: Tally) -> Iterator[tuple[int, Row]]:
    with _opened(path) as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            tally.rows += 1
            try:
                row = json.loads(line)
            except UnicodeDecodeError:
                tally.add(number, "not UTF-8")
            except (ValueError, RecursionError):
                tally.add(number, "not valid JSON")
            else:
                yield from _object(number, row, tally)


def _array(path: Path, tally: Tally) -> Iterator[tuple[int, Row]]:
    """One JSON array of rows, as Alpaca and ShareGPT come, or JSON lines all the same."""
    try:
        with _opened(path) as file:
            rows = json.load(file)
    except json.JSONDecodeError as error:
        if error.msg != "Extra data":
            raise
        yield from _lines(path, tally)  # a row a line, whatever the file is called
        return
    if not isinstance(rows, list):
        raise ValueError("no array of rows; give JSON lines (.jsonl)")
    for number, row in enumerate(rows, 1):
        tally.rows += 1
        yield from _object(number, row, tally)


def _object(number: int, row: Any, tally: Tally) -> Iterator[tuple[int, Row]]:
    if isinstance(row, dict):
        yield number, row
    else:
        tally.add(number, f"not an object but {type(row).__name__}")


def _opened(path: Path) -> Any:
    return decompressed(
        Blob(path.name, str(path), path.stat().st_size, lambda: open(path, "rb"))
    ).open()


def _parquet(path: Path, tally: Tally) -> Iterator[tuple[int, Row]]:
    import pyarrow.parquet as pq

    with open(path, "rb") as file:
        yield from _batches(pq.ParquetFile(file).iter_batches(1024), tally)


def _folder(path: Path, tally: Tally) -> Iterator[tuple[int, Row]]:
    """The arrow files of `save_to_disk`: of a Dataset, or of all splits of a DatasetDict."""
    splits = [path]
    if (path / "dataset_dict.json").is_file():
        splits = [path / name for name in read_json(path / "dataset_dict.json")["splits"]]
    for split in splits:
        if not (split / "state.json").is_file():
            raise ValueError("no state.json, so no folder that `datasets` saved")
        for file in read_json(split / "state.json")["_data_files"]:
            yield from _batches(_stream(split / file["filename"]), tally)


def _stream(path: Path) -> Iterator[Any]:
    import pyarrow as pa

    with pa.memory_map(str(path)) as source:
        yield from pa.ipc.open_stream(source)


def _batches(batches: Any, tally: Tally) -> Iterator[tuple[int, Row]]:
    """The rows of record batches; a cell without a value counts as a missing key."""
    for batch in batches:
        for row in _cells(batch):
            tally.rows += 1
            if row is None:
                tally.add(tally.rows, "not UTF-8")
            else:
                yield tally.rows, {key: value for key, value in row.items() if value is not None}


def _cells(batch: Any) -> Iterator[dict[str, Any] | None]:
    """Rows as mappings, None for those that pyarrow cannot decode."""
    try:
        yield from batch.to_pylist()
    except UnicodeDecodeError:  # raised before the first row is given
        for one in range(batch.num_rows):
            try:
                yield from batch.slice(one, 1).to_pylist()
            except UnicodeDecodeError:
                yield None
