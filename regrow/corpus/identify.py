"""Which language, which format, which site: cheap looks at the text itself."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from regrow.corpus.page import Page

HEAD = 2_000  # characters looked at

_STOPWORDS = {
    "en": "the of and to in is was that it for with as his on be at by he she this are from they "
    "have has had not what you your we who when where which will their her its an or my",
    "de": "der die das und ist nicht ein eine zu den mit von auf für im dem des sich auch als es "
    "wird bei sind oder aus nach wie aber ich wir haben hat um zur zum",
    "fr": "le la les des et est une un dans pour que qui sur au du pas avec ce il elle par plus "
    "sont nous vous mais ou aux cette ces leur été",
    "es": "el la los las de en que un una es por con para se del al lo como más pero sus este "
    "está son muy no su ha desde hay",
    "it": "il lo la gli le di che un una per con non del della dei sono è nel alla al da ha "
    "anche più questo si ma molto",
    "pt": "os as de que um uma em por com para não do da dos das se no na mais ao como foi "
    "são muito seu",
    "nl": "de het een en van is dat op te zijn met voor niet aan er om ook als bij maar dan naar "
    "uit door ik je wij",
}
_WORDS = {language: frozenset(words.split()) for language, words in _STOPWORDS.items()}
_SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af]")),
    ("zh", re.compile(r"[\u4e00-\u9fff]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
    ("el", re.compile(r"[\u0370-\u03ff]")),
    ("he", re.compile(r"[\u0590-\u05ff]")),
    ("hi", re.compile(r"[\u0900-\u097f]")),
    ("th", re.compile(r"[\u0e00-\u0e7f]")),
)
_NO_LATIN = {"zh", "ja", "ko"}  # told by script above; the profiles say it of base64 as well
_NOT_ASCII = re.compile(r"[^\x00-\x7f]")
_WORD = re.compile(r"[^\W\d_]+")
_CODE_LINE = re.compile(
    r"^\s*(def |class |import |from \w+ import |return\b|if .*:$|for .*:$|while .*:$|elif |else:$|"
    r"@\w|#include|public |private |static |const |let |var |func |fn |package |use |\}|\{|//|/\*|"
    r"\*/|>>> |try:|except|print\(|[\w.\[\]]+ [-+*/]?= \S|.*[;{}]$)"
)
_TURN = re.compile(r"^[A-Z][\w .'-]{0,30}: \S")
_LIST_LINE = re.compile(r"^\s*([-*+•]|\d+[.)]|\w[.)])\s")


def language_of(text: str) -> str:
    """ISO 639-1 code, or "und" where nothing tells.

    By script, then by frequent words (three different ones, at least 6 % of all), then, where
    letters with accents say that it is not English, by Resiliparse's n-gram profiles.
    """
    head = text[:HEAD]
    words = _WORD.findall(head.lower())
    letters = sum(map(len, words))
    if not letters:
        return "und"
    if not head.isascii() and len(_NOT_ASCII.findall(head)) > 0.2 * letters:
        for language, script in _SCRIPTS:
            signs = len(script.findall(head))
            if signs > (0.1 if language == "ja" else 0.3) * letters:
                return language
    english = [word for word in words if word in _WORDS["en"]]
    if len(english) >= 0.2 * len(words) and len(set(english)) >= 3:
        return "en"
    found = {language: [w for w in words if w in stop] for language, stop in _WORDS.items()}
    best = max(found, key=lambda language: len(found[language]))
    enough = len(found[best]) >= 0.06 * len(words) and len(set(found[best])) >= 3
    if enough and (best == "en" or len(found[best]) >= 1.5 * len(english)):
        return best
    accents = len(_NOT_ASCII.findall("".join(words)))
    if letters < 100 or accents < 0.01 * letters or len(english) >= 0.03 * len(words):
        return "und"
    from resiliparse.parse.lang import detect_fast

    language, rank = detect_fast(head)
    return language if language not in ("unknown", *_NO_LATIN) and rank < 900 else "und"


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
