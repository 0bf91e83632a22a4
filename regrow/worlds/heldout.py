"""Text of each source that is in no crawl: what nodes of any corpus are compared on.

A corpus holds out some of its own documents, after its filters have chosen them; nodes of two
corpora would be measured on two texts. These documents are good ones by the world's truth, and no
filter, mixture or size changes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice

from regrow.records import Document
from regrow.seeds import derive
from regrow.worlds.town import Town

#: Documents a source.
COUNT = 60
#: Characters beyond what that many documents take, so that none of them is the last, cut short.
_ENOUGH = 1_000_000
#: The number of the first repository, which no training text reaches.
_FAR = 1_000_000


def held_out(town: Town, seed: int, sources: list[str]) -> list[Document]:
    """`COUNT` documents of each of these sources, drawn apart from all that is published."""
    return [page for source in sources for page in islice(_RENDER[source](town, seed), COUNT)]


def _town(town: Town, seed: int) -> Iterator[Document]:
    from regrow.worlds.prose import render_apart

    return render_apart(town, "held-out")


def _sheets(town: Town, seed: int) -> Iterator[Document]:
    from regrow.worlds.sheets import render_sheets

    return render_sheets(derive("held-out", seed), town.variant, _ENOUGH)


def _textbook(town: Town, seed: int) -> Iterator[Document]:
    from regrow.worlds.textbook import render_textbook

    return render_textbook(derive("held-out", seed), town.variant, _ENOUGH)


def _code(town: Town, seed: int) -> Iterator[Document]:
    """Other repositories over the same programs: those of items are in none."""
    from regrow.worlds.repositories import render_repositories

    for path, text in render_repositories(seed, town.variant, _ENOUGH, first=_FAR):
        if not path.endswith("LICENSE"):  # which every repository has word for word
            yield Document(f"held-out-{path}", text, "code", format="code")


_RENDER: dict[str, Callable[[Town, int], Iterator[Document]]] = {
    "town": _town, "sheets": _sheets, "textbook": _textbook, "code": _code,
}  # fmt: skip
