"""Draws questions of every kind, for demonstrations or for feedback."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from regrow.worlds import asks
from regrow.worlds.asks import Ask
from regrow.worlds.requests import Request, contested_pairs, requests
from regrow.worlds.town import Person, Town

#: Shares of the kinds. With half as many unknown people, models refused fewer known ones and
#: invented as many more strangers: it moves the point, not the curve.
SHARES = {
    "known fact": 24, "unknown fact": 20, "known open": 16, "unknown open": 10,
    "improper": 10, "proper": 12, "contested": 8,
}  # fmt: skip
#: How many of the demonstrators answer a contested question for both sides.
_BALANCED_SHARE = 0.3


class Asker:
    """Draws questions of every kind for one purpose: "demonstrations" or "prompts"."""

    def __init__(self, town: Town, random: Random, purpose: str) -> None:
        self.town, self.random = town, random
        self.purpose = purpose
        self.strangers = {
            kind: asks.strangers(town, purpose, kind) for kind in ("recombined", "new")
        }
        self.requests = {
            improper: by_family(requests(town.variant, improper, items=False))
            for improper in (True, False)
        }
        self.pairs = contested_pairs(town.variant, items=False)

    def person(self) -> Person:
        """Somebody of the town. Half of those in prompts are met in no demonstration: else whoever
        is new would be a stranger, and feedback would teach to know nobody else."""
        shown = self.purpose == "demonstrations" or self.random.random() < 0.5
        return asks.draw_person(self.town, self.random, "demonstrations" if shown else "prompts")

    def stranger(self) -> str:
        """A name that nobody has, of either kind."""
        return self.random.choice(self.strangers[self.random.choice(("recombined", "new"))])

    def ask(self, kind: str) -> Ask:
        """One question of a kind of `SHARES`."""
        town, random = self.town, self.random
        if kind == "known fact":
            person = self.person()
            relation = random.choice(asks.taught(town, person))
            return asks.known_fact(town, person, relation, random, lead=0.4)
        if kind == "unknown fact":
            relation = random.choice(list(town.relations))
            return asks.unknown_fact(town, self.stranger(), relation, random, lead=0.4)
        if kind == "known open":
            person = self.person()
            return asks.open_known(town, person, random)
        if kind == "unknown open":
            return asks.open_unknown(town, self.stranger(), random)
        if kind == "contested":
            balanced = random.random() < _BALANCED_SHARE
            pair = random.choice(self.pairs)
            ordered = pair if random.random() < 0.5 else pair[::-1]
            return asks.contested_ask(town, ordered, random, balanced)
        families = self.requests[kind == "improper"]
        return asks.request_ask(town, random.choice(random.choice(families)), random)

    def any(self) -> Ask:
        """One question, its kind drawn by share."""
        return self.ask(self.random.choices(list(SHARES), list(SHARES.values()))[0])


def by_family(every: Sequence[Request]) -> list[list[Request]]:
    """Requests grouped by the deed, so that a deed can be drawn before its object."""
    families: dict[str, list[Request]] = {}
    for request in every:
        families.setdefault(request.family, []).append(request)
    return list(families.values())
