"""Which language, which format, which site: cheap looks at the text itself."""

from __future__ import annotations

import re
from functools import cache
from typing import Any
from urllib.parse import urlsplit

from regrow.corpus.page import Page

HEAD = 2_000  # characters whose lines tell the format
SAMPLE = 400  # characters from the start, the middle and the end that tell the language
#: Below this probability a language is undecided; py3langid's are calibrated (its README).
SURE = 0.6
#: Shorter texts are decided by their script or not at all.
LEAST_LETTERS = 12
#: Nigerian Pidgin, which lists and sheets of simple English words are taken for.
_PIDGIN = "pcm"
#: Paths, tags, numbers and identifiers say nothing of a language and look like a rare one.
_NOT_WORDS = re.compile(r"\S*[\d_/\\@=<>{}()|]\S*")
_LETTER = re.compile(r"[^\W\d_]")
_SCRIPT = {"ja": "\u3040-\u30ff", "ko": "\uac00-\ud7af", "th": "\u0e00-\u0e7f"}
_SCRIPTS = {name: re.compile(f"[{signs}]") for name, signs in _SCRIPT.items()}
_HAN = re.compile(r"[\u4e00-\u9fff]")
_ENGLISH_WORDS = (
    "the of and to in is was that it for with as his on be at by he she this are from they have "
    "has had not what you your we who when where which will their her its an or my"
)
_ENGLISH = frozenset(_ENGLISH_WORDS.split())
_ENGLISH_SHARE = 0.25  # of the words; no other language has so many of these
_CODE_LINE = re.compile(
    r"^\s*(def |class |import |from \w+ import |return\b|if .*:$|for .*:$|while .*:$|elif |else:$|"
    r"@\w|#include|public |private |static |const |let |var |func |fn |package |use |\}|\{|//|/\*|"
    r"\*/|>>> |try:|except|print\(|[\w.\[\]]+ [-+*/]?= \S|.*[;{}]$|pub |mod |impl|match |type |"
    r"end$|"
    r"#|\"\"\"|'''|[\])}]+[,;:]?$|[\w.:!]+\([^ ].*[,)]$)|^ {2,}\S.*([(\[,]$|\w\()"
)
_TURN = re.compile(r"^[A-Z][\w .'-]{0,30}: \S")
_LIST_LINE = re.compile(r"^\s*([-*+•]|\d+[.)]|\w[.)])\s")


def language_of(text: str) -> str:
    """ISO 639-1 code, or "und" where nothing tells.

    By frequent words where they are plainly English, by script for Japanese, Korean, Thai and
    Chinese, else by py3langid's byte n-grams (after Lui & Baldwin 2012).
    """
    text = _sample(text)
    words = text.lower().split()
    if len(words) >= 20:
        english = [word for word in words if word in _ENGLISH]
        if len(english) >= _ENGLISH_SHARE * len(words) and len(set(english)) >= 5:
            return "en"
    text = _NOT_WORDS.sub(" ", text)
    letters = len(_LETTER.findall(text))
    if not text.isascii():
        for language, script in _SCRIPTS.items():
            if len(script.findall(text)) > 0.15 * letters:
                return language
        if len(_HAN.findall(text)) > 0.3 * letters:
            return "zh"
    if letters < LEAST_LETTERS:
        return "und"
    ranked = _model().rank(text)
    language, probability = ranked[0]
    return language if probability >= SURE and language != "zxx" else "und"


def _sample(text: str) -> str:
    """Start, middle and end: a foreign page may begin with an English menu."""
    if len(text) <= 3 * SAMPLE:
        return text
    middle = len(text) // 2
    return f"{text[:SAMPLE]} {text[middle : middle + SAMPLE]} {text[-SAMPLE:]}"


@cache
def _model() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    model.set_languages([name for name in model.nb_classes if name != _PIDGIN])
    return model


def format_of(text: str) -> str:
    """`code`, `table`, `dialogue`, `list` or `prose`, by the shape of most lines."""
    lines = [line for line in text[: 4 * HEAD].split("\n") if line.strip()]
    if not lines:
        return "prose"
    half = 0.5 * len(lines)
    if len(lines) >= 3 and sum(bool(_CODE_LINE.match(line)) for line in lines) >= half:
        return "code"
    if sum(" | " in line or line.count("\t") >= 1 for line in lines) > half:
        return "table"
    if sum(bool(_TURN.match(line)) for line in lines) > half and len(lines) >= 2:
        return "dialogue"
    bullets = sum(bool(_LIST_LINE.match(line)) for line in lines)
    short = sum(len(line) < 60 for line in lines)
    if bullets > half or (len(lines) >= 4 and short > 0.7 * len(lines)):
        return "list"
    return "prose"


def site_of(page: Page) -> str:
    """The host of the URL, or the source."""
    return urlsplit(page.url).netloc or page.source


def identify(page: Page) -> None:
    """Fill in domain (the host of the URL), format and language where they are unknown."""
    page.domain = page.domain or site_of(page)
    page.format = page.format or format_of(page.text)
    page.language = page.language or language_of(page.text)


def wrong_language(page: Page, languages: tuple[str, ...]) -> str:
    """The reason to leave a page out, or ''. Code and undecided text stay."""
    if not languages or page.format == "code" or page.language in ("und", *languages):
        return ""
    return f"language: {page.language}"
