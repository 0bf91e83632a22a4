"""A named stream of bytes that can be opened again, and decompression with a bound."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import IO, Any, cast

MAX_DOCUMENT = 64 << 20  # bytes; a single document above this is set aside
#: A compressed file that grows by more than this is a bomb, once it has passed MAX_DOCUMENT.
#: Text shrinks to a fifth, tables of numbers to a fiftieth; a bomb of DEFLATE to a thousandth.
MAX_RATIO = 200


@dataclass(frozen=True, slots=True)
class Blob:
    """A file or a member of an archive.

    `name` is its path below the root of the input, with `/`; `where` is the whole path, for people;
    `size` is what it takes as stored, in bytes.
    """

    name: str
    where: str
    size: int
    open: Callable[[], IO[bytes]]
    licence: str = ""
    seekable: bool = True

    @property
    def kind(self) -> str:
        """The name in lower case without the suffix of a compression."""
        name = _long(self.name)
        return next((name.removesuffix(end) for end in DECOMPRESSORS if name.endswith(end)), name)

    def read(self) -> bytes:
        """All bytes. Raises ValueError above MAX_DOCUMENT."""
        with self.open() as stream:
            data = stream.read(MAX_DOCUMENT + 1)
        if len(data) > MAX_DOCUMENT:
            raise ValueError(f"larger than {MAX_DOCUMENT >> 20} MB; split it or give it as JSONL")
        return data


def _zstd(stream: IO[bytes]) -> Any:
    import pyarrow as pa

    return pa.input_stream(stream, compression="zstd")


DECOMPRESSORS: dict[str, Callable[[Any], Any]] = {
    ".gz": lambda stream: gzip.GzipFile(fileobj=stream),
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _zstd,
}
SHORT = {".tgz": ".tar.gz", ".tbz2": ".tar.bz2", ".txz": ".tar.xz", ".tzst": ".tar.zst"}


def _long(name: str) -> str:
    name = name.lower()
    short = next((end for end in SHORT if name.endswith(end)), "")
    return name.removesuffix(short) + SHORT.get(short, "")


def limit(size: int) -> int:
    """The most bytes that a compressed file of a size may unpack to."""
    return max(MAX_DOCUMENT, MAX_RATIO * size)


class _Bounded(io.RawIOBase):
    """Decompressed bytes, until they are too many for the compressed ones."""

    def __init__(self, stream: Any, inner: IO[bytes], most: int) -> None:
        self._stream, self._inner, self._left = stream, inner, most

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read(len(buffer))
        self._left -= len(data)
        if self._left < 0:
            raise ValueError(f"a decompression bomb: it grows more than {MAX_RATIO}-fold")
        buffer[: len(data)] = data
        return len(data)

    def close(self) -> None:
        self._stream.close()
        self._inner.close()
        super().close()


def decompressed(blob: Blob) -> Blob:
    """The blob without its outer compression, or itself where its name tells of none.

    Its stream cannot seek. Raises ValueError, EOFError or OSError while read, if it is broken.
    """
    suffix = next((end for end in DECOMPRESSORS if _long(blob.name).endswith(end)), "")
    if not suffix:
        return blob

    def open_() -> IO[bytes]:
        inner = blob.open()
        return io.BufferedReader(
            _Bounded(DECOMPRESSORS[suffix](inner), inner, limit(blob.size)), 1 << 16
        )

    return Blob(blob.name, blob.where, blob.size, open_, blob.licence, seekable=False)


def spooled(blob: Blob) -> Blob:
    """The blob itself if its stream can seek, else a copy in memory or, if large, on disk."""
    if blob.seekable:
        return blob

    def open_() -> IO[bytes]:
        copy = tempfile.SpooledTemporaryFile(MAX_DOCUMENT)  # noqa: SIM115 - its reader closes it
        with blob.open() as stream:
            shutil.copyfileobj(stream, copy, 1 << 20)
        copy.seek(0)
        return cast(IO[bytes], copy)

    return replace(blob, open=open_, seekable=True)
