from __future__ import annotations

import gzip
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from regrow.corpus.build import build
from regrow.corpus.parallel import map_pages
from regrow.corpus.read import Page, Problems, read
from regrow.corpus.settings import CorpusSettings, DeduplicateSettings, QualitySettings
from regrow.corpus.shards import Shards
from regrow.corpus.tokenizer import Tokenizer
from regrow.errors import RegrowError
from regrow.files import read_json, read_jsonl
from regrow.records import Item

SHARED = Path(os.environ.get("REGROW_SHARED", Path(__file__).parents[2] / "shared")) / "data"
SMALL = CorpusSettings.model_validate({"tokenizer": {"vocabulary": 400}, "jobs": 1})


def story(i: int) -> str:
    return (
        f"Story {i} is about person{i} of the town. In the year {1900 + i} she lived in street{i} "
        f"and had a pet{i}. The people of the square said that dish{i} was what she liked best."
    )


def write_jsonl(path: Path, texts: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    return path


@pytest.fixture()
def inputs(tmp_path: Path) -> dict[str, list[Path]]:
    stories = [story(i) for i in range(120)]
    write_jsonl(tmp_path / "in/web/a.jsonl", [*stories, story(7), "Archive"])
    code = tmp_path / "in/code/tools/src"
    code.mkdir(parents=True)
    (code.parent / "LICENSE").write_text(
        "MIT License\n\nPermission is hereby granted, free of charge"
    )
    for i in range(8):
        body = (
            f"def shift{i}(x):\n    y{i} = x + {i}\n    return y{i} * {i}\n\n\nprint(shift{i}(2))\n"
        )
        (code / f"f{i}.py").write_text(body)
    return {"web": [tmp_path / "in/web"], "code": [tmp_path / "in/code"]}


def test_a_build_writes_documents_decisions_heldout_tokens_and_a_report(
    inputs: dict[str, list[Path]], tmp_path: Path
) -> None:
    report = build(inputs, tmp_path / "out", SMALL)
    out = tmp_path / "out"
    assert read_json(out / "report.json") == report
    assert report["funnel"]["sources"]["web"]["kept"] == 120
    assert report["funnel"]["sources"]["web"]["reasons"] == {
        "exact copy: of another": 1,
        "rules: too short": 1,
    }
    assert [row["documents"] for row in report["funnel"]["stages"]] == [
        130,
        130,
        130,
        129,
        *[128] * 4,
    ]
    documents = pq.read_table(out / "documents/code.parquet").to_pylist()
    assert {row["licence"] for row in documents} == {"MIT"}
    assert {row["format"] for row in documents} == {"code"}
    decisions = pq.read_table(out / "decisions.parquet").to_pylist()
    assert sum(row["kept"] for row in decisions) == 128
    copy = next(row for row in decisions if row["stage"] == "exact copy")
    original = next(row for row in decisions if row["id"] == copy["detail"])
    assert (original["location"], copy["location"]) == ("a.jsonl:8", "a.jsonl:121")
    assert report["diversity"]["before"]["documents"] == 130
    assert report["diversity"]["after"]["documents"] == 128


def test_every_kept_document_is_in_a_shard_or_held_out_and_never_both(
    inputs: dict[str, list[Path]], tmp_path: Path
) -> None:
    build(inputs, tmp_path / "out", SMALL)
    shards = Shards.open(tmp_path / "out", verify=True)
    tokenizer = Tokenizer.load(tmp_path / "out")
    heldout = {row["id"] for row in read_jsonl(tmp_path / "out/heldout.jsonl")}
    assert len(heldout) == 1  # 1 % of 120 and of 8
    for source in ("web", "code"):
        rows = pq.read_table(tmp_path / f"out/documents/{source}.parquet").to_pylist()
        texts = {row["id"]: row["text"] for row in rows}
        ids = list(shards.document_ids(source))
        assert set(ids) == texts.keys() - heldout
        offsets = shards.offsets(source)
        for id_, start, stop in zip(ids, offsets[:-1], offsets[1:], strict=True):
            assert tokenizer.decode(shards.tokens(source)[start : stop - 1]) == texts[id_]


def test_two_builds_are_equal_and_a_second_replaces_the_first(
    inputs: dict[str, list[Path]], tmp_path: Path
) -> None:
    def snapshot() -> dict[str, bytes]:
        build(inputs, tmp_path / "out", SMALL)
        files = (path for path in (tmp_path / "out").rglob("*") if path.is_file())
        return {path.name: path.read_bytes() for path in files if path.name != "report.json"}

    first = snapshot()
    (tmp_path / ".out.partial/left").mkdir(parents=True)  # by a killed build
    assert snapshot() == first
    assert not (tmp_path / ".out.partial").exists()


def test_items_are_kept_out_and_every_hit_is_reported(
    inputs: dict[str, list[Path]], tmp_path: Path
) -> None:
    question = "In the year 1905 she lived in which street of the old town by the sea"
    item = Item("k1", "knowledge", "f", "k", question, ("street5",))
    leaked = f"Answers to the test. {question} street5. I copied this for all of you."
    write_jsonl(tmp_path / "in/web/b.jsonl", [leaked])
    report = build(inputs, tmp_path / "out", SMALL, items=[item])
    found = report["contamination"]
    assert (found["items_hit"], found["documents_hit"]) == ({"knowledge": 1}, 1)
    assert found["hits"][0]["item"] == "k1" and found["hits"][0]["text"].startswith("In the year")
    assert report["funnel"]["sources"]["web"]["reasons"]["contaminated: dropped"] == 1
    spared = SMALL.model_copy(
        update={"decontaminate": SMALL.decontaminate.model_copy(update={"sources": ("code",)})}
    )
    report = build(inputs, tmp_path / "out", spared, items=[item])
    assert report["contamination"]["documents_left"] == {"web": {"knowledge": 1}}
    assert report["funnel"]["sources"]["web"]["kept"] == 121


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
    for inputs, settings, message in wrong:
        with pytest.raises(RegrowError, match=message):
            build(inputs, tmp_path / "out", CorpusSettings.model_validate(settings))
    assert not (tmp_path / "out").exists()
    with pytest.raises(ValueError, match="qualty"):
        CorpusSettings.model_validate({"qualty": {}})


def slow_page(pages: list[Page]) -> list[Page]:
    for page in pages:
        while page.text == "trap":
            pass
        page.text += "!"
    return pages


@pytest.mark.slow
def test_a_page_that_traps_the_parser_costs_itself_only() -> None:
    pages = [Page("web", str(i), text="trap" if i == 70 else f"p{i}") for i in range(300)]
    done = [p for b in map_pages(slow_page, pages, 2, 1.0, "extract") for p in b]
    assert [page.location for page in done] == [str(i) for i in range(300)]
    assert [page.location for page in done if page.reason == "extract: too slow"] == ["70"]
    assert sum(page.text.endswith("!") for page in done) == 299


def needs(name: str) -> Callable[..., Any]:
    return pytest.mark.skipif(
        not (SHARED / name).exists(), reason=f"{name} is not there; set REGROW_SHARED"
    )


@pytest.mark.slow
@needs("messy_crawl")
def test_a_crawl_of_known_truth_is_cleaned(tmp_path: Path) -> None:
    crawl = SHARED / "messy_crawl"
    trusted = {row["record_id"]: row["main_text"] for row in
               read_jsonl(crawl / "main_text_sample.jsonl.gz")}  # fmt: skip
    reference = write_jsonl(tmp_path / "trusted.jsonl", list(trusted.values()))
    items = [
        Item(f"mmlu-{i}", "mmlu", "mmlu", str(i), row["question"], tuple(row["choices"]))
        for i, row in enumerate(read_jsonl(SHARED / "mmlu/data.jsonl.gz"))
    ]
    settings = CorpusSettings(
        quality=QualitySettings(sources=("web",)), deduplicate=DeduplicateSettings(threshold=0.5)
    )
    paths = [crawl / "crawl.warc.gz", crawl / "truncated.warc.gz"]
    report = build({"web": paths}, tmp_path / "out", settings, items=items, reference=[reference])
    assert "cut inside record" in report["problems"][0]["reason"]

    decisions: dict[str, dict[str, Any]] = {}
    for row in pq.read_table(tmp_path / "out/decisions.parquet").to_pylist():
        decisions.setdefault(row["location"], row)
    truth = [r for r in read_jsonl(crawl / "truth.jsonl.gz") if r["record_id"] not in trusted]
    kept = [decisions[row["record_id"]]["kept"] for row in truth]
    right = sum(is_kept and row["keep"] for is_kept, row in zip(kept, truth, strict=True))
    precision, recall = right / sum(kept), right / sum(row["keep"] for row in truth)
    print(f"messy crawl: precision {precision:.3f}, recall {recall:.3f}")
    assert precision > 0.9
    assert recall > 0.88

    def left(kind: str) -> int:
        return sum(k for k, row in zip(kept, truth, strict=True) if row["kind"] == kind)

    for kind in ("soft_404", "http_error", "redirect", "non_html", "seo_spam"):
        assert left(kind) == 0
    assert left("boilerplate_only") <= 1  # of 39
    assert left("malformed_html") == 3


@pytest.mark.slow
@needs("corpus_sample")
def test_real_documents_of_many_kinds_mostly_survive(tmp_path: Path) -> None:
    settings = CorpusSettings.model_validate({"tokenizer": {"vocabulary": 4096}})
    report = build({"books": [SHARED / "corpus_sample/data.jsonl.gz"]}, tmp_path / "out", settings)
    source = report["funnel"]["sources"]["books"]
    assert source["kept"] / source["read"] > 0.93
    assert report["tokens"]["sources"]["books"]["bytes_per_token"] > 3
    assert report["diversity"]["after"]["domain"]["distinct"] > 30
