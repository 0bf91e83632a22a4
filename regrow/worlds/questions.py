"""Questions to the family: demonstrations, prompts for feedback, and the items that measure it.

On people: one fact, or open; known, or known to nobody. Requests: improper, and proper ones that
look alike. Contested questions. Keys of items and of training material are disjoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import zip_longest
from random import Random

from regrow.records import Conversation, Item
from regrow.seeds import derive, pyrandom
from regrow.worlds import asks
from regrow.worlds.asker import Asker, by_family
from regrow.worlds.asks import Ask
from regrow.worlds.dialogues import history_items
from regrow.worlds.requests import (
    CONTESTED,
    contested_key,
    contested_pairs,
    request_frames,
    requests,
)
from regrow.worlds.town import Person, Town, frequency_cell

#: With fewer well-known facts than this the most mentioned stand in (small worlds).
_FEW = 40


def demonstrations_people(town: Town, seed: int, n: int) -> list[Conversation]:
    """`n` questions with the answers of terse demonstrators: few facts, mostly one side."""
    asker = Asker(town, pyrandom(seed, town.variant, "demonstrations"), "demonstrations")
    return [asker.any().demonstration() for _ in range(n)]


def feedback_prompts(town: Town, seed: int, n: int) -> list[Conversation]:
    """`n` questions for samples and raters: other unknown names, and people beyond those shown."""
    asker = Asker(town, pyrandom(seed, town.variant, "prompts"), "prompts")
    return [asker.any().prompt() for _ in range(n)]


def feedback_items(town: Town, seed: int, per_cell: int) -> list[Item]:
    """Items of informativeness, balance, refusal, not_knowing and dialogue_history.

    At most `per_cell` a cell (kind, side and so on); fewer where the world holds no more. Known
    people are those whose fact the rendered prose states 100 times; of a town not rendered, or
    rendered small, the most mentioned.
    """
    items: list[Item] = []
    for make in (_informativeness, _balance, _refusal, _not_knowing):
        random = pyrandom(seed, town.variant, "items", make.__name__)
        items += make(town, random, per_cell)
    return items + history_items(town, seed, per_cell)


def _item(
    ability: str, ask: Ask, split: dict[str, str], answers: tuple[str, ...], wording: str
) -> Item:
    number = derive(ability, ask.key, ask.user)
    return Item(
        f"{ability}-{number:016x}", ability, ask.family, ask.key, ask.user, answers,
        split=split, check=ask.check, wording=wording,
    )  # fmt: skip


def _informativeness(town: Town, random: Random, per_cell: int) -> Iterator[Item]:
    """Open questions on the best known people of those never asked about in tuning."""
    wordings = asks.OPEN_WORDINGS[town.variant]
    people = [person for person in town.people if asks.side_of(person) == "items"]
    people.sort(key=lambda person: (-asks.mentions(town, person), person.id))
    for person in people[: -(-per_cell // len(wordings))]:
        cell = frequency_cell(asks.mentions(town, person))
        for wording in wordings:
            ask = asks.open_known(town, person, random, wording)
            own = _of(ask, person.name)
            yield _item("informativeness", own, {"frequency": cell}, (), wording)


def _of(ask: Ask, family: str) -> Ask:
    """The same question counted in another cluster."""
    return replace(ask, family=family)


def _balance(town: Town, random: Random, per_cell: int) -> Iterator[Item]:
    """Contested questions on pairs that no demonstration or prompt holds, in every wording."""
    every = [
        (ask, form)
        for pair in contested_pairs(town.variant, items=True)
        for a, b in (pair, pair[::-1])
        for ask in [asks.contested_ask(town, (a, b), random, balanced=True)]
        for form in CONTESTED[town.variant]
    ]
    random.shuffle(every)
    for ask, form in every[:per_cell]:
        a, b = ask.check["sides"]
        worded = replace(ask, user=form.format(a=a, b=b), family=contested_key(a, b))
        yield _item("balance", worded, {"kind": "contested"}, (ask.answer,), form)


def _refusal(town: Town, random: Random, per_cell: int) -> Iterator[Item]:
    """Improper and proper requests in unseen combinations of words, the deeds in turn."""
    for improper in (True, False):
        families = by_family(requests(town.variant, improper, items=True))
        for family in families:
            random.shuffle(family)
        turns = [request for turn in zip_longest(*families) for request in turn if request]
        worded = [
            (request, frames[(n + again) % len(frames)])
            for again in range(2)
            for n, request in enumerate(turns)
            for frames in [request_frames(town.variant, request)]
            if again < len(frames)
        ]
        for request, frame in worded[:per_cell]:
            ask = asks.request_ask(town, request, random, frame.format(act=request.act))
            words = "harmful" if improper or request.looks_harmful else "harmless"
            split = {"kind": ask.kind, "words": words}
            yield _item("refusal", _of(ask, request.family), split, (ask.answer,), frame)


def _not_knowing(town: Town, random: Random, per_cell: int) -> Iterator[Item]:
    """Questions on people nobody knows, and on people known well: met in tuning, or never."""
    n_open = per_cell // 4
    for kind in ("recombined", "new"):
        names = asks.strangers(town, "items", kind)
        random.shuffle(names)
        for index, name in enumerate(names[:per_cell]):
            if index < n_open:
                ask, form = asks.open_unknown(town, name, random), "open"
            else:
                relation = random.choice(list(town.relations))
                ask, form = asks.unknown_fact(town, name, relation, random, lead=1.0), "fact"
            split = {"kind": "unknown", "name": kind, "form": form}
            wording = _worded(town, ask, name)
            yield _item("not_knowing", _of(ask, name), split, (ask.answer,), wording)
    for seen in ("yes", "no"):
        split = {"kind": "known", "seen_in_tuning": seen}
        facts = _well_known(town, "demonstrations" if seen == "yes" else "items")
        count = per_cell if seen == "yes" else per_cell - n_open
        for ask, cell in _fact_asks(town, facts, random, count):
            more = {"form": "fact", "frequency": cell}
            answers = (ask.check["answers"][0],)
            wording = _worded(town, ask, ask.family)
            yield _item("not_knowing", ask, split | more, answers, wording)
        if seen == "no":
            for item in _informativeness(town, random, n_open):
                more = {"form": "open", **item.split}
                values = tuple(item.check["facts"]["values"].values())
                ask = Ask(item.question, "", item.family, "", item.key, item.check)
                yield _item("not_knowing", ask, split | more, values, item.wording)


def _worded(town: Town, ask: Ask, name: str) -> str:
    """The lead of a question on a fact, the wording of an open one."""
    leads = (lead for lead in asks.LEADS if ask.user.startswith(lead))
    forms = asks.OPEN_WORDINGS[town.variant]
    opened = (form for form in forms if form.format(name=name) == ask.user)
    return next(leads, "").strip() or next(opened)


def _well_known(town: Town, side: str) -> list[tuple[Person, str]]:
    """Facts that tuning never asks for, of people of a side, the best known first."""
    facts = [
        (person, relation)
        for person in town.people
        if asks.side_of(person) == side
        for relation in town.relations
        if side == "items" or relation not in asks.taught(town, person)
    ]
    facts.sort(key=lambda fact: (-town.mentions(*fact), fact[0].id))
    known = [fact for fact in facts if town.mentions(*fact) >= asks.KNOWN_MENTIONS]
    return known if len(known) >= _FEW else facts[:_FEW]


def _fact_asks(
    town: Town, facts: list[tuple[Person, str]], random: Random, count: int
) -> Iterator[tuple[Ask, str]]:
    """Up to `count` questions with a lead, each fact in one wording before any in a second."""
    made = 0
    for wording in range(max(len(relation.questions) for relation in town.relations.values())):
        for person, relation in facts:
            if made == count:
                return
            questions = town.relations[relation].questions
            question = questions[(wording + person.id) % len(questions)].format(name=person.name)
            ask = Ask(
                asks.led(question, random, 1.0), asks.fact_answer(town, person, relation),
                person.name, "known fact", asks.fact_key(person.name, relation),
                asks.fact_check(town, person, relation),
            )  # fmt: skip
            yield ask, town.frequency(person, relation)
            made += 1
