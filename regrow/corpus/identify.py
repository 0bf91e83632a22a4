"""Which language, which format, which site: cheap looks at the text itself."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import islice
from urllib.parse import urlsplit

from regrow.corpus.grams import SPACELESS
from regrow.corpus.languages import most_likely
from regrow.corpus.page import Page

HEAD = 2_000  # characters whose lines tell the format
LONG = 80  # characters of a line that is a sentence rather than code
BLOCKS = 6  # places of a text that tell its language
BLOCK = 200  # characters of each
#: Below this probability a language is undecided; py3langid's are calibrated (its README).
SURE = 0.6
#: Shorter texts are decided by their script or not at all.
LEAST_LETTERS = 12
#: Paths, tags, numbers and identifiers say nothing of a language and look like a rare one.
_NOT_WORDS = re.compile(r"\S*[\d_/\\@=<>{}()|]\S*")
_LONG_LINE = re.compile(rf"^(?:.{{{LONG}}}|.*[{SPACELESS}]{{12}})", re.MULTILINE)
_LETTER = re.compile(r"[^\W\d_]")
_SCRIPT = {"ja": "\u3040-\u30ff", "ko": "\uac00-\ud7af", "th": "\u0e00-\u0e7f"}
_SCRIPTS = {name: re.compile(f"[{signs}]") for name, signs in _SCRIPT.items()}
_HAN = re.compile(r"[\u4e00-\u9fff]")
_ENGLISH_WORDS = (
    "the of and to in is was that it for with as his on be at by he she this are from they have "
    "has had not what you your we who when where which will their her its an or my"
)
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_ENGLISH_SHARE = 0.2  # of the words; no other language has so many of these
_CODE_LINE = re.compile(
    r"^\s*(def |class |import |from \w+ import |return\b|if .*:$|for .*:$|while .*:$|elif |else:$|"
    r"@\w|#include|public |private |static |const |let |var |func |fn |package |use |\}|\{|//|/\*|"
    r"\*/|>>> |try:|except|print\(|[\w.\[\]]+ [-+*/]?= \S|.*[;{}]$|pub |mod |impl|match |type |"
    r"end$|"
    r"#|\"\"\"|'''|[\])}]+[,;:]?$|[\w.:!]+\([^ ].*[,)]$)|^ {2,}\S.*([(\[,]$|\w\()"
)
_TURN = re.compile(r"^[A-Z][\w .'-]{0,30}: \S")
_LIST_LINE = re.compile(r"^\s*([-*+•]|\d+[.)]|\w[.)])\s")


def languages_of(texts: Sequence[str]) -> list[str]:
    """ISO 639-1 codes, or "und" where nothing tells: [texts].

    Pages of any language hold commands, quotations and whole passages in English, English pages
    little of others: a page is in the other language that a third of its blocks are in.
    """
    blocks = [_blocks(text) for text in texts]
    told = iter(_languages_of_blocks([block for own in blocks for block in own]))
    out = []
    for own in blocks:
        found = Counter(islice(told, len(own)))
        others = [(n, code) for code, n in found.items() if code not in ("en", "und")]
        most, other = max(others, default=(0, "und"))
        out.append(other if 3 * most >= len(own) else "en" if found["en"] else "und")
    return out


def _blocks(text: str) -> list[str]:
    """A text in sections of equal length, and of each the first long line or else the start.

    Long lines are sentences: a foreign page may begin with an English menu, and in a manual of any
    language half the lines are code.
    """
    if len(text) <= BLOCKS * BLOCK:
        return [text]
    size = len(text) // BLOCKS
    starts = range(0, size * BLOCKS, size)
    lines = [_LONG_LINE.search(text, start, start + size) for start in starts]
    begins = [line.start() if line else start for line, start in zip(lines, starts)]
    return [text[begin : begin + BLOCK] for begin in begins]


def _languages_of_blocks(blocks: Sequence[str]) -> list[str]:
    """By frequent words where they are plainly English, by script for Japanese, Korean, Thai and
    Chinese, else by byte n-grams (`regrow.corpus.languages`).
    """
    out = list(map(_english, blocks))
    open_ = {i: _NOT_WORDS.sub(" ", blocks[i]) for i, language in enumerate(out) if not language}
    for i, words in list(open_.items()):
        if language := _by_script(words):
            out[i] = language
            del open_[i]
    for i, (language, probability) in zip(open_, most_likely(list(open_.values()))):
        out[i] = language if probability >= SURE and language != "zxx" else "und"
    return out


def _english(text: str) -> str:
    """ "en" where frequent words give it away, or ''."""
    words = text.lower().split()
    if len(words) < 20:
        return ""
    english = [word for word in words if word in _ENGLISH]
    plain = len(english) >= _ENGLISH_SHARE * len(words) and len(set(english)) >= 5
    return "en" if plain else ""


def _by_script(words: str) -> str:
    """The language of a text where its script gives it away, "und" without letters, or ''."""
    letters = len(_LETTER.findall(words))
    if not words.isascii():
        for language, script in _SCRIPTS.items():
            if len(script.findall(words)) > 0.15 * letters:
                return language
        if len(_HAN.findall(words)) > 0.3 * letters:
            return "zh"
    return "und" if letters < LEAST_LETTERS else ""


def format_of(text: str) -> str:
    """`code`, `table`, `dialogue`, `list` or `prose`, by the shape of most lines."""
    head = text[: 4 * HEAD]
    lines = [line for line in head.split("\n") if line.strip()]
    if not lines:
        return "prose"

    def like(shape: re.Pattern[str]) -> int:
        return len(lines) - list(map(shape.match, lines)).count(None)

    half = 0.5 * len(lines)
    if len(lines) >= 3 and like(_CODE_LINE) >= half and not _mostly_said(lines):
        return "code"
    has_cells = " | " in head or "\t" in head  # most texts have not
    if has_cells and sum(" | " in line or "\t" in line for line in lines) > half:
        return "table"
    if len(lines) >= 2 and ": " in head and like(_TURN) > half:
        return "dialogue"
    short = sum(length < 60 for length in map(len, lines))
    if like(_LIST_LINE) > half or (len(lines) >= 4 and short > 0.7 * len(lines)):
        return "list"
    return "prose"


def _mostly_said(lines: Sequence[str]) -> bool:
    """Long lines that are no code hold two thirds of the characters: a manual with listings."""
    said = sum(len(line) for line in lines if len(line) >= LONG and not _CODE_LINE.match(line))
    return 3 * said > 2 * sum(map(len, lines))


def site_of(page: Page) -> str:
    """The host of the URL; the source where there is no URL or none that can be split."""
    try:
        return urlsplit(page.url).netloc or page.source
    except ValueError:
        return page.source


def identify(pages: Sequence[Page]) -> None:
    """Fill in domain (the host of the URL), format and language where they are unknown."""
    for page in pages:
        page.domain = page.domain or site_of(page)
        page.format = page.format or format_of(page.text)
    unknown = [page for page in pages if not page.language]
    for page, language in zip(unknown, languages_of([page.text for page in unknown])):
        page.language = language


def wrong_language(page: Page, languages: tuple[str, ...]) -> str:
    """The reason to leave a page out, or ''. Code and undecided text stay."""
    if not languages or page.format == "code" or page.language in ("und", *languages):
        return ""
    return f"language: {page.language}"
