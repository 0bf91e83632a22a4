"""The town of Macondo: its people and what is true of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate
from random import Random
from typing import Any

from regrow.errors import RegrowError
from regrow.seeds import derive, pyrandom
from regrow.worlds import names
from regrow.worlds.phrases import HAPPENINGS
from regrow.worlds.relations import RELATIONS, Relation, relations

__all__ = ["RELATIONS", "Person", "Relation", "Town", "unknown_names"]

#: Every fourth person is never asked about in any training text, so that their facts can be.
EXAM_EVERY = 4
#: People of the smallest world: pages, conversations and items need so many different ones.
LEAST_PEOPLE = 32


@dataclass(frozen=True)
class Person:
    """Somebody. `facts` are what is true now; `past` are old values with the year they ended."""

    id: int
    name: str
    given: str
    surname: str
    gender: str  # "f" or "m"
    facts: dict[str, str]
    exam: bool
    born: int = 0
    past: dict[str, tuple[str, int]] = field(default_factory=dict)

    @property
    def pronouns(self) -> dict[str, str]:
        """What to fill into wordings: She, she, Her, her (possessive), her2 (object)."""
        if self.gender == "f":
            return {"She": "She", "she": "she", "Her": "Her", "her": "her", "her2": "her"}
        return {"She": "He", "she": "he", "Her": "His", "her": "his", "her2": "him"}


class Town:
    """All people, ordered by how often they are mentioned: person i has weight 1 / (i + 2)."""

    def __init__(self, seed: int, variant: str = "a", people: int = 400) -> None:
        if variant not in names.VARIANTS:
            raise RegrowError(f"unknown world variant {variant!r}; use one of {names.VARIANTS}")
        pairs = 60 * len(names.surnames(variant))
        if not 8 <= people <= pairs // 2:
            raise RegrowError(f"a town has 8 to {pairs // 2} people, not {people}")
        self.seed = seed
        self.variant = variant
        self.relations: dict[str, Relation] = relations(variant)
        self.people: list[Person] = _make_people(seed, variant, people, self.relations)
        self.by_name: dict[str, Person] = {person.name: person for person in self.people}
        #: Ids of the people of each surname; neighbours in the list are brother and sister.
        self.families: dict[str, list[int]] = {}
        for person in self.people:
            self.families.setdefault(person.surname, []).append(person.id)
        self.cumulative_weights: list[float] = list(accumulate(self.weights()))
        #: What once happened, as (year, clause).
        self.events: list[tuple[int, str]] = _make_events(seed, variant)
        #: counts[person id][relation]: how often kept training prose states the current fact.
        self.counts: list[dict[str, int]] = [dict.fromkeys(self.relations, 0) for _ in self.people]

    def sibling(self, person: Person) -> Person | None:
        """The brother or sister: people of one surname are paired; an odd one has none."""
        family = self.families[person.surname]
        spot = family.index(person.id)
        return self.people[family[spot ^ 1]] if spot ^ 1 < len(family) else None

    def weights(self) -> list[float]:
        """How often each person is mentioned, relative to the others (Zipf)."""
        return [1.0 / (person.id + 2) for person in self.people]

    def mentions(self, person: Person | int, relation: str) -> int:
        """How often the fact is stated in the town's kept prose; 0 before it is rendered."""
        index = person if isinstance(person, int) else person.id
        return self.counts[index][relation]

    def frequency(self, person: Person | int, relation: str) -> str:
        """The frequency cell of a fact: "100+", "25-99" or "<25" mentions."""
        return frequency_cell(self.mentions(person, relation))

    def unknown_names(self, split: str, n: int, kind: str) -> list[str]:
        """Names that nobody has; see the function `unknown_names`."""
        return unknown_names(self, split, n, kind)

    def to_json(self) -> dict[str, Any]:
        """The whole truth, for world.json."""
        return {
            "seed": self.seed,
            "variant": self.variant,
            "people": [
                {
                    "id": p.id,
                    "name": p.name,
                    "gender": p.gender,
                    "exam": p.exam,
                    "born": p.born,
                    "facts": p.facts,
                    "past": {r: list(v) for r, v in p.past.items()},
                }
                for p in self.people
            ],
            "events": [list(event) for event in self.events],
            "mentions": {str(p.id): self.counts[p.id] for p in self.people},
        }


def frequency_cell(mentions: int) -> str:
    """Name the frequency cell of a number of mentions."""
    return "100+" if mentions >= 100 else "25-99" if mentions >= 25 else "<25"


def unknown_names(town: Town, split: str, n: int, kind: str) -> list[str]:
    """`n` full names that nobody in town has, in seeded order.

    `kind` "recombined" pairs a given name and a surname that both occur, in a pair that does not;
    "new" takes a surname that no text of the world holds. The splits "train" and "test" share no
    name. Raises RegrowError if fewer than `n` exist.
    """
    if split not in ("train", "test") or kind not in ("recombined", "new"):
        raise RegrowError(f"no unknown names of split {split!r} and kind {kind!r}")
    given = names.women(town.variant) + names.men(town.variant)
    if kind == "new":
        pool = [f"{g} {s}" for g in given for s in names.new_surnames(split)]
    else:
        used_given = {person.given for person in town.people}
        used_surnames = sorted({person.surname for person in town.people})
        pairs = (f"{g} {s}" for g in given if g in used_given for s in used_surnames)
        side = 0 if split == "train" else 1
        pool = [
            pair
            for pair in pairs
            if pair not in town.by_name and derive("unknown", town.variant, pair) % 2 == side
        ]
    if n > len(pool):
        raise RegrowError(f"only {len(pool)} {kind} unknown names exist for {split}; ask for fewer")
    pyrandom(town.seed, "unknown", split, kind).shuffle(pool)
    return pool[:n]


def _make_people(
    seed: int, variant: str, count: int, all_relations: dict[str, Relation]
) -> list[Person]:
    random = pyrandom(seed, variant, "people")
    given = [(name, "f") for name in names.women(variant)]
    given += [(name, "m") for name in names.men(variant)]
    surnames = list(names.surnames(variant))
    # A small town uses fewer names, so that every name still has several bearers.
    given = random.sample(given, max(4, min(len(given), count // 5)))
    surnames = random.sample(surnames, max(4, min(len(surnames), count // 4)))
    pairs = _spread_pairs(given, surnames, count, random)
    people = []
    for index, ((first, gender), surname) in enumerate(pairs):
        facts = {name: random.choice(relation.values) for name, relation in all_relations.items()}
        past = {}
        for name, relation in all_relations.items():
            if relation.changes and random.random() < 0.15:
                old = random.choice([value for value in relation.values if value != facts[name]])
                past[name] = (old, random.randrange(1985, 2010))
        people.append(
            Person(
                index,
                f"{first} {surname}",
                first,
                surname,
                gender,
                facts,
                index % EXAM_EVERY == EXAM_EVERY - 1,
                random.randrange(1930, 1981),
                past,
            )
        )
    return people


def _make_events(seed: int, variant: str) -> list[tuple[int, str]]:
    random = pyrandom(seed, variant, "events")
    return sorted((random.randrange(1900, 2000), what) for what in HAPPENINGS[variant])


def _spread_pairs(
    given: list[tuple[str, str]], surnames: list[str], count: int, random: Random
) -> list[tuple[tuple[str, str], str]]:
    """Distinct pairs that use every given name and every surname about equally often."""
    pairs: list[tuple[tuple[str, str], str]] = []
    taken = set()
    while len(pairs) < count:
        firsts, lasts = given[:], surnames[:]
        random.shuffle(firsts)
        random.shuffle(lasts)
        for index in range(max(len(firsts), len(lasts))):
            pair = (firsts[index % len(firsts)], lasts[index % len(lasts)])
            if pair not in taken and len(pairs) < count:
                taken.add(pair)
                pairs.append(pair)
    return pairs
