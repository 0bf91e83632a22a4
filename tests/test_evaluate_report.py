"""The report is one page that holds together, tells gains from losses, and escapes answers."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from regrow.errors import RegrowError
from regrow.evaluate import familytree
from regrow.evaluate.abilities import line
from regrow.evaluate.bars import measured_bars
from regrow.evaluate.comparison import Run, read_run, so_far
from regrow.evaluate.growth import smooth
from regrow.evaluate.outcomes import Outcome, scores
from regrow.evaluate.report import write_report
from regrow.evaluate.sections import heat_map
from regrow.evaluate.table import ability_table, side_by_side
from regrow.files import write_json, write_jsonl
from regrow.page import charts

VOID = {"meta", "br", "link", "input", "img", "hr"}


class Checker(HTMLParser):
    """Every tag is closed in order, and nothing is fetched."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.fetched: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and not (value or "").startswith("#"):
                self.fetched.append(str(value))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes nothing"


def answers(node: str, skill: dict[str, float]) -> list[Outcome]:
    rows = []
    for n in range(60):
        for ability, metric, variant, key in (
            ("code_generation", "pass@1", {"combination": "held-out"}, "code"),
            ("in_context", "accuracy", {"kind": "rule", "shots": "8"}, "rules"),
            ("informativeness", "true facts", {}, "facts"),
        ):
            value = float((n % 10) < 10 * skill[key]) if key != "facts" else skill[key] + n % 2
            rows.append(
                Outcome(ability, f"{key}{n}", f"family{n % 20}", variant, metric, value, -0.5)
            )
    return rows


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "laptop"
    skills: dict[str, dict[str, float]] = {
        "babbage": {"code": 0.0, "rules": 0.9, "facts": 1},
        "code-cushman-001": {"code": 0.9, "rules": 0.4, "facts": 1},
        "babbage-text": {"code": 0.0, "rules": 0.9, "facts": 1},
    }
    nodes: dict[str, Any] = {
        "babbage": {"stage": "pretrain", "tokens": 4000000},
        "code-cushman-001": {"stage": "pretrain", "parent": "babbage", "tokens": 1500000,
                             "settings": {"mixture": "code"}},
        "babbage-text": {"stage": "pretrain", "parent": "babbage", "arm": True},
    }  # fmt: skip
    write_json(folder / "recipe.json", {"name": "laptop", "seed": 3, "nodes": nodes})
    for name, skill in skills.items():
        outcomes = answers(name, skill)
        edge = {"name": name, "stage": "pretrain", "parent": nodes[name].get("parent"),
                "seconds": 10.0, "machine": "a <fast> machine", "fingerprint": "abc"}  # fmt: skip
        write_json(folder / name / "edge.json", edge)
        found = [score.to_row() for score in scores(name, outcomes, 3)]
        write_json(folder / name / "scores.json", found)
        write_jsonl(folder / name / "items.jsonl.gz", (o.to_row() for o in outcomes))
        rows = [{"tokens": n * 100, "loss": 3 - n / 50} for n in range(1, 100)]
        write_jsonl(folder / name / "metrics.jsonl", rows)
        sample = {"title": "A program", "prompt": "def f(n):", "gold": "1 < 2", "right": True,
                  "answer": "<script>alert(1)</script>", "asked": "plain"}  # fmt: skip
        write_json(folder / name / "samples.json", [sample])
    stages = [{"stage": "read", "documents": 100}, {"stage": "rules", "documents": 60}]
    write_json(folder / "corpus" / "report.json", {"funnel": {"stages": stages}})
    return folder


def test_the_page_is_whole_and_fetches_nothing(run: Path) -> None:
    page = write_report(run).read_text()
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert checker.fetched == []
    assert not re.search(r"https?://|@import|url\(", page)
    assert "{{" not in page
    assert "HELM's kinds of metric" in page


def test_a_reward_model_stands_beside_the_agreement_of_its_raters(run: Path) -> None:
    assert "Reward models" not in write_report(run).read_text()
    path = run / "code-cushman-001" / "edge.json"
    told = {
        "accuracy": 0.812, "accuracy_error": 0.014, "pairs": 900, "held_prompts": 256,
        "agreement": 0.864, "agreement_error": 0.01, "of_agreement": 0.94,
        "of_agreement_interval": [0.91, 0.97], "calibration_error": 0.031,
        "calibration": [{"votes": 50, "predicted": 0.75, "agreed": 0.7}],
    }  # fmt: skip
    write_json(path, json.loads(path.read_text()) | {"record": {"reward_model": told}})
    page = write_report(run).read_text()
    for said in ("81.2 %", "± 1.4", "86.4 %", "0.94", "[0.91, 0.97]", "0.031", "900 pairs"):
        assert said in page
    assert "75% sure: 70% of 50 judgements agree" in page


def test_an_older_record_of_a_reward_model_is_shown_as_far_as_it_goes(run: Path) -> None:
    path = run / "babbage" / "edge.json"
    told = {"accuracy": 0.8, "accuracy_error": 0.02, "pairs": 70}
    write_json(path, json.loads(path.read_text()) | {"record": {"reward_model": told}})
    assert "70 pairs" in write_report(run).read_text()


def test_answers_of_models_are_shown_as_text_not_as_markup(run: Path) -> None:
    page = write_report(run).read_text()
    assert "<script>alert(1)</script>" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "a &lt;fast&gt; machine" in page


def test_the_rows_beside_the_page_are_those_of_all_nodes(run: Path) -> None:
    write_report(run)
    rows = json.loads((run / "report" / "abilities.json").read_text())
    assert {row["node"] for row in rows} == {"babbage", "code-cushman-001", "babbage-text"}
    wanted = {"node", "ability", "variant", "n", "score", "low", "high", "chance", "seed"}
    assert all(wanted <= row.keys() for row in rows)
    assert {row["seed"] for row in rows} == {3}


def test_the_headline_says_what_code_training_gave_and_cost(run: Path) -> None:
    page = write_report(run).read_text()
    card = page[page.index("Training on code") :][:600]
    assert "code, pass@1</em> <b>0 → 90 %" in card
    assert "It cost <em>in-context rules, 8 shots</em> <b>90 → 40 %" in card


def test_a_run_without_nodes_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match="no grown node; run `regrow run` first"):
        write_report(tmp_path)


def test_a_node_that_was_not_measured_is_still_drawn(run: Path) -> None:
    (run / "code-cushman-001" / "scores.json").unlink()
    (run / "code-cushman-001" / "items.jsonl.gz").unlink()
    assert "code-cushman-001" in write_report(run).read_text()


def test_parents_stand_before_children_and_arms_after_main_nodes(run: Path) -> None:
    assert [node.name for node in read_run(run).nodes] == [
        "babbage", "code-cushman-001", "babbage-text",
    ]  # fmt: skip


def test_a_change_is_child_minus_parent_on_the_same_items(run: Path) -> None:
    found = {(c.child, c.line.name): c for c in read_run(run).changes()}
    code = found["code-cushman-001", "code"]
    assert (code.before, code.after) == (0.0, pytest.approx(0.9))
    assert code.significant
    assert code.gain > 0
    rules = found["code-cushman-001", "rules"]
    assert rules.paired.difference == pytest.approx(-0.5)
    assert rules.gain < 0
    same = found["babbage-text", "rules"]
    assert same.paired.difference == 0
    assert not same.significant


def test_items_that_only_one_node_answered_are_left_out_of_the_change(run: Path) -> None:
    path = run / "code-cushman-001" / "items.jsonl.gz"
    rows = [o for o in answers("x", {"code": 0.9, "rules": 0.4, "facts": 1}) if o.item != "code0"]
    write_jsonl(path, (o.to_row() for o in rows))
    found = {(c.child, c.line.name): c for c in read_run(run).changes()}
    assert found["code-cushman-001", "code"].paired.n == 59


def test_a_bar_is_met_by_the_end_of_the_interval_not_by_the_mean(run: Path) -> None:
    (bar,) = [b for b in measured_bars([read_run(run)]) if b.bar.bound is not None]
    assert (bar.bar.node, bar.line.name) == ("code-cushman-001", "code")
    assert bar.mean == pytest.approx(0.9)
    assert bar.low < 0.8
    assert bar.met is False


def test_bars_pool_runs_of_several_seeds(run: Path) -> None:
    one = read_run(run)
    (bar,) = [b for b in measured_bars([one, one, one]) if b.bar.bound is not None]
    assert (bar.n, bar.runs) == (180, 3)


def _with_code(one: Run, share: float, variant: str) -> Run:
    """A run whose every program of code-cushman-001 is right to this share."""
    nodes = [
        replace(node, outcomes=[replace(o, value=share) for o in node.outcomes])
        if node.name == "code-cushman-001" else node
        for node in one.nodes
    ]  # fmt: skip
    return replace(one, nodes=nodes, recipe={**one.recipe, "world": {"variant": variant}})


def test_pooled_bars_have_the_spread_of_seeds(run: Path) -> None:
    one = read_run(run)
    (bar,) = [
        b for b in measured_bars([_with_code(one, share, "a") for share in (0.6, 0.7, 0.8)])
        if b.bar.bound is not None
    ]  # fmt: skip
    half = 4.3027 * 0.1 / math.sqrt(3)  # t of two degrees of freedom
    assert (bar.mean, bar.low, bar.high) == pytest.approx((0.7, 0.7 - half, 0.7 + half), abs=1e-3)
    assert bar.met is False


def test_a_variant_without_a_wrong_answer_does_not_widen_a_pooled_bar(run: Path) -> None:
    one = read_run(run)
    runs = [_with_code(one, share, "b") for share in (0.97, 0.98, 0.99)]
    runs += [_with_code(one, 1.0, "a") for _ in range(3)]
    (bar,) = [b for b in measured_bars(runs) if b.bar.bound is not None]
    assert bar.mean == pytest.approx(0.99)
    assert 0.97 < bar.low < bar.high == 1.0


def test_leaves_grow_up_for_gains_in_the_sense_of_the_line() -> None:
    up = familytree.Leaf(line("code"), 0.5, True, "tip", "code +50")
    down = familytree.Leaf(line("known"), -0.3, True, "tip", "over-admits −30")
    unsure = familytree.Leaf(line("cot"), 0.2, False, "tip", "steps +20")
    drawn = familytree.branch([up, down, unsure], 0, 100, 200)
    assert re.findall(r'class="(leaf[^"]*)"', drawn) == [
        "leaf up", "leaf down", "leaf up unsure",
    ]  # fmt: skip
    assert familytree.summary([up, down, unsure], True) == "code +50"
    assert familytree.summary([up, down, unsure], False) == "over-admits −30"


def test_ticks_are_round_and_inside_the_range() -> None:
    assert charts.ticks(0, 1) == [0, 0.25, 0.5, 0.75, 1.0]
    assert charts.ticks(1.3, 3.1, 4) == [2.0, 3.0]


@pytest.mark.parametrize(
    ("value", "said"), [(7e6, "7M"), (600_000, "600k"), (0.25, "0.25"), (39870, "39.9k")]
)
def test_numbers_are_said_shortly(value: float, said: str) -> None:
    assert charts.short(value) == said


def test_parts_of_a_training_follow_one_another_on_the_token_axis() -> None:
    rows = [
        {"step": 0, "tokens": 100, "loss": 3.0}, {"step": 1, "tokens": 200, "loss": 2.0},
        {"step": 0, "tokens": 50, "loss": 1.0}, {"step": 1, "tokens": 100, "loss": 0.9},
    ]  # fmt: skip
    assert smooth(rows, "loss") == [(100, 3.0), (200, 2.0), (250, 1.0), (300, 0.9)]


def test_a_batch_left_out_and_a_step_gone_back_to_do_not_stretch_the_token_axis() -> None:
    counts = [(0, 100), (1, 200), (2, 200), (3, 300), (2, 200), (3, 300), (4, 400)]
    rows = [{"step": n, "tokens": tokens, "loss": float(n)} for n, tokens in counts]
    assert [x for x, _ in smooth(rows, "loss")] == [100, 200, 200, 200, 300, 400]


def test_steps_of_reinforcement_count_their_own_tokens_and_others_those_so_far(run: Path) -> None:
    rows = [{"tokens": 70.0, "loss": 0.1}, {"tokens": 80.0, "loss": 0.2}, {"event": "back"}]
    assert smooth(so_far(rows), "loss") == [(70, 0.1), (150, 0.2)]
    for stage, tokens in (("grpo", [70, 150]), ("supervised", [70, 80])):
        write_json(run / "babbage" / "edge.json", {"name": "babbage", "stage": stage})
        write_jsonl(run / "babbage" / "metrics.jsonl", rows[:2])
        node = read_run(run).node("babbage")
        assert node is not None
        assert [row["tokens"] for row in node.metrics] == tokens


def test_what_is_measured_now_and_then_stands_at_the_tokens_of_all_steps() -> None:
    rows = [{"tokens": 70.0, "reward": 0.1}, {"tokens": 80.0, "reward": 0.2, "watched_gold": 5.0}]
    assert smooth(so_far(rows), "watched_gold") == [(150, 5.0)]


def test_curves_are_thinned_to_means() -> None:
    rows = [{"tokens": n, "loss": float(n % 2)} for n in range(1, 1001)]
    points = smooth(rows, "loss", most=100)
    assert len(points) == 100
    assert all(y == 0.5 for _, y in points)


def test_the_terminal_table_has_a_row_for_each_line_and_arms_last(run: Path) -> None:
    from rich.console import Console

    found = read_run(run)
    table = ability_table({n.name: n.scores for n in found.nodes}, arms=["babbage-text"])
    console = Console(width=140, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(table)
    text = console.export_text()
    assert re.search(r"Code, pass@1 +0 ±3 +90 ±\d+ +0 ±3", text)
    assert [column.header for column in table.columns][-1] == "babbage-\ntext"


def test_a_narrow_window_gets_several_tables_and_no_cell_is_cut(run: Path) -> None:
    from rich.console import Console

    found = read_run(run)
    scores = {n.name: n.scores for n in found.nodes}
    groups = side_by_side(list(scores), 60)
    assert [name for group in groups for name in group] == list(scores)
    assert len(groups) > 1 and side_by_side(list(scores), 300) == [list(scores)]
    console = Console(width=60, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    for group in groups:
        console.print(ability_table({name: scores[name] for name in group}))
    text = console.export_text()
    assert "…" not in text and all(len(line) <= 60 for line in text.splitlines())


def test_nodes_that_differ_by_noise_alone_are_shaded_alike(tmp_path: Path) -> None:
    for name, shift in (("one", 0.0), ("two", 0.01), ("far", 3.0)):
        bits = [
            Outcome("language_modelling", str(n), str(n), {"source": "town"}, "bits per byte",
                    2 + n / 10 + shift)
            for n in range(8)
        ]  # fmt: skip
        folder = tmp_path / name
        write_json(folder / "edge.json", {"name": name, "stage": "pretrain", "parent": None})
        write_json(folder / "scores.json", [one.to_row() for one in scores(name, bits, 0)])
        write_jsonl(folder / "items.jsonl.gz", (one.to_row() for one in bits))

    def shades() -> list[float]:
        run = read_run(tmp_path)
        return [float(v) for v in re.findall(r"--v:([0-9.]+)", heat_map(run))][: len(run.nodes)]

    far, *alike = sorted(shades())
    assert far == 0 and min(alike) > 0.99
    (tmp_path / "far" / "edge.json").unlink()
    (tmp_path / "far" / "scores.json").unlink()
    assert min(shades()) > 0.95
