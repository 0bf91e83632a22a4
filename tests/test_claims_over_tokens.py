"""The curve of a claim over tokens: what its arms could do on the way of their stage."""

from __future__ import annotations

from pathlib import Path

import claims_kit as kit
import pytest

from regrow.claims.effects import Evidence
from regrow.claims.over_tokens import over_tokens, points
from regrow.claims.page import claim_page
from regrow.claims.verdict import judge
from regrow.files import write_json


def _node(folder: Path, tokens: int, shares: dict[float, int]) -> Path:
    """A node with so many of ten items right at each share of its stage; 1 is its end."""
    for share, right in shares.items():
        place = folder if share == 1 else folder / "at" / f"{share:g}"
        kit.outcomes(place, {f"i{n}": float(n < right) for n in range(10)})
        write_json(place / "config.json", {})
    write_json(folder / "edge.json", {
        "name": folder.name, "stage": "pretrain", "parent": None, "fingerprint": "f",
        "inputs": {"tokens": tokens}, "started": "", "finished": "", "seconds": 1,
    })  # fmt: skip
    return folder


def _evidence(folder: Path, seed: int, wet: dict[float, int], dry: dict[float, int]) -> Evidence:
    run = folder / str(seed)
    nodes = {"wet": _node(run / "wet", 2_000_000, wet), "dry": _node(run / "dry", 2_000_000, dry)}
    return Evidence("a", seed, nodes)


def test_a_curve_is_the_mean_over_runs_where_all_of_them_were_kept(tmp_path: Path) -> None:
    nodes = [
        _node(tmp_path / "one", 1_000_000, {0.25: 2, 0.5: 4, 1: 8}),
        _node(tmp_path / "two", 1_000_000, {0.5: 6, 1: 10}),
    ]
    claim = kit.claim()
    found = points(nodes, claim.line("rules"))
    assert [(one.tokens, one.runs) for one in found] == [(500_000, 2), (1_000_000, 2)]
    assert [one.mean for one in found] == pytest.approx([0.5, 0.9])


def test_the_page_of_a_claim_draws_each_arm(tmp_path: Path) -> None:
    evidence = [_evidence(tmp_path, seed, {0.5: 5, 1: 9}, {0.5: 1, 1: 2}) for seed in range(2)]
    verdict = judge(kit.claim(), evidence)
    drawn = over_tokens(verdict.claim, verdict.readings[0], evidence)
    assert "wet: 0.500 after 1.00M tokens, 2 runs" in drawn
    assert "dry: 0.200 after 2.00M tokens, 2 runs" in drawn
    assert drawn in claim_page(verdict)


def test_arms_that_were_kept_nowhere_have_no_curve(tmp_path: Path) -> None:
    evidence = [_evidence(tmp_path, 0, {1: 9}, {1: 2})]
    verdict = judge(kit.claim(), evidence)
    assert over_tokens(verdict.claim, verdict.readings[0], evidence) == ""
