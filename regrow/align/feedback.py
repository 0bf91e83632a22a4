"""Answers sampled from a node and the ratings they get: the raw material of FeedME and rewards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

from regrow.align.lesson import task_type, topic
from regrow.align.reward import Ranked, RewardModel, score_rows
from regrow.align.rows import asked_ids
from regrow.corpus.tokenizer import Tokenizer
from regrow.errors import RegrowError
from regrow.files import read_jsonl, write_jsonl
from regrow.generate.sampler import Completion, Sampling, generate
from regrow.model.decoder import Decoder
from regrow.progress import Progress, silent
from regrow.records import Conversation, Message

#: How much more than another a prompt counts at most, where kinds of prompt are balanced.
HEAVIEST = 2.0


class Judge(Protocol):
    """Who rates an answer to a prompt from 1 to 7."""

    @property
    def name(self) -> str:
        """What it is called where its ratings are kept."""
        ...

    def score(self, prompt: Conversation, answer: str, /) -> float:
        """The rating."""
        ...


@dataclass(frozen=True, slots=True)
class Rated:
    """One prompt with the answers of a node, and how one rater liked them.

    `ratings` is empty where nobody has rated them yet. `node` and `weights` (SHA-256) say what
    answered, `rater` who rated and `at` when (ISO 8601).
    """

    prompt: Conversation
    answers: tuple[str, ...]
    tokens: tuple[tuple[int, ...], ...]
    ratings: tuple[float, ...] = ()
    rater: str = ""
    node: str = ""
    weights: str = ""
    at: str = ""

    def by(self, judge: Judge, at: str = "") -> Rated:
        """The same answers as this judge rates them."""
        ratings = tuple(judge.score(self.prompt, answer) for answer in self.answers)
        return replace(self, ratings=ratings, rater=judge.name, at=at)

    def to_row(self) -> dict[str, Any]:
        """Plain values, for a JSON line."""
        return {
            "prompt": self.prompt.to_row(), "answers": self.answers, "tokens": self.tokens,
            "ratings": self.ratings, "rater": self.rater, "at": self.at, "node": self.node,
            "weights": self.weights,
        }  # fmt: skip

    @staticmethod
    def from_row(row: dict[str, Any]) -> Rated:
        """What `to_row` gave; raises KeyError, TypeError or ValueError on anything else."""
        rated = Rated(
            Conversation.from_row(row["prompt"]),
            tuple(map(str, row["answers"])),
            tuple(tuple(map(int, ids)) for ids in row["tokens"]),
            tuple(map(float, row["ratings"])),
            str(row["rater"]), row["node"], row.get("weights", ""), row.get("at", ""),
        )  # fmt: skip
        sizes = {len(rated.answers), len(rated.tokens), len(rated.ratings or rated.answers)}
        if sizes == {0} or len(sizes) > 1:
            raise ValueError("answers, tokens and ratings differ in number")
        return rated


def sample_answers(
    model: Decoder,
    tokenizer: Tokenizer,
    prompts: Sequence[Conversation],
    *,
    node: str,
    weights: str = "",
    samples: int,
    length: int,
    temperature: float,
    seed: int,
    progress: Progress = silent,
    chunk: int = 128,
) -> list[Rated]:
    """Answers to each prompt, which nobody has rated yet.

    Answers that do not end within `length` tokens are kept, so that raters can dislike them. They
    depend on the seed and their prompt alone, not on the prompts beside it.
    """
    sampling = Sampling(
        max_tokens=length,
        temperature=temperature,
        stop_ids=(tokenizer.end, tokenizer.eos),
        seed=seed,
    )
    found: list[Rated] = []
    for start in range(0, len(prompts), chunk):
        some = prompts[start : start + chunk]
        ids = [asked_ids(prompt, tokenizer) for prompt in some]
        for prompt, answers in zip(some, generate(model, tokenizer, ids, sampling, samples)):
            texts = tuple(answer.text for answer in answers)
            tokens = tuple(tuple(answer.ids) for answer in answers)
            found.append(Rated(prompt, texts, tokens, node=node, weights=weights))
        progress(len(found), len(prompts), phase="sampling")
    return found


def best_rated(
    rated: Sequence[Rated], tokenizer: Tokenizer, keep: float, least: float = 0.1
) -> list[Conversation]:
    """The best answer of each prompt as a demonstration, where it is rated at least `keep` of 7.

    Only answers that end by themselves: one that was cut off would be taught as a whole one. Where
    fewer than `least` of the prompts have one, the best of that share are taken instead: a
    weak parent still has answers that are better than its others.
    """
    stops = (tokenizer.end, tokenizer.eos)
    best = []
    for one in rated:
        whole = [
            (rating, answer.strip())
            for rating, answer, ids in zip(one.ratings, one.answers, one.tokens)
            if answer.strip() and ids[-1] in stops
        ]
        if whole:
            best.append((one.prompt, *max(whole, key=lambda pair: pair[0])))
    best.sort(key=lambda found: -found[1])
    above = sum(rating >= keep for _, rating, _ in best)
    return [
        replace(prompt, messages=(*prompt.messages, Message("assistant", answer)), check={})
        for prompt, _, answer in best[: max(above, round(least * len(rated)))]
    ]


def rank(one: Rated, tokenizer: Tokenizer, margin: float = 0.0) -> Ranked:
    """Token rows with their ratings: the sampled ids as they are, never re-tokenised text."""
    prompt, unique = asked_ids(one.prompt, tokenizer), dict(zip(one.tokens, one.ratings))
    rows = tuple((*prompt, *ids) for ids in unique)
    return Ranked(rows, tuple(unique.values()), margin, topic(one.prompt), len(prompt))


def ranked(
    rated: Sequence[Rated], tokenizer: Tokenizer, margin: float = 0.0, balance: bool = False
) -> list[Ranked]:
    """`rank` of each; prompts whose answers all tie are left out.

    With `balance` those that are left of a kind of prompt whose answers tie often weigh more: the
    root of what would give the kind the share that it has of all, up to `HEAVIEST` times. By their
    number alone too few would speak for silence; with the whole share, too many.
    """
    found = [(task_type(one.prompt), rank(one, tokenizer, margin)) for one in rated]
    kept = [(kind, one) for kind, one in found if one.pairs()]
    if not balance:
        return [one for _, one in kept]
    asked, left = (Counter(kind for kind, _ in some) for some in (found, kept))
    share = {kind: asked[kind] / len(found) / (left[kind] / len(kept)) for kind in left}
    return [replace(one, weight=min(HEAVIEST, share[kind] ** 0.5)) for kind, one in kept]


def best_of(
    model: Decoder,
    reward: RewardModel,
    tokenizer: Tokenizer,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    n: int,
) -> list[tuple[Completion, float]]:
    """Of `n` samples of each prompt the one with the highest reward, and that reward.

    Best-of-n sampling (Nakano et al. 2021, sec. 3.3). Ties go to the first. Raises RegrowError
    where a temperature of 0 would draw the same answer n times.
    """
    if n > 1 and sampling.temperature == 0:
        raise RegrowError(f"the best of {n} needs samples that differ; set a temperature above 0")
    found = generate(model, tokenizer, prompts, sampling, samples=n)
    rows = [[*ids, *one.ids] for ids, some in zip(prompts, found) for one in some]
    starts = [len(ids) for ids in prompts for _ in range(n)]
    scores = score_rows(reward, rows, tokenizer.pad, starts).reshape(len(prompts), n)
    places = scores.argmax(1)
    return [(some[k], float(row[k])) for some, row, k in zip(found, scores, places)]


def save_rated(rated: Iterable[Rated], path: Path) -> None:
    """Keep ratings with who gave them, when, about which node."""
    write_jsonl(path, (one.to_row() for one in rated))


def load_rated(path: Path) -> list[Rated]:
    """What `save_rated` wrote; a row that is none is named by its number."""
    found = []
    for number, row in enumerate(read_jsonl(path), 1):
        try:
            found.append(Rated.from_row(row))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RegrowError(
                f"{path} line {number} is no rating ({error!r}); give a file of `regrow rate`"
            ) from error
    return found
