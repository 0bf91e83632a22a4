"""What the stages that train draw on: parents, rows, conversations, prompts and ratings."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.files import read_jsonl
from regrow.records import Conversation, Item
from regrow.train.schedule import Ramp, Schedule, plan
from regrow.tree.settings import Training
from regrow.tree.sources import DataSpec
from regrow.tree.stage import StageContext


def training(
    settings: Training, total: int, seed: int, length: int, changes: tuple[int, ...] = ()
) -> Any:
    """The loop's settings for `total` rows of `length` tokens from the words of a recipe; at the
    rows `changes` other data begin."""
    from regrow.train.guard import GuardSettings
    from regrow.train.loop import TrainSettings
    from regrow.train.optim import OptimSettings
    from regrow.train.script import Intervention

    optim = OptimSettings(
        name=settings.optimizer,
        rate=settings.rate,
        adam_rate=settings.adam_rate,
        decay=settings.weight_decay,
        decays=settings.decays,
        betas=settings.betas,
        clip=settings.clip,
        average=settings.average,
    )
    by_hand = tuple(Intervention(**one.model_dump()) for one in settings.guard.script)
    guard = GuardSettings(**(settings.guard.model_dump() | {"script": by_hand}))
    steps = max(1, total // settings.rows)
    ramp = Ramp()
    if total >= settings.rows:
        ramp = settings.batch_ramp(round(_share(settings.ramp, total, length) * total))
    return TrainSettings(
        total=total,
        rows=min(settings.rows, total),
        seed=seed,
        precision=settings.precision,
        optim=optim,
        ramp=ramp,
        schedule=_schedule(settings, total, length, ramp),
        every=max(25, min(100, steps // 10)),
        guard=guard,
        changes=changes,
    )


def _share(span: float, total: int, length: int) -> float:
    """A span as a share of `total` rows: it is one up to 1, and tokens above."""
    return span if span <= 1 else span / (total * length)


def _schedule(settings: Training, total: int, length: int, ramp: Ramp) -> Schedule:
    """How the rate changes; linear and cosine fall from the end of the warm-up on."""
    batches = plan(total, min(settings.rows, total), ramp)
    warmup = min(settings.warmup, max(1, max(1, total // settings.rows) // 4))
    warm = min(1.0, settings.warmup_tokens / (total * length))
    shape: str
    if settings.schedule == "wsd":
        shape, decay, end = settings.cooldown, settings.decay, 1.0
    elif settings.schedule in ("linear", "cosine"):
        shape, end = settings.schedule, _share(settings.floor_at, total, length)
        decay = max(0.0, end - (warm or batches[min(warmup, len(batches) - 1)][0] / total))
    else:
        shape, decay, end = settings.schedule, 0.0, 1.0
    return Schedule(warmup, decay, shape, settings.floor, end, settings.hold, warm)


def parent_of(context: StageContext) -> tuple[Any, Any]:
    """The parent's model and tokenizer."""
    from regrow.corpus.tokenizer import Tokenizer
    from regrow.model.folder import load_model

    if context.parent is None:
        raise RegrowError(f"{context.name} needs a parent")
    return load_model(context.parent), Tokenizer.load(context.parent)


def pupil_of(context: StageContext) -> tuple[Any, Any]:
    """The parent's model and tokenizer, ready to learn from turns: where no forebear ever met
    their tokens, these begin as words do."""
    from regrow.align.turns import begin_as_words

    model, tokenizer = parent_of(context)
    if not holds_turns(context.parent):
        begin_as_words(dict(model.named_parameters()), tokenizer)
    return model, tokenizer


def holds_turns(folder: Path | None) -> bool:
    """Whether a node has learnt the tokens of turns, by tuning or at the end of pretraining."""
    from regrow.evaluate.measure import forebears, speaks_chat

    if folder is None:
        return False
    inputs = [edge.get("inputs", {}) for _, edge in forebears(folder)]
    return speaks_chat(folder) or any("settings.finish.share" in given for given in inputs)


def save(context: StageContext, model: Any, tokenizer: Any) -> None:
    """Write the node as a Hugging Face folder."""
    _write(context.folder, model, tokenizer)


def _write(folder: Path, model: Any, tokenizer: Any, weights: Any = None) -> None:
    from regrow.model.folder import save_model

    stops = list(dict.fromkeys((tokenizer.eos, tokenizer.end)))  # of a text, of a turn
    tokenizer.save(folder)
    save_model(model, folder, eos=stops, pad=tokenizer.pad, weights=weights)


def on_the_way(
    context: StageContext, shares: Sequence[float], model: Any, tokenizer: Any, total: int
) -> dict[int, Any]:
    """What training calls at these shares of `total` rows: the model as it is there is kept as a
    folder of its own, `at/SHARE`, to be measured (`regrow.tree.stages.outcome`)."""
    from regrow.evaluate.passage import folder_at

    due: dict[int, list[float]] = {}  # shares of a short stage may fall on one row
    for share in shares:
        due.setdefault(max(1, round(share * total)), []).append(share)

    def keep(row: int, weights: Any) -> None:
        for share in due[row]:
            _write(folder_at(context.folder, share), model, tokenizer, weights)

    return dict.fromkeys(due, keep)


def text_rows(
    context: StageContext,
    mixture: str,
    model: Any,
    rows: int,
    purpose: str,
    length: int | None = None,
) -> Any:
    """Rows of a mixture of the recipe, of `length` tokens or as long as the model's context."""
    from regrow.align.rows import TextRows
    from regrow.corpus.mixture import Schedule
    from regrow.corpus.shards import Shards
    from regrow.seeds import derive

    seed = derive(context.seed, context.name, purpose)
    shards = Shards.open(context.corpus)
    tokens = {source: shards.count(source) for source in shards.sources}
    weights = context.recipe.mixture(mixture, tokens)
    most = context.recipe.mixtures[mixture].max_epochs
    length = length or model.config.context
    return TextRows(Schedule(shards, weights, length, seed, rows, most))


def data_files(context: StageContext, kind: str) -> tuple[DataSpec, list[Path]] | None:
    """The real data of a kind, where the recipe names some and their folder."""
    data = context.recipe.data
    files = list(data.files(kind)) if data else []
    return (data, files) if data and files else None


def world_rows(context: StageContext, name: str) -> list[Conversation]:
    """The conversations of one of the world's files."""
    return [Conversation.from_row(row) for row in read_jsonl(context.world / f"{name}.jsonl")]


def blend(world: list[Any], real: list[Any], share: float, seed: int) -> list[Any]:
    """World and real examples so that `share` of them are real, none repeated."""
    from regrow.seeds import rng

    if not real:
        return world
    if share >= 1:
        return real
    wanted = round(len(world) * share / (1 - share))
    chosen = rng(seed, "blend").permutation(len(real))[:wanted]
    return world + [real[i] for i in chosen]


def conversations(context: StageContext, world: str, kind: str) -> list[Conversation]:
    """Demonstrations or dialogues, from the world and from the real data of the recipe.

    Rows of the real data that give none are noted beside the node (`regrow.tree.stages.reading`).
    """
    from regrow.align.readers import read_demonstrations, read_prompts
    from regrow.align.tables import Tally
    from regrow.tree.stages import reading

    rows = world_rows(context, world)
    found = data_files(context, kind)
    if found is None:
        return rows
    data, files = found
    read = read_prompts if kind == "prompts" else read_demonstrations
    tallies = [Tally(name) for name in getattr(data, kind)]
    real = [one for file, tally in zip(files, tallies) for one in read(file, tally)]
    clean = uncontaminated(context, real)
    reading.note(context.folder, kind, tallies, contaminated=len(real) - len(clean))
    return blend(rows, clean, data.share, context.seed)


def real_items(context: StageContext) -> list[Item]:
    """The items of the recipe's benchmarks and of its own abilities."""
    from regrow.evaluate.benchmarks import read_benchmarks
    from regrow.evaluate.ownability import own_items

    abilities, found = context.recipe.abilities, data_files(context, "benchmarks")
    own = own_items(abilities.own, Path(abilities.data)) if abilities.own else []
    return (read_benchmarks(found[1]) if found else []) + own


def uncontaminated(context: StageContext, real: list[Conversation]) -> list[Conversation]:
    """Real conversations in which no real item stands, by the corpus's n-grams."""
    from regrow.corpus.decontaminate import find
    from regrow.corpus.grams import hash_words

    items = real_items(context)
    if not items:
        return real
    words = hash_words(" ".join(turn.content for turn in talk.messages) for talk in real)
    hits = find(words, items, context.recipe.corpus.decontaminate)
    hit = {one.document for one in hits}
    return [talk for number, talk in enumerate(real) if number not in hit]


def fitting(
    prompts: Sequence[Conversation], model: Any, tokenizer: Any, length: int
) -> list[Conversation]:
    """The prompts that leave room for an answer of `length` tokens."""
    room = model.config.context - length
    return [p for p in prompts if len(tokenizer.chat(p.messages, answer=True)[0]) <= room]


def conversation_rows(
    context: StageContext,
    model: Any,
    tokenizer: Any,
    conversations: Sequence[Conversation],
    name: str = "demonstrations",
    length: int | None = None,
) -> Any:
    """Conversations packed into rows of `length` tokens or of the model's context; `name` says
    what they are."""
    from regrow.align.rows import ConversationRows
    from regrow.seeds import derive

    seed = derive(context.seed, context.name, "tuning")
    length = length or model.config.context
    return ConversationRows(conversations, tokenizer, length, seed, name)


def read(supply: Any, seen: Iterable[tuple[int, int]], run: Path) -> dict[str, Any]:
    """What the rows [first, end) that were seen held, by source, for the edge record of a run.

    `rows` makes the same rows again, so that `regrow trace` can tell their documents. Epochs are
    of the tokens learnt from; conversations have none, as only their answers are learnt from.
    """
    from regrow.corpus.reads import tally
    from regrow.tree.stages.provenance import items_met

    told = supply.told()
    sizes = supply_sizes(supply)
    sources: dict[str, dict[str, float]] = {}
    tallies = tally(r for first, end in seen for r in supply.readings(first, end))
    for source, own in tallies.items():
        tokens = int(own.tokens.sum())
        sources[source] = {"documents": len(own.documents), "tokens": tokens}
        if source in sizes:
            sources[source]["epochs"] = round(tokens / sizes[source], 4)
    met = [items_met(run, schedule.shards, tallies) for schedule in _schedules(supply)[:1]]
    return {"rows": told, "sources": sources, **(met[0] if met else {})}


def _schedules(supply: Any) -> list[Any]:
    """The schedules of the texts in a supply."""
    found = (getattr(one, "schedule", None) for one in getattr(supply, "supplies", [supply]))
    return [schedule for schedule in found if schedule]


def supply_sizes(supply: Any) -> dict[str, int]:
    """Tokens by source, of the texts in a supply."""
    return {
        name: schedule.shards.count(name)
        for schedule in _schedules(supply)
        for name in schedule.names
    }


def some(rows: list[Conversation], count: int, seed: int, purpose: str) -> list[Conversation]:
    """At most `count` of the rows, drawn by seed."""
    from regrow.seeds import rng

    order = rng(seed, purpose).permutation(len(rows))[:count]
    return [rows[i] for i in order]
