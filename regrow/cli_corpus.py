"""The commands of `regrow corpus`. Everything heavy is imported where it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Documents to shards, and a look at what became of them.",
                  no_args_is_help=True)  # fmt: skip

Items = Annotated[
    list[Path] | None,
    typer.Option(
        "--decontaminate",
        metavar="FILE",
        help="Evaluation items to keep out: JSONL with question and answers, or text, one a line. "
        "A file, a folder or a quoted pattern; may be given again.",
    ),
]


@app.command("build")
def build(
    output: Annotated[Path, typer.Option("--output", help="The folder to write.")],
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[PATH ...] [KEY=VALUE ...]", help="Documents, and settings."),
    ] = None,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="[NAME=]PATH",
            help="Documents of the source NAME (`documents` without one); may be given again.",
        ),
    ] = None,
    recipe: Annotated[
        Path | None, typer.Option("--recipe", help="Corpus settings in YAML, or a whole recipe.")
    ] = None,
    decontaminate: Items = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(
            "--reference",
            metavar="FILE",
            help="Trusted texts: documents unlike them are thinned out; may be given again.",
        ),
    ] = None,
    languages: Annotated[
        str | None, typer.Option(help="Languages to keep, as in en,zh; `all` keeps every one.")
    ] = None,
    mask_pii: Annotated[
        bool | None,
        typer.Option("--mask-pii/--no-mask-pii", help="Mask mail addresses, numbers and the like."),
    ] = None,
    vocabulary: Annotated[
        int | None, typer.Option(min=265, help="Entries of the tokenizer; 8192 otherwise.")
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Worker processes; one a core.")] = None,
    engine: Annotated[
        str | None, typer.Option(metavar="local|ray", help="What runs the workers.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON for a program.")] = False,
) -> None:
    """Clean documents, learn a tokenizer and write token shards.

    \b
    Examples:
      regrow corpus build crawl.warc.gz texts/ --output my-corpus
      regrow corpus build --input web=crawl/ --input code=src/ --output my-corpus
      regrow corpus build texts/ --output my-corpus --decontaminate 'items/*.jsonl'
      regrow corpus build texts/ --output my-corpus --languages en,zh deduplicate.threshold=0.7
      regrow corpus build texts/ --output my-corpus --recipe corpus.yaml --jobs 8
    """
    from regrow.tree import console
    from regrow.tree.corpus import Request, build_corpus

    options = {
        "languages": None if languages is None else _languages(languages),
        "mask_pii": mask_pii, "vocabulary": vocabulary, "jobs": jobs, "engine": engine,
    }  # fmt: skip
    request = Request(
        output, words or (), inputs or (), recipe, decontaminate or (), reference or (), options
    )
    found = build_corpus(request)
    if json:
        print_json(found)
    else:
        console.show_corpus(output, found)


def _languages(told: str) -> list[str]:
    return [] if told == "all" else [code.strip() for code in told.split(",") if code.strip()]


@app.command("inspect")
def inspect(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="What `corpus build` wrote.")],
    show: Annotated[bool, typer.Option("--open", help="Show the page in a browser.")] = False,
    decontaminate: Items = None,
    seed: Annotated[int, typer.Option(help="Draws the samples.")] = 0,
) -> None:
    """Write DIR/inspect.html: what was kept, what was removed and why, with texts to judge by.

    \b
    Examples:
      regrow corpus inspect my-corpus --open
      regrow corpus inspect runs/laptop/corpus --seed 2
    """
    from regrow.corpus.inspect.page import inspect as write_page
    from regrow.corpus.items import read_items

    path = write_page(folder, read_items(decontaminate or ()), seed)
    print(path)
    if show:
        import webbrowser

        webbrowser.open(path.resolve().as_uri())


def print_json(value: object) -> None:
    """Print a value as JSON."""
    import json

    print(json.dumps(value, indent=2, ensure_ascii=False))
