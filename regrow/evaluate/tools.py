"""Word problems with a tool: the model says what is to be reckoned, Python reckons it.

The same problems are asked twice: with totals that stay within the table of sums that training text
holds, and with a larger number at the start, so that totals leave it. Two ways: `steps`, a worked
answer in words, of which one metric takes the final number as it stands and another runs the steps
as a Python program; and `program`, where two examples show Python functions to be written instead
(Gao et al. 2023, PAL: sentences as comments between the lines). All programs run in the sandbox.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

from regrow.evaluate import prompts
from regrow.evaluate.abilities import find
from regrow.evaluate.judges import Verdicts, solves
from regrow.evaluate.plans import Asker, Decoding, Request
from regrow.evaluate.prompts import Template
from regrow.evaluate.sandbox import Job, run_many
from regrow.records import Item
from regrow.seeds import pyrandom

ENTRY = "solution"
#: A sentence of a worked answer, 'She finds 8 more: 6 + 8 = 14.'
_STEP = re.compile(r"([^.:\n]*): (\d+) ([-+x]) (\d+) = (\d+)")
_CLOSING = re.compile(r"(The answer is )\d+")
_OPERATIONS = re.compile(r"([-+x])(\d+)")
#: Tokens of an answer of up to three steps, in words and as a program.
_WORDS, _CODE = 64, 96
#: Totals up to here stand in training text (regrow.worlds.problems).
_LARGEST = 99
_PROGRAM = Template("docstring", f'def {ENTRY}():\n    """{{q}}"""', "\n{a}\n\n\n")


def applied(sign: str, total: int, n: int) -> int:
    """The sum of one step."""
    return total + n if sign == "+" else total - n if sign == "-" else total * n


def beyond(item: Item) -> Item | None:
    """The same problem with a number at the start that takes totals past the table.

    None for a problem with bags, or where no start does so with all totals above zero.
    """
    if not item.family.startswith("start"):
        return None
    structure = item.key.partition("|")[2]
    steps = [(sign, int(n)) for sign, n in _OPERATIONS.findall(structure)]
    starts = list(range(60, _LARGEST + 1))
    pyrandom("beyond", item.id).shuffle(starts)
    for start in starts:
        totals = list(
            accumulate(steps, lambda t, step: applied(step[0], t, step[1]), initial=start)
        )
        if min(totals) > 0 and max(totals) > _LARGEST:
            question = re.sub(r"\d+", str(start), item.question, count=1)
            check = dict(item.check)
            if worked := check.get("worked"):
                check["worked"] = reworked(worked, start)
            return replace(item, question=question, answers=(str(totals[-1]),), check=check)
    return None


def reworked(worked: str, start: int) -> str:
    """A worked answer with another number at the start, and the totals that follow from it."""
    total = start

    def step(found: re.Match[str]) -> str:
        nonlocal total
        said, before, sign, n = found[1], total, found[3], int(found[4])
        total = applied(sign, before, n)
        return f"{said}: {before} {sign} {n} = {total}"

    steps = _STEP.sub(step, worked)
    return _CLOSING.sub(rf"\g<1>{total}", steps)


def program_of(worked: str, comments: bool = False) -> str:
    """The steps of a worked answer as a Python function; empty where it has none.

    The first step begins with the number that stands there, every other one goes on from the total.
    """
    lines: list[str] = []
    for number, (said, first, sign, n, _) in enumerate(_STEP.findall(worked)):
        lines += [f"    # {said.strip()}"] if comments else []
        lines.append(f"    n = {'n' if number else first} {sign.replace('x', '*')} {n}")
    return "\n".join([f"def {ENTRY}():", *lines, "    return n"]) + "\n" if lines else ""


def _body(worked: str) -> str:
    """The lines of the program below its head, as the examples show them."""
    return program_of(worked, comments=True).partition("\n")[2].rstrip()


def plan(item: Item, asker: Asker) -> Iterator[Request]:
    """Always plain text: what the examples show is what is compared."""
    shots = item.shots[-find("chain_of_thought").shots :]
    programs = [(q, _body(worked)) for q, worked in shots]
    for totals, asked in (("within", item), ("beyond", beyond(item))):
        if asked is None:
            continue
        variant = {"steps": item.split["steps"], "totals": totals}
        worked = str(asked.check.get("worked", ""))
        for template in prompts.dealt("chain_of_thought", item, asker.every):
            yield asker.plain(
                asked, template, asked.question, worked, Decoding(_WORDS, template.stop),
                variant=variant | {"way": "steps"}, shots=shots,
            )  # fmt: skip
        yield asker.plain(
            asked, _PROGRAM, asked.question, _body(worked), Decoding(_CODE, ("\ndef ", "\n\n\n")),
            variant=variant | {"way": "program"}, shots=programs,
        )  # fmt: skip


def judge(requests: Sequence[Request], answers: Sequence[Sequence[str]]) -> list[Verdicts]:
    """`accuracy` of the final number in words, `accuracy by Python` of what the program returns."""
    jobs: list[Job] = []
    for request, (text, *_) in zip(requests, answers, strict=True):
        steps = request.variant["way"] == "steps"
        code = program_of(text) if steps else f"{_PROGRAM.ask('')}\n{text.lstrip(chr(10))}"
        jobs.append(Job(code, ENTRY, [[[], int(request.item.answers[0])]]))
    found: list[Verdicts] = []
    for request, (text, *_), verdict in zip(requests, answers, run_many(jobs), strict=True):
        said = {"accuracy by Python": float(verdict.passed)}
        if request.variant["way"] == "steps":
            said["accuracy"] = float(solves(request.item, text))
        found.append(said)
    return found
