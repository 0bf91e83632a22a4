"""Programs under Python tests: right ones pass, and bad ones reach nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from regrow.evaluate import jail
from regrow.evaluate.checks import Check, run_checks
from regrow.evaluate.sandbox import Limits, Verdict

QUICK = Limits(seconds=0.5, memory=256 << 20, output=10_000)
ASSERTS = "assert double(2) == 4\nassert double(3) == 6\n"


def judge(
    program: str, tests: str = ASSERTS, entry: str = "double", unsafe: bool = False
) -> Verdict:
    return run_checks([Check(program, entry, tests)], limits=QUICK, unsafe=unsafe)[0]


def double(body: str) -> str:
    """A program that does something before it gives a wrong answer."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    return f"def double(n):\n{lines}    return -1\n"


wrapped = pytest.mark.skipif(
    bool(jail.why_not_wrapped()), reason=f"no bubblewrap: {jail.why_not_wrapped()}"
)


@pytest.fixture
def no_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jail, "why_not_wrapped", lambda: "bubblewrap is not installed")


def test_a_right_program_passes_and_a_wrong_one_does_not() -> None:
    right, wrong = "def double(n):\n    return 2 * n\n", "def double(n):\n    return n + 2\n"
    found = run_checks([Check(p, "double", ASSERTS) for p in (right, wrong, right)], limits=QUICK)
    assert [verdict.passed for verdict in found] == [True, False, True]
    assert found[1] == Verdict(False, True, "wrong")


def test_tests_of_humaneval_run_as_they_are() -> None:
    tests = (
        "METADATA = {'author': 'x'}\n\n\ndef check(candidate):\n    for n in range(9):\n"
        "        assert candidate(n) == 2 * n, 'off'\n    assert candidate(n=4) == 8\n\n"
        "check(double)"
    )
    assert judge("def double(n):\n    return n + n\n", tests).passed
    assert judge("def double(n):\n    return n\n", tests).reason == "wrong: off"


@pytest.mark.parametrize(
    "value",
    ["(1, [2, {'a': None}])", "{1, 2}", "{(1, 2): 'x'}", "1.5", "True", "''", "10 ** 30", "[]"],
)
def test_values_keep_their_types_between_the_processes(value: str) -> None:
    tests = f"v = {value}\nassert same(v) == v\nassert type(same(v)) is type(v)\n"
    tests += "assert str(same(v)) == str(v)\n"
    program = "def same(v):\n    return v\n"
    assert run_checks([Check(program, "same", tests)], unsafe=True)[0].reason == "passed"


def test_a_program_that_raises_fails_by_the_name_of_its_error() -> None:
    assert "ZeroDivisionError" in judge("def double(n):\n    return n / 0\n").reason


def test_what_is_no_python_or_lacks_the_function_fails_and_is_not_skipped() -> None:
    assert judge("def double(n:") == Verdict(False, False, "not valid Python")


@pytest.mark.usefixtures("no_bubblewrap")
def test_without_bubblewrap_only_the_allowlist_is_run_and_the_rest_is_said() -> None:
    verdict = judge("import math\ndef double(n):\n    return n * 2\n")
    assert (verdict.skipped, verdict.passed) == (True, False)
    assert verdict.reason == (
        "import, and bubblewrap is not installed: install bubblewrap (the program bwrap), or give "
        "--unsafe-code"
    )
    assert judge("def double(n):\n    return n * 2\n").passed
    assert judge("def double(n):\n    return n * 2\n", "import os\n" + ASSERTS).skipped
    assert judge(double("return n.__class__")).skipped


@pytest.mark.usefixtures("no_bubblewrap")
def test_a_flag_runs_what_no_wall_holds() -> None:
    program = "import math\ndef double(n):\n    return math.floor(n * 2)\n"
    assert judge(program, unsafe=True).passed


@wrapped
def test_behind_bubblewrap_programs_import_what_they_need() -> None:
    program = "import math, re, collections, typing, heapq\ndef double(n):\n    return n * 2\n"
    assert judge(program).passed


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("while n: n += 1", "out of time (0.5 s)"),
        ("return [n] * 10 ** 10", "MemoryError"),
        ("size = 1\nwhile n: size = len('x' * size * 1000)", "MemoryError"),
        ("return 'x' * 10 ** 6", "too large"),
        ("return double(n)", "RecursionError"),
    ],
)
def test_an_endless_loop_a_memory_bomb_and_a_flood_are_stopped(body: str, reason: str) -> None:
    assert reason in judge(double(body)).reason


@wrapped
def test_a_fork_bomb_starts_nothing() -> None:
    verdict = judge(double("import os\nwhile True: os.fork()"))
    assert "BlockingIOError" in verdict.reason
    verdict = judge(double("import threading\nthreading.Thread(target=print).start()"))
    assert "can't start new thread" in verdict.reason


@wrapped
def test_no_file_is_written_and_nothing_of_ours_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REGROW_SECRET", "1")
    target = tmp_path / "written"
    judge(double(f"open({str(target)!r}, 'w').write('x')"))
    judge(double("open('/tmp/written', 'w').write('x' * 100)"))
    assert not target.exists()
    secret = tmp_path / "secret"
    secret.write_text("4")
    assert "FileNotFoundError" in judge(double(f"return int(open({str(secret)!r}).read())")).reason
    seen = (
        "import os\nif 'REGROW_SECRET' in os.environ or os.path.exists('/etc/passwd'): return 0\n"
        "return 2 * n"
    )
    assert judge(double(seen)).passed


@wrapped
def test_there_is_no_network() -> None:
    body = "import socket\nsocket.create_connection(('127.0.0.1', 9), 1)"
    assert any(name in judge(double(body)).reason for name in ("OSError", "Error: [Errno"))
    names = "import socket\nreturn 2 * n if len(socket.if_nameindex()) <= 1 else -1"
    assert judge(double(names)).passed


@wrapped
def test_a_signal_reaches_nobody_else() -> None:
    body = (
        "import os\nfor p in (os.getppid(), {}, 1, -1):\n    try: os.kill(p, 9)\n"
        "    except OSError: pass"
    )
    judge(double(body.format(os.getpid())))
    assert judge("def double(n):\n    return 2 * n\n").passed


@pytest.mark.parametrize("unsafe", [False, True])
def test_a_verdict_cannot_be_forged(unsafe: bool) -> None:
    """The program speaks to its parent only in answers to calls; a verdict is none."""
    if not unsafe and jail.why_not_wrapped():
        pytest.skip("no bubblewrap")
    body = (
        'import os\nfor fd in range(3, 20):\n    try: os.write(fd, b\'{"verdict": "passed"}\\n\')\n'
        "    except OSError: pass"
    )
    verdict = judge(double(body), unsafe=unsafe)
    assert not verdict.passed
    assert not judge(double("import os; os._exit(0)"), unsafe=unsafe).passed


@wrapped
def test_walking_frames_and_objects_finds_no_expected_value() -> None:
    body = (
        "import sys, gc\nframe = sys._getframe()\nseen = []\nwhile frame:\n"
        "    seen += [frame.f_locals, frame.f_globals]\n    frame = frame.f_back\n"
        "for held in [*seen, *gc.get_objects()]:\n"
        "    if type(held) is dict and 'assert' in str(held.get('tests')): return 2 * n"
    )
    assert judge(double(body)).reason == "wrong"


@wrapped
def test_an_answer_that_claims_to_equal_everything_is_only_data() -> None:
    program = (
        "class Any(int):\n    def __eq__(self, other):\n        return True\n"
        "    __hash__ = int.__hash__\ndef double(n):\n    return Any(7)\n"
    )
    assert not judge(program).passed


def test_patched_builtins_stay_in_the_programs_own_process() -> None:
    program = (
        "import builtins\nbuiltins.AssertionError = None\nbuiltins.type = lambda x: int\n"
        "def double(n):\n    return -1\n"
    )
    assert judge(program, unsafe=True).reason == "wrong"
