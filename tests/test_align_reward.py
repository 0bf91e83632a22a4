"""Reward models: K-wise loss by hand, where the score is read, and what is saved."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rl_tiny import tiny, tiny_tokenizer

from regrow.align.feedback import HEAVIEST, Rated, ranked
from regrow.align.fit import fit_reward, fit_rows
from regrow.align.probe import RIDGE, fit_likelihood
from regrow.align.reward import (
    Ranked,
    RewardModel,
    accuracy,
    batch_loss,
    load_reward,
    ranking_loss,
    save_reward,
    score_ranked,
    score_rows,
    with_sureness,
)
from regrow.align.rows import ConversationRows
from regrow.errors import RegrowError
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.rows import right_pad
from regrow.records import Conversation, Message
from regrow.train.loop import TrainSettings
from regrow.train.optim import OptimSettings
from regrow.tree.settings import RewardSettings

CONFIG = ModelConfig(vocabulary=13, width=8, layers=1, heads=2, kv_heads=2, hidden=16, context=16)


def test_ties_make_no_pair() -> None:
    assert Ranked(((1,), (2,), (3,)), (5.0, 5.0, 2.0)).pairs() == [(0, 2), (1, 2)]


def test_ratings_within_the_margin_are_ties() -> None:
    assert Ranked(((1,), (2,), (3,)), (5.0, 4.0, 2.0), margin=1.0).pairs() == [(0, 2), (1, 2)]


def test_each_prompt_counts_once_however_many_pairs_it_has() -> None:
    rewards = torch.tensor([1.0, 0.0, 2.0, 0.0, 0.0])
    sure = torch.nn.functional.softplus(torch.tensor(-1.0))
    many = torch.nn.functional.softplus(torch.tensor(-2.0))
    got = ranking_loss(rewards, [[(0, 1)], [(2, 3), (2, 4)]])
    assert float(got) == pytest.approx(float((sure + many) / 2))


def test_score_is_read_at_the_last_real_token_whatever_the_padding() -> None:
    model = RewardModel(Decoder(CONFIG, seed=3), seed=1)
    alone, length = right_pad([[4, 5, 6]])
    together, lengths = right_pad([[4, 5, 6], [7, 8, 9, 10, 11]])
    last, places = length - 1, lengths - 1
    assert places.tolist() == [2, 4]
    assert torch.allclose(model(alone, last)[0], model(together, places)[0], atol=1e-6)
    assert score_rows(model, [[7, 8, 9, 10, 11], [4, 5, 6]], 0, [1, 1])[1] == pytest.approx(
        float(model(alone, last)[0]), abs=1e-5
    )


def test_saved_model_scores_the_same_with_its_bias(tmp_path: Path) -> None:
    model = RewardModel(Decoder(CONFIG, seed=3), seed=1)
    model.get_buffer("bias").fill_(0.7)
    save_reward(model, tmp_path)
    again = load_reward(tmp_path)
    found, kept = (score_rows(one, [[1, 2, 3]], 0, [1]) for one in (again, model))
    assert found == pytest.approx(kept)
    model.parent = Decoder(CONFIG, seed=5)
    model.get_buffer("likelihood").fill_(2.0)
    save_reward(model, tmp_path)
    again = load_reward(tmp_path)
    assert score_rows(again, [[1, 2, 3]], 0, [1]) != pytest.approx(found)
    assert score_rows(again, [[1, 2, 3]], 0, [1]) == score_rows(model, [[1, 2, 3]], 0, [1])


def test_broken_reward_file_is_named(tmp_path: Path) -> None:
    save_reward(RewardModel(Decoder(CONFIG)), tmp_path)
    (tmp_path / "reward.safetensors").write_bytes(b"rubbish")
    with pytest.raises(RegrowError, match=r"reward\.safetensors"):
        load_reward(tmp_path)


def test_accuracy_counts_pairs_ordered_as_rated() -> None:
    model = RewardModel(Decoder(CONFIG, seed=3), seed=1)
    rows = ((1, 2), (3, 4), (5, 6))
    scores = score_rows(model, rows, 0, [1, 1, 1])
    held = [Ranked(rows, tuple(float(s) for s in scores))]
    assert accuracy(model, held, 0) == (1.0, 3)
    worst = [Ranked(rows, tuple(float(-s) for s in scores))]
    assert accuracy(model, worst, 0) == (0.0, 3)


def test_all_pairs_of_a_prompt_stand_in_one_batch_element_and_are_averaged() -> None:
    model = RewardModel(Decoder(CONFIG, seed=3), seed=1)
    rows = ((1, 2), (3, 4, 5), (5, 6), (7, 8))
    batch = [Ranked(rows[:3], (3.0, 1.0, 2.0)), Ranked(rows[2:], (1.0, 2.0))]
    a, b, c, d = (float(score) for score in score_rows(model, rows, 0, [1] * 4))

    def wrong(better: float, worse: float) -> float:
        return math.log1p(math.exp(worse - better))

    first = (wrong(a, b) + wrong(a, c) + wrong(c, b)) / 3  # C(3, 2) pairs, once each
    loss, tokens = batch_loss(model, batch, pad=0)
    assert loss.item() == pytest.approx((first + wrong(d, c)) / 2, abs=1e-6)
    assert tokens == 2 + 3 + 2 + 2 + 2  # an answer is read once, not once a pair


def test_demonstrations_score_nothing_on_average_and_one_epoch_is_usual(tmp_path: Path) -> None:
    model = RewardModel(Decoder(CONFIG, seed=3), seed=1)
    learn = [Ranked(((1, 2), (3, 4)), (1.0, 0.0))] * 4 + [Ranked(((5, 6), (3, 7)), (1.0, 0.0))] * 4
    shown = [([1, 2], 1), ([5, 6], 1), ([9, 10, 11], 1)]
    settings = TrainSettings(total=8, rows=2, seed=0, precision="fp32")
    record = fit_reward(model, learn, shown, settings, tmp_path, pad=0, held=0)
    assert (record["prompts"], RewardSettings().epochs) == (8, 1)
    scores = score_rows(model, [row for row, _ in shown], 0, [1, 1, 1])
    assert scores.mean() == pytest.approx(0, abs=1e-5)
    assert scores.std() > 0.01


def test_how_sure_the_parent_is_of_the_answer_is_part_of_the_reward() -> None:
    model, parent = RewardModel(Decoder(CONFIG, seed=3), seed=1), Decoder(CONFIG, seed=5)
    rows, starts = [[1, 2, 3, 4], [5, 6, 7]], [2, 1]
    bare = score_rows(model, rows, 0, starts)
    model.parent = parent
    model.get_buffer("likelihood").fill_(3.0)
    logits = [torch.log_softmax(parent.logits(parent(torch.tensor([row]))[0]), -1) for row in rows]
    of_first = (logits[0][1, 3] + logits[0][2, 4]) / 2  # tokens 3 and 4 answer 1, 2
    of_second = (logits[1][0, 6] + logits[1][1, 7]) / 2
    found = score_rows(model, rows, 0, starts) - bare
    assert found.tolist() == pytest.approx([3 * float(of_first), 3 * float(of_second)], abs=1e-5)
    told = with_sureness(parent, [Ranked((tuple(rows[0]),), (1.0,), start=2)], pad=0)
    assert told[0].sure[0] == pytest.approx(float(of_first), abs=1e-6)


def test_the_weight_of_sureness_is_the_log_odds_a_nat() -> None:
    def pair(better: float, worse: float, weight: float = 1.0) -> Ranked:
        return Ranked(((1, 2), (1, 3)), (2.0, 1.0), weight=weight, sure=(better, worse))

    # In three of four prompts the surer answer, by half a nat, is the better: sigmoid(w / 2) = 3/4.
    found = fit_likelihood([pair(-1.0, -1.5)] * 3 + [pair(-1.5, -1.0)])
    assert found == pytest.approx(2 * math.log(3), rel=1e-4)
    weighty = fit_likelihood([pair(-1.0, -1.5), pair(-1.5, -1.0, weight=3.0)])
    assert weighty == pytest.approx(-2 * math.log(3), rel=1e-4)


def test_a_reward_model_learns_what_the_parent_does_not_tell(tmp_path: Path) -> None:
    parent = Decoder(CONFIG, seed=5)
    # Which of two answers is better depends on the prompt; the parent knows nothing of it.
    either = [((1.0, 0.0) if n % 2 else (0.0, 1.0), n) for n in range(4, 12)] * 6
    learn = [Ranked(((1, n, 2), (1, n, 3)), ratings, start=2) for ratings, n in either]
    settings = TrainSettings(total=8, rows=4, seed=0, precision="fp32")
    settings = replace(settings, optim=OptimSettings("adamw", rate=1e-3))
    model = RewardModel(Decoder(CONFIG, seed=3), seed=1)
    record = fit_reward(
        model, learn, [], settings, tmp_path, pad=0, epochs=8, held=0.25, parent=parent
    )
    assert record["likelihood"] == pytest.approx(float(model.get_buffer("likelihood")), abs=1e-4)
    sure = [one.sure for one in with_sureness(parent, learn, pad=0)]
    assert len({(a > b) == (n % 2 > 0) for (a, b), (_, n) in zip(sure, either)}) == 2
    assert record["accuracy"] == 1.0
    assert model.parent is not None and model.parent is not parent
    untouched = parent.state_dict()
    assert all(torch.equal(t, untouched[k]) for k, t in model.parent.state_dict().items())


def test_the_head_alone_is_the_optimum_on_the_trunk_as_it_is(tmp_path: Path) -> None:
    parent = Decoder(CONFIG, seed=3)
    learn = [Ranked(((1, n, 2), (1, n, 3)), (1.0, 0.0), start=2) for n in range(4, 12)]
    learn += [replace(one, ratings=(0.0, 1.0), topic="other") for one in learn[:2]]
    settings = TrainSettings(total=1, rows=1)

    def fit(folder: str, parent: Decoder | None) -> tuple[RewardModel, dict[str, Any]]:
        model = RewardModel(Decoder(CONFIG, seed=3), seed=1)
        told = fit_reward(
            model, learn, [], settings, tmp_path / folder, pad=0, held=0, parent=parent,
            head_alone=True,
        )  # fmt: skip
        return model, told

    (model, told), (again, _), (alone, _) = fit("a", parent), fit("b", parent), fit("c", None)
    untouched = Decoder(CONFIG, seed=3).state_dict()
    assert all(torch.equal(t, untouched[k]) for k, t in model.trunk.state_dict().items())
    assert torch.equal(model.head, again.head) and model.parent is model.trunk
    save_reward(model, tmp_path / "a")
    loaded = load_reward(tmp_path / "a")
    assert loaded.parent is loaded.trunk
    scores = score_ranked(model, learn, 0)
    assert np.array_equal(score_ranked(loaded, learn, 0), scores)
    model.parent = parent  # told in a pass of its own it is as sure
    assert score_ranked(model, learn, 0) == pytest.approx(scores, abs=1e-5)
    assert told["likelihood"] != 0 and float(alone.get_buffer("likelihood")) == 0

    # By hand: the loss with its ridge, which no step away from the optimum lowers.
    rows = [row for one in learn for row in one.rows]
    hidden = model.trunk(torch.tensor(rows))[:, -1].double().detach()
    scale = hidden.std(0, correction=0) + 1e-6
    sure = torch.tensor([s for one in with_sureness(parent, learn, 0) for s in one.sure])

    def loss(head: torch.Tensor, likelihood: float) -> tuple[float, float]:
        rewards = hidden / scale @ head + likelihood * sure
        signs = torch.tensor([1.0 if one.ratings[0] else -1.0 for one in learn])
        apart = signs * (rewards[0::2] - rewards[1::2])
        ranking = float(torch.log1p(torch.exp(-apart)).mean())
        return ranking, ranking + RIDGE / 2 * float(head.square().sum())

    head, likelihood = model.head.detach().double() * scale, float(told["likelihood"])
    ranking, best = loss(head, likelihood)
    assert told["loss"] == pytest.approx(ranking, abs=1e-4)
    generator = torch.Generator().manual_seed(0)
    for size in (0.3, 0.03):
        step = size * torch.randn(len(head), generator=generator).double()
        assert min(loss(head + step, likelihood)[1], loss(head, likelihood + size)[1]) > best


def test_ties_alone_teach_a_head_nothing(tmp_path: Path) -> None:
    ties = [Ranked(((1, 2), (3, 4)), (1.0, 1.0))] * 8
    with pytest.raises(RegrowError, match="nothing was learnt"):
        fit_reward(
            RewardModel(Decoder(CONFIG)), ties, [], TrainSettings(total=1), tmp_path, pad=0, held=0,
            head_alone=True,
        )  # fmt: skip


def test_kinds_of_prompt_whose_answers_tie_weigh_more() -> None:
    tokenizer = tiny_tokenizer()
    ids = ((20, tokenizer.end), (21, tokenizer.end))

    def rated(kind: str, worse: float) -> Rated:
        prompt = Conversation((Message("user", "Who?"),), family=kind, kind="real")
        return Rated(prompt, ("a", "b"), ids, (6.0, worse))

    some = [rated("fact", 1.0)] * 6 + [rated("task", 1.0)] * 2 + [rated("task", 6.0)] * 4
    assert [one.weight for one in ranked(some, tokenizer)] == [1.0] * 8
    weights = [one.weight for one in ranked(some, tokenizer, balance=True)]
    # Half of what is asked is facts, three quarters of what is left: the root of 4/6, and of 2.
    assert weights == pytest.approx([(4 / 6) ** 0.5] * 6 + [2**0.5] * 2)
    rare = [rated("fact", 1.0)] * 6 + [rated("task", 1.0)] + [rated("task", 6.0)] * 50
    assert max(one.weight for one in ranked(rare, tokenizer, balance=True)) == HEAVIEST


def test_a_prompt_counts_in_the_loss_as_often_as_it_weighs() -> None:
    rewards = torch.tensor([1.0, 0.0, 0.0, 2.0])
    losses = [math.log1p(math.exp(-1.0)), math.log1p(math.exp(2.0))]
    got = ranking_loss(rewards, [[(0, 1)], [(2, 3)]], [3.0, 0.5])
    assert float(got) == pytest.approx((3 * losses[0] + 0.5 * losses[1]) / 2)


def test_a_fit_does_not_go_on_with_other_rankings(tmp_path: Path) -> None:
    learn = [Ranked(((1, 2), (3, n)), (1.0, 0.0)) for n in range(4, 12)]
    settings = TrainSettings(total=8, rows=2, seed=0, precision="fp32", every=1)

    def fit(ranked: list[Ranked]) -> None:
        model = RewardModel(Decoder(CONFIG, seed=3), seed=1)
        fit_reward(model, ranked, [], settings, tmp_path, pad=0, held=0)

    fit(learn)
    fit(learn)
    with pytest.raises(RegrowError, match="differs in data"):
        fit([replace(learn[0], ratings=(0.0, 1.0)), *learn[1:]])


def test_a_fit_that_took_no_step_is_no_success(tmp_path: Path) -> None:
    ties = [Ranked(((1, 2), (3, 4)), (1.0, 1.0))] * 8  # no pairs, so the mean over them is none
    settings = TrainSettings(total=8, rows=2, seed=0, precision="fp32")
    with pytest.raises(RegrowError, match="nothing was learnt"):
        fit_reward(RewardModel(Decoder(CONFIG)), ties, [], settings, tmp_path / "r", pad=0, held=0)
    talk = Conversation((Message("user", "tea"), Message("assistant", "good")))
    rows = ConversationRows([talk], tiny_tokenizer(), 16, seed=0)
    broken = tiny()
    with torch.no_grad():
        broken.embedding.fill_(float("nan"))
    with pytest.raises(RegrowError, match="nothing was learnt"):
        fit_rows(broken, rows, settings, tmp_path / "t")
