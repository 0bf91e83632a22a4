"""The limited process that runs programs of models; standard library only.

Started as `python -I -S sandbox_child.py`. The first JSON line it reads has limits and a role:

- `batch`, for `regrow.evaluate.sandbox`: one JSON line comes for each program; it forks for each,
  and writes one JSON line with what came out. It runs no program itself.
- `program`, for `regrow.evaluate.checks`: it runs one program, then answers calls of its function.
- `judge`, likewise: it runs tests, in which that function is a stand-in that asks the program's
  process by way of the parent, and says how they ended.

No process that runs a program of a model knows an expected value or holds a verdict.
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


def confine(imports: bool) -> None:
    """Give up the privileges that this process may have, and the files if nothing imports them."""
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        if imports and not _nobody_reads(os.__file__):
            return  # only where no wall was asked for: behind bubblewrap the way is open
        # A container may lack one right or another; its working folder is empty at any rate.
        for step in (
            lambda: None if imports else os.chroot("."),
            lambda: os.setgroups([]),
            lambda: os.setgid(65534),
            lambda: os.setuid(65534),
        ):
            with contextlib.suppress(OSError):
                step()


def _nobody_reads(path: str) -> bool:
    """Whether the user nobody finds its way to a file, e.g. not to a Python in root's home."""
    os.seteuid(65534)
    try:
        return os.access(path, os.R_OK, effective_ids=True)
    finally:
        os.seteuid(0)


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


def packed(value: Any) -> Any:
    """Plain data as JSON that keeps its types; raises TypeError for anything else."""
    if value is None or type(value) in (bool, int, float, str):
        return value
    for kind, name in ((dict, "dict"), (list, "list"), (tuple, "tuple"), (set, "set")):
        if isinstance(value, kind):
            parts = list(value.items()) if isinstance(value, dict) else list(value)
            return {name: [packed(part) for part in parts]}
    if isinstance(value, (complex, bytes, frozenset)):
        parts = [value.real, value.imag] if isinstance(value, complex) else list(value)
        return {type(value).__name__: [packed(part) for part in parts]}
    raise TypeError(f"{type(value).__name__} is not plain data")


def unpacked(value: Any) -> Any:
    """What `packed` was given."""
    if not isinstance(value, dict):
        return value
    ((name, packs),) = value.items()
    parts = [unpacked(part) for part in packs]
    if name == "complex":
        return complex(*parts)
    return {"dict": dict, "list": list, "tuple": tuple, "set": set, "frozenset": frozenset,
            "bytes": bytes}[name](parts)  # fmt: skip


def private() -> tuple[Any, Any]:
    """The lines to and from the parent, moved away from where a program prints and reads."""
    lines = open(os.dup(0), encoding="utf-8"), open(os.dup(1), "w", encoding="utf-8")  # noqa: SIM115
    os.dup2(2, 0)
    os.dup2(2, 1)  # the parent threw away standard error
    return lines


def said(error: BaseException) -> str:
    """An exception in a line."""
    try:
        return f"{type(error).__name__}: {error}"[:200]
    except BaseException:  # its own words may fail as well
        return type(error).__name__


def scope_of(header: dict[str, Any]) -> dict[str, Any]:
    """The names that a program starts with."""
    library = vars(sys.modules["builtins"])
    names = header["builtins"]
    return {"__builtins__": {n: library[n] for n in names} if names else library,
            "__name__": "program"}  # fmt: skip


def answer(header: dict[str, Any], received: Any, sent: Any) -> None:
    """Run a program, then answer calls until the parent has no more."""

    def tell(message: dict[str, Any]) -> None:
        sent.write(json.dumps(message) + "\n")
        sent.flush()

    scope = scope_of(header)
    try:
        exec(compile(header["program"], "<program>", "exec"), scope)
        function: Any = scope[header["entry"]] if header["entry"] else None
    except BaseException as error:
        tell({"error": said(error)})
        return
    tell({"ready": True})
    for line in received:
        try:
            arguments, keywords = unpacked(json.loads(line)["call"])
            reply = {"value": packed(function(*arguments, **keywords))}
        except BaseException as error:
            reply = {"error": said(error)}
        tell(reply)


def judge(header: dict[str, Any], received: Any, sent: Any) -> None:
    """Run tests with a stand-in for the function, and say how they ended."""

    def call(*arguments: Any, **keywords: Any) -> Any:
        sent.write(json.dumps({"call": packed((arguments, keywords))}) + "\n")
        sent.flush()
        reply = json.loads(received.readline())
        if "error" in reply:
            raise RuntimeError(f"the program: {reply['error']}")
        return unpacked(reply["value"])

    scope = scope_of(header)
    scope["__builtins__"] = {**scope["__builtins__"], "AssertionError": AssertionError}
    scope[header["entry"]] = scope["candidate"] = call
    verdict = "passed"
    try:
        exec(compile(header["tests"], "<tests>", "exec"), scope)
    except AssertionError as error:
        verdict = f"wrong: {error}".strip(": ")
    except BaseException as error:
        verdict = f"error: {said(error)}"
    sent.write(json.dumps({"verdict": verdict}) + "\n")
    sent.flush()


def serve(limits: dict[str, Any]) -> None:
    """Run programs from standard input, each in a fork, until it ends."""
    library = vars(sys.modules["builtins"])
    builtins = {name: library[name] for name in limits["builtins"]}
    gc.disable()  # a forked process is short-lived; without it, fewer of its pages are copied
    gc.freeze()
    compile("0", "<warm>", "exec")
    "".encode("utf-8", "replace").decode("utf-8", "replace")
    confine(imports=False)
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        print(run_forked(json.loads(line), builtins, limits), flush=True)


def main() -> None:
    """Take the role that the first line names."""
    header = json.loads(sys.stdin.readline())
    if header["role"] == "batch":
        serve(header)
        return
    received, sent = private()
    confine(imports=not header["builtins"])
    limit(header)
    {"program": answer, "judge": judge}[header["role"]](header, received, sent)


main()
