"""Writes WARC 1.1 files whose bytes depend on their records only: one gzip member a record."""

from __future__ import annotations

import os
import uuid
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from regrow.errors import RegrowError
from regrow.seeds import derive

_FIRST_VISIT = datetime(2024, 3, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Response:
    """One crawled page as the server sent it."""

    url: str
    body: bytes
    status: str = "200 OK"
    content_type: str = "text/html; charset=utf-8"


def record_id(*keys: object) -> str:
    """A stable record id (a URN of a UUID) for these keys."""
    number = derive("warc", *keys) << 64 | derive("record", *keys)
    return f"<urn:uuid:{uuid.UUID(int=number % (1 << 128), version=4)}>"


def write_warc(path: Path, responses: Iterable[tuple[str, Response]]) -> int:
    """Write (record id, response) pairs to `path`; returns how many. The file is whole or absent.

    Dates are a second apart from a fixed day on, so that the same records give the same bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    count = 0
    try:
        with open(partial, "wb") as file:
            software = b"software: regrow worlds\r\nformat: WARC File Format 1.1\r\n"
            file.write(
                _member(
                    "warcinfo", record_id(path.name), _date(0), software,
                    "Content-Type: application/warc-fields",
                )
            )  # fmt: skip
            for identity, response in responses:
                count += 1
                file.write(_response(identity, response, _date(count)))
        os.replace(partial, path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise RegrowError(
            f"cannot write {path}: {error.strerror}; free space and run again"
        ) from error
    return count


def _date(second: int) -> str:
    return (_FIRST_VISIT + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")


def _response(identity: str, response: Response, date: str) -> bytes:
    http = (
        f"HTTP/1.1 {response.status}\r\nContent-Type: {response.content_type}\r\n"
        f"Content-Length: {len(response.body)}\r\n\r\n"
    ).encode()
    return _member(
        "response", identity, date, http + response.body,
        f"WARC-Target-URI: {response.url}",
        "Content-Type: application/http; msgtype=response",
    )  # fmt: skip


def _member(kind: str, identity: str, date: str, content: bytes, *fields: str) -> bytes:
    lines = [
        "WARC/1.1", f"WARC-Type: {kind}", f"WARC-Record-ID: {identity}", f"WARC-Date: {date}",
        *fields, f"Content-Length: {len(content)}",
    ]  # fmt: skip
    header = "\r\n".join(lines).encode() + b"\r\n\r\n"
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)  # 31: gzip with an empty, undated header
    return packer.compress(header + content + b"\r\n\r\n") + packer.flush()
