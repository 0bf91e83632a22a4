"""Bytes to text: the character set as declared, as it shows, or as a detector guesses it."""

from __future__ import annotations

import codecs
import re

BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # before UTF-16, whose mark starts it
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
META_BYTES = 4096  # looked through for a declaration; the standard's 1024 miss some pages
SNIFF_BYTES = 1 << 16
FEW = 4  # accents that are too few to tell one Latin character set from another

_META = re.compile(
    rb"""<(?:meta\b[^>]*?\bcharset|\?xml\b[^>]*?\bencoding)\s*=\s*["']?\s*([\w.:-]+)""", re.I
)
#: Python's codecs that are narrower than what the web means by the label (WHATWG Encoding, 4.2).
_WIDER = {"gb2312": "gb18030", "gbk": "gb18030", "shift_jis": "cp932", "euc_kr": "cp949",
          "big5": "big5hkscs", "iso8859-11": "cp874", "iso8859-9": "cp1254"}  # fmt: skip
#: Others fit almost any bytes; these fit by accident only, so a declaration of them is believed.
_MULTIBYTE = {"gb18030", "cp932", "cp949", "big5hkscs", "euc_jp", "iso2022_jp", "iso2022_kr", "hz"}
_LATIN = {f"iso8859-{i}" for i in (1, 2, 3, 4, 9, 10, 13, 14, 15, 16)} | {
    "cp1250", "cp1254", "cp1257", "cp1258"
}  # fmt: skip
_SUSPECT = re.compile(r"[\x80-\x9f]|[^\x00-\x7f]{2}")  # mojibake has one of them
_CONTROL = re.compile(rb"\xc2[\x80-\x9f]")  # the first of them in UTF-8


def decode(body: bytes, declared: str = "", *, html: bool = False, mend: bool = True) -> str:
    """The text of some bytes; never fails, and undoes mojibake if `mend`.

    A byte-order mark wins; then UTF-8 where the bytes are valid, as a wrong declaration is likelier
    than an accident; then `declared` (from HTTP), the `<meta>` or XML declaration if `html`, and
    at last Mozilla's detector. Labels are read as browsers do: iso-8859-1 means windows-1252.
    """
    for mark, name in BOMS:
        if body.startswith(mark):
            text = body[len(mark) :].decode(name, "replace")
            break
    else:
        name = _codec(declared) or (_declared_inside(body) if html else "")
        text = _decode(body, name or _utf16(body))
    return repair(text) if mend else text


def repair(text: str) -> str:
    """Undo mojibake ("CafÃ©"), line by line, and nothing else."""
    if not _suspect(text):
        return text
    from ftfy import TextFixerConfig, fix_encoding

    plain = TextFixerConfig(explain=False, restore_byte_a0=False)
    lines = text.split("\n")
    return "\n".join(fix_encoding(line, plain) if _SUSPECT.search(line) else line for line in lines)


def _suspect(text: str) -> bool:
    """Whether text may hold mojibake; what encoders can rule out is ruled out at their speed."""
    if text.isascii():
        return False
    if b"??" in text.replace("?", ".").encode("ascii", "replace"):
        return True
    return _CONTROL.search(text.encode("utf-8", "replace")) is not None


def is_binary(data: bytes) -> bool:
    """Whether the first bytes hold a NUL and are no UTF-16 or UTF-32 text."""
    if any(data.startswith(mark) for mark, _ in BOMS) or _utf16(data):
        return False
    return b"\0" in data[:8192]


def _decode(body: bytes, name: str) -> str:
    utf8 = None if b"\x1b$" in body else _strictly(body, "utf-8")
    if utf8 is not None and name not in _MULTIBYTE and not name.startswith("utf-16"):
        return utf8
    text = _strictly(body, name) if name else None
    if text is not None:
        return text
    if utf8 is not None:
        return utf8
    lenient = body.decode("utf-8", "replace")
    broken = lenient.count("\ufffd")
    if sum(sign > "\x7f" for sign in lenient) - broken > 10 * broken:
        return lenient  # UTF-8 with a few bad bytes
    guess = _guess(body)
    text = _strictly(body, guess)
    return text if text is not None else body.decode(name or guess, "replace")


def _strictly(body: bytes, name: str) -> str | None:
    """The decoded body, or None; a character that is cut off at the very end is dropped."""
    try:
        return body.decode(name)
    except UnicodeDecodeError as error:
        cut = error.start >= len(body) - 3 and not body[: error.start].isascii()
        return body[: error.start].decode(name, "replace") if cut else None


def _codec(label: str) -> str:
    """The Python codec that a label means on the web, or ''."""
    from resiliparse.parse.encoding import map_encoding_to_html5

    label = label.strip(" \t\r\n\"'")
    name = map_encoding_to_html5(label, fallback_utf8=False) if label else None
    return _WIDER.get(name, name) if name else ""


def _declared_inside(body: bytes) -> str:
    found = _META.search(body[:META_BYTES])
    name = _codec(found[1].decode("ascii", "replace")) if found else ""
    return "" if name.startswith("utf-16") else name  # it could not have been read so


def _utf16(body: bytes) -> str:
    """UTF-16 without a mark shows by the empty halves of its blanks and Latin letters."""
    head = body[:2048]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if max(even, odd) < max(FEW, 0.05 * len(head)) or len(head) % 2:
        return ""
    if min(even, odd) > 0.05 * max(even, odd):
        return ""
    name = "utf-16-be" if even > odd else "utf-16-le"
    text = head.decode(name, "replace")
    return "" if any(sign < "\t" or sign == "\ufffd" for sign in text[:-1]) else name


def _guess(body: bytes) -> str:
    from resiliparse.parse.encoding import detect_encoding

    name = detect_encoding(body, max_len=SNIFF_BYTES, html5_compatible=False) or "windows-1252"
    try:
        name = _codec(name) or codecs.lookup(name).name
    except LookupError:
        return "cp1252"
    accents = len(body) - len(body.translate(None, bytes(range(128, 256))))
    return "cp1252" if name in _LATIN and accents <= FEW else name
