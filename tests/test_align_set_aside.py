"""Malformed rows are counted and set aside with their number and reason, whatever they hold."""

from __future__ import annotations

import gzip
import json
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow.align.readers import read_comparisons, read_demonstrations, read_prompts
from regrow.align.tables import Tally, read_rows
from regrow.errors import RegrowError

GOOD = {"prompt": "2 + 2?", "completion": "4"}


def turns(*said: str) -> dict[str, Any]:
    """A row of messages: "u:Hi" is said by the user."""
    roles = {"s": "system", "u": "user", "a": "assistant", "w": "wizard"}
    return {"messages": [{"role": roles[one[0]], "content": one[2:]} for one in said]}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (turns("u:Hi", "a:Yo", "a:Yo"), "two assistant turns in a row"),
        (turns("u:Hi", "u:Ho", "a:Yo"), "two user turns in a row"),
        (turns("u:Hi", "a: \n"), "empty assistant turn"),
        (turns("u:", "a:Yo"), "empty user turn"),
        (turns("w:Hi", "a:Yo"), "unknown role 'wizard'"),
        (turns("u:Hi \ud83d", "a:Yo"), "half of a surrogate pair in the user turn"),
        (turns("u:Hi", "a:Yo", "u:So?"), "it does not end with the assistant"),
        (turns("a:Yo"), "it does not begin with the user"),
        (turns("u:Hi", "s:Be kind", "a:Yo"), "a system turn after the first"),
        (turns(), "no turns"),
        ({"messages": [{"role": "user", "value": "Hi"}]}, "no 'content' in it"),
        ({"messages": 3}, "values of another type"),
        ({"prompt": "2 + 2?", "completion": 4}, "'completion' is no text but int"),
        ({"instruction": "Add.", "output": None}, "'output' is no text but null"),
        ({"conversations": ["Hi"]}, "values of another type"),
        ({"tree": {"role": "prompter", "text": "Hi", "replies": []}}, "a tree without an answer"),
        ({"x": 1}, "unknown shape"),
        ([GOOD], "not an object but list"),
        (b'{"prompt": "a', "not valid JSON"),
        (b'{"prompt": "\xff", "completion": "b"}', "not UTF-8"),
    ],
)  # fmt: skip
def test_a_malformed_row_is_set_aside_with_its_line_and_reason(
    tmp_path: Path, line: Any, reason: str
) -> None:
    bad = line if isinstance(line, bytes) else json.dumps(line).encode()
    path = tmp_path / "talks.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b"\n\n" + bad + b"\n" + json.dumps(GOOD).encode())
    tally = Tally(path.name)
    found = read_demonstrations(path, tally)
    assert [one.key for one in found] == ["talks|1", "talks|4"]
    assert [(one.file, one.line, one.reason) for one in tally.aside] == [("talks.jsonl", 3, reason)]
    assert tally.rows == 3


TEXT = st.text(max_size=4) | st.sampled_from(["Hi", "", " ", "\ud800"])
MESSAGE = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool"]), "content": TEXT}
)
ROW = st.one_of(
    st.builds(lambda many: {"messages": many}, st.lists(MESSAGE, max_size=4)),
    st.fixed_dictionaries({"prompt": TEXT | st.integers(), "completion": TEXT | st.none()}),
    st.fixed_dictionaries({"turns": st.lists(st.fixed_dictionaries({"speaker": st.sampled_from(
        "AB"), "text": TEXT}), max_size=4)}),
    st.dictionaries(st.sampled_from(["tree", "messages", "conversations", "question", "answer"]),
                    st.recursive(st.none() | TEXT | st.integers(), lambda one: st.lists(one)
                                 | st.dictionaries(st.sampled_from(["role", "text"]), one))),
)  # fmt: skip
LINE = ROW.map(json.dumps).map(str.encode) | st.binary(max_size=8).map(lambda b: b.split(b"\n")[0])


@given(st.lists(LINE, max_size=8))
@settings(max_examples=100, deadline=None)
def test_every_row_is_either_learnt_from_or_set_aside(lines: list[bytes]) -> None:
    lines = [*lines, json.dumps(GOOD).encode()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "wild.jsonl"
        path.write_bytes(b"\n".join(lines))
        tally = Tally(path.name)
        found = read_demonstrations(path, tally)
    rows = {n for n, line in enumerate(lines, 1) if line.strip()}
    kept = {int(one.key.partition("|")[2]) for one in found}
    aside = [one.line for one in tally.aside]
    assert tally.rows == len(rows) and len(aside) == len(set(aside))
    assert kept | set(aside) == rows and not kept & set(aside)
    for talk in found:
        roles = [turn.role for turn in talk.messages]
        spoken = roles[1:] if roles[0] == "system" else roles
        assert spoken == ["user", "assistant"] * (len(spoken) // 2) and spoken
        assert all(turn.content.strip().encode() for turn in talk.messages)


TURN = pa.struct({"role": pa.string(), "content": pa.string()})
SCHEMA = pa.schema(
    {"messages": pa.list_(TURN), "prompt": pa.string(), "completion": pa.string()}
)  # fmt: skip


@pytest.mark.parametrize(
    "ending", ["jsonl", "jsonl.gz", "jsonl.zst", "json", "lines.json", "parquet"]
)
def test_the_same_rows_come_out_of_every_kind_of_file(tmp_path: Path, ending: str) -> None:
    rows = [turns("s:Be kind", "u:Hi", "a:Yo"), turns("u:Hi", "a:"), GOOD]
    path = tmp_path / f"talks.{ending}"
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    if ending == "parquet":
        pq.write_table(pa.Table.from_pylist(rows, SCHEMA), path)
    elif ending == "json":
        path.write_text(json.dumps(rows))
    else:
        with pa.output_stream(path) as file:  # packs by the ending
            file.write(lines)
    tally = Tally(path.name)
    found = read_demonstrations(path, tally)
    assert [[m.content for m in one.messages] for one in found] == [
        ["Be kind", "Hi", "Yo"],
        ["2 + 2?", "4"],
    ]
    assert [(one.line, one.reason) for one in tally.aside] == [(2, "empty assistant turn")]


def saved(folder: Path, *tables: pa.Table) -> None:
    """What `Dataset.save_to_disk` writes: arrow streams and a state that names them."""
    folder.mkdir(parents=True)
    names = [f"data-{n:05d}-of-{len(tables):05d}.arrow" for n in range(len(tables))]
    for name, table in zip(names, tables):
        with (
            pa.OSFile(str(folder / name), "wb") as sink,
            pa.ipc.new_stream(sink, table.schema) as to,
        ):
            to.write_table(table)
    state = {"_data_files": [{"filename": name} for name in names], "_fingerprint": "0"}
    (folder / "state.json").write_text(json.dumps(state))


def test_a_folder_that_datasets_saved_is_read_split_by_split(tmp_path: Path) -> None:
    table = pa.table({"prompt": ["a", "b"], "completion": ["1", ""]})
    saved(tmp_path / "quiz" / "train", table, table.slice(0, 1))
    saved(tmp_path / "quiz" / "test", table.slice(0, 1))
    (tmp_path / "quiz" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "test"]}))
    tally = Tally("quiz")
    found = read_demonstrations(tmp_path / "quiz", tally)
    assert [one.key for one in found] == ["quiz|1", "quiz|3", "quiz|4"]
    assert [(one.line, one.reason) for one in tally.aside] == [(2, "empty assistant turn")]
    assert len(read_demonstrations(tmp_path / "quiz" / "train")) == 2


def test_text_that_a_table_cannot_decode_costs_its_own_row(tmp_path: Path) -> None:
    binary = pa.array([b"fine", b"\xff\xfe"])
    prompts = pa.Array.from_buffers(pa.string(), 2, binary.buffers())  # which nobody has checked
    saved(tmp_path / "quiz", pa.table({"prompt": prompts, "completion": ["1", "2"]}))
    tally = Tally("quiz")
    assert [one.messages[0].content for one in read_demonstrations(tmp_path / "quiz", tally)] == [
        "fine"
    ]
    assert [(one.line, one.reason) for one in tally.aside] == [(2, "not UTF-8")]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.jsonl.gz", gzip.compress(b'{"prompt": "a", "completion": "b"}\n' * 99, mtime=0)[:40]),
        ("none.parquet", b"PAR1"),
        ("one.json", b"{}"),
        ("no.zst", b"plain"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_clear_error(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(RegrowError, match=f"{name} cannot be read"):
        read_demonstrations(tmp_path / name)


def test_a_folder_of_other_things_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match="no folder that `datasets` saved"):
        read_demonstrations(tmp_path)


def test_whoever_asks_for_plain_rows_is_told_of_the_first_broken_one(tmp_path: Path) -> None:
    path = tmp_path / "quiz.jsonl"
    path.write_text('{"a": 1}\n{"a"\n{"a": 2}\n')
    rows = read_rows(path)
    assert next(rows) == {"a": 1}
    with pytest.raises(RegrowError, match="line 2: not valid JSON"):
        list(rows)


def test_prompts_and_comparisons_are_set_aside_alike(tmp_path: Path) -> None:
    path = tmp_path / "votes.jsonl"
    good = {"input": "Who?", "output_1": "Ana.", "output_2": "Bo.", "label": 1}
    start = "\n\nHuman: May I?\n\nAssistant:"
    rows = [
        good,
        good | {"output_2": " "},
        {"chosen": f"{start} Yes.", "rejected": "No."},
        {"prompt": ""},
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tally = Tally(path.name)
    assert len(read_comparisons(path, tally)) == 1
    assert [(one.line, one.reason) for one in tally.aside] == [
        (2, "empty assistant turn"),
        (3, "chosen and rejected differ before the last answer"),
        (4, "unknown shape"),
    ]
    tally = Tally(path.name)
    assert read_prompts(path, tally) == []
    assert tally.rows == 4 and tally.aside[-1].reason == "empty user turn"
