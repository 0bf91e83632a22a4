"""The one exception that users see, and the name they may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class RegrowError(Exception):
    """What went wrong and how to mend it, in one line. The command line prints it and exits 1."""


def nearest(word: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` where a known word is near, else the known words, else nothing."""
    names = sorted(known)
    near = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; there are {', '.join(names)}" if names else ""
