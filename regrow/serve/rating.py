"""A person rates what a node answers: whose turn it is, what was said, and where it is kept."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from string import ascii_lowercase

from regrow.align.feedback import Rated, load_rated, sample_answers, save_rated
from regrow.align.readers import read_prompts
from regrow.errors import RegrowError
from regrow.files import read_jsonl
from regrow.records import Conversation
from regrow.seeds import rng
from regrow.serve.speaker import Speaker

#: Most answers to one prompt; InstructGPT ranked 4 to 9 (Ouyang et al. 2022, sec. 3.5).
MOST = 9


def prompts_of(path: Path) -> list[Conversation]:
    """The prompts in a file: the world's, or any that tuning reads. Raises RegrowError for none."""
    rows = list(read_jsonl(path))
    if rows and all((row.get("messages") or [{}])[-1].get("role") == "user" for row in rows):
        return [Conversation.from_row(row) for row in rows]
    if found := read_prompts(path):
        return found
    raise RegrowError(f'{path} holds no prompt; give JSON lines such as {{"prompt": "..."}}')


def placed(order: str, answers: int) -> list[int]:
    """Places, 1 the best, from letters with the best first: `b a=d c` is 2, 1, 3, 2.

    `>` or a space parts places, `=` or `,` joins answers of one. Raises RegrowError where a letter
    is unknown, missing or named twice.
    """
    letters = ascii_lowercase[:answers]
    groups = re.split(r"[>\s]+", re.sub(r"\s*[=,]\s*", "=", order.strip().lower()))
    named = [name for group in groups for name in group.split("=")]
    if sorted(named) != list(letters):
        raise RegrowError(
            f"name each of {', '.join(letters)} once, the best first, as in "
            f"{' '.join(letters[::-1])}; = joins those that are alike"
        )
    places = {name: n for n, group in enumerate(groups, 1) for name in group.split("=")}
    return [places[letter] for letter in letters]


def marks(places: Sequence[int], best: int) -> tuple[float, ...]:
    """Ratings from 1 to 7: the best place has `best`, the others lie evenly down to 1."""
    levels = sorted(set(places))
    if not 1 <= best <= 7 or (best == 1 and len(levels) > 1):
        raise RegrowError("the best answer is 1 (bad) to 7 (could not be better), above others 2")
    step = (best - 1) / max(1, len(levels) - 1)
    return tuple(round(best - step * levels.index(place), 4) for place in places)


class Session:
    """One rater at work on one node. What is rated is on disk at once; skipped ones come last.

    Answers are sampled when their prompt comes up, the same ones whenever and by whomever it is
    rated. Raises RegrowError where `path` has ratings of other weights.
    """

    def __init__(
        self,
        speaker: Speaker,
        prompts: Sequence[Conversation],
        path: Path,
        *,
        rater: str,
        weights: str,
        samples: int = 4,
        length: int = 128,
        temperature: float = 1.0,
        seed: int = 0,
    ) -> None:
        self.speaker, self.path, self.rater, self.weights = speaker, path, rater, weights
        self.samples, self.length, self.temperature = samples, length, temperature
        self.seed = seed
        room = speaker.context - length
        unlike = {prompt.messages: prompt for prompt in prompts}.values()
        fits = [p for p in unlike if len(speaker.chat_prompt(p.messages)) <= room]
        self.prompts = [fits[i] for i in rng(seed, "rate").permutation(len(fits))]
        if not fits:
            raise RegrowError(
                f"no prompt leaves room for {length} tokens in a context of {speaker.context}; "
                "lower --max-tokens"
            )
        self.skipped: list[int] = []
        self._shown: dict[int, Rated] = {}
        for one in self._kept():
            if one.weights != weights:
                raise RegrowError(
                    f"{path} rates {one.node} with other weights ({one.weights[:12]}); give "
                    "another --output"
                )

    def _kept(self) -> list[Rated]:
        return load_rated(self.path) if self.path.is_file() else []

    @property
    def done(self) -> int:
        """How many of the prompts this rater has rated."""
        return len(self.prompts) - len(self._open())

    def _open(self) -> list[int]:
        mine = {one.prompt.messages for one in self._kept() if one.rater == self.rater}
        left = [n for n, prompt in enumerate(self.prompts) if prompt.messages not in mine]
        return sorted(left, key=lambda n: (self.skipped.count(n), n))

    def next(self) -> tuple[int, Rated] | None:
        """The number of the next unrated prompt, with its answers; None where all are rated."""
        left = self._open()
        return (left[0], self.shown(left[0])) if left else None

    def shown(self, number: int) -> Rated:
        """A prompt's answers, equal ones once."""
        if number not in self._shown:
            prompt = self.prompts[number]
            known = [one for one in self._kept() if one.prompt.messages == prompt.messages]
            self._shown[number] = known[0] if known else self._sample(prompt)
        return self._shown[number]

    def _sample(self, prompt: Conversation) -> Rated:
        (found,) = sample_answers(
            self.speaker.model, self.speaker.tokenizer, [prompt], node=self.speaker.name,
            weights=self.weights, samples=self.samples, length=self.length,
            temperature=self.temperature, seed=self.seed,
        )  # fmt: skip
        first = {text.strip(): n for n, text in reversed(list(enumerate(found.answers)))}
        unlike = sorted(first.values())
        return replace(
            found,
            answers=tuple(found.answers[n] for n in unlike),
            tokens=tuple(found.tokens[n] for n in unlike),
        )

    def rate(self, number: int, places: Sequence[int], best: int) -> None:
        """Keep a ranking. A prompt that this rater has rated already stays as it is."""
        one = self.shown(number)
        if len(places) != len(one.answers):
            raise RegrowError(f"there are {len(one.answers)} answers to place")
        if number in self._open():
            at = datetime.now(UTC).isoformat(timespec="seconds")
            said = replace(one, ratings=marks(places, best), rater=self.rater, at=at)
            save_rated([*self._kept(), said], self.path)

    def skip(self, number: int) -> None:
        """Put a prompt behind the others."""
        self.skipped.append(number)

    def undo(self) -> bool:
        """Take back this rater's last rating, so that it comes up again; false where none is."""
        kept = self._kept()
        mine = [n for n, one in enumerate(kept) if one.rater == self.rater]
        if mine:
            save_rated(kept[: mine[-1]] + kept[mine[-1] + 1 :], self.path)
        return bool(mine)
