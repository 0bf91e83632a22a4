"""`regrow presets`: published models by name. Everything heavy is imported where it is used."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from regrow.cli_corpus import print_json

if TYPE_CHECKING:
    from regrow.model.presets import Preset


def presets(
    name: Annotated[str | None, typer.Argument(metavar="[PRESET]", help="One preset.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """List the model shapes that recipes can name, or show one in full.

    \b
    Examples:
      regrow presets
      regrow presets palm-8b
    """
    from regrow.model.presets import names, preset

    found = [preset(each) for each in ([name] if name else names())]
    if json:
        rows = [_row(each, full=name is not None) for each in found]
        print_json(rows[0] if name else rows)
    elif name:
        _show(found[0])
    else:
        _show_all(found)


def _row(preset: Preset, full: bool) -> dict[str, Any]:
    from dataclasses import asdict

    row = {
        "name": preset.name,
        "family": preset.family,
        "parameters": preset.config.parameters,
        "shape": preset.config.to_dict(),
    }
    if full:
        row |= {"published": preset.published, "uncounted": preset.uncounted}
        row |= {"training": asdict(preset.training), "source": preset.source, "note": preset.note}
    return row


def _show_all(found: list[Preset]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for heading in ("preset", "family"):
        table.add_column(heading, no_wrap=True)
    for heading in ("parameters", "layers", "width", "heads/kv", "context"):
        table.add_column(heading, justify="right", no_wrap=True)
    for heading in ("positions", "norm", "activation"):
        table.add_column(heading, no_wrap=True)
    for each in found:
        c = each.config
        place = "" if c.norm_place == "pre" else ", post"
        table.add_row(
            each.name, each.family, f"{c.parameters:,}", f"{c.layers}", f"{c.width}",
            f"{c.heads}/{c.kv_heads}", f"{c.context}", c.positions, c.norm + place, c.activation,
        )  # fmt: skip
    wide = max(Console().width, 120)  # on a narrow terminal rather wrapped than cut
    Console(highlight=False, soft_wrap=True, width=wide).print(table)


def _show(preset: Preset) -> None:
    from dataclasses import fields

    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True, markup=False)
    console.print(f"{preset.name} ({preset.family})")
    console.print(f"  parameters: {preset.config.parameters:,}")
    if preset.uncounted:
        console.print(
            f"  published: {preset.published:,}, without {' and '.join(preset.uncounted)}"
        )
    for title, part in (("shape", preset.config), ("training, as published", preset.training)):
        said = {field.name: getattr(part, field.name) for field in fields(part)}
        if lines := [f"  {key}: {_text(v)}" for key, v in said.items() if v not in (None, "")]:
            console.print("\n".join([f"{title}:", *lines]))
    console.print(f"source: {preset.source}")
    if preset.note:
        console.print(f"note: {preset.note}")
    console.print(f"in a recipe: models: {{base: {{preset: {preset.name}}}}}")


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else str(value)
