"""What a node's data files held: how many rows were read, and which were set aside and why.

Beside the node lie `set_aside.jsonl`, a line for each such row, and `reading.json`, the counts,
which stand in the edge record as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regrow.align.tables import Tally
from regrow.files import read_json, read_jsonl, write_json, write_jsonl

ROWS, COUNTS = "set_aside.jsonl", "reading.json"
#: What `ConversationRows.layout` counts, in words.
_LAYOUT = {
    "longer_than_a_row": "longer than a row, of which the end is learnt from",
    "without_an_answer_in_a_row": "left out, because no answer fits a row",
    "system_turns_left_out": "system turns left out, for which the chat template has no place",
}


def note(folder: Path, kind: str, tallies: Sequence[Tally], contaminated: int) -> None:
    """Write down what became of the rows of a kind (instructions, prompts ...), once.

    `contaminated` conversations hold an item of a benchmark and were left out for it.
    """
    counts = read_json(folder / COUNTS) if (folder / COUNTS).is_file() else {}
    told = {
        "rows": sum(one.rows for one in tallies),
        "set_aside": sum(len(one.aside) for one in tallies),
        "reasons": dict(Counter(row.reason for one in tallies for row in one.aside).most_common()),
        "files": {one.file: {"rows": one.rows, "set_aside": len(one.aside)} for one in tallies},
        "benchmark_items": contaminated,
    }
    if counts.get(kind) == told:
        return
    rows = [row for row in _rows(folder) if row["kind"] != kind]
    rows += [
        {"kind": kind, "file": row.file, "line": row.line, "reason": row.reason}
        for one in tallies
        for row in one.aside
    ]
    write_jsonl(folder / ROWS, rows)
    write_json(folder / COUNTS, counts | {kind: told})


def _rows(folder: Path) -> list[dict[str, Any]]:
    path = folder / ROWS
    return list(read_jsonl(path)) if path.is_file() else []


def counts(folder: Path) -> dict[str, Any]:
    """What the edge record tells of it; nothing where no data file was read."""
    return {"data": read_json(folder / COUNTS)} if (folder / COUNTS).is_file() else {}


def lines(record: Mapping[str, Any]) -> list[str]:
    """An edge record's counts for the user, a line for each that is not 0."""
    out = []
    for kind, told in record.get("data", {}).items():
        if told["set_aside"]:
            why = ", ".join(f"{count:,} {reason}" for reason, count in told["reasons"].items())
            share = f"{told['set_aside']:,} of {told['rows']:,} rows"
            out.append(f"{kind}: {share} set aside ({why}); see {ROWS}")
        if told["benchmark_items"]:
            out.append(f"{kind}: {told['benchmark_items']:,} left out, which hold benchmark items")
    for part in (record, record.get("supervised", {}), record.get("dialogue_tuning", {})):
        for name, told in part.get("layout", {}).items():
            out += [f"{name}: {told[key]:,} {said}" for key, said in _LAYOUT.items() if told[key]]
    return out
