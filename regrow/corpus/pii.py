"""Personal data to placeholders: e-mail, IP addresses, telephone, card and social security numbers.

The placeholders are the tokens of StarCoder's training data (Li et al. 2023, section 4.1:
`<EMAIL>`, `<NAME>`, ...). FineWeb's real-looking ones (email@example.com, 22.214.171.124) cannot be
told from text that has them anyway, cannot be counted afterwards, and exist for two kinds only.
Names have no form of their own: one is masked where it stands beside something already masked.
"""

from __future__ import annotations

import ipaddress
import re
from collections import Counter

_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[A-Za-z]{2,24}(?![\w@-])")
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IPV4 = re.compile(rf"(?<![\w.+-])(?:{_OCTET}\.){{3}}{_OCTET}(?![\w-]|\.\d|/\d{{1,2}}\b)")
_IPV6 = re.compile(r"(?<![\w:.])[23][0-9a-fA-F]{3}:[0-9a-fA-F:]{2,34}(?![\w:])")  # 2000::/3
_VERSION = re.compile(
    r"(?:version|release|firmware|build|section|chapter|v\.?|§)\s*$", re.IGNORECASE
)
_HEADING = re.compile(r"\.? [A-Z]")  # follows the number of a section
_MAC = re.compile(r"(?:[0-9a-fA-F]{2}:){7}[0-9a-fA-F]{2}")  # EUI-64
_DOCUMENTATION = ("192.0.2.", "198.51.100.", "203.0.113.", "2001:db8:")  # RFC 5737, RFC 3849
_SSN = re.compile(r"(?<![\w.+-])\d{3}-\d{2}-\d{4}(?![\w-])")
_CARD = re.compile(
    r"(?<![\w.+-])(?:[3-6]\d{3}(?:[ -]?\d{4}){2}[ -]?\d{1,7}"
    r"|3[47]\d{2}[ -]\d{6}[ -]\d{5})(?![\w-])"  # American Express groups its digits otherwise
)
#: International numbers; North American ones in brackets or with the area code set off; other
#: national ones with the leading zero and separated groups, after a word that announces them.
_PHONE = re.compile(
    r"(?<![\w.+/-])(?:"
    r"\+[1-9]\d{0,2}(?:[ .-]?\(0?\d{1,4}\)|[ .-]?\d{1,5})(?:[ .-]?\d{2,5}){1,4}"
    r"|(?:1[ .-])?(?:\([2-9]\d{2}\) ?[2-9]\d{2}[ .-]|[2-9]\d{2}([.-])[2-9]\d{2}\1)\d{4}"
    r")(?![\w-]|\.\d)"
)
_ANNOUNCED = re.compile(
    r"(?i:(?<!\w)(?:tel|phone|telephone|fax|mobile|cell|call|whatsapp|hotline|telefon|téléphone|"
    r"teléfono|tél|ring|dial)(?: (?:us|me|now|number|no))*[.:]*(?: (?:at|on|is))?\s{0,2})"
    r"((?:\(?\+?\d[\d()/ .-]{5,18}\d))(?![\w-])"
)
_DATE = re.compile(r"(?:19|20)\d\d[-/. ][01]?\d[-/. ][0-3]?\d")
# What every address and number holds: most texts have none and are looked at no further.
_DOTS = re.compile(r"\d\.\d{1,3}\.\d")
_COLONS = re.compile(r":[0-9a-fA-F]{0,4}:")
_DIGITS = re.compile(r"\d[\d()/ .-]{5,28}\d")
_NAME = r"[A-Z][a-zà-ÿ'’-]+(?: (?:[A-Z]\.|van|von|de|bin|al))? [A-Z][\w'’-]*[a-zà-ÿ](?!\w)"
_MASK = r"<(?:EMAIL|IP_ADDRESS|PHONE|CARD|SSN)>"
_NAME_BESIDE = re.compile(
    rf"(?<=, )(?<![\w.] ){_NAME}(?=, {_MASK}|[.,;]? *<?{_MASK})"
    rf"|(?<![\w.]){_NAME}(?=,? [(<\[]?{_MASK})"
    rf"|(?<=<EMAIL>, ){_NAME}|(?<=<IP_ADDRESS>, ){_NAME}|(?<=<PHONE>, ){_NAME}"
    rf"|(?<=<CARD>, ){_NAME}|(?<=<SSN>, ){_NAME}"
)


def mask_pii(text: str) -> tuple[str, dict[str, int]]:
    """The text with personal data replaced by placeholders, and how many of each kind.

    Local, private and broadcast addresses stay: they name no one. Card numbers must pass Luhn's
    check; years, versions, times, hashes and ISBNs have other forms.
    """
    counts: Counter[str] = Counter()

    def put(kind: str) -> str:
        counts[kind] += 1
        return f"<{kind.upper()}>"

    if "@" in text:
        text = _EMAIL.sub(lambda match: put("email"), text)
    if _DOTS.search(text):
        text = _IPV4.sub(lambda m: put("ip_address") if _is_host(m) else m[0], text)
    if _COLONS.search(text):
        text = _IPV6.sub(lambda m: put("ip_address") if _is_host(m) else m[0], text)
    if _DIGITS.search(text):
        text = _SSN.sub(lambda match: put("ssn"), text)
        text = _CARD.sub(lambda m: put("card") if _luhn(m[0]) else m[0], text)
        text = _PHONE.sub(lambda m: put("phone") if _is_phone(m[0]) else m[0], text)
        text = _ANNOUNCED.sub(
            lambda m: m[0].replace(m[1], put("phone")) if _is_phone(m[1]) else m[0], text
        )
    if counts:
        text = _NAME_BESIDE.sub(lambda match: put("name"), text)
    return text, dict(counts)


def _is_host(match: re.Match[str]) -> bool:
    """An address of a machine somewhere; not 10.0.0.1, ::1, a mask, or a version number."""
    text, start, stop = match.string, match.start(), match.end()
    if _VERSION.search(text, max(0, start - 12), start):
        return False
    heads_line = start == 0 or text[start - 1] == "\n"
    if (heads_line and _HEADING.match(text, stop)) or _MAC.fullmatch(match[0]):
        return False
    try:
        address = ipaddress.ip_address(match[0])
    except ValueError:
        return False
    if address.version == 4 and all(int(part) < 32 for part in match[0].split(".")):
        return False  # a section or version number, or a public server (8.8.8.8)
    return address.is_global or match[0].startswith(_DOCUMENTATION)


def _luhn(number: str) -> bool:
    digits = [int(digit) for digit in number if digit.isdigit()]
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[-2::-2]]
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_phone(number: str) -> bool:
    """Seven to fifteen digits (ITU-T E.164), not a date, and not all one digit."""
    digits = [digit for digit in number if digit.isdigit()]
    return 7 <= len(digits) <= 15 and len(set(digits)) > 1 and not _DATE.search(number)
