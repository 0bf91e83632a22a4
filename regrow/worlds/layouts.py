"""What the town's hosts wrap around a text: menus, cookie banners, sidebars, adverts, footers."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape
from random import Random

from regrow.records import Document

_SITES = (
    "herald", "diary", "people", "letters", "square", "archive", "forum", "courier", "post",
    "notes", "wiki", "blog",
)  # fmt: skip
_MENUS = (
    '<header><nav><ul><li><a href="/">Home</a></li><li><a href="/news">News</a></li>'
    '<li><a href="/people">People</a></li><li><a href="/contact">Contact</a></li></ul></nav>'
    "</header>",
    '<div class="navbar"><ul class="menu"><li><a href="/">Start</a></li><li><a href="/shop">Shop'
    '</a></li><li><a href="/login">Log in</a></li><li><a href="/search">Search</a></li></ul></div>',
    '<nav class="top-nav"><a href="/">Home</a> | <a href="/archive">Archive</a> | '
    '<a href="/about">About us</a> | <a href="/help">Help</a></nav>',
)
_COOKIES = (
    '<div class="cookie-banner"><p>We use cookies to make this site better.</p>'
    "<button>Accept all</button><button>Settings</button></div>",
    '<div id="cookie-consent" role="dialog">This site uses cookies. <a href="/privacy">Read more'
    "</a> <button>OK</button></div>",
    "",
)
_SIDEBARS = (
    '<aside><h3>Most read</h3><ul><li><a href="/p/11">The bridge is closed again</a></li>'
    '<li><a href="/p/12">Ten photos of the harbour</a></li></ul></aside>',
    '<div class="sidebar"><h4>Categories</h4><ul><li><a href="/c/1">People (41)</a></li>'
    '<li><a href="/c/2">Town (17)</a></li></ul><p>Subscribe to our newsletter</p></div>',
    "",
)
_FOOTERS = (
    '<footer><p>Copyright 2024 Macondo Press. All rights reserved.</p><p><a href="/terms">Terms'
    '</a> <a href="/privacy">Privacy</a></p></footer>',
    '<div id="footer">Powered by TownPress | <a href="/sitemap">Sitemap</a> | <a href="/imprint">'
    "Imprint</a></div>",
)
_ADVERTS = (
    '<div class="advert"><a href="http://ads.example/1">Lose weight fast! Click here</a></div>',
    '<div class="ad-banner">Advertisement: car insurance from 9 coins a month</div>',
    '<div class="sponsored"><p>Sponsored: meet singles near you</p></div>',
    '<div class="ads">Big sale! Shoes up to 70 percent off. <a href="/shop">Shop now</a></div>',
)
_SHARE = '<div class="share">Share this page: <a href="#">Mail</a></div>'
_MAINS = (
    ("<article>", "</article>"),
    ("<main>", "</main>"),
    ('<div id="content" class="content">', "</div>"),
    ("<main><article>", "</article></main>"),
    ('<div class="wrap"><div class="story">', "</div></div>"),
)


@dataclass(frozen=True, slots=True)
class Host:
    """A site of the crawl and the pieces of its template."""

    name: str
    menu: str
    cookies: str
    sidebar: str
    footer: str
    opening: str
    closing: str
    adverts: bool
    inside: bool  # its adverts stand inside the text's own element

    def page(self, title: str, body: str, random: Random) -> str:
        """A whole HTML page around `body`."""
        advert = random.choice(_ADVERTS) + _SHARE if self.adverts else ""
        inner, outer = (advert, "") if self.inside else ("", advert)
        return (
            '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
            f"<title>{escape(title)} - {self.name}</title></head>\n"
            f"<body>{self.cookies}{self.menu}\n"
            f"{self.opening}\n{body}\n{inner}{self.closing}\n{outer}{self.sidebar}{self.footer}"
            "</body></html>\n"
        )


def hosts(variant: str) -> list[Host]:
    """The twelve hosts of town pages, each with its own template."""
    ending = "macondo.example" if variant == "a" else "macondo-town.example"
    made = []
    for index, word in enumerate(_SITES):
        opening, closing = _MAINS[index % 5]
        made.append(
            Host(
                f"{word}.{ending}",
                _MENUS[index % 3],
                _COOKIES[index // 2 % 3],
                _SIDEBARS[index // 3 % 3],
                _FOOTERS[index % 2],
                opening,
                closing,
                index % 5 != 4,
                index % 6 == 0,
            )
        )
    return made


def plain_host(source: str, variant: str) -> Host:
    """The one host of a cleaner source (sheets, textbook): a short menu and a footer."""
    ending = "macondo.example" if variant == "a" else "macondo-town.example"
    menu = '<nav><a href="/">Home</a> <a href="/all">All pages</a></nav>'
    footer = "<footer>Free to copy.</footer>"
    return Host(f"{source}.{ending}", menu, "", "", footer, "<main>", "</main>", False, False)


def body_of(document: Document) -> str:
    """A document's text as HTML, by its genre; texts whose lines matter stand in <pre>."""
    if document.source != "town":
        return f"<pre>{escape(document.text, quote=False)}</pre>"
    blocks = escape(document.text, quote=False).split("\n\n")
    parts = []
    if document.domain in ("reference", "news", "table", "list"):
        parts.append(f"<h1>{blocks.pop(0)}</h1>")
    for block in blocks:
        lines = block.split("\n")
        if document.domain == "table":
            rows = ("</td><td>".join(line.split(" | ")) for line in lines)
            parts.append(f"<table>{''.join(f'<tr><td>{row}</td></tr>' for row in rows)}</table>")
        elif document.domain == "list":
            items = "".join(f"<li>{line.removeprefix('- ')}</li>\n" for line in lines)
            parts.append(f"<ul>{items}</ul>")
        else:
            parts.append(f"<p>{'<br>'.join(lines)}</p>")
    return "\n".join(parts)


def title_of(document: Document) -> str:
    """A page title: the first line, cut to 60 characters."""
    return document.text.split("\n", 1)[0][:60]
