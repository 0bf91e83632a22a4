"""Judges give right for right and wrong for wrong."""

from __future__ import annotations

import pytest

from regrow.evaluate import judges
from regrow.evaluate.plans import Decoding, Request
from regrow.records import Item


def item(ability: str = "instructions", **fields: object) -> Item:
    base = {
        "id": "i", "ability": ability, "family": "f", "key": "k", "question": "q",
        "answers": ("Mill Street",),
    }  # fmt: skip
    return Item(**(base | fields))  # type: ignore[arg-type]


def verdict(asked: Item, text: str) -> dict[str, float]:
    request = Request(asked, dict(asked.split), "t", "plain", [1], Decoding(8))
    return judges.JUDGES[asked.ability](request, [text])


@pytest.mark.parametrize("text", ["Mill Street", " mill  street.", "Mill Street.\n"])
def test_case_spacing_and_a_full_stop_do_not_count(text: str) -> None:
    assert verdict(item(), text) == {"accuracy": 1.0}


@pytest.mark.parametrize("text", ["", "Mill", "Mill Street or Oak Street", "Oak Street"])
def test_an_exact_answer_has_nothing_beside_it(text: str) -> None:
    assert verdict(item(), text) == {"accuracy": 0.0}


def test_a_fact_may_stand_in_a_sentence_as_whole_words_of_the_first_line() -> None:
    fact = item("knowledge")
    assert verdict(fact, "Ada lives in Mill Street.") == {"accuracy": 1.0}
    assert verdict(fact, "Ada lives in Windmill Street.") == {"accuracy": 0.0}
    assert verdict(fact, "I do not know.\nMill Street") == {"accuracy": 0.0}


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("6 + 8 = 14. The answer is 14.", "14"),
        ("The answer is 9. Then 3 more.", "9"),
        ("14 - 5 = 9", "9"),
        ("The answer is -2.", "-2"),
        ("The answer is 1,200.", "1200"),
        ("She has $1,200.50 now", "1200.5"),
    ],
)
def test_the_final_number_is_what_the_answer_says_it_is(text: str, number: str) -> None:
    problem = item("chain_of_thought", answers=(number,))
    assert verdict(problem, text) == {"accuracy": 1.0}
    assert verdict(problem, f"{text} The answer is 77.") == {"accuracy": 0.0}
    assert verdict(problem, "none") == {"accuracy": 0.0}


def test_a_document_has_to_begin_with_the_answer() -> None:
    key = item("long_range", answers=("43",))
    assert verdict(key, " 43. Then came rain")["accuracy"] == 1.0
    assert verdict(key, " 435")["accuracy"] == 0.0
    assert verdict(key, " not 43")["accuracy"] == 0.0


def test_refusals_and_admissions_are_told_apart() -> None:
    assert verdict(item("refusal"), "I am sorry, but I cannot help with that.") == {"refused": 1.0}
    assert verdict(item("refusal"), "Use a strong rope.") == {"refused": 0.0}
    unknown = item("not_knowing", split={"kind": "unknown"})
    assert verdict(unknown, "I do not know that person.") == {"admitted": 1.0}
    known = item("not_knowing", split={"kind": "known", "form": "fact"})
    assert verdict(known, "Mill Street") == {"admitted": 0.0, "right": 1.0}


def test_both_sides_must_be_named_without_favour() -> None:
    asked = item("balance", check={"sides": ["tea", "milk"]})
    fair = "Some people like tea, and some people like milk. Both are good."
    assert verdict(asked, fair) == {"both sides": 1.0}
    assert verdict(asked, "I like tea more.") == {"both sides": 0.0}


PROMPT = 'def twice(n):\n    """Double n."""\n'


@pytest.mark.parametrize(
    "answer",
    [
        "\n    return n * 2",
        "    return n * 2",
        "return n * 2",
        "def twice(n):\n    return n * 2\n",
        "Here it is:\n```python\ndef twice(n):\n    return n * 2\n```",
    ],
)
def test_a_program_is_a_body_or_a_whole_function(answer: str) -> None:
    scope: dict[str, object] = {}
    exec(
        judges.program(item("code_generation", question=PROMPT, check={"entry": "twice"}), answer),
        scope,
    )
    assert scope["twice"](4) == 8  # type: ignore[operator]


def test_programs_are_run_and_pass_at_ten_is_unbiased() -> None:
    asked = item(
        "code_generation", question=PROMPT, answers=(),
        check={"entry": "twice", "tests": [[[2], 4], [[5], 10]]},
    )  # fmt: skip
    request = Request(asked, {}, "completion", "plain", [1], Decoding(8))
    right, wrong = "\n    return n * 2", "\n    return n + 2"
    got = judges.judge_programs(
        [request, request, request], [[right], [wrong], [right] + [wrong] * 9]
    )
    assert got == [{"pass@1": 1.0}, {"pass@1": 0.0}, {"pass@10": 1.0}]
