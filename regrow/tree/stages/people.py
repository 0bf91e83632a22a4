"""Ratings by people, from the file that `regrow rate` wrote and the recipe names."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regrow.errors import RegrowError
from regrow.records import Message
from regrow.tree.stage import StageContext
from regrow.tree.stages.materials import data_files, uncontaminated, world_rows

if TYPE_CHECKING:
    from regrow.tree.stages.rating import Asked


def human_ratings(context: StageContext, asked: Asked) -> list[Any] | None:
    """What people said about the samples of this model; None where the recipe names no file.

    Raises RegrowError that names the first line about another node, about a prompt that the run
    does not have or about a sample that is not what its token ids say. Prompts that hold a
    question of a benchmark are left out.
    """
    from regrow.align.feedback import load_rated
    from regrow.tree.edge import weights_of

    data = context.recipe.data
    file = data.ratings.get(context.name) if data else None
    if file is None:
        return None
    rated, weights, known = load_rated(Path(file)), weights_of(asked.folder), _prompts(context)
    for number, one in enumerate(rated, 1):
        line = f"{file} line {number}"
        if one.weights != weights:
            raise RegrowError(
                f"{line} rates {one.node} with weights {one.weights[:12] or 'unknown'}, but "
                f"{context.name} learns from samples of {asked.folder.name}, {str(weights)[:12]}; "
                f"rate those: regrow rate {asked.folder}"
            )
        if one.prompt.messages not in known:
            asks = one.prompt.messages[-1].content if one.prompt.messages else ""
            raise RegrowError(
                f"{line} rates answers to {asks[:60]!r}, which is no prompt of this run; add its "
                "file to data.prompts, or take the line out"
            )
        for n, (answer, ids) in enumerate(zip(one.answers, one.tokens), 1):
            if not _said(asked.tokenizer, ids, answer):
                raise RegrowError(
                    f"{line} names an unknown sample: its answer {n} is not what its token ids say "
                    f"to {asked.folder.name}; take the line out, or rate it again"
                )
    clean = {talk.messages for talk in uncontaminated(context, [one.prompt for one in rated])}
    found = [one for one in rated if one.ratings and one.prompt.messages in clean]
    if not found:
        raise RegrowError(f"{file} holds no rating; rate some answers: regrow rate {asked.folder}")
    return found


def _prompts(context: StageContext) -> set[tuple[Message, ...]]:
    """Every prompt of the world and of the recipe's real prompts."""
    from regrow.align.readers import read_prompts

    files = [context.world / f"{name}.jsonl" for name in ("prompts", "dialogue_prompts")]
    found = [talk for file in files if file.is_file() for talk in world_rows(context, file.stem)]
    real = data_files(context, "prompts")
    for file in real[1] if real else ():
        found += read_prompts(file)
    return {talk.messages for talk in found}


def _said(tokenizer: Any, ids: Sequence[int], answer: str) -> bool:
    if not ids or not all(0 <= id_ < tokenizer.vocabulary for id_ in ids):
        return False
    return bool(tokenizer.decode(list(ids)).strip() == answer.strip())


def by_answers(rated: Iterable[Any]) -> list[list[Any]]:
    """Ratings of the same answers to the same prompt side by side, one of each rater."""
    groups: dict[Any, list[Any]] = {}
    for one in rated:
        groups.setdefault((one.prompt.messages, one.tokens), []).append(one)
    return list(groups.values())


def averaged(rated: Iterable[Any]) -> list[Any]:
    """One row for the same answers to a prompt, with the mean of its raters' ratings."""
    return [
        replace(
            group[0],
            ratings=tuple(sum(some) / len(some) for some in zip(*(one.ratings for one in group))),
            rater=", ".join(dict.fromkeys(one.rater for one in group)),
        )
        for group in by_answers(rated)
    ]
