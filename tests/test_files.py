"""JSON lines that people and broken downloads give."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from regrow.errors import RegrowError
from regrow.files import read_jsonl, write_jsonl


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"a": 1}\n[1, 2]\n', "line 2 is no JSON object but list"),
        (b'{"a": 1}\n{"b"\n', "line 2 is not valid JSON"),
        (b"\x80\x81\xff" * 9, "cannot be read after line 0"),
    ],
)
def test_what_is_no_row_is_named_with_its_line(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    with pytest.raises(RegrowError, match=re.escape(f"{path} {told}")):
        list(read_jsonl(path))


def test_a_download_that_broke_off_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    write_jsonl(path, ({"row": number} for number in range(9999)))
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(RegrowError, match="cannot be read after line"):
        list(read_jsonl(path))
    path.write_bytes(b"no gzip at all")
    with pytest.raises(RegrowError, match="cannot be read after line 0"):
        list(read_jsonl(path))
    path.write_bytes(gzip.compress(b""))  # no rows, but no error
    assert list(read_jsonl(path)) == []
