"""Options that a command does not take in the way in which it was called."""

from __future__ import annotations

from collections.abc import Collection

import typer

from regrow.errors import RegrowError


def refuse_others(context: typer.Context, takes: Collection[str], told: str) -> None:
    """Refuse an option that stands on the command line and is not among `takes`.

    What would be ignored without a word is an error instead: `--shots` and `told`, which says what
    takes it.
    """
    for option in context.command.params:
        source = context.get_parameter_source(option.name or "")
        given = source is not None and source.name == "COMMANDLINE"
        if given and option.opts[0].startswith("--") and option.name not in takes:
            raise RegrowError(f"{option.opts[0]} {told}")
