"""DPO: the same ratings as RLHF, learnt from without a reward model."""

from __future__ import annotations

from typing import Any

from regrow.tree.settings import DpoSettings
from regrow.tree.stage import StageContext
from regrow.tree.stages.materials import (
    blend,
    conversations,
    data_files,
    fitting,
    pupil_of,
    save,
    some,
    training,
)
from regrow.tree.stages.rating import Asked, aside, collected
from regrow.tree.stages.rewards import LEAST, compared


def dpo(context: StageContext) -> dict[str, Any]:
    """DPO on the parent's rated samples and on real comparisons."""
    from regrow.align.dpo import fit_dpo, sequence_of
    from regrow.align.feedback import ranked

    node, settings = context.node, context.node.settings if context.node else None
    assert node is not None and context.parent is not None and isinstance(settings, DpoSettings)
    model, tokenizer = pupil_of(context)
    prompts = fitting(conversations(context, "prompts", "prompts"), model, tokenizer,
                      settings.length)  # fmt: skip
    prompts = some([p for p in prompts if p.check], settings.prompts, context.seed, "dpo prompts")
    asked = Asked(model, tokenizer, context.parent, settings.length, settings.temperature)
    rated = collected(context, asked, prompts, settings.samples, context.folder / "rated.jsonl.gz")
    rankings = ranked(rated, tokenizer, settings.margin)
    if len(rankings) < LEAST:  # a weak parent's answers hardly differ: take any difference
        rankings = ranked(rated, tokenizer)
    if files := data_files(context, "comparisons"):
        real = compared(files[1], tokenizer, model.config.context)
        rankings = blend(rankings, real, files[0].share, context.seed)
    topics = [one.topic or str(n) for n, one in enumerate(rankings)]
    learn, test = aside(rankings, topics, context.seed, "dpo")
    sequence = sequence_of(learn, node.tokens, context.seed)
    record = fit_dpo(
        model,
        learn,
        sequence,
        test,
        training(settings, len(sequence), context.seed, model.config.context),
        context.folder,
        beta=settings.beta,
        pad=tokenizer.pad,
        progress=context.progress,
    )
    save(context, model, tokenizer)
    return {"dpo": record}
