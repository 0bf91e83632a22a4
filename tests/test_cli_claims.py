"""`regrow claims` and `regrow diff` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_claims import garden as garden
from tree_kit import Garden

from regrow.cli_claims import _seconds
from regrow.errors import RegrowError


def test_the_list_tells_each_claim_and_what_it_waits_for(garden: Garden) -> None:
    code, out, _ = garden.call("claims", "--list")
    assert code == 0
    assert "A7   E            Code training gives code generation and understanding" in out
    assert "waits for retrieval at answering time" in out
    rows = json.loads(garden.call("claims", "--json")[1])
    assert len(rows) == 53
    assert {row["id"] for row in rows if row["waiting"]} >= {"C3", "C6"}


def test_a_claim_that_waits_and_one_that_is_not_there_are_refused(garden: Garden) -> None:
    code, _, errors = garden.call("claims", "C3")
    assert (code, errors) == (1, "error: claim C3 waits for retrieval at answering time\n")
    code, _, errors = garden.call("claims", "A77")
    assert code == 1
    assert "no claim 'A77'; did you mean 'A7'?" in errors
    assert "no world variant 'c'" in garden.call("claims", "A7", "--variants", "a,c")[2]


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("60m", 3600), ("2h", 7200)])
def test_a_budget_is_read_in_its_unit(text: str, seconds: float) -> None:
    assert _seconds(text) == seconds


@pytest.mark.parametrize("text", ["2", "soon", "-1h", "0m"])
def test_a_budget_that_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(RegrowError, match="write 90s, 60m or 2h"):
        _seconds(text)


def test_trees_are_judged_and_told_in_all_forms(garden: Garden, tmp_path: Path) -> None:
    ledger_words = (
        "name=tree", "nodes.wet.settings.rate=0.02",
    )  # fmt: skip
    code, _, errors = garden.call("run", "sapling", *ledger_words)
    assert code == 0, errors
    code, out, errors = garden.call("claims", "--all", "--from", "runs/tree")
    assert code == 0, errors  # no claim of the ledger has its nodes in this tree
    assert out.strip() == "runs/claims/report/index.html"
    code, out, _ = garden.call("diff", "dry", "wet", "--run", "tree")
    assert code == 0
    assert "node.settings.rate: 0.005 -> 0.02" in out
    assert "In-context rules, 8 shots" in out
    assert json.loads(garden.call("diff", "dry", "wet", "--run", "tree", "--json")[1])["abilities"]
    code, _, errors = garden.call("claims", "--all", "--from", "runs/nothing")
    assert code == 1
    assert "runs/nothing" in errors


@pytest.mark.parametrize(
    "words", [["--seeds", "3"], ["--variants", "a"], ["--recipe", "x"], ["--budget", "2h"],
              ["--jobs", "1"], ["--dry-run"]]
)  # fmt: skip
def test_finished_trees_are_judged_without_options_of_growing(
    garden: Garden, words: list[str]
) -> None:
    code, _, errors = garden.call("claims", "--all", "--from", "runs/tree", *words)
    assert (code, errors.split(",")[0]) == (1, f"error: {words[0]} does not go with --from")


def test_a_list_takes_no_options_of_runs(garden: Garden) -> None:
    code, _, errors = garden.call("claims", "--budget", "2h")
    assert (code, errors) == (
        1,
        "error: --budget is for claims that are run: name some, or --all\n",
    )


def test_a_claim_whose_arms_no_tree_holds_says_how_to_grow_them(garden: Garden) -> None:
    garden.call("run", "sapling", "name=tree")
    code, _, errors = garden.call("claims", "A5", "--from", "runs/tree")
    assert code == 1
    assert "the arms of claim A5 change the recipe" in errors
    assert "regrow claims A5 --recipe laptop" in errors


@pytest.mark.parametrize("asked", ["--all", "A3"])
def test_the_ledger_as_markdown_names_what_was_not_run(garden: Garden, asked: str) -> None:
    garden.call("run", "sapling", "name=tree")
    code, _, errors = garden.call("claims", asked, "--from", "runs/tree", "--markdown", "claims.md")
    assert code == 0, errors
    text = (garden.folder / "claims.md").read_text()
    assert "## Not run" in text
    assert "- **A7** Code training gives code generation and understanding." in text
