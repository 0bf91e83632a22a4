"""Pretraining, and going on from a parent on another mixture."""

from __future__ import annotations

from functools import partial
from typing import Any

from regrow.tree.settings import PretrainSettings
from regrow.tree.stage import StageContext
from regrow.tree.stages.materials import (
    conversation_rows,
    conversations,
    holds_turns,
    on_the_way,
    parent_of,
    read,
    save,
    text_rows,
    training,
)


def pretrain(context: StageContext) -> dict[str, Any]:
    """Next-token prediction from nothing, or on from the parent."""
    from regrow.align.fit import fit_rows
    from regrow.align.rows import MixedRows, Rows
    from regrow.align.turns import begin_as_words
    from regrow.corpus.tokenizer import Tokenizer
    from regrow.model.decoder import Decoder
    from regrow.model.induction import wire_induction
    from regrow.model.stretch import at_context
    from regrow.seeds import derive

    node, settings = context.node, context.node.settings if context.node else None
    assert node is not None and isinstance(settings, PretrainSettings)
    if node.model is not None:
        tokenizer = Tokenizer.load(context.corpus)
        spec = context.recipe.models[node.model]
        weights = derive(context.seed, context.name, "weights") % 2**31
        model = Decoder(spec.config(tokenizer.vocabulary), seed=weights)
        if spec.init == "induction":
            wire_induction(model, seed=weights)
    else:
        model, tokenizer = parent_of(context)
        if settings.context:
            model = at_context(
                model, settings.context, derive(context.seed, context.name, "places")
            )
    total = max(1, node.tokens // model.config.context)
    text = text_rows(context, settings.mixture, model, total, "text")
    supply: Rows = text
    changes: tuple[int, ...] = ()
    alters = {}
    if settings.finish:
        shown = conversations(context, "demonstrations", "instructions")
        answers = conversation_rows(context, model, tokenizer, shown)
        share = settings.finish.share
        start = round(total * (1 - settings.finish.portion))
        supply = MixedRows([text, answers], [1 - share, share], total, context.seed, start)
        changes = (start,)
        if not holds_turns(context.parent):
            alters = {start: partial(begin_as_words, tokenizer=tokenizer)}
    summary = fit_rows(
        model,
        supply,
        training(settings, total, context.seed, model.config.context, changes),
        context.folder,
        z_loss=settings.z_loss,
        packing=settings.packing,
        progress=context.progress,
        marks=on_the_way(context, settings.measure_at, model, tokenizer, total),
        alters=alters,
    )
    save(context, model, tokenizer)
    flops = model.config.flops_per_token() * summary.tokens
    mixing = text.schedule.report()
    seen = read(supply, summary.seen, context.run)
    mixing["epochs"] = {name: told.get("epochs") for name, told in seen["sources"].items()}
    return {
        "training": summary.to_dict(), "flops": flops, **mixing, "read": seen, "optimizer": "reset",
        "rows_total": total, "context": model.config.context, "parameters": model.config.parameters,
    }  # fmt: skip
