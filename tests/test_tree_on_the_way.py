"""Models kept and measured on the way of a stage: where, once, and without changing anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
import train_tiny
from test_tree_tuning import grow
from torch import Tensor

from regrow.errors import RegrowError
from regrow.evaluate.comparison import read_run
from regrow.evaluate.outcomes import Outcome, scores
from regrow.evaluate.passage import kept_at, on_the_way
from regrow.files import write_json, write_jsonl
from regrow.model.folder import load_model
from regrow.tree.fingerprint import inputs_of
from regrow.tree.gc import of_finished
from regrow.tree.load import load_recipe, validate
from regrow.tree.settings import PretrainSettings, RlhfSettings, SupervisedSettings
from regrow.tree.stages import outcome

pytestmark = pytest.mark.usefixtures("one_thread")


def _flat(weights: dict[str, Tensor]) -> Tensor:
    return torch.cat([weights[name].detach().flatten().clone() for name in sorted(weights)])


def test_marks_are_met_where_they_are_due_and_leave_the_weights_as_they_are(tmp_path: Path) -> None:
    met: dict[int, Tensor] = {}
    at_step: dict[int, Tensor] = {}

    def keep(row: int, weights: dict[str, Tensor]) -> None:
        met[row] = _flat(weights)

    def batch_of(step: int, row: int, rows: int) -> Any:
        return row, train_tiny.batch_of(step, row, rows)

    def loss_of(model: Any, batch: Any) -> Any:
        at_step[batch[0]] = _flat(dict(model.named_parameters()))
        return train_tiny.loss_of(model, batch[1])

    model = train_tiny.Decoder(train_tiny.CONFIG, seed=1)
    settings = train_tiny.SETTINGS
    train_tiny.train(
        model, loss_of, batch_of, settings, tmp_path / "marked", marks={100: keep, 200: keep}
    )
    _, plain = train_tiny.run(tmp_path / "plain")
    assert torch.equal(train_tiny.weights(model), train_tiny.weights(plain))
    assert sorted(met) == [100, 200]
    for row, weights in met.items():
        first = min(first for first in at_step if first >= row)
        assert torch.equal(weights.to(torch.bfloat16), at_step[first].to(torch.bfloat16))


def test_a_run_that_goes_back_over_a_mark_meets_it_again(tmp_path: Path) -> None:
    met: list[int] = []
    bad = {30, 31, 32}

    def batches(step: int, row: int, rows: int) -> Any:
        return step in bad, train_tiny.batch_of(step, row, rows)

    def spoiled(model: Any, batch: Any) -> Any:
        loss, n = train_tiny.loss_of(model, batch[1])
        return (loss * float("nan") if batch[0] else loss), n

    model = train_tiny.Decoder(train_tiny.CONFIG, seed=1)
    marks = {row: lambda row, weights: met.append(row) for row in range(60, 120, 4)}
    summary = train_tiny.train(model, spoiled, batches, train_tiny.GUARDED, tmp_path, marks=marks)
    assert summary.rewinds == 1
    firsts = [row for row in set(met) if met.count(row) == 2]
    assert firsts  # those between where it went back to and where it stood
    assert sorted(set(met)) == list(range(60, 120, 4))


def test_a_stage_keeps_whole_models_at_its_shares(tmp_path: Path) -> None:
    given, record = grow(tmp_path, measure_at=[0.25, 0.5])
    assert [share for share, _ in kept_at(given.folder)] == [0.25, 0.5]
    parts = [load_model(folder) for _, folder in kept_at(given.folder)]
    models = [load_model(tmp_path / "small" / "oak"), *parts, load_model(given.folder)]
    flat = [_flat(dict(model.named_parameters())) for model in models]
    assert not any(torch.equal(a, b) for a, b in pairwise(flat))
    again, same = grow(tmp_path / "plain")
    assert torch.equal(flat[-1], _flat(dict(load_model(again.folder).named_parameters())))
    assert same["training"]["loss"] == record["training"]["loss"]


def test_shares_that_fall_on_one_row_are_all_kept(tmp_path: Path) -> None:
    given, _ = grow(tmp_path, measure_at=[0.5, 0.500001, 0.999999])
    assert [share for share, _ in kept_at(given.folder)] == [0.5, 0.500001, 0.999999]


class Measured:
    """Stands in for measuring a folder; is killed at the one that is named."""

    def __init__(self, killed_at: str = "") -> None:
        self.killed_at, self.folders, self.abilities = killed_at, [], []

    def __call__(
        self, folder: Path, items: Path, names: Sequence[str], settings: Any, progress: Any
    ) -> list[Any]:
        if folder.name == self.killed_at:
            raise KeyboardInterrupt
        self.folders.append(folder.name)
        self.abilities.append(tuple(names))
        write_json(folder / "scores.json", [])
        return []


def test_nothing_is_measured_twice_however_often_measuring_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, _ = grow(tmp_path, measure_at=[0.25, 0.5])
    killed = Measured(killed_at="0.5")
    monkeypatch.setattr("regrow.evaluate.measure.measure", killed)
    with pytest.raises(KeyboardInterrupt):
        outcome.measure_node(given)
    whole = Measured()
    monkeypatch.setattr("regrow.evaluate.measure.measure", whole)
    assert outcome.measure_node(given)["on_the_way"] == ["0.25", "0.5"]
    assert killed.folders == ["0.25"]
    assert whole.folders == ["0.5", "acorn"]
    assert killed.abilities == [("language_modelling", "knowledge", "in_context")]


def test_other_weights_on_the_way_are_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, _ = grow(tmp_path, measure_at=[0.5])
    for wanted in (["0.5", "acorn"], ["acorn"]):
        found = Measured()
        monkeypatch.setattr("regrow.evaluate.measure.measure", found)
        outcome.measure_node(given)
        assert found.folders == wanted
    path = given.folder / "at" / "0.5" / "model.safetensors"
    path.write_bytes((given.folder / "model.safetensors").read_bytes())
    again = Measured()
    monkeypatch.setattr("regrow.evaluate.measure.measure", again)
    outcome.measure_node(given)
    assert again.folders == ["0.5", "acorn"]


def test_weights_that_are_measured_may_be_freed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, _ = grow(tmp_path, measure_at=[0.5])
    weights = given.folder / "at" / "0.5" / "model.safetensors"
    assert weights not in [path for path, _ in of_finished(given.folder)]
    monkeypatch.setattr("regrow.evaluate.measure.measure", Measured())
    outcome.measure_node(given)
    assert weights in [path for path, _ in of_finished(given.folder)]
    weights.unlink()
    again = Measured()
    monkeypatch.setattr("regrow.evaluate.measure.measure", again)
    assert outcome.measure_node(given)["on_the_way"] == ["0.5"]
    assert again.folders == ["acorn"]
    otherwise = given.recipe.abilities.model_copy(update={"items": 7})
    given = replace(given, recipe=given.recipe.model_copy(update={"abilities": otherwise}))
    with pytest.raises(RegrowError, match=r"is gone, .* --regrow acorn makes it again"):
        outcome.measure_node(given)


def test_what_is_at_rest_does_not_change_a_fingerprint() -> None:
    plain = inputs_of({"settings": validate(PretrainSettings, {"mixture": "text"}, "r")})
    assert not [key for key in plain.values if "measure_at" in key]
    kept = inputs_of(
        {"settings": validate(PretrainSettings, {"mixture": "text", "measure_at": [0.5]}, "r")}
    )
    assert kept.changes_from(plain.values) == ["settings.measure_at: nothing -> [0.5]"]
    assert plain.changes_from(kept.values) == ["settings.measure_at: [0.5] -> nothing"]
    recipe = load_recipe("seedling")
    policy = inputs_of({"settings": recipe.nodes["chatgpt"].settings}).values
    assert not [key for key in policy if key.endswith((".families", ".measure_at"))]
    named = inputs_of({"world": recipe.world, "abilities": recipe.abilities}).values
    for key in ("world.leak", "world.mess", "world.trusted", "abilities.heldout",
                "abilities.on_the_way"):  # fmt: skip
        assert key not in named


@pytest.mark.parametrize(
    ("kind", "words", "why"),
    [
        (PretrainSettings, {"mixture": "text", "measure_at": [1.0]}, "less than 1"),
        (
            SupervisedSettings,
            {"measure_at": [0.5], "lora": {}, "optimizer": "adamw"},
            "keeps whole",
        ),
        (RlhfSettings, {"tuning": {"measure_at": [0.5]}}, "not for RLHF"),
    ],
)
def test_what_cannot_be_kept_is_refused(kind: Any, words: dict[str, Any], why: str) -> None:
    with pytest.raises(RegrowError, match=why):
        validate(kind, words, "recipe")


def test_documents_read_by_shards_are_not_measured_on_the_way() -> None:
    with pytest.raises(RegrowError, match="memorisation is measured on finished nodes only"):
        load_recipe("seedling", ['abilities.on_the_way=["memorisation"]'])


def test_the_report_draws_a_curve_over_tokens(tmp_path: Path) -> None:
    assert _report(tmp_path / "bare", []) == ""
    drawn = _report(tmp_path / "kept", [0.25])
    assert 'data-node="oak"' in drawn
    assert "oak\n25% of its stage: 0.500" in drawn.replace("&#10;", "\n")
    assert "100% of its stage: 1.000" in drawn


def _report(folder: Path, shares: Sequence[float]) -> str:
    node = folder / "oak"
    write_json(
        folder / "recipe.json", {"nodes": {"oak": {"stage": "pretrain", "tokens": 4_000_000}}}
    )
    write_json(node / "edge.json", {"stage": "pretrain", "parent": None})
    for place, right in [*((node / "at" / f"{share:g}", 5) for share in shares), (node, 10)]:
        rows = [
            Outcome("in_context", f"i{n}", f"f{n}", {"kind": "rule", "shots": "8"}, "accuracy",
                    float(n < right))
            for n in range(10)
        ]  # fmt: skip
        write_jsonl(place / "items.jsonl.gz", (row.to_row() for row in rows))
        write_json(place / "scores.json", [one.to_row() for one in scores("oak", rows, 0)])
        write_json(place / "config.json", {})
    return on_the_way(read_run(folder))
