"""The licence that a LICENSE file names."""

from __future__ import annotations

import re

LICENCE_FILE = re.compile(r"(licen[cs]e|copying|unlicense)(-[\w.]+?)?(\.(txt|md|rst))?", re.I)
LICENCES = (
    ("Apache-2.0", "apache license"),
    ("MIT", "permission is hereby granted, free of charge"),
    ("MIT", "mit license"),
    ("BSD", "redistribution and use in source and binary forms"),
    ("AGPL", "gnu affero general public license"),
    ("LGPL", "gnu lesser general public license"),
    ("LGPL", "gnu library general public license"),
    ("GPL", "gnu general public license"),
    ("GFDL", "gnu free documentation license"),
    ("MPL-2.0", "mozilla public license version 2.0"),
    ("MPL-2.0", "mozilla public license, version 2.0"),
    ("MPL-2.0", "mozilla public license, v. 2.0"),
    ("MPL", "mozilla public license"),
    ("CC0-1.0", "cc0"),
)


def is_licence_file(name: str) -> bool:
    """Whether a file of this name (without folders) holds a licence."""
    return LICENCE_FILE.fullmatch(name) is not None


def licence_of(text: bytes) -> str:
    """The SPDX name or family of a licence text; "other" where none is known.

    The name that stands first is the text's own, others are licences that it may be combined with.
    """
    words = " ".join(text.decode("utf-8", "replace").lower().split())
    found = [(words.index(sign), name) for name, sign in LICENCES if sign in words]
    return min(found, key=lambda one: one[0], default=(0, "other"))[1]


def licence_above(name: str, known: dict[str, str]) -> str:
    """The licence of the nearest folder above a file, or ''; `known` has those by folder."""
    folder = name
    while folder:
        folder = folder.rpartition("/")[0]
        if folder in known:
            return known[folder]
    return ""
