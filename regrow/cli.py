"""The commands. Everything heavy is imported where it is used."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from regrow import cli_claims, cli_corpus, cli_eval, cli_presets, cli_rate, cli_reward
from regrow.cli_corpus import print_json
from regrow.errors import RegrowError

app = typer.Typer(
    name="regrow",
    help="Regrow the GPT-3.5 family tree from raw documents and see which stage gave what.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Runs = Annotated[Path, typer.Option("--runs", help="The folder of all runs.")]
Run = Annotated[str | None, typer.Option("--run", help="The run's name; the last used otherwise.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]
Node = Annotated[str, typer.Argument(help="A node's name, or its folder.")]


def main() -> None:
    """Run the command line: user errors are one line and exit 1, Ctrl-C exits 130."""
    try:
        app()
    except RegrowError as error:
        sys.exit(_fail(str(error)))
    except OSError as error:
        sys.exit(_fail(f"{error.strerror or error}: {error.filename or ''}".rstrip(": ")))
    except MemoryError as error:
        less = "free some, or take less at once (a corpus: jobs, part_mb; training: rows)"
        sys.exit(_fail(f"out of memory ({error}); {less}"))
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        sys.exit(130)


def _fail(line: str) -> int:
    print(f"error: {line}", file=sys.stderr)
    return 1


def _version(wanted: bool) -> None:
    if wanted:
        from regrow import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def run(
    words: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RECIPE] [KEY=VALUE ...]", help="A recipe, and changes to it."),
    ] = None,
    documents: Annotated[
        list[str] | None, typer.Option("--documents", help="A file or folder of documents.")
    ] = None,
    to: Annotated[list[str] | None, typer.Option("--to", help="Grow up to this node.")] = None,
    start: Annotated[
        list[str] | None, typer.Option("--from", help="Grow this node and what comes from it.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    jobs: Annotated[int | None, typer.Option("--jobs", min=1, help="Nodes side by side.")] = None,
    accept: Annotated[
        list[str] | None, typer.Option("--accept", help="Keep a node although its recipe changed.")
    ] = None,
    regrow: Annotated[
        list[str] | None, typer.Option("--regrow", help="Grow a node anew, and its descendants.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", help="Another training seed, in a run of its own.")
    ] = None,
    log_to: Annotated[
        list[str] | None,
        typer.Option(
            "--log-to",
            metavar="tensorboard|wandb",
            envvar="REGROW_LOG_TO",
            help="Write metrics there too; may be given again.",
        ),
    ] = None,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Grow what is missing of a tree, measure it and write the report.

    \b
    Examples:
      regrow run                                       the laptop recipe
      regrow run seedling --to davinci
      regrow run documents --documents my/texts documents.share=0.3
      regrow run nodes.davinci.tokens=14M --regrow davinci
      regrow run --log-to tensorboard
    """
    from regrow.tree import console
    from regrow.tree.run import Request
    from regrow.tree.run import run as grow

    request = Request(
        words=words or (), documents=documents or (), to=to or (), start=start or (),
        accept=accept or (), regrow=regrow or (), dry_run=dry_run, jobs=jobs, seed=seed,
        log_to=log_to or (), runs=runs, quiet=json,
    )  # fmt: skip
    try:
        outcome = grow(request)
    except KeyboardInterrupt:
        print("\nstopped; nothing is lost: the same command goes on from here", file=sys.stderr)
        raise typer.Exit(130) from None
    if json:
        print_json(outcome.to_row())
    elif dry_run:
        console.show_plan(outcome)
    else:
        console.show_outcome(outcome)


@app.command()
def tree(
    name: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's name.")] = None,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Show the tree of a run: what is grown, and its scores.

    Example: regrow tree laptop
    """
    from regrow.tree import console
    from regrow.tree.runs import find_run, overview

    rows = overview(found := find_run(runs, name))
    if json:
        print_json(rows)
    else:
        console.show_tree(found.name, rows)


@app.command()
def report(
    name: Annotated[str | None, typer.Argument(metavar="[RUN]", help="A run's name.")] = None,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Bring the report up to date and show the ability table.

    Example: regrow report laptop
    """
    from regrow.tree import console
    from regrow.tree.measure import refresh_report
    from regrow.tree.runs import find_run

    folder = refresh_report(find_run(runs, name))
    if json:
        from regrow.files import read_json

        print_json(read_json(folder / "abilities.json"))
    else:
        console.show_report(folder)


@app.command()
def trace(
    node: Node,
    step: Annotated[
        int | None, typer.Option("--step", help="Count documents seen after so many steps.")
    ] = None,
    contains: Annotated[
        str | None, typer.Option("--contains", metavar="TEXT", help="List documents with it.")
    ] = None,
    run: Run = None,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Tell what a node has seen, from the root down to it.

    Without options: what each stage did. With --step or --contains: the documents.

    \b
    Examples:
      regrow trace chatgpt --json
      regrow trace davinci --step 100
      regrow trace chatgpt --contains "the baker"
    """
    from dataclasses import asdict

    from regrow.tree import console
    from regrow.tree.runs import find_node, traced

    folder = find_node(runs, node, run)
    if step is not None or contains is not None:
        from regrow.tree.trace import containing, seen_by

        visits = seen_by(folder, step)
        found = None if contains is None else containing(folder, visits, contains)
        if json:
            told = {"seen": [visit.to_row() for visit in visits]}
            print_json(told if found is None else told | {"found": [asdict(f) for f in found]})
        else:
            console.show_seen(visits, found)
        return
    edges = traced(folder.parent, folder.name)
    if json:
        print_json([asdict(edge) for edge in edges])
    else:
        console.show_trace(edges)


@app.command()
def gc(
    name: Annotated[
        str | None, typer.Argument(metavar="[RUN]", help="A run's name; all otherwise.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Free it without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show it only.")] = False,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Show what no finished node needs, ask, and free it.

    \b
    Examples:
      regrow gc
      regrow gc seedling --yes
      regrow gc --dry-run --json
    """
    from regrow.tree import console
    from regrow.tree.gc import free, held, leftovers, runs_to_clean

    told = []
    for run in runs_to_clean(runs, name):
        try:
            with held(run):
                found = leftovers(run)
                if not json:
                    console.show_leftovers(run, found)
                wanted = found and not dry_run
                freed = wanted and (yes or (not json and typer.confirm("free all this?")))
                told.append(
                    {"run": str(run), "leftovers": [one.to_row() for one in found],
                     "freed": free(found, run) if freed else 0}
                )  # fmt: skip
        except RegrowError as error:  # in use
            if name is not None:
                raise
            print(f"left alone: {error}", file=sys.stderr)
    if json:
        print_json(told)


@app.command()
def chat(
    node: Annotated[str, typer.Argument(help="A node's name, or its folder.")] = "chatgpt",
    run: Run = None,
    temperature: Annotated[
        float | None,
        typer.Option(min=0, help="0 takes the likeliest word. [default: 0, with --best-of 0.8]"),
    ] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer.")] = 128,
    best_of: Annotated[
        int, typer.Option("--best-of", min=1, help="Answers that its reward model chooses among.")
    ] = 1,
    runs: Runs = Path("runs"),
) -> None:
    """Talk to a node in the terminal. Base models continue your text instead of answering.

    \b
    Examples:
      regrow chat chatgpt --temperature 0.7
      regrow chat chatgpt --best-of 4
    """
    from regrow.tree.runs import find_node

    folder = find_node(runs, node, run)
    from regrow.serve.chat import chat as talk

    if temperature is None:
        temperature = 0.8 if best_of > 1 else 0.0
    talk(folder, temperature=temperature, max_tokens=max_tokens, best_of=best_of)


@app.command()
def serve(
    run: Run = None,
    host: Annotated[str, typer.Option(help="Elsewhere than here, a key is needed.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    key: Annotated[
        str | None, typer.Option(envvar="REGROW_KEY", help="The key that clients must send.")
    ] = None,
    runs: Runs = Path("runs"),
) -> None:
    """Serve all nodes of a run by name over an OpenAI-compatible API.

    Example: regrow serve --port 8000
    """
    from regrow.tree.runs import find_run, nodes_of

    nodes = nodes_of(find_run(runs, run))
    from regrow.serve.api import serve as listen

    listen(nodes, host=host, port=port, key=key)


@app.command("export")
def export_(
    node: Node,
    target: Annotated[Path, typer.Argument(help="A new folder, or a new file NAME.gguf.")],
    precision: Annotated[
        str | None, typer.Option(help="Of a GGUF file: f16 (usual), bf16 or f32.")
    ] = None,
    run: Run = None,
    runs: Runs = Path("runs"),
) -> None:
    """Copy a node as a Hugging Face folder, or write it as a GGUF file.

    \b
    Examples:
      regrow export chatgpt my-chatgpt
      regrow export chatgpt my-chatgpt.gguf --precision bf16
    """
    from regrow.tree.imported import export_gguf, export_node
    from regrow.tree.runs import find_node

    folder = find_node(runs, node, run)
    if target.suffix == ".gguf":
        said = export_gguf(folder, target, precision or "f16")
    elif precision:
        raise RegrowError("--precision is of GGUF files; leave it out, or name one: NAME.gguf")
    else:
        said = export_node(folder, target)
    print(target)
    if said:
        print(f"note: {said}", file=sys.stderr)


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="A Hugging Face folder or a GGUF file.")],
    name: Annotated[str, typer.Option("--name", help="What the node is to be called.")],
    run: Run = None,
    runs: Runs = Path("runs"),
) -> None:
    """Take a Hugging Face folder or a GGUF file into a run as a node.

    GPT-2, OPT, BLOOM, GPT-NeoX, Llama, Mistral and Cohere folders; GGUF of llama architecture. To
    grow stages on it, declare it in a recipe: stage: import, settings: {folder: DIR}.

    Example: regrow import ~/models/tiny-llama --name tiny
    """
    from regrow.tree.imported import import_node
    from regrow.tree.runs import find_run

    print(import_node(source, find_run(runs, run), name))


app.command("eval")(cli_eval.evaluate)
app.command()(cli_claims.claims)
app.command()(cli_claims.diff)
app.command()(cli_rate.rate)
app.command()(cli_reward.reward)
app.add_typer(cli_corpus.app, name="corpus")
app.command()(cli_presets.presets)


if __name__ == "__main__":
    main()
