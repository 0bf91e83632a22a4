"""The guard against over-optimisation: by hand, and in a run whose reward model is wrong."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from test_align_rlhf import LOOP, Killed, make, tokenizer

from regrow.align.overoptimisation import GoldGuard
from regrow.align.rlhf import Rlhf
from regrow.corpus.tokenizer import Tokenizer

__all__ = ["tokenizer"]


def test_it_speaks_once_a_whole_window_is_seen() -> None:
    guard = GoldGuard(window=2, fall=0.5)
    assert [guard.note(4.0, 0.0), guard.note(5.0, 0.0)] == ["", "best"]
    assert guard.best == 4.5


def test_gold_that_falls_under_a_rising_reward_is_called_out() -> None:
    guard = GoldGuard(window=1, fall=0.5)
    guard.note(4.0, 1.0)
    assert guard.note(3.6, 2.0) == ""  # within the fall that is allowed
    assert guard.note(3.4, 0.5) == ""  # the reward fell too: no over-optimisation
    assert guard.note(3.4, 2.0) == "fell"
    assert guard.note(4.1, 0.5) == "best"


def test_it_gives_up_after_so_many_returns() -> None:
    guard = GoldGuard(window=1, fall=0.1, returns=1)
    guard.note(4.0, 0.0)
    assert (guard.note(3.0, 1.0), guard.over) == ("fell", False)
    assert (guard.note(3.0, 1.0), guard.over) == ("fell", True)


def test_its_state_goes_on_where_it_was() -> None:
    guard = GoldGuard(window=3)
    series = [(4.0, 0.1), (4.2, 0.2), (4.1, 0.3), (3.5, 0.6), (3.4, 0.9), (3.3, 1.2)]
    for gold, reward in series[:4]:
        guard.note(gold, reward)
    other = GoldGuard(**guard.state())
    assert [guard.note(*pair) for pair in series[4:]] == [other.note(*pair) for pair in series[4:]]


def opposed(tokenizer: Tokenizer, steps: int) -> Rlhf:
    """A run whose gold score falls with every token that the reward model likes."""
    run = make(tokenizer, replace(LOOP, steps=steps, gold_fall=0.3))
    prompts = [replace(prompt, check={"kind": "any"}) for prompt in run.prompts]

    def gold(prompt: object, answer: str) -> float:
        ids = tokenizer.encode(answer)
        return 4.0 - sum(9 <= i < run.policy.config.vocabulary // 2 for i in ids)

    return Rlhf(run.policy, run.reward, tokenizer, prompts, run.loop, seed=1, gold=gold)


def test_a_run_ends_at_its_best_by_gold(tokenizer: Tokenizer, tmp_path: Path) -> None:
    figures = opposed(tokenizer, 25).run(tmp_path)
    golds = [line["gold"] for line in figures["steps"]]
    assert figures["returned"] >= 1
    assert any("returned" in line for line in figures["steps"])
    assert figures["best"] == pytest.approx(
        max(sum(golds[i : i + 5]) / 5 for i in range(len(golds) - 4)), abs=0.3
    )
    kept = opposed(tokenizer, 25)
    kept.run(tmp_path)  # the last checkpoint is found: nothing is left to do but to keep the best
    _, _, after = kept.roll_out(0)
    assert after["gold"] > min(golds) + 0.3


def test_a_stopped_run_ends_with_the_same_bits(tokenizer: Tokenizer, tmp_path: Path) -> None:
    def digest(run: Rlhf) -> str:
        return hashlib.sha256(run.optimizer.trainable.master.numpy().tobytes()).hexdigest()

    whole = opposed(tokenizer, 14)
    whole.run(tmp_path / "whole")

    def stop(done: float, total: float, **metrics: object) -> None:
        if done == 9:
            raise Killed

    with pytest.raises(Killed):
        opposed(tokenizer, 14).run(tmp_path / "killed", stop)
    again = opposed(tokenizer, 14)
    again.run(tmp_path / "killed")
    assert digest(again) == digest(whole)
