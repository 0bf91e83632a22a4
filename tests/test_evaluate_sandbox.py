"""Programs run, are judged by their outputs, and do no harm."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from regrow.errors import RegrowError
from regrow.evaluate import jail, sandbox
from regrow.evaluate.sandbox import Job, Limits, Verdict, refusal, run_many, run_tests

QUICK = Limits(seconds=0.2, memory=128 << 20, output=10_000)
DOUBLE = "def double(n):\n    return n * 2\n"


def judge(body: str, tests: list | None = None, limits: Limits = QUICK) -> Verdict:
    """The verdict on `def f(n):` with this body, expected to return 1 on 1."""
    return run_tests(f"def f(n):\n    {body}\n", "f", tests or [[[1], 1]], limits)


def around_the_allowlist(body: str, tests: list | None = None) -> Verdict:
    """The same with the first wall taken away, to see that the second holds."""
    job = Job(f"def f(n):\n    {body}\n", "f", tests or [[[1], 1]])
    return sandbox._run_batch([job], QUICK)[0]


#: Reaches the os module from a plain tuple, as escapes do; expects one free name {call}.
ESCAPE = (
    "o = [c for c in ().__class__.__base__.__subclasses__() if c.__name__ == '_wrap_close'][0]"
    ".__init__.__globals__; return {call}"
)


def test_a_right_program_passes() -> None:
    assert run_tests(DOUBLE, "double", [[[2], 4], [[0], 0]]) == Verdict(True, True, "passed")


def test_a_wrong_program_ran_but_did_not_pass_and_the_reason_shows_the_call() -> None:
    verdict = run_tests(DOUBLE, "double", [[[2], 4], [[3], 7]])
    assert verdict == Verdict(False, True, "wrong: double(3) gave 6, not 7")


@pytest.mark.parametrize(
    ("value", "expected", "passed"),
    [
        ("True", 1, False),
        ("1.0", 1, False),
        ("(1, 2)", [1, 2], True),
        ("{'b': 1, 'a': 2}", {"a": 2, "b": 1}, True),
        ("'1'", 1, False),
        ("None", None, True),
    ],
)
def test_outputs_are_compared_as_plain_data(value: str, expected: object, passed: bool) -> None:
    assert judge(f"return {value}", [[[1], expected]]).passed is passed


def test_an_exception_is_an_error_with_its_name() -> None:
    verdict = judge("return n // 0")
    assert not verdict.ran
    assert verdict.reason.startswith("error: ZeroDivisionError")


def test_an_endless_loop_is_stopped_after_its_cpu_time() -> None:
    started = time.monotonic()
    verdict = judge("while n:\n        n += 1")
    assert verdict == Verdict(False, False, "out of time (0.2 s)")
    assert time.monotonic() - started < 10


def test_a_huge_power_is_stopped_although_the_interpreter_never_looks_up() -> None:
    assert judge("return 9 ** 9 ** 9").reason == "out of time (0.2 s)"


def test_a_memory_bomb_runs_out_of_memory() -> None:
    assert judge("return [n] * 10 ** 9").reason == "out of memory (128 MiB)"


def test_a_huge_output_is_refused() -> None:
    assert judge("return 'x' * 50000").reason == "output too large"


def test_deep_recursion_is_an_error_of_its_own_program() -> None:
    assert judge("return f(n)").reason.startswith("error: RecursionError")


def test_a_list_that_holds_itself_is_an_error() -> None:
    assert judge("a = []\n    a.append(a)\n    return a").reason.startswith("error: Recursion")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("import os", "refused: import"),
        ("from os import path", "refused: importfrom"),
        ("return n.__class__", "refused: attribute __class__"),
        ("return ().__class__.__base__.__subclasses__()", "refused: attribute __subclasses__"),
        ("return '{0.__class__}'.format(n)", "refused: attribute format"),
        ("return (x for x in [1]).gi_frame", "refused: attribute gi_frame"),
        ("return __builtins__", "refused: name __builtins__"),
        ("return f(__name=1)", "refused: name __name"),
        ("try:\n        pass\n    finally:\n        pass", "refused: try"),
        ("global g", "refused: global"),
        ("yield 1", "refused: yield"),
        ("while True:\n        n += 1", "refused: a loop without end"),
        ("class C:\n        pass", "refused: classdef"),
        ("return n.ｆｏｒｍａｔ", "refused: attribute format"),
        ("return (", "not valid Python"),
        ("return '\0'", "not valid Python"),
        ("return " + "-" * 9000 + "1", "not valid Python"),
        ("return " + "+".join(["n"] * 9000), "refused: too long"),
    ],
)
def test_what_is_outside_the_allowlist_is_not_run(body: str, reason: str) -> None:
    assert judge(body) == Verdict(False, False, reason)


@pytest.mark.parametrize("name", ["open", "eval", "exec", "getattr", "print", "input", "type"])
def test_dangerous_builtins_do_not_exist(name: str) -> None:
    assert judge(f"return {name}('x')").reason.startswith("error: NameError")


def test_statements_outside_functions_are_refused() -> None:
    assert refusal(DOUBLE + "double(2)\n", "double") == "refused: a statement outside a function"
    assert refusal("limit = 3\n" + DOUBLE, "double") == ""


def test_a_missing_function_is_named() -> None:
    assert refusal(DOUBLE, "triple") == "no function named triple"


def test_a_decorator_is_refused() -> None:
    assert refusal("@abs\n" + DOUBLE, "double") == "refused: a decorator"


def test_a_forged_verdict_is_worth_nothing() -> None:
    """A program that escapes and writes its own answer can only claim outputs, not passing."""
    forged = 'b\'{"outputs": [true], "passed": true, "verdict": "passed"}\''
    call = f"(o['write'](3, {forged}), o['_exit'](0))"
    verdict = around_the_allowlist(ESCAPE.format(call=call))
    assert verdict == Verdict(False, True, "wrong: f(1) gave True, not 1")


def test_an_escaped_program_cannot_speak_for_the_others() -> None:
    """The child's own output is closed before a program runs."""
    verdict = around_the_allowlist(ESCAPE.format(call="o['write'](1, b'x')"))
    assert verdict.reason.startswith("error: OSError")


def test_an_escaped_program_writes_no_file_and_sees_no_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SECRET", "1")
    target = tmp_path / "written"
    body = ESCAPE.format(call=f"o['open']({str(target)!r}, o['O_CREAT'] | o['O_WRONLY'])")
    around_the_allowlist(body)
    assert not target.exists() or target.stat().st_size == 0
    seen = ESCAPE.format(call="'REGROW_SECRET' in o['environ']")
    assert around_the_allowlist(seen, [[[1], False]]).passed


def test_an_escaped_program_starts_no_process() -> None:
    verdict = around_the_allowlist(ESCAPE.format(call="o['fork']()"))
    assert verdict.reason.startswith(("error: BlockingIOError", "error: OSError"))


def test_a_crash_costs_only_its_own_program() -> None:
    crash = Job("def f(n):\n    " + ESCAPE.format(call="o['abort']()"), "f", [[[1], 1]])
    good = Job(DOUBLE, "double", [[[2], 4]])
    first, second, third = sandbox._run_batch([good, crash, good], QUICK)
    assert first.passed
    assert second.reason == "crashed: signal 6"
    assert third.passed


def test_a_program_that_kills_the_child_costs_only_itself() -> None:
    call = "o['kill'](o['getppid'](), 9)"
    killer = Job("def f(n):\n    " + ESCAPE.format(call=call), "f", [[[1], 1]])
    good = Job(DOUBLE, "double", [[[2], 4]])
    first, second, third = sandbox._run_batch([good, killer, good], QUICK)
    assert first.passed
    assert second.reason == "crashed: its process is gone"
    assert third.passed


def test_many_programs_come_back_in_order_and_doubles_are_judged_once() -> None:
    jobs = [
        Job(f"def f(n):\n    return n + {i % 40}\n", "f", [[[0], i % 40 if i % 3 else -1]])
        for i in range(120)
    ]
    jobs.insert(50, Job("def f(n):\n    while n == 0:\n        pass\n", "f", [[[0], 0]]))
    verdicts = run_many(jobs, workers=2, limits=QUICK)
    hung = verdicts.pop(50)
    assert hung.reason == "out of time (0.2 s)"
    assert [v.passed for v in verdicts] == [i % 3 != 0 for i in range(120)]


def test_no_programs_give_no_verdicts() -> None:
    assert run_many([]) == []


def test_programs_leave_no_folders_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    run_tests(DOUBLE, "double", [[[2], 4]])
    assert list(tmp_path.iterdir()) == []


def test_a_system_without_fork_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    with pytest.raises(RegrowError, match="leave out code_generation"):
        run_many([Job(DOUBLE, "double", [[[2], 4]])])


def test_a_child_that_does_not_start_is_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "child.py"
    broken.write_text("raise SystemExit('no room')\n")
    monkeypatch.setattr(jail, "CHILD", broken)
    with pytest.raises(RegrowError, match="does not start here: no room"):
        run_tests(DOUBLE, "double", [[[2], 4]])
