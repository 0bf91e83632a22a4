"""A reward model for a node that is grown already, fitted to files of preferences."""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regrow.errors import RegrowError
from regrow.files import lock, read_jsonl, write_json
from regrow.progress import Progress, silent
from regrow.tree.settings import RewardSettings


def fit_node(
    folder: Path,
    files: Sequence[Path],
    target: Path,
    settings: RewardSettings,
    *,
    tokens: int = 512,
    held: float = 0.1,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Fit a reward model to the preferences in `files`, keep it in `target`, return its figures.

    `held` of the prompts test it, before and after. Prompts with an answer of more than `tokens`
    are left out. Raises RegrowError where `target` has one already, or for too few preferences.
    """
    from regrow.align.fit import fit_reward
    from regrow.align.reward import RewardModel, save_reward
    from regrow.evaluate.agreement import summary, voted
    from regrow.seeds import rng
    from regrow.serve.speaker import Speaker
    from regrow.train.precision import choose
    from regrow.tree.stages.materials import training
    from regrow.tree.stages.rating import aside
    from regrow.tree.stages.rewards import LEAST

    if (target / "record.json").is_file():
        raise RegrowError(f"{target} holds a reward model already; give another --output")
    speaker = Speaker.load(folder)
    most = min(tokens, speaker.context)
    found = [(_name(file), group) for file in files for group in _groups(file, folder, speaker)]
    short = [(name, group) for name, group in found if max(map(len, group[0].rows)) <= most]
    order = rng(seed, "reward prompts").permutation(len(short))[: settings.prompts]
    chosen = [short[i] for i in order]
    learn, test = aside(chosen, [group[0].topic for _, group in chosen], seed, "reward", held)
    rankings = [one for _, group in learn for one in group if one.pairs()]
    if len(rankings) < LEAST:
        raise RegrowError(
            f"only {len(rankings)} of {len(found)} prompts can be learnt from; at least {LEAST} "
            "need answers of different rating that fit --tokens"
        )
    reward = RewardModel(copy.deepcopy(speaker.model), seed=seed)

    groups = [group for _, group in test]

    def tested() -> dict[str, Any]:
        """Figures on what was put aside, in the number format of the training."""
        copied = copy.deepcopy(reward).to(choose(settings.precision).dtype).eval()
        found = voted(copied, groups, speaker.tokenizer.pad)
        told, names = summary(found), dict.fromkeys(name for name, _ in test)
        if len(names) > 1:
            parts = {name: [v for v in found if test[v.prompt][0] == name] for name in names}
            told["by_file"] = {name: summary(part) for name, part in parts.items()}
        return told

    with lock(target):
        before = tested()
        record = fit_reward(
            reward, rankings, [],
            training(settings, len(rankings) * settings.epochs, seed, speaker.context),
            target, pad=speaker.tokenizer.pad, epochs=settings.epochs, held=0,
            parent=speaker.model if settings.likelihood else None,
            head_alone=settings.fitted == "head", progress=progress,
        )  # fmt: skip
        record |= tested() | {"before": before, "left_out": len(found) - len(short)}
        record |= {"files": [str(file) for file in files], "node": folder.resolve().name}
        save_reward(reward, target)
        write_json(target / "record.json", record)
    return record


def _name(file: Path) -> str:
    """What a file is called beside others: its folder where its own name says nothing."""
    stem = file.name.partition(".")[0]
    return file.resolve().parent.name if stem == "data" else stem


def _groups(file: Path, folder: Path, speaker: Any) -> list[list[Any]]:
    """The rankings in a file, side by side where several raters saw the same answers."""
    from regrow.align.feedback import load_rated, rank
    from regrow.tree.edge import weights_of
    from regrow.tree.stages.people import by_answers
    from regrow.tree.stages.rewards import compared

    first = next(read_jsonl(file), {})
    if not {"tokens", "ratings"} <= first.keys():
        return [[one] for one in compared([file], speaker.tokenizer, sys.maxsize)]
    rated, weights = load_rated(file), weights_of(folder)
    for number, one in enumerate(rated, 1):
        if one.weights != weights:
            raise RegrowError(
                f"{file} line {number} rates {one.node} with other weights than {folder} has; "
                "rate this node, or fit the reward model on that one"
            )
    return [[rank(one, speaker.tokenizer) for one in group] for group in by_answers(rated)]
