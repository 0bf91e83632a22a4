"""The guard against over-optimisation: by hand, and in a run whose reward model is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rl_tiny import LOOP, asked, digest, ppo
from test_align_rlhf import Killed

from regrow.align.lesson import topic
from regrow.align.overoptimisation import GoldGuard, change, put_aside
from regrow.align.rlhf import Rlhf
from regrow.align.rollouts import draw
from regrow.records import Conversation, Message
from regrow.seeds import derive

pytestmark = pytest.mark.usefixtures("one_thread")


def test_gold_that_falls_under_a_rising_reward_is_called_out() -> None:
    guard = GoldGuard(fall=0.5)
    guard.note([4.0], 1.0)
    assert guard.note([3.6], 2.0) == ""  # within the fall that is allowed
    assert guard.note([3.4], 0.5) == ""  # the reward fell too: no over-optimisation
    assert guard.note([3.4], 2.0) == "fell"
    assert guard.note([4.1], 0.5) == "best"


def test_a_gain_within_its_standard_error_is_luck() -> None:
    guard = GoldGuard()
    guard.note([4.0, 4.0, 4.0, 4.0], 0.0)
    # A mean of .5 with a deviation of sqrt(3)/2 over 4 prompts: an error of .43.
    assert guard.note([6.0, 4.0, 4.0, 4.0], 0.0) == "best"
    # From the start a mean of .75 with a deviation of 1.48: an error of .74.
    assert guard.note([7.0, 5.0, 4.0, 3.0], 0.0) == "best"
    # .8, the most so far, with an error of 1.00: luck.
    assert guard.note([8.2, 3.0, 4.0, 4.0], 0.0) == ""
    assert guard.note([6.4, 4.0, 4.0, 4.4], 0.0) == ""  # sure, but not the most
    assert guard.best == [7.0, 5.0, 4.0, 3.0]


def test_a_fall_within_its_standard_error_is_no_harm() -> None:
    guard = GoldGuard(fall=0.1)
    guard.note([4.0, 4.0, 4.0, 4.0], 0.0)
    assert guard.note([2.8, 4.0, 4.0, 4.4], 1.0) == ""  # -.2, with an error of .3
    assert guard.note([3.8, 3.8, 3.8, 3.8], 1.0) == "fell"  # -.2, with none


def test_it_gives_up_after_so_many_returns() -> None:
    guard = GoldGuard(fall=0.1, returns=1)
    guard.note([4.0], 0.0)
    assert (guard.note([3.0], 1.0), guard.over) == ("fell", False)
    assert (guard.note([3.0], 1.0), guard.over) == ("fell", True)


def test_its_state_goes_on_where_it_was() -> None:
    guard = GoldGuard()
    series = [(4.0, 0.1), (4.2, 0.2), (4.1, 0.3), (3.5, 0.6), (3.4, 0.9), (3.3, 1.2)]
    for gold, reward in series[:4]:
        guard.note([gold, gold], reward)
    other = GoldGuard(**guard.state())
    found = [[one.note([gold, gold], reward) for gold, reward in series[4:]]
             for one in (guard, other)]  # fmt: skip
    assert found[0] == found[1] == ["fell", "fell"]


def opposed(steps: int, average: float = 0.0) -> Rlhf:
    """A run whose gold score falls with the ASCII characters, which the reward model likes."""

    def gold(prompt: object, answer: str) -> float:
        return 4.0 - sum(character.isascii() for character in answer)

    loop = replace(LOOP, steps=steps, gold_fall=0.3, average=average)
    prompts = [replace(one, key=str(n)) for n, one in enumerate(asked(kind="any"))]
    return ppo(loop, prompts=prompts, gold=gold)


def test_a_run_ends_at_its_best_by_gold(tmp_path: Path) -> None:
    run = opposed(35)
    figures = run.run(tmp_path)
    watched = [line["watched_gold"] for line in figures["steps"] if "watched_gold" in line]
    assert figures["guard"]["returned"] >= 1
    assert any("returned" in line for line in figures["steps"])
    assert min(watched) < max(watched) - 0.3
    assert run.look()["watched_gold"] == pytest.approx(figures["guard"]["best"])
    assert figures["guard"]["best"] in [pytest.approx(gold) for gold in watched]


def test_the_guard_judges_by_the_likeliest_and_by_a_sampled_answer(tmp_path: Path) -> None:
    run = opposed(1)
    prompts = run.aside.watched
    likeliest = draw(run.policy, run.tokenizer, prompts, length=run.loop.length)
    sampled = run.draw(prompts, derive(run.seed, "watched"))
    golds = [(one + two) / 2 for one, two in zip(run.golds(likeliest), run.golds(sampled))]
    assert [one.answer.text for one in likeliest] != [one.answer.text for one in sampled]
    assert run.look()["watched_gold"] == pytest.approx(np.mean(golds))
    assert run.guard is not None and run.guard.best == pytest.approx(golds)


def test_what_a_run_gained_is_told_by_prompts_that_chose_nothing(tmp_path: Path) -> None:
    run = opposed(10)
    figures = run.run(tmp_path)
    held = figures["held_out"]
    assert (held["gold"]["n"], len(held["shown"])) == (4, 4)
    kept = [one for one in figures["steps"] if "best" in one][-1]
    assert {"held_gold", "held_gold_error", "held_reward", "held_kl"} <= kept.keys()
    assert figures["steps"][0]["held_kl"] == 0
    assert figures["last"]["held_kl"] > 0
    drawn = held["sampled"]["gold"]
    assert (drawn["n"], drawn["before"] != held["gold"]["before"]) == (4, True)
    ones = np.ones(8)  # two answers a prompt
    by_hand = run._changes((np.arange(8.0), ones), (np.arange(8.0) + 1, 3 * ones))
    assert (by_hand["gold"]["before"], by_hand["gold"]["after"]) == (3.5, 4.5)
    assert (by_hand["reward"]["gain"], by_hand["reward"]["n"]) == (2.0, 4)
    shown = held["shown"][0]
    assert shown["prompt"] in ("tea", "bad")
    assert shown["gold_before"] == 4.0 - sum(c.isascii() for c in shown["before"])


def test_a_gain_has_the_error_of_the_paired_difference() -> None:
    was, now = np.array([1.0, 2.0, 3.0]), np.array([2.0, 4.0, 6.0])
    told = {"before": 2.0, "after": 4.0, "gain": 2.0, "n": 3}
    # Gains 1, 2 and 3 deviate by 1.
    assert change(was, now, ["a", "b", "c"]) == pytest.approx(
        told | {"error": 3**-0.5, "topics": 3}
    )
    # By topic the residuals are -1 + 0 and 1: sqrt(2 / 1 * 2) / 3.
    assert change(was, now, ["a", "a", "b"]) == pytest.approx(told | {"error": 2 / 3, "topics": 2})
    # The same answers to the same question tell nothing new.
    twice = change(np.tile(was, 2), np.tile(now, 2), ["a", "b", "c"] * 2)
    assert twice["error"] == pytest.approx(3**-0.5)


def test_eight_answers_to_one_question_are_no_eight_gains() -> None:
    # A mean of .25: gains of 2 and -1, eight times each, and sixteen of 0.
    golds = [6.0] * 8 + [3.0] * 8 + [4.0] * 16
    # Alone they have an error of sqrt(38) / 32 = .19, by their four topics sqrt(304) / 32 = .54.
    for topics, verdict in ((None, "best"), ([name for name in "abcd" for _ in range(8)], "")):
        guard = GoldGuard()
        guard.note([4.0] * 32, 0.0, topics)
        assert guard.note(golds, 0.0, topics) == verdict


def test_with_an_average_the_best_average_is_what_is_left(tmp_path: Path) -> None:
    run = opposed(10, average=0.9)
    figures = run.run(tmp_path)
    assert run.look()["watched_gold"] == pytest.approx(figures["guard"]["best"])


def test_what_is_asked_about_is_the_person_the_key_or_the_opening() -> None:
    of_person = replace(prompt("Who is she?", key="fact|Ana|pet"), check={"facts": {"name": "Ana"}})
    assert topic(of_person) == "Ana"
    assert topic(prompt("Tea or milk?", key="tea or milk")) == "tea or milk"
    assert topic(prompt("Why?", key="faq|3", kind="real")) == topic(prompt("Why?")) == "Why?"


def prompt(words: str, key: str = "", kind: str = "") -> Conversation:
    return Conversation((Message("user", words),), kind=kind, key=key, check={"kind": "any"})


#: Sixteen things asked twice in the same words and once in others, and real rows, of which the
#: key is the number.
REPEATED = [
    *(prompt(f"{words} {n}", key=f"fact|{n}")
      for words in ("Where is", "Where is", "Say where is") for n in range(16)),
    *(prompt(f"Is {n % 4} even?", key=f"faq|{n}", kind="real") for n in range(16)),
]  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_what_is_watched_or_held_out_is_trained_on_in_no_words(seed: int) -> None:
    aside = put_aside(REPEATED, seed, 128, 128)
    told = [aside.held, aside.watched, aside.rest]
    for of in (lambda one: one.messages, lambda one: one.key if not one.kind else one.messages):
        held, watched, rest = ({of(one) for one in some} for some in told)
        assert held and watched and rest
        assert not held & watched and not (held | watched) & rest
    assert sum(map(len, told)) == 64  # each is on one side
    assert 8 < len(aside.held) <= 16 and 8 < len(aside.watched) <= 16  # a quarter at most
    assert aside == put_aside(REPEATED, seed, 128, 128)


def test_each_kind_of_prompt_keeps_its_share_of_what_is_put_aside() -> None:
    once = [prompt(f"Is {n} even?", key=str(n)) for n in range(400)]
    often = [prompt(f"Is {n} odd?", key=f"odd {n % 40}", kind="odd") for n in range(400)]
    shares = []
    for seed in range(40):
        held = put_aside([*once, *often], seed, 100, 0).held
        shares.append(float(np.mean([one.kind == "odd" for one in held])))
    # A half, with an error of .016 or so: eleven of 440 topics have ten prompts each.
    assert np.mean(shares) == pytest.approx(0.5, abs=0.06)


def test_of_what_is_put_aside_there_is_no_more_than_wanted() -> None:
    apart = [prompt(f"Is {n} even?", key=str(n)) for n in range(600)]
    aside = put_aside(apart, 0, 100, 128)
    assert (len(aside.held), len(aside.watched), len(aside.rest)) == (100, 128, 372)
    aside = put_aside(apart[:40], 0, 100, 0)
    assert (len(aside.held), len(aside.watched), len(aside.rest)) == (10, 0, 30)
    # Two topics of eight each are more than a quarter of all, and one held out has no error.
    few = [prompt("tea"), prompt("bad")] * 8
    assert put_aside(few, 0, 100, 128).rest == few
    few = [prompt("tea"), *[prompt("bad")] * 7]
    assert put_aside(few, 0, 100, 0).rest == few


@pytest.mark.parametrize(("steps", "looks"), [(12, [0, 5, 10]), (60, list(range(0, 60, 6)))])
def test_gold_is_looked_at_every_five_steps_or_ten_times(
    steps: int, looks: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = opposed(steps)
    run.guard = None
    monkeypatch.setattr(run, "look", lambda: {"seen": 1.0})
    monkeypatch.setattr(run, "update", lambda *_: {})
    lines = run.run(tmp_path)["steps"]
    assert [n for n, line in enumerate(lines) if "seen" in line] == looks


def test_a_run_draws_no_prompt_that_is_put_aside() -> None:
    run = opposed(1)
    watched, held = ({one.key for one in some} for some in (run.aside.watched, run.aside.held))
    drawn = {one.key for step in range(8) for one in run.chosen(step)}
    assert (len(watched), len(held), len(drawn)) == (4, 4, 8)
    assert len(watched | held | drawn) == 16


def test_a_stopped_run_ends_with_the_same_bits(tmp_path: Path) -> None:
    whole = opposed(14)
    whole.run(tmp_path / "whole")

    def stop(done: float, total: float, **metrics: object) -> None:
        if done == 9:
            raise Killed

    with pytest.raises(Killed):
        opposed(14).run(tmp_path / "killed", stop)
    again = opposed(14)
    again.run(tmp_path / "killed")
    assert digest(again) == digest(whole)
