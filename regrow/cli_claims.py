"""`regrow claims` and `regrow diff`. Everything heavy is imported where it is used."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from regrow.cli_corpus import print_json
from regrow.cli_options import refuse_others
from regrow.errors import RegrowError

if TYPE_CHECKING:
    from regrow.claims.claim import Claim
    from regrow.claims.grow import Plan, Planner
    from regrow.claims.verdict import Verdict

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
Runs = Annotated[Path, typer.Option("--runs", help="The folder of all runs.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for a program.")]


def claims(
    context: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID ...]", help="A5 B2")] = None,
    list_: Annotated[
        bool, typer.Option("--list", help="List claims; also without any ID.")
    ] = False,
    all_: Annotated[bool, typer.Option("--all", help="All claims that can be run.")] = False,
    budget: Annotated[
        str | None, typer.Option(metavar="2h", help="Time to spend, cheapest claims first.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="Seeds instead of a claim's own.")
    ] = None,
    variants: Annotated[str, typer.Option(help="World variants.")] = "a,b",
    trees: Annotated[
        list[Path] | None, typer.Option("--from", help="Finished trees as evidence; grow nothing.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="Grow arms from this recipe: seedling for a first look, or that of finished trees."
        ),
    ] = None,
    jobs: Annotated[int | None, typer.Option(min=1, help="Nodes side by side.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what it would take.")] = False,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", metavar="FILE", help="Write the verdicts there.")
    ] = None,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Run claims of the ledger as experiments, and tell their verdicts.

    \b
    Examples:
      regrow claims --list
      regrow claims A7 --seeds 3
      regrow claims --all --budget 2h
      regrow claims --all --from runs/laptop --from runs/laptop-seed-1
    """
    from regrow.claims import claim

    if trees:
        told = (
            "does not go with --from, which grows nothing: its trees say seeds, worlds and recipe"
        )
        refuse_others(context, ("list_", "all_", "trees", "markdown", "runs", "json"), told)
    chosen = claim.choose(ids or [])
    folder = runs / "claims"
    if list_ or not (ids or all_):
        told = "is for claims that are run: name some, or --all"
        refuse_others(context, ("list_", "all_", "runs", "json"), told)
        _list(chosen, folder, json)
        return
    wanted = [name.strip() for name in variants.split(",") if name.strip()]
    if bad := [name for name in wanted if name not in ("a", "b")]:
        raise RegrowError(f"there is no world variant {bad[0]!r}; there are a and b")
    if ids and (waiting := [one for one in chosen if one.waiting]):
        raise RegrowError(f"claim {waiting[0].id} waits for {waiting[0].waiting}")
    change = {"recipe": recipe} if recipe else {}
    able = [one.model_copy(update=change) for one in chosen if not one.waiting]
    from regrow.claims.verdict import judge

    later: dict[str, float] = {}
    if trees:
        from regrow.claims.evidence import evidence_from, in_tree

        if ids and (own := [one.id for one in able if not in_tree(one)]):
            raise RegrowError(
                f"the arms of claim {own[0]} change the recipe, so that no finished tree holds "
                f"them; grow them beside it: regrow claims {own[0]} --recipe laptop"
            )
        verdicts = [judge(one, evidence_from(one, trees)) for one in able]
        if ids is None:
            verdicts = [verdict for verdict in verdicts if verdict.evidence]
    else:
        from regrow.claims.evidence import evidence_of
        from regrow.claims.grow import Planner
        from regrow.tree.execute import default_jobs

        planner = Planner(folder, wanted, seeds, jobs or default_jobs())
        if recipe and ids is None:
            able = [one for one in able if _fits(one)]
        later = _grow(able, planner, _seconds(budget), dry_run, quiet=json)
        if dry_run:
            return
        verdicts = [
            judge(one, evidence_of(one, folder, wanted, planner.seeds_of(one))) for one in able
        ]
    _tell(verdicts, later, folder, markdown, json)


def _fits(claim: Claim) -> bool:
    """Whether the recipe that was named has the claim's arms; says what it lacks."""
    from regrow.claims.arms import check
    from regrow.claims.evidence import recipes_of

    try:
        check(claim, recipes_of(claim))
    except RegrowError as error:
        print(f"not run: {error}", file=sys.stderr)
        return False
    return True


def _grow(
    chosen: Sequence[Claim], planner: Planner, budget: float | None, dry_run: bool, quiet: bool
) -> dict[str, float]:
    """Grow what the claims need within the budget; returns seconds of those beyond it, by id."""
    from regrow.claims.grow import grow, within
    from regrow.page.charts import duration

    def say(text: str) -> None:
        print(text, file=sys.stderr if quiet else sys.stdout, flush=True)

    until = None if budget is None else time.monotonic() + budget
    while True:
        plans = [planner.plan(one) for one in chosen]
        left = None if until is None else max(0.0, until - time.monotonic())
        now, beyond = within(plans, left, planner.jobs)
        later = {plan.claim.id: plan.extra for plan in beyond}
        todo = [plan for plan in now if plan.tasks]
        whole = sum(plan.extra for plan in now)
        if dry_run and quiet:
            print_json({"now": _rows(now), "later": _rows(beyond), "seconds": round(whole)})
            return later
        for plan in now if dry_run else ():
            say(f"{plan.claim.id:5}{duration(plan.extra):>9}  {plan.claim.statement}")
        if todo or dry_run:
            say(f"{len(todo)} claims to grow, about {duration(whole)} here")
        for plan in beyond:
            say(f"not run: {plan.claim.id} needs {duration(plan.extra)} more")
        if dry_run or not todo:
            return later
        try:
            grow(todo, planner.runs, planner.jobs, say, until)
        except KeyboardInterrupt:
            say("stopped; nothing is lost: the same command goes on from here")
            raise typer.Exit(130) from None
        planner.refresh()
        if until is not None and time.monotonic() > until:
            return later


def _rows(plans: Sequence[Plan]) -> list[dict[str, Any]]:
    return [{"claim": plan.claim.id, "seconds": round(plan.extra),
             "runs": [task.place.run for task in plan.tasks]} for plan in plans]  # fmt: skip


def _seconds(text: str | None) -> float | None:
    """`2h`, `60m` or `90s` as seconds."""
    if text is None:
        return None
    unit = text.strip()[-1:].lower()
    try:
        value = float(text.strip()[:-1]) * _UNITS[unit]
    except (KeyError, ValueError):
        raise RegrowError(f"{text!r} is no time; write 90s, 60m or 2h") from None
    if value <= 0:
        raise RegrowError(f"{text!r} leaves no time; write 90s, 60m or 2h")
    return value


def _list(chosen: Sequence[Claim], folder: Path, json: bool) -> None:
    from regrow.claims.store import known_verdicts

    known = known_verdicts(folder)
    if json:
        print_json([
            {"id": one.id, "statement": one.statement, "standing": one.standing,
             "waiting": one.waiting or None, "arms": list(one.arms),
             "verdict": known.get(one.id, {}).get("word")} for one in chosen
        ])  # fmt: skip
        return
    for one in chosen:
        word = known.get(one.id, {}).get("word", "not run")
        state = f"waits for {one.waiting}" if one.waiting else word
        print(f"{one.id:5}{one.standing:13}{one.statement}\n     {state}")


def _tell(
    verdicts: Sequence[Verdict], later: dict[str, float], folder: Path, markdown: Path | None,
    json: bool,
) -> None:  # fmt: skip
    from regrow.claims.claim import ledger
    from regrow.claims.markdown import summary
    from regrow.claims.page import write_pages
    from regrow.claims.store import earlier_verdicts, keep_verdicts, to_row
    from regrow.files import write_atomic

    narrower = keep_verdicts(folder, verdicts)
    for id in narrower:
        print(f"{id} was judged before on more runs: that verdict stays", file=sys.stderr)
    judged = {
        one.claim.id: one for one in verdicts if one.evidence and one.claim.id not in narrower
    }
    earlier, gone = earlier_verdicts(folder, judged)
    for id in gone:
        print(f"{id} was judged before, but its nodes are not there any more: left out of the page",
              file=sys.stderr)  # fmt: skip
    judged |= {one.claim.id: one for one in earlier}
    claims = list(ledger().values())
    known = [judged[one.id] for one in claims if one.id in judged]
    page = write_pages(folder / "report", known, claims)
    if markdown is not None:
        write_atomic(markdown, summary(known, claims))
    if json:
        print_json({"verdicts": [to_row(one) for one in verdicts], "not_run": later})
        return
    for verdict in verdicts:
        print(f"{verdict.claim.id:5}{verdict.word:11}{verdict.claim.statement}")
        for reading in verdict.readings:
            if reading.found:
                effect = reading.found.whole
                print(
                    f"       {reading.measure.name}: {effect.mean:+.3f} [{effect.low:+.3f}, "
                    f"{effect.high:+.3f}], predicted {reading.measure.predicted}, "
                    f"detectable {effect.detectable():.3f}"
                )
        print(f"       {'; '.join(verdict.why)}")
    print(page)


def diff(
    one: Annotated[str, typer.Argument(help="A node's name, or its folder.")],
    other: Annotated[str, typer.Argument(help="Another node.")],
    run: Annotated[str | None, typer.Option("--run", help="The run's name.")] = None,
    runs: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Tell what differs between two nodes: recipe, data, ledger and abilities.

    \b
    Examples:
      regrow diff code-davinci-002 text-davinci-002
      regrow diff runs/laptop/davinci runs/laptop-seed-1/davinci
    """
    from regrow.claims.difference import compare, told
    from regrow.tree.runs import find_node

    found = compare(find_node(runs, one, run), find_node(runs, other, run))
    if json:
        print_json(found)
    else:
        print("\n".join(told(found)))
