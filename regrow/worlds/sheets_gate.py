"""The gate that keeps evaluation keys out of training text, and remembers what went through."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from zlib import crc32

from regrow.worlds.tasks_kit import RESERVED_SHARE


class Gate:
    """Lets a key pass unless it is reserved for evaluation or forbidden.

    Keys that pass are added to `keys` (where given), so that a test can prove that training text
    and evaluation items share none.
    """

    def __init__(
        self, variant: str, forbidden: AbstractSet[str] = frozenset(), keys: set[str] | None = None
    ) -> None:
        self.variant = variant
        self._prefix = f"{variant}|"
        self._forbidden = forbidden
        self._keys = keys

    def passes(self, key: str) -> bool:
        """Whether training text may hold this key; if so it is remembered."""
        if crc32((self._prefix + key).encode()) % RESERVED_SHARE == 0 or key in self._forbidden:
            return False
        if self._keys is not None:
            self._keys.add(key)
        return True
