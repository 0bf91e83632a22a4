"""Heuristic filters after Gopher (Rae et al. 2021, Table A1) and C4 (Raffel et al. 2020).

Every rule says which shapes of text it reads: those on lines and punctuation spare code, tables,
lists and dialogue (exercise sheets are short lines of pairs), those on words spare code.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from regrow.corpus.settings import RuleSettings

_STOP_WORDS = "the be to of and that have with is was in a for on it as"
_STOP = frozenset(_STOP_WORDS.split())
_ERROR_PAGE = re.compile(
    r"not found|error 40[34]|does not exist|access denied|forbidden|log in to|session expired|"
    r"(?:turn on|enable) javascript|page (?:that )?you (?:are|were) looking for|no posts found|"
    r"must be a member",
    re.IGNORECASE,
)
_HYPE = re.compile(
    r"click here|act now|limited offer|100% free|no credit card|\$\$\$|!!!|order (?:now|today)|"
    r"buy (?:cheap|now)|free shipping|risk.free|money.back|unsubscribe|per month from home",
    re.IGNORECASE,
)
_LETTER = re.compile(r"[^\W\d_]")
_SENTENCE_END = re.compile(r"[.!?:;\"”)](?=\s|$)")
_PROSE = frozenset({"prose"})
_TEXT = frozenset({"prose", "list", "dialogue", "table"})
_ALL = _TEXT | {"code"}


HEAD = 50_000  # characters that the rules look at


class Shape:
    """What the rules look at, split once."""

    def __init__(self, text: str) -> None:
        text = text[:HEAD]
        self.text = text
        self.words = text.split()
        self.lettered = [word for word in self.words if _LETTER.search(word)]
        self.lines = [line.strip() for line in text.split("\n") if line.strip()]


def _share_of_signs(shape: Shape) -> float:
    return sum(not any(map(str.isalnum, word)) for word in shape.words) / len(shape.words)


def _mean_word(shape: Shape) -> float:
    return sum(map(len, shape.lettered)) / len(shape.lettered)


def _few_frequent(shape: Shape) -> bool:
    """Judged on words with letters, so that columns of sums are spared."""
    if len(shape.lettered) < 60:
        return False
    found = [word for word in map(str.lower, shape.lettered) if word in _STOP]
    return len(set(found)) < 2 or len(found) < 0.03 * len(shape.lettered)


def _repeated_lines(shape: Shape) -> float:
    return 1 - len(set(shape.lines)) / len(shape.lines)


def _top_gram(shape: Shape, n: int) -> float:
    """Share of words inside the most frequent n-gram that occurs more than twice."""
    words = [word.lower() for word in shape.words]
    if len(words) < 2 * n:
        return 0.0
    _, count = Counter(zip(*(words[i:] for i in range(n)))).most_common(1)[0]
    return count * n / len(words) if count > 2 else 0.0


def _unpunctuated(shape: Shape) -> float:
    """Words for each sentence end, over lines of prose length."""
    return len(shape.lettered) / (1 + len(_SENTENCE_END.findall(shape.text)))


def _odd_characters(shape: Shape) -> float:
    text = shape.text.replace("\n", "").replace("\t", "")
    if text.isprintable() and "\ufffd" not in text:
        return 0.0
    return sum(not c.isprintable() or c == "\ufffd" for c in text) / len(shape.text)


@dataclass(frozen=True, slots=True)
class Rule:
    """A named reason to leave a text out."""

    name: str
    formats: frozenset[str]
    least_words: int  # texts with fewer words are spared
    broken: Callable[[Shape], bool]


RULES = (
    Rule("odd characters", _ALL, 1, lambda s: _odd_characters(s) > 0.02),
    Rule("error page", _TEXT, 1, lambda s: len(s.words) < 60 and bool(_ERROR_PAGE.search(s.text))),
    Rule("word without end", _TEXT, 1, lambda s: max(map(len, s.words)) > 400),
    Rule(
        "word length",
        _PROSE,
        20,
        lambda s: len(s.lettered) >= 20 and not 1.5 <= _mean_word(s) <= 15,
    ),
    Rule("mostly signs", _PROSE, 50, lambda s: _share_of_signs(s) > 0.5),
    Rule("symbols", _PROSE, 20, lambda s: _symbols(s) > 0.1),
    Rule("no frequent words", _PROSE, 60, _few_frequent),
    Rule("repeated lines", _PROSE, 50, lambda s: _repeated_lines(s) > 0.3),
    Rule("repeated 2-gram", _PROSE, 50, lambda s: _top_gram(s, 2) > 0.2),
    Rule("repeated 4-gram", _PROSE, 100, lambda s: _top_gram(s, 4) > 0.2),
    Rule("no sentences", _PROSE, 150, lambda s: _unpunctuated(s) > 120),
    Rule("sales talk", _TEXT, 8, lambda s: 40 * len(_HYPE.findall(s.text)) > len(s.words)),
)


def _symbols(shape: Shape) -> float:
    """`#` and ellipses for each word (Gopher)."""
    text = shape.text
    return (text.count("#") + text.count("...") + text.count("…")) / len(shape.words)


def broken_rule(text: str, format_: str, settings: RuleSettings) -> str:
    """The first rule that a text breaks, or ''."""
    if not settings.min_characters <= len(text) <= settings.max_characters:
        return "too short" if len(text) < settings.min_characters else "too long"
    shape = Shape(text)
    if not shape.words:
        return "too short"
    for rule in RULES:
        if format_ in rule.formats and len(shape.words) >= rule.least_words and rule.broken(shape):
            return rule.name
    return ""
