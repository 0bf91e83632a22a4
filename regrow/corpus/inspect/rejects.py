"""What could not be read at all, by reason."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path
from typing import Any

from regrow.files import read_jsonl

SHOWN = 5  # paths of each reason


def read_rejects(folder: Path, report: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Rows of source, path and reason: from rejects/, else those that the report lists."""
    files = sorted((folder / "rejects").glob("*.jsonl*"))
    if not files:
        yield from report.get("problems", [])
    for file in files:
        yield from read_jsonl(file)


def section(folder: Path, report: Mapping[str, Any]) -> str:
    """Each reason with its count and the first paths; numbers in a reason do not part it."""
    counts: dict[str, int] = {}
    paths: dict[str, list[str]] = {}
    for row in read_rejects(folder, report):
        reason = re.sub(r"<[^>]*>|\d+", "…", str(row.get("reason", "unknown")))
        counts[reason] = counts.get(reason, 0) + 1
        if len(own := paths.setdefault(reason, [])) < SHOWN:
            own.append(f"{row.get('source', '')}: {row.get('path', '')}")
    if not counts:
        return "<p class='empty'>Everything could be read.</p>"
    ordered = sorted(counts, key=lambda reason: (-counts[reason], reason))
    return "".join(
        f"<details><summary>{escape(reason)} <small>{counts[reason]:,}</small></summary>"
        f"<ul class='paths'>{''.join(f'<li><code>{escape(p)}</code></li>' for p in paths[reason])}"
        f"{'<li>…</li>' if counts[reason] > SHOWN else ''}</ul></details>"
        for reason in ordered
    )
