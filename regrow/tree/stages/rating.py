"""How a node's samples are rated: by the world's raters, and by reward models.

The world's raters judge by the truth that a prompt carries in `check`. Real prompts carry none:
what answers to them are worth is learnt from the recipe's real comparisons.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from regrow.files import read_json, write_json
from regrow.records import Conversation
from regrow.tree.settings import RewardSettings
from regrow.tree.stage import StageContext
from regrow.tree.stages.materials import data_files, some, training, world_rows

#: Rankings below which hardly anything can be learnt from them.
LEAST = 16


def compared(files: Sequence[Path], tokenizer: Any, context: int) -> list[Any]:
    """Real comparisons as ranked token rows that fit the context."""
    from regrow.align.readers import read_comparisons
    from regrow.align.reward import Ranked
    from regrow.records import Message

    out = []
    for file in files:
        for one in read_comparisons(file):
            rows = tuple(
                tuple(tokenizer.chat((*one.prompt.messages, Message("assistant", answer)))[0])
                for answer in one.answers
            )
            if max(map(len, rows)) <= context and len(set(rows)) > 1:
                out.append(Ranked(rows, one.ratings))
    return out


def fit(
    context: StageContext,
    settings: RewardSettings,
    model: Any,
    tokenizer: Any,
    rankings: Sequence[Any],
    folder: Path,
) -> tuple[Any, dict[str, Any]]:
    """A reward model that starts as a copy of `model`, kept in `folder` with its figures."""
    import copy

    from regrow.align.fit import fit_reward
    from regrow.align.reward import RewardModel, save_reward

    shown = some(world_rows(context, "demonstrations"), 256, context.seed, "reward shift")
    reward = RewardModel(copy.deepcopy(model), seed=context.seed)
    record = fit_reward(
        reward,
        rankings,
        [tokenizer.chat(c.messages)[0] for c in shown],
        training(settings, len(rankings) * settings.epochs, context.seed, model.config.context),
        folder,
        pad=tokenizer.pad,
        epochs=settings.epochs,
        progress=context.progress,
    )
    save_reward(reward, folder)
    write_json(folder / "record.json", record)
    return reward, record


def kept(folder: Path) -> tuple[Any, dict[str, Any]] | None:
    """What `fit` left in a folder; None where it has not come to its end."""
    from regrow.align.reward import load_reward

    told = folder / "record.json"
    return (load_reward(folder), read_json(told)) if told.is_file() else None


def collected(
    context: StageContext,
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Conversation],
    *,
    samples: int,
    length: int,
    temperature: float,
    taste: Any = None,
) -> list[Any]:
    """Rated samples of a model, kept in the node's folder so that they are drawn once.

    A panel rates the answers to the world's prompts, one rater a prompt in turn. Among `prompts`
    may be real ones only where there is a `taste`, the reward model that rates those.
    """
    from regrow.align.feedback import collect, load_rated, save_rated
    from regrow.seeds import derive
    from regrow.worlds.raters import panel

    raters = panel(context.recipe.world.seed)

    def rate(prompt: Conversation, answer: str, number: int) -> float:
        return raters[number % len(raters)].score(prompt, answer) if prompt.check else 0.0

    path = context.folder / "rated.jsonl.gz"
    parent = (context.node.parent if context.node else None) or context.name
    if not path.is_file():
        rated = collect(
            model,
            tokenizer,
            prompts,
            rate,
            node=parent,
            samples=samples,
            length=length,
            temperature=temperature,
            seed=derive(context.seed, parent),  # arms of one parent see the same samples
            progress=context.progress,
        )
        save_rated(rate_by(taste, tokenizer, rated) if taste else rated, path)
    return list(load_rated(path))


def learn_taste(
    context: StageContext, model: Any, tokenizer: Any
) -> tuple[Any, dict[str, Any]] | None:
    """The rater of real prompts, fitted to real comparisons once; None where they are too few."""
    folder = context.folder / "taste"
    if found := kept(folder):
        return found
    files = data_files(context, "comparisons")
    rankings = compared(files[1], tokenizer, model.config.context) if files else []
    if len(rankings) < LEAST:
        return None
    settings = RewardSettings()
    chosen = some(rankings, settings.prompts, context.seed, "taste")
    return fit(context, settings, model, tokenizer, chosen, folder)


def rate_by(reward: Any, tokenizer: Any, rated: Sequence[Any]) -> list[Any]:
    """The samples of real prompts rated 1 to 7 by the rank of their reward among all of them.

    Samples of the world's prompts stay as they were rated.
    """
    from scipy.stats import rankdata

    from regrow.align.reward import score_rows

    real = [one for one in rated if not one.prompt.check]
    rows = []
    for one in real:
        asked = tokenizer.chat(one.prompt.messages, answer=True)[0]
        rows += [[*asked, *answer] for answer in one.tokens]
    ranks = rankdata(score_rows(reward, rows, tokenizer.pad)) - 1
    ratings = iter((1 + 6 * ranks / max(1, len(rows) - 1)).tolist())
    return [
        one if one.prompt.check else replace(one, ratings=tuple(next(ratings) for _ in one.tokens))
        for one in rated
    ]
