"""Rate a node's answers in the terminal."""

from __future__ import annotations

from collections.abc import Callable
from string import ascii_lowercase

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from regrow.align.feedback import Rated
from regrow.errors import RegrowError
from regrow.serve.rating import Session, placed

HELP = "best first, = for alike (b a=d c); s skips, u takes back the last one, q leaves"


def rate(
    session: Session, *, console: Console | None = None, read: Callable[[str], str] | None = None
) -> None:
    """Show prompt after prompt and take rankings, until all are rated, `q` or the end of input.

    `read` shows a question and gives the next line, and raises EOFError at the end. Ctrl-C leaves.
    """
    console = console or Console(highlight=False)
    ask = read or console.input
    try:
        while (found := session.next()) is not None:
            number, one = found
            _show(session, one, console)
            if not _take(session, number, one, ask, console):
                break
        else:
            console.print("everything is rated", style="bold")
    except (EOFError, KeyboardInterrupt):
        console.print()
    told = f"{session.done} of {len(session.prompts)} rated by {session.rater}: {session.path}"
    console.print(told, style="dim", markup=False, soft_wrap=True)


def _show(session: Session, one: Rated, console: Console) -> None:
    console.rule(f"{session.done + 1} of {len(session.prompts)}")
    for turn in one.prompt.messages:
        console.print(Text.assemble((f"{turn.role}: ", "bold"), turn.content))
    for letter, answer in zip(ascii_lowercase, one.answers):
        console.print(Panel(Text(answer.strip() or "(nothing)"), title=letter, title_align="left"))


def _take(
    session: Session, number: int, one: Rated, ask: Callable[[str], str], console: Console
) -> bool:
    """One ranking, or a command; false to leave. A line that is neither is asked again."""
    while True:
        line = ask(f"{HELP}\n> ").strip() if len(one.answers) > 1 else "a"
        best = "" if line in "qsu" and line else ask("how good is the best, 1 to 7? ").strip()
        for command in (line, best):
            if command == "q":
                return False
            if command == "s":
                session.skip(number)
                return True
            if command == "u":
                session.undo()
                return True
        try:
            mark = int(best) if best.isdecimal() else 0
            session.rate(number, placed(line, len(one.answers)), mark)
            return True
        except RegrowError as error:
            console.print(str(error), style="red", markup=False)
