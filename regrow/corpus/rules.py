"""Heuristic filters by name: `default`, `gopher`, `c4`, `fineweb`, alone or together.

The default set is for crawls of which much is technical. Every rule of it says which formats it
reads: those on lines and punctuation spare code, tables, lists and dialogue (exercise sheets are
short lines of pairs), those on words spare code.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import compress

from regrow.corpus import rules_published as published
from regrow.corpus.settings import RuleSettings
from regrow.corpus.shape import Shape
from regrow.corpus.spam import is_spam

_STOP_WORDS = "the be to of and that have with is was in a for on it as"
_STOP = frozenset(_STOP_WORDS.split())
_ERROR_PAGE = re.compile(
    r"not found|error 40[34]|does not exist|access denied|forbidden|log in to|session expired|"
    r"(?:turn on|enable) javascript|page (?:that )?you (?:are|were) looking for|no posts found|"
    r"must be a member",
)
_NOTICE = re.compile(
    r"all rights reserved|privacy policy|cookie policy|uses? (?:of )?cookies|"
    r"terms of (?:use|service)"
)
_SENTENCE_END = re.compile(r"[.!?:;\"”)](?=\s|$)|[。！？；]")
_ARTICLES = frozenset(("the", "a", "an"))
#: Never after an article in a sentence; words of scrambled text meet without regard to that.
_NEVER = (
    "the a an of to and in is are was be for with by on at from as that it this or which you your "
    "has have been were its their they"
)
_NEVER_AFTER = frozenset(_NEVER.split())
_ALNUM = re.compile(r"[^\W_]")
_ODD = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ue000-\uf8ff\ufffd]")
_PROSE = frozenset({"prose"})
_TEXT = frozenset({"prose", "list", "dialogue", "table"})
_ALL = _TEXT | {"code"}


@dataclass(frozen=True, slots=True)
class Rule:
    """A named reason to leave a text out."""

    name: str
    formats: frozenset[str]
    least_words: int  # texts with fewer words are spared
    broken: Callable[[Shape], bool]


def _odd_characters(shape: Shape) -> bool:
    """Control and private characters and the sign of a wrong decoding."""
    text = shape.text
    if text.replace("\n", "").replace("\t", "").isprintable() and "\ufffd" not in text:
        return False  # which spares the look at every character
    return len(_ODD.findall(text)) > 0.02 * len(text)


def _notices(shape: Shape) -> bool:
    """Hardly anything is left beside notices on cookies and rights."""
    rest = [line for line in shape.lower.split("\n") if not _NOTICE.search(line)]
    return len(shape.lines) > 0 and sum(map(len, rest)) < 0.3 * len(shape.text)


def _endless(shape: Shape) -> bool:
    """Words of 400 characters hold a quarter of the text (a key or a picture among prose may)."""
    if shape.longest <= 400:
        return False
    long = sum(len(word) * n for word, n in shape.counts.items() if len(word) > 400)
    return 4 * long > shape.characters


def _word_length(shape: Shape) -> bool:
    """Columns of sums are spared: they have few words with letters."""
    if shape.spaceless or shape.lettered < 20:
        return False
    return not 1.5 * len(shape.words) <= shape.characters <= 15 * len(shape.words)


def _mostly_signs(shape: Shape) -> bool:
    """Numbers are no signs: worked sums and tables of measurements are good text."""
    if 2 * shape.lettered >= len(shape.words):
        return False  # which spares the look at every word
    signs = sum(count for word, count in shape.counts.items() if not _ALNUM.search(word))
    return not shape.spaceless and signs > 0.5 * len(shape.words)


def _few_frequent(shape: Shape) -> bool:
    words = shape.lettered
    if words < 60 or not shape.latin or shape.mixed:
        return False
    found = [count for word in _STOP if (count := shape.counts[word])]
    return len(found) < 2 or sum(found) < 0.03 * words


def _scrambled(shape: Shape) -> bool:
    """Articles stand before prepositions, verbs and articles: once in fifty words."""
    words = shape.words[:1000]
    after = compress(words[1:], map(_ARTICLES.__contains__, words))
    meetings = sum(map(_NEVER_AFTER.__contains__, after))
    return meetings >= 3 and 50 * meetings > len(words)


def _symbols(shape: Shape) -> bool:
    """`#` and ellipses for each word (Gopher)."""
    text = shape.text
    return text.count("#") + text.count("...") + text.count("…") > 0.1 * shape.count


def _repeated_lines(shape: Shape) -> bool:
    """Half the lines, or characters, again: twice what Gopher allows, as manuals repeat code."""
    lines, characters = shape.line_repeats
    return lines > 0.5 or characters > 0.3


def _unpunctuated(shape: Shape) -> bool:
    """Words for each sentence end."""
    if shape.count <= 120 * (1 + shape.text.count(". ") + shape.text.count(".\n")):
        return False  # full stops alone are enough
    if shape.unpunctuated:
        return False
    return shape.count > 120 * (1 + len(_SENTENCE_END.findall(shape.text)))


DEFAULT = (
    Rule("odd characters", _ALL, 1, _odd_characters),
    Rule("error page", _TEXT, 1, lambda s: s.count < 60 and bool(_ERROR_PAGE.search(s.lower))),
    Rule("notices only", _TEXT, 1, lambda s: s.count < 120 and _notices(s)),
    Rule("word without end", _TEXT, 1, _endless),
    Rule("word length", _PROSE, 20, _word_length),
    Rule("mostly signs", _PROSE, 50, _mostly_signs),
    Rule("symbols", _PROSE, 20, _symbols),
    Rule("no frequent words", _PROSE, 60, _few_frequent),
    Rule("scrambled words", _TEXT, 30, _scrambled),
    Rule("repeated lines", _PROSE, 50, _repeated_lines),
    Rule("repeated 2-gram", _PROSE, 50, lambda s: s.top_gram(2, 0.2)),
    Rule("repeated 4-gram", _PROSE, 100, lambda s: s.top_gram(4, 0.2)),
    Rule("no sentences", _PROSE, 150, _unpunctuated),
    Rule("sales talk", _TEXT, 8, is_spam),
)


def _default(shape: Shape, format_: str) -> str:
    for rule in DEFAULT:
        if format_ in rule.formats and shape.count >= rule.least_words and rule.broken(shape):
            return rule.name
    return ""


def broken_rule(text: str, format_: str, settings: RuleSettings) -> str:
    """The first rule that a text breaks, as "set: rule" (the default set's without), or ''."""
    if not settings.min_characters <= len(text) <= settings.max_characters:
        return "too short" if len(text) < settings.min_characters else "too long"
    shape = Shape(text)
    if not shape.words:
        return "too short"
    for name in settings.sets:
        if name == "default":
            broken = _default(shape, format_)
        elif name == "gopher":
            broken = published.gopher(shape)
        elif name == "c4":
            broken = published.c4(shape, settings.bad_words)
        else:
            broken = published.fineweb(shape)
        if broken:
            return broken if name == "default" else f"{name}: {broken}"
    return ""


def drop_lines(text: str, settings: RuleSettings) -> str:
    """The text without the lines that a chosen set drops (C4 alone drops lines)."""
    return published.c4_lines(text) if "c4" in settings.sets else text
