"""Batches made ahead of time are those that would have been made, in whatever order asked."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import settings as trials
from hypothesis import strategies as st
from train_tiny import SETTINGS, run, weights

from regrow.train import loop
from regrow.train.prefetch import Prefetch, made_ahead
from regrow.train.schedule import plan

Pass = tuple[int, int, int]


def same(step: int, first: int, rows: int) -> Pass:
    return step, first, rows


def passes(batches: list[tuple[int, int]], micro: int) -> list[Pass]:
    return [
        (step, low, min(micro or rows, first + rows - low))
        for step, (first, rows) in enumerate(batches)
        for low in range(first, first + rows, micro or rows)
    ]


@pytest.mark.parametrize("micro", [0, 1, 3, 100])
def test_a_run_gets_its_own_batches_in_order(micro: int) -> None:
    batches = plan(30, 7)
    with Prefetch(same, batches, micro) as ahead:
        for wanted in passes(batches, micro):
            assert ahead(*wanted) == wanted


@given(st.lists(st.integers(0, 9), max_size=30), st.sampled_from([0, 2]))
@trials(max_examples=20, deadline=None)
def test_rewinds_and_skips_throw_away_what_was_made(steps: list[int], micro: int) -> None:
    batches = plan(40, 4)
    with Prefetch(same, batches, micro) as ahead:
        for step in steps:
            for wanted in passes(batches, micro):
                if wanted[0] == step:
                    assert ahead(*wanted) == wanted


def test_batches_are_made_on_another_thread_and_at_most_a_few_ahead() -> None:
    made: list[tuple[int, int]] = []

    def batch_of(step: int, first: int, rows: int) -> int:
        made.append((step, threading.get_ident()))
        return step

    with Prefetch(batch_of, plan(100, 1)) as ahead:
        assert ahead(0, 0, 1) == 0
        end = time.monotonic() + 10
        while len(made) < 4 and time.monotonic() < end:
            time.sleep(0.001)
        time.sleep(0.02)
        assert [step for step, _ in made] == [0, 1, 2, 3]  # two wait, one more is in hand
    assert threading.get_ident() not in {thread for _, thread in made}
    assert threading.active_count() == 1 or "batches" not in {t.name for t in threading.enumerate()}


def test_an_error_is_raised_where_its_batch_is_asked_for_and_not_before() -> None:
    def batch_of(step: int, first: int, rows: int) -> int:
        if step == 2:
            raise ValueError("row 2 is broken")
        return step

    with Prefetch(batch_of, plan(9, 1)) as ahead:
        assert [ahead(0, 0, 1), ahead(1, 1, 1)] == [0, 1]
        for _ in range(2):
            with pytest.raises(ValueError, match="row 2 is broken"):
                ahead(2, 2, 1)
            ahead = Prefetch(batch_of, plan(9, 1))


def test_a_training_run_with_batches_made_ahead_gives_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert made_ahead(same, [(0, 1)], 0, "cpu").__enter__() is same
    settings = replace(SETTINGS, total=60, micro=3)
    _, plain = run(tmp_path / "plain", settings)
    monkeypatch.setattr(loop, "made_ahead", lambda *given: made_ahead(*given[:3], "cuda"))
    _, ahead = run(tmp_path / "ahead", settings)
    assert torch.equal(weights(plain), weights(ahead))
