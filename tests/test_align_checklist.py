"""What goes wrong in PPO, line by line (research on post-training): each line is a test here.

Figures are those of Ouyang et al. 2022, Stiennon et al. 2020 and Ziegler et al. 2019.
"""

from __future__ import annotations

import copy
import math
import multiprocessing
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rl_tiny import (
    LOOP,
    Wish,
    asked,
    digest,
    grpo,
    ppo,
    run_to_the_end,
    tiny,
    tiny_tokenizer,
)

from regrow.align import ppo as figures
from regrow.align.fit import fit_reward
from regrow.align.likelihood import (
    lay_out,
    log_probabilities,
    sureness,
    token_log_probabilities,
)
from regrow.align.ppo import KlController, PpoSettings
from regrow.align.reward import Ranked, RewardModel, score_rows
from regrow.align.rollouts import DRIFT, Rollouts, draw, drift
from regrow.generate.sampler import Sampling
from regrow.model.decoder import Decoder
from regrow.train.loop import TrainSettings
from regrow.train.optim import OptimSettings

PROCESSES = multiprocessing.get_context("forkserver")
PROCESSES.set_forkserver_preload(["torch", "regrow.align.rlhf", "regrow.align.grpo"])
COOL = replace(LOOP, ppo=replace(LOOP.ppo, temperature=0.5))
pytestmark = pytest.mark.usefixtures("one_thread")


def first_ratios(run: Any) -> torch.Tensor:
    """pi / pi_old in the first minibatch before the first update, on answer tokens."""
    rollouts, _, _ = run.roll_out(0)
    part = rollouts.part(run.parts(0, 0, len(rollouts.ids))[0])
    new = token_log_probabilities(run.policy, part.ids, part.answer, run.temperature)
    assert new.requires_grad
    return torch.exp(new - part.log_old)[part.answer.bool()]


# 1. Divide logits by temperature in rollout, reference and update alike; nothing is cut off.


def test_sampler_reference_and_update_share_one_temperature() -> None:
    run = ppo(COOL)
    rollouts, _, told = run.roll_out(0)
    chosen = rollouts.answer.bool()
    logits = run.policy.logits(run.policy(rollouts.ids[:, :-1])) / 0.5
    wanted = torch.log_softmax(logits, -1).gather(2, rollouts.ids[:, 1:, None]).squeeze(2)
    assert torch.allclose(rollouts.log_old[chosen], wanted[chosen], atol=1e-5)
    assert torch.equal(rollouts.log_old, rollouts.log_ref)
    assert torch.equal(first_ratios(run), torch.ones_like(first_ratios(run)))
    assert told["kl"] == 0


def test_rollouts_draw_from_the_whole_distribution_at_that_temperature(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[Sampling] = []
    monkeypatch.setattr(
        "regrow.align.rollouts.generate",
        lambda model, tokenizer, ids, sampling, samples: seen.append(sampling) or [],
    )
    draw(tiny(), tiny_tokenizer(), asked(), length=3, temperature=0.5)
    assert (seen[0].temperature, seen[0].top_p, seen[0].stop_strings) == (0.5, 1.0, ())


def test_drawn_tokens_are_as_frequent_as_the_softmax_at_the_temperature_says() -> None:
    policy, tokenizer = tiny(), tiny_tokenizer()
    policy.embedding.data.mul_(8)  # a start is almost uniform
    prompt = asked()[:1]
    drawn = draw(policy, tokenizer, prompt, length=1, temperature=0.5, samples=2000)
    ids = torch.tensor([drawn[0].asked])
    p = torch.softmax(policy.logits(policy(ids))[0, -1] / 0.5, -1)
    likeliest = int(p.argmax())
    seen = sum(one.answer.ids == [likeliest] for one in drawn)
    share = float(p[likeliest].detach())
    assert 0.05 < share < 0.95
    assert abs(seen - 2000 * share) < 4 * math.sqrt(2000 * share * (1 - share))


# 2. Padding changes nothing; the ratio is exactly 1 before the first update.


def test_padded_and_unpadded_rows_have_the_same_log_probabilities() -> None:
    policy = tiny()
    prompts, answers = [[5, 6, 7, 8, 9, 10], [11]], [[1, 2], [3, 4, 5, 6, 7, 8, 9, 10, 11]]
    together = token_log_probabilities(policy, *lay_out(prompts, answers, pad=1))
    for n, (prompt, answer) in enumerate(zip(prompts, answers)):
        alone = token_log_probabilities(policy, *lay_out([prompt], [answer], pad=1))
        assert torch.allclose(together[n, : alone.shape[1]], alone[0], atol=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_ratio_is_exactly_1_before_the_first_update(precision: str) -> None:
    for run in (ppo(precision=precision), grpo(precision=precision)):
        assert torch.equal(first_ratios(run), torch.ones_like(first_ratios(run)))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_sampler_and_trainer_agree_and_every_step_says_how_well(precision: str) -> None:
    for run in (ppo(precision=precision), ppo(COOL, precision=precision)):
        assert run.roll_out(0)[2]["drift"] < DRIFT[precision]


def test_log_probabilities_that_disagree_are_seen() -> None:
    run = ppo()
    drawn = run.draw(run.chosen(0), seed=1)
    rollouts = run.measured(drawn, np.zeros(len(drawn), np.float32), run.parts(0, 0, len(drawn)))
    assert drift(rollouts.log_old + 0.25, rollouts.answer, drawn) == pytest.approx(0.25, abs=1e-4)


# 3. Dropout is off everywhere.


def test_nothing_drops_out_in_sampling_measuring_or_learning() -> None:
    run = ppo(dropout=0.5)
    assert torch.equal(first_ratios(run), torch.ones_like(first_ratios(run)))
    plain, dropping = ppo(), ppo(dropout=0.5)
    for one in (plain, dropping):
        one.update(*one.roll_out(0)[:2], 0)
    assert digest(plain) == digest(dropping)
    assert torch.equal(*(one.value_optimizer.trainable.master for one in (plain, dropping)))


# 4. pad is not eos; the reward model reads the last real token and learnt from rows with their end.


def test_padding_is_a_token_of_its_own() -> None:
    tokenizer = tiny_tokenizer()
    assert len({tokenizer.pad, tokenizer.eos, tokenizer.end}) == 3


def test_a_reward_is_read_at_the_end_token_whatever_stands_after_it() -> None:
    tokenizer, reward = tiny_tokenizer(), RewardModel(tiny())
    row = [*tokenizer.chat(asked()[0].messages, answer=True)[0], 20, tokenizer.end]
    hidden = reward.trunk(torch.tensor([row]))[0, -1]
    wanted = float((hidden @ reward.head).detach())
    for pad in (tokenizer.pad, tokenizer.end):
        found = score_rows(reward, [row, [*row, 21, 22, 23]], pad, [1, 1])
        assert found[0] == pytest.approx(wanted, abs=1e-6)


def test_rows_that_a_reward_model_learns_from_hold_their_end() -> None:
    from regrow.align.feedback import Rated, ranked

    tokenizer = tiny_tokenizer()
    rated = Rated(asked()[0], ("a", "b"), ((30, tokenizer.end), (31, tokenizer.end)), (2.0, 6.0))
    assert all(row[-1] == tokenizer.end for row in ranked([rated], tokenizer)[0].rows)


# 5. Answers end at the stop token; one that does not end gets the fixed low score.


def test_an_answer_without_its_end_gets_the_fixed_low_score() -> None:
    loop = replace(LOOP, length=3, ppo=replace(LOOP.ppo, no_end_score=-1.0))
    run = ppo(loop)
    end = tiny_tokenizer().end
    run.policy.embedding.data[end] *= 30  # so that some do end
    drawn = run.draw(run.chosen(0), seed=3, samples=4)
    finished = [one.answer.finished for one in drawn]
    assert 0 < sum(finished) < len(drawn)
    for one, score, worth in zip(drawn, run.scores(drawn), run.worth(drawn)):
        stops = [token in (end, tiny_tokenizer().eos) for token in one.answer.ids]
        assert stops.index(True) == len(stops) - 1 if one.answer.finished else not any(stops)
        assert score == (max(-4, min(4, worth)) if one.answer.finished else -1.0)


# 6. The score stands on the last answer token.


def test_the_score_stands_on_the_last_answer_token() -> None:
    _, answer = lay_out([[5, 6], [7]], [[1, 2, 3], [4]], pad=0)
    zeros = torch.zeros_like(answer)
    rewards = figures.token_rewards(torch.tensor([2.0, 5.0]), zeros, zeros, answer, beta=0.1)
    assert rewards.tolist() == [[0, 0, 0, 2.0], [5.0, 0, 0, 0]]


# 7. The KL of each token is the plain log ratio and is not clamped.


def test_the_penalty_is_the_log_ratio_of_each_token_whatever_its_size_and_sign() -> None:
    answer = torch.tensor([[0.0, 1.0, 1.0, 1.0]])
    old, ref = torch.tensor([[7.0, -1.0, -90.0, -2.0]]), torch.tensor([[0.0, -61.0, -30.0, -2.0]])
    rewards = figures.token_rewards(torch.tensor([0.0]), old, ref, answer, beta=0.5)
    assert rewards.tolist() == [[0.0, -30.0, 30.0, 0.0]]


# 8. No discount, lambda .95, advantages whitened over answer tokens.


def test_no_discount_lambda_95_and_whitening_over_answer_tokens_alone() -> None:
    settings = PpoSettings()
    assert (settings.discount, settings.trace) == (1.0, 0.95)
    mask = torch.tensor([[0.0, 1.0, 1.0], [0.0, 1.0, 0.0]])
    values = torch.tensor([[99.0, 1.0, 2.0], [99.0, 6.0, 99.0]])
    # Mean 3 and deviation sqrt(7) of 1, 2 and 6.
    wanted = torch.tensor([[0.0, -2.0, -1.0], [0.0, 3.0, 0.0]]) / math.sqrt(7)
    assert torch.allclose(figures.whiten(values, mask), wanted)


# 9. A value network of its own, from the reward model; clips .2 and .2, coefficient .1.


def test_the_value_model_starts_as_the_reward_model_and_shares_no_weight_with_the_policy() -> None:
    reward = RewardModel(tiny(), seed=4)
    reward.get_buffer("bias").fill_(0.5)
    run = ppo(reward=reward)
    rollouts, groups, _ = run.roll_out(0)
    ids = rollouts.ids[:, :-1]
    read = ids, torch.full((len(ids),), ids.shape[1])
    assert torch.equal(run.values.values(*read), reward.values(*read))
    owned = {p.untyped_storage().data_ptr() for p in run.values.parameters()}
    assert not owned & {p.untyped_storage().data_ptr() for p in run.policy.parameters()}
    before = copy.deepcopy(run.reward.state_dict())
    run.update(rollouts, groups, 0)
    assert not torch.equal(run.values.values(*read), reward.values(*read))
    assert all(torch.equal(before[name], now) for name, now in run.reward.state_dict().items())


def test_what_the_parent_is_sure_of_is_in_the_scores_and_not_in_the_values() -> None:
    plain, reward = (RewardModel(tiny(), seed=4) for _ in range(2))
    reward.parent = Decoder(tiny().config, seed=9).eval()
    reward.get_buffer("likelihood").fill_(2.0)
    reward.get_buffer("usual").fill_(-1.0)
    bare, run = ppo(reward=plain), ppo(reward=reward)
    drawn = run.draw(run.chosen(0), 1)
    rows, starts = [one.row for one in drawn], [len(one.asked) for one in drawn]
    extra = 2.0 * (sureness(reward.parent, rows, starts, run.tokenizer.pad) + 1.0)
    assert run.worth(drawn) == pytest.approx(bare.worth(drawn) + extra, abs=1e-5)
    assert run.values.parent is None and run.reward.parent is not None
    trained = run.optimizers()["value"].trainable.master.numel()
    assert trained == bare.optimizers()["value"].trainable.master.numel()


def test_clips_and_coefficient_are_those_published() -> None:
    settings = PpoSettings()
    published = (settings.clip_ratio, settings.value_clip, settings.value_weight)
    assert published == (0.2, 0.2, 0.1)


# 10. The reward head starts small, without bias; demonstrations come to average 0.


def test_a_reward_head_starts_with_deviation_one_over_root_of_width_plus_one() -> None:
    heads = torch.stack([RewardModel(tiny(), seed).head for seed in range(64)]).detach()
    assert heads.numel() == 2048  # so that the deviation has an error of 1.6 %
    assert float(heads.std()) == pytest.approx(33**-0.5, rel=0.07)
    assert abs(float(heads.mean())) < 4 * 33**-0.5 / math.sqrt(2048)
    assert float(RewardModel(tiny()).get_buffer("bias")) == 0


def test_after_fitting_demonstrations_average_0(tmp_path: Path) -> None:
    rows = [Ranked(((30, n), (31, n)), (2.0, 6.0)) for n in range(40, 60)]
    shown = [([32, n, 5], 2) for n in range(40, 50)]
    reward = RewardModel(tiny())
    settings = TrainSettings(1, rows=4, precision="fp32", optim=OptimSettings("adamw", rate=1e-3))
    fit_reward(reward, rows, shown, settings, tmp_path, pad=1)
    found = score_rows(reward, [row for row, _ in shown], 1, [2] * len(shown))
    assert float(np.mean(found)) == pytest.approx(0, abs=1e-5)
    assert float(reward.get_buffer("bias")) != 0


# 11. Adam's eps 1e-5, a new shuffle each epoch, a loss over the tokens of the whole batch.


def test_adams_eps_is_1e_5_for_policy_and_values() -> None:
    assert [one.settings.eps for one in ppo().optimizers().values()] == [1e-5, 1e-5]


def test_every_epoch_has_a_shuffle_of_its_own_and_every_answer_once() -> None:
    run = ppo(replace(LOOP, epochs=3, minibatches=4))
    orders = [torch.cat(run.parts(0, epoch, 30)).tolist() for epoch in range(3)]
    assert [sorted(order) for order in orders] == [list(range(30))] * 3
    assert len({tuple(order) for order in orders}) == 3
    assert torch.cat(run.parts(1, 0, 30)).tolist() not in orders


def test_minibatches_of_long_and_short_answers_add_up_to_the_loss_over_all_tokens() -> None:
    answer = torch.tensor([[1.0, 1, 1, 1, 1], [1.0, 0, 0, 0, 0]])
    new, old = torch.log(torch.tensor([[1.1] * 5, [0.9] * 5])), torch.zeros(2, 5)
    advantage = torch.tensor([[1.0] * 5, [2.0] * 5])

    def loss(rows: slice, count: float) -> float:
        some = (t[rows] for t in (new, old, advantage, answer))
        return float(figures.policy_loss(*some, clip=0.2, count=count)[0])

    whole = loss(slice(0, 2), 6)
    assert whole == pytest.approx(-(5 * 1.1 + 2 * 0.9) / 6)
    halves = [loss(slice(0, 1), 3), loss(slice(1, 2), 3)]  # 6 tokens in 2 minibatches
    assert sum(halves) / 2 == pytest.approx(whole)


@pytest.mark.parametrize("make", [ppo, grpo])
def test_an_update_divides_by_the_mean_tokens_of_a_minibatch(
    make: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[float] = []
    plain = figures.policy_loss

    def counted(*given: Any) -> Any:
        counts.append(given[-1])
        return plain(*given)

    monkeypatch.setattr(figures, "policy_loss", counted)
    run = make()
    rollouts, groups, _ = run.roll_out(0)
    run.update(rollouts, groups, 0)
    assert counts == [float(rollouts.answer.sum()) / 2] * 2


# 12. The adaptive KL weight of Ziegler et al., or a fixed one.


def test_the_adaptive_weight_follows_the_published_rule() -> None:
    controller = KlController(0.1, target=6.0)
    controller.update(kl=9.0, answers=500)  # an error of .5, clipped to .2
    assert controller.beta == pytest.approx(0.1 * (1 + 0.2 * 500 / 10_000))
    controller = KlController(0.1, target=6.0)
    controller.update(kl=5.4, answers=500)
    assert controller.beta == pytest.approx(0.1 * (1 - 0.1 * 500 / 10_000))


def test_a_run_steers_by_the_kl_of_an_answer_and_a_fixed_weight_stays() -> None:
    for target, wanted in ((2.0, 0.05 * (1 - 0.2 * 32 / 1000)), (None, 0.05)):
        run = ppo(replace(LOOP, kl=0.05, kl_target=target, kl_horizon=1000))
        run.settle({"kl": 9.9, "kl_answer": 0.5}, answers=32)
        assert run.beta == pytest.approx(wanted)


# 13. Ids are scored as they were drawn.


def test_ids_are_scored_and_learnt_from_as_they_were_drawn() -> None:
    tokenizer, scored = tiny_tokenizer(), []

    class Noting(Wish):
        def forward(self, ids_bt: torch.Tensor, last_b: torch.Tensor) -> torch.Tensor:
            scored.extend(ids[: last + 1].tolist() for ids, last in zip(ids_bt, last_b))
            return super().forward(ids_bt, last_b)

    run = ppo(reward=Noting(tiny()))
    rollouts, _, _ = run.roll_out(0)
    assert len(scored) == len(rollouts.ids)
    drawn = run.draw(run.chosen(0), _seed_of(run), run.loop.samples)
    rows = [one.row for one in drawn]
    assert any(tokenizer.encode(tokenizer.decode(one.answer.ids)) != one.answer.ids
               for one in drawn)  # fmt: skip
    found = [ids[: len(row)].tolist() for ids, row in zip(rollouts.ids, rows)]
    assert found == rows
    assert sorted(scored) == sorted(rows)


def _seed_of(run: Any) -> int:
    from regrow.seeds import derive

    return derive(run.seed, "rollout", 0)


# 14. A run that is killed and goes on ends with the same bits.


@pytest.mark.parametrize("kind", ["ppo", "grpo"])
def test_killed_with_9_and_gone_on_with_it_ends_with_the_same_bits(
    kind: str, tmp_path: Path
) -> None:
    run_to_the_end(tmp_path / "whole", kind)
    folder = tmp_path / "killed"
    folder.mkdir()
    metrics, killed = folder / "metrics.jsonl", 0
    for goal in (3, 8):
        process = PROCESSES.Process(target=run_to_the_end, args=(folder, kind))
        process.start()
        while process.is_alive() and _lines(metrics) < goal:
            time.sleep(0.001)
        process.kill()
        process.join()
        killed += process.exitcode == -signal.SIGKILL
    assert killed
    run_to_the_end(folder, kind)
    assert (folder / "digest").read_text() == (tmp_path / "whole/digest").read_text()
    assert metrics.read_text() == (tmp_path / "whole/metrics.jsonl").read_text()


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_a_checkpoint_holds_every_optimizer_the_kl_weight_and_the_precision(tmp_path: Path) -> None:
    loop = replace(LOOP, steps=2, kl=0.05, kl_target=0.1, average=0.9)
    first = ppo(loop, precision="bf16")
    first.run(tmp_path)
    again = ppo(loop)  # a busy machine might choose another precision
    again.run(tmp_path)
    assert again.precision.name == "bf16"
    state = again.state()
    assert state["counts"] == {"policy": 4, "value": 4}
    assert state["beta"] == first.beta != 0.05
    assert digest(again) == digest(first)
    kept = set(again.tensors())
    parts = ("master", "first", "second")
    assert kept == {f"{o}.{p}" for o in ("policy", "value") for p in parts} | {"policy.average"}


def test_a_folder_of_another_run_is_refused(tmp_path: Path) -> None:
    from regrow.errors import RegrowError

    ppo(replace(LOOP, steps=2)).run(tmp_path)
    with pytest.raises(RegrowError, match="other settings"):
        ppo(replace(LOOP, steps=2, kl=0.3)).run(tmp_path)


def test_log_probabilities_do_not_depend_on_how_rows_are_parted() -> None:
    policy = tiny()
    ids, answer = lay_out([[5, 6], [7], [8, 9]], [[1, 2, 3], [4], [5, 6]], pad=0)
    apart = [torch.tensor([1]), torch.tensor([2, 0])]
    together = [torch.arange(3)]
    one, two = (log_probabilities(policy, ids, answer, parts) for parts in (apart, together))
    assert torch.allclose(one, two, atol=1e-5)
    assert Rollouts(ids, answer, answer[:, 0], one, two).part(apart[0]).ids.tolist() == [[7, 4]]
