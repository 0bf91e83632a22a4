"""The verdicts as Markdown, for docs/claims.md."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from regrow.claims.arms import tree_of
from regrow.claims.claim import Claim
from regrow.claims.verdict import Reading, Verdict, would_change
from regrow.evaluate.statistics import holm
from regrow.tree.edge import machine


def summary(verdicts: Sequence[Verdict], claims: Sequence[Claim]) -> str:
    """All verdicts with effects and intervals, then what was not run and what waits."""
    judged = [verdict for verdict in verdicts if verdict.evidence]
    adjusted = adjusted_p(judged)
    out = [
        "# Claims",
        "",
        "What the ledger of claims predicts, and what runs say. Written by `regrow claims "
        "--markdown`; the rule stands in docs/claims-rule.md. Effects have 95 % intervals over "
        "seeds and item families; *detectable* is the smallest effect that runs like these find "
        "four times in five; *leans* is what the intervals alone would say, before the rule asks "
        "for seeds and for the second world; p values are held over all measures of this page "
        "(Holm).",
        "",
        f"Commit {commit()}, {datetime.now(UTC):%Y-%m-%d}, {machine()}. Evidence: "
        f"{', '.join(sorted(_runs(judged))) or 'none'}.",
        "",
        "| claim | verdict | leans | seeds | measure | predicted | effect, 95 % interval | "
        "matters | detectable | p, held |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for verdict in judged:
        for number, reading in enumerate(verdict.readings):
            out.append(_row(verdict, reading, adjusted, first=number == 0))
    out += ["", "## Each claim", ""]
    for verdict in judged:
        out += _section(verdict)
    waiting = [claim for claim in claims if claim.waiting]
    ids = {verdict.claim.id for verdict in judged}
    left = [claim for claim in claims if not claim.waiting and claim.id not in ids]
    if left:
        out += ["## Not run", ""]
        out += [f"- **{claim.id}** {claim.statement}. `regrow claims {claim.id}`" for claim in left]
        out.append("")
    if waiting:
        out += ["## Waiting for a part", ""]
        out += [f"- **{claim.id}** {claim.statement}. Waits for {claim.waiting}."
                for claim in waiting]  # fmt: skip
        out.append("")
    return "\n".join(out).rstrip() + "\n"


def _runs(verdicts: Sequence[Verdict]) -> set[str]:
    """The trees whose nodes were read, or from which a claim grew arms of its own."""
    return {tree_of(node.parent.name)
            for verdict in verdicts for one in verdict.evidence
            for node in one.nodes.values()}  # fmt: skip


def adjusted_p(verdicts: Sequence[Verdict]) -> dict[tuple[str, str], float]:
    """p values of all measures that were found, held together (Holm), by claim and measure."""
    found = {
        (verdict.claim.id, reading.measure.name): reading.found.whole.p
        for verdict in verdicts
        for reading in verdict.readings
        if reading.found
    }
    return dict(zip(found, holm(list(found.values()))))


def _row(
    verdict: Verdict, reading: Reading, adjusted: dict[tuple[str, str], float], first: bool
) -> str:
    claim, measure = verdict.claim, reading.measure
    head = [claim.id, verdict.word, verdict.leans, seeds_told(verdict)] if first else [""] * 4
    if reading.found is None:
        rest = [reading.why, f"{measure.matters:g}", "", ""]
    else:
        effect = reading.found.whole
        rest = [
            f"{effect.mean:+.3f} [{effect.low:+.3f}, {effect.high:+.3f}]",
            f"{measure.matters:g}",
            f"{effect.detectable():.3f}",
            f"{adjusted[claim.id, measure.name]:.2g}",
        ]
    return "| " + " | ".join([*head, measure.name, measure.predicted, *rest]) + " |"


def seeds_told(verdict: Verdict) -> str:
    """`a 3, b 3`."""
    return ", ".join(f"{variant} {count}" for variant, count in verdict.seeds.items())


def _section(verdict: Verdict) -> list[str]:
    claim = verdict.claim
    word = f"**{verdict.word}**: {'; '.join(verdict.why)}."
    out = [f"### {claim.id}: {claim.statement}", "", f"Predicted: {claim.prediction}. {word}"]
    if claim.caveat:
        out.append(f"Note: {claim.caveat}.")
    if claim.published:
        out.append(f"Published: {claim.published}.")
    out.append("")
    for reading in verdict.readings:
        if reading.found is None:
            continue
        arms = ", ".join(f"{arm} {mean:.3f}" for arm, mean in reading.found.arms.items())
        runs = "; ".join(
            f"{variant}: "
            + " ".join(f"{v:+.3f}" if math.isfinite(v) else "none" for v in effect.by_run)
            for variant, effect in reading.found.by_variant.items()
        )
        out.append(f"- {reading.measure.name}: {reading.why}. Arms: {arms}. By seed: {runs}. "
                   f"Would change it: {would_change(reading)}.")  # fmt: skip
    return [*out, ""]


def commit() -> str:
    """The commit at hand, `unknown` outside a checkout."""
    found = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True, text=True, check=False, cwd=Path(__file__).parent,
    )  # fmt: skip
    return found.stdout.strip() or "unknown"
