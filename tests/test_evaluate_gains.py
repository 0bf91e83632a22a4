"""What the report tells of reinforcement learning: curves over the KL, gains, answers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from regrow.evaluate.comparison import NodeReport, Run
from regrow.evaluate.gains import gains, looks


def look(kl: float, gold: float, **more: Any) -> dict[str, Any]:
    figures = {"held_kl": kl, "held_gold": gold, "held_gold_error": 0.1, "held_reward": kl / 2}
    return figures | more


PPO = {
    "steps": [look(0.0, 4.0, step=1), {"step": 2}, look(2.0, 5.0, step=6)],
    "last": look(6.0, 3.0),
    "guard": {"returned": 1, "best": 5.0},
    "held_out": {
        "gold": {"before": 4.0, "after": 5.0, "gain": 1.0, "error": 0.25, "n": 16},
        "reward": {"before": 0.0, "after": 1.0, "gain": 1.0, "error": 0.1, "n": 16},
        "shown": [{"prompt": "Who is <b>Ann</b>?", "before": "A cook.", "after": "",
                   "gold_before": 4.0, "gold_after": 1.0}],
    },
}  # fmt: skip


def run(**records: dict[str, Any]) -> Run:
    nodes = [
        NodeReport(name, "rlhf", None, False, 0, "", "", "", {"record": record}, (), (), (), (), {})
        for name, record in records.items()
    ]
    return Run(Path("run"), {}, nodes, {})


def test_gold_and_reward_are_drawn_over_the_kl_with_what_was_measured() -> None:
    page = gains(run(fed={"ppo": PPO}))
    assert page.count("<svg") == 2
    assert "KL, nats an answer" in page
    curve = re.search(r'class="line" d="M([^"]+)"', page)
    assert curve is not None
    heights = [float(point.split()[1]) for point in curve[1].split("L")]
    assert heights[1] < heights[0] < heights[2]  # up to 5 and down to 3, drawn from the top
    assert "after the end\ngold 3.00 ±0.10, reward 3.00, KL 6.0" in page


def test_the_gain_has_its_error_and_the_guard_its_say() -> None:
    page = gains(run(fed={"ppo": PPO}))
    assert "Gold 4.00 → 5.00, a gain of +1.00 ±0.25 (standard error, 16 prompts)" in page
    assert "The guard sent the policy back once." in page


@pytest.mark.parametrize(("better", "told"), [((0,), True), ((0, 2), False), ((0, 3), False)])
def test_a_policy_that_was_never_better_is_said_to_be_its_start(
    better: tuple[int, ...], told: bool
) -> None:
    lines = [*PPO["steps"], PPO["last"]]
    *steps, last = [line | ({"best": 1.0} if n in better else {}) for n, line in enumerate(lines)]
    page = gains(run(fed={"ppo": PPO | {"steps": steps, "last": last}}))
    assert ("No weights on the way were better for sure" in page) == told


def test_answers_stand_side_by_side_and_are_text_not_markup() -> None:
    page = gains(run(fed={"ppo": PPO}))
    assert "<td>Who is &lt;b&gt;Ann&lt;/b&gt;?</td>" in page
    assert "<td>A cook. <small>gold 4.0</small></td>" in page
    assert "<td><i>(nothing)</i> <small>gold 1.0</small></td>" in page


def test_grpo_is_told_as_ppo_is_and_other_nodes_are_left_out() -> None:
    page = gains(run(sums={"grpo": PPO}, tuned={"training": {}}, old={"ppo": {"steps": []}}))
    assert "sums" in page
    assert "tuned" not in page and "old:" not in page
    assert gains(run(tuned={"training": {}})) == ""


@pytest.mark.parametrize("last", [{}, look(1.0, 2.0)])
def test_looks_come_in_order_with_the_last_at_the_end(last: dict[str, Any]) -> None:
    found = [line["held_kl"] for line in looks(PPO | {"last": last})]
    assert found == [0.0, 2.0, *([1.0] if last else [])]
