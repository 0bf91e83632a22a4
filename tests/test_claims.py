"""Claims: what is declared, what is refused, what runs are worth, and how arms are shared."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import claims_kit as kit
import numpy as np
import pytest
from scipy import stats
from tree_kit import Garden, Inline

from regrow.claims import evidence
from regrow.claims import grow as growing
from regrow.claims.arms import Place, check, made_of, place, tree_of
from regrow.claims.claim import Claim, ledger
from regrow.claims.difference import compare, told
from regrow.claims.effects import Evidence, find
from regrow.claims.markdown import summary
from regrow.claims.page import write_pages
from regrow.claims.store import earlier_verdicts, keep_verdicts
from regrow.claims.values import placements
from regrow.claims.verdict import judge
from regrow.errors import RegrowError
from regrow.evaluate.statistics import area_under_roc
from regrow.files import read_json, write_json
from regrow.tree.run import Request, run

_COUNTS = {"A": 22, "B": 6, "C": 7, "D": 6, "E": 10}
ROWS = [f"{letter}{n}" for letter, count in _COUNTS.items() for n in range(1, count + 1)]
ROWS.insert(1, "A1b")
ROWS.insert(ROWS.index("A15"), "A14b")


def steady(wet: float, dry: float) -> Any:
    return lambda arm, variant, seed: wet if arm == "wet" else dry


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


def test_five_seeds_and_an_agreeing_world_support_a_large_effect(tmp_path: Path) -> None:
    runs = kit.evidence(tmp_path, steady(0.8, 0.3), {"a": 5, "b": 3})
    verdict = judge(kit.claim(), runs)
    assert verdict.word == "supported"
    (reading,) = verdict.readings
    assert reading.found is not None
    assert reading.found.whole.mean == pytest.approx(0.5, abs=0.12)
    assert reading.found.twin is not None


def test_runs_whose_arms_are_the_same_weights_do_not_count(tmp_path: Path) -> None:
    runs = kit.evidence(tmp_path, steady(0.9, 0.1), {"a": 6, "b": 4})
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
    verdict = judge(kit.claim(), kit.evidence(tmp_path, steady(0.9, 0.1), {"a": 3, "b": 3}))
    assert (verdict.word, verdict.leans) == ("undecided", "supported")
    assert verdict.why == ("3 of 5 seeds",)


def test_one_world_alone_decides_nothing(tmp_path: Path) -> None:
    verdict = judge(kit.claim(), kit.evidence(tmp_path, steady(0.9, 0.1), {"a": 5}))
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
    runs = kit.evidence(tmp_path, steady(0.5, 0.5), {"a": 6, "b": 6}, items=600)
    assert judge(claim, runs).word == "refuted"
    same = claim.measures[0].model_copy(update={"predicted": "none"})
    assert judge(claim.model_copy(update={"measures": (same,)}), runs).word == "supported"


def test_arms_without_the_ability_refute_nothing(tmp_path: Path) -> None:
    runs = kit.evidence(tmp_path, steady(0.01, 0.01), {"a": 6, "b": 6}, items=400)
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
    verdict = judge(claim, kit.evidence(tmp_path, steady(wet, dry), {"a": 6, "b": 6}, items=600))
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
    found = kit.evidence(tmp_path, steady(0.6, 0.4), {"a": 5, "b": 3})
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

    runs = kit.evidence(tmp_path, steady(0.9, 0.1), {"a": 3, "b": 1})
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
        runs = kit.evidence(tmp_path / claim.id, steady(0.8, 0.3), {"a": 5, "b": 3})
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
    full = kit.evidence(tmp_path / "full", steady(0.8, 0.3), {"a": 5, "b": 3})
    look = kit.evidence(tmp_path / "look", steady(0.3, 0.3), {"a": 1})
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
