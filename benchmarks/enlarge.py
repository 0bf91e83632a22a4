"""A WARC made larger without copies: each page again, with three of ten longer words exchanged.

    python benchmarks/enlarge.py CRAWL.warc.gz LARGER.warc.gz COPIES

Words are drawn from the crawl itself, as often as they stand there, so that rules and models see
what they see in the original; word 5-grams hardly any page has in common with its model.
"""

from __future__ import annotations

import gzip
import random
import re
import sys
from pathlib import Path

from regrow.corpus.page import Page, Problems
from regrow.corpus.read import read

SHARE = 0.3
_TEXT = re.compile(rb">[^<]+<")
_WORD = re.compile(rb"[a-z]{5,}")


def exchanged(body: bytes, words: list[bytes], draw: random.Random) -> bytes:
    """The page with other words in the text between its tags."""

    def other(match: re.Match[bytes]) -> bytes:
        return draw.choice(words) if draw.random() < SHARE else match[0]

    return _TEXT.sub(lambda text: _WORD.sub(other, text[0]), body)


def record(page: Page, body: bytes, number: int) -> bytes:
    """A response with the page's status and type."""
    kind = page.content_type + (f"; charset={page.charset}" if page.charset else "")
    head = (
        f"HTTP/1.1 {page.status} OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    content = head.encode() + body
    start = (
        f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Record-ID: <urn:uuid:{number:032x}>\r\n"
        f"WARC-Target-URI: {page.url}\r\nWARC-Date: 2024-01-01T00:00:00Z\r\n"
        "Content-Type: application/http; msgtype=response\r\n"
        f"Content-Length: {len(content)}\r\n\r\n"
    )
    return gzip.compress(start.encode() + content + b"\r\n\r\n", 6, mtime=0)


def enlarge(source: Path, target: Path, copies: int) -> None:
    """Write the pages of a WARC so many times, the first time as they are."""
    pages = [page for page in read({"crawl": [source]}, Problems()) if page.body]
    words = [
        word
        for page in pages[::10]
        for text in _TEXT.findall(page.body or b"")
        for word in _WORD.findall(text)
    ]
    with open(target, "wb") as file:
        for copy in range(copies):
            for number, page in enumerate(pages):
                body = page.body or b""
                if copy:
                    body = exchanged(body, words, random.Random(f"{copy} {number}"))
                file.write(record(page, body, copy * len(pages) + number))


if __name__ == "__main__":
    enlarge(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
