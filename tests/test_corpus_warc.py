from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest
from read_kit import COMPRESS, flip, ids, noise, put, read_all, record

from regrow.corpus.readers import streams


@pytest.mark.parametrize(
    ("damage", "kept"),
    [
        (lambda m: m, ["0", "1", "2", "3"]),
        (lambda m: [m[0], flip(m[1]), m[2], m[3]], ["0", "2", "3"]),
        (lambda m: [m[0], flip(m[1]), flip(m[2]), m[3]], ["0", "3"]),
        (lambda m: [flip(m[0]), *m[1:]], ["1", "2", "3"]),
        (lambda m: [m[0], m[1][:700], *m[2:]], ["0", "2", "3"]),
        (lambda m: [*m[:3], m[3][:700]], ["0", "1", "2"]),
        (lambda m: [*m[:2], b"\x1f\x8b\x08 no member " * 90, *m[2:]], ["0", "1", "2", "3"]),
        (lambda m: [m[0], gzip.compress(record(1, noise(1), 99)), *m[2:]], ["0", "2", "3"]),
        (lambda m: [m[0], gzip.compress(record(1, noise(1), 10**5)), *m[2:]], ["0", "2", "3"]),
        (lambda m: [m[0], gzip.compress(record(1, noise(1), -9)), *m[2:]], ["0", "2", "3"]),
    ],
)
def test_reading_a_warc_goes_on_after_damage(
    tmp_path: Path, damage: Callable[[list[bytes]], list[bytes]], kept: list[str]
) -> None:
    members = [gzip.compress(record(i, noise(i))) for i in range(4)]
    broken = damage(members)
    pages, problems = read_all(put(tmp_path / "a.warc.gz", b"".join(broken)))
    assert ids(pages) == kept
    assert [page.body for page in pages] == [noise(int(i)) for i in kept]
    lost = sum(member not in members for member in broken)
    assert len(problems.rows) == lost, problems.rows


def test_a_plain_warc_is_taken_up_again_at_the_next_record(tmp_path: Path) -> None:
    good = [record(i, noise(i)) for i in range(5)]
    lies = [record("long", noise(7), 10**6), record("short", noise(8), -20)]
    data = b"".join([good[0], lies[0], good[1], lies[1], good[2], b"x\0\xff" * 99, b"\n", good[3]])
    pages, problems = read_all(put(tmp_path / "a.warc", data + good[4][:-900]))
    assert ids(pages) == ["0", "1", "3"]  # 2 seems as broken as what follows it
    assert len(problems.rows) == 4


@pytest.mark.parametrize("suffix", ["gz", "zst", "xz", "bz2"])
def test_a_warc_that_is_compressed_whole_is_read_and_if_cut_counted(
    tmp_path: Path, suffix: str
) -> None:
    data = b"".join(record(i, noise(i)) for i in range(4))
    path = put(tmp_path / f"a.warc.{suffix}", COMPRESS[suffix](data))
    pages, problems = read_all(path)
    assert (ids(pages), problems.rows) == (["0", "1", "2", "3"], [])
    pages, problems = read_all(put(path, path.read_bytes()[:-900]))
    assert len(problems.rows) == 1


def test_twins_among_record_ids_get_names_of_their_own(tmp_path: Path) -> None:
    data = b"".join(record(i) for i in (1, 1, 2, 1))
    assert ids(read_all(put(tmp_path / "a.warc", data))[0]) == ["1", "1>#2", "2", "1>#3"]


@pytest.mark.parametrize(
    ("head", "body", "found"),
    [
        (b"Content-Encoding: gzip\r\n", gzip.compress(b"<p>hi</p>", mtime=0), b"<p>hi</p>"),
        (b"Content-Encoding: gzip\r\n", b"<p>a lie</p>", b"<p>a lie</p>"),
        (b"Content-Encoding: br\r\n", b"<p>a lie</p>", b"<p>a lie</p>"),
        (b"Content-Encoding: deflate\r\n", "<p>ü</p>".encode(), "<p>ü</p>".encode()),
        (b"Content-Length: 3\r\n", b"<p>longer</p>", b"<p>longer</p>"),
        (
            b"Transfer-Encoding: chunked\r\n",
            b"4\r\n<p>h\r\n5;x\r\ni</p>\r\n0\r\n\r\n",
            b"<p>hi</p>",
        ),
        (b"Transfer-Encoding: chunked\r\n", b"<p>unpacked</p>", b"<p>unpacked</p>"),
        (b"Content-Encoding: gzip\r\n", gzip.compress(noise(1), mtime=0)[:-300], None),
        (
            b"Content-Encoding: gzip\r\n",
            gzip.compress(bytes(streams.MAX_DOCUMENT + 1), 1, mtime=0),
            None,
        ),
    ],
    ids=["gzip", "no gzip", "no brotli", "no deflate", "short length", "chunked", "not chunked",
         "cut gzip", "bomb"],
)  # fmt: skip
def test_http_bodies_are_unpacked_if_they_are_packed(
    tmp_path: Path, head: bytes, body: bytes, found: bytes | None
) -> None:
    data = record(1, body, head=head) + record(2)
    pages, problems = read_all(put(tmp_path / "a.warc", data))
    assert [page.body for page in pages] == ([found] if found else []) + [b"<p>page</p>"]
    assert len(problems.rows) == (found is None)
