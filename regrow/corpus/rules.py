"""Heuristic filters by name: `default`, `gopher`, `c4`, `fineweb`, alone or together.

The default set is for crawls of which much is technical. Every rule of it says which formats it
reads: those on lines and punctuation spare code, tables, lists and dialogue (exercise sheets are
short lines of pairs), those on words spare code.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from regrow.corpus import rules_published as published
from regrow.corpus.settings import RuleSettings
from regrow.corpus.shape import Shape
from regrow.corpus.spam import is_spam

_STOP = frozenset("the be to of and that have with is was in a for on it as".split())
_ERROR_PAGE = re.compile(
    r"not found|error 40[34]|does not exist|access denied|forbidden|log in to|session expired|"
    r"(?:turn on|enable) javascript|page (?:that )?you (?:are|were) looking for|no posts found|"
    r"must be a member",
)
_NOTICE = re.compile(
    r"all rights reserved|privacy policy|cookie policy|uses? (?:of )?cookies|terms of (?:use|service)"
)
_SENTENCE_END = re.compile(r"[.!?:;\"”)](?=\s|$)|[。！？；]")
_ARTICLES = frozenset(("the", "a", "an"))
#: Never after an article in a sentence; words of scrambled text meet without regard to that.
_NEVER_AFTER = frozenset(
    "the a an of to and in is are was be for with by on at from as that it this or which you your "
    "has have been were its their they".split()
)
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
    if shape.text.isascii() and "\x00" not in shape.text and "\x1b" not in shape.text:
        return False
    text = shape.text.replace("\n", "").replace("\t", "")
    if text.isprintable() and "\ufffd" not in text:
        return False
    return sum(not c.isprintable() or c == "\ufffd" for c in text) > 0.02 * len(shape.text)


def _notices(shape: Shape) -> bool:
    """Hardly anything is left beside notices on cookies and rights."""
    rest = [line for line in shape.lower.split("\n") if not _NOTICE.search(line)]
    return len(shape.lines) > 0 and sum(map(len, rest)) < 0.3 * len(shape.text)


def _endless(shape: Shape) -> bool:
    """Words of 400 characters hold a quarter of the text (a key or a picture among prose may)."""
    long = shape.lengths > 400
    return bool(long.any()) and 4 * int((shape.lengths * shape.counts)[long].sum()) > (
        shape.characters
    )


def _word_length(shape: Shape) -> bool:
    """The mean is of words with letters, so that columns of sums are spared."""
    counts = shape.counts * shape.lettered
    words = int(counts.sum())
    if shape.spaceless or words < 20:
        return False
    return not 1.5 <= int((counts * shape.lengths).sum()) / words <= 15


def _few_frequent(shape: Shape) -> bool:
    words = int(shape.counts[shape.lettered].sum())
    if words < 60 or not shape.latin:
        return False
    frequent = shape.among(_STOP)
    return int(frequent.sum()) < 2 or int(shape.counts[frequent].sum()) < 0.03 * words


def _scrambled(shape: Shape) -> bool:
    """Articles stand before prepositions, verbs and articles: once in a hundred words."""
    articles = shape.among(_ARTICLES) & (shape.lengths <= 3)  # "a," may end a phrase
    if not articles.any():
        return False
    after = shape.among(_NEVER_AFTER)
    ids = shape.ids
    meetings = int((articles[ids[:-1]] & after[ids[1:]]).sum())
    return meetings >= 3 and 100 * meetings > len(ids)


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
    if shape.unpunctuated:
        return False
    return shape.count > 120 * (1 + len(_SENTENCE_END.findall(shape.text)))


DEFAULT = (
    Rule("odd characters", _ALL, 1, _odd_characters),
    Rule("error page", _TEXT, 1, lambda s: s.count < 60 and bool(_ERROR_PAGE.search(s.lower))),
    Rule("notices only", _TEXT, 1, lambda s: s.count < 120 and _notices(s)),
    Rule("word without end", _TEXT, 1, _endless),
    Rule("word length", _PROSE, 20, _word_length),
    Rule("mostly signs", _PROSE, 50, lambda s: s.share(s.lettered) < 0.3 and not s.spaceless),
    Rule("symbols", _PROSE, 20, _symbols),
    Rule("no frequent words", _PROSE, 60, _few_frequent),
    Rule("scrambled words", _TEXT, 30, _scrambled),
    Rule("repeated lines", _PROSE, 50, _repeated_lines),
    Rule("repeated 2-gram", _PROSE, 50, lambda s: s.top_gram(2)[1] > 0.2),
    Rule("repeated 4-gram", _PROSE, 100, lambda s: s.top_gram(4)[1] > 0.2),
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
