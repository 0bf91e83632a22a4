"""RLHF: a reward model on rated samples, then PPO with a pretraining mix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.files import read_json, write_json
from regrow.records import Conversation
from regrow.tree.settings import RlhfSettings
from regrow.tree.stage import StageContext
from regrow.tree.stages.materials import (
    blend,
    collected,
    conversations,
    data_files,
    parent_of,
    save,
    some,
    text_rows,
    training,
    world_rows,
)
from regrow.tree.stages.tuning import tune


def rlhf(context: StageContext) -> dict[str, Any]:
    """A reward model on rated samples, then PPO against it with KL and a pretraining mix."""
    node, settings = context.node, context.node.settings if context.node else None
    assert node is not None and isinstance(settings, RlhfSettings)
    model, tokenizer = parent_of(context)
    record: dict[str, Any] = {}
    if settings.dialogue and settings.tuning_tokens:
        model, record["dialogue_tuning"] = _dialogue_tuning(context, settings, model, tokenizer)
    world = "dialogue_prompts" if settings.dialogue else "prompts"
    prompts = conversations(context, world, "prompts")
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
        write_json(told, record)
    return load_model(folder), read_json(told)


def _reward_model(
    context: StageContext,
    settings: RlhfSettings,
    model: Any,
    tokenizer: Any,
    prompts: list[Conversation],
) -> tuple[Any, dict[str, Any]]:
    """Fit the reward model on rated samples and on real comparisons, once."""
    import copy

    from regrow.align.feedback import ranked
    from regrow.align.fit import fit_reward
    from regrow.align.reward import RewardModel, load_reward, save_reward

    folder, told = context.folder / "reward", context.folder / "reward" / "record.json"
    if told.is_file():
        return load_reward(folder), read_json(told)
    chosen = some(prompts, settings.reward.prompts, context.seed, "reward prompts")
    rated = collected(
        context,
        model,
        tokenizer,
        [p for p in chosen if p.check],
        samples=settings.reward.samples,
        length=settings.length,
        temperature=settings.temperature,
    )
    rankings = ranked(rated, tokenizer)
    if found := data_files(context, "comparisons"):
        rankings = blend(
            rankings,
            _compared(found[1], tokenizer, model.config.context),
            found[0].share,
            context.seed,
        )
    shown = some(world_rows(context, "demonstrations"), 256, context.seed, "reward shift")
    reward = RewardModel(copy.deepcopy(model), seed=context.seed)
    record = fit_reward(
        reward,
        rankings,
        [tokenizer.chat(c.messages)[0] for c in shown],
        training(settings.reward, len(rankings) * settings.reward.epochs, context.seed),
        folder,
        pad=tokenizer.pad,
        epochs=settings.reward.epochs,
        progress=context.progress,
    )
    save_reward(reward, folder)
    write_json(told, record)
    return reward, record


def _compared(files: Sequence[Path], tokenizer: Any, context: int) -> list[Any]:
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

    node = context.node
    assert node is not None
    steps = max(1, node.tokens // (settings.rows * settings.samples * settings.length))
    loop = RlhfLoop(
        steps=steps,
        prompts=settings.rows,
        samples=settings.samples,
        length=settings.length,
        epochs=settings.epochs,
        rate=settings.rate,
        value_rate=settings.value_rate,
        warmup=settings.warmup,
        kl=settings.kl,
        kl_target=settings.kl_target,
        mix_rows=settings.mix_rows,
        ppo=PpoSettings(
            clip_ratio=settings.clip_ratio,
            pretraining_mix=settings.pretraining_mix,
            temperature=settings.temperature,
        ),
    )
    mix = None
    if settings.pretraining_mix:
        if settings.mixture is None:
            raise RegrowError(f"{context.name} mixes in pretraining and so needs settings.mixture")
        rows = steps * settings.epochs * loop.minibatches * loop.mix_rows
        mix = text_rows(context, settings.mixture, model, rows, "pretraining mix")
    room = model.config.context - settings.length
    fits = [p for p in prompts if len(tokenizer.chat(p.messages, answer=True)[0]) <= room]
    watched = [p for p in fits if p.check]
    run = Rlhf(
        model,
        reward,
        tokenizer,
        watched,
        loop,
        seed=context.seed,
        mix=mix,
        gold=lambda prompt, answer: gold(prompt, answer),
    )
    figures = run.run(context.folder, context.progress)
    run.optimizer.trainable.release()
    return {**figures, "beta": run.controller.beta, "prompts": len(watched)}
