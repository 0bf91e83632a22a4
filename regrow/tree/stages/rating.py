"""How a node's samples are rated: by the world's raters, and by reward models.

The world's raters judge by the truth that a prompt carries in `check`. Real prompts carry none:
what answers to them are worth is learnt from comparisons (regrow.tree.stages.rewards), or said by
people (regrow.tree.stages.people).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from regrow.records import Conversation
from regrow.tree.stage import StageContext

#: Share of the prompts that reward models are tested on and do not learn from.
HELD = 0.1


@dataclass(frozen=True)
class Asked:
    """A model whose answers are rated, the folder of its weights, and how it is asked."""

    model: Any
    tokenizer: Any
    folder: Path
    length: int
    temperature: float


def aside(
    rows: Sequence[Any], topics: Sequence[str], seed: int, purpose: str, share: float = HELD
) -> tuple[list[Any], list[Any]]:
    """What is learnt from, and a share put aside (something of two topics or more).

    Rows of one topic stay together, so that nothing of a prompt put aside is learnt from.
    """
    from regrow.seeds import rng

    names = list(dict.fromkeys(topics))
    wanted = max(1, round(share * len(rows))) if len(names) > 1 else 0
    sizes = Counter(topics)
    apart: set[str] = set()
    for i in rng(seed, purpose, "aside").permutation(len(names)):
        if sum(sizes[name] for name in apart) < wanted:
            apart.add(names[i])
    learn = [row for row, topic in zip(rows, topics) if topic not in apart]
    return learn, [row for row, topic in zip(rows, topics) if topic in apart]


def sampled(
    context: StageContext, asked: Asked, prompts: Sequence[Conversation], samples: int
) -> list[Any]:
    """Answers to the prompts that nobody has rated yet; arms of one parent see the same."""
    from regrow.align.feedback import sample_answers
    from regrow.seeds import derive
    from regrow.tree.edge import weights_of

    parent = (context.node.parent if context.node else None) or context.name
    return sample_answers(
        asked.model,
        asked.tokenizer,
        prompts,
        node=parent,
        weights=weights_of(asked.folder) or "",
        samples=samples,
        length=asked.length,
        temperature=asked.temperature,
        seed=derive(context.seed, parent),
        progress=context.progress,
    )


def panels(context: StageContext) -> tuple[list[Any], list[Any]]:
    """The world's raters: those who are learnt from, and those who only test what was learnt."""
    from regrow.worlds.raters import panel

    world, told = context.recipe.world, context.recipe.world.raters
    tastes = {str(taste): weight for taste, weight in told.tastes.items()}
    raters = panel(world.seed, told.count + told.held, told.noise, told.spread, tastes)
    return raters[: told.count], raters[told.count :]


def collected(
    context: StageContext,
    asked: Asked,
    prompts: Sequence[Conversation],
    samples: int,
    path: Path,
    taste: Any = None,
    alone: bool = False,
) -> list[Any]:
    """Rated samples of a model, kept at `path` so that they are drawn once.

    A panel rates the answers to the world's prompts, one rater a prompt in turn. A reward model,
    the `taste`, rates those to real prompts, of which there may be none without it; where it is
    `alone` it rates all.
    """
    from regrow.align.feedback import load_rated, save_rated
    from regrow.tree.edge import clock

    if not path.is_file():
        raters, at = panels(context)[0], clock()
        rated = [
            one.by(raters[n % len(raters)], at) if one.prompt.check and not alone else one
            for n, one in enumerate(sampled(context, asked, prompts, samples))
        ]
        save_rated(rate_by(taste, asked.tokenizer, rated, at) if taste else rated, path)
    return load_rated(path)


def held_out(
    context: StageContext, asked: Asked, prompts: Sequence[Conversation], samples: int, path: Path
) -> list[Any]:
    """Samples for prompts put aside, each as every rater sees it who is never learnt from."""
    from regrow.align.feedback import load_rated, save_rated
    from regrow.tree.edge import clock

    if not path.is_file():
        found, at = sampled(context, asked, prompts, samples), clock()
        others = panels(context)[1]
        save_rated((one.by(rater, at) for one in found for rater in others), path)
    return load_rated(path)


def rate_by(reward: Any, tokenizer: Any, rated: Iterable[Any], at: str = "") -> list[Any]:
    """The samples that nobody rated get 1 to 7 by the rank of their reward among all of them."""
    from scipy.stats import rankdata

    from regrow.align.reward import score_rows
    from regrow.align.rows import asked_ids

    rated = list(rated)
    open_ = [one for one in rated if not one.ratings]
    rows, starts = [], []
    for one in open_:
        asked = asked_ids(one.prompt, tokenizer)
        rows += [[*asked, *answer] for answer in one.tokens]
        starts += [len(asked)] * len(one.tokens)
    ranks = rankdata(score_rows(reward, rows, tokenizer.pad, starts)) - 1
    marks = iter((1 + 6 * ranks / max(1, len(rows) - 1)).tolist())
    return [
        one
        if one.ratings
        else replace(
            one, ratings=tuple(next(marks) for _ in one.tokens), rater="reward model", at=at
        )
        for one in rated
    ]
