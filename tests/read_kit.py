"""What the tests of the readers share."""

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import random
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa

from regrow.corpus.read import Page, Problems, read

SHARED = Path(os.environ.get("REGROW_SHARED", Path(__file__).parents[2] / "shared")) / "data"
PROSE = "The baker of the town lives in Mill Street. She has a cat that sleeps in the shop.\n"


COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": lambda data: pa.compress(data, codec="zstd", asbytes=True),
}


def put(path: Path, data: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data.encode() if isinstance(data, str) else data)
    return path


def read_all(*paths: Path | str) -> tuple[list[Page], Problems]:
    problems = Problems()
    return list(read({"s": list(paths)}, problems)), problems


def record(i: object, html: bytes = b"<p>page</p>", length: int = 0, head: bytes = b"") -> bytes:
    http = b"HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n" + head + b"\r\n" + html
    return (
        b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:%s>\r\n"
        b"Content-Type: application/http; msgtype=response\r\nContent-Length: %d\r\n\r\n%s\r\n\r\n"
        % (str(i).encode(), len(http) + length, http)
    )


def noise(i: int) -> bytes:
    return random.Random(i).randbytes(1500).hex().encode()  # so that a gzip member is long


def ids(pages: list[Page]) -> list[str]:
    return [page.location.removeprefix("<urn:").removesuffix(">") for page in pages]


def flip(data: bytes) -> bytes:
    middle = len(data) // 2
    return data[:middle] + bytes(255 - x for x in data[middle : middle + 4]) + data[middle + 4 :]
