"""The report of a run: one self-contained page, and every score as rows of JSON."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from regrow.evaluate import curves, helm, rewards, sections
from regrow.evaluate.bars import Measured, measured_bars
from regrow.evaluate.comparison import Change, Run, read_run
from regrow.evaluate.gains import gains
from regrow.evaluate.growth import training
from regrow.evaluate.passage import on_the_way
from regrow.files import write_atomic, write_json
from regrow.page.shell import fill

PAGE = "index.html"


def write_report(run_folder: Path) -> Path:
    """Write report/index.html and report/abilities.json of a run; returns the page's path.

    Reads recipe.json, corpus/report.json and of every node edge.json, scores.json,
    items.jsonl.gz, metrics.jsonl, samples.json and measuring.json; what is missing is left out.
    Raises RegrowError where no node is grown.
    """
    run = read_run(run_folder)
    changes = run.changes()
    folder = run_folder / "report"
    rows = [score.to_row() for node in run.nodes for score in node.scores]
    write_json(folder / "abilities.json", rows)
    path = folder / PAGE
    write_atomic(path, page(run, changes, measured_bars([run])))
    return path


def page(run: Run, changes: Sequence[Change], bars: Sequence[Measured]) -> str:
    """The whole page as HTML."""
    name = str(run.recipe.get("name", run.folder.name))
    seed = run.recipe.get("seed", 0)
    main = sum(not node.arm for node in run.nodes)
    parts = {
        "name": escape(name),
        "kicker": f"regrow · recipe {escape(name)} · seed {seed}",
        "headline": "Which training stage gave which ability?",
        "lead": (
            f"{main} models of the GPT-3.5 family, grown from raw documents by the stages of their "
            "originals, and measured after every stage on the same items. What a child can do and "
            "its parent cannot came with the stage between them."
        ),
        "tiles": sections.tiles(run, bars),
        "findings": sections.findings(run, changes),
        "tree": sections.tree(run, changes),
        "heat": sections.heat_map(run) + helm.table(run),
        "curves": curves.abilities(run) + on_the_way(run),
        "bars": sections.bars_table(bars),
        "prompts": sections.prompts(run),
        "training": training(run) + rewards.table(run) + gains(run),
        "corpus": curves.corpus(run),
        "again": curves.reproduce(run),
    }
    return fill("regrow.evaluate", "report.html", parts)
