"""What reinforcement learning gained and what it cost: gold against KL, answers before and after.

All is measured on prompts that neither taught the policy nor chose its weights (regrow.align).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from regrow.evaluate.comparison import NodeReport, Run
from regrow.evaluate.sections import colours
from regrow.page import charts
from regrow.page.charts import Series

#: Title and figure of the curves over the distance from the parent.
CURVES = (
    ("Gold score by KL from the parent", "held_gold"),
    ("Reward (what is trained) by KL from the parent", "held_reward"),
)


def gains(run: Run) -> str:
    """The curves, and for every policy its gain and a few answers; empty where there is none."""
    told = {node.name: found for node in run.nodes if (found := _record(node))}
    if not told:
        return ""
    paint = colours(run.nodes)
    panels = []
    for title, key in CURVES:
        series = [
            Series(name, _points(one, key), (), _tips(name, one)) for name, one in told.items()
        ]
        panels.append(
            charts.line_chart(
                series, paint, title=title, x_title="KL, nats an answer", width=560, height=280
            )
        )
    blocks = "".join(_block(name, one) for name, one in told.items())
    return (
        "<h3>What reinforcement learning gained</h3><p>Measured on prompts that neither taught the "
        "policy nor chose its weights. Gold is the truth, or a rater without noise whom no reward "
        "model learnt from; where it falls while the reward rises, the reward is being exploited."
        f'</p><div class="panels big">{"".join(panels)}</div>{blocks}'
    )


def looks(told: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """The looks at the prompts held out, in order, the one after the end last."""
    return [line for line in (*told["steps"], told["last"]) if "held_kl" in line]


def _record(node: NodeReport) -> Mapping[str, Any] | None:
    record = node.edge.get("record", {})
    told = record.get("ppo") or record.get("grpo") or {}
    return told if "held_out" in told else None


def _points(told: Mapping[str, Any], key: str) -> list[tuple[float, float]]:
    return [(float(line["held_kl"]), float(line[key])) for line in looks(told)]


def _tips(name: str, told: Mapping[str, Any]) -> Sequence[str]:
    return [
        f"{name}, {'after the end' if 'step' not in line else 'before step ' + str(line['step'])}\n"
        f"gold {line['held_gold']:.2f} ±{line['held_gold_error']:.2f}, reward "
        f"{line['held_reward']:.2f}, KL {line['held_kl']:.1f}"
        for line in looks(told)
    ]


def _block(name: str, told: Mapping[str, Any]) -> str:
    gold, guard = told["held_out"]["gold"], told.get("guard")
    said = (
        f"Gold {gold['before']:.2f} → {gold['after']:.2f}, a gain of {gold['gain']:+.2f} "
        f"±{gold['error']:.2f} (standard error, {gold['n']} prompts)."
    )
    if sampled := told["held_out"].get("sampled"):
        drawn = sampled["gold"]
        said += (
            f" As sampled in training {drawn['before']:.2f} → {drawn['after']:.2f} "
            f"({drawn['gain']:+.2f} ±{drawn['error']:.2f})."
        )
    if guard:
        times = {0: "never", 1: "once"}.get(guard["returned"], f"{guard['returned']} times")
        said += f" The guard sent the policy back {times}."
        lines = [*told["steps"], told.get("last") or {}]
        if [n for n, line in enumerate(lines) if line.get("best")] == [0]:
            said += " No weights on the way were better for sure: the node has those of its start."
    rows = "".join(
        f"<tr><td>{escape(one['prompt'])}</td>"
        f"<td>{_answer(one, 'before')}</td><td>{_answer(one, 'after')}</td></tr>"
        for one in told["held_out"]["shown"]
    )
    return (
        f"<details><summary>{escape(name)}: {escape(said)}</summary><div class='scroll'>"
        "<table class='plain'><thead><tr><th>prompt</th><th>before</th><th>after</th></tr></thead>"
        f"<tbody>{rows}</tbody></table></div></details>"
    )


def _answer(one: Mapping[str, Any], when: str) -> str:
    text = escape(str(one[when]).strip()) or "<i>(nothing)</i>"
    return f"{text} <small>gold {one[f'gold_{when}']:.1f}</small>"
