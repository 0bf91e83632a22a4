"""Runs that share steps by links: what one does to a step leaves the other as it is."""

from __future__ import annotations

import json
from pathlib import Path

import claims_kit as kit
import pytest
from test_claims import garden as garden
from tree_kit import Garden

from regrow.claims import grow as growing
from regrow.claims.arms import place
from regrow.claims.claim import Claim
from regrow.claims.evidence import evidence_of
from regrow.files import write_atomic
from regrow.tree import links
from regrow.tree.plan import make_plan
from regrow.tree.run import Request, run


@pytest.fixture
def shared(garden: Garden) -> tuple[Path, Claim]:
    """Two runs of a claim: that of `dry` has world, corpus and root by links from that of `wet`."""
    claim = kit.claim(arms={
        "wet": {"node": "wet", "set": {"nodes.wet.settings.rate": 0.03}}, "dry": {"node": "dry"}
    })  # fmt: skip
    runs = garden.folder / "runs" / "claims"
    planner = growing.Planner(runs, ["a"], 1, 1)
    growing.grow([planner.plan(claim)], runs, 1, lambda text: None)
    assert (runs / "sapling-a-0" / "root").is_symlink()
    return runs, claim


def _files(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file() and p.name != ".lock"}


def test_growing_a_linked_step_anew_leaves_the_other_run_alone(
    shared: tuple[Path, Claim],
) -> None:
    runs, claim = shared
    dry, wet = (place(claim, claim.arms[name], "a", 0) for name in ("dry", "wet"))
    before = {name: _files(runs / wet.run / name) for name in ("world", "corpus", "root")}
    outcome = run(
        Request(words=dry.words, to=["dry"], runs=runs, regrow=["world"], jobs=1, quiet=True)
    )
    assert {"world", "corpus", "root", "dry"} <= set(outcome.grown)
    assert not any((runs / dry.run / name).is_symlink() for name in before)
    assert {name: _files(runs / wet.run / name) for name in before} == before


def test_measuring_a_linked_node_in_another_way_leaves_the_other_scores(
    shared: tuple[Path, Claim],
) -> None:
    runs, _ = shared
    claim = kit.claim(
        arms={
            name: {"node": name, "set": {"abilities.items": 7}} for name in ("wet", "dry")
        }
    )  # fmt: skip
    planner = growing.Planner(runs, ["a"], 1, 1)
    kept = {name: _files(runs / "sapling-a-0" / name) for name in ("dry", "root")}
    plan = planner.plan(claim)
    growing.grow([plan], runs, 1, lambda text: None)
    folder = runs / plan.tasks[0].place.run
    assert not (folder / "dry").is_symlink()
    assert (folder / "dry" / "model.safetensors").samefile(
        runs / "sapling-a-0/dry/model.safetensors"
    )
    measured = json.loads((folder / "dry" / "edge.json").read_text())["measured"]
    assert measured["inputs"]["abilities.items"] == 7
    assert {name: _files(runs / "sapling-a-0" / name) for name in kept} == kept
    planner.refresh()
    assert not planner.plan(claim).tasks


def test_a_node_measured_alike_is_linked_before_one_that_was_not(
    shared: tuple[Path, Claim],
) -> None:
    runs, _ = shared
    seven = {"abilities.items": 7}
    claim = kit.claim(arms={name: {"node": name, "set": seven} for name in ("wet", "dry")})
    planner = growing.Planner(runs, ["a"], 1, 1)
    growing.grow([planner.plan(claim)], runs, 1, lambda text: None)
    more = seven | {"nodes.wet.settings.rate": 0.04}
    third = kit.claim(
        arms={"wet": {"node": "wet", "set": more}, "dry": {"node": "dry", "set": more}}
    )
    task = growing.Task(place(third, third.arms["dry"], "a", 0), ["dry"])
    growing.link_shared(runs, task, growing._index(runs))
    found = (runs / task.place.run / "dry").resolve().parent.name
    assert found == place(claim, claim.arms["dry"], "a", 0).run
    recipe = task.place.resolve()
    states = {step.name: step.state for step in make_plan(recipe, runs / task.place.run, ["dry"])}
    assert states["dry/measure"] == "done"


def test_what_a_tree_beside_the_claims_holds_is_not_grown_again(
    shared: tuple[Path, Claim],
) -> None:
    runs, claim = shared
    dry = runs / place(claim, claim.arms["dry"], "a", 0).run
    for name in ("world", "corpus", "root"):  # as in a tree that grew whole
        links.own(dry / name)
    dry.rename(runs.parent / "mine")
    planner = growing.Planner(runs, ["a"], 1, 1)
    plan = planner.plan(claim)
    assert [task.seconds for task in plan.tasks] == [{}]
    growing.grow([plan], runs, 1, lambda text: None)
    assert (dry / "dry").resolve() == (runs.parent / "mine" / "dry").resolve()
    found = evidence_of(claim, runs, ["a"], range(1))
    assert [set(one.nodes) for one in found] == [{"wet", "dry"}]
    planner.refresh()
    assert not planner.plan(claim).tasks


def test_a_link_that_leads_nowhere_is_removed_and_a_folder_wholly(tmp_path: Path) -> None:
    (tmp_path / "gone").symlink_to(tmp_path / "nothing")
    links.remove(tmp_path / "gone")
    assert not (tmp_path / "gone").is_symlink()
    links.remove(tmp_path / "gone")  # nothing is there: nothing to do
    write_atomic(tmp_path / "step" / "inner" / "file", "text")
    links.remove(tmp_path / "step")
    assert not (tmp_path / "step").exists()


def test_owning_a_linked_step_keeps_its_bytes_and_parts_what_is_written_later(
    tmp_path: Path,
) -> None:
    write_atomic(tmp_path / "one" / "tokens" / "town.bin", "shared")
    write_atomic(tmp_path / "one" / "scores.json", "old")
    (tmp_path / "two").symlink_to("one")
    links.own(tmp_path / "two")
    write_atomic(tmp_path / "two" / "scores.json", "new")
    assert (tmp_path / "one" / "scores.json").read_text() == "old"
    assert (tmp_path / "two" / "tokens" / "town.bin").read_text() == "shared"
    links.own(tmp_path / "two")  # it is its own already
    assert (tmp_path / "two" / "scores.json").read_text() == "new"
