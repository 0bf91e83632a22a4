"""How each ability asks its items: what stands in the prompt, and how the answer is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from regrow.evaluate import prompts, twins
from regrow.evaluate.abilities import find
from regrow.evaluate.prompts import Template
from regrow.evaluate.twins import Twins
from regrow.records import Item, Message
from regrow.seeds import derive

if TYPE_CHECKING:
    from regrow.corpus.tokenizer import Tokenizer

#: What a tuned node is told about how to answer a problem; a base node sees it in the examples.
MANNER = {"cot": "Work step by step.", "direct": "Give only the answer."}


@dataclass(frozen=True, slots=True)
class Decoding:
    """How an answer is drawn. Requests that share it are drawn in the same batches."""

    max_tokens: int
    stop: tuple[str, ...] = ("\n",)
    temperature: float = 0.0
    samples: int = 1


@dataclass(frozen=True, slots=True)
class Request:
    """One prompt put to a node.

    `gold` are the ids of the right answer, `ending` those that would close it; where greedy
    decoding runs through both, the answer is known without drawing it. An empty `ending` says
    that `gold` is no whole answer. Where there are `choices`, the likeliest of them is the answer
    and nothing is drawn. `twins` are texts whose likelihood stands beside a metric instead of that
    of `gold`: of several the likeliest.
    """

    item: Item
    variant: Mapping[str, str]
    template: str
    asked: str  # plain or chat
    prompt: list[int]
    decoding: Decoding
    gold: list[int] = field(default_factory=list)
    ending: list[int] = field(default_factory=list)
    choices: list[list[int]] = field(default_factory=list)
    twins: Mapping[str, list[list[int]]] = field(default_factory=dict)


class Asker:
    """Turns items into requests for one node."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        context: int,
        *,
        chat: bool,
        every_template: bool = False,
        shots: Sequence[int] = (0, 1, 2, 4, 8),
        samples: int = 10,
        instruction: Template | None = None,
    ) -> None:
        self.tokenizer = tokenizer
        self.context = context
        self.chat = chat
        self.every = every_template
        self.shots = tuple(shots)
        self.samples = samples
        self.instruction = instruction or prompts.templates("instructions")[0]

    def forms(self, item: Item, second: bool = True) -> list[tuple[str, dict[str, str]]]:
        """In which forms to ask: the node's own; a tuned node half the items in plain text too."""
        if not self.chat:
            return [("plain", {})]
        again = second and half("form", item)
        return [("chat", {}), *([("plain", {"asked": "plain"})] if again else [])]

    def plain(
        self,
        item: Item,
        template: Template,
        question: str,
        gold: str,
        decoding: Decoding,
        *,
        variant: Mapping[str, str],
        shots: Sequence[tuple[str, str]] = (),
        whole: bool = True,
        twins: Mapping[str, Sequence[str]] | None = None,
    ) -> Request:
        """A plain-text request: end-of-text, the shots that fit, the question.

        Early shots are left out first, then the head of the question.
        """

        def ids_of(text: str) -> list[int]:
            return self.tokenizer.encode(template.answer.replace("{a}", text).rstrip())

        examples = [template.shot(q, a) for q, a in shots]
        asked = template.ask(question)
        room = self.context - decoding.max_tokens - 1
        ids = self.tokenizer.encode("".join(examples) + asked)
        while len(ids) > room and examples:
            examples.pop(0)
            ids = self.tokenizer.encode("".join(examples) + asked)
        return Request(
            item, variant, template.name, "plain", [self.tokenizer.start, *ids[-room:]], decoding,
            ids_of(gold) if gold else [],
            self.tokenizer.encode("\n") if gold and whole else [],
            twins={name: list(map(ids_of, texts)) for name, texts in (twins or {}).items()},
        )  # fmt: skip

    def talk(
        self,
        item: Item,
        messages: Sequence[Message],
        gold: str,
        max_tokens: int,
        *,
        variant: Mapping[str, str],
        template: str = "",
        whole: bool = True,
        temperature: float = 0.0,
        samples: int = 1,
        twins: Mapping[str, Sequence[str]] | None = None,
    ) -> Request:
        """A request in the chat template; early turns that do not fit are left out in pairs.

        `template` names the form of the user's turn, else the item's own wording does.
        """
        answer = self.tokenizer.answer
        kept = list(messages)
        ids, _ = self.tokenizer.chat(kept, answer=True)
        while len(ids) > self.context - max_tokens and len(kept) > 2:
            kept = kept[2:]
            ids, _ = self.tokenizer.chat(kept, answer=True)
        decoding = Decoding(max_tokens, (), temperature, samples)
        return Request(
            item, variant, template or item.wording or "chat", "chat",
            ids[-(self.context - max_tokens) :], decoding,
            answer(gold) if gold else [],
            [self.tokenizer.end] if gold and whole else [],
            twins={name: list(map(answer, texts)) for name, texts in (twins or {}).items()},
        )  # fmt: skip


def half(what: str, item: Item) -> bool:
    """Whether an item is of the half, by the hash of its id, on which a costly thing is done."""
    return derive(what, item.id) % 2 == 0


def _user(item: Item) -> list[Message]:
    return [*item.messages, Message("user", item.question)]


def _knowledge(item: Item, asker: Asker) -> Iterator[Request]:
    for asked, extra in asker.forms(item):
        variant = {**item.split, **extra}
        if asked == "chat":
            # a tuned node answers in a sentence, so the short answer is no whole answer
            gold = item.answers[0]
            yield asker.talk(item, _user(item), gold, 24, variant=variant, whole=False)
            continue
        for template in prompts.dealt("knowledge", item, asker.every):
            yield asker.plain(
                item, template, item.question, item.answers[0], Decoding(12),
                variant=variant, shots=item.shots[-find("knowledge").shots :],
            )  # fmt: skip


def _in_context(item: Item, asker: Asker) -> Iterator[Request]:
    wanted = (0, 2, 4, 8) if item.split.get("kind") == "label" else asker.shots
    for count in wanted:
        if count > len(item.shots) or count not in asker.shots:
            continue
        if count < max(asker.shots) and not half("shots", item):
            continue  # the curve over fewer shots is drawn from half the items
        for template in prompts.pick(prompts.pair_templates(item), item, asker.every):
            yield asker.plain(
                item, template, item.question, item.answers[0], Decoding(12, template.stop),
                variant={**item.split, "shots": str(count)},
                shots=item.shots[len(item.shots) - count :],
            )  # fmt: skip


def _instructions(item: Item, asker: Asker) -> Iterator[Request]:
    if asker.chat:
        yield asker.talk(item, _user(item), item.answers[0], 24, variant=dict(item.split))
    else:
        yield asker.plain(
            item, asker.instruction, item.question, item.answers[0], Decoding(24),
            variant=dict(item.split),
        )  # fmt: skip


def _code_generation(item: Item, asker: Asker) -> Iterator[Request]:
    (template,) = prompts.dealt("code_generation", item, asker.every)
    question = item.question.rstrip()
    body = item.answers[0].rstrip() if item.answers else ""
    whole = f"{question.splitlines()[0]}\n{body}" if body else ""
    for asked, extra in asker.forms(item):
        for temperature, samples in ((0.0, 1), (0.8, asker.samples)):
            if samples > 1 and (extra or not half("samples", item)):
                continue  # many samples of half the items, in the node's own form
            variant = {**item.split, **extra}
            if asked == "chat":
                yield asker.talk(
                    item, [Message("user", question)], whole, 80, variant=variant, whole=False,
                    temperature=temperature, samples=samples,
                )  # fmt: skip
            else:
                # the newline before the body belongs to the body's first token
                yield asker.plain(
                    item, template, question, f"\n{body}" if body else "",
                    Decoding(80, template.stop, temperature, samples), variant=variant,
                    whole=False,
                )  # fmt: skip


def _code_understanding(item: Item, asker: Asker) -> Iterator[Request]:
    answer = item.answers[0]
    (template,) = prompts.dealt("code_understanding", item, asker.every)
    for asked, extra in asker.forms(item):
        variant = {**item.split, **extra}
        if asked == "chat":
            yield asker.talk(item, _user(item), answer, 32, variant=variant)
        else:
            yield asker.plain(
                item, template, item.question.rstrip(), answer, Decoding(32), variant=variant
            )


def _chain_of_thought(item: Item, asker: Asker) -> Iterator[Request]:
    steps = int(item.check.get("steps", item.split.get("steps", 4)))
    direct = [(q, a) for q, a in item.check.get("direct_shots", ())]
    final = f"The answer is {item.answers[0]}."
    worked = str(item.check.get("worked", final))
    shown = find("chain_of_thought").shots
    for style, shots, gold, length in (
        ("cot", item.shots[-shown:], worked, 64 if steps <= 2 else 96 if steps <= 4 else 160),
        ("direct", direct[-shown:], final, 16),
    ):
        if style == "direct" and not half("direct", item):
            continue
        for asked, extra in asker.forms(item, second=style == "cot"):
            variant = {**item.split, "style": style, **extra}
            if asked == "chat":
                told = (item, asker.every, item.question, MANNER[style])
                for name, text in prompts.turns("chain_of_thought", *told):
                    asking = [Message("user", text)]
                    yield asker.talk(item, asking, gold, length, variant=variant, template=name)
                continue
            for template in prompts.dealt("chain_of_thought", item, asker.every):
                yield asker.plain(
                    item, template, item.question, gold, Decoding(length, template.stop),
                    variant=variant, shots=shots,
                )  # fmt: skip


def _long_range(item: Item, asker: Asker) -> Iterator[Request]:
    (template,) = prompts.dealt("long_range", item, asker.every)
    yield asker.plain(
        item, template, item.question.rstrip(), item.answers[0], Decoding(12),
        variant=dict(item.split), whole=False,
    )  # fmt: skip


def _open(max_tokens: int, beside: Twins) -> Callable[[Item, Asker], Iterator[Request]]:
    """An open question: chat template, or one of three plain formats; `beside` gives the texts
    whose likelihood stands beside the metrics."""

    def plan(item: Item, asker: Asker) -> Iterator[Request]:
        variant, texts = dict(item.split), beside(item)
        if asker.chat:
            yield asker.talk(item, _user(item), "", max_tokens, variant=variant, twins=texts)
            return
        for template in prompts.dealt(item.ability, item, asker.every):
            yield asker.plain(
                item, template, item.question, "", Decoding(max_tokens), variant=variant,
                twins=texts,
            )  # fmt: skip

    return plan


def _dialogue_history(item: Item, asker: Asker) -> Iterator[Request]:
    variant, gold = dict(item.split), item.answers[0]
    if asker.chat:
        for name, text in prompts.turns("dialogue_history", item, asker.every, item.question):
            asked = [*item.messages, Message("user", text)]
            yield asker.talk(item, asked, gold, 32, variant=variant, template=name, whole=False)
        return
    before = [turn.content for turn in item.messages]
    for template in prompts.dealt("dialogue_history", item, asker.every):
        yield asker.plain(
            item, template, item.question, gold, Decoding(32), variant=variant, whole=False,
            shots=list(zip(before[::2], before[1::2])),
        )  # fmt: skip


def _benchmarks(item: Item, asker: Asker) -> Iterator[Request]:
    """The question as plain text; a choice longer than half of the context loses its end."""
    texts = item.check["choices"]
    for template in prompts.dealt("benchmarks", item, asker.every):
        answers = [template.answer.replace("{a}", text).rstrip() for text in texts]
        choices = [asker.tokenizer.encode(answer)[: asker.context // 2] for answer in answers]
        asked = asker.plain(
            item, template, item.question, "", Decoding(max(map(len, choices))),
            variant={**item.split, "choices": str(len(texts))},
        )  # fmt: skip
        yield replace(asked, choices=choices)


PLANS: dict[str, Callable[[Item, Asker], Iterator[Request]]] = {
    "knowledge": _knowledge,
    "in_context": _in_context,
    "instructions": _instructions,
    "code_generation": _code_generation,
    "code_understanding": _code_understanding,
    "chain_of_thought": _chain_of_thought,
    "long_range": _long_range,
    "informativeness": _open(96, twins.statements),
    "balance": _open(64, twins.even_handed),
    "refusal": _open(32, twins.refusals),
    "not_knowing": _open(32, twins.admission),
    "dialogue_history": _dialogue_history,
    "benchmarks": _benchmarks,
}
