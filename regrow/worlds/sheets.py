"""All exercise sheets of the world, as pages of one to five sheets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from collections.abc import Set as AbstractSet
from random import Random

from regrow.records import Document
from regrow.seeds import pyrandom
from regrow.worlds.notes import notes_sheet
from regrow.worlds.sheets_binding import binding_sheet, label_sheet
from regrow.worlds.sheets_gate import Gate
from regrow.worlds.sheets_rules import mixed_sheet, rule_sheet
from regrow.worlds.sheets_talks import talk_sheet
from regrow.worlds.tasks import HELD_OUT_FAMILIES

Maker = Callable[[Random, Gate], str]

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


def render_sheets(
    seed: int,
    variant: str,
    characters: int,
    forbidden: AbstractSet[str] = frozenset(),
    keys: set[str] | None = None,
) -> Iterator[Document]:
    """Yield pages of sheets, about so many characters in all.

    No key that is reserved for evaluation or in `forbidden` is rendered; every key that is
    rendered is added to `keys`. The kind that is furthest behind its share comes next, so that
    shares of characters are exact whatever the lengths.
    """
    HELD_OUT_FAMILIES(variant)
    random, gate = pyrandom("sheets", seed, variant), Gate(variant, forbidden, keys)
    written = {name: 0.0 for name, _, _ in SHARES}
    total, number = 0, 0
    while total < characters:
        sheets: list[str] = []
        length = 0
        limit = PAGE * random.random()
        while not sheets or length < limit:
            name, make, _ = min(
                SHARES, key=lambda row: (written[row[0]] + 400 * random.random()) / row[2]
            )
            sheet = make(random, gate)
            sheets.append(sheet)
            length += len(sheet) + 2
            written[name] += len(sheet)
        text = "\n\n".join(sheets)
        yield Document(
            f"sheets-{variant}-{seed}-{number}", text, "sheets", format="list", language="en"
        )
        total += len(text)
        number += 1
