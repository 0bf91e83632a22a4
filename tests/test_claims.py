"""Claims: what is declared, what is refused, and how arms are shared."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import claims_kit as kit
import pytest
from tree_kit import Garden, Inline

from regrow.claims import evidence
from regrow.claims import grow as growing
from regrow.claims.arms import Place, check, made_of, place, tree_of
from regrow.claims.claim import Claim, ledger
from regrow.claims.difference import compare, told
from regrow.claims.markdown import summary
from regrow.claims.page import write_pages
from regrow.claims.store import earlier_verdicts, keep_verdicts
from regrow.claims.verdict import judge
from regrow.errors import RegrowError
from regrow.files import read_json, write_json
from regrow.tree.run import Request, run

_COUNTS = {"A": 22, "B": 6, "C": 7, "D": 6, "E": 10}
ROWS = [f"{letter}{n}" for letter, count in _COUNTS.items() for n in range(1, count + 1)]
ROWS.insert(1, "A1b")
ROWS.insert(ROWS.index("A15"), "A14b")


def test_every_row_of_the_ledger_is_declared() -> None:
    assert list(ledger()) == ROWS
    assert ledger()["C3"].waiting and ledger()["C6"].waiting


@pytest.mark.parametrize("id", [id for id in ROWS if not ledger()[id].waiting])
def test_arms_that_can_run_resolve_and_differ_in_the_named_ingredient_alone(id: str) -> None:
    claim = ledger()[id]
    check(claim, evidence.recipes_of(claim))


def test_a_loss_over_all_sources_is_asked_only_of_arms_that_read_code() -> None:
    for claim in ledger().values():
        if any("text" in claim.lines_of(measure) for measure in claim.measures):
            for name, recipe in evidence.recipes_of(claim).items():
                made = made_of(recipe, claim.arms[name].node)
                assert any(key.endswith("mixture.code") for key in made), (claim.id, name)


@pytest.mark.parametrize("id", [id for id in ROWS if not ledger()[id].waiting])
def test_what_a_prediction_speaks_of_is_measured(id: str) -> None:
    claim = ledger()[id]
    read = {claim.line(line).ability for one in claim.measures for line in claim.lines_of(one)}
    spoken = {"bits per byte": "language_modelling", "verbatim": "memorisation",
              "far recall": "long_range", "few-shot prompting": "few_shot",
              "the prompted": "few_shot"}  # fmt: skip
    assert {spoken[words] for words in spoken if words in claim.prediction} <= read
    if "crosses" in claim.prediction:
        assert any(measure.statistic == "crossover" for measure in claim.measures)


def test_an_interaction_on_a_gap_weighs_both_sides_of_the_gap() -> None:
    interaction = ledger()["A8"].measures[1].terms
    assert {arm: -weight for arm, weight in interaction.items() if arm.endswith("/cot")} == {
        arm.replace("/direct", "/cot"): weight
        for arm, weight in interaction.items() if arm.endswith("/direct")
    }  # fmt: skip


def test_without_deduplication_no_stage_looks_for_copies() -> None:
    stages = {name: one.corpus.stages for name, one in evidence.recipes_of(ledger()["D2"]).items()}
    copies = {name: [s for s in found if "copy" in s] for name, found in stages.items()}
    assert copies == {"none": [], "exact": ["exact copy"], "fuzzy": ["exact copy", "near copy"]}


def test_the_ladder_of_sizes_spans_thirty_fold_in_parameters() -> None:
    recipes = evidence.recipes_of(ledger()["B2"])
    sizes = [recipe.models["long"].config(3072).parameters for recipe in recipes.values()]
    assert max(sizes) / min(sizes) > 30


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"control": "moist"}, "control 'moist' is no arm"),
        ({"differ": []}, "the keys in which arms may differ"),
        ({"lines": {"odd": {"ability": "juggling", "metric": "balls"}}}, "no ability 'juggling'"),
        ({"measures": [{"name": "m", "line": "ruls", "terms": {"wet": 1}, "predicted": "up",
                        "matters": 1}]}, "no line 'ruls'; did you mean 'rules'"),
        ({"measures": [{"name": "m", "line": "rules", "terms": {"wed": 1}, "predicted": "up",
                        "matters": 1}]}, "no arm 'wed'; did you mean 'wet'"),
        ({"measures": [{"name": "m", "line": "rules", "statistic": "slope", "predicted": "up",
                        "matters": 1}]}, "needs arms with x"),
        ({"colour": "green"}, "unknown key 'colour'"),
    ],
)  # fmt: skip
def test_a_claim_that_cannot_be_judged_is_refused_with_the_reason(
    changes: dict[str, Any], why: str
) -> None:
    with pytest.raises(RegrowError, match=re.escape(why)):
        kit.claim(**changes)


SAPLING = """
name: sapling
world: {characters: {town: 1k, code: 1k}, people: 40}
models: {base: {width: 8, layers: 1, heads: 1, kv_heads: 1, hidden: 16, context: 16}}
mixtures: {text: {town: 1}}
nodes:
  root: {stage: pretrain, model: base, tokens: 1k, settings: {mixture: text}}
  wet: {parent: root, stage: supervised, tokens: 100, settings: {rate: 0.02}}
  dry: {parent: root, stage: supervised, tokens: 100, settings: {rate: 0.005}}
  short: {parent: root, stage: supervised, tokens: 50, settings: {rate: 0.02}}
abilities: {names: [in_context]}
"""


@pytest.fixture
def garden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Garden:
    made = Garden(tmp_path, monkeypatch)
    monkeypatch.setenv("REGROW_STAGES", "claims_kit:STAGES")
    monkeypatch.setattr("regrow.tree.run.Execution", Inline)
    (tmp_path / "recipes").mkdir()
    (tmp_path / "recipes" / "sapling.yaml").write_text(SAPLING)

    class Done:
        returncode = 0

        def poll(self) -> int:
            return 0

    def start(runs: Path, task: growing.Task, jobs: int) -> Done:
        growing.link_shared(runs, task, growing._index(runs))
        run(Request(words=task.place.words, to=task.to, runs=runs, jobs=1, quiet=True))
        return Done()

    monkeypatch.setattr(growing, "_start", start)
    return made


def test_an_arm_that_differs_in_more_than_the_ingredient_is_refused(garden: Garden) -> None:
    claim = kit.claim(arms={"wet": {"node": "short"}, "dry": {"node": "dry"}})
    with pytest.raises(RegrowError, match=r"wet differs from dry in more .*node.tokens \(100 and"):
        check(claim, evidence.recipes_of(claim))
    elsewhere = kit.claim(
        arms={"wet": {"node": "wet", "set": {"world.people": 50}}, "dry": {"node": "dry"}}
    )
    with pytest.raises(RegrowError, match=r"world.people \(40 and 50\)"):
        check(elsewhere, evidence.recipes_of(elsewhere))


def test_a_forebear_that_differs_is_found_too(garden: Garden) -> None:
    arms = {"wet": {"node": "wet", "set": {"nodes.root.tokens": "2k"}}, "dry": {"node": "dry"}}
    with pytest.raises(RegrowError, match=r"parent.tokens \(1000 and 2000\)"):
        claim = kit.claim(arms=arms)
        check(claim, evidence.recipes_of(claim))


def test_an_edge_needs_a_line_of_descent(garden: Garden) -> None:
    claim = kit.claim(compare="edge", differ=[])
    with pytest.raises(RegrowError, match="wet does not descend from dry"):
        check(claim, evidence.recipes_of(claim))


def test_the_nodes_of_an_edge_may_be_asked_otherwise_but_not_made_otherwise(garden: Garden) -> None:
    def edge(changes: dict[str, Any]) -> Claim:
        return kit.claim(compare="edge", differ=[], arms={
            "dry": {"node": "root", "set": changes}, "wet": {"node": "wet"},
        })  # fmt: skip

    asked = edge({"abilities.names": ["few_shot"]})
    check(asked, evidence.recipes_of(asked))
    made = edge({"nodes.root.tokens": "2k"})
    with pytest.raises(RegrowError, match="arm dry of an edge takes no overrides but of abilities"):
        check(made, evidence.recipes_of(made))


def test_arms_of_two_claims_are_grown_once_and_shared_by_links(garden: Garden) -> None:
    first = kit.claim()
    other = kit.claim(
        id="A8", differ=["node.settings.rate"],
        arms={"wet": {"node": "wet", "set": {"nodes.wet.settings.rate": 0.03}},
              "dry": {"node": "dry"}},
    )  # fmt: skip
    runs = garden.folder / "runs" / "claims"
    planner = growing.Planner(runs, ["a"], 2, 1)
    plans = [planner.plan(first), planner.plan(other)]
    cheap, beyond = growing.within(plans, None, 1)
    assert not beyond
    assert cheap[1].extra < cheap[0].extra  # dry is paid for already
    growing.grow(cheap, runs, 1, lambda text: None)
    planner.refresh()
    assert not planner.plan(first).tasks
    assert not planner.plan(other).tasks
    twins = [path for path in runs.glob("*/root") if not path.is_symlink()]
    assert len(twins) == 2  # one for each seed
    assert (runs / place(other, other.arms["wet"], "a", 0).run / "world").is_symlink()
    shutil.rmtree(runs / "sapling-a-0" / "root")
    task = growing.Task(place(other, other.arms["wet"], "a", 0), ["wet"])
    growing.link_shared(runs, task, growing._index(runs))
    assert not (runs / task.place.run / "root").is_symlink()  # it led nowhere any more
    for claim in (first, other):
        found = evidence.evidence_of(claim, runs, ["a"], range(2))
        assert [one.seed for one in found] == [0, 1]
        assert judge(claim, found).readings[0].found.whole.mean > 0.1


def test_the_second_world_gets_as_many_seeds_as_it_takes_to_agree(garden: Garden) -> None:
    planner = growing.Planner(garden.folder / "runs" / "claims", ["a", "b"], None, 1)
    runs = [task.place for task in planner.plan(kit.claim()).tasks]
    assert [run.seed for run in runs if run.variant == "a"] == [0, 1, 2, 3, 4]
    assert [run.seed for run in runs if run.variant == "b"] == [0, 1, 2]


def test_a_budget_leaves_the_dearest_claims_out(garden: Garden) -> None:
    dear = kit.claim(
        id="A9", differ=["node.settings.rate", "parent.tokens"],
        arms={"wet": {"node": "wet", "set": {"nodes.root.tokens": "900k"}}, "dry": {"node": "dry"}},
    )  # fmt: skip
    planner = growing.Planner(garden.folder / "runs" / "claims", ["a"], 1, 1)
    chosen, beyond = growing.within([planner.plan(dear), planner.plan(kit.claim())], 60.0, 1)
    assert [plan.claim.id for plan in chosen] == ["A7"]
    assert [plan.claim.id for plan in beyond] == ["A9"]
    assert beyond[0].extra > 60


def test_a_sweep_is_chosen_on_a_seed_that_is_not_measured(
    garden: Garden, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = kit.claim(
        arms={"wet": {"node": "wet", "sweep": {"nodes.wet.settings.rate": [0.01, 0.02]}},
              "dry": {"node": "dry"}}
    )  # fmt: skip
    fakes = {"no_code": "rules"}
    monkeypatch.setattr(evidence, "line", lambda name: claim.line(fakes[name]))
    runs = garden.folder / "runs" / "claims"
    planner = growing.Planner(runs, ["a"], 1, 1)
    arm = claim.arms["wet"]
    assert evidence.swept(claim, arm, runs, "a") is None
    growing.grow([planner.plan(claim)], runs, 1, lambda text: None)
    assert evidence.swept(claim, arm, runs, "a") == {"nodes.wet.settings.rate": 0.01}  # the lowest
    assert not evidence.evidence_of(claim, runs, ["a"], range(1))
    growing.grow([planner.plan(claim)], runs, 1, lambda text: None)
    assert len(evidence.evidence_of(claim, runs, ["a"], range(1))) == 1


def test_finished_trees_are_read_as_seeds_if_they_are_of_one_recipe(garden: Garden) -> None:
    folders = []
    for seed in (0, 1):
        words = ["sapling", f"seed={seed}", f"name=tree-{seed}"]
        run(Request(words=words, runs=garden.runs, jobs=1, quiet=True))
        folders.append(garden.runs / f"tree-{seed}")
    found = evidence.evidence_from(kit.claim(), folders)
    assert [(one.variant, one.seed) for one in found] == [("a", 0), ("a", 1)]
    with pytest.raises(RegrowError, match="same variant and seed"):
        evidence.evidence_from(kit.claim(), [folders[0], folders[0]])
    recipe = folders[1] / "recipe.json"
    write_json(recipe, read_json(recipe) | {"mixtures": {"text": {"code": 1}}})
    with pytest.raises(RegrowError, match="differ in more than seed"):
        evidence.evidence_from(kit.claim(), folders)


def test_a_difference_of_nodes_names_recipe_and_abilities(garden: Garden) -> None:
    run(Request(words=["sapling"], runs=garden.runs, jobs=1, quiet=True))
    folder = garden.runs / "sapling"
    found = compare(folder / "dry", folder / "wet")
    assert found["recipe"] == ["node.settings.rate: 0.005 -> 0.02"]
    (row,) = found["abilities"]
    assert row["line"] == "In-context rules, 8 shots"
    assert row["difference"] == pytest.approx(row["other"] - row["one"])
    assert row["difference"] > 0.1
    assert 0 < row["mcnemar"] < 1
    assert any("McNemar" in line for line in told(found))
    grown = compare(folder / "root", folder / "wet")
    assert grown["recipe"] == ["wet: supervised, 100 tokens, rate=0.02"]
    with pytest.raises(RegrowError, match="no finished node"):
        compare(folder / "dry", folder / "world2")


def test_pages_and_markdown_tell_effect_seeds_and_what_waits(tmp_path: Path) -> None:
    from test_evaluate_report import Checker

    runs = kit.evidence(tmp_path, kit.steady(0.9, 0.1), {"a": 3, "b": 1})
    verdicts = [judge(kit.claim(), runs)]
    index = write_pages(tmp_path / "pages", verdicts, list(ledger().values()))
    for page in (index, index.parent / "A7.html"):
        checker = Checker()
        checker.feed(page.read_text())
        assert checker.open == []
        assert all(link.endswith(".html") for link in checker.fetched)
        assert page.read_text().count('class="seed') >= 4
    text = summary(verdicts, list(ledger().values()))
    assert "| A7 | undecided | supported | a 3, b 1 | rules | up | +0." in text
    assert "**A5** Generalising to unseen tasks" in text
    assert "Waits for retrieval at answering time" in text


def test_claims_judged_before_are_judged_again_from_their_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = {id: kit.claim(id=id) for id in ("A7", "A8")}
    monkeypatch.setattr("regrow.claims.store.ledger", lambda: known)
    for claim in known.values():
        runs = kit.evidence(tmp_path / claim.id, kit.steady(0.8, 0.3), {"a": 5, "b": 3})
        grown = claim.model_copy(update={"recipe": "bush"})
        keep_verdicts(tmp_path, [judge(grown, runs)])
    found, gone = earlier_verdicts(tmp_path, {"A8"})
    assert gone == []
    (verdict,) = found
    assert (verdict.word, verdict.claim.id, verdict.claim.recipe) == ("supported", "A7", "bush")
    shutil.rmtree(tmp_path / "A7" / "b-1" / "wet")
    found, gone = earlier_verdicts(tmp_path, ())
    assert ([one.claim.id for one in found], gone) == (["A8"], ["A7"])
    others = known["A8"].model_copy(update={"arms": {"wet": known["A8"].arms["wet"]}})
    known["A8"] = others
    assert earlier_verdicts(tmp_path, ()) == ([], ["A7", "A8"])


def test_a_first_look_does_not_take_the_place_of_a_full_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regrow.claims.store.ledger", lambda: {"A7": kit.claim()})
    full = kit.evidence(tmp_path / "full", kit.steady(0.8, 0.3), {"a": 5, "b": 3})
    look = kit.evidence(tmp_path / "look", kit.steady(0.3, 0.3), {"a": 1})
    small = kit.claim(recipe="seedling")
    assert keep_verdicts(tmp_path, [judge(small, look)]) == []
    assert keep_verdicts(tmp_path, [judge(kit.claim(), full)]) == []
    for claim in (kit.claim(), small):
        assert keep_verdicts(tmp_path, [judge(claim, look)]) == ["A7"]
    (kept,) = earlier_verdicts(tmp_path, ())[0]
    assert (kept.word, len(kept.evidence), kept.claim.recipe) == ("supported", 8, "sapling")
    shutil.rmtree(tmp_path / "full")
    assert keep_verdicts(tmp_path, [judge(small, look)]) == []


def test_the_tree_of_a_run_is_read_off_its_name() -> None:
    plain = Place("laptop", (), "davinci", "a", 3)
    changed = replace(plain, overrides=("nodes.davinci.tokens=1k",))
    assert changed.run != plain.run == "laptop-a-3"
    assert tree_of(changed.run) == tree_of(plain.run) == plain.run


def test_made_of_does_not_count_names(garden: Garden) -> None:
    recipe = evidence.recipes_of(kit.claim())["wet"]
    made = made_of(recipe, "wet")
    assert made["node.tokens"] == 100
    assert made["parent.mixture.weights.town"] == 1
    assert not [key for key in made if key.endswith((".stands_for", ".claim"))]
