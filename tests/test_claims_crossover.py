"""Where curves over sizes cross: against another line, against one arm, and one after the other."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from scipy import stats

from regrow.claims import effects
from regrow.claims.claim import Claim, read_claim
from regrow.claims.drawing import curve
from regrow.claims.effects import Evidence, find
from regrow.claims.markdown import summary
from regrow.claims.page import claim_page
from regrow.claims.store import to_row
from regrow.claims.verdict import judge, would_change
from regrow.errors import RegrowError
from regrow.evaluate.outcomes import Outcome
from regrow.evaluate.replication import over_seeds
from regrow.files import write_json, write_jsonl

SIZES = {"s1": 1.0, "s2": 2.0, "s4": 4.0, "s8": 8.0}
ITEMS = 20


def _claim(*measures: Mapping[str, Any]) -> Claim:
    return read_claim({
        "id": "B6", "statement": "s", "standing": "E", "prediction": "p", "compare": "same",
        "arms": {**{name: {"node": "n", "x": x} for name, x in SIZES.items()},
                 "tuned": {"node": "n"}},
        "lines": {
            "eight": {"ability": "in_context", "metric": "accuracy", "where": {"shots": ["8"]}},
            "none": {"ability": "in_context", "metric": "accuracy", "where": {"shots": ["0"]}},
        },
        "measures": [{"name": "m", "line": "eight", "statistic": "crossover", "predicted": "up",
                      "matters": 0.25, **measure} for measure in measures],
    })  # fmt: skip


def _node(folder: Path, eight: float, none: float) -> Path:
    """A node with so many of its twenty items right after eight shots, and after none."""
    rows = [
        Outcome("in_context", f"i{i}", f"f{i}", {"kind": "rule", "shots": shots}, "accuracy",
                float(i < share * ITEMS)).to_row()
        for shots, share in (("8", eight), ("0", none))
        for i in range(ITEMS)
    ]  # fmt: skip
    write_jsonl(folder / "items.jsonl.gz", rows)
    write_json(folder / "scores.json", [])
    return folder


def _run(folder: Path, eight: Sequence[float], tuned: float, seed: int = 0) -> list[Evidence]:
    """One run: the ladder's shares after eight shots, .2 of them right after none."""
    nodes = {
        name: _node(folder / name, share, 0.2) for name, share in zip(SIZES, eight, strict=True)
    }
    return [Evidence("a", seed, nodes | {"tuned": _node(folder / "tuned", 0.0, tuned)})]


def test_a_curve_crosses_another_line_between_two_sizes(tmp_path: Path) -> None:
    claim = _claim({"against": "none"})
    found = find(claim, claim.measures[0], _run(tmp_path, [0.0, 0.1, 0.3, 0.8], 0.5))
    assert found is not None
    assert found.whole.mean == pytest.approx(1.5)  # half-way from 2 to 4


def test_a_curve_crosses_the_level_of_one_arm_later(tmp_path: Path) -> None:
    claim = _claim({"against": "tuned/none"}, {"against": "tuned/none", "before": "none"})
    runs = _run(tmp_path, [0.0, 0.1, 0.3, 0.8], 0.55)
    later, gap = (find(claim, measure, runs) for measure in claim.measures)
    assert later is not None and gap is not None
    assert later.whole.mean == pytest.approx(2.5)  # half-way from 4 to 8
    assert gap.whole.mean == pytest.approx(1.0)
    assert gap.arms["tuned/none"] == pytest.approx(0.55)


def test_a_later_crossing_may_lie_beyond_the_ladder(tmp_path: Path) -> None:
    claim = _claim({"against": "tuned/none", "before": "none"})
    found = find(claim, claim.measures[0], _run(tmp_path, [0.0, 0.1, 0.3, 0.8], 1.0))
    assert found is not None
    assert found.whole.mean == pytest.approx(4.0 - 1.5)  # one doubling past 8, less the first


def test_a_curve_that_crosses_nowhere_supports_nothing(tmp_path: Path) -> None:
    claim = _claim({"against": "none"}, {"against": "tuned/none", "before": "none"})
    runs = _run(tmp_path, [0.0, 0.0, 0.0, 0.1], 0.0)
    verdict = judge(claim, runs)
    assert [reading.word for reading in verdict.readings] == ["undecided", "undecided"]
    assert verdict.why == ("m: the curve crosses nowhere among these sizes",)
    assert "crosses nowhere" in claim_page(verdict)
    assert "crosses nowhere" in summary([verdict], [claim])


def test_a_seed_that_never_crosses_leaves_the_others_their_interval(tmp_path: Path) -> None:
    claim = _claim({"against": "none"}, {"against": "tuned/none", "before": "none"})
    runs = [
        one
        for seed, last in enumerate((0.8, 0.9, 0.1))
        for one in _run(tmp_path / str(seed), [0.0, 0.1, 0.15 + last / 5, last], 0.3, seed)
    ]
    verdict = judge(claim, runs)
    first, gap = (reading.found for reading in verdict.readings)
    assert first is not None and gap is not None
    for found in (first, gap):
        assert found.whole.low < found.whole.mean < found.whole.high
        assert found.whole.high - found.whole.mean == pytest.approx(
            stats.t.ppf(0.975, found.whole.freedom) * found.whole.error
        )
        assert 0 <= found.whole.p <= 1
    assert first.whole.by_run[2] == 4.0  # one doubling past the ladder
    assert math.isnan(gap.whole.by_run[2])  # a difference of two crossings that are not there
    assert '<circle class="seed c-1"' in claim_page(verdict)
    assert "nan" not in claim_page(verdict)
    assert "none" in summary([verdict], [claim])
    assert json.loads(json.dumps(to_row(verdict), allow_nan=False))


def test_where_most_draws_do_not_cross_nothing_is_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = _claim({"against": "none"})
    monkeypatch.setattr(
        effects, "hierarchical_bootstrap",
        lambda sums, counts, statistic: replace(over_seeds([1.5, 2.0]), error=math.nan),
    )  # fmt: skip
    verdict = judge(claim, _run(tmp_path, [0.0, 0.1, 0.3, 0.8], 0.5))
    assert verdict.why == ("m: too few runs cross for an interval",)
    assert would_change(verdict.readings[0]) == "more runs, or larger arms"


def test_the_drawing_shows_the_arm_that_is_crossed_as_a_level(tmp_path: Path) -> None:
    claim = _claim({"against": "tuned/none", "before": "none"})
    (reading,) = judge(claim, _run(tmp_path, [0.0, 0.1, 0.3, 0.8], 0.55)).readings
    drawn = curve(claim, reading)
    assert "none, tuned: 0.550 at 8" in drawn
    assert "none: 0.200 at 1" in drawn


@pytest.mark.parametrize(
    ("measure", "why"),
    [
        ({"against": "tined/none"}, "there is no arm 'tined'; did you mean 'tuned'"),
        ({"statistic": "slope", "before": "none"}, "before belongs to a crossover"),
        ({"against": "tuned/nine"}, "there is no line 'nine'"),
    ],
)
def test_a_crossover_that_names_nothing_is_refused(measure: dict[str, Any], why: str) -> None:
    with pytest.raises(RegrowError, match=re.escape(why)):
        _claim(measure)
