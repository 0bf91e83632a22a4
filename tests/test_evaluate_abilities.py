"""The registry: every rule that an ability's file must keep, and that what is declared is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from regrow.errors import RegrowError
from regrow.evaluate import jail, ownability, prompts
from regrow.evaluate.abilities import ABILITIES, LEAST, LINES, Ability, chance
from regrow.evaluate.declared import read_declared
from regrow.evaluate.judges import JUDGES
from regrow.evaluate.outcomes import Outcome
from regrow.evaluate.plans import PLANS
from regrow.evaluate.taskfile import Task
from regrow.evaluate.taskitems import Question, TaskSettings
from regrow.evaluate.taskscore import Answered
from regrow.evaluate.variations import PLANS as VARIED
from regrow.progress import silent
from regrow.records import Item
from regrow.worlds.knowledge import knowledge_items
from regrow.worlds.prose import render_town
from regrow.worlds.questions import feedback_items
from regrow.worlds.repositories import code_items
from regrow.worlds.school_items import school_items
from regrow.worlds.town import Town
from regrow.worlds.wordings import WORDINGS

GOOD: dict[str, Any] = {
    "title": "Rivers",
    "plain": "zero-shot",
    "tuned": "in its chat template",
    "templates": {"Q/A": "Q: {{ q }}\nA:", "bare": "{{ q }}", "line": "{{ q }}\n"},
    "turns": {"bare": "{{ q }}", "please": "Please: {{ q }}", "now": "{{ q }} Now."},
    "cluster": "family",
    "metrics": {"accuracy": {"chance": 0.5, "twin": "log-probability of the answer"}},
}


def written(folder: Path, told: dict[str, Any]) -> Ability:
    path = folder / "rivers.yaml"
    path.write_text(yaml.safe_dump(told, sort_keys=False))
    return read_declared(Ability, path, "ability")


def test_a_whole_file_is_an_ability(tmp_path: Path) -> None:
    assert written(tmp_path, GOOD).name == "rivers"
    alone = {key: GOOD[key] for key in GOOD if key not in ("tuned", "turns")}
    assert written(tmp_path, alone).as_tuned == "the same plain text as a base node"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"templates": {}}, "'templates' has 0; give at least 3, since a single format"),
        ({"templates": {"a": "{{ q }}", "b": "Q: {{ q }}"}}, "'templates' has 2; give at least 3"),
        ({"turns": {}}, "'turns' has 0; give at least 3"),
        ({"templates": GOOD["templates"] | {"x": "Q:"}}, r"template 'x' has no \{\{ q \}\}"),
        ({"wordings": True}, "the world has no wordings of rivers"),
        ({"metrics": {}}, "'metrics' is empty"),
        ({"metrics": {"accuracy": {"twin": "x"}}}, "'metrics.accuracy.chance' is missing"),
        ({"metrics": {"accuracy": {"chance": 0}}}, "metrics.accuracy: it has no continuous twin"),
        ({"metrics": {"right": {"chance": 0, "continuous": True}}}, "is not continuous"),
        ({"cluster": "town"}, "'cluster': input should be 'family' or 'id'"),
        ({"lines": {"r": {"title": "R", "metric": "acuracy"}}}, "did you mean 'accuracy'"),
        ({"items": "documents"}, "templates are of abilities that ask items of their own"),
        ({"template": {}}, "unknown key 'template'; did you mean 'templates'"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused_with_the_reason(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RegrowError, match=f"ability .*rivers.yaml: .*{reason}"):
        written(tmp_path, GOOD | change)


def test_every_ability_that_asks_is_asked_in_three_ways_or_more_by_base_and_tuned_nodes() -> None:
    for one in ABILITIES.values():
        if one.items == "documents" or one.of:
            continue
        worded = min(len(WORDINGS[one.name](v)) for v in "ab") if one.wordings else 0
        assert max(len(one.templates), worded) >= LEAST, one.name
        assert max(len(one.turns), worded) >= LEAST or not one.tuned, one.name
        assert one.name in PLANS
    for one in ABILITIES.values():
        assert one.name in VARIED if one.of else True
        assert all(source.ability in ABILITIES for source in one.of)


def test_every_metric_says_what_chance_gives_and_has_a_twin_unless_it_is_continuous() -> None:
    for one in ABILITIES.values():
        for metric in one.metrics.values():
            assert metric.twin or metric.continuous
    assert chance("in_context", "accuracy", {"kind": "label"}) == 0.5
    assert chance("in_context", "accuracy", {"kind": "rule"}) == 0.0
    assert chance("benchmarks", "accuracy", {"choices": "5"}) == 0.2
    assert chance("informativeness", "words", {}) is None
    assert chance("juggling", "balls", {}) is None


def test_lines_are_of_metrics_that_are_judged_and_have_names_of_their_own() -> None:
    assert len({line.name for line in LINES}) == len(LINES)
    assert {line.ability for line in LINES} <= {*JUDGES, "code_generation", "language_modelling"}


def test_programs_of_ones_own_that_were_not_run_are_no_score(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task = Task(
        name="own", title="T", source="s", data=("x",), question="{{ q }}", tests="t", entry="e",
        templates={"a": "{{ q }}", "b": "Q: {{ q }}", "c": "{{ q }}\n"}, metric="pass@1",
    )  # fmt: skip
    asked = Question("i", "a", "i", "", 0.0, ("q",), {}, 0, tests="assert f(1) == 1", entry="f")
    texts = ["def f(n):\n    return n\n", "import math\ndef f(n):\n    return n\n"]
    rows = [Answered(asked, text=text, gold=-1.0) for text in texts]
    monkeypatch.setattr(jail, "why_not_wrapped", lambda: "bubblewrap is not installed")
    settings = TaskSettings(Path("data"))

    def outcomes(rows: list[Answered]) -> list[Outcome]:
        monkeypatch.setattr(ownability, "answered", lambda *_: iter([rows]))
        return ownability.own_outcomes(Path("n"), [task], settings, None, silent)  # type: ignore[arg-type]

    (only,) = outcomes(rows[:1])
    assert (only.ability, only.metric, only.value, only.twin) == ("own", "pass@1", 1.0, -1.0)
    with pytest.raises(RegrowError, match=r"own: 1 of 2 programs were not run .* --unsafe-code"):
        outcomes(rows)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["a", "b"])
def test_the_worlds_items_come_in_each_of_the_wordings_that_it_says_they_do(variant: str) -> None:
    town = Town(0, variant, 120)
    list(render_town(town, 200_000, set()))
    items = [
        *knowledge_items(town, 40), *feedback_items(town, 0, 40), *code_items(0, variant, 24),
        *school_items(0, variant, 40),
    ]  # fmt: skip
    for ability, wordings in WORDINGS.items():
        found = {item.wording for item in items if item.ability == ability}
        assert set(wordings(variant)) <= found, ability
        assert all(found), ability
    others = {item.ability for item in items if not item.wording}
    assert others == {"in_context", "chain_of_thought", "dialogue_history"}


def test_an_item_without_a_format_of_its_own_is_told_apart_by_its_wording() -> None:
    item = Item("i", "code_generation", "f", "k", "def f():", ("",), wording="wording 2")
    (template,) = prompts.dealt("code_generation", item, every=True)
    assert (template.name, template.ask("def f():")) == ("wording 2", "def f():")


def test_what_a_user_says_is_dealt_by_item_and_holds_question_and_manner() -> None:
    items = [Item(f"i{n}", "chain_of_thought", "f", "k", "How many?", ("3",)) for n in range(60)]
    said = [
        turn
        for item in items
        for turn in prompts.turns("chain_of_thought", item, False, "How many?", "Go.")
    ]
    assert len(said) == 60
    assert set(said) == {
        ("after", "How many? Go."), ("below", "How many?\nGo."),
        ("please", "Please tell me: How many? Go."),
    }  # fmt: skip
    assert len(prompts.turns("chain_of_thought", items[0], True, "How many?", "Go.")) == 3
