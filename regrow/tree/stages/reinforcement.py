"""RLHF: a reward model on rated samples, then PPO with a pretraining mix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.files import read_json, write_json
from regrow.records import Conversation
from regrow.tree import edge
from regrow.tree.settings import ReinforcementSettings, RlhfSettings
from regrow.tree.stage import StageContext
from regrow.tree.stages.materials import (
    conversations,
    fitting,
    pupil_of,
    read,
    save,
    some,
    text_rows,
)
from regrow.tree.stages.rating import Asked
from regrow.tree.stages.rewards import kept, learn_reward
from regrow.tree.stages.tuning import tune

#: What a reward model is made of, as beginnings of keys of a node's inputs. Nodes that agree in all
#: these would fit the same one, bit for bit.
_REWARD_OF = (
    "seed", "parent", "corpus", "settings.length", "settings.temperature", "settings.dialogue",
    "settings.tuning", "settings.reward", "raters", "ratings",
)  # fmt: skip


def rlhf(context: StageContext) -> dict[str, Any]:
    """A reward model on rated samples, then PPO against it with KL and a pretraining mix."""
    node, settings = context.node, context.node.settings if context.node else None
    assert node is not None and isinstance(settings, RlhfSettings)
    model, tokenizer = pupil_of(context)
    record: dict[str, Any] = {}
    if settings.dialogue and settings.tuning_tokens:
        model, record["dialogue_tuning"] = _dialogue_tuning(context, settings, model, tokenizer)
    prompts = conversations(context, "prompts", "prompts")
    if settings.dialogue:  # and as many single questions, so that what they teach is not lost
        talks = conversations(context, "dialogue_prompts", "prompts")
        prompts = talks + some(prompts, len(talks), context.seed, "single questions")
    prompts = fitting(prompts, model, tokenizer, settings.length)
    if not prompts:
        raise RegrowError(
            f"{context.name} finds no prompt that leaves room for an answer of {settings.length} "
            "tokens; lower settings.length"
        )
    reward, record["reward_model"] = _reward_model(context, settings, model, tokenizer, prompts)
    record["ppo"] = _ppo(context, settings, model, tokenizer, prompts, reward)
    save(context, model, tokenizer)
    return record


def _dialogue_tuning(
    context: StageContext, settings: RlhfSettings, model: Any, tokenizer: Any
) -> tuple[Any, dict[str, Any]]:
    """Tune the parent on dialogues and demonstrations, once."""
    from regrow.model.folder import load_model, save_model

    folder, told = context.folder / "dialogue", context.folder / "dialogue" / "record.json"
    if not told.is_file():
        shown = conversations(context, "demonstrations", "instructions")
        record = tune(
            context, model, tokenizer, settings.tuning, shown, settings.tuning_tokens, folder
        )
        save_model(model, folder)
        tokenizer.save(folder)
        write_json(told, record)
    return load_model(folder), read_json(told)


def _reward_model(
    context: StageContext,
    settings: RlhfSettings,
    model: Any,
    tokenizer: Any,
    prompts: list[Conversation],
) -> tuple[Any, dict[str, Any]]:
    """Fit the reward model on rated samples and on real comparisons, once for all arms."""
    folder = context.folder / "reward"
    for made in _of_arms(context):
        if not (folder / "record.json").is_file() and (found := kept(made)):
            return found
    source = context.folder / "dialogue" if settings.dialogue and settings.tuning_tokens else None
    asked = Asked(
        model, tokenizer, source or context.parent or folder, settings.length, settings.temperature
    )
    path = context.folder / "rated.jsonl.gz"
    return learn_reward(context, settings.reward, asked, prompts, folder, path)


def _of_arms(context: StageContext) -> Iterator[Path]:
    """Where other nodes keep a reward model that is made of the same things as this node's."""
    mine = _reward_inputs(context.folder)
    for name in context.recipe.nodes:
        if mine and name != context.name and _reward_inputs(context.run / name) == mine:
            yield context.run / name / "reward"


def _reward_inputs(folder: Path) -> dict[str, Any]:
    inputs = edge.begun_with(folder)
    return {key: value for key, value in inputs.items() if key.startswith(_REWARD_OF)}


def _ppo(
    context: StageContext,
    settings: RlhfSettings,
    model: Any,
    tokenizer: Any,
    prompts: list[Conversation],
    reward: Any,
) -> dict[str, Any]:
    from regrow.align.ppo import PpoSettings
    from regrow.align.rlhf import Rlhf, RlhfLoop
    from regrow.worlds.raters import gold

    loop = RlhfLoop(
        **loop_words(context, settings),
        gold_fall=settings.gold_fall,
        watched=settings.watched,
        value_rate=settings.value_rate,
        kl_target=settings.kl_target,
        kl_horizon=settings.kl_horizon,
        ppo=PpoSettings(
            clip_ratio=settings.clip_ratio,
            pretraining_mix=settings.pretraining_mix,
            temperature=settings.temperature,
        ),
    )
    mix = pretraining_rows(context, settings, model, loop)
    run = Rlhf(model, reward, tokenizer, prompts, loop, seed=context.seed, mix=mix, gold=gold)
    return grown(context, run, mix)


def loop_words(context: StageContext, settings: ReinforcementSettings) -> dict[str, Any]:
    """The words of a recipe that every loop has."""
    assert context.node is not None
    steps = context.node.tokens // (settings.rows * settings.samples * settings.length)
    same = (
        "samples", "length", "minibatches", "epochs", "rate", "warmup", "kl", "average", "mix_rows",
        "held_out", "trained",
    )  # fmt: skip
    words = {name: getattr(settings, name) for name in same}
    return {"steps": max(1, steps), "prompts": settings.rows, **words}


def pretraining_rows(
    context: StageContext, settings: ReinforcementSettings, model: Any, loop: Any
) -> Any:
    """Rows of the pretraining mix for a whole run; None where the recipe wants none."""
    if not settings.pretraining_mix:
        return None
    if settings.mixture is None:
        raise RegrowError(f"{context.name} mixes in pretraining and so needs settings.mixture")
    rows = loop.steps * loop.epochs * loop.minibatches * loop.mix_rows
    return text_rows(context, settings.mixture, model, rows, "pretraining mix")


def grown(context: StageContext, run: Any, mix: Any) -> dict[str, Any]:
    """Run a policy to its end; what the edge record tells of it."""
    from regrow.align.reinforcement import steps_in

    figures = run.run(context.folder, context.progress)
    run.release()
    if mix is not None:  # rows of the mix beside each step
        own = run.loop.epochs * run.loop.minibatches * run.loop.mix_rows
        seen = [
            (step * own, (step + 1) * own) for step in steps_in(figures["steps"], figures["last"])
        ]
        figures["read"] = read(mix, seen, context.run) | {"rows_a_step": own}
    aside = {"watched": len(run.aside.watched), "held_out": len(run.aside.held)}
    told = {"prompts": len(run.prompts) + sum(aside.values()), "aside": aside}
    return {**figures, "beta": run.beta, **told}
