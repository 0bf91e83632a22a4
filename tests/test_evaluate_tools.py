"""Problems whose sums Python does: the programs, the larger numbers, and how both are judged."""

from __future__ import annotations

import re
from typing import Any

import pytest

from regrow.evaluate import tools
from regrow.evaluate.plans import Decoding, Request
from regrow.evaluate.variations import varied
from regrow.records import Item
from regrow.worlds.school_items import school_items

WORKED = "She finds 8 more: 6 + 8 = 14. She doubles them: 14 x 2 = 27. The answer is 27."
SHOTS = (
    ("Ann has 5 hats. She loses 2. How many hats now?", "She loses 2: 5 - 2 = 3. The answer is 3."),
)


def _item(key: str, question: str, answer: int, family: str = "start+x") -> Item:
    return Item("chain_of_thought-2-a-1", "tools", family, key, question, (str(answer),),
                {"steps": "2", "of": "problems"}, SHOTS)  # fmt: skip


ANN = _item(
    "problem|6+8x2", "Ann has 6 hats. She finds 8 more. She doubles them. How many hats now?", 28
)


def test_steps_become_a_program_that_goes_on_from_the_total() -> None:
    assert tools.program_of(WORKED) == (
        "def solution():\n    n = 6 + 8\n    n = n * 2\n    return n\n"
    )
    assert "    # She doubles them\n    n = n * 2\n" in tools.program_of(WORKED, comments=True)
    assert tools.program_of("The answer is 27.") == ""


def test_the_same_problem_with_a_larger_start_leaves_the_table() -> None:
    larger = tools.beyond(ANN)
    assert larger is not None
    numbers = [int(n) for n in re.findall(r"\d+", larger.question)]
    assert 60 <= numbers[0] <= 99
    assert numbers[1:] == [8]
    assert larger.answers == (str((numbers[0] + 8) * 2),)
    assert larger.question.partition(str(numbers[0]))[2] == ANN.question.partition("6")[2]
    assert tools.beyond(ANN) == larger  # the same for every node


def test_a_worked_answer_follows_a_larger_start() -> None:
    right = WORKED.replace("= 27", "= 28").replace("is 27", "is 28")
    assert tools.reworked(right, 70) == (
        "She finds 8 more: 70 + 8 = 78. She doubles them: 78 x 2 = 156. The answer is 156."
    )


@pytest.mark.parametrize(
    ("key", "family"), [("problem|3x4+8", "bags+"), ("problem|6-3-2", "start--")]
)
def test_a_problem_that_cannot_leave_the_table_is_asked_as_it_is_alone(
    key: str, family: str
) -> None:
    assert tools.beyond(_item(key, "Ann has 6 hats. How many hats now?", 1, family)) is None


def _request(item: Item, way: str) -> Request:
    return Request(item, {"way": way, "totals": "within"}, "Q/A", "plain", [], Decoding(64))


def test_a_wrong_sum_is_right_by_python_and_wrong_by_text() -> None:
    body = "\n    n = 6 + 8\n    return n * 2"
    found = tools.judge(
        [_request(ANN, way) for way in ("steps", "steps", "program", "program")],
        [[f" {WORKED}"], [" The answer is 28."], [body], ["\n    return 1 /"]],
    )
    assert found == [
        {"accuracy by Python": 1.0, "accuracy": 0.0},
        {"accuracy by Python": 0.0, "accuracy": 1.0},  # no step, so no program
        {"accuracy by Python": 1.0},
        {"accuracy by Python": 0.0},
    ]


class Letters:
    """A tokenizer of characters."""

    start = 0

    def encode(self, text: str) -> list[int]:
        return [ord(letter) for letter in text]


def test_each_problem_is_asked_in_both_ways_and_sizes() -> None:
    from regrow.evaluate.plans import Asker

    tokenizer: Any = Letters()
    asker = Asker(tokenizer, 2000, chat=True)
    found = list(tools.plan(ANN, asker))
    told = [(r.variant["totals"], r.variant["way"], r.asked) for r in found]
    assert told == [
        ("within", "steps", "plain"), ("within", "program", "plain"),
        ("beyond", "steps", "plain"), ("beyond", "program", "plain"),
    ]  # fmt: skip
    prompt = "".join(map(chr, found[1].prompt[1:]))
    assert prompt == (
        'def solution():\n    """Ann has 5 hats. She loses 2. How many hats now?"""\n'
        "    # She loses 2\n    n = 5 - 2\n    return n\n\n\n"
        f'def solution():\n    """{ANN.question}"""'
    )


def test_worked_answers_of_the_world_are_read_back_as_programs() -> None:
    items = [item for item in school_items(0, "b", 3) if item.ability == "chain_of_thought"]
    asked = varied("tools", lambda ability: items)
    assert {item.split["steps"] for item in asked} == {"2", "3"}
    requests = [_request(item, "steps") for item in asked]
    told = tools.judge(requests, [[str(item.check["worked"])] for item in asked])
    assert told == [{"accuracy by Python": 1.0, "accuracy": 1.0}] * len(asked)
