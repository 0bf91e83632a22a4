"""py3langid's model with its byte n-grams found by numpy, all places of a text at once.

The model is naive Bayes on byte n-grams (Lui & Baldwin 2012), found by an automaton. Its state
depends on as many last bytes as the longest n-gram has, so all places are walked side by side, each
from its own few bytes. The answers are py3langid's own.
"""

from __future__ import annotations

import io
import lzma
import os
import shutil
import tempfile
import unicodedata
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np

#: Nigerian Pidgin, which lists and sheets of simple English words are taken for.
_PIDGIN = "pcm"


_BETWEEN = b"\xff"  # in no UTF-8, so that no n-gram goes on behind it
TOGETHER = 512  # texts scored in one go
_ARRAYS = ("classes", "pc", "ptc", "nextmove", "nextmove_row", "out_feat", "depth")


@dataclass(frozen=True)
class _Model:
    """The automaton and the weights: `moves` [rows * 256], `row` and `feature` [states]."""

    classes: tuple[str, ...]
    weights: np.ndarray  # float16 [features, classes]
    prior: np.ndarray  # float32 [classes]
    moves: np.ndarray
    row: np.ndarray  # where a state's moves begin
    feature: np.ndarray  # -1: none
    depth: int  # bytes of the longest n-gram
    twins: tuple[tuple[int, int], ...]  # columns of one language in two scripts


@cache
def _model() -> _Model:
    arrays = _arrays()
    names = tuple(arrays["classes"].tolist())
    prior = arrays["pc"].astype(np.float32)
    prior[names.index(_PIDGIN)] = -np.inf
    moves = arrays["nextmove"]
    row = arrays["nextmove_row"].astype(np.int32) << 8
    twins = tuple((names.index(n), i) for i, n in enumerate(names) if names.index(n) < i)
    return _Model(
        names, arrays["ptc"], prior, moves, row,
        arrays["out_feat"].astype(np.int32), int(arrays["depth"]), twins,
    )  # fmt: skip


def _arrays() -> dict[str, np.ndarray]:
    """py3langid's arrays (68 MB) and `depth`: unpacked once into the user's cache and mapped from
    there, which all processes share; into memory where that cannot be written."""
    from py3langid.langid import MODEL_DIR, MODEL_FILE

    packed = MODEL_DIR / MODEL_FILE
    try:
        folder = _unpacked(packed)
        mapped = {name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}
    except (OSError, RuntimeError, ValueError):  # no room, no home, a file cut short
        mapped = dict(np.load(io.BytesIO(lzma.decompress(packed.read_bytes()))))
        mapped["depth"] = _depth(mapped)
    return {name: np.asarray(mapped[name]) for name in _ARRAYS}


def _unpacked(packed: Path) -> Path:
    """The folder of an LZMA-packed npz's arrays, one file each."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "regrow"
    folder = cache / f"py3langid-{version('py3langid')}-with-depth"
    if not folder.is_dir():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as making:
            with lzma.open(packed) as source, open(f"{making}/npz", "w+b") as npz:
                shutil.copyfileobj(source, npz)
                zipfile.ZipFile(npz).extractall(f"{making}/arrays")
                npz.seek(0)
                np.save(f"{making}/arrays/depth.npy", _depth(dict(np.load(npz))))
            with suppress(OSError):  # another process was first
                Path(making, "arrays").rename(folder)
    return folder


def _depth(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """How many bytes lead to the farthest state; a walk through all of them takes .15 s."""
    rows, row = arrays["nextmove"].reshape(-1, 256), arrays["nextmove_row"]
    reached = np.zeros(len(row), bool)
    reached[0] = True
    front, depth = np.zeros(1, np.int64), -1
    while len(front):
        next_ = np.zeros(len(row), bool)
        next_[rows[np.unique(row[front])]] = True
        front, depth = np.flatnonzero(next_ & ~reached), depth + 1
        reached |= next_
    return np.asarray(depth)


def _encoded(text: str) -> bytes:
    """As the model was trained: composed, and no text in capitals."""
    text = text.lower() if text.isupper() else text
    return unicodedata.normalize("NFC", text).encode("utf-8", "surrogatepass")


def _features(codes: np.ndarray, model: _Model) -> np.ndarray:
    """The n-gram that ends at each byte, -1 where none does: int32 [bytes]."""
    state = np.zeros(len(codes), np.int32)
    for back in range(min(model.depth, len(codes)) - 1, -1, -1):
        state[back:] = model.moves[model.row[state[back:]] + codes[: len(codes) - back]]
    return model.feature[state]


def most_likely(texts: Sequence[str]) -> list[tuple[str, float]]:
    """The likeliest language of each text and its probability, 0 where nothing tells: [texts]."""
    batches = (texts[i : i + TOGETHER] for i in range(0, len(texts), TOGETHER))
    return [found for batch in batches for found in _together(list(map(_encoded, batch)))]


def _together(texts: Sequence[bytes]) -> list[tuple[str, float]]:
    """Naive Bayes over the distinct n-grams of each text, their counts dampened."""
    model = _model()
    sizes = np.asarray([len(text) for text in texts])
    found = _features(np.frombuffer(_BETWEEN.join([*texts, b""]), np.uint8), model)
    place = np.flatnonzero(found >= 0)
    text = np.searchsorted(np.cumsum(sizes + 1), place, side="right")
    keys, counts = np.unique(text << 32 | found[place], return_counts=True)
    ends = np.searchsorted(keys >> 32, np.arange(len(texts) + 1))
    used, column = np.unique(keys & 0xFFFFFFFF, return_inverse=True)
    weights = model.weights[used].astype(np.float32)  # once for all texts, which share most
    dampened = np.log1p(counts, dtype=np.float32)[:, None]
    scores = np.tile(model.prior, (len(texts), 1))
    for i, (start, stop) in enumerate(pairwise(ends.tolist())):
        scores[i] += (dampened[start:stop] * weights[column[start:stop]]).sum(0)
    scores -= scores.max(1, keepdims=True)
    likely = np.exp(scores / np.sqrt(np.maximum(1, sizes))[:, None])  # calibrated over lengths
    for first, twin in model.twins:
        likely[:, first] += likely[:, twin]
        likely[:, twin] = 0.0
    likely /= likely.sum(1, keepdims=True)
    best = likely.argmax(1)
    sure = likely[np.arange(len(texts)), best].tolist()
    empty = (ends[:-1] == ends[1:]).tolist()
    return [
        ("und", 0.0) if nothing else (model.classes[i], share)
        for i, share, nothing in zip(best.tolist(), sure, empty)
    ]
