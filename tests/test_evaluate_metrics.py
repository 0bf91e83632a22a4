"""Answers are judged as the papers of the benchmarks say, by values worked out by hand."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from regrow.evaluate.metrics import (
    accuracy,
    calibration_bins,
    calibration_error,
    expected_gap,
    extracted,
    judge,
    mass,
)
from regrow.evaluate.published import published_for, published_scores
from regrow.evaluate.taskfile import load_task
from regrow.files import read_jsonl

SHARED = Path(os.environ.get("REGROW_SHARED", Path(__file__).parents[1] / ".." / "shared")) / "data"


@pytest.mark.parametrize(
    ("metric", "text", "answer", "value"),
    [
        ("exact", " Yes.", "yes", 1),
        ("exact", "yes, it is", "yes", 0),
        ("strict", "(A)", "(A)", 1),
        ("strict", "(a)", "(A)", 0),
        ("open", "The Beatles!", "beatles", 1),
        ("open", "beetles", "beatles", 0),
        ("number", "1,234", "1234", 1),
        ("number", "so 3 and then 51.0", "51", 1),
        ("number", "-5", "5", 0),
        ("number", "none", "5", 0),
        ("literal", "[1,2]", "[1, 2]", 1),
        ("literal", "{'b': 1, 'a': 2}", "{'a': 2, 'b': 1}", 1),
        ("literal", "1", "True", 0),
        ("literal", "[True]", "[1]", 0),
        ("literal", "{1: (2, {3})}", "{1: (2, {3})}", 1),
        ("literal", "{1: (2, {3})}", "{1: (2, {3.0})}", 0),
        ("literal", "'a", "'a'", 0),
        ("rouge_l", "the cat sat", "the cat sat", 1),
        # "police the gunman" and "police killed the gunman": 3 words in order, of 3 and 4
        ("rouge_l", "Police the gunman", "police killed the gunman", 6 / 7),
        # Lin 2004, sec. 3.1: S1 against S3, of which "police ... gunman" is no run: "the gunman"
        ("rouge_l", "the gunman kill police", "police killed the gunman", 4 / 8),
        ("rouge_l", "", "police", 0),
    ],
)  # fmt: skip
def test_a_text_is_judged(metric: str, text: str, answer: str, value: float) -> None:
    assert judge(metric, text, ["no such", answer]) == pytest.approx(value)


def test_the_best_of_several_right_answers_counts_and_none_gives_nothing() -> None:
    assert judge("open", "rome", ["milan", "Rome"]) == 1
    assert judge("open", "rome", []) == 0


def test_the_first_pattern_that_occurs_finds_the_answer() -> None:
    patterns = (r"answer is (\w+)", r"\b([A-E])\b")
    assert extracted("so the answer is C, the answer is D", patterns) == "C"
    assert extracted("it must be B", patterns) == "B"
    assert extracted(" nothing here ", patterns) == "nothing here"


def test_equally_likely_choices_share_the_point() -> None:
    assert accuracy(np.array([-1.0, -2.0, -1.5]), [0]) == 1
    assert accuracy(np.array([-1.0, -1.0, -3.0]), [1]) == 0.5
    assert accuracy(np.array([-1.0, -1.0, -1.0, -3.0]), [0, 1]) == pytest.approx(2 / 3)


def test_the_share_of_probability_on_right_choices() -> None:
    assert mass(np.log([0.2, 0.3, 0.5]), [0, 2]) == pytest.approx(0.7)
    assert mass(np.log([0.02, 0.08]) - 900, [1]) == pytest.approx(0.8)


def test_the_calibration_error_is_the_gap_between_confidence_and_accuracy() -> None:
    # two bins: confidence 0.25 against 0.5 right, and 0.75 against 1 right
    error = calibration_error([0.8, 0.2, 0.7, 0.3], [1, 1, 1, 0], bins=2)
    assert error == pytest.approx(0.25)
    assert calibration_error([1.0, 1.0], [1, 1]) == 0
    assert calibration_error([1.0], [0]) == 1


def test_bins_hold_equal_numbers_of_items_from_the_least_sure_up() -> None:
    bins = calibration_bins([0.8, 0.2, 0.7, 0.3], [1, 1, 1, 0], bins=2)
    assert bins == [[pytest.approx(0.25), 0.5, 2], [pytest.approx(0.75), 1.0, 2]]
    assert expected_gap(bins) == pytest.approx((0.25 * 2 + 0.25 * 2) / 4)
    assert calibration_bins([], []) == []


def test_published_scores_come_with_setting_and_source_and_the_family_first() -> None:
    assert len(published_scores()) == 1216
    assert all(row.setting and row.source_title for row in published_scores())
    models = list(dict.fromkeys(row.model.split(" (")[0] for row in published_for(["GSM8K"])))
    assert models[:3] == ["code-davinci-002", "text-davinci-002", "gpt-3.5-turbo"]
    assert published_for(["no such"]) == []


def test_answers_of_code_davinci_002_to_bbh_score_as_published() -> None:
    """7,874 real outputs, 16 of the 27 tasks, with and without chains: every figure is met."""
    path = SHARED / "bbh_code_davinci_002_outputs" / "data.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there; set REGROW_SHARED to read real data")
    tasks = {"cot": load_task("bbh"), "direct": load_task("bbh_direct")}
    values: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in read_jsonl(path):
        task = tasks[row["mode"]]
        found = extracted(row["prediction"], task.extract)
        values[row["task"], row["mode"]].append(judge(task.metric, found, [row["target"]]))
    ours = {key: 100 * sum(found) / len(found) for key, found in values.items()}
    theirs = {
        (row.benchmark.removeprefix("BBH/"), "cot" if "CoT" in row.setting else "direct"): row.score
        for row in published_scores()
        if row.source_title == "BIG-Bench-Hard repository, code-davinci-002-outputs"
        or "raw per-item outputs" in row.setting
    }
    assert len(ours) == 32
    assert ours == pytest.approx({key: theirs[key] for key in ours}, abs=1e-4)
