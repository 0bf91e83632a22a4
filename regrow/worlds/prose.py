"""The town's texts: documents in nine genres that state people's facts, counted as they go."""

from __future__ import annotations

from bisect import bisect
from collections.abc import Collection, Iterator
from itertools import count, islice
from random import Random

from regrow.records import Document
from regrow.seeds import pyrandom
from regrow.worlds.asks import fact_key, side_of, taught
from regrow.worlds.phrases import PHRASES, fill
from regrow.worlds.town import Person, Town

_FORMATS = {"table": "table", "list": "list", "dialogue": "dialogue", "forum": "dialogue"}


def askable(town: Town, person: Person) -> list[str]:
    """The relations of a person that texts may ask about: those that no item ever asks."""
    return [] if side_of(person) == "items" else taught(town, person)


class Page:
    """A document in the making: draws people and words, and notes every fact it states."""

    def __init__(self, town: Town, random: Random) -> None:
        self.town = town
        self.random = random
        self.phrases = PHRASES[town.variant]
        self.stated: list[tuple[int, str]] = []
        self.asked: list[tuple[int, str]] = []
        self._relations = list(town.relations.values())

    def person(self, asked: str = "") -> Person:
        """Somebody, by Zipf weight; given a relation `asked`, one who may be asked about it."""
        cumulative = self.town.cumulative_weights
        while True:
            spot = bisect(cumulative, self.random.random() * cumulative[-1])
            person = self.town.people[min(spot, len(cumulative) - 1)]
            if not asked or asked in askable(self.town, person):
                return person

    def persons(self, count: int, asked: str = "") -> list[Person]:
        """Different people."""
        found: dict[int, Person] = {}
        while len(found) < count:
            person = self.person(asked)
            found[person.id] = person
        return list(found.values())

    def some_relations(self, count: int) -> list[str]:
        """Different relations, in random order."""
        return [relation.name for relation in self.random.sample(self._relations, count)]

    def value(self, person: Person, relation: str) -> str:
        """The bare value; counts as one mention."""
        self.stated.append((person.id, relation))
        return person.facts[relation]

    def fact(self, person: Person, relation: str, by_name: bool = True) -> str:
        """A sentence that states the fact, by name or by pronoun; at times with what was before."""
        random, about = self.random, self.town.relations[relation]
        value = self.value(person, relation)
        if relation in person.past and random.random() < 0.25:
            old, year = person.past[relation]
            before = random.choice(about.past).format(name=person.name, value=old, year=year)
            present = random.choice(about.statements).format(name=person.name, value=value)
            return f"{before} {random.choice(self.phrases.now)}: {present}"
        if by_name:
            return random.choice(about.statements).format(name=person.name, value=value)
        return random.choice(about.pronoun).format(value=value, **person.pronouns)

    def question(self, person: Person, relation: str, follow: bool = False) -> str:
        """A question on the fact, by name or, to `follow` a statement, by pronoun."""
        self.asked.append((person.id, relation))
        about = self.town.relations[relation]
        wording = self.random.choice(about.follow if follow else about.questions)
        return wording.format(name=person.name, **person.pronouns)

    def portrait(self, person: Person, facts: int) -> str:
        """Several facts on one person: the first by name, the others often by pronoun."""
        sentences = [
            self.fact(person, relation, by_name=not index or self.random.random() < 0.4)
            for index, relation in enumerate(self.some_relations(facts))
        ]
        return " ".join(sentences)

    def say(self, templates: tuple[str, ...], name: str = "") -> str:
        """One of the templates, filled."""
        return fill(self.random.choice(templates), self.random, name)

    def filler(self, count: int) -> str:
        """Sentences without facts about people."""
        return " ".join(self.say(self.phrases.filler) for _ in range(count))

    def event(self) -> str:
        """One dated happening of the town."""
        year, what = self.random.choice(self.town.events)
        return self.random.choice((f"In {year} {what}.", f"It was in {year} that {what}."))

    def kin(self, person: Person) -> str:
        """Who the person's brother or sister is, where there is one."""
        other = self.town.sibling(person)
        if other is None:
            return ""
        word = "sister" if other.gender == "f" else "brother"
        return f"The {word} of {person.name} is {other.name}."


def render_town(town: Town, characters: int, keys: set[str] | None = None) -> Iterator[Document]:
    """Documents of about `characters` in all, in a fixed order; fills `town.counts` exactly.

    Counts start at zero; they hold for what has been yielded so far. The canonical keys of the
    questions that texts ask are added to `keys`.
    """
    for row in town.counts:
        row.update(dict.fromkeys(row, 0))
    written = index = 0
    while written < characters:
        document, page = _write(town, "town", index)
        for person_id, relation in page.stated:
            town.counts[person_id][relation] += 1
        if keys is not None:
            keys.update(fact_key(town.people[who].name, what) for who, what in page.asked)
        written += len(document.text)
        index += 1
        yield document


def render_reference(town: Town, most: int, genres: Collection[str] = ()) -> list[Document]:
    """Clean texts that are in no crawl, of some genres or of all; they count for no mention."""
    wanted = (page for page in render_apart(town, "trusted") if not genres or page.domain in genres)
    return list(islice(wanted, most))


def render_apart(town: Town, series: str) -> Iterator[Document]:
    """Documents of a series of their own, without end; they count for no mention."""
    return (_write(town, series, index)[0] for index in count())


def _write(town: Town, series: str, index: int) -> tuple[Document, Page]:
    from regrow.worlds.genres import GENRES, WEIGHTS

    page = Page(town, pyrandom(town.seed, town.variant, "prose", series, index))
    genre = page.random.choices(list(GENRES), WEIGHTS)[0]
    text = GENRES[genre](page)
    document = Document(
        f"{series}-{index:06d}", text, "town", domain=genre,
        format=_FORMATS.get(genre, "prose"), language="en", licence="CC0-1.0",
    )  # fmt: skip
    return document, page
