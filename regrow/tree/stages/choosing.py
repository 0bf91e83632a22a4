"""Which of a model's samples FeedME may tune on, and who says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from regrow.records import Conversation
from regrow.tree.settings import FeedmeSettings
from regrow.tree.stage import StageContext
from regrow.tree.stages.materials import some
from regrow.tree.stages.people import averaged, human_ratings
from regrow.tree.stages.rating import Asked, collected
from regrow.tree.stages.rewards import learn_reward, learn_taste


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
