"""Builds of everything that people have: kinds of files, broken ones, traps, workers that die."""

import gzip
import io
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_kit import SMALL, story, write_jsonl
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow.corpus.build import build
from regrow.corpus.engine import Processes, Watch, without_culprit
from regrow.corpus.page import Page
from regrow.corpus.read import Problems, read
from regrow.corpus.settings import CorpusSettings
from regrow.errors import RegrowError


def test_every_kind_of_file_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.txt").write_text("plain")
    (folder / "b.md").write_text("# mark")
    (folder / "c.html").write_text("<p>page</p>")
    with gzip.open(folder / "d.jsonl.gz", "wt") as file:
        file.write(json.dumps({"text": "row", "url": "http://x.example/1", "source": "s"}) + "\n")
    pq.write_table(pa.table({"text": ["cell"], "licence": ["CC0-1.0"]}), folder / "e.parquet")
    with pa.output_stream(str(folder / "f.jsonl.zst"), compression="zstd") as file:
        file.write(b'{"text": "squeezed"}\n')
    (folder / "g.py").write_text("x = 1\n")
    (folder / ".hidden.txt").write_text("hidden")
    problems = Problems()
    pages = list(read({"all": [folder]}, problems))
    texts = [page.text or (page.body or b"").decode() for page in pages]
    assert texts == ["plain", "# mark", "<p>page</p>", "row", "cell", "squeezed", "x = 1\n"]
    assert (pages[3].url, pages[3].domain, pages[4].licence) == (
        "http://x.example/1",
        "s",
        "CC0-1.0",
    )
    assert pages[6].format == "code"
    assert problems.rows == []


def test_warc_records_carry_status_type_and_url(tmp_path: Path) -> None:
    from fastwarc.warc import WarcRecord, WarcRecordType

    with open(tmp_path / "x.warc", "wb") as file:
        for status in (b"200 OK", b"404 Not Found"):
            record = WarcRecord()
            record.init_headers(record_type=WarcRecordType.response)
            record.headers["WARC-Target-URI"] = "http://a.example/p"
            record.headers["Content-Type"] = "application/http; msgtype=response"
            head = b"HTTP/1.1 " + status + b"\r\nContent-Type: text/html; charset=utf-8\r\n\r\n"
            record.set_bytes_content(head + b"<p>hello</p>")
            record.write(file)
    pages = list(read({"web": [tmp_path / "x.warc"]}, Problems()))
    assert [page.status for page in pages] == [200, 404]
    assert pages[0].body == b"<p>hello</p>"
    assert (pages[0].content_type, pages[0].charset) == ("text/html", "utf-8")
    assert pages[0].url == "http://a.example/p"


def test_unreadable_files_and_rows_are_set_aside_with_the_reason(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with gzip.GzipFile(fileobj=buffer, mode="wb") as file:
        file.write(b'{"text": "one"}\n' * 4000)
    cut: dict[str, bytes] = {
        "binary.txt": b"ab\0cd",
        "broken.parquet": b"PAR1 no",
        "broken.warc.gz": b"hello world",
        "cut.jsonl.gz": buffer.getvalue()[:-20],
        "rows.jsonl": b'{"text": "good"}\n{"text": 5}\n{"txt": "x"}\nnot json\n',
    }
    for name, data in cut.items():
        (tmp_path / name).write_bytes(data)
    problems = Problems()
    pages = list(read({"web": [tmp_path]}, problems))
    assert {Path(row["path"]).name for row in problems.rows} == {
        "binary.txt", "broken.parquet", "broken.warc.gz", "cut.jsonl.gz",
        "rows.jsonl:2", "rows.jsonl:3", "rows.jsonl:4",
    }  # fmt: skip
    assert all(row["reason"] for row in problems.rows)
    assert pages[-1].text == "good"


def test_an_address_that_cannot_be_split_costs_nothing(tmp_path: Path) -> None:
    urls = ["http://[foo/", "http://example.com＃@x.com/", "http://a.example/p"]
    rows = [{"text": story(i), "url": url} for i, url in enumerate(urls)]
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    build({"web": [tmp_path / "in.jsonl"]}, tmp_path / "out", SMALL)
    decisions = pq.read_table(tmp_path / "out/decisions.parquet").to_pylist()
    assert [row["domain"] for row in decisions] == ["web", "web", "a.example"]


def test_bad_input_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    write_jsonl(tmp_path / "short.jsonl", ["a", "b"])
    wrong: list[tuple[dict[str, list[Path]], dict[str, Any], str]] = [
        ({}, {}, "no sources"),
        ({"web": [tmp_path / "empty"]}, {}, "no documents for source 'web'"),
        ({"web": [tmp_path / "none"]}, {}, "does not exist"),
        ({"web": [tmp_path / "*.warc"]}, {}, "no documents for source 'web'"),
        ({"a/b": [tmp_path]}, {}, "no source name"),
        ({"web": [tmp_path / "short.jsonl"]}, {}, r"no document survived: rules: too short \(2\)"),
        ({"web": [tmp_path]}, {"quality": {"sources": ["town"]}}, "names 'town', which is no"),
    ]
    for inputs, asked, message in wrong:
        with pytest.raises(RegrowError, match=message):
            build(inputs, tmp_path / "out", CorpusSettings.model_validate(asked))
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="qualty"):
        CorpusSettings.model_validate({"qualty": {}})


def shout(pages: list[Page], watch: Watch) -> list[str]:
    for page in watch.over(pages, "extract"):
        while page.text == "trap":
            pass
        page.text += "!"
    return [page.reason or page.text for page in pages]


def test_a_page_that_is_too_slow_is_left_out_of_a_small_build_too(tmp_path: Path) -> None:
    good = [story(i) for i in range(8)]
    slow = f"<html><body>{'<p>a <b>b</b> &amp; c <a href=x>y</a></p>' * 100_000}</body></html>"
    pages = [slow, *(f"<html><body><p>{text}</p></body></html>" for text in good)]
    (tmp_path / "in").mkdir()
    for i, page in enumerate(pages):
        (tmp_path / f"in/{i}.html").write_text(page)
    limits = SMALL.model_copy(update={"time_limit_s": 0.1})
    report = build({"web": [tmp_path / "in"]}, tmp_path / "out", limits)
    told = report["funnel"]["sources"]["web"]
    assert (told["reasons"], told["kept"]) == ({"extract: too slow": 1}, 8)


@pytest.mark.slow
def test_a_page_that_traps_the_parser_costs_itself_only(tmp_path: Path) -> None:
    tasks = [
        [Page("web", str(i), text="trap" if i in (8, 9, 31) else f"p{i}") for i in range(n, n + 10)]
        for n in range(0, 40, 10)
    ]
    engine = Processes(2, 0.5, tmp_path)
    done: list[int] = []
    try:
        found = [text for own in engine.map(shout, tasks, done.append) for text in own]
    finally:
        engine.close()
    traps = {8, 9, 31}
    assert found == ["extract: too slow" if i in traps else f"p{i}!" for i in range(40)]
    assert done == [1, 2, 3, 4]


def whose(task: int, watch: Watch) -> int:
    return os.getpid()


@pytest.mark.slow
def test_workers_go_after_many_tasks_with_the_memory_that_they_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("regrow.corpus.engine.MANY", 3)
    engine = Processes(1, 60.0, tmp_path)
    try:
        few, many, after = (engine.map(whose, range(n), lambda _: None) for n in (2, 3, 1))
    finally:
        engine.close()
    assert {*few} == {*many} and {*after} != {*many}


def test_a_worker_that_dies_without_a_page_to_blame_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "at").write_bytes(b"")
    with pytest.raises(RegrowError, match="a worker process died"):
        without_culprit(Watch(tmp_path / "at", 1.0))


ROWS = st.one_of(
    st.fixed_dictionaries({"text": st.text(max_size=300)}),
    st.sampled_from([{"text": story(i)} for i in range(6)]),
    st.sampled_from([{"text": None}, {"text": [1]}, {"words": "x"}, 5, None, "text", [], {}]),
)


@given(rows=st.lists(ROWS, max_size=40), junk=st.lists(st.binary(max_size=60), max_size=5))
@settings(max_examples=12, deadline=None)
def test_what_was_read_is_kept_left_out_or_set_aside(rows: list[Any], junk: list[bytes]) -> None:
    lines = [json.dumps(row).encode() for row in rows] + [line.replace(b"\n", b"") for line in junk]
    lines = [line for line in lines if line.strip()]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.jsonl"
        good = json.dumps({"text": story(99)}).encode()
        path.write_bytes(b"\n".join([*lines, good]))
        report = build({"web": [path]}, Path(folder) / "out", SMALL)
        decisions = pq.read_table(Path(folder) / "out/decisions.parquet").to_pylist()
    funnel, web = report["funnel"], report["funnel"]["sources"]["web"]
    assert web["read"] + funnel["set_aside"] == len(lines) + 1
    assert web["kept"] + sum(web["reasons"].values()) == web["read"] == len(decisions)
    assert sum(row["kept"] for row in decisions) == web["kept"]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").is_dir(), reason="looks at processes in /proc")
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "in.jsonl", [story(i) for i in range(3000)])
    code = (
        "import regrow.corpus.build as b, pathlib, sys\n"
        "b.SMALL = 0\n"
        "b.tokens.tokenise = lambda *_: (print('here', flush=True), __import__('time').sleep(99))\n"
        "if __name__ == '__main__':\n"
        "    folder = pathlib.Path(sys.argv[1])\n"
        "    settings = b.CorpusSettings.model_validate({'jobs': 2})\n"
        "    b.build({'web': [folder / 'in.jsonl']}, folder / 'out', settings)\n"
    )
    script = tmp_path / "run.py"
    script.write_text(code)
    parent = subprocess.Popen([sys.executable, script, tmp_path], stdout=subprocess.PIPE)
    assert parent.stdout is not None and parent.stdout.readline() == b"here\n"
    listed = subprocess.run(
        ["ps", "--ppid", f"{parent.pid}", "-o", "pid="], capture_output=True, text=True, check=True
    )
    workers = [int(pid) for pid in listed.stdout.split()]
    parent.kill()
    parent.wait()
    assert len(workers) >= 2
    for _ in range(600):
        if not any(Path(f"/proc/{pid}/cmdline").is_file() for pid in workers):
            break
        time.sleep(0.1)
    assert not any(Path(f"/proc/{pid}/cmdline").is_file() for pid in workers)
