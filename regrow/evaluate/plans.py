"""How each ability asks its items: what stands in the prompt, and how the answer is drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from regrow.evaluate import prompts
from regrow.evaluate.prompts import Template
from regrow.records import Item, Message
from regrow.seeds import derive

if TYPE_CHECKING:
    from regrow.corpus.tokenizer import Tokenizer

#: An admission that the continuous twin of not_knowing scores.
ADMISSION = "I do not know"
#: What a tuned node is told about how to answer a problem; a base node sees it in the examples.
MANNER = {"cot": "Work step by step.", "direct": "Give only the answer."}
#: Solved problems shown before a problem.
SHOTS = 2
#: Where a completed function ends.
CODE_STOPS = ("\ndef ", "\nclass ", "\n#", "\n>>>", "\nassert", "\nprint", "\n\n\n", "```")


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
    and nothing is drawn.
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
        instruction: Template = prompts.INSTRUCTION[0],
    ) -> None:
        self.tokenizer = tokenizer
        self.context = context
        self.chat = chat
        self.every = every_template
        self.shots = tuple(shots)
        self.samples = samples
        self.instruction = instruction

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
    ) -> Request:
        """A plain-text request: end-of-text, the shots that fit, the question.

        Early shots are left out first, then the head of the question.
        """
        examples = [template.shot(q, a) for q, a in shots]
        asked = template.ask(question)
        room = self.context - decoding.max_tokens - 1
        ids = self.tokenizer.encode("".join(examples) + asked)
        while len(ids) > room and examples:
            examples.pop(0)
            ids = self.tokenizer.encode("".join(examples) + asked)
        answer = template.answer.replace("{a}", gold).rstrip() if gold else ""
        return Request(
            item, variant, template.name, "plain", [self.tokenizer.start, *ids[-room:]], decoding,
            self.tokenizer.encode(answer) if answer else [],
            self.tokenizer.encode("\n") if gold and whole else [],
        )  # fmt: skip

    def talk(
        self,
        item: Item,
        messages: Sequence[Message],
        gold: str,
        max_tokens: int,
        *,
        variant: Mapping[str, str],
        whole: bool = True,
        temperature: float = 0.0,
        samples: int = 1,
    ) -> Request:
        """A request in the chat template; early turns that do not fit are left out in pairs."""
        kept = list(messages)
        ids, _ = self.tokenizer.chat(kept, answer=True)
        while len(ids) > self.context - max_tokens and len(kept) > 2:
            kept = kept[2:]
            ids, _ = self.tokenizer.chat(kept, answer=True)
        decoding = Decoding(max_tokens, (), temperature, samples)
        return Request(
            item, variant, "chat", "chat", ids[-(self.context - max_tokens) :], decoding,
            self.tokenizer.answer(gold) if gold else [],
            [self.tokenizer.end] if gold and whole else [],
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
        for template in prompts.pick(prompts.QUESTION, item, asker.every):
            yield asker.plain(
                item, template, item.question, item.answers[0], Decoding(12),
                variant=variant, shots=item.shots,
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
    template = Template("completion", "{q}", "{a}", CODE_STOPS)
    for asked, extra in asker.forms(item):
        for temperature, samples in ((0.0, 1), (0.8, asker.samples)):
            if samples > 1 and (extra or not half("samples", item)):
                continue  # many samples of half the items, in the node's own form
            variant = {**item.split, **extra}
            if asked == "chat":
                yield asker.talk(
                    item, [Message("user", item.question.rstrip())], "", 80, variant=variant,
                    temperature=temperature, samples=samples,
                )  # fmt: skip
            else:
                # the newline before the body belongs to the body's first token
                yield asker.plain(
                    item, template, item.question.rstrip(), "",
                    Decoding(80, CODE_STOPS, temperature, samples), variant=variant,
                )  # fmt: skip


def _code_understanding(item: Item, asker: Asker) -> Iterator[Request]:
    answer = item.answers[0]
    template = Template("completion", "{q}\n", "{a}\n")
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
    for style, shots, gold, length in (
        ("cot", item.shots[-SHOTS:], worked, 64 if steps <= 2 else 96 if steps <= 4 else 160),
        ("direct", direct[-SHOTS:], final, 16),
    ):
        if style == "direct" and not half("direct", item):
            continue
        for asked, extra in asker.forms(item, second=style == "cot"):
            variant = {**item.split, "style": style, **extra}
            if asked == "chat":
                asking = [Message("user", f"{item.question} {MANNER[style]}")]
                yield asker.talk(item, asking, gold, length, variant=variant)
                continue
            for template in prompts.pick(prompts.PROBLEM, item, asker.every):
                yield asker.plain(
                    item, template, item.question, gold, Decoding(length, template.stop),
                    variant=variant, shots=shots,
                )  # fmt: skip


def _long_range(item: Item, asker: Asker) -> Iterator[Request]:
    template = Template("document", "{q}", " {a}\n", ("\n",))
    yield asker.plain(
        item, template, item.question.rstrip(), item.answers[0], Decoding(12),
        variant=dict(item.split), whole=False,
    )  # fmt: skip


def _open(max_tokens: int, gold: str = "") -> Callable[[Item, Asker], Iterator[Request]]:
    """An open question: chat template, or one of three plain formats."""

    def plan(item: Item, asker: Asker) -> Iterator[Request]:
        variant = dict(item.split)
        if asker.chat:
            yield asker.talk(item, _user(item), gold, max_tokens, variant=variant, whole=False)
            return
        for template in prompts.pick(prompts.OPEN, item, asker.every):
            yield asker.plain(
                item, template, item.question, gold, Decoding(max_tokens), variant=variant,
                whole=False,
            )  # fmt: skip

    return plan


def _dialogue_history(item: Item, asker: Asker) -> Iterator[Request]:
    variant = dict(item.split)
    if asker.chat:
        gold = item.answers[0]
        yield asker.talk(item, _user(item), gold, 32, variant=variant, whole=False)
        return
    for form in prompts.pick(prompts.TRANSCRIPT, item, asker.every):
        template = Template(form[0], "{q}", " {a}\n")
        asked = prompts.transcript(form, item.messages, item.question)
        yield asker.plain(
            item, template, asked, item.answers[0], Decoding(32), variant=variant, whole=False
        )


def _benchmarks(item: Item, asker: Asker) -> Iterator[Request]:
    """The question as plain text; a choice longer than half of the context loses its end."""
    texts = item.check["choices"]
    for template in prompts.pick(prompts.QUESTION, item, asker.every):
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
    "informativeness": _open(96),
    "balance": _open(64),
    "refusal": _open(32),
    "not_knowing": _open(32, ADMISSION),
    "dialogue_history": _dialogue_history,
    "benchmarks": _benchmarks,
}
