"""The report's curves of abilities, by shots, steps and distance; the corpus; how to regrow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from regrow.corpus.inspect.variety import shares
from regrow.evaluate.comparison import NodeReport, Run
from regrow.evaluate.metrics import calibration_bins
from regrow.evaluate.outcomes import Score
from regrow.evaluate.sections import colours
from regrow.page import charts
from regrow.page.charts import Series

#: Title, ability, metric, key of the axis, its values in order, the rest of the variant.
PANELS: tuple[tuple[str, str, str, str, tuple[str, ...], Mapping[str, str]], ...] = (
    ("In-context rules, by shots", "in_context", "accuracy", "shots",
     ("0", "1", "2", "4", "8"), {"kind": "rule"}),
    ("In-context labels, by shots", "in_context", "accuracy", "shots",
     ("0", "2", "4", "8"), {"kind": "label"}),
    ("Chain of thought, by steps", "chain_of_thought", "accuracy", "steps",
     tuple("12345678"), {"style": "cot"}),
    ("Direct answer, by steps", "chain_of_thought", "accuracy", "steps",
     tuple("12345678"), {"style": "direct"}),
    ("Facts, by mentions in training", "knowledge", "accuracy", "frequency",
     ("<25", "25-99", "100+"), {}),
    ("Long range, by distance in words", "long_range", "accuracy", "distance",
     ("<50", "50-100", "100-200"), {}),
    ("Dialogue history, by turns", "dialogue_history", "accuracy", "turns",
     tuple("12345"), {}),
)  # fmt: skip


def abilities(run: Run) -> str:
    """Small charts with one curve a node, and the trade-off of not knowing."""
    paint = colours(run.nodes)
    panels = []
    for title, ability, metric, key, wanted, rest in PANELS:
        series, labels = [], list(wanted)
        for node in run.nodes:
            cells = _cells(node, ability, metric, key, rest, wanted)
            present = [value for value in wanted if value in cells]
            if not present:
                continue
            series.append(
                Series(
                    node.name,
                    [(wanted.index(value), cells[value].score) for value in present],
                    [(cells[value].low, cells[value].high) for value in present],
                    [_tip(node, title, value, cells[value]) for value in present],
                )
            )
        if series:
            panels.append(
                charts.line_chart(
                    series, paint, title=title, labels=_last_used(labels, series),
                    y_range=(0, 1), percent=True,
                )
            )  # fmt: skip
    panels += [_doubt(run, paint), _risk(run, paint), _reliability(run, paint)]
    return f'{node_legend(run)}<div class="panels">{"".join(panels)}</div>'


def _last_used(labels: Sequence[str], series: Sequence[Series]) -> list[str]:
    last = max(int(x) for one in series for x, _ in one.points)
    return list(labels[: last + 1])


def _cells(
    node: NodeReport,
    ability: str,
    metric: str,
    key: str,
    rest: Mapping[str, str],
    wanted: Sequence[str],
) -> dict[str, Score]:
    """The single cells of an ability by the value of one key; the other keys as in `rest`."""
    return {
        score.variant[key]: score
        for score in node.scores
        if score.ability == ability
        and score.metric == metric
        and dict(score.variant) == {**rest, key: score.variant.get(key)}
        and score.variant[key] in wanted
    }


def _tip(node: NodeReport, title: str, value: str, score: Score) -> str:
    return (
        f"{node.name}\n{title}: {value}\n{score.score * 100:.0f} %  95 % "
        f"[{score.low * 100:.0f}, {score.high * 100:.0f}], n = {score.n}"
    )


def _doubt(run: Run, paint: Mapping[str, str]) -> str:
    series = []
    for node in run.nodes:
        curve = node.measuring.get("curves", {}).get("not_knowing")
        if curve:
            points = [(float(x), float(y)) for x, y in curve["detection"]]
            series.append(Series(node.name, points))
    if not series:
        return ""
    return charts.line_chart(
        series, paint, title="Unknown people refused, by known people refused",
        x_title="known refused", y_range=(0, 1), percent=True,
    )  # fmt: skip


def _risk(run: Run, paint: Mapping[str, str]) -> str:
    """Wrong answers on people, known and unknown, as a node answers more and more of them."""
    series = [
        Series(node.name, [(float(x), float(y)) for x, y in curve["risk"]])
        for node in run.nodes
        if (curve := node.measuring.get("curves", {}).get("not_knowing"))
    ]
    return charts.line_chart(
        series, paint, title="Wrong among answered, by questions answered",
        x_title="answered, the least doubtful first", y_range=(0, 1), percent=True,
    )  # fmt: skip


def _reliability(run: Run, paint: Mapping[str, str]) -> str:
    """Answers right by the probability that the node gave to them, over all abilities."""
    series = []
    for node in run.nodes:
        sure = [o for o in node.outcomes if o.confidence is not None and "asked" not in o.variant]
        bins = calibration_bins([o.confidence or 0.0 for o in sure], [o.value for o in sure])
        points = [(confidence, right) for confidence, right, _ in bins]
        tips = [f"{node.name}\n{x:.0%} sure: {y:.0%} of {size:.0f} right" for x, y, size in bins]
        if points:
            series.append(Series(node.name, points, (), tips))
    return charts.line_chart(
        series, paint, title="Answers right, by how sure the node was",
        x_title="probability of its own answer", y_range=(0, 1), percent=True,
    )  # fmt: skip


def node_legend(run: Run) -> str:
    """Names in their colours; pointing at one brings its curves forward in all charts."""
    paint = colours(run.nodes)
    names = "".join(
        f'<button type="button" class="{paint[node.name]}" data-node="{escape(node.name)}">'
        f"{escape(node.name)}</button>"
        for node in run.nodes
    )
    return f'<div class="node-legend">{names}</div>'


def corpus(run: Run) -> str:
    """What was left after each stage of cleaning, why pages went, and how varied the rest is."""
    report = run.corpus
    stages = report.get("funnel", {}).get("stages", [])
    if not stages:
        return "<p>No corpus report.</p>"
    most = stages[0]["documents"] or 1
    rows, before = [], most
    for stage in stages:
        left = stage["documents"]
        gone = f"−{before - left:,}" if left < before else ""
        rows.append(
            f"<tr><th scope='row'>{escape(stage['stage'])}</th>"
            f"<td class='funnel'><i style='width:{left / most * 100:.2f}%'></i></td>"
            f"<td class='num'>{left:,}</td><td class='num gone'>{gone}</td></tr>"
        )
        before = left
    table = f"<table class='funnel-table'>{''.join(rows)}</table>"
    sides = f"<div>{table}</div><div>{_reasons(report)}</div>"
    return f'<div class="two">{sides}</div>{_diversity(report)}'


def _reasons(report: Mapping[str, Any]) -> str:
    counts: dict[str, int] = {}
    for source in report.get("funnel", {}).get("sources", {}).values():
        for reason, count in source.get("reasons", {}).items():
            counts[reason] = counts.get(reason, 0) + count
    top = sorted(counts.items(), key=lambda pair: -pair[1])[:12]
    most = max((count for _, count in top), default=1)
    rows = "".join(
        f"<tr><th scope='row'>{escape(reason)}</th><td class='funnel lost'>"
        f"<i style='width:{count / most * 100:.1f}%'></i></td><td class='num'>{count:,}</td></tr>"
        for reason, count in top
    )
    dirty = report.get("contamination", {}).get("documents_hit")
    note = (
        f"<p>{dirty:,} documents held evaluation items; these passages were cut out.</p>"
        if dirty is not None
        else ""
    )
    return f"<h3>Why pages went</h3><table class='funnel-table'>{rows}</table>{note}"


def _diversity(report: Mapping[str, Any]) -> str:
    found = report.get("diversity", {})
    fields = ("source", "format", "language", "domain")
    bars = shares(found.get("before", {}), found.get("after", {}), fields)
    if not bars:
        return ""
    return (
        "<h3>Diversity</h3><p>Shares of characters before and after cleaning; the effective number "
        f"is two to the entropy: how many equal groups would be as varied.</p>{bars}"
    )


def reproduce(run: Run) -> str:
    """Commands, machine, versions, and what every node was grown from."""
    name = str(run.recipe.get("name", run.folder.name))
    edges = [node.edge for node in run.nodes]
    machine = next((e["machine"] for e in edges if e.get("machine")), "")
    versions: Mapping[str, str] = next((e["versions"] for e in edges if e.get("versions")), {})
    world = run.recipe.get("world", {})
    facts = [
        ("recipe", name), ("seed", str(run.recipe.get("seed", 0))),
        ("world", f"{world.get('name', '')} variant {world.get('variant', '')}, "
                  f"seed {world.get('seed', '')}"),
        ("machine", str(machine)),
        ("versions", ", ".join(f"{key} {value}" for key, value in versions.items())),
    ]  # fmt: skip
    listed = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts if v.strip())
    commands = "\n".join(
        f"{escape(command):<28} # {what}"
        for command, what in (
            ("make grow", "the default recipe, from documents to this page"),
            (f"regrow run {name}", "this recipe"),
            ("regrow chat chatgpt", "talk to a node"),
            ("regrow tree", "what is grown, from what"),
        )
    )
    longest = max((float(e.get("seconds") or 0) for e in edges), default=1) or 1
    rows = "".join(
        f"<tr><th scope='row'>{escape(node.name)}</th><td>{escape(node.stage)}</td>"
        f"<td class='num'>{charts.short(node.tokens) if node.tokens else ''}</td>"
        f"<td class='funnel'><i style='width:{float(node.edge.get('seconds') or 0) / longest * 100:.1f}%'>"  # noqa: E501
        f"</i></td><td class='num'>{charts.duration(float(node.edge.get('seconds') or 0))}</td>"
        f"<td><code>{escape(str(node.edge.get('fingerprint', ''))[:12])}</code></td></tr>"
        for node in run.nodes
    )
    return (
        f"<pre class='prompt'>{commands}</pre><dl>{listed}</dl>"
        "<h3>Nodes</h3><div class='scroll'><table class='funnel-table'><thead><tr><th>node</th>"
        "<th>stage</th><th>tokens</th><th></th><th>time</th><th>fingerprint</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )
