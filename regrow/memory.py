"""What becomes of freed memory: kept for the next step, or given back to the system."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Callable
from typing import cast

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of glibc's mallopt


@functools.cache
def keep_freed() -> bool:
    """Ask glibc to reuse buffers of up to 32 MiB; returns whether it agreed.

    Otherwise each step's activations are fresh pages that the kernel must clear: 18 times the page
    faults and about a tenth of a small model's step. On other systems nothing is done.
    """
    mallopt = _glibc("mallopt")
    return bool(mallopt(_TRIM_THRESHOLD, 1 << 30) and mallopt(_MMAP_THRESHOLD, 32 << 20))


def give_back() -> bool:
    """Return freed memory to the system after all, between two steps of a run."""
    return bool(_glibc("malloc_trim")(0))


def give_back_always() -> bool:
    """Ask glibc to return every buffer of 128 KiB or more when it is freed; returns whether it
    agreed.

    By itself it raises that bound with the buffers that it sees, and then holes of all sizes stay.
    """
    mallopt = _glibc("mallopt")
    return bool(mallopt(_TRIM_THRESHOLD, 128 << 10) and mallopt(_MMAP_THRESHOLD, 128 << 10))


def _glibc(name: str) -> Callable[..., int]:
    """A function of glibc; where there is none, one that does nothing and returns 0."""
    if sys.platform.startswith("linux"):
        with contextlib.suppress(AttributeError, OSError):
            return cast(Callable[..., int], getattr(ctypes.CDLL(None), name))
    return lambda *_: 0
