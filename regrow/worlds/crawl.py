"""Publishes documents as a crawl: HTML pages in WARC files, with a mess whose truth is known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from random import Random
from typing import Any

from regrow.records import Document, Item
from regrow.seeds import pyrandom
from regrow.worlds import mess
from regrow.worlds.layouts import Host, body_of, hosts, plain_host, title_of
from regrow.worlds.leaks import DOMAIN
from regrow.worlds.warc import Response, record_id, write_warc

#: How many pages of each kind a messy crawl holds for each good page.
MESS_SHARES = {
    "exact_duplicate": 0.07, "near_duplicate": 0.07, "spam": 0.06, "gibberish": 0.02,
    "word_salad": 0.02, "foreign": 0.06, "boilerplate": 0.05, "error": 0.02, "binary": 0.005,
}  # fmt: skip
#: A cleaner crawl has copies only.
CLEAN_SHARES = {"exact_duplicate": 0.03, "near_duplicate": 0.01}
#: At most this many pages quote evaluation items, each a few of them.
LEAK_PAGES = 40

Truth = dict[str, Any]


def write_crawl(
    path: Path,
    documents: Sequence[Document],
    *,
    seed: int,
    variant: str,
    source: str,
    leaks: Sequence[Item] = (),
    mess_times: float = 1.0,
) -> list[Truth]:
    """Write one crawl file and return its truth: a row per record, in file order.

    Rows hold record_id, url, source, kind, keep, and dup_of (the record id of the original) for
    copies. Pages of `regrow.worlds.leaks` have `leaked`, the id of their document. The source
    "town" gets the full mess, others get copies only. `leaks` are items that some pages quote word
    for word (kind "contaminated"). Pages that are bad, and not mere copies, come `mess_times` as
    often as usual.
    """
    truth: list[Truth] = []
    publisher = _Publisher(documents, seed, variant, source, leaks, mess_times)

    def responses() -> Iterator[tuple[str, Response]]:
        for row, response in publisher.records():
            truth.append(row)
            yield row["record_id"], response

    write_warc(path, responses())
    return truth


class _Publisher:
    def __init__(
        self,
        documents: Sequence[Document],
        seed: int,
        variant: str,
        source: str,
        leaks: Sequence[Item],
        mess_times: float,
    ) -> None:
        self.documents = documents
        self.keys = (seed, variant, source)
        self.source = source
        self.leaks = list(leaks)
        town = source == "town"
        self.hosts = hosts(variant) if town else [plain_host(source, variant)]
        shares = MESS_SHARES if town else CLEAN_SHARES
        self.shares = {
            kind: share if "duplicate" in kind else min(1.0, share * mess_times)
            for kind, share in shares.items()
        }

    def plan(self) -> list[tuple[float, str, int]]:
        """(place, kind, document index) of every record; copies come after their originals."""
        random = pyrandom("crawl", *self.keys)
        count = len(self.documents)
        entries = [(float(index), "good", index) for index in range(count)]
        for kind, share in self.shares.items():
            for index in random.sample(range(count), int(share * count)):
                place = random.uniform(index, count) if "duplicate" in kind else index
                entries.append((place + random.uniform(0.1, 0.9), kind, index))
        if self.leaks:
            pages = min(LEAK_PAGES, count // 10)
            for number in range(pages):
                entries.append((random.uniform(0, count), "contaminated", number))
        return sorted(entries)

    def records(self) -> Iterator[tuple[Truth, Response]]:
        originals: dict[int, str] = {}
        for number, (_, kind, index) in enumerate(self.plan()):
            identity = record_id(*self.keys, number)
            random = pyrandom("page", *self.keys, number)
            host = random.choice(self.hosts)
            if kind == "good":
                originals[index] = identity
            section, response = self._respond(kind, index, number, host, random)
            row: Truth = {
                "record_id": identity, "url": response.url, "source": self.source,
                "kind": section if kind == "good" else kind, "keep": kind == "good",
            }  # fmt: skip
            if "duplicate" in kind:
                row["dup_of"] = originals[index]
            if section == DOMAIN and (kind == "good" or "duplicate" in kind):
                row["leaked"] = self.documents[index].id
            yield row, response

    def _respond(
        self, kind: str, index: int, number: int, host: Host, random: Random
    ) -> tuple[str, Response]:
        """The page of a plan's entry, and its genre."""
        document = self.documents[index % len(self.documents)]
        section = document.domain or self.source
        url = f"http://{host.name}/{section}/{number:06d}.html"
        if kind == "binary":
            noise = b"\x89PNG\r\n\x1a\n" + random.randbytes(random.randint(200, 900))
            return section, Response(url[:-4] + "png", noise, content_type="image/png")
        if kind in ("good", "exact_duplicate"):
            html = host.page(title_of(document), body_of(document), random)
        elif kind == "near_duplicate":
            html = self._near_copy(document, host, random)
        else:
            html = self._junk(kind, document, host, random)
        status = "404 Not Found" if kind == "error" else "200 OK"
        return section, Response(url, html.encode(), status)

    def _near_copy(self, document: Document, host: Host, random: Random) -> str:
        note = f"<p>{mess.copy_note(random, host.name)}</p>"
        parts = [note, body_of(document)]
        if random.random() < 0.5:
            parts.reverse()
        return host.page(title_of(document), "\n".join(parts), random)

    def _junk(self, kind: str, document: Document, host: Host, random: Random) -> str:
        if kind == "spam":
            text = mess.spam(random)
        elif kind == "gibberish":
            text = mess.gibberish(random)
        elif kind == "word_salad":
            text = mess.salad(random, document.text)
        elif kind == "foreign":
            text = mess.foreign(random)
        elif kind == "contaminated":
            text = mess.leaked(random, random.sample(self.leaks, min(4, len(self.leaks))))
            return host.page("Notes", f"<pre>{escape(text, quote=False)}</pre>", random)
        else:
            text = mess.shell(random)
        paragraphs = "\n".join(f"<p>{escape(block)}</p>" for block in text.split("\n\n"))
        return host.page(text[:40].replace("\n", " "), paragraphs, random)
