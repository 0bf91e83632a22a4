"""HTML to readable text: the page's own content, with code, tables and lists kept readable."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from regrow.corpus.charset import decode
from regrow.corpus.page import Page

MAX_HTML = 4_000_000  # bytes; what follows is cut, so that no page takes seconds
MAX_LISTS = 100  # in one another: each indents all in it, so that unclosed ones fill the memory

_ANYWHERE = (
    "nav footer form button iframe noscript script style template dialog [role=navigation] "
    "[role=banner] [role=contentinfo] [role=search] [role=dialog] [aria-hidden=true] .cookie "
    ".cookies .cookie-banner .cookie-notice .consent .navbar .breadcrumb .breadcrumbs "
    ".pagination .advert .advertisement .ad .ads .ad-banner .promo .sponsored .share .social "
    ".newsletter .subscribe .popup #nav #menu #footer #cookie-banner #cookie-consent #advert "
    "#ads"
)
_AROUND = (
    "aside [role=complementary] .nav .navigation .menu .sidebar .footer .banner .related "
    "#sidebar #banner"
)
ANYWHERE = _ANYWHERE.split()  # never content
AROUND = _AROUND.split()  # not content unless inside of it
CONTENT = ("main", "[role=main]", "article", "#content", "#main", ".content", ".post", ".entry")
#: Share of the page's text that a content element must hold to be trusted.
CONTENT_SHARE = 0.25

#: How often a page may be looked at in lists within lists.
WORK = 10
_LINK = re.compile(r"<a\b[^>]*>(.*?)</a>", re.DOTALL)
_TAG = re.compile(r"<[^<>]*>")  # linear where none is closed
_LIST = re.compile(r"<(/?)[uo]l\b", re.IGNORECASE)

_BULLET = re.compile(r"^[ \t]*[•◦▪‣] ?", re.MULTILINE)
_ORDERED = re.compile(r"\n {2,4}(?=\d+\. )")  # a first letter that is quick to find
_CELLS = re.compile(r"(?<=\S)\t\t(?=\S)")
_TRAILING = re.compile(r"(?<![ \t])[ \t]++$", re.MULTILINE)  # linear in runs of blanks
_BLANKS = re.compile(r"\n{3,}")
_MANY_BLANKS = re.compile(r"\n{4,}")
_NOT_TEXT = re.compile(r"html|xml|text/plain|^$", re.IGNORECASE)


def extract(page: Page) -> None:
    """Fill in `page.text` from its body, or `page.reason` where there is none to have."""
    if page.body is None:
        page.text = tidy(page.text)
    elif page.status and not 200 <= page.status < 300:
        page.reason = f"extract: http status {page.status // 100}xx"
        page.detail = str(page.status)
    elif not _NOT_TEXT.search(page.content_type):
        page.reason = "extract: not text"
        page.detail = page.content_type
    else:
        is_plain = page.content_type.startswith("text/plain")
        text = decode(page.body[:MAX_HTML], page.charset, html=not is_plain)
        page.text = tidy(text) if is_plain else html_to_text(text)
    page.body = None
    if not page.reason and not page.text:
        page.reason = "extract: empty"


def tidy(text: str) -> str:
    """Unix line ends, no trailing blanks, no NUL, at most two empty lines in a row (as in code)."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\0", "").replace("\ufeff", "")
    text = text.replace("\xa0", " ")
    if " \n" in text or "\t\n" in text or text.endswith((" ", "\t")):  # a look costs little
        text = _TRAILING.sub("", text)
    if "\n\n\n\n" in text:
        text = _MANY_BLANKS.sub("\n\n\n", text)
    return text.strip("\n")


def html_to_text(html: str) -> str:
    """The main content of an HTML page as text.

    Furniture (menus, banners, footers) is removed by tag, role and class; what a `main`, `article`
    or similar element holds is then taken whole, and without one lists of links go too.
    (Resiliparse's own main-content mode drops short lists, the form of exercise sheets.)
    """
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLTree

    if _lists_within_lists(html) > MAX_LISTS:
        return tidy(_TAG.sub(" ", html))
    tree = HTMLTree.parse(html)
    if tree.body is None:
        return ""
    root = _content(tree.body)
    whole = root is tree.body
    if whole:
        _drop_link_lists(root)
    skip = [*ANYWHERE, *AROUND] if whole else ANYWHERE
    found = tree if whole else root.html
    text = extract_plain_text(found, main_content=False, alt_texts=False, skip_elements=skip)
    if len(text) < 0.3 * len(root.text):  # an unclosed banner may have swallowed the page
        _drop(root, ",".join(skip))
        text = extract_plain_text(root.html, main_content=False, alt_texts=False)
    text = _CELLS.sub(" | ", text) if "\t\t" in text else text
    text = _ORDERED.sub("\n", "\n" + _BULLET.sub("- ", text))
    if "\n\n\n" in text and "<pre" not in html:
        text = _BLANKS.sub("\n\n", text)
    return tidy(text)


def _lists_within_lists(html: str) -> int:
    depth = deepest = 0
    for match in _LIST.finditer(html):
        depth += -1 if match[1] else 1
        deepest = max(deepest, depth)
    return deepest


def _elements(root: Any, selector: str) -> list[Any]:
    """What a selector finds: a collection looks through all of itself for each element."""
    return list(root.query_selector_all(selector)[:])


def _drop(root: Any, selector: str) -> None:
    """Remove elements, but none that holds most of the page (an unclosed banner swallows it)."""
    whole = len(root.text)
    for element in _elements(root, selector):
        if len(element.text) <= 0.5 * whole:
            element.decompose()


def _content(body: Any) -> Any:
    whole = len(body.text) or 1
    for selector in CONTENT:
        found = body.query_selector_all(selector)
        if len(found) == 1 and len(found[0].text) >= CONTENT_SHARE * whole:
            return found[0]
    return body


def _drop_link_lists(root: Any) -> None:
    room = WORK * (len(root.html) + 1000)
    for block in _elements(root, "ul, ol, header"):
        html = block.html
        links = _LINK.findall(html)
        letters = len("".join(block.text.split()))
        linked = len("".join(_TAG.sub(" ", " ".join(links)).split()))
        if len(links) >= 3 and linked >= 0.8 * letters:
            block.decompose()
        room -= len(html)
        if room < 0:  # lists that are never closed lie in one another
            return


def edge_lines(text: str) -> set[str]:
    """Lines near the start and the end of a page, where sites put their furniture."""
    lines = list(filter(None, map(str.strip, text.split("\n"))))
    edge = lines if len(lines) <= 16 else lines[:8] + lines[-8:]
    return {line for line in edge if len(line) > 2}


def furniture(lines: Mapping[str, int], pages: int, least: int = 10) -> set[str]:
    """The edge lines of a host that so many of its pages share that they are furniture.

    Many are half for a sentence of four words or more, 80 % for less (a manual's section headings
    stay). Hosts with fewer than `least` pages are left alone.
    """
    if pages < least:
        return set()
    return {
        line for line, n in lines.items() if n >= (0.5 if line.count(" ") >= 3 else 0.8) * pages
    }


def drop_site_lines(page: Page, lines: set[str]) -> None:
    """Remove a host's furniture lines from a page."""
    kept = [line for line in page.text.split("\n") if line.strip() not in lines]
    page.text = "\n".join(kept).strip("\n")
    if not page.text:
        page.reason = "extract: site furniture only"
