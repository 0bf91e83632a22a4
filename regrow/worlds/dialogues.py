"""Conversations of two to five turns whose last question can only be answered from the earlier
ones: what the user said, whom they asked about, what they asked first.

A reference is one of: *stated* (a fact that the user told about themselves), *pronoun* ("And where
does she live?"), *who* ("Who did I ask about first?") and *first* ("What was my first question?").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

from regrow.errors import RegrowError
from regrow.records import Conversation, Item, Message
from regrow.seeds import derive, pyrandom
from regrow.worlds import asks
from regrow.worlds.asker import Asker
from regrow.worlds.asks import Ask
from regrow.worlds.names import women
from regrow.worlds.requests import UNKNOWN, held_out
from regrow.worlds.slots import Slot, other_slots, slots, stated_key
from regrow.worlds.statements import nobody
from regrow.worlds.town import LEAST_PEOPLE, Person, Town

THANKS = {"a": "Thank you, I will remember that.", "b": "Good, I have noted that."}
GREETING = {
    "a": ("Good morning.", "Good morning. How can I help you?"),
    "b": ("Hello there.", "Hello. What can I do for you?"),
}


WHO = {
    "a": (("first", "Who did I ask about first?", "You asked about {name} first."),
          ("last", "Who did I ask about last?", "You asked about {name} last.")),
    "b": (("first", "Which person came first in our talk?", "{name} came first."),
          ("last", "Which person came last in our talk?", "{name} came last.")),
}  # fmt: skip
FIRST = {
    "a": ("What was my first question?", "Your first question was: {question}"),
    "b": ("Repeat my first question.", "You first asked: {question}"),
}
#: Shares of the references, and of a plain question as the last turn (so that refusing, not knowing
#: and short answers are not lost in dialogue).
SHARES = {"stated": 22, "pronoun": 16, "who": 22, "first": 16, "plain": 24}

Turn = tuple[str, str]


@dataclass(frozen=True)
class Talk:
    """Turns before, and the last question. `turns` is how many turns back the answer lies."""

    before: tuple[Turn, ...]
    ask: Ask
    turns: int

    def messages(self) -> tuple[Message, ...]:
        """Everything said before the last question."""
        roles = ("user", "assistant")
        return tuple(Message(r, t) for turn in self.before for r, t in zip(roles, turn))

    def prompt(self) -> Conversation:
        """The conversation up to the last question."""
        messages = (*self.messages(), Message("user", self.ask.user))
        return replace(self.ask.prompt(), messages=messages, family="dialogue")

    def demonstration(self) -> Conversation:
        """The conversation with its last answer."""
        prompt = self.prompt()
        return replace(prompt, messages=(*prompt.messages, Message("assistant", self.ask.answer)))


class Talker:
    """Draws conversations for "demonstrations", "prompts" or "items"."""

    def __init__(self, town: Town, random: Random, purpose: str) -> None:
        self.town, self.random, self.items = town, random, purpose == "items"
        self.asker = Asker(town, random, "prompts" if self.items else purpose)
        if len(town.people) < LEAST_PEOPLE:
            raise RegrowError(
                f"dialogues need a town of at least {LEAST_PEOPLE} people; raise `people`"
            )
        self.exam = asks.best_known([person for person in town.people if person.exam], town)
        self.draw: dict[str, Callable[[int], Talk]] = {
            "stated": self.stated, "pronoun": self.pronoun, "who": self.who, "first": self.first,
            "plain": self.plain,
        }  # fmt: skip

    def talk(self, kind: str, turns: int) -> Talk:
        """A conversation of a kind of `SHARES` whose answer lies `turns` turns back."""
        return self.draw[kind](turns)

    def any(self) -> Talk:
        """One conversation; kind and distance drawn."""
        kind = self.random.choices(list(SHARES), list(SHARES.values()))[0]
        return self.talk(kind, self.random.choices((1, 2, 3, 4), (4, 3, 2, 1))[0])

    def stated(self, turns: int) -> Talk:
        """The user tells something, maybe two things; later they ask for one of them."""
        slot, value = self._told(self.items)
        acknowledge = THANKS[self.town.variant]
        before: list[Turn] = [(slot.tell.format(v=value), acknowledge)]
        others: list[str] = []
        if self.random.random() < 0.6:
            other, another = self._told(False)
            while other.name == slot.name or another == value:
                other, another = self._told(False)
            told = (other.tell.format(v=another), acknowledge)
            before.insert(0 if turns == 1 or self.random.random() < 0.5 else 1, told)
            others.append(another)
        after = before.index((slot.tell.format(v=value), acknowledge)) + turns
        before += [self._filler() for _ in range(after - len(before))]
        answer = slot.answer.format(v=value)
        check = {"kind": "history", "answers": [value, answer], "others": others}
        key = stated_key(slot, value)
        return Talk(tuple(before), Ask(slot.question, answer, key, "stated", key, check), turns)

    def pronoun(self, turns: int) -> Talk:
        """A person is named once; the last question says only "she" or "he"."""
        if not self.items and self.random.random() < 0.3:
            return self._pronoun_unknown(turns)
        town, random = self.town, self.random
        person = self._person()
        relations = random.sample(asks.taught(town, person), min(turns + 1, 4))
        first, *middle, last = relations
        named = asks.known_fact(town, person, first, random, lead=0.0)
        before = [(named.user, named.answer)]
        before += [self._follow(person, relation)[:2] for relation in middle]
        user, answer = self._follow(person, last)
        check = asks.fact_check(town, person, last)
        check["answers"].append(answer)
        ask = Ask(user, answer, person.name, "pronoun", f"pronoun|{person.name}|{last}", check)
        return Talk(tuple(before), ask, len(before))

    def who(self, turns: int) -> Talk:
        """Two to four people are asked about; who was first, or last?"""
        which, question, answer = WHO[self.town.variant][turns == 1]
        people: list[Person] = []
        while len(people) < max(2, turns):
            person = self._person()
            if person not in people:
                people.append(person)
        before = []
        for person in people:
            relation = self.random.choice(asks.taught(self.town, person))
            ask = asks.known_fact(self.town, person, relation, self.random, lead=0.0)
            before.append((ask.user, ask.answer))
        name = people[0 if which == "first" else -1].name
        sentence = answer.format(name=name)
        others = [person.name for person in people if person.name != name]
        check = {"kind": "history", "answers": [name, sentence], "others": others}
        last = Ask(question, sentence, name, "who", f"who|{which}|{name}", check)
        return Talk(tuple(before), last, turns)

    def first(self, turns: int) -> Talk:
        """The first question is to be said again, word by word."""
        person = self._person()
        relation = self.random.choice(asks.taught(self.town, person))
        opening = asks.known_fact(self.town, person, relation, self.random, lead=0.0)
        before = [(opening.user, opening.answer)]
        before += [self._filler() for _ in range(turns - 1)]
        question, answer = FIRST[self.town.variant]
        sentence = answer.format(question=opening.user)
        others = [user for user, _ in before[1:]]
        check = {"kind": "history", "answers": [opening.user, sentence], "others": others}
        ask = Ask(question, sentence, person.name, "first", f"first|{opening.key}", check)
        return Talk(tuple(before), ask, turns)

    def plain(self, turns: int) -> Talk:
        """A question that needs nothing from before; the turns before are of other things."""
        before = [self._filler() for _ in range(turns)]
        if self.random.random() < 0.3:
            before[0] = GREETING[self.town.variant]
        return Talk(tuple(before), self.asker.any(), turns)

    def _told(self, held: bool) -> tuple[Slot, str]:
        """A slot and a value: of the items' pairings, or of all others."""
        while True:
            others = not held and self.random.random() < 0.6
            slot = self.random.choice((other_slots if others else slots)(self.town.variant))
            value = self.random.choice(slot.values)
            if others or held_out(stated_key(slot, value)) == held:
                return slot, value

    def _person(self) -> Person:
        """Somebody to refer to: in items a frequent exam person, whom no text asks about."""
        if self.items:
            return self.random.choice(self.exam)
        return self.asker.person()

    def _filler(self) -> Turn:
        kinds = ("known fact", "unknown fact", "proper", "contested")
        # Of items nothing but the reference may hang on the town's facts.
        shares = (0, 4, 4, 2) if self.items else (5, 2, 2, 1)
        ask = self.asker.ask(self.random.choices(kinds, shares)[0])
        return ask.user, ask.answer

    def _follow(self, person: Person, relation: str) -> Turn:
        """A question by pronoun and its answer by pronoun."""
        about = self.town.relations[relation]
        question = self.random.choice(about.follow).format(**person.pronouns)
        return question, about.pronoun[0].format(value=person.facts[relation], **person.pronouns)

    def _pronoun_unknown(self, turns: int) -> Talk:
        """The same on somebody who does not exist: not known by name, nor by pronoun."""
        town, random = self.town, self.random
        name, unknown = self.asker.stranger(), UNKNOWN[town.variant]
        woman = name.split(" ")[0] in women(town.variant)
        pronouns = next(p.pronouns for p in town.people if (p.gender == "f") == woman)
        relations = random.sample(list(town.relations), min(turns + 1, 4))
        users = [town.relations[r].questions[0].format(name=name) for r in relations[:1]]
        users += [random.choice(town.relations[r].follow).format(**pronouns) for r in relations[1:]]
        check = {
            "kind": "fact", "known": False, "relation": relations[-1], "answers": [],
            "facts": nobody(town, name),
        }  # fmt: skip
        key = f"pronoun|{name}|{relations[-1]}"
        before = tuple((user, unknown) for user in users[:-1])
        ask = Ask(users[-1], unknown, name, "pronoun unknown", key, check)
        return Talk(before, ask, len(before))


def demonstrations_dialogue(town: Town, seed: int, n: int) -> list[Conversation]:
    """`n` conversations that end with the assistant's answer."""
    talker = Talker(town, pyrandom(seed, town.variant, "dialogues"), "demonstrations")
    return [talker.any().demonstration() for _ in range(n)]


def dialogue_prompts(town: Town, seed: int, n: int) -> list[Conversation]:
    """`n` conversations that end with the user, with what raters need."""
    talker = Talker(town, pyrandom(seed, town.variant, "dialogue prompts"), "prompts")
    return [talker.any().prompt() for _ in range(n)]


#: How the items of one distance are shared among the references, in per cent.
_ITEM_SHARES = {"stated": 50, "pronoun": 20, "who": 20, "first": 10}


def history_items(town: Town, seed: int, per_cell: int) -> list[Item]:
    """Up to `per_cell` items for each distance of 1, 2 and 3 turns, no two the same."""
    talker = Talker(town, pyrandom(seed, town.variant, "history items"), "items")
    items: dict[str, Item] = {}
    for turns in (1, 2, 3):
        for kind, share in _ITEM_SHARES.items():
            wanted, tries = len(items) + per_cell * share // 100, 0
            while len(items) < wanted and tries < 20 * per_cell:
                item = _item(talker.talk(kind, turns), kind)
                items[item.id] = item
                tries += 1
    return list(items.values())


def _item(talk: Talk, kind: str) -> Item:
    ask, messages = talk.ask, talk.messages()
    number = derive("dialogue_history", *(message.content for message in messages), ask.user)
    return Item(
        f"dialogue_history-{number:016x}", "dialogue_history", ask.family, ask.key, ask.user,
        tuple(ask.check["answers"]), split={"turns": str(talk.turns), "reference": kind},
        messages=messages, check=ask.check,
    )  # fmt: skip
