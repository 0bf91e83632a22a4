"""What a node's data files held: how many rows were read, which were set aside and why, and how
many of the others are taken beside the world's.

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


def note(
    folder: Path,
    kind: str,
    tallies: Sequence[Tally],
    contaminated: int,
    beside: Mapping[str, Mapping[str, float]],
) -> None:
    """Write down what became of the rows of a kind (instructions, prompts ...), once.

    `contaminated` conversations hold an item of a benchmark and were left out for it; `beside` has
    for the world's file of that name what `share_of` tells.
    """
    counts = read_json(folder / COUNTS) if (folder / COUNTS).is_file() else {}
    told = {
        "rows": sum(one.rows for one in tallies),
        "set_aside": sum(len(one.aside) for one in tallies),
        "reasons": dict(Counter(row.reason for one in tallies for row in one.aside).most_common()),
        "files": {one.file: {"rows": one.rows, "set_aside": len(one.aside)} for one in tallies},
        "benchmark_items": contaminated,
        "beside": counts.get(kind, {}).get("beside", {}) | dict(beside),
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


def share_of(world: int, real: int, left_out: int, wanted: float) -> dict[str, float]:
    """How many conversations are the world's and how many real, how many real ones `data.share`
    leaves out, and the share of real ones beside the one that was `wanted`."""
    share = round(real / max(1, world + real), 4)
    return {
        "world": world, "real": real, "left_out": left_out, "real_share": share, "wanted": wanted,
    }  # fmt: skip


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
        for world, one in told.get("beside", {}).items():
            said = f"{one['real_share']:.1%} of the {world.replace('_', ' ')} are real"
            if one["left_out"]:
                found = one["real"] + one["left_out"]
                out.append(f"{kind}: {one['left_out']:,} of {found:,} left out, so that {said}")
            elif one["real_share"] < one["wanted"] - 0.005:
                out.append(f"{kind}: {said}, as there are only {one['real']:,}")
    for part in (record, record.get("supervised", {}), record.get("dialogue_tuning", {})):
        for name, told in part.get("layout", {}).items():
            out += [f"{name}: {told[key]:,} {said}" for key, said in _LAYOUT.items() if told[key]]
    return out
