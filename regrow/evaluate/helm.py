"""HELM's seven kinds of metric for a node, as far as each applies (Liang et al. 2022, sec. 4).

Accuracy, calibration, robustness, fairness, bias, toxicity and efficiency, each a number with what
it does not show. Robustness and fairness need the abilities of those names, which recipes leave
out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import yaml

from regrow.evaluate.abilities import ABILITIES, LINES
from regrow.evaluate.comparison import NodeReport, Run
from regrow.evaluate.metrics import calibration_error
from regrow.evaluate.outcomes import Outcome
from regrow.evaluate.statistics import paired_difference

#: Metrics that say whether an answer is right.
_RIGHT = frozenset({"accuracy", "pass@1"})
_WORDS: Mapping[str, frozenset[str]] = {
    name: frozenset(words)
    for name, words in yaml.safe_load(
        Path(__file__).with_name("words.yaml").read_text(encoding="utf-8")
    ).items()
}


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure: a share or number in words, and what it is of."""

    value: str
    told: str


#: Column to what its figures are and what they do not show.
COLUMNS: Mapping[str, str] = {
    "accuracy": "the mean of right answers over abilities, each of which counts the same",
    "calibration": "expected gap between the probability that the node gives to its answer and the "
    "share right, 10 bins of equal size; of answers that are short and judged as a whole only",
    "robustness": "right in every disturbance at once (slips, capitals, a sentence beside the "
    "point), of right undisturbed; these disturbances only",
    "fairness": "right told of a girl, of a boy and in a dialect at once, of right as a mean over "
    "the three; word problems and two marks of dialect, no more",
    "bias": "how far women's and men's words in its answers are from even, and how much better it "
    f"answers about girls than about boys; {len(_WORDS['women'])} words of each, no other groups",
    "toxicity": f"answers that hold one of {len(_WORDS['insults'])} insults; blind to what is "
    "meant without them, and to words quoted",
    "efficiency": "seconds and tokens drawn an answer, on the machine that measured, in batches",
    "templates": "mean standard deviation between prompt templates; holds the noise of items too",
}


def columns(node: NodeReport) -> dict[str, Cell]:
    """The figures that a node has; a column for which nothing was measured is left out."""
    outcomes = [one for one in node.outcomes if "asked" not in one.variant]
    found = {
        "accuracy": _accuracy(outcomes),
        "calibration": _calibration(outcomes),
        "robustness": _worst(outcomes, "robustness", "noise", "none"),
        "fairness": _worst(outcomes, "fairness", "told", ""),
        "bias": _bias(outcomes),
        "toxicity": _toxicity(outcomes),
        "efficiency": _efficiency(node.measuring.get("effort", {})),
        "templates": _templates(node),
    }
    return {name: cell for name, cell in found.items() if cell}


def _accuracy(outcomes: Sequence[Outcome]) -> Cell | None:
    by_ability: dict[str, list[float]] = defaultdict(list)
    for one in outcomes:
        known = ABILITIES.get(one.ability)
        if one.metric in _RIGHT and not (known and known.of):
            by_ability[one.ability].append(one.value)
    if not by_ability:
        return None
    means = {name: sum(values) / len(values) for name, values in by_ability.items()}
    told = "\n".join(f"{name} {mean:.0%}" for name, mean in means.items())
    return Cell(f"{sum(means.values()) / len(means):.0%}", told)


def _calibration(outcomes: Sequence[Outcome]) -> Cell | None:
    sure = [one for one in outcomes if one.confidence is not None]
    if not sure:
        return None
    error = calibration_error([o.confidence or 0.0 for o in sure], [o.value for o in sure])
    return Cell(f"{error:.2f}", f"{len(sure)} answers")


def _worst(outcomes: Sequence[Outcome], ability: str, key: str, plain: str) -> Cell | None:
    """Items right in the worst of their forms, beside those right in the plain form (or, without
    one, in the mean form)."""
    items: dict[str, dict[str, float]] = defaultdict(dict)
    for one in outcomes:
        if one.ability == ability and one.metric == "accuracy":
            items[one.item][one.variant[key]] = one.value
    if not items:
        return None
    forms = list(items.values())
    worst = sum(min(values.values()) for values in forms) / len(forms)
    means = [values[plain] if plain else sum(values.values()) / len(values) for values in forms]
    told = "\n".join(f"{name} {share:.0%}" for name, share in _by_form(forms).items())
    return Cell(f"{worst:.0%} of {sum(means) / len(means):.0%}", f"{told}\n{len(forms)} items")


def _by_form(items: Sequence[Mapping[str, float]]) -> dict[str, float]:
    names = dict.fromkeys(name for values in items for name in values)
    return {
        name: sum(values[name] for values in held) / len(held)
        for name in names
        if (held := [values for values in items if name in values])
    }


def _bias(outcomes: Sequence[Outcome]) -> Cell | None:
    """Representation: the distance of women's and men's words from one half each (HELM's total
    variation), and the paired difference in accuracy."""
    counts = [0, 0]
    for words in _answers(outcomes):
        counts[0] += sum(word in _WORDS["women"] for word in words)
        counts[1] += sum(word in _WORDS["men"] for word in words)
    parts, told = [], ""
    if total := sum(counts):
        parts.append(f"{abs(counts[0] / total - 0.5):.2f}")
        told = f"{counts[0]} women's words, {counts[1]} men's"
    pairs: dict[str, dict[str, Outcome]] = defaultdict(dict)
    for one in outcomes:
        if one.ability == "fairness" and one.metric == "accuracy":
            pairs[one.item][one.variant["told"]] = one
    both = [(p["a girl"], p["a boy"]) for p in pairs.values() if {"a girl", "a boy"} <= p.keys()]
    if both:
        girls, boys = [a.value for a, _ in both], [b.value for _, b in both]
        gap = paired_difference(boys, girls, [a.family for a, _ in both])
        parts.append(f"{gap.difference * 100:+.0f} points")
        told += f"\ngirls less boys {gap.difference * 100:+.1f} points " \
                f"[{gap.low * 100:+.1f}, {gap.high * 100:+.1f}]"  # fmt: skip
    return Cell(", ".join(parts), told.strip()) if parts else None


def _toxicity(outcomes: Sequence[Outcome]) -> Cell | None:
    answers = _answers(outcomes)
    if not answers:
        return None
    held = sum(not _WORDS["insults"].isdisjoint(words) for words in answers)
    return Cell(f"{held / len(answers):.1%}", f"{held} of {len(answers)} answers")


def _answers(outcomes: Sequence[Outcome]) -> list[list[str]]:
    """The words of each answer to the registry's abilities, once however many metrics judge it;
    choices are not the node's words."""
    said = {
        (one.ability, one.item, tuple(sorted(one.variant.items())), one.output)
        for one in outcomes
        if one.output
        and (known := ABILITIES.get(one.ability))
        and known.items != "benchmarks"
    }  # fmt: skip
    return [re.findall(r"[a-z]+", output.lower()) for *_, output in said]


def _efficiency(effort: Mapping[str, Any]) -> Cell | None:
    if not effort.get("answers"):
        return None
    seconds, tokens = effort["seconds"] / effort["answers"], effort["tokens"] / effort["answers"]
    return Cell(f"{seconds * 1000:.0f} ms, {tokens:.0f} tokens", f"{effort['answers']:,} answers")


def _templates(node: NodeReport) -> Cell | None:
    spreads = {
        line.title: node.lines[line.name].spread or 0.0
        for line in LINES
        if line.unit == "share" and line.name in node.lines
        and node.lines[line.name].spread is not None
    }  # fmt: skip
    if not spreads:
        return None
    told = "\n".join(f"{title} {spread * 100:.1f}" for title, spread in spreads.items())
    return Cell(f"{sum(spreads.values()) / len(spreads) * 100:.1f} points", told)


def table(run: Run) -> str:
    """A row for each node, a column for each kind of metric."""
    rows = {node.name: columns(node) for node in run.nodes if node.outcomes}
    shown = [name for name in COLUMNS if any(name in row for row in rows.values())]
    if not shown:
        return ""
    head = "".join(f'<th class="num" data-tip="{escape(COLUMNS[n])}">{n}</th>' for n in shown)
    body = "".join(
        f'<tr><th scope="row">{escape(node)}</th>'
        + "".join(_cell(row.get(name)) for name in shown)
        + "</tr>"
        for node, row in rows.items()
    )
    notes = "".join(f"<dt>{name}</dt><dd>{escape(COLUMNS[name])}.</dd>" for name in shown)
    missing = [name for name in ("robustness", "fairness") if name not in shown]
    hint = (
        f"<p>Not measured: {' and '.join(missing)}; "
        f"<code>regrow eval NODE --abilities {','.join(missing)}</code> adds them.</p>"
        if missing
        else ""
    )
    return (
        "<h3>HELM's kinds of metric</h3><div class='scroll'><table class='plain'><thead><tr>"
        f"<th>node</th>{head}</tr></thead><tbody>{body}</tbody></table></div>{hint}<dl>{notes}</dl>"
    )


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return '<td class="num">–</td>'
    return f'<td class="num" tabindex="0" data-tip="{escape(cell.told)}">{escape(cell.value)}</td>'
