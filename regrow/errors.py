"""The one exception that users see."""

from __future__ import annotations


class RegrowError(Exception):
    """What went wrong and how to mend it, in one line. The command line prints it and exits 1."""
