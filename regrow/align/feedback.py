"""Answers sampled from a node and the ratings they get: the raw material of FeedME and rewards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from regrow.align.reward import Ranked
from regrow.corpus.tokenizer import Tokenizer
from regrow.files import read_jsonl, write_jsonl
from regrow.generate.sampler import Sampling, generate
from regrow.model.decoder import Decoder
from regrow.progress import Progress, silent
from regrow.records import Conversation, Message

#: Rates an answer to a prompt from 1 to 7; the number tells which rater of a panel is asked.
Rate = Callable[[Conversation, str, int], float]


@dataclass(frozen=True, slots=True)
class Rated:
    """One prompt with the answers of a node, who rated them, and how."""

    prompt: Conversation
    answers: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    ratings: tuple[float, ...]
    rater: int
    node: str


def collect(
    model: Decoder,
    tokenizer: Tokenizer,
    prompts: Sequence[Conversation],
    rate: Rate,
    *,
    node: str,
    samples: int,
    length: int,
    temperature: float,
    seed: int,
    progress: Progress = silent,
    chunk: int = 128,
) -> list[Rated]:
    """Sample answers to each prompt and have each prompt's answers rated by one rater.

    Answers that do not end within `length` tokens are kept, so that raters can dislike them.
    """
    sampling = Sampling(
        max_tokens=length,
        temperature=temperature,
        stop_ids=(tokenizer.end, tokenizer.eos),
        seed=seed,
    )
    rated: list[Rated] = []
    for start in range(0, len(prompts), chunk):
        some = prompts[start : start + chunk]
        ids = [tokenizer.chat(p.messages, answer=True)[0] for p in some]
        completions = generate(model, tokenizer, ids, sampling, samples=samples)
        for n, (prompt, answers) in enumerate(zip(some, completions)):
            texts = tuple(answer.text for answer in answers)
            rater = start + n
            ratings = tuple(rate(prompt, text, rater) for text in texts)
            tokens = tuple(tuple(answer.ids) for answer in answers)
            rated.append(Rated(prompt, texts, tokens, ratings, rater, node))
        progress(len(rated), len(prompts), phase="sampling")
    return rated


def best_rated(rated: Sequence[Rated], keep: float, least: float = 0.1) -> list[Conversation]:
    """The best answer of each prompt as a demonstration, where it is rated at least `keep` of 7.

    Where fewer than `least` of the prompts have one, the best of that share are taken instead: a
    weak parent still has answers that are better than its others.
    """
    best = [max(zip(one.ratings, one.answers), key=lambda pair: pair[0]) for one in rated]
    order = sorted(range(len(rated)), key=lambda n: -best[n][0])
    above = sum(rating >= keep for rating, _ in best)
    chosen = []
    for n in order[: max(above, round(least * len(rated)))]:
        prompt, answer = rated[n].prompt, best[n][1].strip()
        if answer:
            turns = (*prompt.messages, Message("assistant", answer))
            chosen.append(Conversation(turns, prompt.family, prompt.kind, prompt.key))
    return chosen


def ranked(rated: Sequence[Rated], tokenizer: Tokenizer, margin: float = 0.0) -> list[Ranked]:
    """Token rows with their ratings; prompts whose answers all tie are left out.

    The sampled ids are used as they are, never re-tokenised text.
    """
    out = []
    for one in rated:
        prompt, _ = tokenizer.chat(one.prompt.messages, answer=True)
        unique = dict(zip(one.tokens, one.ratings))
        rows = tuple((*prompt, *answer) for answer in unique)
        candidate = Ranked(rows, tuple(unique.values()), margin)
        if candidate.pairs():
            out.append(candidate)
    return out


def save_rated(rated: Sequence[Rated], path: Path) -> None:
    """Keep ratings with who gave them, about which node."""
    write_jsonl(
        path,
        (
            {
                "prompt": one.prompt.to_row(), "answers": one.answers, "tokens": one.tokens,
                "ratings": one.ratings, "rater": one.rater, "node": one.node,
            }
            for one in rated
        ),
    )  # fmt: skip


def load_rated(path: Path) -> Iterator[Rated]:
    """Read what `save_rated` wrote."""
    for row in read_jsonl(path):
        yield Rated(
            Conversation.from_row(row["prompt"]), tuple(row["answers"]),
            tuple(tuple(ids) for ids in row["tokens"]), tuple(row["ratings"]), row["rater"],
            row["node"],
        )  # fmt: skip
