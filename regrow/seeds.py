"""Random generators named by what they are for, so that no two parts share a stream."""

from __future__ import annotations

import hashlib
import random

import numpy as np


def derive(*keys: object) -> int:
    """A stable 63-bit seed from any printable keys; independent of process and platform."""
    text = "\x1f".join(str(key) for key in keys)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


def rng(*keys: object) -> np.random.Generator:
    """A numpy generator for these keys."""
    return np.random.default_rng(derive(*keys))


def pyrandom(*keys: object) -> random.Random:
    """A `random.Random` for these keys; quicker than numpy for single draws."""
    return random.Random(derive(*keys))
