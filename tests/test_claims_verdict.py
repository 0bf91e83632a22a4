"""What runs are worth: effects, and verdicts by the rule."""

from __future__ import annotations

from pathlib import Path

import claims_kit as kit
import numpy as np
import pytest
from scipy import stats

from regrow.claims.effects import Evidence, find
from regrow.claims.values import placements
from regrow.claims.verdict import judge
from regrow.evaluate.statistics import area_under_roc


def test_five_seeds_and_an_agreeing_world_support_a_large_effect(tmp_path: Path) -> None:
    runs = kit.evidence(tmp_path, kit.steady(0.8, 0.3), {"a": 5, "b": 3})
    verdict = judge(kit.claim(), runs)
    assert verdict.word == "supported"
    (reading,) = verdict.readings
    assert reading.found is not None
    assert reading.found.whole.mean == pytest.approx(0.5, abs=0.12)
    assert reading.found.twin is not None


def test_runs_whose_arms_are_the_same_weights_do_not_count(tmp_path: Path) -> None:
    runs = kit.evidence(tmp_path, kit.steady(0.9, 0.1), {"a": 6, "b": 4})
    for one in runs[:2] + runs[-1:]:
        for node in one.nodes.values():
            (node / "model.safetensors").write_bytes(b"the same")
    (runs[2].nodes["wet"] / "model.safetensors").write_bytes(b"one")
    (runs[2].nodes["dry"] / "model.safetensors").write_bytes(b"other")
    verdict = judge(kit.claim(), runs)
    assert (verdict.word, verdict.leans, verdict.seeds) == (
        "undecided",
        "supported",
        {"a": 4, "b": 3},
    )
    assert verdict.why == (
        "4 of 5 seeds",
        "3 of 10 runs do not count: their arms are the same weights",
    )
    alike = judge(kit.claim(), runs[:2])
    assert alike.word == "undecided" and alike.why[-1].startswith("2 of 2 runs do not count")


def test_three_seeds_decide_nothing_however_large_the_effect(tmp_path: Path) -> None:
    verdict = judge(kit.claim(), kit.evidence(tmp_path, kit.steady(0.9, 0.1), {"a": 3, "b": 3}))
    assert (verdict.word, verdict.leans) == ("undecided", "supported")
    assert verdict.why == ("3 of 5 seeds",)


def test_one_world_alone_decides_nothing(tmp_path: Path) -> None:
    verdict = judge(kit.claim(), kit.evidence(tmp_path, kit.steady(0.9, 0.1), {"a": 5}))
    assert verdict.word == "undecided"
    assert "second variant has not been tried" in verdict.why[0]


def test_worlds_that_disagree_decide_nothing(tmp_path: Path) -> None:
    def skill(arm: str, variant: str, seed: int) -> float:
        if variant == "a":
            return 0.95 if arm == "wet" else 0.05
        return 0.2 if arm == "wet" else 0.4

    verdict = judge(kit.claim(), kit.evidence(tmp_path, skill, {"a": 5, "b": 3}))
    assert (verdict.word, verdict.leans) == ("undecided", "supported")
    assert "disagree" in verdict.why[0]


def test_an_effect_that_the_interval_leaves_out_is_refuted(tmp_path: Path) -> None:
    claim = kit.claim()
    runs = kit.evidence(tmp_path, kit.steady(0.5, 0.5), {"a": 6, "b": 6}, items=600)
    assert judge(claim, runs).word == "refuted"
    same = claim.measures[0].model_copy(update={"predicted": "none"})
    assert judge(claim.model_copy(update={"measures": (same,)}), runs).word == "supported"


def test_arms_without_the_ability_refute_nothing(tmp_path: Path) -> None:
    runs = kit.evidence(tmp_path, kit.steady(0.01, 0.01), {"a": 6, "b": 6}, items=400)
    verdict = judge(kit.claim(), runs)
    assert verdict.word == "undecided"
    assert "no arm has the ability" in verdict.why[0]


@pytest.mark.parametrize(
    ("wet", "dry", "predicted", "word"),
    [
        (0.97, 0.97, "up", "undecided"),  # .1 more is not to be had
        (0.5, 0.97, "up", "refuted"),  # it fell
        (0.8, 0.8, "up", "refuted"),
        (0.03, 0.03, "down", "undecided"),
        (0.97, 0.97, "down", "refuted"),  # there was room to fall
    ],
)
def test_a_control_without_room_refutes_nothing(
    tmp_path: Path, wet: float, dry: float, predicted: str, word: str
) -> None:
    claim = kit.claim()
    measure = claim.measures[0].model_copy(update={"predicted": predicted})
    claim = claim.model_copy(update={"measures": (measure,)})
    verdict = judge(
        claim, kit.evidence(tmp_path, kit.steady(wet, dry), {"a": 6, "b": 6}, items=600)
    )
    assert verdict.word == word
    found = verdict.readings[0].found
    assert found is not None
    left = 1 - found.arms["dry"] if predicted == "up" else found.arms["dry"]
    assert found.room == pytest.approx(left)


def test_an_ability_is_a_tenth_above_chance_where_an_effect_is_in_other_units(
    tmp_path: Path,
) -> None:
    arms = {f"s{2**n}": {"node": "n", "x": 2.0**n} for n in range(5)}
    nodes = {}
    for name in arms:
        nodes[name] = tmp_path / name
        kit.outcomes(nodes[name], {f"i{i}": float(i < 1) for i in range(20)})
    break_, slope = (
        kit.claim(compare="same", arms=arms, measures=[
            {"name": "m", "line": "rules", "statistic": statistic, "predicted": "up",
             "matters": 0.001},
        ])
        for statistic in ("breakpoint", "slope")
    )  # fmt: skip
    able = [find(c, c.measures[0], [Evidence("a", 0, nodes)]) for c in (break_, slope)]
    assert [one.able for one in able if one] == [False, True]  # .05 right is little


def test_an_arm_that_diverged_decides_nothing_and_is_called_so(tmp_path: Path) -> None:
    found = kit.evidence(tmp_path, kit.steady(0.6, 0.4), {"a": 5, "b": 3})
    kit.outcomes(found[0].nodes["wet"], {f"a{i}": float("nan") for i in range(60)})
    verdict = judge(kit.claim(), found)
    assert verdict.why == ("rules: an arm has values that are no numbers: its training diverged",)


def test_an_effect_is_the_difference_of_means_in_every_run(tmp_path: Path) -> None:
    claim = kit.claim()
    kit.outcomes(tmp_path / "wet", {"i": 1.0, "j": 1.0, "k": 0.0, "only here": 1.0})
    kit.outcomes(tmp_path / "dry", {"i": 0.0, "j": 1.0, "k": 0.0})
    runs = [Evidence("a", 0, {"wet": tmp_path / "wet", "dry": tmp_path / "dry"})]
    found = find(claim, claim.measures[0], runs)
    assert found is not None
    assert found.whole.by_run == (pytest.approx(1 / 3),)  # on the three items that both answered
    assert found.arms == {"wet": pytest.approx(2 / 3), "dry": pytest.approx(1 / 3)}


def test_a_slope_is_that_of_the_regression_on_the_logarithm(tmp_path: Path) -> None:
    shares, x = [0.2, 0.3, 0.7, 0.8], [1.0, 2.0, 4.0, 8.0]
    nodes = {}
    for index, share in enumerate(shares):
        nodes[f"n{index}"] = tmp_path / f"n{index}"
        kit.outcomes(nodes[f"n{index}"], {f"i{i}": float(i < 10 * share) for i in range(10)})
    claim = kit.claim(
        control="n0",
        arms={name: {"node": name, "x": size} for name, size in zip(nodes, x)},
        measures=[{"name": "slope", "line": "rules", "statistic": "slope", "predicted": "up",
                   "matters": 0.1}],
    )  # fmt: skip
    found = find(claim, claim.measures[0], [Evidence("a", 0, nodes)])
    assert found is not None
    assert found.whole.mean == pytest.approx(stats.linregress(np.log2(x), shares).slope)


def test_the_area_over_questions_is_the_area_under_the_curve() -> None:
    draw = np.random.default_rng(4)
    doubt = {
        i: (float(v), f"f{i}") for i, v in enumerate(draw.normal(size=30) + np.arange(30) / 20)
    }
    unknown = set(range(18, 30))
    found = placements(doubt, unknown)
    assert found is not None
    high = [doubt[i][0] for i in unknown]
    low = [doubt[i][0] for i in doubt if i not in unknown]
    assert found.mean == pytest.approx(area_under_roc(high, low))
