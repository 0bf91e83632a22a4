"""Not knowing as a matter of degree: who is refused as the threshold of doubt moves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from regrow.evaluate.outcomes import Outcome
from regrow.evaluate.statistics import area_under_roc, risk_coverage


def curves(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Not knowing by threshold: who is refused as the wish to admit it is moved.

    Known are those on people met 100 times or more, where the items say how often. A question is
    the more doubtful the likelier the node finds 'I do not know'. `detection` are points (known
    refused, unknown refused), `risk` points (share answered, share wrong of those).
    """
    rows = [o for o in outcomes if o.ability == "not_knowing" and o.twin is not None]
    admitted = [o for o in rows if o.metric == "admitted"]
    right = {o.item: o.value for o in rows if o.metric == "right"}
    doubt = {
        kind: [
            float(o.twin or 0.0)
            for o in admitted
            if o.variant.get("kind") == kind and o.variant.get("frequency", "100+") == "100+"
        ]
        for kind in ("unknown", "known")
    }
    if not doubt["unknown"] or not doubt["known"]:
        return {}
    thresholds = sorted({*doubt["unknown"], *doubt["known"]}, reverse=True)
    shares = [
        tuple(
            sum(d >= limit for d in doubt[kind]) / len(doubt[kind]) for kind in ("known", "unknown")
        )
        for limit in thresholds[:: max(1, len(thresholds) // 60)]
    ]
    told = [o for o in admitted if o.item in right or o.variant.get("kind") == "unknown"]
    wrong = [1.0 - right.get(o.item, 0.0) for o in told]
    risk = risk_coverage([-float(o.twin or 0.0) for o in told], wrong)
    return {
        "not_knowing": {
            "area": area_under_roc(doubt["unknown"], doubt["known"]),
            "detection": [(0.0, 0.0), *shares, (1.0, 1.0)],
            "risk": risk[:: max(1, len(risk) // 60)],
        }
    }
