"""The model card of a node: what it is, what went into it, how it scores, how to regrow it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from regrow.files import read_json
from regrow.tree.edge import Edge
from regrow.tree.recipe import Recipe
from regrow.tree.stages import held, provenance, reading


def card(recipe: Recipe, edge: Edge, corpus: Path) -> str:
    """The README.md of a node folder, in Markdown with the Hugging Face front matter."""
    node = recipe.nodes[edge.name]
    origin = f"from `{edge.parent}`" if edge.parent else "from nothing"
    role = "A control arm" if node.arm else "A node"
    parts = [
        _front(edge),
        f"# {edge.name}",
        f"{role} of the `{recipe.name}` tree, grown {origin} by the stage `{edge.stage}`"
        + (f" on {node.tokens:,} tokens." if node.tokens else "."),
    ]
    if node.stands_for:
        parts.append(f"It stands for {node.stands_for}.")
    if node.claim:
        parts.append(f"It is compared in claims {node.claim}.")
    parts += [
        "## Data", _data(recipe, edge, corpus),
        *_training(corpus.parent / edge.name),
        *_held(edge),
        "## Scores", _scores(edge.measured),
        "## How to regrow it", _regrow(recipe, edge),
        "## Limits",
        "A research model, grown small to show which stage gives which ability. It knows its "
        "corpus and nothing else; do not rely on what it says.",
    ]  # fmt: skip
    return "\n\n".join(parts) + "\n"


def _front(edge: Edge) -> str:
    lines = ["---", "library_name: transformers", "pipeline_tag: text-generation", "tags:",
             "- regrow", f"- {edge.stage}"]  # fmt: skip
    if edge.parent:
        lines.append(f"base_model: ../{edge.parent}")
    return "\n".join([*lines, "---"])


def _data(recipe: Recipe, edge: Edge, corpus: Path) -> str:
    world = recipe.world
    lines = [
        f"- The built-in world `{world.name}`, variant {world.variant}, seed {world.seed}: "
        "generated text, no rights reserved."
    ]
    if recipe.documents:
        paths = ", ".join(f"`{Path(path).name}`" for path in recipe.documents.paths)
        lines.append(
            f"- Documents of the user ({paths}), {recipe.documents.share:.0%} of pretraining text; "
            "their licences hold."
        )
    mixture = {
        key.removeprefix("mixture."): value
        for key, value in edge.inputs.items()
        if key.startswith("mixture.")
    }
    if mixture:
        shares = ", ".join(f"{source} {weight:.0%}" for source, weight in mixture.items())
        lines.append(f"- Mixture: {shares}.")
    if capped := edge.record.get("capped"):
        came_out = edge.record.get("mixture", {})
        shares = ", ".join(f"{source} {came_out.get(source, 0.0):.0%}" for source in capped)
        lines.append(f"- Less than asked, for want of documents: {shares}; others had more.")
    lines += [f"- Of its {line}." for line in reading.lines(edge.record)]
    lines += [f"- {line}" for line in provenance.lines(recipe, corpus.parent, edge)]
    report = corpus / "report.json"
    licences = read_json(report).get("licences") if report.is_file() else None
    if isinstance(licences, Mapping):
        lines += [f"- Licence {name or 'unknown'}: {count}" for name, count in licences.items()]
    return "\n".join(lines)


def _training(folder: Path) -> list[str]:
    """The loss plot, where there is one."""
    if not (folder / "loss.svg").is_file():
        return []
    return ["## Training", "![Loss, gradient norm and rate by step](loss.svg)"]


def _held(edge: Edge) -> list[str]:
    """Before and after, on conversations that were kept aside."""
    found = held.lines(edge.record)
    return ["## Held-out conversations", "\n".join(f"- {line}" for line in found)] if found else []


def _scores(measured: Mapping[str, Any] | None) -> str:
    rows: Sequence[Mapping[str, Any]] = (measured or {}).get("scores") or []
    if not rows:
        return "Not measured yet."
    lines = ["| ability | variant | n | score | 95 % interval | chance |",
             "|---|---|---:|---:|---:|---:|"]  # fmt: skip
    for row in rows:
        variant = ", ".join(f"{key} {value}" for key, value in (row.get("variant") or {}).items())
        lines.append(
            f"| {row['ability']} | {variant} | {row['n']} | {_number(row['score'])} | "
            f"{_number(row.get('low'))} to {_number(row.get('high'))} | "
            f"{_number(row.get('chance'))} |"
        )
    return "\n".join(lines)


def _number(value: Any) -> str:
    return "-" if value is None else f"{value:.3f}"


def _regrow(recipe: Recipe, edge: Edge) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in edge.versions.items())
    return (
        f"```\nregrow run {recipe.name} --to {edge.name}\n```\n\n"
        f"Seed {recipe.seed}, fingerprint `{edge.fingerprint}`, {edge.threads} threads; it took "
        f"{edge.seconds:.0f} s on {edge.machine} ({versions}). `edge.json` beside this file has "
        "everything that went in."
    )
