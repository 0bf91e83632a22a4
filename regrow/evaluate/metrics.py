"""How answers to benchmarks are judged: texts by right ones, choices by their likelihood."""

from __future__ import annotations

import ast
import re
import string
from collections.abc import Callable, Sequence
from decimal import Decimal
from types import MappingProxyType
from typing import Any

import numpy as np

from regrow.align.verify import final_number
from regrow.evaluate.judges import normal

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_SAME = Decimal("5e-7")


def exact(text: str, answer: str) -> float:
    """Equal but for case, spacing and a closing full stop."""
    return float(normal(text) == normal(answer))


def strict(text: str, answer: str) -> float:
    """Equal to the letter, as BIG-Bench Hard counts."""
    return float(text.strip() == answer.strip())


def open_(text: str, answer: str) -> float:
    """Equal without case, punctuation and articles (Rajpurkar et al. 2016, sec. 6.1)."""
    return float(_bare(text) == _bare(answer))


def _bare(text: str) -> str:
    text = text.lower().translate(_PUNCTUATION)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", text).split())


def number(text: str, answer: str) -> float:
    """The final number of the text has the value of the answer, to the sixth decimal place."""
    found, right = final_number(text), final_number(answer)
    return float(found is not None and right is not None and abs(found - right) < _SAME)


def literal(text: str, answer: str) -> float:
    """The same Python value, type and all (`1` is not `True`); else the same text."""
    try:
        given, right = ast.literal_eval(text.strip()), ast.literal_eval(answer.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError, TypeError):
        return strict(text, answer)
    return float(_typed(given) == _typed(right))


def _typed(value: Any) -> tuple[type, Any]:
    """A value with the types of all that is in it; hashable."""
    if isinstance(value, dict):
        return dict, frozenset((_typed(key), _typed(own)) for key, own in value.items())
    if isinstance(value, (set, frozenset)):
        return type(value), frozenset(map(_typed, value))
    if isinstance(value, (list, tuple)):
        return type(value), tuple(map(_typed, value))
    return type(value), value


def rouge_l(text: str, answer: str) -> float:
    """F1 of the longest common subsequence of words, without stemming (Lin 2004, sec. 3.1)."""
    given, right = _words(text), _words(answer)
    if not given or not right:
        return 0.0
    row = [0] * (len(right) + 1)
    for word in given:
        before = 0
        for j, other in enumerate(right, 1):
            above = row[j]
            row[j] = before + 1 if word == other else max(row[j], row[j - 1])
            before = above
    return 2 * row[-1] / (len(given) + len(right))


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9]+", text.lower())


def accuracy(scores: np.ndarray, gold: Sequence[int]) -> float:
    """The likeliest choice is right; among choices that are equally likely it is drawn."""
    best = np.flatnonzero(scores == scores.max())
    return float(np.isin(best, gold).mean())


def mass(scores: np.ndarray, gold: Sequence[int]) -> float:
    """The share of probability that right choices have among all (TruthfulQA's MC2)."""
    p = np.exp(scores - scores.max())
    return float(p[list(gold)].sum() / p.sum())


def calibration_bins(
    confidence: Sequence[float], right: Sequence[float], bins: int = 10
) -> list[list[float]]:
    """[mean confidence, share right, number of items] over bins of equal size, least sure first.

    Bins of equal size as HELM has them (Liang et al. 2022, sec. 4.4); where items are fewer than
    bins, each is a bin.
    """
    if not len(confidence):
        return []
    order = np.argsort(np.asarray(confidence), kind="stable")
    pairs = np.stack([np.asarray(confidence)[order], np.asarray(right, dtype=float)[order]])
    parts = np.array_split(pairs, min(bins, len(order)), axis=1)
    return [[float(part[0].mean()), float(part[1].mean()), part.shape[1]] for part in parts]


def calibration_error(confidence: Sequence[float], right: Sequence[float], bins: int = 10) -> float:
    """The expected gap between confidence and accuracy over `calibration_bins`, weighted by their
    size. nan without items."""
    found = calibration_bins(confidence, right, bins)
    return expected_gap(found)


def expected_gap(bins: Sequence[Sequence[float]]) -> float:
    """The mean gap between confidence and share right over items in bins; nan without any."""
    total = sum(size for _, _, size in bins)
    return sum(abs(sure - right) * size for sure, right, size in bins) / total if total else np.nan


#: Metrics by what is judged: a text, a choice by log-probabilities, a program by its tests.
METRICS: MappingProxyType[str, dict[str, Callable[..., float]]] = MappingProxyType(
    {
        "text": {
            "exact": exact,
            "strict": strict,
            "open": open_,
            "number": number,
            "literal": literal,
            "rouge_l": rouge_l,
        },
        "choice": {"accuracy": accuracy, "mass": mass},
        "program": {"pass@1": float},
    }
)
#: Metrics whose values are more than right or wrong.
GRADED = frozenset({"rouge_l", "mass"})


def extracted(text: str, patterns: Sequence[str]) -> str:
    """What the first pattern that occurs finds, at its first place; the whole text if none does."""
    for pattern in patterns:
        if found := re.search(pattern, text):
            return str(found.group(1)).strip()
    return text.strip()


def judge(metric: str, text: str, answers: Sequence[Any]) -> float:
    """The best value over the right answers."""
    return max((METRICS["text"][metric](text, str(answer)) for answer in answers), default=0.0)
