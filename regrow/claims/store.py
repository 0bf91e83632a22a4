"""Verdicts as rows on disk, so that claims that were judged earlier stay known."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from regrow.claims.claim import Claim, ledger
from regrow.claims.effects import Evidence
from regrow.claims.verdict import Reading, Verdict, judge
from regrow.evaluate.replication import Effect
from regrow.files import read_json, write_json

FILE = "verdicts.json"


def to_row(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON."""
    return {
        "id": verdict.claim.id,
        "statement": verdict.claim.statement,
        "recipe": verdict.claim.recipe,
        "word": verdict.word,
        "leans": verdict.leans,
        "why": list(verdict.why),
        "seeds": verdict.seeds,
        "measures": [_reading(one) for one in verdict.readings],
        "evidence": [
            {"variant": one.variant, "seed": one.seed,
             "nodes": {arm: str(path) for arm, path in one.nodes.items()}}
            for one in verdict.evidence
        ],
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }  # fmt: skip


def _reading(reading: Reading) -> dict[str, Any]:
    row: dict[str, Any] = {
        "name": reading.measure.name,
        "predicted": reading.measure.predicted,
        "matters": reading.measure.matters,
        "says": reading.word,
        "why": reading.why,
    }
    if reading.found is None:
        return row
    found = reading.found
    return row | {
        "effect": _effect(found.whole),
        "twin": _effect(found.twin) if found.twin else None,
        "by_variant": {name: _effect(effect) for name, effect in found.by_variant.items()},
        "arms": dict(found.arms),
        "seeds": {name: list(seeds) for name, seeds in found.seeds.items()},
    }


def _effect(effect: Effect) -> dict[str, Any]:
    row = asdict(effect) | {"detectable": effect.detectable()}
    return {key: _number(value) for key, value in row.items()} | {
        "by_run": [_number(value) for value in effect.by_run]
    }


def _number(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def known_verdicts(folder: Path) -> dict[str, dict[str, Any]]:
    """The rows of all claims judged so far, by id."""
    path = folder / FILE
    return read_json(path) if path.is_file() else {}


def keep_verdicts(folder: Path, verdicts: Sequence[Verdict]) -> list[str]:
    """Write the verdicts that have evidence beside those known already.

    The one with more runs is kept, so that a first look, on a small recipe too, takes nothing away.
    Returns the ids of those that were not written.
    """
    known = known_verdicts(folder)
    rows = {one.claim.id: to_row(one) for one in verdicts if one.evidence}
    narrower = [id for id, row in rows.items() if id in known and _narrower(row, known[id])]
    if rows:
        write_json(folder / FILE, known | {i: row for i, row in rows.items() if i not in narrower})
    return narrower


def _narrower(row: dict[str, Any], known: dict[str, Any]) -> bool:
    """Whether a verdict has fewer runs than one that is known and whose nodes are still there."""
    evidence = _evidence(known)
    return len(row["evidence"]) < len(evidence) and _there(ledger()[row["id"]], evidence)


def _evidence(row: dict[str, Any]) -> list[Evidence]:
    return [Evidence(one["variant"], one["seed"],
                     {arm: Path(path) for arm, path in one["nodes"].items()})
            for one in row["evidence"]]  # fmt: skip


def _there(claim: Claim, evidence: Sequence[Evidence]) -> bool:
    """Whether the nodes are still there, and those of the claim's arms of today."""
    return all(
        one.nodes.keys() == claim.arms.keys()
        and all((node / "scores.json").is_file() for node in one.nodes.values())
        for one in evidence
    )


def earlier_verdicts(folder: Path, but: Collection[str]) -> tuple[list[Verdict], list[str]]:
    """Claims judged before, by the rule and ledger of today, and ids of those whose nodes are gone.

    `but` are ids that are left out. A claim whose arms are others today counts as gone.
    """
    found, gone = [], []
    for id, row in known_verdicts(folder).items():
        if id in but or id not in ledger():
            continue
        claim = ledger()[id]
        claim = claim.model_copy(update={"recipe": row.get("recipe", claim.recipe)})
        evidence = _evidence(row)
        if _there(claim, evidence):
            found.append(judge(claim, evidence))
        else:
            gone.append(id)
    return found, gone
