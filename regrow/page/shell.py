"""A page from its template: named parts, the shared style sheet and the shared script."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.resources import files

from regrow import __version__

_PART = re.compile(r"\{\{(\w+)\}\}")


def fill(package: str, template: str, parts: Mapping[str, str]) -> str:
    """The template with `{{name}}` replaced by parts, which are HTML already.

    `style`, `script`, `mark` and `version` are always there. Every name is replaced once: what
    the parts themselves hold is left alone. Raises KeyError on a name without a part.
    """
    shared = files("regrow.page")
    known = {
        "style": (shared / "style.css").read_text(encoding="utf-8"),
        "script": (shared / "script.js").read_text(encoding="utf-8"),
        "mark": (shared / "mark.svg").read_text(encoding="utf-8").strip(),
        "version": __version__,
        **parts,
    }
    text = (files(package) / template).read_text(encoding="utf-8")
    return _PART.sub(lambda match: known[match[1]], text)
