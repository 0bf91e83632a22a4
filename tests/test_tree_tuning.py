"""A supervised stage on a user's files: what is set aside, kept aside, limited, and told."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from regrow.corpus.tokenizer import train_tokenizer
from regrow.errors import RegrowError
from regrow.files import read_json, read_jsonl, write_jsonl
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.folder import save_model
from regrow.records import Conversation, Message
from regrow.tree import console
from regrow.tree.card import card
from regrow.tree.edge import Edge, write_edge
from regrow.tree.fingerprint import inputs_of
from regrow.tree.load import validate
from regrow.tree.recipe import Recipe
from regrow.tree.stage import StageContext
from regrow.tree.stages import reading
from regrow.tree.stages.tuning import supervised

pytestmark = pytest.mark.usefixtures("one_thread")
ROWS = [
    *({"prompt": f"Double {n}.", "completion": f"The answer is {2 * n}."} for n in range(40)),
    {"messages": [{"role": who, "content": "Hi"} for who in ("user", "assistant", "assistant")]},
    {"prompt": "Hi", "completion": ""},
    {"prompt": "Hi", "completion": ""},
]  # fmt: skip


def grow(tmp_path: Path, **settings: Any) -> tuple[StageContext, dict[str, Any]]:
    """A node tuned on the world's 24 demonstrations and a user's file, with its record."""
    run = tmp_path / "small"
    talks = [
        Conversation(
            (Message("user", f"Say {n}."), Message("assistant", f"{n}")), f"f{n % 4}", "say", str(n)
        )
        for n in range(24)
    ]
    write_jsonl(run / "world" / "demonstrations.jsonl", (talk.to_row() for talk in talks))
    lines = [json.dumps(row) for row in ROWS]
    (tmp_path / "sums.jsonl").write_text("\n".join([*lines, '{"prompt": "Hi"', ""]))
    tokenizer = train_tokenizer(["Double it. The answer is 4. Say 12.\n"] * 9, 300, run / "oak")
    save_model(Decoder(ModelConfig(tokenizer.vocabulary, 32, 1, 1, 1, 32, 64), seed=0), run / "oak")
    recipe = validate(
        Recipe,
        {
            "name": "small", "seed": 3, "world": {"characters": {"town": 1}},
            "data": {"folder": str(tmp_path), "share": 0.5, "instructions": ["sums.jsonl"]},
            "models": {"base": {
                "width": 32, "layers": 1, "heads": 1, "kv_heads": 1, "hidden": 32, "context": 64,
            }},
            "mixtures": {"text": {"town": 1}},
            "nodes": {
                "oak": {"stage": "pretrain", "model": "base", "tokens": 1,
                        "settings": {"mixture": "text"}},
                "acorn": {"parent": "oak", "stage": "supervised", "tokens": 1500,
                          "settings": {"rows": 2, "warmup": 1, "precision": "fp32", **settings}},
            },
            "abilities": {"names": []},
        },
        "recipe",
    )  # fmt: skip
    folder = run / "acorn"
    folder.mkdir(exist_ok=True)
    given = StageContext(recipe, "acorn", recipe.nodes["acorn"], folder, run / "oak", run, seed=3)
    return given, supervised(given)


def told(given: StageContext, record: dict[str, Any]) -> Edge:
    """The edge record that a worker writes of it."""
    inputs = inputs_of({"settings": given.node.settings}) if given.node else inputs_of({})
    return Edge(
        "acorn", "supervised", "oak", "f", inputs.values, "", "", 1.0,
        record=record | reading.counts(given.folder),
    )  # fmt: skip


def test_rows_that_are_set_aside_stand_beside_the_node_and_in_its_record(tmp_path: Path) -> None:
    given, record = grow(tmp_path)
    edge = told(given, record)
    found = edge.record["data"]["instructions"]
    assert (found["rows"], found["set_aside"]) == (44, 4)
    assert found["reasons"] == {
        "empty assistant turn": 2, "two assistant turns in a row": 1, "not valid JSON": 1,
    }  # fmt: skip
    assert found["files"] == {"sums.jsonl": {"rows": 44, "set_aside": 4}}
    beside = {"world": 24, "real": 24, "left_out": 16, "real_share": 0.5, "wanted": 0.5}
    assert found["beside"] == {"demonstrations": beside}
    assert reading.lines(edge.record)[1] == (
        "instructions: 16 of 40 left out, so that 50.0% of the demonstrations are real"
    )
    assert record["demonstrations"] == 24 + 24
    few = {"dialogue_prompts": reading.share_of(15_000, 500, 0, 0.5)}
    told_of = {"data": {"prompts": {"set_aside": 0, "benchmark_items": 0, "beside": few}}}
    assert reading.lines(told_of) == [
        "prompts: 3.2% of the dialogue prompts are real, as there are only 500"
    ]
    aside = list(read_jsonl(given.folder / "set_aside.jsonl"))
    assert [row["line"] for row in aside] == [41, 42, 43, 44]
    assert aside[0] == {
        "kind": "instructions", "file": "sums.jsonl", "line": 41,
        "reason": "two assistant turns in a row",
    }  # fmt: skip
    line = "instructions: 4 of 44 rows set aside (2 empty assistant turn, "
    assert any(one.startswith(line) for one in reading.lines(edge.record))
    assert line in card(given.recipe, edge, given.corpus)
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        console.show_trace([edge])
    assert line in out.getvalue()
    before = (given.folder / "reading.json").stat().st_mtime_ns
    grow(tmp_path)
    assert (given.folder / "reading.json").stat().st_mtime_ns == before  # nothing new, no write


def test_the_record_says_how_held_out_conversations_were_answered(tmp_path: Path) -> None:
    given, record = grow(tmp_path, held=0.3, held_most=5, held_length=6)
    held = record["held"]
    assert held.keys() == {"sums", "world"}
    assert held["sums"]["n"] == 5
    was, error = held["sums"]["loss"]["before"]
    assert held["sums"]["loss"]["after"][0] < was and error > 0
    assert held["sums"]["closed"]["n"] == held["sums"]["ended"]["n"] == 5
    kept = record["demonstrations"]
    assert kept < 48
    edge = told(given, record)
    assert "- held out, sums: loss " in card(given.recipe, edge, given.corpus)
    was_read = read_json(given.folder / "held_before.json")
    assert was_read["precision"] == "fp32" and len(was_read["sets"]["sums"]) == 5


def test_tuning_on_fewer_task_types_sees_the_same_tokens(tmp_path: Path) -> None:
    _, all_ = grow(tmp_path)
    _, few = grow(tmp_path / "few", task_types=2)
    assert few["training"]["rows"] == all_["training"]["rows"]
    assert len(few["task_types"]) == 2 and "task_types" not in all_
    assert few["demonstrations"] < all_["demonstrations"]
    with pytest.raises(RegrowError, match="there are only 5 task types"):
        grow(tmp_path / "many", task_types=6)


def test_rows_may_be_shorter_than_the_context_and_keep_conversations_apart(tmp_path: Path) -> None:
    _, record = grow(tmp_path, row_tokens=32)
    assert record["read"]["rows"]["of"][0]["context"] == 32
    assert record["training"]["rows"] == 1500 // 32
    assert record["packing"] == "within"


def test_what_rows_leave_out_is_told(tmp_path: Path) -> None:
    _, record = grow(tmp_path, row_tokens=16)
    layout = record["layout"]["demonstrations"]
    assert layout["longer_than_a_row"] > 0 and layout["system_turns_left_out"] == 0
    (line,) = reading.lines({"layout": record["layout"]})
    assert line.endswith("longer than a row, of which the end is learnt from")


def test_a_trace_knows_what_was_limited_and_kept_aside(tmp_path: Path) -> None:
    from regrow.tree.trace import seen_by

    given, record = grow(tmp_path, held=0.3, task_types=3)
    (given.run / "recipe.json").write_text(given.recipe.model_dump_json())
    write_edge(given.folder, told(given, record))
    oak = replace(told(given, {}), name="oak", stage="import", parent=None)
    write_edge(given.run / "oak", oak)
    visits = seen_by(given.folder)
    (source,) = visits[-1].to_row()["sources"].values()
    assert source["documents"] == record["demonstrations"]
