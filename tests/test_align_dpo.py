"""DPO by hand, and learning what was preferred."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from rl_tiny import tiny

from regrow.align.dpo import (
    batch_loss,
    fit_dpo,
    implicit_rewards,
    parted,
    preferred,
    sequence_of,
)
from regrow.align.reward import Ranked
from regrow.errors import RegrowError
from regrow.model.decoder import Decoder
from regrow.train.loop import TrainSettings
from regrow.train.optim import OptimSettings

pytestmark = pytest.mark.usefixtures("one_thread")


def moved(seed: int = 3) -> torch.nn.Module:
    policy = tiny()
    noise = torch.Generator().manual_seed(seed)
    for weight in policy.parameters():
        weight.data += 0.05 * torch.randn(weight.shape, generator=noise)
    return policy


def sum_of_logs(model: torch.nn.Module, row: tuple[int, ...], start: int) -> float:
    ids = torch.tensor([row])
    logs = torch.log_softmax(model.logits(model(ids[:, :-1])), -1)[0]
    return sum(logs[t, row[t + 1]].item() for t in range(start - 1, len(row) - 1))


def test_rows_count_from_where_they_part() -> None:
    ids, answer = parted(Ranked(((5, 6, 7, 8), (5, 6, 9)), (1.0, 0.0)), pad=0)
    assert ids.tolist() == [[5, 6, 7, 8], [5, 6, 9, 0]]
    assert answer.tolist() == [[0, 1, 1], [0, 1, 0]]


def test_an_answer_that_another_begins_with_has_nothing_of_its_own() -> None:
    _, answer = parted(Ranked(((5, 6, 7), (5, 6)), (1.0, 0.0)), pad=0)
    assert answer.tolist() == [[0, 1], [0, 0]]


def test_the_loss_is_equation_7() -> None:
    policy, reference = moved(), tiny()
    better, worse = (30, 31, 40, 41, 42), (30, 31, 40, 50)
    loss, tokens = batch_loss(policy, reference, [Ranked((better, worse), (6.0, 2.0))], 1, 0.3)
    # Over whole answers, prompt (two ids) excluded: what they share cancels.
    ratios = [sum_of_logs(policy, row, 2) - sum_of_logs(reference, row, 2)
              for row in (better, worse)]  # fmt: skip
    wanted = -math.log(1 / (1 + math.exp(-0.3 * (ratios[0] - ratios[1]))))
    assert float(loss.detach()) == pytest.approx(wanted, abs=1e-5)
    assert abs(wanted - math.log(2)) > 0.01
    assert tokens == 3


def test_every_pair_of_a_prompt_counts_and_ties_do_not() -> None:
    policy, reference = moved(), tiny()
    rows = ((30, 40), (30, 41), (30, 42))
    loss, _ = batch_loss(policy, reference, [Ranked(rows, (3.0, 1.0, 1.0))], 1, 0.3)
    apart = [batch_loss(policy, reference, [Ranked((rows[0], other), (3.0, 1.0))], 1, 0.3)[0]
             for other in rows[1:]]  # fmt: skip
    assert float(loss.detach()) == pytest.approx(float(sum(apart).detach()) / 2, abs=1e-6)


def test_before_any_step_an_answer_is_worth_nothing_and_the_loss_is_log_2() -> None:
    policy = tiny()
    ranked = Ranked(((30, 40, 41), (30, 42)), (3.0, 1.0))
    ids, answer = parted(ranked, 1)
    assert implicit_rewards(policy, copy.deepcopy(policy), ids, answer, 0.1).tolist() == [0.0, 0.0]
    loss, _ = batch_loss(policy, copy.deepcopy(policy), [ranked], 1, 0.1)
    assert float(loss.detach()) == pytest.approx(math.log(2))


#: Answers that begin with 20 are better than those that begin with 21, whatever was asked.
RANKED = [Ranked(((n, 20, m), (n, 21, m)), (6.0, 2.0)) for n in range(30, 60) for m in (70, 71)]


def taught(policy: Decoder, test: Sequence[Ranked], folder: Path, tokens: int) -> dict[str, Any]:
    learn = RANKED[:54]
    sequence = sequence_of(learn, tokens, seed=5)
    optim = OptimSettings("adamw", rate=1e-3, decay=0.0)
    settings = TrainSettings(len(sequence), rows=4, seed=5, precision="fp32", optim=optim, every=5)
    return fit_dpo(policy, learn, sequence, test, settings, folder, beta=0.1, pad=1)


def test_it_learns_what_was_preferred_also_for_prompts_never_seen(tmp_path: Path) -> None:
    policy = tiny()
    told = taught(policy, RANKED[54:], tmp_path, tokens=2400)
    # All held-out pairs: of 6 by chance once in 64 times, and their margin is no tie.
    assert (told["accuracy"], told["pairs"], told["prompts"]) == (1.0, 6, 54)
    unseen = [Ranked(((n, 20, 72), (n, 21, 72)), (6.0, 2.0)) for n in range(80, 120)]
    right, pairs = preferred(policy, tiny(), unseen, 1)
    assert (right > 0.9, pairs) == (True, 40)  # chance: half, with an error of .08


def test_tokens_say_how_long_it_learns(tmp_path: Path) -> None:
    told = taught(tiny(), (), tmp_path, tokens=2 * 54 * 6)
    assert (told["epochs"], told["training"]["rows"]) == (2.0, 108)


def test_stopped_and_gone_on_with_it_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learnt(folder: Path) -> torch.Tensor:
        policy = tiny()
        taught(policy, (), folder, tokens=480)
        return torch.cat([weight.flatten() for weight in policy.parameters()])

    whole = learnt(tmp_path / "whole")
    calls = iter(range(100))

    def stopped(*given: object) -> object:
        if next(calls) == 13:
            raise KeyboardInterrupt
        return batch_loss(*given)

    monkeypatch.setattr("regrow.align.dpo.batch_loss", stopped)
    with pytest.raises(KeyboardInterrupt):
        learnt(tmp_path / "stopped")
    assert torch.equal(learnt(tmp_path / "stopped"), whole)
    assert next(calls) == 24  # of 20 steps 13 were done, and ten of these kept


def test_too_few_rankings_are_refused_with_the_way_out() -> None:
    with pytest.raises(RegrowError, match="lower margin"):
        sequence_of(RANKED[:3], tokens=9, seed=5)
