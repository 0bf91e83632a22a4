"""Evaluation items put into training text on purpose, to see what that does to scores."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from random import Random

from regrow.errors import RegrowError
from regrow.records import Document, Item
from regrow.seeds import derive, pyrandom

#: Abilities whose items a short text can give away.
ABILITIES = frozenset({"knowledge", "in_context", "instructions"})
#: How often each leaked item stands in the text, every time beside other items. A gram in more
#: documents is ordinary text to the corpus, whose report would then say nothing of it.
COPIES = 10
#: Items on a page.
PAGE = 4
#: What such pages are called in the crawl's truth and in their addresses.
DOMAIN = "leaked"
#: Most of a source that leaked pages may take.
_MOST = 0.5
_FINE = 1 << 20  # steps in which a share is told
_FRAMES = ("Q: {q}\nA: {a}", "Question: {q}\nAnswer: {a}", "{q}\n{a}")

#: A leaked page and the ids of the items on it.
Leak = tuple[Document, tuple[str, ...]]


def is_leaked(key: str, share: float) -> bool:
    """Whether items of this key are among the `share` that is leaked: by the key's hash.

    By the key and not by the id: one fact asked in two wordings is leaked in both or in neither.
    """
    return derive("leak", key) % _FINE < share * _FINE


def leaks(items: Iterable[Item], share: float, seed: int, variant: str) -> list[Leak]:
    """Pages that give away a share of the items, each item on `COPIES` pages."""
    given = [i for i in items if i.ability in ABILITIES and i.answers and is_leaked(i.key, share)]
    random = pyrandom("leaks", seed, variant)
    found: list[Leak] = []
    for _ in range(COPIES):
        random.shuffle(given)
        for first in range(0, len(given), PAGE):
            some = given[first : first + PAGE]
            text = "\n\n".join(_told(item, random) for item in some)
            name = f"{DOMAIN}-{variant}-{seed}-{len(found)}"
            page = Document(name, text, "sheets", domain=DOMAIN, format="list", language="en")
            found.append((page, tuple(item.id for item in some)))
    return found


def _told(item: Item, random: Random) -> str:
    """An item with its answer, in a form like those in which it is asked."""
    if item.ability == "in_context":
        pairs = [
            *random.sample(item.shots, min(3, len(item.shots))),
            (item.question, item.answers[0]),
        ]
        form = str(item.check["format"])
        return "\n".join(form.replace("{x}", x).replace("{y}", y) for x, y in pairs)
    return random.choice(_FRAMES).format(q=item.question, a=item.answers[0])


def room_beside(found: Sequence[Leak], characters: int) -> int:
    """Characters that a source has left beside leaked pages. RegrowError where they take most."""
    taken = sum(len(page.text) for page, _ in found)
    if taken > _MOST * characters:
        raise RegrowError(
            f"the leaked items take {taken:,} of {characters:,} characters of sheets; lower "
            "world.leak or world.items, or give world.characters.sheets more"
        )
    return characters - taken


def strewn(
    pages: Iterable[Document], found: Sequence[Leak], seed: int, variant: str
) -> Iterator[Document]:
    """The pages in their order, with leaked ones at places drawn among them."""
    rest = list(pages)
    random = pyrandom("strewn", seed, variant)
    placed = [(random.uniform(0, len(rest)), page) for page, _ in found]
    placed += [(float(number), page) for number, page in enumerate(rest)]
    yield from (page for _, page in sorted(placed, key=lambda pair: pair[0]))
