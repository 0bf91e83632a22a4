"""The filters of Gopher, C4 and FineWeb as published, on every text they are given.

Where a rule makes sense for English alone (frequent words, mean word length, full stops) texts in
other scripts are spared or judged by their own punctuation.
"""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

from regrow.corpus.shape import TERMINAL, Shape

# Gopher: Rae et al. 2021, section A.1.1 (quality) and Table A1 (repetition).
GOPHER_WORDS = (50, 100_000)
GOPHER_MEAN_WORD = (3, 10)
GOPHER_SYMBOLS = 0.1  # `#`, or ellipses, for each word
GOPHER_BULLETS = 0.9  # of the lines
GOPHER_ELLIPSES = 0.3  # of the lines
GOPHER_LETTERED = 0.8  # of the words
_GOPHER_WORDS = "the be to of and that have with"
GOPHER_STOP_WORDS = frozenset(_GOPHER_WORDS.split())  # two of them at least
GOPHER_REPEATED_PARTS = 0.3  # of the lines, or paragraphs
GOPHER_REPEATED_CHARACTERS = 0.2  # in such lines, or paragraphs
GOPHER_TOP_GRAMS = {2: 0.20, 3: 0.18, 4: 0.16}
GOPHER_REPEATED_GRAMS = {5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.10}
GOPHER_BULLET_SIGNS = ("•", "-", "*", "‣", "◦", "▪", "●")

# C4: Raffel et al. 2020 (JMLR), section 2.2; the long word and the policy lines are in its code
# only (tensorflow_datasets, c4_utils.py).
C4_SENTENCES = 3
C4_LINE_WORDS = 5
C4_WORD = 1000  # characters; a line with a longer word goes
C4_POLICY = re.compile(r"terms of use|privacy policy|cookie policy|uses? (?:of )?cookies")
C4_CITATION = re.compile(r"\[\d*\]|\[edit\]|\[citation needed\]")
_SENTENCES = re.compile(r"[.!?]+[\"'”’)]*(?=\s|$)|[。！？｡।॥؟۔።]")

# FineWeb: Penedo et al. 2024, section 3.6, and the code that made it (datatrove,
# fineweb_quality_filter.py); the paper prints 0.1 where the code has 0.01.
FINEWEB_LINE_ENDS = 0.12
FINEWEB_SHORT_LINES = 0.67
FINEWEB_SHORT = 30  # characters
FINEWEB_REPEATED_CHARACTERS = 0.01
FINEWEB_NEW_LINES = 0.3  # for each word


def gopher(shape: Shape) -> str:
    """The first rule of Gopher that a text breaks, or ''."""
    return gopher_quality(shape) or _gopher_repetition(shape)


def gopher_quality(shape: Shape) -> str:
    """The first of Gopher's rules on words and lines that a text breaks, or ''."""
    words, text, lines = shape.count, shape.text, shape.lines
    if not GOPHER_WORDS[0] <= words <= GOPHER_WORDS[1]:
        return "word count"
    mean = shape.characters / len(shape.words)
    if not shape.spaceless and not GOPHER_MEAN_WORD[0] <= mean <= GOPHER_MEAN_WORD[1]:
        return "mean word length"
    if text.count("#") > GOPHER_SYMBOLS * words:
        return "hashes"
    if text.count("...") + text.count("…") > GOPHER_SYMBOLS * words:
        return "ellipses"
    if sum(line.startswith(GOPHER_BULLET_SIGNS) for line in lines) > GOPHER_BULLETS * len(lines):
        return "bullet lines"
    if sum(line.endswith(("...", "…")) for line in lines) > GOPHER_ELLIPSES * len(lines):
        return "ellipsis lines"
    if not shape.spaceless and shape.lettered < GOPHER_LETTERED * len(shape.words):
        return "words with letters"
    if shape.latin and not shape.mixed and not _english(shape.words):
        return "stop words"
    return ""


def _english(words: list[str]) -> bool:
    """Whether two stop words are there: a text's first words nearly always tell."""
    stop = GOPHER_STOP_WORDS
    return len(stop.intersection(words[:300])) > 1 or len(stop.intersection(words)) > 1


def _gopher_repetition(shape: Shape) -> str:
    """Longer grams are looked at only where shorter ones, which hold them, repeat enough."""
    for name, (parts, characters) in (
        ("lines", shape.line_repeats),
        ("paragraphs", shape.paragraph_repeats),
    ):
        if parts > GOPHER_REPEATED_PARTS:
            return f"repeated {name}"
        if characters > GOPHER_REPEATED_CHARACTERS:
            return f"characters in repeated {name}"
    # In scripts without spaces n words are about 2n characters.
    scale = 2 if shape.spaceless else 1
    for n, most in GOPHER_TOP_GRAMS.items():
        if shape.top_gram(n * scale, most):
            return f"top {n}-gram"
    least = min(GOPHER_REPEATED_GRAMS.values())
    for n, most in GOPHER_REPEATED_GRAMS.items():
        share = shape.repeated_grams(n * scale)
        if share > most:
            return f"repeated {n}-grams"
        if share <= least:
            break
    return ""


def c4_lines(text: str) -> str:
    """The lines that C4 keeps: sentences of five words, no script or policy notices."""
    kept = []
    ends_marked = not Shape(text[:2000]).unpunctuated
    for line in text.split("\n"):
        line = C4_CITATION.sub("", line.strip()) if "[" in line else line.strip()
        open_end = not line.endswith(TERMINAL) or line.endswith(("...", "…"))
        if open_end and ends_marked:
            continue
        words = line.split()
        if len(words) < C4_LINE_WORDS and Shape(line[:100]).count < C4_LINE_WORDS:
            continue
        lower = line.lower()
        if "javascript" in lower or C4_POLICY.search(lower) or max(map(len, words)) > C4_WORD:
            continue
        kept.append(line)
    return "\n".join(kept)


def c4(shape: Shape, bad_words: str | None = None) -> str:
    """The first rule of C4 that a text breaks, or ''; its sentences are counted in kept lines."""
    if "{" in shape.text:
        return "curly bracket"
    if "lorem ipsum" in shape.lower:
        return "lorem ipsum"
    if bad_words and _bad_words(bad_words, os.stat(bad_words).st_mtime_ns).search(shape.lower):
        return "bad word"
    kept = c4_lines(shape.text)
    sentences = len(_SENTENCES.findall(kept))
    if kept and shape.unpunctuated:
        sentences = max(sentences, len(kept.split()))
    return "sentences" if sentences < C4_SENTENCES else ""


@lru_cache(maxsize=1)
def _bad_words(path: str, changed: int) -> re.Pattern[str]:
    """Any of a file's words; it is read anew once it has changed."""
    lines = Path(path).read_text("utf-8").lower().split("\n")
    words = [re.escape(word.strip()) for word in lines if word.strip()]
    return re.compile(rf"(?<!\w)(?:{'|'.join(words) or '(?!)'})(?!\w)")


def fineweb(shape: Shape) -> str:
    """The first of FineWeb's own rules that a text breaks, or ''."""
    lines = shape.lines
    if shape.line_ends <= FINEWEB_LINE_ENDS and not shape.unpunctuated:
        return "line ends"
    short = FINEWEB_SHORT // 2 if shape.spaceless else FINEWEB_SHORT  # such characters say more
    if sum(len(line) <= short for line in lines) >= FINEWEB_SHORT_LINES * len(lines):
        return "short lines"
    if shape.line_repeats[1] >= FINEWEB_REPEATED_CHARACTERS:
        return "characters in repeated lines"
    if shape.text.count("\n") > FINEWEB_NEW_LINES * shape.count:
        return "new lines"
    return ""
