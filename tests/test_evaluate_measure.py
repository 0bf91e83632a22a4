"""Measuring a node: what is asked, what is written, and that knowing the answers scores."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from regrow.corpus.tokenizer import Tokenizer, train_tokenizer
from regrow.errors import RegrowError
from regrow.evaluate.abilities import ABILITIES, LINES
from regrow.evaluate.answering import Subject
from regrow.evaluate.doubt import curves
from regrow.evaluate.measure import MeasureSettings, choose, measure, speaks_chat
from regrow.evaluate.outcomes import Outcome, read_outcomes, read_scores, scores
from regrow.evaluate.reading import by_position
from regrow.files import write_json, write_jsonl
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.folder import save_model
from regrow.model.stretch import at_context
from regrow.records import Item, Message
from regrow.worlds import raters

#: The abilities with items of the built-in world.
OWN = [name for name in ABILITIES if name not in ("benchmarks", "memorisation")]
WORDS = (
    "cat",
    "dog",
    "lamp",
    "boat",
    "tree",
    "fish",
    "coat",
    "moon",
    "bird",
    "door",
    "milk",
    "key",
)


def tasks(count: int = 48) -> list[Item]:
    return [
        Item(
            f"task{n}", "instructions", f"family{n % 4}", f"key{n}",
            f"Give the word after {WORDS[n % 12]} {n}", (WORDS[(n * 5 + 1) % 12],),
            {"types": "trained"},
        )
        for n in range(count)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small untrained node with its tokenizer and edge record."""
    folder = Path(tmp_path_factory.mktemp("run")) / "davinci"
    texts = [f"Q: {task.question}\nA: {task.answers[0]}\n" for task in tasks()]
    texts.append("Question: Answer: User: Assistant: The answer is 12. def f(n): return n")
    tokenizer = train_tokenizer(texts * 4, 420, folder)
    torch.manual_seed(0)
    save_model(Decoder(ModelConfig(tokenizer.vocabulary, 64, 2, 2, 2, 128, 160)), folder)
    write_json(folder / "edge.json", {"name": "davinci", "stage": "pretrain", "parent": None})
    return folder


def quickly(**changes: Any) -> MeasureSettings:
    return MeasureSettings(**({"items": 4, "samples": 2, "precision": "fp32"} | changes))


def small_items(folder: Path) -> Path:
    """A few items of every ability."""
    solved = [["cat", "She finds 8 more: 6 + 8 = 14. The answer is 14."]]
    problem = {
        "steps": 2, "worked": solved[0][1], "direct_shots": [],
        "exemplars": {"1": solved, "2": solved, "4": solved},
    }  # fmt: skip
    edited = {"value": "bird", "told": "cat bird", "true": "cat dog", "shots": [["moon", "a", "b"]]}
    facts = {"name": "Ada Holm", "gender": "f", "variant": "a", "values": {"pet": "a cat"},
             "past": {}, "kin": ""}  # fmt: skip
    program = {"entry": "f", "tests": [[[1], 1]]}
    rows: dict[str, dict[str, Any]] = {
        "knowledge": {
            "split": {"frequency": "100+"},
            "shots": [["cat", "dog"]] * 3,
            "check": {"edited": edited},
        },
        "in_context": {"split": {"kind": "rule"}, "shots": [["cat", "dog"]] * 8},
        "instructions": {
            "split": {"types": "trained"},
            "question": "Give the first word: dog cat",
            "check": {"task": "first word"},
        },
        "code_generation": {"question": 'def f(n):\n    """n."""\n', "check": program},
        "code_understanding": {},
        "chain_of_thought": {"split": {"steps": "2"}, "check": problem, "answers": ["14"]},
        "long_range": {"split": {"distance": "<50"}},
        "informativeness": {"check": {"facts": facts}},
        "balance": {"check": {"sides": ["tea", "milk"]}},
        "refusal": {"split": {"kind": "improper"}},
        "not_knowing": {"split": {"kind": "unknown", "name": "new"}},
        "dialogue_history": {
            "split": {"turns": "1", "reference": "stated"},
            "messages": [
                {"role": "user", "content": "cat"},
                {"role": "assistant", "content": "ok"},
            ],
        },
    }
    for ability, fields in rows.items():
        base = {"ability": ability, "question": "Give cat", "answers": ["dog"], "split": {}}
        write_jsonl(
            folder / f"{ability}.jsonl",
            [
                {**base, **fields, "id": f"{ability}-a-{n}", "family": f"f{n % 2}", "key": f"k{n}"}
                for n in range(4)
            ],
        )
    return folder


def test_every_ability_is_measured_and_written(node: Path, tmp_path: Path) -> None:
    items = small_items(tmp_path / "items")
    heldout = tmp_path / "heldout.jsonl"
    text = "Give the word after cat 1. " * 20
    write_jsonl(heldout, [{"id": "d", "text": text, "source": "town"}])
    found = measure(node, items, OWN, quickly(heldout=heldout, samples=10))
    assert {score.ability for score in found} == set(OWN)
    assert all(score.low <= score.score <= score.high for score in found)
    assert read_scores(node) == [type(s).from_row(s.to_row()) for s in found]
    outcomes = read_outcomes(node)
    assert {outcome.ability for outcome in outcomes} == set(OWN)
    for one in outcomes:
        assert (one.twin is None) == ABILITIES[one.ability].metrics[one.metric].continuous, one
        assert one.confidence is None or 0 < one.confidence <= 1
    sure = {one.ability for one in outcomes if one.confidence is not None}
    assert {"in_context", "instructions"} <= sure
    assert not sure & {"long_range", "informativeness", "code_generation"}
    titles = [row["title"] for row in json.loads((node / "samples.json").read_text())]
    assert titles[0] == "Go on with a page"
    assert "A program" in titles
    asked = json.loads((node / "measuring.json").read_text())["asked"]
    assert asked["knowledge"] == ABILITIES["knowledge"].plain


@pytest.mark.parametrize("positions", ["rope", "learned"])
def test_loss_by_position_reads_on_past_the_context(
    positions: Any, node: Path, tmp_path: Path
) -> None:
    tokenizer = Tokenizer.load(node)
    model = Decoder(
        ModelConfig(tokenizer.vocabulary, 32, 1, 2, 2, 64, context=160, positions=positions), seed=3
    ).eval()
    texts = [f"Q: {task.question}\nA: {task.answers[0]}\n" for task in tasks(40)]
    documents = [{"id": str(n), "text": text, "source": "town"} for n, text in enumerate(texts)]
    subject = Subject("node", model, tokenizer, 8)
    told = by_position(subject, documents)
    assert model.config.context == 160
    ids = [token for text in texts for token in (*tokenizer.encode(text), tokenizer.eos)]
    rows = [ids[first : first + 319] for first in range(0, len(ids), 319)]
    assert len(rows) > 1 and len(rows[-1]) < 319
    by_row = {name: [one for one in told if one.item == f"town {name}"] for name in (0, 1)}
    where = [one.variant["position"] for one in by_row[0]]
    assert where == ["0-128", "128-256", "256-384"]
    whole = at_context(model, 320, seed=0)
    row = torch.tensor([[tokenizer.start, *rows[0]]])
    with torch.no_grad():
        logits = whole.logits(whole(row[:, :-1]))[0]
    nats = torch.nn.functional.cross_entropy(logits, row[0, 1:], reduction="none")
    nats[row[0, 1:] == tokenizer.eos] = 0.0
    for one, first in zip(by_row[0], (0, 128, 256)):
        part = slice(first, min(first + 128, 319))
        size = len(tokenizer.decode(rows[0][part]).encode())
        wanted = float(nats[part].double().sum()) / math.log(2) / size
        assert one.value == pytest.approx(wanted, rel=1e-4)
    with pytest.raises(RegrowError, match="fewer than 128 tokens"):
        by_position(subject, documents[:2])


def test_measuring_again_gives_the_same_outcomes(node: Path, tmp_path: Path) -> None:
    items = small_items(tmp_path / "items")
    names = ["in_context", "code_generation"]
    measure(node, items, names, quickly(chat=True))
    first = read_outcomes(node)
    measure(node, items, names, quickly(chat=True))
    assert read_outcomes(node) == first


def test_an_ability_is_measured_beside_what_was_measured_before(node: Path, tmp_path: Path) -> None:
    items = small_items(tmp_path / "items")
    measure(node, items, ["in_context"], quickly())
    before = read_outcomes(node)
    shown = (node / "samples.json").read_text()
    found = measure(node, items, ["counterfactuals"], quickly(beside=True))
    assert {score.ability for score in found} == {"in_context", "counterfactuals"}
    assert [o for o in read_outcomes(node) if o.ability == "in_context"] == before
    assert set(json.loads((node / "measuring.json").read_text())["asked"]) == {
        "in_context", "counterfactuals",
    }  # fmt: skip
    assert (node / "samples.json").read_text() == shown
    measure(node, items, ["counterfactuals"], quickly(beside=True))
    assert len(read_outcomes(node)) == len(before) + 8


def test_unknown_abilities_and_missing_items_are_named(node: Path, tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match="unknown ability 'flying'; choose from language"):
        measure(node, tmp_path, ["flying"])
    with pytest.raises(RegrowError, match=r"knowledge\.jsonl is missing"):
        measure(node, tmp_path, ["knowledge"])


def learn(folder: Path, texts: list[str]) -> None:
    """Overfit the node on a few texts."""
    from regrow.model.folder import load_model

    tokenizer, model = Tokenizer.load(folder), load_model(folder)
    rows = [[tokenizer.eos, *tokenizer.encode(text)] for text in texts]
    width = max(map(len, rows))
    ids = torch.tensor([row + [tokenizer.eos] * (width - len(row)) for row in rows])
    optimizer = torch.optim.AdamW(model.parameters(), lr=4e-3)
    for _ in range(250):
        logits = model.logits(model(ids[:, :-1]))
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if loss < 0.02:
            break
    save_model(model, folder)


@pytest.mark.slow
def test_a_node_that_has_learnt_the_answers_scores_and_its_format_is_named(
    node: Path, tmp_path: Path
) -> None:
    import shutil

    learnt = tmp_path / "learnt"
    shutil.copytree(node, learnt)
    learn(learnt, [f"Task: {task.question}\nAnswer: {task.answers[0]}\n" for task in tasks()])
    write_jsonl(tmp_path / "instructions.jsonl", (task.to_row() for task in tasks()))
    (found,) = measure(learnt, tmp_path, ["instructions"], quickly(items=30))
    assert found.n == 30
    assert found.score >= 0.9
    assert found.twin is not None and found.twin > -0.5
    used = json.loads((learnt / "measuring.json").read_text())["instruction_format"]
    assert used["used"] == "Task/Answer"
    (before,) = measure(node, tmp_path, ["instructions"], quickly(items=30))
    assert before.score < 0.3
    assert before.twin is not None and before.twin < found.twin


def test_the_format_is_chosen_on_items_that_are_not_scored() -> None:
    measured, others = choose(tasks(), "instructions", 200)
    assert len(measured) == 42
    assert len(others) == 6
    assert not {item.id for item in measured} & {item.id for item in others}


def test_the_items_chosen_do_not_depend_on_their_order() -> None:
    forward, _ = choose(tasks(), "instructions", 10)
    backward, _ = choose(tasks()[::-1], "instructions", 10)
    assert [item.id for item in forward] == [item.id for item in backward]


def test_a_node_speaks_chat_once_a_forebear_was_tuned(tmp_path: Path) -> None:
    edges = {
        "base": ("pretrain", None),
        "tuned": ("supervised", "base"),
        "on": ("pretrain", "tuned"),
    }
    for name, (stage, parent) in edges.items():
        write_json(tmp_path / name / "edge.json", {"stage": stage, "parent": parent})
    assert [speaks_chat(tmp_path / name) for name in edges] == [False, True, True]


def outcome(ability: str, number: int, value: float, **variant: str) -> Outcome:
    metric = next(iter(ABILITIES[ability].metrics))
    return Outcome(ability, f"i{number}", f"f{number % 3}", variant, metric, value)


def test_a_line_pools_the_cells_it_names_and_a_whole_cell_carries_its_line() -> None:
    rows = [
        outcome("chain_of_thought", n, float(steps < 4), steps=str(steps), style="cot")
        for steps in (3, 4, 5)
        for n in range(6)
    ]
    found = {(s.line, s.variant.get("steps")): s for s in scores("davinci", rows, 7)}
    assert found["cot", "1-4"].score == 0.5
    assert found["cot", "1-4"].n == 12
    assert found["cot_long", "5"].score == 0.0
    assert found["", "3"].score == 1.0
    assert found["", "3"].seed == 7


def test_answers_in_a_second_form_stay_out_of_the_lines() -> None:
    rows = [outcome("knowledge", n, 1.0, frequency="100+") for n in range(4)]
    rows += [outcome("knowledge", n, 0.0, frequency="100+", asked="plain") for n in range(4)]
    found = {s.line: s for s in scores("chatgpt", rows, 0)}
    assert found["facts_common"].score == 1.0
    assert found[""].score == 0.0


def test_fine_splits_are_scored_by_the_groups_of_their_ability() -> None:
    rows = [
        outcome("dialogue_history", n, float(n % 2), turns="1", reference=("stated", "who")[n % 2])
        for n in range(8)
    ]
    variants = [dict(s.variant) for s in scores("chatgpt", rows, 0)]
    assert {"turns": "1"} in variants
    assert {"reference": "who"} in variants
    assert {"turns": "1", "reference": "who"} not in variants


def test_two_labels_are_guessed_right_half_the_time() -> None:
    rows = [outcome("in_context", n, 1.0, kind="label", shots="8") for n in range(4)]
    (found,) = scores("davinci", rows, 0)
    assert (found.chance, found.line) == (0.5, "labels")


def test_every_line_is_of_a_known_ability_and_metric() -> None:
    for line in LINES:
        assert line.metric in ABILITIES[line.ability].metrics


def test_the_admission_of_the_twin_is_one_that_raters_recognise() -> None:
    from regrow.evaluate.twins import ADMISSION

    assert raters.admits_not_knowing(f"{ADMISSION} that person.")


def test_a_circle_of_parents_is_refused(tmp_path: Path) -> None:
    for name, parent in (("a", "b"), ("b", "a")):
        write_json(tmp_path / name / "edge.json", {"stage": "pretrain", "parent": parent})
    with pytest.raises(RegrowError, match="circle"):
        speaks_chat(tmp_path / "a")


def test_doubt_orders_unknown_people_above_known_ones() -> None:
    rows = [
        Outcome("not_knowing", f"{kind}{n}", "f", {"kind": kind}, "admitted", 0.0, twin)
        for kind, low in (("unknown", -1.0), ("known", -3.0))
        for n, twin in enumerate((low, low - 0.5))
    ]
    found = curves(rows)["not_knowing"]
    assert found["area"] == 1.0
    assert (0.0, 1.0) in found["detection"]
    assert found["risk"][-1] == (1.0, 1.0)


def test_messages_survive_a_trip_through_rows() -> None:
    item = tasks(1)[0]
    talk = Item.from_row({**item.to_row(), "messages": [{"role": "user", "content": "hi"}]})
    assert talk.messages == (Message("user", "hi"),)
