"""Supervised tuning on demonstrations, and FeedME."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.files import read_json, write_json
from regrow.records import Conversation
from regrow.tree.settings import FeedmeSettings, LoraSpec, SupervisedSettings
from regrow.tree.stage import StageContext
from regrow.tree.stages.choosing import feedme_samples
from regrow.tree.stages.held import Held
from regrow.tree.stages.materials import (
    conversation_rows,
    conversations,
    fitting,
    on_the_way,
    parent_of,
    pupil_of,
    read,
    save,
    text_rows,
    training,
)
from regrow.tree.stages.rating import Asked


@dataclass(frozen=True)
class Lesson:
    """What is learnt from, what is kept aside to measure on, and the task types if limited."""

    shown: list[Conversation]
    aside: list[Conversation]
    types: list[str] | None = None


def lesson(
    settings: SupervisedSettings, shown: Sequence[Conversation], seed: int, limited: bool = True
) -> Lesson:
    """Of conversations, those that a stage of these settings learns from.

    Families and the numbers of task types and examples limit demonstrations, and not what is learnt
    from beside them.
    """
    from regrow.align.lesson import keep_aside, of_families, of_types, so_many, without_steps

    learnt, aside = keep_aside(shown, settings.held)
    types = None
    if limited and settings.families:
        learnt = of_families(learnt, settings.families)
    if limited and settings.task_types:
        learnt, types = of_types(learnt, settings.task_types, seed)
    if limited and settings.examples:
        learnt = so_many(learnt, settings.examples, seed)
    return Lesson(learnt if settings.worked else without_steps(learnt), aside, types)


def tune(
    context: StageContext,
    model: Any,
    tokenizer: Any,
    settings: SupervisedSettings,
    shown: Sequence[Conversation],
    tokens: int,
    folder: Path,
    name: str = "demonstrations",
) -> dict[str, Any]:
    """Tune on conversations, with shares of dialogues and of pretraining rows beside them.

    `name` is what the edge record calls the conversations.
    """
    from regrow.align.fit import fit_rows
    from regrow.align.rows import MixedRows, Rows

    length = min(settings.row_tokens or model.config.context, model.config.context)
    total = max(1, tokens // length)
    chosen = lesson(settings, shown, context.seed)
    packed = [conversation_rows(context, model, tokenizer, chosen.shown, name, length)]
    shares = [1.0 - settings.dialogues - settings.replay]
    aside = list(chosen.aside)
    if settings.dialogues:
        talks = lesson(settings, conversations(context, "dialogues", "dialogues"), 0, limited=False)
        packed.append(
            conversation_rows(context, model, tokenizer, talks.shown, "dialogues", length)
        )
        shares.append(settings.dialogues)
        aside += talks.aside
    supplies: list[Rows] = [*packed]
    if settings.replay:
        supplies.append(_replayed(context, settings, model, tokenizer, total, length))
        shares.append(settings.replay)
    supply = MixedRows(supplies, shares, total, context.seed)
    held = Held(settings, tokenizer, aside, folder, context.progress)
    held.before(model)
    loop = training(settings, total, context.seed, length)
    adapters = None
    if settings.lora:
        adapters, loop = _adapted(context, settings.lora, model, loop, folder)
    met = settings.measure_at if folder == context.folder else ()
    summary = fit_rows(
        model,
        supply,
        loop,
        folder,
        z_loss=settings.z_loss,
        packing=settings.packing,
        progress=context.progress,
        marks=on_the_way(context, met, model, tokenizer, total),
    )
    record = {
        "training": summary.to_dict(), "demonstrations": len(chosen.shown), "optimizer": "reset",
        "packing": settings.packing, "layout": {one.name: one.layout for one in packed},
        "read": read(supply, summary.seen, context.run),
    }  # fmt: skip
    if adapters is not None:
        parent = (context.node.parent if context.node else None) or ""
        record["adapter"] = {"for_transformers": adapters.save(folder / "adapter", parent)}
        adapters.merge()
    if chosen.types is not None:
        record["task_types"] = chosen.types
    return record | held.compared(model)


def _adapted(
    context: StageContext, spec: LoraSpec, model: Any, loop: Any, folder: Path
) -> tuple[Any, Any]:
    """Adapters in the model, and the loop's settings in the precision that this was begun in."""
    from regrow.align.lora import Adapters
    from regrow.train.device import pick
    from regrow.train.precision import choose

    path = folder / "adapter" / "precision.json"
    if not path.is_file():
        write_json(path, choose(loop.precision, pick()).name)
    precision = choose(read_json(path))
    told = spec.model_dump()
    adapters = Adapters(model, **told, seed=context.seed, dtype=precision.dtype)
    return adapters, replace(loop, precision=precision.name)


def _replayed(
    context: StageContext,
    settings: SupervisedSettings,
    model: Any,
    tokenizer: Any,
    total: int,
    length: int,
) -> Any:
    """Rows of pretraining text. Raises RegrowError where the model has tokens of its own."""
    from regrow.corpus.foreign import Foreign

    if settings.mixture is None:
        raise RegrowError(f"{context.name} replays text and so needs settings.mixture")
    if isinstance(tokenizer, Foreign):
        raise RegrowError(
            f"{context.name} has a tokenizer of its own, and the corpus is in other tokens; leave "
            "settings.replay out"
        )
    return text_rows(context, settings.mixture, model, total, "replay", length)


def _pupil(context: StageContext, settings: SupervisedSettings) -> tuple[Any, Any]:
    """Who is to be tuned. An adapter is for the parent as it is."""
    return (parent_of if settings.lora else pupil_of)(context)


def supervised(context: StageContext) -> dict[str, Any]:
    """Tuning on demonstrations."""
    node, settings = context.node, context.node.settings if context.node else None
    assert node is not None and isinstance(settings, SupervisedSettings)
    model, tokenizer = _pupil(context, settings)
    shown = conversations(context, "demonstrations", "instructions")
    record = tune(context, model, tokenizer, settings, shown, node.tokens, context.folder)
    save(context, model, tokenizer)
    return record


def feedme(context: StageContext) -> dict[str, Any]:
    """FeedME: tuning on the parent's own samples that raters scored highest.

    With `demonstrations` a parent that was never tuned is first tuned on demonstrations, and its
    samples are learnt from together with them (the stage of text-davinci-002). Real prompts are
    left out where there are no real comparisons to learn a taste from.
    """
    from regrow.align.feedback import best_rated
    from regrow.model.folder import load_model, save_model

    node, settings = context.node, context.node.settings if context.node else None
    assert node is not None and isinstance(settings, FeedmeSettings)
    model, tokenizer = _pupil(context, settings)
    source = context.parent
    assert source is not None
    shown: list[Conversation] = []
    tokens = node.tokens
    record: dict[str, Any] = {}
    if settings.demonstrations:
        shown = conversations(context, "demonstrations", "instructions")
        first = context.folder / "supervised"
        tokens = node.tokens // 2
        if not (first / "record.json").is_file():
            told = tune(context, model, tokenizer, settings, shown, tokens, first)
            save_model(model, first)
            write_json(first / "record.json", told)
        model, record["supervised"] = load_model(first), read_json(first / "record.json")
        tokenizer.save(source := first)
    prompts = conversations(context, "prompts", "prompts")
    prompts = fitting(prompts, model, tokenizer, settings.length)
    asked = Asked(model, tokenizer, source, settings.length, settings.temperature)
    rated, told = feedme_samples(context, settings, asked, prompts)
    record |= told
    best = best_rated(rated, tokenizer, settings.keep)
    if not shown and not best:
        raise RegrowError(
            f"{context.name} finds no answer to {len(rated):,} prompts that ends within "
            f"{settings.length} tokens; raise settings.length, or tune its parent on demonstrations"
        )
    above = sum(max(one.ratings) >= settings.keep for one in rated)
    record |= {"prompts": len(rated), "kept": len(best), "rated_high": above}
    record |= tune(
        context, model, tokenizer, settings, [*shown, *best], tokens, context.folder, "samples"
    )
    save(context, model, tokenizer)
    return record
