"""How well a reward model agrees with raters: accuracy, its ceiling, and calibration.

A vote is one rater's preference in one pair of answers; ties are no votes. Votes on one prompt, or
on prompts of one topic, are not independent, so every error is clustered by them.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from regrow.align.reward import Ranked, RewardModel, score_ranked
from regrow.evaluate.statistics import clustered_error, paired_bootstrap

BINS = 5


class Vote(NamedTuple):
    """One rater's preference, and what the model and other raters make of it.

    `prompt` numbers the prompts, `topic` names the cluster. `hit`: whether the model orders the
    pair alike, .5 if it sees no difference. `sure`: sigmoid of the rewards' difference, .5 to 1.
    `others`: the share of the other raters with a vote in the pair who vote alike, nan for none.
    """

    prompt: int
    topic: Hashable
    pair: tuple[int, int]
    hit: float
    sure: float
    others: float


def agreement(model: RewardModel, held: Sequence[Sequence[Ranked]], pad: int) -> dict[str, Any]:
    """How a model agrees with raters it never learnt from, on prompts it never learnt from.

    `held` has for each prompt the same answers as each of its raters ranks them.
    """
    return summary(voted(model, held, pad))


def voted(model: RewardModel, held: Sequence[Sequence[Ranked]], pad: int) -> list[Vote]:
    """Every vote on the held-out answers, with what the model makes of it."""
    return votes(score_ranked(model, [group[0] for group in held], pad), held)


def votes(scores: np.ndarray, held: Sequence[Sequence[Ranked]]) -> list[Vote]:
    """Every vote on the answers whose rewards [n] stand in `scores`, prompt after prompt."""
    found, start = [], 0
    for number, group in enumerate(held):
        preferred = [set(one.pairs()) for one in group]
        for i, j in combinations(range(len(group[0].rows)), 2):
            said = [(i, j) in mine for mine in preferred if {(i, j), (j, i)} & mine]
            apart = float(scores[start + i]) - float(scores[start + j])
            sure = 1 / (1 + math.exp(-min(abs(apart), 500.0)))
            for likes in said:
                others = (said.count(likes) - 1) / (len(said) - 1) if len(said) > 1 else math.nan
                hit = 0.5 if apart == 0 else float(likes == (apart > 0))
                found.append(Vote(number, group[0].topic or number, (i, j), hit, sure, others))
        start += len(group[0].rows)
    return found


def summary(found: Sequence[Vote]) -> dict[str, Any]:
    """Plain values for a record; figures that the votes cannot give are None.

    `agreement` between raters is the ceiling of `accuracy`: a second rater in the model's place.
    `of_agreement` is their ratio where there was a second rater, with its 95 % interval.
    """
    topics = [vote.topic for vote in found]
    hits = [vote.hit for vote in found]
    pairs = len({(vote.prompt, vote.pair) for vote in found})
    told: dict[str, Any] = {"accuracy": None, "accuracy_error": None, "agreement": None}
    told |= {
        "pairs": pairs,
        "votes": len(found),
        "held_prompts": len({vote.prompt for vote in found}),
    }
    if not found:
        return told
    told |= {
        "accuracy": round(float(np.mean(hits)), 4),
        "accuracy_error": round(clustered_error(hits, topics)[0], 4),
    }
    table = calibration(found)
    off = sum(row["votes"] * abs(row["predicted"] - row["agreed"]) for row in table)
    told |= {"calibration_error": round(off / len(found), 4), "calibration": table}
    shared = [vote for vote in found if not math.isnan(vote.others)]
    if shared:
        others, own = [vote.others for vote in shared], [vote.hit for vote in shared]
        clusters = [vote.topic for vote in shared]
        told["agreement"] = round(float(np.mean(others)), 4)
        told["agreement_error"] = round(clustered_error(others, clusters)[0], 4)
        if any(others):
            ratio = paired_bootstrap(others, own, clusters, ratio=True)
            told["of_agreement"] = round(ratio.difference, 4)
            told["of_agreement_interval"] = [round(ratio.low, 4), round(ratio.high, 4)]
    return told


def calibration(found: Sequence[Vote]) -> list[dict[str, Any]]:
    """The reliability table: how sure the model was, and the share of votes that agreed with it.

    Equal steps of sigmoid(difference) from .5 to 1 (Guo et al. 2017, eq. 3); empty ones left out.
    """
    rows = []
    for step in range(BINS):
        low, high = 0.5 + 0.5 * step / BINS, 0.5 + 0.5 * (step + 1) / BINS
        within = [v for v in found if low <= v.sure < high or (step == BINS - 1 and v.sure >= high)]
        if within:
            rows.append(
                {
                    "from": round(low, 2), "to": round(high, 2), "votes": len(within),
                    "predicted": round(float(np.mean([v.sure for v in within])), 4),
                    "agreed": round(float(np.mean([v.hit for v in within])), 4),
                }
            )  # fmt: skip
    return rows
