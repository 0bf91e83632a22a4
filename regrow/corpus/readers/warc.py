"""WARC and WET: responses, resources and extracted text; damage costs single records."""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import IO, Any

from regrow.corpus.charset import decode
from regrow.corpus.page import Page, Problems, short
from regrow.corpus.readers.http import plain_body
from regrow.corpus.readers.streams import MAX_DOCUMENT, Blob

_GZIP = b"\x1f\x8b\x08"
_PLAIN = b"\nWARC/"
_CHUNK = 1 << 20
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)


class BrokenRecord(ValueError):
    """A record whose own length is wrong, so that the next one must be searched for."""


def read_warc(blob: Blob, source: str, problems: Problems) -> Iterator[Page]:
    """Yield a page for each response, resource and conversion record.

    After damage reading goes on at the next gzip member that starts a record, or in a plain file
    at the next line that does; where there is none, as in a file of one gzip member, the rest is
    lost. The stream must be able to seek. A record is yielded once its end proves to be one.
    """
    seen: Counter[str] = Counter()
    place: int | None = 0
    damage = ""  # found behind a sound record: of the next one, unless that turns out sound
    with blob.open() as stream:
        while place is not None:
            held: Page | None = None
            last, begun, what = place, False, ""
            try:
                for record in _records(stream):
                    if damage:
                        problems.add(source, blob.where, damage)
                        damage = ""
                    if held:
                        yield held
                    held, begun, last = None, True, record.stream_pos
                    what = record.record_id or f"{blob.name}@{last}"
                    seen[what] += 1
                    location = what if seen[what] == 1 else f"{what}#{seen[what]}"
                    try:
                        held = _page(record, source, location)
                    except BrokenRecord:
                        raise
                    except ValueError as error:
                        problems.add(source, blob.where, f"record {what}: {short(error)}")
            except (OSError, ValueError) as error:
                length_lies = isinstance(error, BrokenRecord) or "Invalid WARC header" in str(error)
                if begun and not length_lies:
                    if held:
                        yield held
                    damage = f"damaged after record {what}: {short(error)}"
                else:
                    of = f"record {what}" if begun else f"record at byte {place}"
                    problems.add(source, blob.where, f"{of}: {short(error)}")
                    damage = ""
                place = _next(stream, max(place, last) + 1)
                continue
            if held:
                yield held
            break
        if damage:
            problems.add(source, blob.where, f"{damage}; the rest is lost")


def _records(stream: IO[bytes]) -> Iterator[Any]:
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    wanted = WarcRecordType.response | WarcRecordType.resource | WarcRecordType.conversion
    return iter(ArchiveIterator(stream, record_types=wanted, parse_http=True))


def _page(record: Any, source: str, location: str) -> Page:
    """The page of a record. Raises ValueError where its content is not as declared."""
    from fastwarc.warc import WarcRecordType

    length = record.content_length
    if length > MAX_DOCUMENT:
        raise BrokenRecord(f"{length} bytes long; more than {MAX_DOCUMENT >> 20} MB are set aside")
    try:
        body = record.reader.read()
    except OSError as error:
        raise BrokenRecord(str(error)) from error
    if len(body) < length:
        raise BrokenRecord(f"cut inside: {len(body)} of {length} bytes")
    url = record.headers.get("WARC-Target-URI") or ""
    if record.record_type == WarcRecordType.conversion:  # WET: already text
        return Page(source, location, url=url, text=decode(body, "utf-8"))
    http = record.http_headers if record.is_http else None
    if http is None:
        kind = record.headers.get("Content-Type") or ""
        charset = _CHARSET.search(kind)
        content_type = kind.partition(";")[0].strip().lower()
        return Page(source, location, url=url, body=body, content_type=content_type,
                    charset=charset[1] if charset else "")  # fmt: skip
    encoding, transfer = (http.get(f"{name}-Encoding") or "" for name in ("Content", "Transfer"))
    return Page(
        source,
        location,
        url=url,
        body=plain_body(body, encoding, transfer),
        content_type=record.http_content_type or "",
        charset=record.http_charset or "",
        status=int(http.status_code or 0),
    )


def _next(stream: IO[bytes], place: int) -> int | None:
    """Move the stream to the next record at or after a place in bytes; returns its place."""
    stream.seek(0)
    sign = _GZIP if stream.read(3) == _GZIP else _PLAIN
    place = max(0, place - (sign is _PLAIN))  # a plain record shows by the line end before it
    while True:
        stream.seek(place)
        chunk = stream.read(_CHUNK)
        found = chunk.find(sign)
        if found < 0:
            if len(chunk) < _CHUNK:
                return None
            place += _CHUNK - len(sign)
            continue
        start = place + found + (sign is _PLAIN)
        if sign is _PLAIN or _starts_record(chunk, found, stream):
            stream.seek(start)
            return start
        place = start + 1


def _starts_record(chunk: bytes, found: int, stream: IO[bytes]) -> bool:
    """Whether the gzip member at a place of a chunk, the last one read, unpacks to a record."""
    member = chunk[found : found + 512]
    if len(member) < 512:
        member += stream.read(512)
    try:
        return zlib.decompressobj(31).decompress(member, 5) == b"WARC/"
    except zlib.error:
        return False
