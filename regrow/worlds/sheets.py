"""All exercise sheets of the world, as pages of one to five sheets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from collections.abc import Set as AbstractSet
from itertools import islice
from random import Random

from regrow.records import Document
from regrow.seeds import pyrandom
from regrow.worlds.notes import notes_sheet
from regrow.worlds.sheets_binding import binding_sheet, label_sheet
from regrow.worlds.sheets_gate import Gate
from regrow.worlds.sheets_rules import mixed_sheet, rule_sheet
from regrow.worlds.sheets_talks import talk_sheet
from regrow.worlds.tasks import HELD_OUT_FAMILIES

#: Draws the items of one sheet, each a question with its answer; a text that hangs together is one.
Maker = Callable[[Random, Gate], list[str]]

#: Share of the characters that each kind of sheet gets.
SHARES: tuple[tuple[str, Maker, float], ...] = (
    ("rule", rule_sheet, 0.34),
    ("mixed", mixed_sheet, 0.2),
    ("label", label_sheet, 0.14),
    ("binding", binding_sheet, 0.12),
    ("notes", notes_sheet, 0.09),
    ("talks", talk_sheet, 0.11),
)
#: A page is closed once it has this many characters.
PAGE = 550
#: Pages over which items are dealt anew where they stand apart.
_DEALT = 400


def render_sheets(
    seed: int,
    variant: str,
    characters: int,
    forbidden: AbstractSet[str] = frozenset(),
    keys: set[str] | None = None,
    apart: bool = False,
) -> Iterator[Document]:
    """Yield pages of sheets, about so many characters in all.

    No key that is reserved for evaluation or in `forbidden` is rendered; every key that is
    rendered is added to `keys`. The kind that is furthest behind its share comes next, so that
    shares of characters are exact whatever the lengths. With `apart` the very same items are dealt
    anew over the sheets, so that those of one task no longer stand together.
    """
    pages = _pages(seed, variant, characters, Gate(variant, forbidden, keys))
    if apart:
        pages = _dealt_anew(pages, pyrandom("sheets apart", seed, variant))
    for number, page in enumerate(pages):
        text = _text(page)
        yield Document(
            f"sheets-{variant}-{seed}-{number}", text, "sheets", format="list", language="en"
        )


def _text(page: Sequence[list[str]]) -> str:
    return "\n\n".join("\n".join(items) for items in page)


def _pages(seed: int, variant: str, characters: int, gate: Gate) -> Iterator[list[list[str]]]:
    """Pages as sheets of items."""
    HELD_OUT_FAMILIES(variant)
    random = pyrandom("sheets", seed, variant)
    written = {name: 0.0 for name, _, _ in SHARES}
    total = 0
    while total < characters:
        sheets: list[list[str]] = []
        length = 0
        limit = PAGE * random.random()
        while not sheets or length < limit:
            name, make, _ = min(
                SHARES, key=lambda row: (written[row[0]] + 400 * random.random()) / row[2]
            )
            sheet = make(random, gate)
            size = len("\n".join(sheet))
            sheets.append(sheet)
            length += size + 2
            written[name] += size
        yield sheets
        total += len(_text(sheets))


def _dealt_anew(pages: Iterator[list[list[str]]], random: Random) -> Iterator[list[list[str]]]:
    """The same pages with the items of all sheets of several hundred pages shuffled."""
    while some := list(islice(pages, _DEALT)):
        sheets = [sheet for page in some for sheet in page if len(sheet) > 1]
        items = [item for sheet in sheets for item in sheet]
        random.shuffle(items)
        dealt = iter(items)
        for sheet in sheets:
            sheet[:] = [next(dealt) for _ in sheet]
        yield from some
