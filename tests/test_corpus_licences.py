"""Licences are told by the name that a text gives itself, whichever others it mentions later."""

from __future__ import annotations

from pathlib import Path

import pytest

from regrow.corpus.readers.licences import licence_of

DEBIAN = Path("/usr/share/common-licenses")


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("GNU GENERAL PUBLIC LICENSE\nVersion 3\n\n13. Use with the GNU Affero General Public "
         "License.", "GPL"),
        ("GNU GENERAL PUBLIC LICENSE\nVersion 2\n\nuse the GNU Lesser General\nPublic License "
         "instead of this License.", "GPL"),
        ("GNU LESSER GENERAL PUBLIC LICENSE\nVersion 3\n\nthe terms of version 3 of the GNU "
         "General Public License", "LGPL"),
        ("GNU LIBRARY GENERAL PUBLIC LICENSE\n\nthe ordinary GNU General Public License", "LGPL"),
        ("GNU AFFERO GENERAL PUBLIC LICENSE\n\nversion 3 of the GNU General Public License",
         "AGPL"),
        ("Mozilla Public License Version 2.0\n\n1.12. means either the GNU General Public License, "
         "Version 2.0", "MPL-2.0"),
        ("MOZILLA PUBLIC LICENSE\nVersion 1.1\n\n13. dual-licensed under the GNU General Public "
         "License", "MPL"),
        ("GNU Free Documentation License\n\nthe GNU\nGeneral Public License", "GFDL"),
        ("The MIT License\n\nPermission is hereby granted, free of\ncharge, to any person", "MIT"),
        ("All rights reserved.", "other"),
    ],
)  # fmt: skip
def test_a_licence_is_the_one_that_is_named_first(text: str, name: str) -> None:
    assert licence_of(text.encode()) == name


@pytest.mark.skipif(not DEBIAN.is_dir(), reason="Debian's licence texts are not there")
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("Apache-2.0", "Apache-2.0"), ("BSD", "BSD"), ("CC0-1.0", "CC0-1.0"), ("GPL-1", "GPL"),
        ("GPL-2", "GPL"), ("GPL-3", "GPL"), ("LGPL-2", "LGPL"), ("LGPL-2.1", "LGPL"),
        ("LGPL-3", "LGPL"), ("GFDL-1.3", "GFDL"), ("MPL-1.1", "MPL"), ("MPL-2.0", "MPL-2.0"),
    ],
)  # fmt: skip
def test_whole_texts_are_told_as_well(file: str, name: str) -> None:
    assert licence_of((DEBIAN / file).read_bytes()) == name
