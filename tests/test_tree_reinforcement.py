"""The stages GRPO and DPO: what they learn from, and what they write down."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_tree_real_data import COMPARED, context, rows, run

from regrow.errors import RegrowError
from regrow.files import read_jsonl, write_json, write_jsonl
from regrow.model.folder import load_model
from regrow.records import Conversation, Message
from regrow.tree import edge
from regrow.tree.recipe import Recipe
from regrow.tree.stage import StageContext
from regrow.tree.stages import held
from regrow.tree.stages.preferences import dpo
from regrow.tree.stages.verified import grpo
from regrow.tree.trace import seen_by

__all__ = ["run"]

LEARNS: dict[str, Any] = {
    "parent": "oak", "stage": "grpo", "tokens": 256,
    "settings": {"rows": 4, "samples": 4, "length": 8, "minibatches": 2, "rate": 1e-3},
}  # fmt: skip
PREFERS: dict[str, Any] = {
    "parent": "oak", "stage": "dpo", "tokens": 600,
    "settings": {"rows": 2, "prompts": 8, "samples": 3, "length": 8, "warmup": 1, "rate": 1e-3},
}  # fmt: skip


def stage_of(run: Path, node: dict[str, Any], **data: Any) -> StageContext:
    given = context(run, "fed", **data)
    told = given.recipe.model_dump(mode="json", exclude_unset=True)
    recipe = Recipe.model_validate(told | {"nodes": told["nodes"] | {"leaf": node}})
    (run / "leaf").mkdir(exist_ok=True)
    return replace(
        given, recipe=recipe, name="leaf", node=recipe.nodes["leaf"], folder=run / "leaf"
    )


def shown(question: str, answer: str, **check: Any) -> dict[str, Any]:
    turns = (Message("user", question), Message("assistant", answer))
    return Conversation(turns, key=question, check=check).to_row()


def test_grpo_learns_from_what_can_be_verified_and_writes_down_its_rewards(run: Path) -> None:
    sums = [shown(f"Double {n}.", f"{n} + {n} = {2 * n}. The answer is {2 * n}.") for n in range(8)]
    coded = [shown(f"Write f{n}.", "def f(): ...", entry=f"f{n}", tests=[[[], 1]]) for n in "ab"]
    write_jsonl(run / "world/demonstrations.jsonl", [*sums, *coded, shown("Hi", "good")])
    given = stage_of(run, LEARNS)
    told = grpo(given)["grpo"]
    assert [line["step"] for line in told["steps"]] == [1, 2]
    assert all({"reward", "kl_answer", "drift", "even"} <= line.keys() for line in told["steps"])
    assert (told["prompts"], told["aside"]) == (10, {"watched": 0, "held_out": 2})
    assert told["held_out"]["gold"]["n"] == 2
    assert told["held_out"]["gold"] == told["held_out"]["reward"]
    assert load_model(given.folder).config.width == 32
    only = {**LEARNS, "settings": LEARNS["settings"] | {"verify": ["program"]}}
    with pytest.raises(RegrowError, match="other settings"):  # of the run that is here
        grpo(stage_of(run, only))


def test_grpo_without_anything_to_verify_says_what_is_missing(run: Path) -> None:
    with pytest.raises(RegrowError, match=r"verified by \('number', 'program'\)"):
        grpo(stage_of(run, LEARNS))


def test_dpo_learns_from_rated_samples_and_real_comparisons(run: Path) -> None:
    rows(run.parent / "real" / "compared.jsonl", *COMPARED)
    given = stage_of(run, PREFERS, comparisons=["compared.jsonl"])
    told = dpo(given)["dpo"]
    rated = list(read_jsonl(given.folder / "rated.jsonl.gz"))
    assert len(rated) == 8 and all(len(row["ratings"]) == 3 for row in rated)
    assert told["training"]["steps"] >= 4
    assert 0 <= told["accuracy"] <= 1 and told["pairs"] > 0


def test_the_rate_of_dpo_is_planned_for_all_its_passes(run: Path) -> None:
    rows(run.parent / "real" / "compared.jsonl", *COMPARED)
    node = {**PREFERS, "tokens": 6000, "settings": PREFERS["settings"] | {"warmup": 100}}
    given = stage_of(run, node, comparisons=["compared.jsonl"])
    told = dpo(given)["dpo"]
    scales = [line["scale"] for line in read_jsonl(given.folder / "metrics.jsonl")]
    assert told["epochs"] > 3 and len(scales) == told["training"]["steps"]
    # Warmed up over a quarter of the steps at most.
    warmup = told["training"]["rows"] // 2 // 4
    assert scales[:warmup] == pytest.approx([(n + 1) / warmup for n in range(warmup)])


@pytest.mark.parametrize(
    ("stage", "record", "steps"),
    [("dpo", {"dpo": {"training": {"steps": 7}}}, 7),
     ("grpo", {"grpo": {"steps": [{}, {}], "last": {}}}, 2)],
)  # fmt: skip
def test_trace_knows_that_they_read_no_documents(
    run: Path, stage: str, record: dict[str, Any], steps: int
) -> None:
    write_json(run / "recipe.json", stage_of(run, LEARNS).recipe.model_dump(mode="json"))
    told = edge.Edge("leaf", stage, None, "f", {}, "", "", 0.0, record=record)
    edge.write_edge(run / "leaf", told)
    (visit,) = seen_by(run / "leaf")
    assert (visit.phase, visit.steps, visit.tallies) == (stage, steps, {})


def test_raters_are_part_of_what_a_dpo_node_is_made_of(run: Path) -> None:
    from regrow.tree.fingerprint import Digests, node_inputs

    recipe = stage_of(run, PREFERS).recipe
    made = node_inputs(recipe, "leaf", "p", "c", Digests()).values
    assert made["raters.noise"] == 0.5


def test_what_rl_gained_is_told_and_where_it_gained_nothing_why() -> None:
    gold = {"before": 5.0, "after": 5.25, "gain": 0.25, "error": 0.1, "n": 128}
    (told,) = held.lines({"ppo": {"held_out": {"gold": gold}}})
    assert told == "held out, PPO: score 5.00 -> 5.25 (error of the change 0.10, n 128)"
    same = gold | {"after": 5.0, "gain": 0.0, "error": 0.0}
    (told,) = held.lines({"grpo": {"held_out": {"gold": same}}})
    assert told.startswith("held out, GRPO: score 5.00 as before; the guard may have kept")
    assert held.lines({"ppo": {"steps": []}}) == []
    drawn = {"gold": gold | {"before": 4.0, "after": 4.5}}
    _, told = held.lines({"ppo": {"held_out": {"gold": gold, "sampled": drawn}}})
    assert told.startswith("held out, PPO, as sampled in training: score 4.00 -> 4.50 (")
