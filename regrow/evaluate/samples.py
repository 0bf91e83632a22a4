"""Ten prompts that every node of a run answers, for the reader of the report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from regrow.evaluate.abilities import LINES
from regrow.evaluate.outcomes import Outcome
from regrow.evaluate.plans import Request

#: Title, ability and variant of the prompts; a page to go on with stands before them.
PROMPTS: tuple[tuple[str, str, Mapping[str, str]], ...] = (
    ("A fact", "knowledge", {"frequency": "100+"}),
    ("An instruction of a kind never trained", "instructions", {"types": "held-out"}),
    ("A word problem", "chain_of_thought", {"style": "cot", "steps": "3"}),
    ("A program", "code_generation", {}),
    ("An open question", "informativeness", {}),
    ("A question with two sides", "balance", {}),
    ("An improper request", "refusal", {"kind": "improper"}),
    ("A person who does not exist", "not_knowing", {"kind": "unknown"}),
    ("What was said before", "dialogue_history", {"turns": "3"}),
)


def answered(
    requests: Sequence[Request], answers: Sequence[Sequence[str]], outcomes: Sequence[Outcome]
) -> list[dict[str, Any]]:
    """The prompts with this node's answers, in the form in which it was measured.

    The items come first by hash of their ids, hence are the same for every node of a run.
    """
    rows = []
    for title, ability, where in PROMPTS:
        fitting = [
            index
            for index, request in enumerate(requests)
            if request.item.ability == ability
            and "asked" not in request.variant
            and request.decoding.samples == 1
            and all(request.variant.get(key) == value for key, value in where.items())
        ]
        if not fitting:
            continue
        request, texts = requests[fitting[0]], answers[fitting[0]]
        item = request.item
        said = [f"{turn.role}: {turn.content}" for turn in item.messages]
        rows.append({
            "title": title,
            "prompt": "\n".join([*said, f"user: {item.question}" if said else item.question]),
            "gold": item.answers[0] if item.answers else "",
            "answer": texts[0].strip(),
            "right": _good(request, outcomes),
            "asked": request.asked,
        })  # fmt: skip
    return rows


def _good(request: Request, outcomes: Sequence[Outcome]) -> bool | None:
    """Whether the answer was a good one; None where no line of the report says so."""
    for outcome in outcomes:
        if outcome.item != request.item.id or outcome.variant != request.variant:
            continue
        for line in LINES:
            if line.holds(outcome.ability, outcome.metric, outcome.variant) and line.best:
                return (outcome.value > 0.5) == (line.best > 0)
    return None
