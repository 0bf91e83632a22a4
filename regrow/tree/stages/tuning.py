"""Supervised tuning on demonstrations, and FeedME."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.files import read_json, write_json
from regrow.records import Conversation
from regrow.tree.settings import FeedmeSettings, SupervisedSettings
from regrow.tree.stage import StageContext
from regrow.tree.stages.choosing import feedme_samples
from regrow.tree.stages.materials import (
    conversation_rows,
    conversations,
    fitting,
    parent_of,
    read,
    save,
    text_rows,
    training,
)
from regrow.tree.stages.rating import Asked


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

    total = max(1, tokens // model.config.context)
    supplies: list[Rows] = [conversation_rows(context, model, tokenizer, shown, name)]
    shares = [1.0 - settings.dialogues - settings.replay]
    if settings.dialogues:
        talks = conversations(context, "dialogues", "dialogues")
        supplies.append(conversation_rows(context, model, tokenizer, talks, "dialogues"))
        shares.append(settings.dialogues)
    if settings.replay:
        if settings.mixture is None:
            raise RegrowError(f"{context.name} replays text and so needs settings.mixture")
        supplies.append(text_rows(context, settings.mixture, model, total, "replay"))
        shares.append(settings.replay)
    supply = MixedRows(supplies, shares, total, context.seed)
    summary = fit_rows(
        model,
        supply,
        training(settings, total, context.seed, model.config.context),
        folder,
        z_loss=settings.z_loss,
        packing=settings.packing,
        progress=context.progress,
    )
    return {
        "training": summary.to_dict(), "demonstrations": len(shown), "optimizer": "reset",
        "read": read(supply, summary.seen),
    }  # fmt: skip


def supervised(context: StageContext) -> dict[str, Any]:
    """Tuning on demonstrations."""
    node, settings = context.node, context.node.settings if context.node else None
    assert node is not None and isinstance(settings, SupervisedSettings)
    model, tokenizer = parent_of(context)
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
    model, tokenizer = parent_of(context)
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
    best = best_rated(rated, settings.keep)
    above = sum(max(one.ratings) >= settings.keep for one in rated)
    record |= {"prompts": len(rated), "kept": len(best), "rated_high": above}
    record |= tune(
        context, model, tokenizer, settings, [*shown, *best], tokens, context.folder, "samples"
    )
    save(context, model, tokenizer)
    return record
