"""The report's table of reward models, from the edge records of the nodes that have one."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from regrow.evaluate.comparison import Run

_HEAD = (
    ("reward model of", "", "left"),
    ("agrees with raters", "held-out prompts and raters; the error is clustered by prompt", "num"),
    ("raters agree", "with one another: the ceiling", "num"),
    ("of the ceiling", "95 % interval", "num"),
    ("calibration error", "mean distance of certainty from the share of raters who agree", "num"),
    ("tested on", "", "num"),
)


def table(run: Run) -> str:
    """One row a reward model, with its reliability folded in; empty where no node has one."""
    rows = []
    for node in run.nodes:
        found = node.edge.get("record", {}).get("reward_model") or {}
        if found.get("accuracy") is not None:
            rows.append(_row(node.name, found))
    if not rows:
        return ""
    head = "".join(
        f'<th class="{kind}" data-tip="{escape(tip)}">{name}</th>' for name, tip, kind in _HEAD
    )
    return (
        "<h3>Reward models</h3><div class='scroll'><table class='plain'><thead><tr>"
        f"{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _row(name: str, found: Mapping[str, Any]) -> str:
    low, high = found.get("of_agreement_interval", (None, None))
    share = f"{found['of_agreement']:.2f} <small>[{low:.2f}, {high:.2f}]</small>" if low else "–"
    tip = "\n".join(
        f"{row['predicted']:.0%} sure: {row['agreed']:.0%} of {row['votes']} judgements agree"
        for row in found.get("calibration", ())
    )
    error = found.get("calibration_error")
    tested = f"{found['pairs']} pairs <small>{found.get('held_prompts', '–')} prompts</small>"
    cells = (
        _percent(found, "accuracy"), _percent(found, "agreement"), share,
        "–" if error is None else f'<span tabindex="0" data-tip="{escape(tip)}">{error:.3f}</span>',
        tested,
    )  # fmt: skip
    said = "".join(f'<td class="num">{cell}</td>' for cell in cells)
    return f'<tr><th scope="row">{escape(name)}</th>{said}</tr>'


def _percent(found: Mapping[str, Any], name: str) -> str:
    if found.get(name) is None:
        return "–"
    return f"{100 * found[name]:.1f} % <small>± {100 * found.get(f'{name}_error', 0):.1f}</small>"
