"""The real stages, by the names that recipes use. Nothing heavy is imported until one runs."""

from __future__ import annotations

from collections.abc import Mapping

from regrow.tree.settings import DpoSettings, RlhfSettings
from regrow.tree.stage import Stage, StageContext
from regrow.tree.stages.documents import grow_corpus, grow_world
from regrow.tree.stages.outcome import import_folder, measure_node, write_report
from regrow.tree.stages.preferences import dpo
from regrow.tree.stages.pretraining import pretrain
from regrow.tree.stages.reinforcement import rlhf
from regrow.tree.stages.tuning import feedme, supervised
from regrow.tree.stages.verified import grpo


def _tokens(context: StageContext) -> float:
    return float(context.node.tokens) if context.node else 0.0


def _characters(context: StageContext) -> float:
    return float(sum(context.recipe.world.characters.values()))


def _rlhf_tokens(context: StageContext) -> float:
    """A token of an answer in PPO costs about four of training (drawn, scored by three models,
    learnt from by two), a rated sample about sixty; dialogues have longer prompts."""
    settings = context.node.settings if context.node else None
    if not isinstance(settings, RlhfSettings):
        return 0.0
    rated = settings.reward.prompts * settings.reward.samples
    work = 4 * _tokens(context) + 60.0 * rated
    return settings.tuning_tokens + 2 * work if settings.dialogue else work


def _dpo_tokens(context: StageContext) -> float:
    """A rated sample costs as much here, and every row is read by two models."""
    settings = context.node.settings if context.node else None
    rated = settings.prompts * settings.samples if isinstance(settings, DpoSettings) else 0
    return 1.5 * _tokens(context) + 60.0 * rated


def _measuring(context: StageContext) -> float:
    """Some abilities on the way cost about a fifth of all at the end."""
    settings = context.node.settings if context.node else None
    places = len(getattr(settings, "measure_at", ()))
    return (4 + 0.3 * context.recipe.abilities.items) * (1 + 0.2 * places)


#: Estimates are fitted to seedling and laptop on two cores.
STAGES: Mapping[str, Stage] = {
    "world": Stage(
        grow_world, lambda context: _characters(context) / 1.5e6, unit="seconds", resumable=False
    ),
    "corpus": Stage(
        grow_corpus, lambda context: _characters(context) / 4e5, unit="seconds", resumable=False
    ),
    "pretrain": Stage(pretrain, _tokens),
    "supervised": Stage(supervised, _tokens),
    "feedme": Stage(feedme, _tokens),
    "rlhf": Stage(rlhf, _rlhf_tokens),
    "grpo": Stage(grpo, lambda context: 4 * _tokens(context)),
    "dpo": Stage(dpo, _dpo_tokens),
    "import": Stage(import_folder, lambda context: 2.0, unit="seconds"),
    "measure": Stage(
        measure_node,
        _measuring,
        unit="seconds",
        resumable=False,
    ),
    "report": Stage(write_report, lambda context: 5.0, unit="seconds", resumable=False),
}
