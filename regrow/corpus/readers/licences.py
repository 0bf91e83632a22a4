"""The licence that a LICENSE file names."""

from __future__ import annotations

import re

LICENCE_FILE = re.compile(r"(licen[cs]e|copying|unlicense)(-[\w.]+?)?(\.(txt|md|rst))?", re.I)
LICENCES = (
    ("Apache-2.0", "apache license"),
    ("MIT", "permission is hereby granted, free of charge"),
    ("BSD", "redistribution and use in source and binary forms"),
    ("AGPL", "gnu affero general public license"),
    ("LGPL", "gnu lesser general public license"),
    ("GPL", "gnu general public license"),
    ("MPL-2.0", "mozilla public license"),
    ("CC0-1.0", "cc0"),
    ("MIT", "mit license"),
)


def is_licence_file(name: str) -> bool:
    """Whether a file of this name (without folders) holds a licence."""
    return LICENCE_FILE.fullmatch(name) is not None


def licence_of(text: bytes) -> str:
    """The SPDX name or family of a licence text; "other" where none is known."""
    words = text.decode("utf-8", "replace").lower()
    return next((name for name, sign in LICENCES if sign in words), "other")


def licence_above(name: str, known: dict[str, str]) -> str:
    """The licence of the nearest folder above a file, or ''; `known` has those by folder."""
    folder = name
    while folder:
        folder = folder.rpartition("/")[0]
        if folder in known:
            return known[folder]
    return ""
