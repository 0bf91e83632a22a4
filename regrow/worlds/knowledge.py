"""Items on what the town's prose states: facts of people whom no training text asks about."""

from __future__ import annotations

from random import Random
from typing import Any

from regrow.records import Item
from regrow.seeds import derive, pyrandom
from regrow.worlds.asks import fact_key
from regrow.worlds.prose import askable
from regrow.worlds.town import Person, Town
from regrow.worlds.wordings import numbered

CELLS = ("100+", "25-99", "<25")
SHOTS = 8
EDITED_SHOTS = 3
#: Shots are drawn from this many of the most mentioned people, so that they are likely known.
_SHOT_PEOPLE = 60


def knowledge_items(town: Town, per_cell: int) -> list[Item]:
    """Up to `per_cell` items for each frequency cell, in a seeded order.

    The facts are those of exam people; a cell with fewer facts than items asks them in several
    wordings. Needs `town.counts`, so render the town first. Each item has eight shots on other
    people, over all relations, and is in the family of its person.
    """
    items = []
    for cell in CELLS:
        random = pyrandom(town.seed, town.variant, "knowledge", cell)
        facts = [
            (person, relation)
            for person in town.people
            if person.exam
            for relation in town.relations
            if town.frequency(person, relation) == cell and town.mentions(person, relation)
        ]
        random.shuffle(facts)
        wordings = max(len(relation.questions) for relation in town.relations.values())
        asked = [(*fact, wording) for wording in range(wordings) for fact in facts]
        items += [_item(town, random, cell, *one) for one in asked[:per_cell]]
    return items


def _item(
    town: Town, random: Random, cell: str, person: Person, relation: str, wording: int
) -> Item:
    questions = town.relations[relation].questions
    place = (wording + person.id) % len(questions)
    question = questions[place].format(name=person.name)
    return Item(
        id=f"knowledge-{derive('knowledge', question):016x}",
        ability="knowledge",
        family=person.name,
        key=fact_key(person.name, relation),
        question=question,
        answers=(person.facts[relation],),
        split={"frequency": cell},
        shots=_shots(town, random, relation),
        check={
            "relation": relation,
            "mentions": town.mentions(person, relation),
            "edited": _edited(town, person, relation, question),
        },
        wording=numbered(place),
    )


def _edited(town: Town, person: Person, relation: str, question: str) -> dict[str, Any]:
    """A statement that the fact is another one, the true statement, and two solved examples.

    Whoever reads `told` before the question should answer with `value` and not with what was
    learnt; the examples do so for other people.
    """
    random = pyrandom("edited", town.seed, town.variant, question)
    value, told = _another(town, random, person, relation)
    people = [other for other in town.people[:_SHOT_PEOPLE] if other != person]
    shots = []
    for about in random.sample(people, EDITED_SHOTS):
        name = random.choice(list(town.relations))
        asked = random.choice(town.relations[name].questions).format(name=about.name)
        other, statement = _another(town, random, about, name)
        shots.append([statement, asked, town.relations[name].short.format(value=other)])
    true = told.replace(value, person.facts[relation])
    return {"value": value, "told": told, "true": true, "shots": shots}


def _another(town: Town, random: Random, person: Person, relation: str) -> tuple[str, str]:
    """A value that is not the person's, and a statement that it is."""
    about = town.relations[relation]
    value = random.choice([v for v in about.values if v != person.facts[relation]])
    return value, random.choice(about.statements).format(name=person.name, value=value)


def _shots(town: Town, random: Random, relation: str) -> tuple[tuple[str, str], ...]:
    """Eight questions with short answers: every relation, and the item's own last."""
    mix = list(town.relations)
    random.shuffle(mix)
    mix = [*(mix + mix)[: SHOTS - 1], relation]
    people = [person for person in town.people[:_SHOT_PEOPLE] if askable(town, person)]
    shots: list[tuple[str, str]] = []
    for name in mix:
        while True:
            person = random.choice(people)
            about = town.relations[name]
            question = random.choice(about.questions).format(name=person.name)
            if name in askable(town, person) and question not in (asked for asked, _ in shots):
                shots.append((question, about.short.format(value=person.facts[name])))
                break
    return tuple(shots)
