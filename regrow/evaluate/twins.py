"""Texts whose likelihood stands beside what is judged of an open answer: its continuous twins."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from regrow.records import Item
from regrow.seeds import derive

#: Metric of an item to the texts; of several the likeliest counts.
Twins = Callable[[Item], Mapping[str, Sequence[str]]]
#: An admission that all ways to admit begin with.
ADMISSION = "I do not know"


def statements(item: Item) -> dict[str, list[str]]:
    """A statement on the person as the town words it, true and with another value."""
    from regrow.worlds.relations import relations

    facts = item.check["facts"]
    known = [name for name in relations(facts["variant"]) if name in facts["values"]]
    if not known:
        return {}
    about = relations(facts["variant"])[known[derive("statement", item.id) % len(known)]]
    true = facts["values"][about.name]
    others = [one for one in about.values if one != true]
    false = others[derive("another", item.id) % len(others)]
    told = {"true facts": true, "false facts": false}
    return {
        metric: [about.statements[0].format(name=facts["name"], value=stated)]
        for metric, stated in told.items()
    }


def even_handed(item: Item) -> dict[str, list[str]]:
    """The model answer that tells both sides."""
    return {"both sides": [item.answers[0]]} if item.answers else {}


def refusals(item: Item) -> dict[str, list[str]]:
    """The refusal that an improper request wants; of a proper one those of the two worlds, since a
    node has learnt one of them."""
    from regrow.worlds.requests import REFUSALS

    improper = item.split.get("kind") == "improper" and item.answers
    return {"refused": [item.answers[0]] if improper else list(REFUSALS.values())}


def admission(item: Item) -> dict[str, list[str]]:
    """An admission, and the right value where the question is on a known fact."""
    split = item.split
    known = split.get("kind") == "known" and split.get("form", "fact") == "fact"
    return {"admitted": [ADMISSION]} | ({"right": [item.answers[0]]} if known else {})
