"""The arithmetic textbook: worked problems, problems with the bare answer, and drills."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet
from random import Random

from regrow.records import Document
from regrow.seeds import pyrandom
from regrow.worlds.problems import Told, draw_problem, drill, tell
from regrow.worlds.sheets_gate import Gate
from regrow.worlds.tasks import HELD_OUT_FAMILIES
from regrow.worlds.tasks_kit import pick

#: How often a problem has so many steps, in hundredths: long ones are rare but present.
STEP_DRAW: tuple[int, ...] = tuple(
    steps for steps, share in enumerate((20, 22, 18, 16, 9, 7, 5, 3), 1) for _ in range(share)
)
_FRAMES = (("Q: ", "\nA: "), ("Problem: ", "\nAnswer: "), ("", "\n"))


def draw_told(random: Random, gate: Gate, steps: int = 0) -> tuple[str, int, Told]:
    """Key, steps and words of a problem that training text may hold (`steps` 0 draws them)."""
    while True:
        problem = draw_problem(random, steps or pick(random, STEP_DRAW))
        if gate.passes(problem.key):
            return problem.key, problem.steps, tell(random, problem, gate.variant)


def render_textbook(
    seed: int,
    variant: str,
    characters: int,
    forbidden: AbstractSet[str] = frozenset(),
    keys: set[str] | None = None,
) -> Iterator[Document]:
    """Yield textbook pages, about so many characters in all.

    Six pages of ten hold two to four worked problems, one holds problems with the bare answer, and
    three are drills. Keys work as in `render_sheets`.
    """
    HELD_OUT_FAMILIES(variant)
    random, gate = pyrandom("textbook", seed, variant), Gate(variant, forbidden, keys)
    total, number = 0, 0
    while total < characters:
        kind = random.random()
        if kind < 0.3:
            text = "\n\n".join(drill(random) for _ in range(2))
        else:
            before, between = pick(random, _FRAMES)
            parts = []
            for _ in range(2 + int(random.random() * 3)):
                _, _, told = draw_told(random, gate)
                answer = told.direct if kind < 0.4 else told.worked
                parts.append(before + told.question + between + answer)
            text = "\n\n".join(parts)
        yield Document(
            f"textbook-{variant}-{seed}-{number}", text, "textbook", format="prose", language="en"
        )
        total += len(text)
        number += 1
