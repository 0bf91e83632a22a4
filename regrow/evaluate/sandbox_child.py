"""The limited process that runs programs for `regrow.evaluate.sandbox`; standard library only.

Started as `python -I -S sandbox_child.py`. It reads one JSON line with limits, then one JSON line
for each program; it forks for each program, and writes one JSON line with what came out. It runs no
program itself and knows no expected value, so that it has no verdict to give away.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import select
import signal
import sys
import time
from typing import Any

try:
    import resource
except ImportError:  # not a Unix: the parent has refused before
    resource = None  # type: ignore[assignment]

_PLAIN = (int, float, str, bool, type(None))


def confine() -> None:
    """Give up the file system and the privileges that this process may have."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        # A container may lack one right or another; its working folder is empty at any rate.
        for step in (
            lambda: os.chroot("."),
            lambda: os.setgroups([]),
            lambda: os.setgid(65534),
            lambda: os.setuid(65534),
        ):
            with contextlib.suppress(OSError):
                step()


def limit(limits: dict[str, Any]) -> None:
    """Limit this process: memory, CPU time, no files, no children."""
    bounds = [
        ("RLIMIT_AS", limits["memory"]),
        ("RLIMIT_CPU", int(limits["seconds"]) + 2),
        ("RLIMIT_FSIZE", 0),
        ("RLIMIT_NPROC", 0),
        ("RLIMIT_CORE", 0),
        ("RLIMIT_STACK", 8 << 20),
    ]
    for name, bound in bounds:
        # macOS does not know or does not keep some of them; the timer still holds.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            resource.setrlimit(getattr(resource, name), (bound, bound))
    # The kernel ends the process after this much CPU time, whatever the interpreter is doing.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_PROF, limits["seconds"])


def plain(value: Any) -> Any:
    """The value as JSON holds it; raises TypeError for anything but plain data."""
    if type(value) in _PLAIN:
        return value
    if type(value) in (list, tuple):
        return [plain(item) for item in value]
    if type(value) is dict:
        return {key if type(key) is str else repr(key): plain(v) for key, v in value.items()}
    raise TypeError(f"{type(value).__name__} is not plain data")


def outcome(job: dict[str, Any], builtins: dict[str, Any], largest: int) -> str:
    """Run one program on each list of arguments; the JSON of its outputs or of its error."""
    outputs: list[Any] = []
    try:
        scope: dict[str, Any] = {"__builtins__": builtins, "__name__": "program"}
        exec(compile(job["program"], "<program>", "exec"), scope)
        function = scope[job["entry"]]
        for arguments in job["arguments"]:
            outputs.append(plain(function(*arguments)))
        text = json.dumps({"outputs": outputs})
    except BaseException as error:
        kind = type(error).__name__
        return json.dumps({"outputs": outputs, "error": kind, "detail": str(error)[:200]})
    if len(text) > largest:
        return json.dumps({"outputs": [], "error": "OutputTooLarge", "detail": ""})
    return text


def run_forked(job: dict[str, Any], builtins: dict[str, Any], limits: dict[str, Any]) -> str:
    """Fork, run the program there, and return what it wrote, or how it ended."""
    reading, writing = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.dup2(writing, 3)
            os.closerange(0, 3)
            os.closerange(4, 64)
            limit(limits)
            data = outcome(job, builtins, limits["output"]).encode()
            while data:
                data = data[os.write(3, data) :]
        finally:
            os._exit(0)
    os.close(writing)
    data, ended = b"", ""
    # Wall-clock time counts only as a second bound: on a busy machine CPU time is the fair one.
    deadline = time.monotonic() + 10 * limits["seconds"]
    while True:
        ready, _, _ = select.select([reading], [], [], max(0.0, deadline - time.monotonic()))
        part = os.read(reading, 65536) if ready else b""
        data += part
        if not ready or len(data) > 2 * limits["output"] + 4096:
            ended = "too large" if ready else "time"
            os.kill(process, signal.SIGKILL)
            break
        if not part:
            break
    os.close(reading)
    _, status = os.waitpid(process, 0)
    if ended or os.WIFSIGNALED(status):
        number = 0 if ended else os.WTERMSIG(status)
        if number in (signal.SIGPROF, signal.SIGXCPU):
            ended = "time"
        return json.dumps({"ended": ended or "signal", "signal": number})
    return json.dumps({"text": data.decode("utf-8", "replace")})


def main() -> None:
    """Serve programs from standard input until it ends."""
    limits = json.loads(sys.stdin.readline())
    names = limits["builtins"]
    library = vars(sys.modules["builtins"])
    builtins = {name: library[name] for name in names}
    gc.disable()  # a forked process is short-lived; without it, fewer of its pages are copied
    gc.freeze()
    compile("0", "<warm>", "exec")
    "".encode("utf-8", "replace").decode("utf-8", "replace")
    confine()
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(run_forked(json.loads(line), builtins, limits), flush=True)


main()
