"""The reward models of the stages: what they learn from, and how they are tested."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regrow.files import read_json, write_json
from regrow.records import Conversation
from regrow.tree.settings import RewardSettings
from regrow.tree.stage import StageContext
from regrow.tree.stages.materials import blend, data_files, some, training, world_rows
from regrow.tree.stages.people import by_answers, human_ratings
from regrow.tree.stages.rating import Asked, aside, collected, held_out

#: Rankings below which hardly anything can be learnt from them.
LEAST = 16


def compared(files: Sequence[Path], tokenizer: Any, context: int) -> list[Any]:
    """Real comparisons as ranked token rows that fit the context; ties alone are left out."""
    from regrow.align.lesson import opening
    from regrow.align.readers import read_comparisons
    from regrow.align.reward import Ranked
    from regrow.align.rows import answered_ids
    from regrow.records import Message

    out = []
    for file in files:
        for one in read_comparisons(file):
            talks = [(*one.prompt.messages, Message("assistant", answer)) for answer in one.answers]
            ids, starts = zip(*(answered_ids(Conversation(talk), tokenizer) for talk in talks))
            rows = tuple(map(tuple, ids))
            ranked = Ranked(rows, one.ratings, topic=opening(one.prompt), start=starts[0])
            if max(map(len, rows)) <= context and len(set(rows)) > 1 and ranked.pairs():
                out.append(ranked)
    return out


def learn_reward(
    context: StageContext,
    settings: RewardSettings,
    asked: Asked,
    prompts: Sequence[Conversation],
    folder: Path,
    path: Path,
) -> tuple[Any, dict[str, Any]]:
    """A reward model fitted once to rated samples and to real comparisons.

    The samples are those of a file of ratings where the recipe names one; else the model answers
    the world's prompts among `prompts`, and its answers are kept at `path`.
    """
    from regrow.align.feedback import rank, ranked

    if found := kept(folder):
        return found
    margin, tokenizer = settings.margin, asked.tokenizer
    people = human_ratings(context, asked)
    if people is None:
        chosen = some([p for p in prompts if p.check], settings.prompts, context.seed, "reward")
        learn, test = aside(chosen, _topics(chosen), context.seed, "reward prompts")
        rated = collected(context, asked, learn, settings.samples, path)
        rest = held_out(context, asked, test, settings.samples, path.with_name(f"held-{path.name}"))
        groups = by_answers(rest)
    else:  # people say where they see no difference
        groups = by_answers(people)
        topics = _topics([group[0].prompt for group in groups])
        known, groups = aside(groups, topics, context.seed, "rated by people")
        rated, margin = [one for group in known for one in group], 0.0
    rankings = ranked(rated, tokenizer, margin, settings.balance)
    if len(rankings) < LEAST:  # a weak parent's answers hardly differ: take any difference
        margin = 0.0
        rankings = ranked(rated, tokenizer, margin, settings.balance)
    held = [[rank(one, tokenizer, margin) for one in group] for group in groups]
    if files := data_files(context, "comparisons"):
        real = compared(files[1], tokenizer, asked.model.config.context)
        real, others = aside(real, [one.topic for one in real], context.seed, "comparisons")
        rankings = blend(rankings, real, files[0].share, context.seed)
        held = blend(held, [[one] for one in others], files[0].share, context.seed)
    return fit(context, settings, asked, rankings, held, folder)


def _topics(prompts: Sequence[Conversation]) -> list[str]:
    from regrow.align.lesson import topic

    return [topic(prompt) for prompt in prompts]


def learn_taste(context: StageContext, asked: Asked) -> tuple[Any, dict[str, Any]] | None:
    """The rater of real prompts, fitted to real comparisons once; None where they are too few."""
    folder = context.folder / "taste"
    if found := kept(folder):
        return found
    files = data_files(context, "comparisons")
    rankings: list[Any] = (
        compared(files[1], asked.tokenizer, asked.model.config.context) if files else []
    )
    if len(rankings) < LEAST:
        return None
    settings = RewardSettings()
    chosen: list[Any] = some(rankings, settings.prompts, context.seed, "taste")
    learn, test = aside(chosen, [one.topic for one in chosen], context.seed, "comparisons")
    return fit(context, settings, asked, learn, [[one] for one in test], folder)


def fit(
    context: StageContext,
    settings: RewardSettings,
    asked: Asked,
    rankings: Sequence[Any],
    held: Sequence[Sequence[Any]],
    folder: Path,
) -> tuple[Any, dict[str, Any]]:
    """A reward model that starts as a copy of the model, kept in `folder` with its figures."""
    import copy

    from regrow.align.fit import fit_reward
    from regrow.align.reward import RewardModel, save_reward
    from regrow.align.rows import answered_ids
    from regrow.evaluate.agreement import agreement

    shown = some(world_rows(context, "demonstrations"), 256, context.seed, "reward shift")
    reward = RewardModel(copy.deepcopy(asked.model), seed=context.seed)
    length = asked.model.config.context
    record = fit_reward(
        reward,
        rankings,
        [answered_ids(talk, asked.tokenizer) for talk in shown],
        training(settings, len(rankings) * settings.epochs, context.seed, length),
        folder,
        pad=asked.tokenizer.pad,
        epochs=settings.epochs,
        held=0,
        parent=asked.model if settings.likelihood else None,
        head_alone=settings.fitted == "head",
        progress=context.progress,
    )
    record |= agreement(reward, held, asked.tokenizer.pad)
    save_reward(reward, folder)
    write_json(folder / "record.json", record)
    return reward, record


def kept(folder: Path) -> tuple[Any, dict[str, Any]] | None:
    """What `fit` left in a folder; None where it has not come to its end."""
    from regrow.align.reward import load_reward

    told = folder / "record.json"
    return (load_reward(folder), read_json(told)) if told.is_file() else None
