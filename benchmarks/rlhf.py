"""The bars of RLHF on the built-in world, read from finished runs: one run a seed.

    regrow run laptop; regrow run laptop --seed 1 ...      # grow them first
    python benchmarks/rlhf.py runs/laptop-a-0 runs/laptop-a-1 ...

Gold: PPO raises the gold score by at least 3 standard errors on prompts held out, and no line of
truthfulness falls for sure (95 % interval of the paired difference wholly on the wrong side).
Tax: with the pretraining mix few-shot ability loses at most a third of what it loses without it;
where it loses nothing without it either, the bar says nothing. Seeds are the unit of the last rows.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from regrow.errors import RegrowError
from regrow.evaluate.abilities import line
from regrow.evaluate.comparison import Run, by_line, changes, read_run
from regrow.evaluate.statistics import Paired, paired_difference

POLICY, WITHOUT = "text-davinci-003", "text-davinci-003-no-mix"
TRUTH = ("false_facts", "unknown", "facts_common")
FEW_SHOT = ("rules", "labels")


@dataclass(frozen=True)
class Row:
    """What one run says; None where it does not hold what is needed."""

    name: str
    gold: dict[str, Any] | None
    sampled: dict[str, Any] | None  # the same of sampled answers
    falls: list[str] | None
    lost: Paired | None  # few-shot ability with the mix, parent minus child
    lost_without: Paired | None

    @property
    def raises_gold(self) -> bool | None:
        if self.gold is None or self.falls is None:
            return None
        return self.gold["gain"] >= max(3 * self.gold["error"], 1e-9) and not self.falls

    @property
    def keeps_ability(self) -> bool | None:
        if self.lost is None or self.lost_without is None or self.lost_without.low <= 0:
            return None
        return self.lost.difference <= self.lost_without.difference / 3


def read(folder: Path) -> Row:
    run = read_run(folder)
    node = run.node(POLICY)
    parent = run.node(node.parent) if node and node.parent else None
    held = node.edge["record"].get("ppo", {}).get("held_out", {}) if node else {}
    gold, sampled = held.get("gold"), held.get("sampled", {}).get("gold")
    falls = None
    if node and parent and node.outcomes and parent.outcomes:
        told = {change.line.name: change for change in changes(parent, node, run.lines)}
        falls = [name for name in TRUTH if name in told and _fell(told[name])]
    return Row(
        folder.name, gold, sampled, falls, few_shot_loss(run, POLICY), few_shot_loss(run, WITHOUT)
    )


def _fell(change: Any) -> bool:
    worse = change.paired.high < 0 if change.line.best > 0 else change.paired.low > 0
    return bool(worse)


def few_shot_loss(run: Run, name: str) -> Paired | None:
    """How much few-shot ability a node lost against its parent, over all items of FEW_SHOT."""
    node = run.node(name)
    parent = run.node(node.parent) if node and node.parent else None
    if node is None or parent is None:
        return None
    before, after = by_line(parent.outcomes), by_line(node.outcomes)
    pairs = [
        (before[ability][item], after[ability][item])
        for ability in FEW_SHOT
        for item in before.get(ability, {})
        if item in after.get(ability, {})
    ]
    if not pairs:
        return None
    was, now = [old[0] for old, _ in pairs], [new[0] for _, new in pairs]
    return paired_difference(now, was, [old[1] for old, _ in pairs])


def said(row: Row) -> str:
    gold, lost, free = row.gold, row.lost, row.lost_without
    words = {True: "met", False: "MISSED", None: "not told"}
    parts = [
        f"gold {gold['before']:.2f} → {gold['after']:.2f} ({gold['gain']:+.2f} "
        f"±{gold['error']:.2f})"
        if gold
        else "gold: the record has none on prompts held out",
        f"as sampled {row.sampled['gain']:+.2f} ±{row.sampled['error']:.2f}"
        if row.sampled
        else "as sampled: not told",
        f"truth fell in {', '.join(row.falls)}" if row.falls else
        "no truth fell" if row.falls is not None else "truth not measured",
        f"bar: {words[row.raises_gold]}",
    ]  # fmt: skip
    for title, one in (("with the mix", lost), ("without", free)):
        if one:
            parts.append(
                f"few-shot loss {title} {one.difference * 100:+.1f} points "
                f"[{one.low * 100:+.1f}, {one.high * 100:+.1f}]"
            )
    return f"{row.name}: " + "; ".join([*parts, f"bar: {words[row.keeps_ability]}"])


def over_seeds(title: str, values: list[float]) -> str:
    if len(values) < 2:
        return f"{title}: {len(values)} seed(s), no error over seeds"
    error = stdev(values) / len(values) ** 0.5
    return f"{title}: {mean(values):+.3f} ±{error:.3f} over {len(values)} seeds"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("runs", type=Path, nargs="+")
    rows = []
    for folder in parser.parse_args().runs:
        try:
            rows.append(read(folder))
        except RegrowError as error:
            print(f"{folder}: {error}", file=sys.stderr)
            continue
        print(said(rows[-1]), flush=True)
    names = " and ".join(line(name).title for name in FEW_SHOT)
    print(over_seeds("gold gained", [row.gold["gain"] for row in rows if row.gold]))
    print(over_seeds("as sampled", [row.sampled["gain"] for row in rows if row.sampled]))
    print(over_seeds(f"lost with the mix ({names})", [r.lost.difference for r in rows if r.lost]))
    print(over_seeds("lost without", [r.lost_without.difference for r in rows if r.lost_without]))
    judged = [ok for row in rows for ok in (row.raises_gold, row.keeps_ability) if ok is not None]
    return 0 if judged and all(judged) else 1


if __name__ == "__main__":
    sys.exit(main())
