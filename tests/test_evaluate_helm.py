"""HELM's kinds of metric, and the pairs of texts that fairness is measured on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from regrow.evaluate import helm
from regrow.evaluate.comparison import NodeReport, Run
from regrow.evaluate.dialects import about, in_dialect
from regrow.evaluate.outcomes import Outcome, scores

PROBLEM = "Maria has 6 apples. She finds 8 more. She gives 2 to Pedro. How many apples now?"
WORKED = "She finds 8 more: 6 + 8 = 14. The answer is 14."


def outcome(ability: str, n: int, value: float, said: str = "", **more: Any) -> Outcome:
    variant = more.pop("variant", {})
    metric = more.pop("metric", "accuracy")
    return Outcome(ability, f"i{n}", f"f{n}", variant, metric, value, output=said, **more)


def node(outcomes: list[Outcome], **measuring: Any) -> NodeReport:
    return NodeReport(
        "chatgpt", "rlhf", None, False, 0, "", "", "", {}, scores("chatgpt", outcomes, 0), outcomes,
        [], [], measuring,
    )  # fmt: skip


def figures(outcomes: list[Outcome], **measuring: Any) -> dict[str, str]:
    found = helm.columns(node(outcomes, **measuring))
    return {name: cell.value for name, cell in found.items()}


def test_a_problem_is_told_of_a_girl_and_of_a_boy_of_the_same_town() -> None:
    assert about("f", PROBLEM, WORKED) == (PROBLEM, WORKED)
    question, worked = about("m", PROBLEM, WORKED)
    name = question.split()[0]
    assert name in ("Marco", "Simon", "Victor", "Walter", "Oscar")  # Pedro is there already
    assert question == PROBLEM.replace("Maria", name).replace("She", "He")
    assert worked == WORKED.replace("She", "He")
    assert about("f", *about("m", PROBLEM, WORKED))[1] == WORKED
    assert about("m", "Zoe has 3.", "3") == ("Zoe has 3.", "3")


def test_a_dialect_leaves_the_third_person_unmarked() -> None:
    assert in_dialect(PROBLEM) == (
        "Maria got 6 apples. She find 8 more. She give 2 to Pedro. How many apples now?"
    )


def test_each_ability_counts_the_same_in_accuracy_and_second_forms_do_not_count() -> None:
    rows = [outcome("knowledge", n, 1.0) for n in range(9)] + [outcome("long_range", 1, 0.0)]
    rows += [outcome("knowledge", n, 0.0, variant={"asked": "plain"}) for n in range(9)]
    rows += [outcome("robustness", 1, 0.0, variant={"of": "facts", "noise": "none"})]
    assert figures(rows)["accuracy"] == "50%"


def test_calibration_is_over_answers_whose_probability_is_known() -> None:
    rows = [outcome("knowledge", n, 1.0, confidence=0.75) for n in range(4)]
    rows += [outcome("knowledge", n + 9, 0.0) for n in range(4)]
    assert figures(rows)["calibration"] == "0.25"
    assert "calibration" not in figures(rows[4:])


def test_robustness_is_right_in_every_disturbance_at_once() -> None:
    rows = [
        outcome("robustness", n, value, variant={"of": "facts", "noise": noise})
        for n, values in enumerate([(1, 1, 1), (1, 0, 1), (1, 1, 0), (0, 1, 1)])
        for noise, value in zip(("none", "slips", "capitals"), values)
    ]
    assert figures(rows)["robustness"] == "25% of 75%"


def test_bias_is_the_distance_from_even_and_the_paired_gap() -> None:
    said = [outcome("informativeness", 1, 1.0, "She met her aunt and him.", metric="true facts")]
    assert figures(said)["bias"] == "0.25"  # three of four words are women's
    twice = [replace(said[0], metric="words"), *said]
    assert figures(twice)["bias"] == "0.25"
    told = [
        outcome("fairness", n, value, variant={"told": who})
        for n, values in enumerate([(1, 0), (1, 1), (0, 0), (1, 1)])
        for who, value in zip(("a girl", "a boy"), values)
    ]
    assert figures(told + said)["bias"] == "0.25, +25 points"
    assert figures(told)["fairness"] == "50% of 62%"


def test_toxicity_counts_answers_with_an_insult_as_a_whole_word() -> None:
    rows = [
        outcome("knowledge", n, 0.0, text)
        for n, text in enumerate(["You idiot!", "A baker.", "an idiotic plan", "Mill Street"])
    ]
    assert figures(rows)["toxicity"] == "25.0%"


def test_effort_and_the_spread_between_templates_are_told() -> None:
    rows = [
        outcome("code_generation", n, float(n % 2), metric="pass@1", template=f"wording {n % 2}")
        for n in range(8)
    ]
    found = figures(rows, effort={"answers": 200, "tokens": 1800, "seconds": 5.0})
    assert found["efficiency"] == "25 ms, 9 tokens"
    assert found["templates"] == "70.7 points"  # means 0 and 1: a deviation of 1 / sqrt(2)


def test_the_table_says_what_is_not_measured_and_what_figures_do_not_show() -> None:
    rows = [outcome("knowledge", 1, 1.0, "<b>")]
    run = Run(Path("laptop"), {}, [node(rows)], {})
    table = helm.table(run)
    assert "regrow eval NODE --abilities robustness,fairness" in table
    assert "blind to what is meant without them" in table
    assert helm.table(replace(run, nodes=[])) == ""


def test_there_are_as_many_words_of_women_as_of_men() -> None:
    assert len(helm._WORDS["women"]) == len(helm._WORDS["men"]) == 12
