"""Zip and tar archives: their members are read as files of a folder would be."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO

from regrow.corpus.page import Page, Problems, short
from regrow.corpus.readers.files import is_hidden
from regrow.corpus.readers.licences import is_licence_file, licence_above, licence_of
from regrow.corpus.readers.streams import MAX_RATIO, Blob, limit

Read = Callable[[Blob], Iterator[Page]]


def read_zip(blob: Blob, source: str, problems: Problems, read: Read) -> Iterator[Page]:
    """Yield the pages of all members, in the archive's order."""
    with blob.open() as stream, zipfile.ZipFile(stream) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if sum(member.file_size for member in members) > limit(blob.size):
            raise ValueError(f"a decompression bomb: it grows more than {MAX_RATIO}-fold")
        texts = [member for member in members if is_licence_file(_base(member.filename))]
        known: dict[str, str] = {}
        for member in texts:
            try:
                _note(known, member.filename, archive.open(member))
            except Exception:  # the member is met again below, if it is a document
                continue
        inside = _Inside(blob, source, problems, known)
        for member in members:
            opened = partial(archive.open, member)
            yield from inside.pages(
                member.filename, member.compress_size, opened, read, seekable=True
            )


def read_tar(blob: Blob, source: str, problems: Problems, read: Read) -> Iterator[Page]:
    """Yield the pages of all members, in the archive's order; links and devices are set aside."""
    known: dict[str, str] = {}
    try:
        with blob.open() as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
            for member in archive:
                if member.isreg() and is_licence_file(_base(member.name)):
                    _note(known, member.name, archive.extractfile(member))
    except Exception:  # what breaks here breaks again below, after the members before it
        known = dict(known)
    inside = _Inside(blob, source, problems, known)
    with blob.open() as stream, tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if member.isreg():
                opened = partial(_extract, archive, member)
                yield from inside.pages(member.name, member.size, opened, read, seekable=False)
            elif not member.isdir():
                problems.leave_out(source, "link or device")


def _extract(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    stream = archive.extractfile(member)
    if stream is None:
        raise ValueError("not a file")
    return stream


def _base(name: str) -> str:
    return name.rpartition("/")[2]


def _note(known: dict[str, str], name: str, stream: IO[bytes] | None) -> None:
    if stream:
        with stream:
            known.setdefault(name.rpartition("/")[0], licence_of(stream.read(1 << 16)))


class _Inside:
    """Members of one archive as blobs with names of their own."""

    def __init__(self, blob: Blob, source: str, problems: Problems, known: dict[str, str]) -> None:
        self.blob, self.source, self.problems, self.known = blob, source, problems, known
        self.seen: Counter[str] = Counter()

    def pages(
        self,
        name: str,
        size: int,
        opened: Callable[[], IO[bytes]],
        read: Read,
        *,
        seekable: bool,
    ) -> Iterator[Page]:
        """The pages of one member; a broken one is set aside."""
        name = name.replace("\\", "/").removeprefix("./")
        if is_hidden(name) or is_licence_file(_base(name)):
            return
        where = f"{self.blob.where}/{name}"
        self.seen[name] += 1
        try:
            if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":":
                raise ValueError("a member whose name leaves the archive")
            again = f"#{self.seen[name]}" if self.seen[name] > 1 else ""
            licence = licence_above(name, self.known) or self.blob.licence
            member = Blob(f"{self.blob.name}/{name}", where, size, opened, licence, seekable)
            for page in read(member):
                page.location += again
                yield page
        except tarfile.StreamError:
            raise
        except Exception as error:
            self.problems.add(self.source, where, short(error))


def in_memory(blob: Blob) -> Blob:
    """A blob that can be opened again, as an archive in an archive must be."""
    data = blob.read()
    return Blob(blob.name, blob.where, len(data), lambda: io.BytesIO(data), blob.licence)
