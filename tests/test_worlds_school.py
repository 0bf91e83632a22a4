"""The school: tasks, sheets, the textbook, demonstrations and items."""

from __future__ import annotations

import re
from collections import Counter
from random import Random

import pytest

from regrow.errors import RegrowError
from regrow.records import Conversation, Item
from regrow.worlds import notes, problems
from regrow.worlds.lessons import demonstrations_tasks
from regrow.worlds.lexicon import CATEGORIES, CATEGORY_OF, NOUNS, VOCABULARY
from regrow.worlds.problems import Problem
from regrow.worlds.requests import held_out
from regrow.worlds.school_items import school_items
from regrow.worlds.sheets import SHARES, render_sheets
from regrow.worlds.sheets_gate import Gate
from regrow.worlds.sheets_rules import PAIR_FORMATS
from regrow.worlds.sheets_talks import talk_sheet
from regrow.worlds.slots import other_slots, slots
from regrow.worlds.tasks import HELD_OUT_FAMILIES, reserved, shown_tasks, tasks
from regrow.worlds.textbook import render_textbook


@pytest.fixture(scope="module", params=["a", "b"])
def variant(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def items(variant: str) -> list[Item]:
    return school_items(0, variant, per_cell=120)


@pytest.fixture(scope="module")
def training(variant: str) -> tuple[set[str], list[str], list[Conversation]]:
    """Keys, texts and demonstrations of a small training side."""
    keys: set[str] = set()
    texts = [d.text for d in render_sheets(0, variant, 400_000, set(), keys)]
    texts += [d.text for d in render_textbook(0, variant, 200_000, set(), keys)]
    return keys, texts, demonstrations_tasks(0, variant, 2000, set(), keys)


def _of(items: list[Item], ability: str, **split: str) -> list[Item]:
    return [
        item
        for item in items
        if item.ability == ability and all(item.split[k] == v for k, v in split.items())
    ]


# Tasks


def test_there_are_at_least_sixty_tasks_in_twelve_families(variant: str) -> None:
    names = [task.name for task in tasks(variant)]
    assert len(set(names)) == len(names) >= 60
    assert len({task.family for task in tasks(variant)}) >= 12
    assert all(len(set(task.wordings)) >= 3 for task in tasks(variant))


def test_no_two_tasks_share_a_wording(variant: str) -> None:
    counts = Counter(wording for task in tasks(variant) for wording in task.wordings)
    assert [wording for wording, times in counts.items() if times > 1] == []


def test_the_variants_use_other_wordings_and_hold_out_other_families() -> None:
    worded = {v: {w for task in tasks(v) for w in task.wordings} for v in "ab"}
    assert not worded["a"] & worded["b"]
    assert not set(HELD_OUT_FAMILIES("a")) & set(HELD_OUT_FAMILIES("b"))
    assert all(len(HELD_OUT_FAMILIES(v)) == 3 for v in "ab")


def test_an_unknown_variant_is_named() -> None:
    with pytest.raises(RegrowError, match="unknown world variant 'z'"):
        tasks("z")


@pytest.mark.parametrize(
    ("name", "answer_of"),
    [
        ("second word", lambda x: x.split()[1]),
        ("last word", lambda x: x.split()[-1]),
        ("swap two words", lambda x: " ".join(reversed(x.split()))),
        ("drop the first", lambda x: x.split(" ", 1)[1]),
        ("count the words", lambda x: str(x.count(" ") + 1)),
        ("pick the animal", lambda x: next(w for w in x.split() if w in CATEGORIES["animal"])),
        ("partner in the table", lambda x: dict(
            p.split() for p in x.split("; ")[0].split(", "))[x.split("; ")[1]]),
        ("in the list", lambda x: "yes" if x.split("; ")[1] in x.split("; ")[0].split() else "no"),
        ("same kind", lambda x: "yes" if len({CATEGORY_OF[w] for w in x.split()}) == 1 else "no"),
        ("times ten", lambda x: str(int(x) * 10)),
        ("add a hundred", lambda x: str(int(x) + 100)),
        ("sum", lambda x: str(sum(map(int, x.split())))),
        ("smaller", lambda x: str(min(map(int, x.split())))),
        ("sort two down", lambda x: " ".join(sorted(x.split(), key=int, reverse=True))),
        ("next letters", lambda x: " ".join(chr(ord(c) + 1) for c in x.split())),
        ("taker", lambda x: re.search(r" to (\w+) at ", x).group(1)),
        ("make a question", lambda x: re.sub(r"The (\w+) is (\w+)\.", r"Is the \1 \2?", x)),
    ],
)  # fmt: skip
def test_a_task_answers_as_an_independent_solution_does(name, answer_of, variant: str) -> None:
    task = next(task for task in tasks(variant) if task.name == name)
    random = Random(1)
    for _ in range(200):
        given, answer = task.sample(random)
        assert answer == answer_of(given)


def test_calendar_tasks_wrap_around() -> None:
    found = {}
    for name in ("next day", "next month"):
        task = next(task for task in tasks("a") if task.name == name)
        found |= dict(task.sample(Random(seed)) for seed in range(2000))
    assert found["Sunday 49"] == "Monday 49"
    assert found["December 84"] == "January 84"


def test_words_stand_in_one_category_and_all_inputs_are_short(variant: str) -> None:
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    assert len(set(NOUNS)) == len(NOUNS)
    random = Random(0)
    for task in tasks(variant):
        for _ in range(50):
            given, answer = task.sample(random)
            assert given.isascii()
            assert len(given.split()) <= 11
            assert 1 <= len(answer.split()) <= 6
            assert "\n" not in given + answer


# Training text


def test_rendering_is_a_function_of_the_seed(variant: str) -> None:
    first, again, other = ([d.text for d in render_sheets(s, variant, 20_000)] for s in (1, 1, 2))
    assert first == again != other
    assert demonstrations_tasks(3, variant, 50) == demonstrations_tasks(3, variant, 50)


def test_as_many_characters_come_as_were_asked_for() -> None:
    for render in (render_sheets, render_textbook):
        size = sum(len(document.text) for document in render(0, "a", 100_000))
        assert 100_000 <= size < 103_000


def test_sheets_come_in_their_shares() -> None:
    gate, random = Gate("a"), Random(0)
    for name, make, _ in SHARES:
        sheet = "\n".join(make(random, gate))
        assert sheet.isascii() and sheet == sheet.strip(), name
    assert sum(share for *_, share in SHARES) == pytest.approx(1)


def test_training_text_holds_no_reserved_key(variant: str, training) -> None:
    keys, _, _ = training
    assert len(keys) > 5000
    assert not [key for key in keys if reserved(key, variant)]


def test_a_talk_comes_back_to_what_was_told_and_to_no_pairing_of_items(variant: str) -> None:
    keys: set[str] = set()
    random, gate = Random(0), Gate(variant, keys=keys)
    every = slots(variant) + other_slots(variant)
    answers = [(re.compile(re.escape(s.answer).replace(r"\{v\}", "(.+)")), s) for s in every]
    came_back = 0
    for _ in range(300):
        lines = [line.split(": ", 1)[-1] for line in talk_sheet(random, gate)[0].split("\n")]
        for line in lines:
            for pattern, slot in answers:
                if found := pattern.fullmatch(line):
                    assert slot.tell.format(v=found[1]) in lines
                    came_back += 1
    assert came_back > 500
    stated = [key for key in keys if key.startswith("stated|")]
    assert len(stated) > 60 and not any(held_out(key) for key in stated)


def test_no_other_thing_told_is_one_that_items_ask_for(variant: str) -> None:
    asked, others = slots(variant), other_slots(variant)
    assert len(others) > 100 and len({slot.question for slot in others}) == len(others)
    assert not {slot.tell for slot in asked} & {slot.tell for slot in others}
    assert not {slot.question for slot in asked} & {slot.question for slot in others}
    for slot in asked:  # every value of theirs stands beside other things too
        assert all(any(value in other.values for other in others) for value in slot.values)


def test_forbidden_keys_are_not_rendered() -> None:
    before: set[str] = set()
    list(render_sheets(0, "a", 30_000, set(), before))
    forbidden = {key for key in before if key.startswith("label|")}
    after: set[str] = set()
    list(render_sheets(0, "a", 30_000, forbidden, after))
    assert forbidden and not forbidden & after


def test_sheets_hold_every_task_of_the_held_out_families_too(variant: str, training) -> None:
    seen = {key.split("|")[0] for key in training[0]}
    assert {task.name for task in tasks(variant)} <= seen


def test_demonstrations_show_every_shown_task_and_no_held_out_family(variant: str, training):
    kinds = Counter(row.kind for row in training[2] if row.family != "problems")
    assert set(kinds) == {task.name for task in shown_tasks(variant)}
    assert not {row.family for row in training[2]} & set(HELD_OUT_FAMILIES(variant))
    assert all([m.role for m in row.messages] == ["user", "assistant"] for row in training[2])


def test_worked_sums_are_right(variant: str, training) -> None:
    sums = re.findall(r"(\d+) ([+x-]) (\d+) = (\d+)", "\n".join(training[1]))
    assert len(sums) > 3000
    for left, sign, right, total in sums:
        assert problems.apply(sign, int(left), int(right)) == int(total) <= 99
        assert int(right) <= 9 or sign == "x"


def test_a_problem_is_told_with_each_step_restating_its_clause() -> None:
    problem = Problem(3, 4, (("+", 8), ("-", 2)))
    assert (problem.steps, problem.key, problem.answer) == (3, "problem|3x4+8-2", 18)
    told = problems.tell(Random(0), problem, "a")
    clauses = told.question.split(". ")
    assert told.worked.startswith("3 ") and "3 x 4 = 12. " in told.worked
    assert f"{clauses[1]}: 12 + 8 = 20. {clauses[2]}: 20 - 2 = 18. The answer is 18." in told.worked
    assert told.direct == "The answer is 18."


# Items


def test_every_cell_is_full(items: list[Item]) -> None:
    cells = Counter((item.ability, *item.split.values()) for item in items)
    assert len(cells) == 2 + 2 + 8 + 3
    long = {("chain_of_thought", str(steps)) for steps in range(5, 9)}
    assert {cell: n for cell, n in cells.items() if n != (30 if cell in long else 120)} == {}
    assert len({item.id for item in items}) == len(items)


def test_item_keys_are_disjoint_from_all_training_keys(items, training, variant: str) -> None:
    assert not {item.key for item in items} & training[0]
    assert all(reserved(item.key, variant) for item in items)


def test_shots_come_from_the_training_side(items: list[Item], variant: str) -> None:
    for item in _of(items, "in_context", kind="rule"):
        keys = [f"{item.check['task']}|{x}" for x, _ in item.shots]
        assert len(set(keys)) == 8
        assert not any(reserved(key, variant) for key in keys)
        assert item.check["format"] in PAIR_FORMATS


def test_label_items_are_balanced_and_not_solved_by_a_shortcut(items, variant: str) -> None:
    label_items = _of(items, "in_context", kind="label")
    copies_last = 0
    for item in label_items:
        labels = [label for _, label in item.shots]
        for k in (2, 4, 8):
            assert Counter(labels[:k]) == Counter(labels[-k:]) == dict.fromkeys(set(labels), k // 2)
        (answer,) = item.answers
        same = {CATEGORY_OF[word] for word, label in item.shots if label == answer}
        assert same == {CATEGORY_OF[item.question]}
        assert item.question not in [word for word, _ in item.shots]
        assert sorted(item.check["choices"]) == sorted(set(labels))
        copies_last += labels[-1] == answer
    assert 0.35 < copies_last / len(label_items) < 0.65


def test_instruction_items_name_their_task_and_split_by_family(items, variant: str) -> None:
    hidden = set(HELD_OUT_FAMILIES(variant))
    by_name = {task.name: task for task in tasks(variant)}
    for item in _of(items, "instructions"):
        assert (item.family in hidden) == (item.split["types"] == "held-out")
        assert any(w in item.question for w in by_name[item.check["task"]].wordings)
        assert item.key.split("|")[1] in item.question


def test_problem_items_are_worked_and_answered(items: list[Item]) -> None:
    for item in _of(items, "chain_of_thought"):
        assert item.check["worked"].endswith(f"The answer is {item.answers[0]}.")
        assert item.check["worked"].count(" = ") == int(item.split["steps"])
        assert [q for q, _ in item.shots] == [q for q, _ in item.check["direct_shots"]]


def test_long_range_items_state_their_answer_once_at_the_right_distance(items, variant) -> None:
    bounds = {"<50": (1, 50), "50-100": (50, 100), "100-200": (100, 200)}
    for item in _of(items, "long_range"):
        top, filling, question = item.question.split("\n")
        low, high = bounds[item.split["distance"]]
        assert low <= len(filling.split()) <= high
        kind, subject, value = item.key.split("|")[1:]
        assert notes.state(variant, kind, subject, value) in top
        assert subject in question and not question.endswith(value)


def test_items_are_a_function_of_the_seed(variant: str) -> None:
    assert school_items(5, variant, 5) == school_items(5, variant, 5) != school_items(6, variant, 5)


def test_an_item_row_survives_the_round_trip(items: list[Item]) -> None:
    assert Item.from_row(items[0].to_row()) == items[0]


def test_items_that_stand_apart_are_the_same_items_on_other_sheets() -> None:
    together, apart = (
        [d.text for d in render_sheets(0, "a", 60_000, apart=apart)] for apart in (False, True)
    )
    assert len(together) == len(apart)
    assert together != apart
    assert sorted("\n".join(together).split()) == sorted("\n".join(apart).split())
    kinds = [
        [{line[:2] for line in sheet.split("\n")} for text in texts for sheet in text.split("\n\n")]
        for texts in (together, apart)
    ]
    mixed = [sum(len(kind) > 3 for kind in sheets) / len(sheets) for sheets in kinds]
    assert mixed[0] < 0.2 < 0.5 < mixed[1]
