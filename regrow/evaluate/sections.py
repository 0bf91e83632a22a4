"""The parts of the report page, each a function from a run to HTML."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from regrow.evaluate import familytree
from regrow.evaluate.abilities import Line, abilities_of
from regrow.evaluate.bars import Measured
from regrow.evaluate.comparison import Change, NodeReport, Run
from regrow.evaluate.familytree import percent, unit
from regrow.evaluate.outcomes import Score
from regrow.page import charts


def colours(nodes: Sequence[NodeReport]) -> dict[str, str]:
    """The CSS class of each node: a colour for the main ones, grey for arms."""
    main = [node.name for node in nodes if not node.arm]
    return {
        node.name: f"c-{main.index(node.name) % 10}" if not node.arm else "c-arm" for node in nodes
    }


def tiles(run: Run, bars: Sequence[Measured]) -> str:
    """The run in five numbers."""
    funnel = run.corpus.get("funnel", {})
    stages = funnel.get("stages", [])
    tokens = sum(s["tokens"] for s in run.corpus.get("tokens", {}).get("sources", {}).values())
    main = [node for node in run.nodes if not node.arm]
    judged = [bar for bar in bars if bar.met is not None]
    items = sum(len(node.outcomes) for node in run.nodes)
    found = [
        (str(len(main)), "models", f"and {len(run.nodes) - len(main)} control arms"),
        (charts.short(stages[0]["documents"]) if stages else "–", "raw documents",
         f"{charts.short(stages[-1]['documents'])} kept" if stages else ""),
        (charts.short(tokens) if tokens else "–", "training tokens on disk", ""),
        (charts.duration(sum(float(node.edge.get("seconds") or 0) for node in run.nodes)),
         "of growing", "all stages together"),
        (charts.short(items), "answers judged", ""),
        (f"{sum(bool(bar.met) for bar in judged)}/{len(judged)}", "bars met",
         "by the end of the 95 % interval"),
    ]  # fmt: skip
    return "".join(
        f"<div><b>{escape(value)}</b><span>{escape(label)}</span><small>{escape(more)}</small></div>"
        for value, label, more in found
    )


#: The smallest change, in shares, that the headline tells.
LEAST = 0.05
_DID = {"supervised": "Instruction tuning", "feedme": "FeedME", "rlhf": "RLHF"}


def findings(run: Run, changes: Sequence[Change]) -> str:
    """For each branch of the main tree, its largest sure gains and loss in a sentence."""
    cards = []
    for node in run.nodes:
        if node.arm:
            continue
        if not (node.parent and run.node(node.parent)):
            said = _from_nothing(node)
        else:
            own = [c for c in changes if c.child == node.name and _worth_telling(c)]
            gains = sorted((c for c in own if c.gain > 0), key=_weight)[:2]
            losses = sorted((c for c in own if c.gain < 0), key=_weight)[:1]
            said = "gave " + " and ".join(map(_told, gains)) + "." if gains else ""
            said += f" It cost {_told(losses[0])}." if losses else ""
        if said:
            cards.append(
                f"<li><b>{escape(_did(node))}</b> <span>{escape(node.parent or 'documents')} → "
                f"{escape(node.name)}</span> <p>{said}</p></li>"
            )
    if not cards:
        return (
            "<p>No stage of this run moved an ability for sure by more than "
            f"{LEAST * 100:.0f} points: the models are too small, or saw too little.</p>"
        )
    return f'<ul class="findings">{"".join(cards)}</ul>'


def _worth_telling(change: Change) -> bool:
    """A sure change that is large enough for the headline."""
    return change.significant and _weight(change) <= -LEAST


def _did(node: NodeReport) -> str:
    if node.stage == "pretrain":
        return f"Training on {node.mixture or 'more text'}" if node.parent else "Pretraining"
    return _DID.get(node.stage, node.stage)


def _from_nothing(node: NodeReport) -> str:
    best = sorted(
        (
            one
            for one in familytree.seedling(node)
            if one.sure and one.size >= LEAST and one.line.unit == "share"
        ),
        key=lambda one: -one.size,
    )[:2]
    told = [
        f"<em>{escape(_lower(one.line.title))}</em> "
        f"<b>{percent(node.lines[one.line.name].score, one.line)} %</b>"
        for one in best
    ]
    return f"gave {' and '.join(told)}, from nothing." if told else ""


def _lower(title: str) -> str:
    return title[:1].lower() + title[1:]


def _weight(change: Change) -> float:
    return -abs(change.gain) / {"share": 1.0, "bits": 2.0, "count": 3.0}[change.line.unit]


def _told(change: Change) -> str:
    before, after = percent(change.before, change.line), percent(change.after, change.line)
    return (
        f"<em>{escape(_lower(change.line.title))}</em> <b>{before} → {after}{unit(change.line)}</b>"
    )


def tree(run: Run, changes: Sequence[Change]) -> str:
    """The drawing for wide screens, the same branches in a list for narrow ones."""
    by_child: dict[str, list[Change]] = {}
    for change in changes:
        by_child.setdefault(change.child, []).append(change)
    main = [node for node in run.nodes if not node.arm]
    arms = [node for node in run.nodes if node.arm]
    depth = {node.name: len(_lineage(run, node)) - 1 for node in run.nodes}

    def twig(node: NodeReport, level: int) -> str:
        grown = node.parent and run.node(node.parent)
        found = (
            familytree.leaves(by_child.get(node.name, ())) if grown else familytree.seedling(node)
        )
        return familytree.strip(node, found, level)

    drawn = f'<div class="wide">{familytree.drawing(main, by_child)}</div>' if main else ""
    listed = "".join(twig(node, depth[node.name]) for node in main)
    parts = [
        drawn,
        f'<ul class="twigs narrow">{listed}</ul>',
        f'<figure class="scroll">{familytree.legend()}</figure>',
    ]
    if arms:
        rows = "".join(twig(node, 0) for node in arms)
        parts.append(
            "<h3>Control arms</h3><p>Same parent, size and tokens as the node they stand beside, "
            f'one ingredient left out.</p><ul class="twigs arms">{rows}</ul>'
        )
    parts.append(_changes_table(changes))
    return "".join(parts)


def _lineage(run: Run, node: NodeReport) -> list[str]:
    names, at = [node.name], node
    while at.parent and (above := run.node(at.parent)) and above.name not in names:
        names.append(above.name)
        at = above
    return names


def _changes_table(changes: Sequence[Change]) -> str:
    rows = "".join(
        f'<tr class="{_side(c)}"><td>{escape(c.parent)} → {escape(c.child)}</td>'
        f"<td>{escape(c.line.title)}</td><td>{percent(c.before, c.line)}</td>"
        f"<td>{percent(c.after, c.line)}</td>"
        f"<td>{percent(c.paired.difference, c.line, True)} "
        f"<small>[{percent(c.paired.low, c.line, True)}, {percent(c.paired.high, c.line, True)}]"
        f"</small></td><td>{_p(c.adjusted)}</td><td>{c.paired.n}</td></tr>"
        for c in changes
    )
    return (
        "<details><summary>Every change as a table</summary>"
        "<div class='scroll'><table class='plain'>"
        "<thead><tr><th>edge</th><th>ability</th><th>before</th><th>after</th>"
        "<th>change [95 %]</th><th>p (Holm)</th><th>n</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _side(change: Change) -> str:
    if not change.significant or not change.line.best:
        return ""
    return "up" if change.gain > 0 else "down"


def _p(value: float) -> str:
    return "&lt; .001" if value < 0.001 else f"{value:.3f}"


def heat_map(run: Run) -> str:
    """Lines by nodes; every cell shows the score, its interval as a thin rule, and chance."""
    shown = [line for line in run.lines if any(line.name in node.lines for node in run.nodes)]
    heads = "".join(
        f'<th scope="col" class="{"arm" if node.arm else ""}"><span>{escape(node.name)}</span></th>'
        for node in _arms_last(run.nodes)
    )
    rows, last = [], ""
    for line in shown:
        values = [node.lines[line.name] for node in run.nodes if line.name in node.lines]
        span = _span(line, values)
        cells = "".join(_cell(node, line, span) for node in _arms_last(run.nodes))
        group = run.abilities[line.ability].title
        first = ' class="first"' if group != last else ""
        last = group
        arrow = {1: "", -1: " ↓", 0: ""}[line.best]
        rows.append(f'<tr{first}><th scope="row">{escape(line.title)}{arrow}</th>{cells}</tr>')
    return (
        '<div class="scroll heat-scroll"><table class="heat"><thead><tr><th></th>'
        f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _arms_last(nodes: Sequence[NodeReport]) -> list[NodeReport]:
    return sorted(nodes, key=lambda node: node.arm)


def _span(line: Line, values: Sequence[Score]) -> tuple[float, float]:
    """From the palest to the darkest: at least as far apart as an interval is wide, so that values
    which are the same but for noise look the same."""
    if line.unit == "share":
        return 0.0, 1.0
    least = min((score.score for score in values), default=0.0)
    widths = [score.high - score.low for score in values]
    return least, max(
        [*(score.score for score in values), *(least + w for w in widths), least + 1e-9]
    )


def _cell(node: NodeReport, line: Line, span: tuple[float, float]) -> str:
    score = node.lines.get(line.name)
    css = "arm" if node.arm else ""
    if score is None or not math.isfinite(score.score):
        return f'<td class="none {css}">·</td>'
    first, last = span
    floor = score.chance if line.unit == "share" and line.best > 0 and score.chance else first
    strength = max(0.0, min(1.0, (score.score - floor) / ((last - floor) or 1)))
    if line.best < 0:
        strength = 1 - strength
    tone = "cost" if line.best < 0 and line.unit == "share" else "worth"
    if tone == "cost":
        strength = 1 - strength
    if line.best == 0:
        tone = "plain"
    rule = ""
    if line.unit == "share":
        rule = (
            f'<i style="left:{score.low * 100:.1f}%;width:{(score.high - score.low) * 100:.1f}%">'
            "</i>"
        )
        if score.chance:
            rule += f'<u style="left:{score.chance * 100:.1f}%"></u>'
    dark = " strong" if strength > 0.55 and tone != "plain" else ""
    return (
        f'<td class="{tone}{dark} {css}" style="--v:{strength:.3f}" tabindex="0" '
        f'data-tip="{escape(tip(node, line, score))}">{percent(score.score, line)}{rule}</td>'
    )


def tip(node: NodeReport, line: Line, score: Score) -> str:
    """What a cell says when one points at it."""
    lines = [
        f"{node.name} · {line.title}",
        f"{percent(score.score, line)}{unit(line)}   95 % [{percent(score.low, line)}, "
        f"{percent(score.high, line)}]",
        f"n = {score.n} in {score.clusters} families · {score.metric}",
    ]
    if score.chance is not None:
        lines.append(f"guessing: {percent(score.chance, line)}{unit(line)}")
    lines.append(f"asked: {node.measuring.get('asked', {}).get(line.ability, score.asked)}")
    if score.spread is not None:
        means = ", ".join(f"{name} {percent(v, line)}" for name, v in score.templates.items())
        lines.append(f"templates: {means} (sd {percent(score.spread, line)})")
    if score.calibration_error is not None:
        lines.append(f"calibration error {score.calibration_error:.2f}")
    if score.twin is not None:
        known = abilities_of([node.measuring])
        beside = known[line.ability].metrics[line.metric].twin
        lines.append(f"twin: {score.twin:.2f} ({beside})")
    return "\n".join(lines)


def bars_table(bars: Sequence[Measured]) -> str:
    """The bars with the measured interval drawn against each."""
    rows = []
    for found in bars:
        bar, line = found.bar, found.line
        ratio = bool(bar.against) and bar.at_least
        span = (0.0, 1.0)
        if bar.against:
            span = (min(-0.2, found.low), max(1.0 if ratio else 0.2, found.high))
        verdict = {True: "met", False: "missed", None: "reported"}[found.met]
        sign = "≥" if bar.at_least else "≤"
        if bar.bound is None:
            wanted = "change from its parent" if bar.against else "reported"
        elif ratio:
            wanted = f"+{bar.bound * 100:.0f} % on its parent"
        elif bar.against:
            wanted = "not more than its parent"
        else:
            wanted = f"{sign} {bar.bound * 100:.0f} %"
        plus = bool(bar.against)
        if bar.against and line.unit != "share" and not ratio:
            said = [f"{v:+.2f}".replace("-", "−") for v in (found.mean, found.low, found.high)]
        else:
            said = [
                f"{'+' if plus and v > 0 else ''}{v * 100:.0f}".replace("-", "−")
                for v in (found.mean, found.low, found.high)
            ]
        percent_sign = " %" if ratio else ""
        strip = charts.interval_strip(
            found.mean, found.low, found.high, bound=bar.bound, chance=found.chance,
            span=span, good=verdict,
        )  # fmt: skip
        mark = {"met": "✓ met", "missed": "✗ not met", "reported": "reported"}[verdict]
        rows.append(
            f'<tr><th scope="row">{escape(line.title)}<small>{escape(bar.node)}</small></th>'
            f"<td>{escape(wanted)}</td><td class='draw'>{strip}</td>"
            f"<td class='num'>{said[0]}{percent_sign} "
            f"<small>[{said[1]}, {said[2]}] n={found.n}</small></td>"
            f'<td class="mark {verdict}">{mark}</td></tr>'
        )
    return (
        "<div class='scroll'><table class='bars'><thead><tr><th>ability and node</th><th>bar</th>"
        "<th>measured, 95 % interval</th><th></th><th></th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def prompts(run: Run) -> str:
    """Every sample prompt with the answers of all nodes."""
    order: dict[tuple[str, str], Mapping[str, Any]] = {}
    for node in run.nodes:
        for row in node.samples:
            order.setdefault((row["title"], row["prompt"]), row)
    blocks = []
    paint = colours(run.nodes)
    for index, ((title, prompt), first) in enumerate(order.items()):
        answers = []
        for node in run.nodes:
            rows = [r for r in node.samples if (r["title"], r["prompt"]) == (title, prompt)]
            if not rows:
                continue
            answer, right = str(rows[0]["answer"]), rows[0].get("right")
            mark = ""
            if right is not None:
                mark = f'<b class="{"met" if right else "missed"}">{"✓" if right else "✗"}</b>'
            answers.append(
                f'<div class="answer {paint[node.name]}" data-node="{escape(node.name)}">'
                f"<span>{escape(node.name)} {mark}</span>"
                f"<pre>{escape(answer) or '<i>(nothing)</i>'}</pre></div>"
            )
        gold = (
            f'<p class="gold">Right: <code>{escape(first["gold"])}</code></p>'
            if first.get("gold")
            else ""
        )
        opened = " open" if index < 2 else ""
        blocks.append(
            f"<details{opened}><summary>{escape(title)}</summary>"
            f'<pre class="prompt">{escape(prompt)}</pre>{gold}'
            f'<div class="answers">{"".join(answers)}</div></details>'
        )
    return "".join(blocks)
