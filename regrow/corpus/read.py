"""Files of many kinds to raw pages; what cannot be read is set aside with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

from regrow.corpus.page import Page, Problems, short
from regrow.corpus.readers.archives import in_memory, read_tar, read_zip
from regrow.corpus.readers.code import unwanted_by_name
from regrow.corpus.readers.files import InputFile, as_blob, list_files
from regrow.corpus.readers.plain import read_plain
from regrow.corpus.readers.rows import read_jsonl, read_parquet
from regrow.corpus.readers.streams import Blob, decompressed, spooled
from regrow.corpus.readers.warc import read_warc

__all__ = ["InputFile", "Page", "Problems", "list_files", "read", "read_file"]

MAX_NESTED = 1  # archives inside archives


def read(inputs: Mapping[str, Sequence[Path | str]], problems: Problems) -> Iterator[Page]:
    """Yield the pages of every source, in the order of `list_files`.

    Raises RegrowError on a path that does not exist and on a source without any file.
    """
    for file in list_files(inputs):
        yield from read_file(file, file.source, problems)


def read_file(file: InputFile | Path, source: str, problems: Problems) -> Iterator[Page]:
    """Yield the pages of one file, by its name; never raises, but adds to `problems`.

    Each document that the file offers becomes one page, one row of `problems` or one count of
    `problems.left_out`. Where damage hides how many there were, it is one row.
    """
    if not isinstance(file, InputFile):
        file = InputFile(source, str(file), str(file), file.name)
    problems.files += 1
    try:
        for page in _read_blob(as_blob(file), source, problems, 0):
            page.domain = page.domain or ("" if page.url else file.name.partition("/")[0])
            yield page
    except BaseException as error:  # whatever a parser raises costs this file only
        panic = type(error).__name__ == "PanicException"  # of Rust; it is no Exception
        if not (panic or isinstance(error, Exception)):
            raise
        problems.add(source, file.path, short(error))


def _read_blob(blob: Blob, source: str, problems: Problems, depth: int) -> Iterator[Page]:
    for page in _pages(blob, source, problems, depth):
        page.licence = page.licence or blob.licence
        yield page


def _pages(blob: Blob, source: str, problems: Problems, depth: int) -> Iterator[Page]:
    """The pages of a file or member by its name. Raises what its format's library raises."""
    suffix = PurePosixPath(blob.kind).suffix
    if suffix in (".warc", ".wet", ".wat"):
        if not blob.name.lower().endswith(".gz"):  # its members are the reader's way on
            blob = decompressed(blob)
        yield from read_warc(spooled(blob), source, problems)
        return
    blob = decompressed(blob)
    if suffix in (".jsonl", ".ndjson"):
        yield from read_jsonl(blob, source, problems)
    elif suffix == ".parquet":
        yield from read_parquet(spooled(blob), source, problems)
    elif suffix in (".zip", ".tar"):
        if depth > MAX_NESTED:
            raise ValueError("an archive in an archive in an archive; unpack it")
        if depth:
            blob = in_memory(blob)
        elif suffix == ".zip":
            blob = spooled(blob)
        read_archive = read_zip if suffix == ".zip" else read_tar

        def read_member(member: Blob) -> Iterator[Page]:
            return _read_blob(member, source, problems, depth + 1)

        yield from read_archive(blob, source, problems, read_member)
    elif reason := unwanted_by_name(blob.kind):
        problems.leave_out(source, reason)
    else:
        yield from read_plain(blob, source, problems)
