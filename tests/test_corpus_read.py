from __future__ import annotations

import gzip
import io
import os
import tarfile
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from read_kit import COMPRESS, PROSE, flip, noise, put, read_all, record

from regrow.corpus.extract import extract
from regrow.corpus.read import Problems, list_files, read_file
from regrow.corpus.readers import rows, streams
from regrow.errors import RegrowError

# --- which files, in which order ------------------------------------------------------------------


def test_files_are_listed_by_name_and_the_hidden_ones_passed_over(tmp_path: Path) -> None:
    for name in ("b/z.txt", "b/a.txt", "B.txt", "a.txt", ".git/x.txt", "a/__pycache__/x.txt"):
        put(tmp_path / name, "x")
    put(tmp_path / "b/LICENSE-MIT.md", "MIT License")
    files = list_files({"s": [tmp_path]})
    assert [file.name for file in files] == ["B.txt", "a.txt", "b/a.txt", "b/z.txt"]
    assert [file.licence for file in files] == ["", "", "MIT", "MIT"]
    assert {file.root for file in files} == {tmp_path.as_posix()}
    one_by_one = [page for file in files for page in read_file(file, "s", Problems())]
    assert one_by_one == read_all(tmp_path)[0]


def test_globs_reach_any_depth_and_a_file_named_twice_is_read_once(tmp_path: Path) -> None:
    for name in ("a/x.txt", "a/b/c/y.txt", "a/b/z.md", "a/.hidden/x.txt"):
        put(tmp_path / name, "x")
    names = [file.name for file in list_files({"s": [tmp_path / "a/**/*.txt", tmp_path / "a/*"]})]
    assert names == ["b/c/y.txt", "x.txt", "b/z.md"]
    with pytest.raises(RegrowError, match="no documents"):
        list_files({"s": [tmp_path / "*.nothing"]})
    with pytest.raises(RegrowError, match="does not exist"):
        list_files({"s": [tmp_path / "nothing"]})


def test_files_on_a_web_server_are_read_by_url_and_by_pattern(tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    put(tmp_path / "d/b.txt", "two")
    put(tmp_path / "d/x.jsonl.gz", gzip.compress(b'{"text": "one"}\n'))
    handler = partial(QuietHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}/d"
        try:
            for name, text in (("b.txt", "two"), ("*.gz", "one")):
                pages, problems = read_all(f"{root}/{name}")
                assert ([page.text for page in pages], problems.rows) == ([text], [])
        finally:
            server.shutdown()


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_urls_are_read_as_folders_files_and_globs() -> None:
    import fsspec

    fs = fsspec.filesystem("memory")
    for name, text in (("d/b.txt", b"two"), ("d/a/x.jsonl", b'{"text": "one"}\n')):
        fs.pipe_file(f"/regrow/{name}", text)
    fs.pipe_file("/regrow/d/COPYING", b"GNU General Public License")
    try:
        pages, problems = read_all("memory://regrow/d")
        found = [(page.text, page.location, page.licence) for page in pages]
        assert found == [("one", "a/x.jsonl:1", "GPL"), ("two", "b.txt", "GPL")]
        assert problems.rows == []
        assert [page.text for page in read_all("memory://regrow/d/**/*.txt")[0]] == ["two"]
        assert [page.text for page in read_all(Path("memory://regrow/d/b.txt"))[0]] == ["two"]
        with pytest.raises(RegrowError, match="nowhere"):
            read_all("memory://regrow/nowhere")
    finally:
        fs.rm("/regrow", recursive=True)


def test_links_pipes_and_what_is_not_allowed_are_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "a/good.txt", "good")
    put(tmp_path / "a/secret.txt", "secret")
    (tmp_path / "a/loop").symlink_to(tmp_path)
    (tmp_path / "a/self").symlink_to("self")
    (tmp_path / "a/gone.txt").symlink_to("nowhere.txt")
    os.mkfifo(tmp_path / "a/pipe.txt")
    if os.geteuid():
        (tmp_path / "a/secret.txt").chmod(0)
    else:  # root may read all
        real = open

        def refuse(path: str, *rest: object) -> object:
            if str(path).endswith("secret.txt"):
                raise PermissionError(13, "Permission denied", path)
            return real(path, *rest)  # type: ignore[call-overload]

        monkeypatch.setattr("builtins.open", refuse)
    pages, problems = read_all(tmp_path)
    assert [page.text for page in pages] == ["good"]
    assert problems.files == 6
    assert {Path(row["path"]).name: row["reason"].split(":")[0] for row in problems.rows} == {
        "gone.txt": "FileNotFoundError", "loop": "OSError", "pipe.txt": "OSError",
        "secret.txt": "PermissionError", "self": "OSError",
    }  # fmt: skip


# --- source trees ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "language"),
    [
        ("a.py", "x = 1\n", "python"),
        ("bin/tool", "#!/usr/bin/env python3\nprint(1)\n", "python"),
        ("bin/other", "#!/usr/bin/env -S LANG=C perl5.36 -w\n", "perl"),
        ("run", "#! /bin/bash -e\n", "shell"),
        ("a.CPP", "int x;\n", "c++"),
        ("Makefile", "all:\n", "makefile"),
        ("CMakeLists.txt", "project(x)\n", "cmake"),
        ("README", "Read me.\n", ""),
        ("a.txt", "#!/bin/sh is how scripts begin\n", ""),
        ("odd", "#!\n", ""),
    ],
)
def test_code_is_told_by_suffix_and_shebang(
    tmp_path: Path, name: str, text: str, language: str
) -> None:
    put(tmp_path / name, text)
    (page,), _ = read_all(tmp_path)
    assert (page.code_language, page.format) == (language, "code" if language else "")


def test_files_that_nobody_wrote_by_hand_are_left_out_and_counted(tmp_path: Path) -> None:
    tree = tmp_path / "vendor/project"  # the root itself may stand in such a folder
    files = {
        "src/main.js": "let x = 1;\n", "src/generator.py": '"""Makes generated code."""\nx = 1\n',
        "node_modules/x/i.js": "x\n", "lib/site-packages/a.py": "x\n", "a-1.dist-info/RECORD": "x",
        "yarn.lock": "x\n", "go.sum": "x\n", "src/a.min.js": "x\n",
        "src/b.js": "x = 1;" * 500, "src/data.json": '{"a": 1}' * 400 + "\n",
        "src/pb.py": "# Generated by the protocol buffer compiler.  DO NOT EDIT!\nx = 1\n",
        "src/pb.go": "// Code generated by stringer; DO NOT EDIT.\npackage x\n",
        "src/x.rs": "/* automatically generated by rust-bindgen */\n", "logo.png": b"\x89PNG\0\0",
    }  # fmt: skip
    for name, data in files.items():
        put(tree / name, data)
    pages, problems = read_all(tree)
    assert [page.location for page in pages] == ["src/generator.py", "src/main.js"]
    assert problems.rows == []
    assert problems.left_out["s"] == {
        "vendored": 3, "lock file": 2, "minified": 3, "generated": 3, "not text": 1,
    }  # fmt: skip
    both = Problems(files=1)
    both.merge(problems)
    assert (both.files, both.left_out) == (1 + len(files), problems.left_out)


# --- rows -----------------------------------------------------------------------------------------


def test_wrong_rows_are_set_aside_one_by_one(tmp_path: Path) -> None:
    lines = [
        b'{"text": "good", "url": 5, "domain": ["x"], "licence": NaN}', b'{"text": ["a"]}', b"7",
        b"NaN", b'["text"]', b'{"text": NaN}', b'{"text": "\xff"}', b"{", b"[" * 100_000, b"",
        b'{"text": "half \\ud800 pair"}', '{"text": "שלום e\u0301"}'.encode(), b"null",
        b'{"text": "x", "format": "code/Python"}',
    ]  # fmt: skip
    pages, problems = read_all(put(tmp_path / "a.jsonl", b"\xef\xbb\xbf" + b"\n".join(lines)))
    texts = ["good", "half \ufffd pair", "שלום e\u0301", "x"]
    assert [page.text for page in pages] == texts
    assert (pages[0].url, pages[0].licence, pages[3].code_language) == ("", "", "python")
    numbers = [int(row["path"].rpartition(":")[2]) for row in problems.rows]
    assert numbers == [2, 3, 4, 5, 6, 7, 8, 9, 13]


def test_a_line_without_end_is_set_aside_without_being_held(tmp_path: Path) -> None:
    import tracemalloc

    path = tmp_path / "a.jsonl"
    with open(path, "wb") as file:
        file.write(b'{"text": "before"}\n{"text": "')
        for _ in range(50):
            file.write(b"x" * (1 << 20))
        file.write(b'"}\n{"text": "after"}\n')
    tracemalloc.start()
    pages, problems = read_all(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [page.text for page in pages] == ["before", "after"]
    assert [row["path"] for row in problems.rows] == [f"{path}:2"]
    assert peak < 3 * rows.MAX_LINE


def test_parquet_rows_of_wrong_type_or_encoding_cost_themselves_only(tmp_path: Path) -> None:
    bad = pa.array([b"good", b"\xff\xfe", None, b"fine"]).view(pa.string())
    pq.write_table(pa.table({"text": bad}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": [["a"], ["b"]]}), tmp_path / "b.parquet")
    pq.write_table(pa.table({"words": ["a"]}), tmp_path / "c.parquet")
    pages, problems = read_all(tmp_path)
    assert [page.text for page in pages] == ["good", "fine"]
    assert [Path(row["path"]).name for row in problems.rows] == [
        "a.parquet:2", "a.parquet:3", "b.parquet:1", "b.parquet:2", "c.parquet",
    ]  # fmt: skip


def test_a_broken_row_group_costs_its_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    texts = [f"{i} {noise(i)[:400].decode()}" for i in range(30)]
    table = pa.table({"text": texts})
    pq.write_table(table, path, row_group_size=10, use_dictionary=False)
    column = pq.ParquetFile(path).metadata.row_group(1).column(0)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset : column.data_page_offset + 40] = b"\xff" * 40
    path.write_bytes(data)
    pages, problems = read_all(path)
    assert [page.text for page in pages] == texts[:10] + texts[20:]
    assert len(problems.rows) == 1 and "rows 11 to 20" in problems.rows[0]["reason"]


# --- archives and compression ---------------------------------------------------------------------


def zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def tarred(members: dict[str, bytes], compression: str = "") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=f"w:{compression}") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("p/link.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    return buffer.getvalue()


def members() -> dict[str, bytes]:
    table = pa.BufferOutputStream()
    pq.write_table(pa.table({"text": ["cell"]}), table)
    return {
        "p/a.py": b"x = 1\n", "p/LICENSE": b"MIT License", "p/b.jsonl": b'{"text": "row"}\nno\n',
        "p/c.warc.gz": gzip.compress(record(1)), "p/d.parquet": table.getvalue().to_pybytes(),
        "../out.txt": b"x", "/abs.txt": b"x", "p/node_modules/x.js": b"x\n", "p/.git/x": b"x",
        "p/in.zip": zipped({"e.txt": b"inner", "deep.zip": zipped({"f.txt": b"x"})}),
    }  # fmt: skip


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tgz", "tar.bz2", "tar.xz", "tar.zst"])
def test_archives_are_read_as_folders_are(tmp_path: Path, suffix: str) -> None:
    if suffix == "zip":
        data = zipped(members())
    elif suffix == "tar.zst":
        data = pa.compress(tarred(members()), codec="zstd", asbytes=True)
    else:
        data = tarred(members(), {"tgz": "gz"}.get(suffix, suffix[4:]))
    path = put(tmp_path / f"x.{suffix}", data)
    pages, problems = read_all(path)
    texts = [page.text or (page.body or b"").decode() for page in pages]
    assert texts == ["x = 1\n", "row", "<p>page</p>", "cell", "inner"]
    assert (pages[0].location, pages[0].licence, pages[0].domain) == (
        f"x.{suffix}/p/a.py", "MIT", f"x.{suffix}",
    )  # fmt: skip
    names = [row["path"].removeprefix(f"{path}/") for row in problems.rows]
    assert names == ["p/b.jsonl:2", "../out.txt", "/abs.txt", "p/in.zip/deep.zip"]
    left_out = {"vendored": 1} | ({} if suffix == "zip" else {"link or device": 1})
    assert problems.left_out["s"] == left_out


def test_a_broken_member_costs_itself_and_a_cut_archive_its_rest(tmp_path: Path) -> None:
    texts = {f"{i}.txt": noise(i) for i in range(4)}
    data = bytearray(zipped(texts))
    data[data.index(b"1.txt") + 600] ^= 255
    put(tmp_path / "a.zip", bytes(data))
    put(tmp_path / "b.tar", tarred(texts)[:6000])
    put(tmp_path / "c.zip", zipped(texts)[:-100])
    pages, problems = read_all(tmp_path)
    assert [page.location for page in pages] == [
        "a.zip/0.txt", "a.zip/2.txt", "a.zip/3.txt", "b.tar/0.txt",
    ]  # fmt: skip
    broken = {Path(row["path"]).name for row in problems.rows}
    assert broken >= {"1.txt", "c.zip"} and any("b.tar" in row["path"] for row in problems.rows)


@pytest.mark.parametrize("suffix", COMPRESS)
def test_compressed_files_are_read_and_bombs_are_not(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    compress = COMPRESS[suffix]
    monkeypatch.setattr(streams, "MAX_DOCUMENT", 1 << 20)
    put(tmp_path / f"a.txt.{suffix}", compress(PROSE.encode()))
    put(tmp_path / f"bomb.jsonl.{suffix}", compress(b'{"text": "one"}\n' + bytes(5 << 20)))
    put(tmp_path / f"cut.jsonl.{suffix}", compress(b'{"text": "one"}\n' + noise(1) * 3)[:-400])
    put(tmp_path / f"empty.txt.{suffix}", b"")
    put(tmp_path / "bomb.zip", zipped({"bomb.jsonl": bytes(5 << 20)}))
    pages, problems = read_all(tmp_path)
    assert pages[0].text == PROSE
    reasons = {Path(row["path"]).name: row["reason"] for row in problems.rows}
    assert "bomb" in reasons[f"bomb.jsonl.{suffix}"] and "bomb" in reasons["bomb.zip"]
    assert any(name.startswith("cut.jsonl") for name in reasons)


# --- totals ---------------------------------------------------------------------------------------

LINE = st.sampled_from(
    [b'{"text": "good"}', b'{"text": 5}', b"nonsense", b'{"text": "\xff"}', b"7", b'{"text": ""}']
)
BODY = st.binary(max_size=40) | st.sampled_from([PROSE.encode(), b"", b"\0\0", b"\xff\xfe"])
NAME = st.sampled_from(["a.txt", "b.py", "c.html", "d", "vendor/e.js", "f.min.js", "yarn.lock"])


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    lines=st.lists(LINE, max_size=6),
    files=st.dictionaries(NAME, BODY, min_size=1, max_size=5),
    damaged=st.lists(st.sampled_from(["", "flip", "long"]), max_size=5),
    container=st.sampled_from(["folder", "zip", "tar.gz"]),
)
def test_what_is_offered_is_yielded_set_aside_or_left_out(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[bytes],
    files: dict[str, bytes],
    damaged: list[str],
    container: str,
) -> None:
    kinds = {
        "": lambda i: gzip.compress(record(i, noise(i))),
        "flip": lambda i: flip(gzip.compress(record(i, noise(i)))),
        "long": lambda i: gzip.compress(record(i, noise(i), 999)),
    }
    all_files = {
        **files,
        "rows.jsonl": b"\n".join(lines),
        "crawl.warc.gz": b"".join(kinds[kind](i) for i, kind in enumerate(damaged)),
    }
    folder = tmp_path_factory.mktemp("in")
    if container == "folder":
        for name, data in all_files.items():
            put(folder / name, data)
    else:
        data = zipped(all_files) if container == "zip" else tarred(all_files, "gz")
        put(folder / f"x.{container}", data)
    pages, problems = read_all(folder)
    left_out = sum(problems.left_out.get("s", {}).values()) - (container == "tar.gz")
    offered = len(lines) + len(files) + len(damaged)
    assert len(pages) + len(problems.rows) + left_out == offered
    assert read_all(folder)[0] == pages


SUFFIXES = [
    "txt", "html", "py", "jsonl", "warc", "warc.gz", "wet", "parquet", "zip", "tar", "tar.gz",
    "tar.xz", "txt.zst", "json.bz2",
]  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    data=st.binary(max_size=300),
    start=st.sampled_from(
        [b"", b"WARC/1.0\r\n", b"PK\x03\x04", b"PAR1", b"\x1f\x8b\x08", b'{"text']
    )
    | st.binary(max_size=3),
    suffix=st.sampled_from(SUFFIXES),
)
def test_no_bytes_can_stop_the_reader(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, start: bytes, suffix: str
) -> None:
    pages, _ = read_all(put(tmp_path_factory.mktemp("in") / f"x.{suffix}", start + data))
    for page in pages:
        extract(page)
        page.text.encode()
