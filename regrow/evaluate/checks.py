"""Judge programs by Python tests, as MBPP and HumanEval have them, with the verdict outside.

A program and its tests run in two processes that cannot see each other. In the tests, the function
under test is a stand-in that sends its arguments to the program's process and gets back plain data.
So a program holds no expected value and no verdict: it can walk frames, patch modules or write what
it likes, and still only answers calls.

Without bubblewrap only programs that pass the allowlist of `regrow.evaluate.sandbox` are run; the
others are skipped, and counted as such, unless the caller takes the risk.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

from regrow.evaluate import jail
from regrow.evaluate.sandbox import BUILTINS, Limits, Verdict, parsed, refusal, unfit

#: Seconds of CPU time and bytes for a program, and the same for its tests.
LIMITS = Limits(seconds=3.0, memory=512 << 20)


class Check(NamedTuple):
    """A program, the function that tests call, and tests that assert."""

    program: str
    entry: str
    tests: str


def run_checks(
    checks: Sequence[Check],
    *,
    workers: int = 2,
    limits: Limits = LIMITS,
    unsafe: bool = False,
) -> list[Verdict]:
    """Judge programs, in order. `unsafe` runs them although bubblewrap does not hold them."""
    names = dict.fromkeys(checks)
    with ThreadPoolExecutor(workers) as pool:
        verdicts = pool.map(lambda check: _run(check, limits, unsafe), names)
        found = dict(zip(names, verdicts))
    return [found[check] for check in checks]


def _run(check: Check, limits: Limits, unsafe: bool) -> Verdict:
    tree = parsed(check.program)
    if tree is None:
        return Verdict(False, False, "not valid Python")
    missing = jail.why_not_wrapped()
    free = not missing or unsafe
    if not free and (reason := _outside(check)):
        said = f"{reason}, and {missing}: {jail.ADVICE}"
        return Verdict(False, False, said, skipped=True)
    header = {
        "seconds": limits.seconds, "memory": limits.memory, "output": limits.output,
        "builtins": None if free else BUILTINS, "entry": check.entry,
    }  # fmt: skip
    program = {**header, "role": "program", "program": check.program}
    tests = {**header, "role": "judge", "tests": check.tests}
    with jail.pair(program, tests, wrapped=not missing) as (answers, asks):
        return _relay(answers, asks, limits)


def _outside(check: Check) -> str:
    """What of a program or its tests the allowlist does not let in; empty for nothing."""
    if reason := refusal(check.program, check.entry):
        return reason.removeprefix("refused: ")
    tree = parsed(check.tests)
    if tree is None:
        return "tests that are not valid Python"
    found = next((why for node in ast.walk(tree) if (why := unfit(node, tests=True))), "")
    return f"{found} in its tests" if found else ""


def _relay(answers: jail.Child, asks: jail.Child, limits: Limits) -> Verdict:
    """Carry calls to the program and its answers back, until the tests have come to an end."""
    # CPU time is limited in the children; this bounds what waits without working.
    deadline = time.monotonic() + 10 + 10 * limits.seconds
    began = answers.receive(deadline)
    if began is None or "error" in began:
        return Verdict(False, False, _why(began, answers, limits))
    while True:
        asked = asks.receive(deadline)
        if asked is None:
            return Verdict(False, False, f"its tests: {asks.ended()}")
        if "verdict" in asked:
            said = str(asked["verdict"])
            return Verdict(said == "passed", True, said[:200])
        answers.send({"call": asked.get("call")})
        answer = answers.receive(deadline)
        if answer is None:
            return Verdict(False, False, _why(None, answers, limits))
        asks.send({key: answer[key] for key in ("value", "error") if key in answer})


def _why(said: Mapping[str, Any] | None, child: jail.Child, limits: Limits) -> str:
    if said is not None:
        return f"error: {said.get('error')}"[:200]
    ended = child.ended()
    return f"out of time ({limits.seconds:g} s)" if ended == "out of time" else ended
