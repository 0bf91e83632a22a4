"""How long work tells a caller where it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

#: Called as `progress(done, total, **metrics)`; units are the caller's (tokens, documents, items).
#: Metrics in use: loss, tokens_per_s, matrix_share (of the machine's matrix rate, 0 to 1), spikes,
#: reward, kl, phase (a short word for what is being done).
Progress = Callable[..., None]


def silent(done: float, total: float, **metrics: Any) -> None:
    """A progress callback that says nothing."""
