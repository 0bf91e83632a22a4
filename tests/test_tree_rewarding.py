"""Reward models for nodes that are grown already: `regrow reward`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from test_tree_real_data import COMPARED, rows, run

from regrow.align.reward import load_reward
from regrow.errors import RegrowError
from regrow.model.folder import load_model
from regrow.tree.rewarding import fit_node
from regrow.tree.settings import RewardSettings

__all__ = ["run"]


def fitted(run: Path, target: Path, **settings: Any) -> dict[str, Any]:
    given = RewardSettings.model_validate({"rate": 0.01, "rows": 4, "warmup": 1, **settings})
    return fit_node(
        run / "oak", [run.parent / "real" / "compared.jsonl"], target, given, tokens=64, held=0.25
    )


@pytest.mark.parametrize("how", ["all", "head"])
def test_a_node_gets_a_reward_model_from_comparisons(run: Path, tmp_path: Path, how: str) -> None:
    told = fitted(run, tmp_path / "taste", fitted=how)
    assert (told["prompts"], told["held_prompts"], told["node"]) == (18, 6, "oak")
    assert told["before"]["accuracy"] <= told["accuracy"] == 1.0  # "good good" in every pair
    reward = load_reward(tmp_path / "taste")
    assert reward.parent is not None
    assert (reward.parent is reward.trunk) == (how == "head")
    weights = load_model(run / "oak").state_dict()
    kept = all(bool((t == weights[k]).all()) for k, t in reward.trunk.state_dict().items())
    assert kept == (how == "head")
    with pytest.raises(RegrowError, match="holds a reward model already"):
        fitted(run, tmp_path / "taste")


def test_too_few_preferences_are_refused(run: Path, tmp_path: Path) -> None:
    rows(run.parent / "real" / "compared.jsonl", *COMPARED[:4])
    with pytest.raises(RegrowError, match="only 3 of 4 prompts can be learnt from"):
        fitted(run, tmp_path / "taste")
