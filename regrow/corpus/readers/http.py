"""The body of an HTTP response as its server meant it: unchunked and decompressed."""

from __future__ import annotations

import io
import re
import zlib
from typing import Any

from regrow.corpus.readers.streams import MAX_DOCUMENT

_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]{0,200})?\r\n")
_ENCODINGS = {"gzip", "x-gzip", "deflate", "br", "zstd"}


def plain_body(body: bytes, encoding: str, transfer: str) -> bytes:
    """Undo Transfer-Encoding and Content-Encoding where the bytes bear them out.

    Archives often keep the headers of what they have unpacked, and servers lie, so that a body
    without the signs of an encoding is taken as it is. Raises ValueError on a broken body and on
    one that grows above MAX_DOCUMENT.
    """
    if "chunked" in transfer.lower():
        body = _unchunked(body)
    for name in reversed([part.strip().lower() for part in encoding.split(",")]):
        if name in _ENCODINGS:
            body = _decoded(body, name)
    return body


def _unchunked(body: bytes) -> bytes:
    """The chunks of a body joined; the body itself where they do not add up."""
    parts: list[bytes] = []
    place = 0
    while match := _CHUNK.match(body, place):
        size = int(match[1], 16)
        if size == 0:
            return b"".join(parts)
        place = match.end() + size + 2
        if place > len(body):
            break
        parts.append(body[match.end() : match.end() + size])
    return body


def _decoded(body: bytes, name: str) -> bytes:
    if name in ("gzip", "x-gzip"):
        return _inflated(body, 31) if body.startswith(b"\x1f\x8b") else body
    if name == "zstd":
        if not body.startswith(b"\x28\xb5\x2f\xfd"):
            return body
        import pyarrow as pa

        return _limited(pa.input_stream(io.BytesIO(body), compression="zstd"), name)
    if not _looks_packed(body):
        return body
    if name == "br":
        from fastwarc.stream_io import BrotliReader

        return _limited(BrotliReader(io.BytesIO(body)), name)
    try:
        return _inflated(body, 15)
    except ValueError:
        return _inflated(body, -15)  # deflate without zlib's frame, as some servers send it


def _looks_packed(body: bytes) -> bool:
    """Whether a body starts with bytes that text has not: brotli and deflate have no mark."""
    head = body[:64]
    return any(byte < 9 or 13 < byte < 27 for byte in head) or not _is_utf8(head)


def _is_utf8(head: bytes) -> bool:
    try:
        head.decode()
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4
    return True


def _inflated(body: bytes, window: int) -> bytes:
    inflate = zlib.decompressobj(window)
    try:
        data = inflate.decompress(body, MAX_DOCUMENT + 1)
    except zlib.error as error:
        raise ValueError(f"broken Content-Encoding: {error}") from error
    if not inflate.eof:
        _check(data)
        raise ValueError("broken Content-Encoding: the body is cut")
    return _check(data)


def _limited(stream: Any, name: str) -> bytes:
    try:
        return _check(stream.read(MAX_DOCUMENT + 1))
    except OSError as error:
        raise ValueError(f"broken Content-Encoding {name}: {error}") from error


def _check(data: bytes) -> bytes:
    if len(data) > MAX_DOCUMENT:
        raise ValueError(f"a decompression bomb: a body of more than {MAX_DOCUMENT >> 20} MB")
    return data
