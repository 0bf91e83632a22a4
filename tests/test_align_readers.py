"""Files people have, read as conversations and comparisons."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from regrow.align.readers import read_comparisons, read_demonstrations, read_prompts
from regrow.align.tables import Tally
from regrow.errors import RegrowError

SHARED = Path(os.environ.get("REGROW_SHARED", Path(__file__).parents[1] / ".." / "shared")) / "data"


def write(path: Path, *rows: dict[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("row", "turns"),
    [
        ({"prompt": "2 + 2?", "completion": "4"}, [("user", "2 + 2?"), ("assistant", "4")]),
        (
            {"instruction": "Add.", "input": "2 2", "output": "4"},
            [("user", "Add.\n\n2 2"), ("assistant", "4")],
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": "Yo"},
                ]
            },
            [("user", "Hi"), ("assistant", "Yo")],
        ),
        (
            {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Yo"}]},
            [("user", "Hi"), ("assistant", "Yo")],
        ),
        (
            {
                "prompt": [{"role": "user", "content": "Hi"}],
                "completion": [{"role": "assistant", "content": "Yo"}],
            },
            [("user", "Hi"), ("assistant", "Yo")],
        ),
        (
            {
                "system": "Be kind.",
                "conversations": [
                    {"from": "human", "value": "Hi"},
                    {"from": "gpt", "value": "Yo"},
                ],
            },
            [("system", "Be kind."), ("user", "Hi"), ("assistant", "Yo")],
        ),
        (
            {"system_prompt": "Be kind.", "question": "Hi?", "response": "Yo"},
            [("system", "Be kind."), ("user", "Hi?"), ("assistant", "Yo")],
        ),
        (
            {"definition": ["Add."], "inputs": "2 2", "targets": ["4", "four"]},
            [("user", "Add.\n\n2 2"), ("assistant", "4")],
        ),
        (
            {"instruction": "Add.", "instances": [{"input": "2 2", "output": "4"}]},
            [("user", "Add.\n\n2 2"), ("assistant", "4")],
        ),
        (
            {"question": "How many?", "answer": "2 + 3 = <<2+3=5>>5\n#### 5"},
            [("user", "How many?"), ("assistant", "2 + 3 = 5\nThe answer is 5.")],
        ),
        ({"question": "How many?", "answer": 43.0},
         [("user", "How many?"), ("assistant", "The answer is 43.")]),
        ({"question": "How many?", "answer": 10**400},
         [("user", "How many?"), ("assistant", f"The answer is {10**400}.")]),
        ({"question": "How many?", "answer": 100, "rationale": "Count."},
         [("user", "How many?"), ("assistant", "Count.\nThe answer is 100.")]),
        ({"system": "Be kind.", "completion": "So.",
          "prompt": "\n\nHuman: Hi\n\nAssistant: Yo\n\nHuman: So?\n\nAssistant:"},
         [("system", "Be kind."), ("user", "Hi"), ("assistant", "Yo"), ("user", "So?"),
          ("assistant", "So.")]),
        (
            {"turns": [{"speaker": s, "text": t} for s, t in ("Aa", "Ab", "Bc", "Ad")]},
            [("user", "a\nb"), ("assistant", "c")],
        ),
    ],
)  # fmt: skip
def test_rows_are_told_by_their_keys(
    tmp_path: Path, row: dict[str, Any], turns: list[tuple[str, str]]
) -> None:
    (found,) = read_demonstrations(write(tmp_path / "data.jsonl", row))
    assert [(m.role, m.content) for m in found.messages] == turns


def reply(role: str, text: str, rank: int | None, *replies: dict[str, Any]) -> dict[str, Any]:
    return {"role": role, "text": text, "rank": rank, "replies": list(replies)}


@pytest.mark.parametrize("published", [True, False])
def test_a_tree_gives_every_path_of_best_answers(tmp_path: Path, published: bool) -> None:
    tree = reply(
        "prompter", "Why?", None,
        reply("assistant", "worse", 1, reply("prompter", "Oh?", None)),
        reply(
            "assistant", "best", 0,
            reply("prompter", "And?", None, reply("assistant", "so", None)),
            reply("prompter", "But?", None, reply("assistant", "no", None)),
            reply("prompter", "Unanswered?", None),
        ),
    )  # fmt: skip
    row = {"message_tree_id": "1", "prompt": tree} if published else {"tree": tree}
    found = read_demonstrations(write(tmp_path / "trees.jsonl", row))
    assert [[turn.content for turn in one.messages] for one in found] == [
        ["Why?", "best", "And?", "so"], ["Why?", "best", "But?", "no"],
    ]  # fmt: skip


def test_instances_find_the_definition_of_their_task(tmp_path: Path) -> None:
    write(tmp_path / "tasks.jsonl", {"task": "sum", "definition": "Add."})
    rows = [
        {"task": "sum", "input": "2 2", "output": ["4"]},
        {"task": "none", "input": "", "output": ""},
    ]
    (one,) = read_demonstrations(write(tmp_path / "instances.jsonl", *rows))
    assert (one.family, one.messages[0].content) == ("sum", "Add.\n\n2 2")
    write(tmp_path / "tasks.jsonl", {"task": "sum", "name": "Sums"})
    with pytest.raises(RegrowError, match="2 of 2 rows: unknown shape"):
        read_demonstrations(tmp_path / "instances.jsonl")


def test_chosen_and_rejected_may_be_messages_or_answers_to_a_prompt(tmp_path: Path) -> None:
    asked = {"role": "user", "content": "May I?"}
    said = [{"role": "assistant", "content": text} for text in ("Yes.", "No.")]
    rows = [
        {"chosen": [asked, said[0]], "rejected": [asked, said[1]]},
        {"prompt": "May I?", "chosen": "Yes.", "rejected": "No."},
    ]
    for one in read_comparisons(write(tmp_path / "c.jsonl", *rows)):
        assert [m.content for m in one.prompt.messages] == ["May I?"]
        assert (one.answers, one.ratings) == (("Yes.", "No."), (1.0, 0.0))


TALK = "\n\nHuman: hi\n\nAssistant: "


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected", "asked", "answers"),
    [
        # An answer may quote a dialogue, and may be one.
        ("Write one.", f"Here:{TALK}yo", f"Here:{TALK}no", ["Write one."],
         (f"Here:{TALK}yo", f"Here:{TALK}no")),
        ("Write one.", f"{TALK}yo", f"{TALK}no", ["Write one."],
         (f"{TALK}yo".strip(), f"{TALK}no".strip())),
        (f"{TALK}yo\n\nHuman: And?\n\nAssistant:", " Yes", " No", ["hi", "yo", "And?"],
         ("Yes", "No")),
        (TALK, f"{TALK}yo", f"{TALK}no", ["hi"], ("yo", "no")),
    ],
)  # fmt: skip
def test_the_prompt_of_two_answers_is_what_the_row_says_it_is(
    tmp_path: Path, prompt: str, chosen: str, rejected: str, asked: list[str],
    answers: tuple[str, str],
) -> None:  # fmt: skip
    row = {"prompt": prompt, "chosen": chosen, "rejected": rejected}
    (one,) = read_comparisons(write(tmp_path / "c.jsonl", row))
    assert [turn.content for turn in one.prompt.messages] == asked
    assert one.answers == answers


@pytest.mark.parametrize("label", [1, 1.0, "1", 2, 2.0, "2"])
def test_a_label_names_the_better_answer(tmp_path: Path, label: object) -> None:
    row = {"input": "Who?", "output_1": "Ana.", "output_2": "Bo.", "label": label}
    (one,) = read_comparisons(write(tmp_path / "votes.jsonl", row))
    assert one.ratings == ((1.0, 0.0) if str(label)[0] == "1" else (0.0, 1.0))


@pytest.mark.parametrize("label", [True, False, None, 0, 3, 1.5, "tie", "A", "output_1", [1]])
def test_any_other_label_is_set_aside(tmp_path: Path, label: object) -> None:
    row = {"input": "Who?", "output_1": "Ana.", "output_2": "Bo.", "label": label}
    path = write(tmp_path / "votes.jsonl", row, row | {"label": 1})
    tally = Tally(path.name)
    assert len(read_comparisons(path, tally)) == 1
    assert [(one.line, one.reason) for one in tally.aside] == [
        (1, f"label {label!r} is neither 1 nor 2")
    ]


def test_a_file_with_nothing_known_is_one_clear_error(tmp_path: Path) -> None:
    rows = [{"x": 1}, {"x": 2}, {"prompt": "Hi", "completion": ""}]
    with pytest.raises(RegrowError, match=r"no demonstration in .*\(2 of 3 rows: unknown shape\)"):
        read_demonstrations(write(tmp_path / "data.jsonl", *rows))
    with pytest.raises(RegrowError, match=r"no comparison in .*\(3 of 3 rows: unknown shape\)"):
        read_comparisons(tmp_path / "data.jsonl")
    with pytest.raises(RegrowError, match="missing"):
        read_comparisons(tmp_path / "none.jsonl")


def test_chosen_and_rejected_transcripts_share_their_prompt(tmp_path: Path) -> None:
    start = "\n\nHuman: May I?\n\nAssistant:"
    (one,) = read_comparisons(
        write(tmp_path / "c.jsonl", {"chosen": f"{start} Yes.", "rejected": f"{start} No."})
    )
    assert [(m.role, m.content) for m in one.prompt.messages] == [("user", "May I?")]
    assert (one.answers, one.ratings) == (("Yes.", "No."), (1.0, 0.0))


def test_ranked_trees_give_a_comparison_at_every_ranked_turn(tmp_path: Path) -> None:
    deeper = {
        "role": "prompter", "text": "And?", "rank": None,
        "replies": [{"role": "assistant", "text": t, "rank": r} for r, t in enumerate("xy")],
    }  # fmt: skip
    tree = {
        "role": "prompter", "text": "Why?", "rank": None,
        "replies": [
            {"role": "assistant", "text": "good", "rank": 0, "replies": [deeper]},
            {"role": "assistant", "text": "bad", "rank": 1},
        ],
    }  # fmt: skip
    top, below = read_comparisons(write(tmp_path / "t.jsonl", {"tree": tree}))
    assert top.answers == ("good", "bad") and top.ratings[0] > top.ratings[1]
    assert [m.content for m in below.prompt.messages] == ["Why?", "good", "And?"]


def test_a_rank_that_is_no_number_is_set_aside(tmp_path: Path) -> None:
    answers = [reply("assistant", "good", 0), reply("assistant", "bad", "second")]  # type: ignore[arg-type]
    path = write(tmp_path / "t.jsonl", {"tree": reply("prompter", "Why?", None, *answers)})
    for read in (read_comparisons, read_demonstrations):
        with pytest.raises(RegrowError, match="'rank' is no number but str"):
            read(path)
    answers[1]["rank"] = 10**400
    with pytest.raises(RegrowError, match="'rank' is no number but int"):
        read_comparisons(write(path, {"tree": reply("prompter", "Why?", None, *answers)}))


def test_prompts_come_from_prompts_and_from_demonstrations(tmp_path: Path) -> None:
    path = write(tmp_path / "p.jsonl", {"prompt": "Hi"}, {"instruction": "Add.", "output": "4"})
    assert [p.messages[-1].content for p in read_prompts(path)] == ["Hi", "Add."]
    rows = [{"prompt": f"{TALK}yo\n\nHuman: So?\n\nAssistant:"}, {"prompt": "Hi"}]
    path = write(tmp_path / "p.jsonl", *[row | {"system": "Be kind."} for row in rows])
    assert [[turn.content for turn in one.messages] for one in read_prompts(path)] == [
        ["Be kind.", "hi", "yo", "So?"], ["Be kind.", "Hi"],
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "count"),
    [("gsm8k/data", 7473), ("natural_instructions/instances", 8674), ("chitchat/data", 2295)],
)
def test_real_sets_are_read_whole(name: str, count: int) -> None:
    path = SHARED / f"{name}.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there; set REGROW_SHARED to read real data")
    assert len(read_demonstrations(path)) == count


def test_real_comparisons_are_read() -> None:
    path = SHARED / "hh_rlhf_harmless" / "data.jsonl.gz"
    if not path.is_file():
        pytest.skip(f"{path} is not there; set REGROW_SHARED to read real data")
    found = read_comparisons(path)
    assert len(found) > 1600
    assert all(one.prompt.messages[-1].role == "user" for one in found)
