"""Single documents: text, Markdown, HTML and source code."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from regrow.corpus.charset import decode, is_binary
from regrow.corpus.page import Page, Problems
from regrow.corpus.readers.code import code_language, unwanted_by_text
from regrow.corpus.readers.streams import Blob

TEXT_SUFFIXES = {".txt", ".md", ".rst", ".tex", ".org", ".text", ".markdown"}
HTML_SUFFIXES = {".html", ".htm", ".xhtml"}


def read_plain(blob: Blob, source: str, problems: Problems) -> Iterator[Page]:
    """Yield the one page of a file. Raises ValueError on binary data under a text's name."""
    data = blob.read()
    suffix = PurePosixPath(blob.kind).suffix
    if suffix in HTML_SUFFIXES:
        yield Page(source, blob.name, body=data, content_type="text/html")
        return
    language = code_language(blob.kind, data[:200])
    if is_binary(data):
        if language or suffix in TEXT_SUFFIXES:
            raise ValueError("not a text file")
        problems.leave_out(source, "not text")
        return
    text = decode(data, html=language == "xml", mend=not language)
    if language and (reason := unwanted_by_text(text)):
        problems.leave_out(source, reason)
    else:
        format_ = "code" if language else ""
        yield Page(source, blob.name, text=text, format=format_, code_language=language)
