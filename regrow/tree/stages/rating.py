"""How a node's samples are rated: by the world's raters, by people, and by reward models.

The world's raters judge by the truth that a prompt carries in `check`. Real prompts carry none:
what answers to them are worth is learnt from the recipe's real comparisons, or said by people in a
file of `regrow rate` (regrow.tree.stages.people).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from regrow.files import read_json, write_json
from regrow.records import Conversation
from regrow.tree.settings import FeedmeSettings, RewardSettings
from regrow.tree.stage import StageContext
from regrow.tree.stages.materials import blend, data_files, some, training, world_rows

#: Rankings below which hardly anything can be learnt from them.
LEAST = 16
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
        raters, others = panels(context)
        save_rated((one.by(rater, at) for one in found for rater in others or raters), path)
    return load_rated(path)


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
                out.append(Ranked(rows, one.ratings, topic=one.prompt.messages[0].content))
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
    from regrow.tree.stages.people import by_answers, human_ratings

    if found := kept(folder):
        return found
    margin, tokenizer = settings.margin, asked.tokenizer
    people = human_ratings(context, asked)
    if people is None:
        chosen = some([p for p in prompts if p.check], settings.prompts, context.seed, "reward")
        learn, test = aside(chosen, _openings(chosen), context.seed, "reward prompts")
        rated = collected(context, asked, learn, settings.samples, path)
        rest = held_out(context, asked, test, settings.samples, path.with_name(f"held-{path.name}"))
        groups = by_answers(rest)
    else:  # people say where they see no difference
        groups = by_answers(people)
        openings = _openings([group[0].prompt for group in groups])
        known, groups = aside(groups, openings, context.seed, "rated by people")
        rated, margin = [one for group in known for one in group], 0.0
    rankings = ranked(rated, tokenizer, margin)
    if len(rankings) < LEAST:  # a weak parent's answers hardly differ: take any difference
        margin = 0.0
        rankings = ranked(rated, tokenizer)
    held = [[rank(one, tokenizer, margin) for one in group] for group in groups]
    if files := data_files(context, "comparisons"):
        real = compared(files[1], tokenizer, asked.model.config.context)
        real, others = aside(real, [one.topic for one in real], context.seed, "comparisons")
        rankings = blend(rankings, real, files[0].share, context.seed)
        held = blend(held, [[one] for one in others], files[0].share, context.seed)
    return fit(context, settings, asked, rankings, held, folder)


def _openings(prompts: Sequence[Conversation]) -> list[str]:
    return [prompt.messages[0].content for prompt in prompts]


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
    from regrow.evaluate.agreement import agreement

    shown = some(world_rows(context, "demonstrations"), 256, context.seed, "reward shift")
    reward = RewardModel(copy.deepcopy(asked.model), seed=context.seed)
    length = asked.model.config.context
    record = fit_reward(
        reward,
        rankings,
        [asked.tokenizer.chat(c.messages)[0] for c in shown],
        training(settings, len(rankings) * settings.epochs, context.seed, length),
        folder,
        pad=asked.tokenizer.pad,
        epochs=settings.epochs,
        held=0,
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


def feedme_samples(
    context: StageContext,
    settings: FeedmeSettings,
    asked: Asked,
    prompts: list[Conversation],
) -> tuple[list[Any], dict[str, Any]]:
    """The rated samples that FeedME chooses from, and what the edge record tells of the rating.

    By a file of ratings where the recipe names one. Else by the world's raters, and by a taste
    learnt from comparisons where there are real prompts; under `select: reward` by a reward model
    alone, which the raters taught on other prompts (rejection sampling).
    """
    from regrow.align.feedback import save_rated
    from regrow.tree.stages.people import averaged, human_ratings

    path = context.folder / "rated.jsonl.gz"
    record: dict[str, Any] = {}
    alone = settings.select == "reward"
    if alone:
        mine, others = apart(prompts, settings.reward.prompts, context.seed)
        folder = context.folder / "reward"
        taste, record["reward_model"] = learn_reward(
            context, settings.reward, asked, mine, folder, folder / "rated.jsonl.gz"
        )
        prompts = others or prompts
    elif (people := human_ratings(context, asked)) is not None:
        rated = averaged(people)
        save_rated(rated, path)
        return rated, {"raters": sorted({one.rater for one in people})}
    else:
        found = None
        if real := sum(not prompt.check for prompt in prompts):
            found = learn_taste(context, asked)
            record["taste"] = found[1] if found else {"real_prompts_left_out": real}
        if found is None:
            prompts = [prompt for prompt in prompts if prompt.check]
        taste = found[0] if found else None
    prompts = some(prompts, settings.prompts, context.seed, "feedme prompts")
    return collected(context, asked, prompts, settings.samples, path, taste, alone), record


def apart(
    prompts: Sequence[Conversation], count: int, seed: int
) -> tuple[list[Conversation], list[Conversation]]:
    """The prompts on which raters teach a reward model, at most half of them, and the others."""
    from regrow.seeds import rng

    order = rng(seed, "taught on").permutation(len(prompts))
    first = min(count, len(prompts) // 2)
    return [prompts[i] for i in order[:first]], [prompts[i] for i in order[first:]]


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


def rate_by(reward: Any, tokenizer: Any, rated: Iterable[Any], at: str = "") -> list[Any]:
    """The samples that nobody rated get 1 to 7 by the rank of their reward among all of them."""
    from scipy.stats import rankdata

    from regrow.align.reward import score_rows

    rated = list(rated)
    open_ = [one for one in rated if not one.ratings]
    rows = []
    for one in open_:
        asked = tokenizer.chat(one.prompt.messages, answer=True)[0]
        rows += [[*asked, *answer] for answer in one.tokens]
    ranks = rankdata(score_rows(reward, rows, tokenizer.pad)) - 1
    marks = iter((1 + 6 * ranks / max(1, len(rows) - 1)).tolist())
    return [
        one
        if one.ratings
        else replace(
            one, ratings=tuple(next(marks) for _ in one.tokens), rater="reward model", at=at
        )
        for one in rated
    ]
