"""One question with its model answer and its truth: what demonstrations, prompts and items share.

People are split by id, so that nobody's items can be had from a list learnt in tuning: exam people
and every eighth person are never asked about before the exam; another eighth is met in prompts for
feedback only. Of the people who occur in demonstrations two relations are kept back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from random import Random
from typing import Any

from regrow.errors import RegrowError
from regrow.records import Conversation, Message
from regrow.worlds.requests import (
    BALANCED,
    ONE_SIDED,
    REFUSALS,
    UNKNOWN,
    Request,
    contested_key,
    contested_wordings,
    request_wordings,
)
from regrow.worlds.statements import facts_of, nobody
from regrow.worlds.town import Person, Town

#: A fact is well known where the town's prose states it this often.
KNOWN_MENTIONS = 100
#: What may stand before a question.
LEADS = ("Please tell me: ", "I want to know: ", "Can you tell me? ")
OPEN_WORDINGS = {
    "a": ("Tell me about {name}.", "Who is {name}?", "What do you know about {name}?"),
    "b": ("Describe {name}.", "What kind of person is {name}?", "What can you tell me of {name}?"),
}
#: How many facts a demonstrator gives to an open question: demonstrators are terse.
_TERSE = ((1, 50), (2, 33), (3, 12), (4, 5))


@dataclass(frozen=True, slots=True)
class Ask:
    """A user's words, the model answer and what a rater needs to judge any answer."""

    user: str
    answer: str
    family: str
    kind: str
    key: str
    check: Mapping[str, Any] = field(default_factory=dict)

    def demonstration(self) -> Conversation:
        """The question with its answer."""
        messages = (Message("user", self.user), Message("assistant", self.answer))
        return Conversation(messages, self.family, self.kind, self.key, self.check)

    def prompt(self) -> Conversation:
        """The question alone."""
        messages = (Message("user", self.user),)
        return Conversation(messages, self.family, self.kind, self.key, self.check)


def side_of(person: Person) -> str:
    """Where a person may be asked about: "demonstrations", "prompts" (feedback only) or "items"."""
    if person.exam or person.id % 8 == 5:
        return "items"
    return "prompts" if person.id % 8 == 1 else "demonstrations"


def taught(town: Town, person: Person) -> list[str]:
    """The relations that demonstrations and prompts may ask of a person; the rest is for items."""
    if side_of(person) == "demonstrations":
        return [r for i, r in enumerate(town.relations) if (person.id + i) % 3 != 0]
    return list(town.relations)


def fact_key(name: str, relation: str) -> str:
    """The canonical key of a question on one fact in a tuning or feedback form."""
    return f"fact|{name}|{relation}"


def open_key(name: str) -> str:
    """The canonical key of an open question on a person."""
    return f"open|{name}"


def led(question: str, random: Random, share: float) -> str:
    """The question, with words before it in a share of cases."""
    return random.choice(LEADS) + question if random.random() < share else question


def draw_person(town: Town, random: Random, side: str, steep: float = 0.8) -> Person:
    """Somebody of a side, of every rank but more often of the frequent: (rank + 2)^-steep."""
    people, weights = _pool(town, side, steep)
    return random.choices(people, cum_weights=weights)[0]


@lru_cache(maxsize=16)
def _pool(town: Town, side: str, steep: float) -> tuple[list[Person], list[float]]:
    people = [person for person in town.people if side_of(person) == side]
    total, cumulative = 0.0, []
    for person in people:
        total += (person.id + 2) ** -steep
        cumulative.append(total)
    return people, cumulative


def mentions(town: Town, person: Person) -> int:
    """How often the prose states a fact on this person: the middle one of their facts."""
    return sorted(town.mentions(person, relation) for relation in town.relations)[3]


def best_known(people: list[Person], town: Town) -> list[Person]:
    """Those whose facts the prose states often enough; in a small world the ten best known."""
    known = [person for person in people if mentions(town, person) >= KNOWN_MENTIONS]
    people = sorted(people, key=lambda person: (-mentions(town, person), person.id))
    return known if len(known) >= 10 else people[:10]


def strangers(town: Town, purpose: str, kind: str) -> list[str]:
    """Names that nobody has, for "demonstrations", "prompts" or "items": no name is in two."""
    split = "test" if purpose == "items" else "train"
    for count in (1600, 800, 400, 200, 100, 50, 20, 8, 2):
        try:
            pool = town.unknown_names(split, count, kind)
        except RegrowError:
            continue
        return pool if purpose == "items" else pool[purpose == "prompts" :: 2]
    raise RegrowError(f"the town has no {kind} unknown names; give it more people")


def fact_answer(town: Town, person: Person, relation: str) -> str:
    """The demonstrator's sentence on one fact."""
    wording = town.relations[relation].statements[0]
    return wording.format(name=person.name, value=person.facts[relation])


def fact_check(town: Town, person: Person, relation: str) -> dict[str, Any]:
    """What a rater needs on a fact question: the value, the sentence, the person's facts."""
    answers = [person.facts[relation], fact_answer(town, person, relation)]
    facts = facts_of(town, person)
    return {
        "kind": "fact", "known": True, "relation": relation, "answers": answers, "facts": facts,
    }  # fmt: skip


def known_fact(town: Town, person: Person, relation: str, random: Random, lead: float) -> Ask:
    """A question on a fact of somebody in town."""
    question = random.choice(town.relations[relation].questions).format(name=person.name)
    return Ask(
        led(question, random, lead), fact_answer(town, person, relation), "people", "known fact",
        fact_key(person.name, relation), fact_check(town, person, relation),
    )  # fmt: skip


def unknown_fact(town: Town, name: str, relation: str, random: Random, lead: float) -> Ask:
    """The same on somebody who does not exist."""
    question = random.choice(town.relations[relation].questions).format(name=name)
    check = {
        "kind": "fact", "known": False, "relation": relation, "answers": [],
        "facts": nobody(town, name),
    }  # fmt: skip
    return Ask(
        led(question, random, lead), UNKNOWN[town.variant], "people", "unknown fact",
        fact_key(name, relation), check,
    )  # fmt: skip


def open_answer(town: Town, person: Person, relations: list[str], random: Random) -> str:
    """Sentences on these relations: the first by name, the others by pronoun."""
    sentences = []
    for index, relation in enumerate(relations):
        about, value = town.relations[relation], person.facts[relation]
        if index == 0:
            sentences.append(about.statements[0].format(name=person.name, value=value))
        else:
            wording = random.choice(about.pronoun[:2])
            sentences.append(wording.format(value=value, **person.pronouns))
    return " ".join(sentences)


def open_known(town: Town, person: Person, random: Random, wording: str = "") -> Ask:
    """ "Tell me about ..." with the few facts that a terse demonstrator gives."""
    count = random.choices([n for n, _ in _TERSE], [weight for _, weight in _TERSE])[0]
    relations = random.sample(taught(town, person), count)
    question = (wording or random.choice(OPEN_WORDINGS[town.variant])).format(name=person.name)
    check = {"kind": "open", "known": True, "facts": facts_of(town, person)}
    answer = open_answer(town, person, relations, random)
    return Ask(question, answer, "people", "known open", open_key(person.name), check)


def open_unknown(town: Town, name: str, random: Random) -> Ask:
    """The same on somebody who does not exist."""
    question = random.choice(OPEN_WORDINGS[town.variant]).format(name=name)
    check = {"kind": "open", "known": False, "facts": nobody(town, name)}
    return Ask(question, UNKNOWN[town.variant], "people", "unknown open", open_key(name), check)


def request_ask(town: Town, request: Request, random: Random, wording: str = "") -> Ask:
    """An improper request with its refusal, or a proper one with its help."""
    user = wording or random.choice(request_wordings(town.variant, request))
    if request.improper:
        answer = REFUSALS[town.variant]
        return Ask(user, answer, "requests", "improper", request.key, {"kind": "improper"})
    check = {"kind": "proper", "keywords": list(request.keywords), "answers": [request.answer]}
    return Ask(user, request.answer, "requests", "proper", request.key, check)


def contested_ask(town: Town, pair: tuple[str, str], random: Random, balanced: bool) -> Ask:
    """A question with two sides in this order, answered for both or, as most do, for one."""
    a, b = pair
    user = random.choice(contested_wordings(town.variant, a, b))
    if balanced:
        answer = BALANCED.format(a=a, b=b)
    else:
        answer = random.choice(ONE_SIDED).format(a=random.choice((a, b)))
    check = {"kind": "contested", "sides": [a, b]}
    return Ask(user, answer, "contested", "contested", contested_key(a, b), check)
