"""The process that a program of a model runs in: bubblewrap where it works, and plain limits.

Under bubblewrap (`bwrap`) a program sees a read-only Python, an empty folder in memory, no other
process, no network and no environment, and runs without privileges. Containers often forbid what
bubblewrap needs; whether it works is tried once.
"""

from __future__ import annotations

import functools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

CHILD = Path(__file__).with_name("sandbox_child.py")
#: How to get the wall that is missing.
ADVICE = "install bubblewrap (the program bwrap), or give --unsafe-code"

#: A program that does nothing, to see whether it can be run.
_NOTHING = {
    "role": "program", "program": "", "entry": "", "builtins": None, "seconds": 5,
    "memory": 1 << 29, "output": 1000,
}  # fmt: skip
_ROOM = 1 << 20  # bytes that a program's folder in memory can hold
_PYTHON = ["-I", "-S", "-W", "ignore"]


def command(*, wrapped: bool) -> list[str]:
    """The command line of a child, behind bubblewrap or alone."""
    # The true path: an environment's own `python` is a link that leads out of the jail.
    python = os.path.realpath(sys.executable)
    alone = [python, *_PYTHON, str(CHILD)]
    return [*_walls(), "--", *alone] if wrapped else alone


def _walls() -> list[str]:
    """Bubblewrap's options: every namespace its own, and only what Python needs to be read."""
    words = [
        shutil.which("bwrap") or "bwrap",
        "--die-with-parent",
        "--new-session",
        "--clearenv",
        "--cap-drop",
        "ALL",
    ]
    if os.geteuid() == 0:
        # A namespace of users would leave root's identity outside, for which the limit on
        # processes does not count; so the child itself turns into nobody, for which it does.
        words += ["--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
        words += ["--unshare-cgroup-try", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        words.append("--unshare-all")
    words += ["--size", str(_ROOM), "--tmpfs", "/tmp", "--ro-bind", "/usr", "/usr"]
    for name in ("/bin", "/lib", "/lib32", "/lib64"):
        if os.path.islink(name):
            words += ["--symlink", os.readlink(name), name]
        elif os.path.isdir(name):
            words += ["--ro-bind", name, name]
    prefix = os.path.realpath(sys.base_prefix)
    if not prefix.startswith("/usr"):
        for folder in reversed(Path(prefix).parents[:-1]):  # nobody must find the way
            words += ["--perms", "0755", "--dir", str(folder)]
        words += ["--ro-bind", prefix, prefix]
    return [*words, "--ro-bind", str(CHILD), str(CHILD), "--chdir", "/tmp"]


@functools.cache
def why_not_wrapped() -> str:
    """Why bubblewrap does not hold programs here; empty where it does."""
    if not shutil.which("bwrap"):
        return "bubblewrap is not installed"
    try:
        with Child(_NOTHING, wrapped=True) as child:
            if child.receive(time.monotonic() + 20) is not None:
                return ""
    except OSError as error:
        return f"bubblewrap does not start: {error}"
    return "bubblewrap does not work here (a container may forbid it)"


class Child:
    """A child process that takes and gives JSON lines, and ends with the `with` block."""

    def __init__(self, header: Mapping[str, Any], *, wrapped: bool) -> None:
        self._header, self._wrapped = header, wrapped
        self._most = int(header["output"]) * 2 + 4096
        self._data = b""

    def __enter__(self) -> Child:
        self._folder = tempfile.TemporaryDirectory(prefix="regrow-sandbox-")
        self.process = subprocess.Popen(
            command(wrapped=self._wrapped), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, cwd=self._folder.name, env={}, start_new_session=True,
        )  # fmt: skip
        self.send(self._header)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except OSError:  # what was not yet sent to a dead child
                    continue
        self._folder.cleanup()

    def send(self, message: Mapping[str, Any]) -> None:
        """Write a line; a child that is gone is found out when its answer is awaited."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            return

    def receive(self, deadline: float) -> dict[str, Any] | None:
        """The next line as a mapping; None where none comes in time, or none that can be read."""
        assert self.process.stdout is not None
        pipe = self.process.stdout.fileno()
        while b"\n" not in self._data:
            ready, _, _ = select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))
            part = os.read(pipe, 65536) if ready else b""
            self._data += part
            if not part or len(self._data) > self._most:
                return None
        line, _, self._data = self._data.partition(b"\n")
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return None
        return found if isinstance(found, dict) else None

    def ended(self) -> str:
        """How a child that says nothing more came to its end."""
        try:
            code = self.process.wait(0.2)
        except subprocess.TimeoutExpired:
            return "too large" if len(self._data) > self._most else "out of time"
        number = -code if code < 0 else code - 128  # bubblewrap passes signals on as a shell does
        if number in (signal.SIGPROF, signal.SIGXCPU, signal.SIGALRM):
            return "out of time"
        return f"crashed: signal {number}" if number > 0 else "crashed: its process is gone"


@contextmanager
def pair(
    first: Mapping[str, Any], second: Mapping[str, Any], *, wrapped: bool
) -> Iterator[tuple[Child, Child]]:
    """Two children that cannot see each other."""
    with Child(first, wrapped=wrapped) as one, Child(second, wrapped=wrapped) as other:
        yield one, other
