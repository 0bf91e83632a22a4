"""Abilities that ask the items of other abilities in another way, to see how firm those are.

robustness: the same questions with slips of the pen, in capitals, with a sentence that does not
matter. fairness: problems told of a girl, of a boy, in a dialect. prompting: problems after simple
and after complex examples, by voting, and least to most. few_shot: instructions after solved ones.
counterfactuals: facts after a statement that they are other ones.

Each item is asked in every way, so that the ways compare as pairs. They cost more than they tell of
a node's place in the tree, so recipes leave them out unless they are named.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from random import Random

from regrow.align.verify import final_number
from regrow.evaluate import judges, prompts, tools
from regrow.evaluate.abilities import find
from regrow.evaluate.dialects import about, in_dialect
from regrow.evaluate.judges import Verdicts, says, solves
from regrow.evaluate.plans import MANNER, Asker, Decoding, Request
from regrow.records import Item, Message
from regrow.seeds import pyrandom

#: Samples that vote, and how they are drawn (Wang et al. 2023, sec. 3.1, who take up to 40).
VOTES, VOTE_TEMPERATURE = 8, 0.7
#: The way in which each step is led by its question.
LED = "least to most"
#: Tokens of a worked answer of up to four steps, and of a fact.
_WORKED, _FACT = 96, 24


def varied(ability: str, items_of: Callable[[str], list[Item]]) -> list[Item]:
    """The items of a varied ability; `items_of` reads those of another ability."""
    found = []
    for source in find(ability).of:
        for item in items_of(source.ability):
            if all(item.split.get(key) in values for key, values in source.where.items()):
                split = {**item.split, "of": source.called}
                found.append(replace(item, id=f"{ability}-{item.id}", ability=ability, split=split))
    return found


def with_slips(random: Random, text: str, keep: str = "") -> str:
    """Two neighbouring letters inside every third longer word are swapped; `keep` stays whole."""
    kept = set(keep.split())
    words = text.split(" ")
    places = [
        n for n, word in enumerate(words)
        if len(word) > 3 and word.isalpha() and word not in kept
    ]  # fmt: skip
    for n in random.sample(places, -(-len(places) // 3)):
        at = random.randrange(1, len(words[n]) - 2)
        word = words[n]
        words[n] = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
    return " ".join(words)


def _beside_the_point(item: Item) -> str:
    """The first sentence of an example about somebody else: its number means nothing here."""
    who = item.question.split(" ", 1)[0]
    others = [q for q, _ in item.shots if who not in q]
    if not others:
        return ""
    return re.split(r"(?<=\.) ", others[0], maxsplit=1)[0]


def _noised(item: Item) -> Iterator[tuple[str, str]]:
    """(noise, question) in each way in which the item can be asked."""
    random = pyrandom("noise", item.id)
    yield "none", item.question
    name = item.family if item.split["of"] == "facts" else ""
    yield "slips", with_slips(random, item.question, keep=name)
    yield "capitals", item.question.upper()
    if item.split["of"] == "problems" and (aside := _beside_the_point(item)):
        yield "distractor", f"{aside} {item.question}"


def _robustness(item: Item, asker: Asker) -> Iterator[Request]:
    for noise, question in _noised(item):
        variant = {"of": item.split["of"], "noise": noise}
        if item.split["of"] == "facts":
            yield from _fact(item, asker, question, variant)
        else:
            yield from _problem(item, asker, question, str(item.check["worked"]), variant)


def _fairness(item: Item, asker: Asker) -> Iterator[Request]:
    worked = str(item.check["worked"])
    for told, (question, gold) in (
        ("a girl", about("f", item.question, worked)),
        ("a boy", about("m", item.question, worked)),
        ("a dialect", (in_dialect(item.question), worked)),
    ):
        yield from _problem(item, asker, question, gold, {"told": told})


def _fact(item: Item, asker: Asker, question: str, variant: Mapping[str, str]) -> Iterator[Request]:
    """A fact asked in these words, as the ability knowledge does."""
    gold = item.answers[0]
    if asker.chat:
        asked = [Message("user", question)]
        yield asker.talk(item, asked, gold, _FACT, variant=variant, whole=False)
        return
    for template in prompts.dealt("knowledge", item, asker.every):
        yield asker.plain(
            item, template, question, gold, Decoding(_FACT), variant=variant, shots=item.shots
        )


def _problem(
    item: Item, asker: Asker, question: str, gold: str, variant: Mapping[str, str]
) -> Iterator[Request]:
    """A problem put in these words, as the ability chain_of_thought does."""
    source = "chain_of_thought"
    if asker.chat:
        for name, text in prompts.turns(source, item, asker.every, question, MANNER["cot"]):
            asked = [Message("user", text)]
            yield asker.talk(item, asked, gold, _WORKED, variant=variant, template=name)
        return
    for template in prompts.dealt(source, item, asker.every):
        yield asker.plain(
            item, template, question, gold, Decoding(_WORKED), variant=variant,
            shots=item.shots[-find(source).shots :],
        )  # fmt: skip


def by_questions(worked: str) -> str:
    """A worked answer with each step led by the question that it answers (Zhou et al. 2023,
    least-to-most prompting in a single pass)."""
    steps = re.split(r"(?<=\.) ", worked)
    asked = [
        f"How many when {step.split(':', 1)[0]}? {step}" if ":" in step else step for step in steps
    ]
    return " ".join(asked)


def _prompting(item: Item, asker: Asker) -> Iterator[Request]:
    """Always plain text: examples are what is compared."""
    simple, middling, complicated = (item.check["exemplars"][steps] for steps in "124")
    once = Decoding(_WORKED, ("\n",))
    votes = replace(once, temperature=VOTE_TEMPERATURE, samples=VOTES)
    worked = str(item.check["worked"])
    ways: tuple[tuple[str, list[list[str]], Decoding], ...] = (
        ("simple examples", simple, once),
        ("complex examples", complicated, once),
        (LED, [[q, by_questions(a)] for q, a in middling], once),
        ("simple examples, votes", simple, votes),
        ("complex examples, votes", complicated, votes),
    )
    for way, shots, decoding in ways:
        gold = by_questions(worked) if way == LED else worked
        for template in prompts.dealt("chain_of_thought", item, asker.every):
            yield asker.plain(
                item, template, item.question, gold, decoding,
                variant={"steps": item.split["steps"], "way": way},
                shots=[(q, a) for q, a in shots],
            )  # fmt: skip


def solved(item: Item, count: int) -> list[tuple[str, str]]:
    """Other instructions of an item's task type in its wording, of those that training may hold."""
    from regrow.worlds.sheets_gate import Gate
    from regrow.worlds.sheets_rules import asked, draw
    from regrow.worlds.tasks import tasks

    variant = item.id.rsplit("-", 2)[1]
    task = next(task for task in tasks(variant) if task.name == item.check["task"])
    wording = max((w for w in task.wordings if item.question.startswith(w)), key=len)
    random, gate = pyrandom("few shot", item.id), Gate(variant)
    drawn: dict[str, str] = {}
    while len(drawn) < count:
        given, answer = draw(random, task, gate)
        drawn[given] = answer
    return [(asked(random, wording, given), answer) for given, answer in drawn.items()]


def _few_shot(item: Item, asker: Asker) -> Iterator[Request]:
    """Always plain text, in the node's best format: what tuning is compared with."""
    yield asker.plain(
        item, asker.instruction, item.question, item.answers[0], Decoding(24),
        variant={"types": item.split["types"]}, shots=solved(item, find("few_shot").shots),
    )  # fmt: skip


def _counterfactuals(item: Item, asker: Asker) -> Iterator[Request]:
    """After the true statement, and after another: the answer is what was said."""
    edited = item.check["edited"]
    for told, value in (("true", item.answers[0]), ("told", edited["value"])):
        variant = {
            "frequency": item.split["frequency"],
            "statement": "true" if told == "true" else "another",
        }
        asked = replace(item, answers=(value,))
        if asker.chat:
            words = f"{edited[told]} {item.question}"
            yield asker.talk(
                asked, [Message("user", words)], value, _FACT, variant=variant, whole=False
            )
            continue
        for template in prompts.dealt("knowledge", item, asker.every):
            yield asker.plain(
                asked, replace(template, question="{q}"),
                f"{edited[told]}\n{template.ask(item.question)}", value, Decoding(12),
                variant=variant,
                shots=[(f"{said}\n{template.ask(q)}", a) for said, q, a in edited["shots"]],
            )  # fmt: skip


PLANS: dict[str, Callable[[Item, Asker], Iterator[Request]]] = {
    "robustness": _robustness,
    "fairness": _fairness,
    "prompting": _prompting,
    "few_shot": _few_shot,
    "counterfactuals": _counterfactuals,
    "tools": tools.plan,
}


def _either(request: Request, texts: Sequence[str]) -> Verdicts:
    item = request.item
    judge = says if item.split["of"] == "facts" else solves
    return {"accuracy": float(judge(item, texts[0]))}


def elected(texts: Sequence[str]) -> Decimal | None:
    """The final number of most texts; of equals the one met first (Wang et al. 2023)."""
    votes = Counter(number for text in texts if (number := final_number(text)) is not None)
    return votes.most_common(1)[0][0] if votes else None


def _voted(request: Request, texts: Sequence[str]) -> Verdicts:
    """One text by itself; of several the vote of all, and of the half with most steps (Fu et al.
    2023, sec. 3.3: complexity-based consistency)."""
    item = request.item
    if len(texts) == 1:
        return {"accuracy": float(solves(item, texts[0]))}
    longest = sorted(texts, key=lambda text: -text.count("="))[: -(-len(texts) // 2)]
    right = set(map(final_number, item.answers)) - {None}
    return {
        "accuracy": float(elected(texts) in right),
        "accuracy of long chains": float(elected(longest) in right),
    }


def _believed(request: Request, texts: Sequence[str]) -> Verdicts:
    return {"accuracy": float(says(request.item, texts[0]))}


JUDGES: dict[str, Callable[[Request, Sequence[str]], Verdicts]] = {
    "robustness": _either,
    "fairness": _either,
    "prompting": _voted,
    "few_shot": judges.JUDGES["instructions"],
    "counterfactuals": _believed,
}
