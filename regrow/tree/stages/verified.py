"""GRPO on answers that can be verified: the final number, programs that pass their tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from regrow.errors import RegrowError
from regrow.records import Conversation
from regrow.tree.settings import GrpoSettings
from regrow.tree.stage import StageContext
from regrow.tree.stages.materials import conversations, fitting, pupil_of, save
from regrow.tree.stages.reinforcement import grown, loop_words, pretraining_rows


def grpo(context: StageContext) -> dict[str, Any]:
    """GRPO on the demonstrations, the world's and real ones, whose answers can be verified."""
    from regrow.align.grpo import Grpo, GrpoLoop
    from regrow.align.verify import verifiable

    settings = context.node.settings if context.node else None
    assert isinstance(settings, GrpoSettings)
    model, tokenizer = pupil_of(context)
    shown = verifiable(conversations(context, "demonstrations", "instructions"))
    wanted = [one for one in shown if one.check["kind"] in settings.verify]
    prompts = fitting(wanted, model, tokenizer, settings.length)
    if not prompts:
        raise RegrowError(
            f"{context.name} finds no demonstration that can be verified by {settings.verify} and "
            f"leaves room for {settings.length} tokens; give such under data.instructions, or "
            "lower settings.length"
        )
    loop = GrpoLoop(
        **loop_words(context, settings),
        clip_ratio=settings.clip_ratio,
        temperature=settings.temperature,
        pretraining_mix=settings.pretraining_mix,
    )
    mix = pretraining_rows(context, settings, model, loop)
    run = Grpo(model, verify, tokenizer, prompts, loop, seed=context.seed, mix=mix)
    record = {"grpo": grown(context, run, mix)}
    save(context, model, tokenizer)
    return record


def verify(prompts: Sequence[Conversation], answers: Sequence[str]) -> list[float]:
    """1 for each right answer and 0 for each wrong; programs run in the sandbox, all at once."""
    from regrow.align.verify import right_number
    from regrow.evaluate.sandbox import run_many

    pairs = list(zip(prompts, answers, strict=True))
    coded = [n for n, (prompt, _) in enumerate(pairs) if prompt.check["kind"] == "program"]
    verdicts = run_many([_job(*pairs[n]) for n in coded]) if coded else []
    passed = {n: verdict.passed for n, verdict in zip(coded, verdicts)}
    return [
        float(passed[n] if n in passed else right_number(*pair)) for n, pair in enumerate(pairs)
    ]


def _job(prompt: Conversation, answer: str) -> Any:
    from regrow.evaluate.judges import program
    from regrow.evaluate.sandbox import Job
    from regrow.records import Item

    asked, check = prompt.messages[-1].content, prompt.check
    item = Item(prompt.key, "code_generation", prompt.family, prompt.key, asked, (), check=check)
    return Job(program(item, answer), check["entry"], check["tests"])
