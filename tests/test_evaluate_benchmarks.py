"""Published benchmarks: every shape of row is read, and the likeliest choice per token is taken."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from regrow.corpus.tokenizer import Tokenizer, train_tokenizer
from regrow.errors import RegrowError
from regrow.evaluate.answering import Subject, answer
from regrow.evaluate.benchmarks import read_benchmark
from regrow.evaluate.judges import JUDGES
from regrow.evaluate.measure import MeasureSettings, measure
from regrow.evaluate.outcomes import Outcome, read_outcomes, score
from regrow.evaluate.plans import PLANS, Asker, Request
from regrow.files import write_json
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.folder import save_model
from regrow.progress import silent
from regrow.records import Item

SHARED = Path(os.environ.get("REGROW_SHARED", Path(__file__).parents[1] / ".." / "shared")) / "data"
MMLU = {
    "subject": "astronomy", "split": "dev", "question": "What shines by day?",
    "choices": ["moon", "sun", "lamp", "cat"], "answer": "B",
}  # fmt: skip
ARC = {
    "set": "Challenge", "id": "x", "question": "What shines by day?",
    "choices": {"1": "moon", "2": "sun", "3": "lamp"}, "answer": "2",
}  # fmt: skip
COMMON = {
    "id": "x", "concept": "light", "question": "What shines by day?",
    "choices": {"A": "moon", "B": "sun"}, "answer": "B",
}  # fmt: skip
BOOLQ = {
    "query": "Passage: The sun is hot.\nQuestion: is the sun hot?", "choices": ["no", "yes"],
    "gold": 1,
}  # fmt: skip
PIQA = {"query": "Question: warm milk\n", "choices": ["use ice", "use fire"], "gold": 1}
SIQA = {
    "query": "Context: Ada ran.\nQuestion: How is she?\nChoices:\nA. asleep\nB. tired\nAnswer:",
    "choices": ["A", "B"], "gold": 1,
}  # fmt: skip


def write(folder: Path, *rows: dict[str, Any], name: str = "data.jsonl") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder / name


@pytest.mark.parametrize(
    ("row", "question", "choices"),
    [
        (MMLU, "What shines by day?", ["moon", "sun", "lamp", "cat"]),
        (ARC, "What shines by day?", ["moon", "sun", "lamp"]),
        (COMMON, "What shines by day?", ["moon", "sun"]),
        (BOOLQ, "The sun is hot.\nis the sun hot?", ["no", "yes"]),
        (PIQA, "warm milk", ["use ice", "use fire"]),
        (SIQA, "Ada ran.\nHow is she?", ["asleep", "tired"]),
    ],
)  # fmt: skip
def test_rows_of_every_shape_become_items(
    tmp_path: Path, row: dict[str, Any], question: str, choices: list[str]
) -> None:
    (item,) = read_benchmark(write(tmp_path, row))
    assert (item.question, item.check) == (question, {"choices": choices, "gold": 1})
    assert item.answers == (choices[1],)
    assert item.ability == "benchmarks"


def test_a_benchmark_is_called_by_its_folder_or_file_and_by_the_set_of_the_row(
    tmp_path: Path,
) -> None:
    items = [
        *read_benchmark(write(tmp_path / "mmlu", MMLU, MMLU)),
        *read_benchmark(write(tmp_path / "arc", ARC)),
        *read_benchmark(write(tmp_path, PIQA, name="Goals.jsonl")),
    ]
    assert [item.split["benchmark"] for item in items] == ["mmlu"] * 2 + ["arc-challenge", "goals"]
    assert [item.family for item in items] == ["mmlu/astronomy"] * 2 + [
        "arc-challenge|0", "goals|0",
    ]  # fmt: skip
    assert len({item.id for item in items}) == 4


def test_rows_that_make_no_sense_are_left_out(tmp_path: Path) -> None:
    rows = [
        MMLU | {"answer": "E"}, MMLU | {"question": " "}, MMLU | {"choices": ["", "a", "b", "c"]},
        PIQA | {"gold": 2}, PIQA | {"choices": ["one"], "gold": 0}, {"text": "a page"}, PIQA,
    ]  # fmt: skip
    (item,) = read_benchmark(write(tmp_path, *rows))
    assert item.question == "warm milk"
    with pytest.raises(RegrowError, match="no benchmark in a known shape"):
        read_benchmark(write(tmp_path, *rows[:-1]))


def outcome(item: str, choices: int, value: float) -> Outcome:
    variant = {"benchmark": "arc", "choices": str(choices)}
    return Outcome("benchmarks", item, item, variant, "accuracy", value)


def test_chance_is_the_mean_of_one_over_the_choices() -> None:
    even = [outcome(str(n), 4, n % 2) for n in range(4)]
    assert score("davinci", even, {"benchmark": "arc"}, 0).chance == 0.25
    mixed = [outcome("a", 2, 1.0), outcome("b", 4, 0.0)]
    assert score("davinci", mixed, {"benchmark": "arc"}, 0).chance == 0.375


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    folder = Path(tmp_path_factory.mktemp("tokenizer"))
    return train_tokenizer(["Q: what shines?\nA: the moon, sun, lamp, cat\n"] * 20, 330, folder)


def requests(tokenizer: Tokenizer, item: Item, context: int = 64, every: bool = False) -> Any:
    asker = Asker(tokenizer, context, chat=True, every_template=every)
    return list(PLANS["benchmarks"](item, asker))


def shining(*choices: str, question: str = "what shines?") -> Item:
    check = {"choices": list(choices), "gold": 1}
    return Item("s|0", "benchmarks", "s|0", "s|0", question, (choices[1],), {}, check=check)


def test_a_tuned_node_is_asked_in_the_same_three_plain_forms_as_a_base_node(
    tokenizer: Tokenizer,
) -> None:
    asked = requests(tokenizer, shining("sun", "the moon"), every=True)
    assert [tokenizer.decode(request.prompt) for request in asked] == [
        "Q: what shines?\nA:", "Question: what shines?\nAnswer:", "what shines?",
    ]  # fmt: skip
    assert {request.asked for request in asked} == {"plain"}
    assert [tokenizer.decode(ids) for ids in asked[0].choices] == [" sun", " the moon"]


def test_a_long_question_loses_its_head_and_a_long_choice_its_end(tokenizer: Tokenizer) -> None:
    long = shining("sun", "moon " * 80, question="sun " * 80 + "what shines?")
    (asked,) = requests(tokenizer, long)
    assert max(map(len, asked.choices)) == 32
    assert len(asked.prompt) + 32 <= 64
    assert "shines" in tokenizer.decode(asked.prompt)


def answered(
    tokenizer: Tokenizer, item: Item, tables: dict[str, list[float]], patch: pytest.MonkeyPatch
) -> tuple[Request, str, float | None]:
    """The request, the answer and the twin of a model whose log-probabilities stand in a table."""

    def known(model: Any, pairs: Any, batch: int = 64) -> Any:
        return [
            SimpleNamespace(logprobs=np.array(tables[tokenizer.decode(c).strip()]), greedy=False)
            for _, c in pairs
        ]

    patch.setattr("regrow.generate.sampler.score", known)
    model = SimpleNamespace(config=SimpleNamespace(context=64))
    (asked,) = requests(tokenizer, item)
    (own,) = answer(Subject("stub", model, tokenizer, 8), [asked], silent)  # type: ignore[arg-type]
    return asked, own.texts[0], own.twin("accuracy")


def test_the_choice_with_the_highest_mean_log_probability_is_the_answer(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As sums, -1.0 > -1.6: without the length "sun" would win.
    tables = {"sun": [-1.0], "the moon": [-0.6, -1.0], "cat": [-4.0]}
    item = shining("sun", "the moon", "cat")
    request, text, twin = answered(tokenizer, item, tables, monkeypatch)
    assert text == "the moon"
    assert twin == pytest.approx(-0.8)
    assert JUDGES["benchmarks"](request, [text]) == {"accuracy": 1.0}


def test_a_wrong_choice_is_wrong_and_the_twin_is_still_that_of_the_right_one(
    tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = {"sun": [-0.5], "the moon": [-0.6, -1.0]}
    request, text, twin = answered(tokenizer, shining("sun", "the moon"), tables, monkeypatch)
    assert (text, JUDGES["benchmarks"](request, [text])) == ("sun", {"accuracy": 0.0})
    assert twin == pytest.approx(-0.8)


def test_a_node_that_knows_nothing_takes_the_first_choice_of_every_item(tmp_path: Path) -> None:
    node = tmp_path / "davinci"
    tokenizer = train_tokenizer(["what shines by day? sun moon lamp cat"] * 9, 300, node)
    model = Decoder(ModelConfig(tokenizer.vocabulary, 32, 1, 1, 1, 32, 96))
    torch.nn.init.zeros_(model.embedding)
    save_model(model, node)
    write_json(node / "edge.json", {"name": "davinci", "stage": "pretrain", "parent": None})
    rows = [MMLU | {"answer": letter, "subject": letter} for letter in "ABCA"]
    files = (write(tmp_path / "mmlu", *rows), write(tmp_path / "piqa", *[PIQA] * 9))
    found = measure(
        node, tmp_path / "items", ["benchmarks"],
        MeasureSettings(items=4, precision="fp32", benchmarks=files),
    )  # fmt: skip
    cells = {s.variant.get("benchmark", "all"): (s.n, s.score, s.chance) for s in found}
    assert cells == {"mmlu": (4, 0.5, 0.25), "piqa": (4, 0.0, 0.5), "all": (8, 0.25, 0.375)}
    (line,) = [s for s in found if s.line]
    assert (line.line, dict(line.variant)) == ("benchmarks", {})
    twins = {o.twin for o in read_outcomes(node)}
    assert all(twin == pytest.approx(-math.log(tokenizer.vocabulary)) for twin in twins)


@pytest.mark.parametrize(
    ("name", "items", "choices"),
    [
        ("mmlu", 1770, 4), ("arc", 4238, 4), ("openbookqa", 4943, 4), ("commonsenseqa", 9741, 5),
        ("boolq", 1600, 2), ("piqa", 900, 2), ("siqa", 954, 2),
    ],
)  # fmt: skip
def test_real_benchmarks_are_read_whole(name: str, items: int, choices: int) -> None:
    path = SHARED / name / "data.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there; set REGROW_SHARED to read real data")
    found = read_benchmark(path)
    counts = [len(item.check["choices"]) for item in found]
    assert len(found) == items
    assert sorted(counts)[len(counts) // 2] == choices
