"""`regrow rate`: people rank what a node answers. Everything heavy is imported where it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from regrow.errors import RegrowError


def rate(
    node: Annotated[str, typer.Argument(help="A node's name, or its folder.")],
    prompts: Annotated[
        Path | None, typer.Option("--prompts", help="JSON lines; the world's prompts otherwise.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, max=9, help="Answers a prompt.")] = 4,
    output: Annotated[
        Path | None, typer.Option("--output", help="The file; ratings-NODE.jsonl otherwise.")
    ] = None,
    page: Annotated[
        bool, typer.Option("--page/--terminal", help="Rank on a local page, or here.")
    ] = False,
    rater: Annotated[
        str | None, typer.Option("--rater", help="Who rates; the login name otherwise.")
    ] = None,
    temperature: Annotated[float, typer.Option(min=0.01, help="Of the samples.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 128,
    seed: Annotated[int, typer.Option(help="Of the samples and the order of prompts.")] = 0,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of the page.")] = 8001,
    run: Annotated[
        str | None, typer.Option("--run", help="The run's name; the last used otherwise.")
    ] = None,
    runs: Annotated[Path, typer.Option("--runs", help="The folder of all runs.")] = Path("runs"),
) -> None:
    """Rank what a node answers, prompt after prompt; stop anywhere and go on later.

    Every rating is kept with who gave it, when, and the node's weights. A recipe learns from the
    file: data.ratings: {NODE: FILE}, for a FeedME or RLHF node.

    \b
    Examples:
      regrow rate davinci-instruct-beta
      regrow rate davinci-instruct-beta --page --samples 6
      regrow rate chatgpt --prompts my/prompts.jsonl --rater ann --output ann.jsonl
      regrow run laptop data.ratings.text-davinci-001=ratings-davinci-instruct-beta.jsonl
    """
    from regrow.tree.runs import find_node

    folder = find_node(runs, node, run).resolve()
    from regrow.serve.rating import Session, prompts_of
    from regrow.serve.speaker import Speaker
    from regrow.tree.edge import weights_of

    path = output or Path(f"ratings-{folder.name}.jsonl")
    session = Session(
        Speaker.load(folder), prompts_of(prompts or _world(folder)), path,
        rater=rater or _login(), weights=weights_of(folder) or "", samples=samples,
        length=max_tokens, temperature=temperature, seed=seed,
    )  # fmt: skip
    if page:
        from regrow.serve.rating_page import serve_page

        serve_page(session, port)
    else:
        from regrow.serve.rating_terminal import rate as rank

        rank(session)


def _world(folder: Path) -> Path:
    """The prompts of the run that a node's folder, or a stage's folder within it, lies in."""
    for above in folder.parents[:2]:
        if (path := above / "world" / "prompts.jsonl").is_file():
            return path
    raise RegrowError(f"{folder} lies in no run with a world; name a file with --prompts")


def _login() -> str:
    import getpass

    try:
        return getpass.getuser()
    except (OSError, KeyError) as error:
        raise RegrowError(
            "your login name is unknown here; say who you are with --rater"
        ) from error
