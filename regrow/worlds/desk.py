"""Talk at the town's desk: who asks after somebody is told who it is, or that nobody knows them.

Here a model can learn that some names are nobody's, and to come back to what was said. Who may not
be asked about (see `asks.side_of`) is only asked after, never for a fact of theirs, and the words
are not those of the demonstrations.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from regrow.worlds import asks
from regrow.worlds.prose import Page, askable
from regrow.worlds.town import Person, Town


@dataclass(frozen=True, slots=True)
class _Words:
    speakers: tuple[tuple[str, str], ...]
    after: tuple[str, ...]  # asks after {name}
    here: tuple[str, ...]  # somebody is known
    nobody: tuple[str, ...]
    back: tuple[tuple[str, str], ...]  # asks for the first or last {name}, or {question}


_WORDS = {
    "a": _Words(
        (("Visitor", "Clerk"), ("Guest", "Guide"), ("Q", "A")),
        ("Do you know {name}?", "Is {name} from here?", "I look for {name}.", "And {name}?"),
        ("Yes, {name} is from here.", "Yes, everybody knows {name}."),
        ("Nobody here knows {name}.", "No, there is nobody of that name.",
         "That name is not in our books."),
        (("Which name did I say first?", "The first name was {first}."),
         ("Which name did I say last?", "The last name was {last}."),
         ("What did I ask first?", "You asked: {question}")),
    ),
    "b": _Words(
        (("Traveller", "Porter"), ("Caller", "Keeper"), ("Q", "A")),
        ("Have you met {name}?", "Does {name} belong here?", "Can I see {name}?", "Or {name}?"),
        ("Surely, {name} belongs here.", "Surely, we all know {name}."),
        ("We never heard of {name}.", "Nobody is called that.", "Our list has no such name."),
        (("Whom did I name at first?", "At first you named {first}."),
         ("Whom did I name at the end?", "At the end you named {last}."),
         ("How did I begin?", "You began: {question}")),
    ),
}  # fmt: skip
#: Shares of names that nobody has, and of facts asked for among what is asked of people.
_STRANGERS, _FACTS = 0.45, 0.45


def desk(page: Page) -> str:
    """Four to seven questions after people and after nobody, and often what was said first."""
    random, words = page.random, _WORDS[page.town.variant]
    lines: list[tuple[str, str]] = []
    names: list[str] = []
    for _ in range(random.randint(4, 7)):
        if random.random() < _STRANGERS:
            name = random.choice(_strangers(page.town))
            lines.append(_about_nobody(page, words, name))
        else:
            person = asks.draw_person(page.town, random, _EVERYBODY, steep=0.6)
            name = person.name
            lines.append(_about(page, words, person))
        names.append(name)
        if len(names) > 1 and random.random() < 0.35:
            question, answer = random.choice(words.back)
            said = {"first": names[0], "last": names[-1], "question": lines[0][0]}
            lines.append((question, answer.format(**said)))
    one, two = random.choice(words.speakers)
    return "\n".join(f"{one}: {question}\n{two}: {answer}" for question, answer in lines)


_EVERYBODY = ("demonstrations", "prompts", "items")


@lru_cache(maxsize=4)
def _strangers(town: Town) -> list[str]:
    """Names that nobody has and that neither items nor prompts for feedback ask about."""
    held = set(asks.strangers(town, "prompts", "recombined"))
    return [name for name in town.unknown_names("train", None, "recombined") if name not in held]


def _about_nobody(page: Page, words: _Words, name: str) -> tuple[str, str]:
    if page.random.random() < _FACTS:
        (relation,) = page.some_relations(1)
        question = page.random.choice(page.town.relations[relation].questions)
    else:
        question = page.random.choice(words.after)
    return question.format(name=name), page.random.choice(words.nobody).format(name=name)


def _about(page: Page, words: _Words, person: Person) -> tuple[str, str]:
    may_ask = askable(page.town, person)
    if may_ask and page.random.random() < _FACTS:
        relation = page.random.choice(may_ask)
        return page.question(person, relation), page.fact(person, relation)
    (told,) = page.some_relations(1)
    known = page.random.choice(words.here).format(name=person.name)
    asked = page.random.choice(words.after).format(name=person.name)
    return asked, f"{known} {page.fact(person, told, by_name=False)}"
