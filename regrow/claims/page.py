"""A page for each verdict and one for all of them, self-contained."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from regrow.claims.arms import place
from regrow.claims.claim import Arm, Claim
from regrow.claims.drawing import curve, dots, scale
from regrow.claims.effects import Evidence
from regrow.claims.evidence import candidates
from regrow.claims.markdown import adjusted_p, commit, seeds_told
from regrow.claims.over_tokens import over_tokens
from regrow.claims.verdict import Reading, Verdict, would_change
from regrow.evaluate.replication import sign_flip
from regrow.files import write_atomic
from regrow.page.shell import fill
from regrow.tree.edge import machine

_PREDICTED = {
    "up": "above zero",
    "down": "below zero",
    "none": "no change",
    "not_up": "not above zero",
    "not_down": "not below zero",
}


def write_pages(folder: Path, verdicts: Sequence[Verdict], claims: Sequence[Claim]) -> Path:
    """Write index.html and a page for each claim that has evidence; returns the index's path."""
    judged = [verdict for verdict in verdicts if verdict.evidence]
    for verdict in judged:
        write_atomic(folder / f"{verdict.claim.id}.html", claim_page(verdict))
    path = folder / "index.html"
    write_atomic(path, index_page(judged, claims))
    return path


def index_page(verdicts: Sequence[Verdict], claims: Sequence[Claim]) -> str:
    """The page of all verdicts."""
    counts = {word: sum(verdict.word == word for verdict in verdicts)
              for word in ("supported", "refuted", "undecided")}  # fmt: skip
    ids = {verdict.claim.id for verdict in verdicts}
    waiting = [claim for claim in claims if claim.waiting]
    left = [claim for claim in claims if not claim.waiting and claim.id not in ids]
    most = max((sum(verdict.seeds.values()) for verdict in verdicts), default=0)
    counts |= {"not run": len(left), "wait for a part": len(waiting), "runs at most": most}
    tiles = "".join(f"<div><b>{n}</b><span>{word}</span></div>" for word, n in counts.items())
    adjusted = adjusted_p(verdicts)
    rows = "".join(_index_row(verdict, adjusted) for verdict in verdicts)
    heads = _row("claim", "verdict", "first measure", "p, held", cell="th")
    body = (
        '<section id="claims"><h2>Every claim that has runs</h2><p>The effect is that of the '
        "claim's first measure; the dashed rule is the smallest effect that matters, circles are "
        'single runs. p is held over all measures of this page (Holm).</p><div class="scroll">'
        f'<table class="claims"><thead>{heads}</thead><tbody>{rows}</tbody></table></div></section>'
    )
    if left:
        body += _others("left", "Not run", left, lambda claim: f"regrow claims {claim.id}")
    if waiting:
        body += _others("waiting", "Waiting for a part", waiting, lambda claim: claim.waiting)
    return fill("regrow.claims", "page.html", {
        "title": "claims",
        "kicker": f"regrow · commit {escape(commit())} · {escape(machine())}",
        "headline": "What the claims predict, and what runs say",
        "lead": "Each prediction was written down before any run. A refuted claim is a result.",
        "links": '<a href="#claims">Claims</a>'
                 + ('<a href="#left">Not run</a>' if left else "")
                 + ('<a href="#waiting">Waiting</a>' if waiting else ""),
        "tiles": f'<div class="tiles">{tiles}</div>',
        "body": body,
    })  # fmt: skip


def _index_row(verdict: Verdict, adjusted: dict[tuple[str, str], float]) -> str:
    claim, first = verdict.claim, verdict.readings[0]
    drawn, p = "", ""
    if first.found:
        drawn = dots(first, width=420, names=False)
        p = f"{adjusted[claim.id, first.measure.name]:.2g}"
    return _row(
        f'<a href="{claim.id}.html">{claim.id}</a><small>{escape(claim.standing)}</small>',
        f"{_word(verdict.word)} {escape(claim.statement)}"
        f"<small>{escape('; '.join(verdict.why))} · runs: {seeds_told(verdict)}</small>",
        f"{escape(first.measure.name)}{drawn}",
        p,
    )


def _row(*cells: str, cell: str = "td") -> str:
    """A row of a table from HTML."""
    return "<tr>" + "".join(f"<{cell}>{text}</{cell}>" for text in cells) + "</tr>"


def _others(anchor: str, title: str, claims: Sequence[Claim], told: object) -> str:
    assert callable(told)
    rows = "".join(
        _row(claim.id, escape(claim.statement), f"<small>{escape(told(claim))}</small>")
        for claim in claims
    )
    return (f'<section id="{anchor}"><h2>{title}</h2><table class="claims"><tbody>{rows}</tbody>'
            "</table></section>")  # fmt: skip


def _word(word: str) -> str:
    return f'<span class="word {word}">{word}</span>'


def claim_page(verdict: Verdict) -> str:
    """The page of one verdict."""
    claim = verdict.claim
    measures = "".join(_measure(claim, one, verdict.evidence) for one in verdict.readings)
    arms = "".join(
        _row(
            escape(name),
            f"<code>{escape(arm.node)}</code>",
            f"<code>{escape(_changes(arm))}</code>",
            "" if arm.x is None else f"{arm.x:g}",
        )
        for name, arm in claim.arms.items()
    )
    differ = {"twins": f"may differ in {', '.join(claim.differ)} only; checked on resolved recipes",
              "edge": f"descend from {claim.control}: the stages between are the ingredient",
              "same": "one node, asked in several ways"}[claim.compare]  # fmt: skip
    nodes = "".join(
        _row(one.variant, str(one.seed), f"<small>{_folders(one)}</small>")
        for one in verdict.evidence
    )
    arm_heads = _row("arm", "node", "changes", "x", cell="th")
    run_heads = _row("world", "seed", "nodes", cell="th")
    body = (
        f'<section id="measures"><h2>Measured</h2>{measures}</section>'
        f'<section id="arms"><h2>Arms</h2><p>Arms {escape(differ)}.</p><div class="scroll">'
        f'<table class="claims"><thead>{arm_heads}</thead>'
        f"<tbody>{arms}</tbody></table></div></section>"
        f'<section id="again"><h2>Run it again</h2><pre class="prompt">{escape(_commands(claim))}'
        '</pre><table class="claims"><thead>'
        f"{run_heads}</thead><tbody>{nodes}</tbody></table></section>"
    )
    notes = [f"Predicted: {claim.prediction}."]
    notes += [f"Note: {claim.caveat}."] if claim.caveat else []
    notes += [f"Published: {claim.published}."] if claim.published else []
    notes.append(f"Verdict: {'; '.join(verdict.why)}. By the intervals alone: {verdict.leans}.")
    return fill("regrow.claims", "page.html", {
        "title": f"claim {claim.id}",
        "kicker": f"claim {claim.id} · {escape(claim.standing)} · runs: {seeds_told(verdict)}",
        "headline": f"{escape(claim.statement)}: {_word(verdict.word)}",
        "lead": "<br>".join(map(escape, notes)),
        "links": '<a href="index.html">All claims</a><a href="#measures">Measured</a>'
                 '<a href="#arms">Arms</a><a href="#again">Run it again</a>',
        "tiles": "",
        "body": body,
    })  # fmt: skip


def _measure(claim: Claim, reading: Reading, evidence: Sequence[Evidence]) -> str:
    measure, found = reading.measure, reading.found
    if found is None:
        title, why = escape(measure.name), escape(reading.why)
        return f'<div class="measure"><h3>{title}</h3><p>{why}.</p></div>'
    effect = found.whole
    arms = "".join(_row(escape(arm), f"{mean:.3f}") for arm, mean in found.arms.items())
    runs = list(filter(math.isfinite, effect.by_run))
    sign = -1 if measure.predicted in ("down", "not_up") else 1
    flipped = ""
    if len(runs) > 1:
        exact = sign_flip([sign * value for value in runs], two_sided=False)
        flipped = f"; by flipping the signs of runs {exact:.2g} (one-sided, exact)"
    facts = {
        "effect": f"{effect.mean:+.3f} [{effect.low:+.3f}, {effect.high:+.3f}]",
        "predicted": f"{_PREDICTED[measure.predicted]}; matters from {measure.matters:g}",
        "says": f"{reading.word}: {reading.why}",
        "detectable": f"{effect.detectable():.3f}, four times in five",
        "p": f"{effect.p:.2g}" + flipped,
        "error from": f"seeds {_root(effect.of_seeds)}, items {_root(effect.of_items)} "
                      f"({effect.families} families)",
        "would change it": would_change(reading),
    }  # fmt: skip
    if found.twin:
        twin = found.twin
        facts["continuous twin"] = f"{twin.mean:+.3f} [{twin.low:+.3f}, {twin.high:+.3f}]"
    rows = "".join(f"<dt>{key}</dt><dd>{escape(value)}</dd>" for key, value in facts.items())
    return (
        f'<div class="measure"><h3>{escape(measure.name)}</h3>{dots(reading)}{scale(reading)}'
        f"{curve(claim, reading)}{over_tokens(claim, reading, evidence)}"
        f'<div class="two"><dl>{rows}</dl><table class="plain"><thead>'
        f"{_row('arm', 'mean', cell='th')}</thead><tbody>{arms}</tbody></table></div></div>"
    )


def _changes(arm: Arm) -> str:
    said = [f"{key}={value}" for key, value in arm.set.items()]
    said += [f"{key}: best of {', '.join(map(str, tried))}" for key, tried in arm.sweep.items()]
    return ", ".join(said) or "as in the recipe"


def _folders(one: Evidence) -> str:
    return "<br>".join(f"{escape(arm)}: {escape(str(path))}" for arm, path in one.nodes.items())


def _root(variance: float) -> str:
    return "unknown" if variance != variance else f"{variance**0.5:.3f}"


def _commands(claim: Claim) -> str:
    lines = [f"regrow claims {claim.id}", "", "# single arms:"]
    for arm in claim.arms.values():
        lines.append(place(claim, arm, "a", 0, candidates(arm)[0]).command)
    return "\n".join(dict.fromkeys(lines))
