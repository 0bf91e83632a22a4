"""Files of many kinds to raw pages; what cannot be read is set aside with its reason."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from regrow.corpus.page import Page
from regrow.errors import RegrowError

TEXT_SUFFIXES = {".txt", ".md", ".rst", ".tex", ".org", ".text", ".markdown"}
HTML_SUFFIXES = {".html", ".htm", ".xhtml"}
_CODE = (
    ".py .pyi .c .h .cc .cpp .hpp .cs .java .kt .scala .go .rs .rb .php .pl .lua .js .jsx .ts .tsx "
    ".swift .m .r .jl .sh .bash .sql .hs .ml .ex .erl .clj .lisp .el .css .yaml .yml .toml .ini "
    ".cfg .cmake"
)
CODE_SUFFIXES = set(_CODE.split())
LICENCE_NAMES = {"license", "licence", "copying", "license.txt", "license.md", "copying.txt"}
LICENCES = (
    ("Apache-2.0", "apache license"),
    ("MIT", "permission is hereby granted, free of charge"),
    ("BSD", "redistribution and use in source and binary forms"),
    ("AGPL", "gnu affero general public license"),
    ("LGPL", "gnu lesser general public license"),
    ("GPL", "gnu general public license"),
    ("MPL-2.0", "mozilla public license"),
    ("CC0-1.0", "cc0"),
    ("MIT", "mit license"),
)
MAX_FILE = 64 << 20  # a single text file above this is set aside


@dataclass(slots=True)
class Problems:
    """What could not be read: file or row, and why."""

    rows: list[dict[str, str]] = field(default_factory=list)
    files: int = 0

    def add(self, source: str, path: Path | str, reason: str) -> None:
        """Set a file or row aside."""
        self.rows.append({"source": source, "path": str(path), "reason": reason})


@dataclass(frozen=True)
class InputFile:
    """A file to read: under which root it was found, how large it is and when it was changed."""

    source: str
    root: Path
    path: Path
    size: int
    changed: int


def list_files(inputs: Mapping[str, Sequence[Path]]) -> list[InputFile]:
    """The files of every source, in the order of the inputs and of sorted names."""
    found = []
    for source, paths in inputs.items():
        files = [(root, file) for path in paths for root, file in _files(Path(path), source)]
        if not files:
            given = ", ".join(map(str, paths)) or "no path"
            raise RegrowError(
                f"no documents for source {source!r} in {given}; give a folder of some"
            )
        for root, file in files:
            stat = file.stat()
            found.append(InputFile(source, root, file, stat.st_size, stat.st_mtime_ns))
    return found


def read_listed(file: InputFile, problems: Problems) -> Iterator[Page]:
    """Yield the pages of one file; what cannot be read is set aside."""
    problems.files += 1
    licences: dict[Path, str] = {}
    try:
        for page in read_file(file.path, file.source, problems):
            page.licence = page.licence or _licence(file.path, file.root, licences)
            if not page.domain and not page.url:
                path, root = file.path, file.root
                page.domain = path.relative_to(root).parts[0] if path != root else path.name
            yield page
    except (OSError, EOFError, ValueError) as error:
        problems.add(file.source, file.path, _short(error))


def read(inputs: Mapping[str, Sequence[Path]], problems: Problems) -> Iterator[Page]:
    """Yield the pages of every source, in the order of `list_files`."""
    for file in list_files(inputs):
        yield from read_listed(file, problems)


def _short(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"[:200]


def _files(path: Path, source: str) -> Iterator[tuple[Path, Path]]:
    """(root, file) of all document files under a path, sorted; hidden ones are skipped."""
    if any(sign in path.name for sign in "*?["):
        for found in sorted(path.parent.glob(path.name)):
            yield from _files(found, source)
    elif path.is_file():
        yield path, path
    elif path.is_dir():
        for file in sorted(path.rglob("*")):
            parts = file.relative_to(path).parts
            hidden = any(part.startswith(".") or part == "__pycache__" for part in parts)
            if file.is_file() and not hidden and file.name.lower() not in LICENCE_NAMES:
                yield path, file
    else:
        raise RegrowError(f"source {source!r}: {path} does not exist; correct the path")


def _licence(file: Path, root: Path, known: dict[Path, str]) -> str:
    """The licence that the nearest LICENSE file above names, or ''."""
    folder = file.parent
    if file == root:
        return ""
    if folder not in known:
        known[folder] = ""
        texts = [p for p in sorted(folder.iterdir()) if p.name.lower() in LICENCE_NAMES]
        if texts:
            text = texts[0].read_text(encoding="utf-8", errors="replace").lower()
            known[folder] = next((name for name, words in LICENCES if words in text), "other")
        elif folder != root:
            known[folder] = _licence(folder, root, known)
    return known[folder]


def read_file(path: Path, source: str, problems: Problems) -> Iterator[Page]:
    """Yield the pages of one file, by its name. Raises OSError or ValueError where it breaks."""
    name = path.name.lower()
    plain = name.removesuffix(".gz").removesuffix(".zst")
    suffix = Path(plain).suffix
    if suffix in (".warc", ".wet", ".wat"):
        yield from _warc(path, source, problems)
    elif suffix == ".parquet":
        yield from _parquet(path, source, problems)
    elif suffix in (".jsonl", ".ndjson"):
        yield from _jsonl(path, source, problems)
    else:
        with _open(path) as file:
            data = file.read(MAX_FILE + 1)
        if len(data) > MAX_FILE:
            raise ValueError(f"larger than {MAX_FILE >> 20} MB; split it or give it as JSONL")
        if suffix in HTML_SUFFIXES:
            yield Page(source, str(path), body=data, content_type="text/html")
        elif b"\0" in data[:8192]:
            raise ValueError("not a text file")
        else:
            format_ = "code" if suffix in CODE_SUFFIXES or plain == "makefile" else ""
            yield Page(source, str(path), text=data.decode("utf-8"), format=format_)


def _open(path: Path) -> Any:
    if path.suffix == ".gz":
        return gzip.open(path, "rb")
    if path.suffix == ".zst":
        import pyarrow as pa

        return io.BufferedReader(pa.input_stream(str(path), compression="zstd"))
    return open(path, "rb")


def _from_row(row: Mapping[str, Any], source: str, location: str) -> Page:
    """A page from a row with `text` and optional url, domain, source, licence, language, format."""
    text = row.get("text")
    if not isinstance(text, str):
        raise ValueError("no `text` field of type string")

    def get(*names: str) -> str:
        return next((str(row[name]) for name in names if row.get(name)), "")

    return Page(
        source,
        location,
        url=get("url"),
        text=text,
        domain=get("domain", "source"),
        licence=get("licence", "license"),
        format="code" if get("format").startswith("code") else "",
    )


def _jsonl(path: Path, source: str, problems: Problems) -> Iterator[Page]:
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                try:
                    yield _from_row(json.loads(line), source, f"{path.name}:{number}")
                except (ValueError, AttributeError) as error:
                    problems.add(source, f"{path}:{number}", _short(error))


def _parquet(path: Path, source: str, problems: Problems) -> Iterator[Page]:
    import pyarrow.parquet as pq

    table = pq.ParquetFile(path)
    wanted = {"text", "url", "domain", "source", "licence", "license", "format"}
    columns = [name for name in table.schema_arrow.names if name in wanted]
    if "text" not in columns:
        raise ValueError("no `text` column")
    number = 0
    for batch in table.iter_batches(batch_size=1024, columns=columns):
        for row in batch.to_pylist():
            number += 1
            try:
                yield _from_row(row, source, f"{path.name}:{number}")
            except ValueError as error:
                problems.add(source, f"{path}:{number}", _short(error))


def _warc(path: Path, source: str, problems: Problems) -> Iterator[Page]:
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    kinds = WarcRecordType.response | WarcRecordType.conversion
    with open(path, "rb") as file:
        for record in ArchiveIterator(file, record_types=kinds, parse_http=True):
            expected = record.content_length
            body = record.reader.read()
            url = record.headers.get("WARC-Target-URI") or ""
            id_ = record.record_id or ""
            if len(body) < expected:
                problems.add(source, path, f"cut inside record {id_}; the rest is lost")
                continue
            if record.record_type == WarcRecordType.conversion:  # WET: already text
                text = body.decode("utf-8", errors="replace")
                yield Page(source, id_, url=url, text=text)
                continue
            http = record.http_headers
            yield Page(
                source,
                id_,
                url=url,
                body=body,
                content_type=record.http_content_type or "",
                charset=record.http_charset or "",
                status=int(http.status_code or 0) if http else 200,
            )
