from __future__ import annotations

import errno
import importlib.util
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_kit import SMALL, Here, story, write_jsonl
from pydantic import ValidationError

from regrow.corpus.build import build, damaged
from regrow.corpus.engine import Watch
from regrow.corpus.page import Page
from regrow.corpus.parts import Growing, read_pages
from regrow.corpus.settings import (
    CorpusSettings,
    DeduplicateSettings,
    QualitySettings,
    RuleSettings,
)
from regrow.corpus.shards import Shards
from regrow.corpus.stages import pages
from regrow.corpus.tokenizer import Tokenizer
from regrow.errors import RegrowError
from regrow.files import read_json, read_jsonl
from regrow.records import Item

SHARED = Path(os.environ.get("REGROW_SHARED", Path(__file__).parents[2] / "shared")) / "data"
PARTS = SMALL.model_copy(update={"part_mb": 0.004})  # eight parts of what `inputs` gives


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
    stages = {row["stage"]: row["documents"] for row in report["funnel"]["stages"]}
    assert stages == {
        "read": 130, "extract": 130, "language": 130, "rules": 129, "exact copy": 128,
        "near copy": 128, "contaminated": 128,
    }  # fmt: skip
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


def snapshot(folder: Path) -> dict[str, bytes]:
    """The bytes of every file but those that hold times."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in files
        if path.name not in ("report.json", "checksums.json")
    }


def test_a_build_that_was_killed_goes_on_to_the_same_bytes(
    inputs: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(inputs, tmp_path / "whole", PARTS)
    whole = snapshot(tmp_path / "whole")
    replace, left, kills = os.replace, 0, 0

    def killed(source: Any, target: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        replace(source, target)

    monkeypatch.setattr(os, "replace", killed)
    monkeypatch.setattr("regrow.corpus.build._engine", lambda *_: Here())
    while not (tmp_path / "out").exists():
        left = 5 + kills // 2
        try:
            build(inputs, tmp_path / "out", PARTS)
        except KeyboardInterrupt:
            kills += 1
    assert kills >= 10
    assert snapshot(tmp_path / "out") == whole
    assert not (tmp_path / ".out.work").exists()


def test_a_part_that_is_damaged_in_between_is_made_anew(
    inputs: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(inputs, tmp_path / "whole", PARTS)
    with monkeypatch.context() as patch:
        patch.setattr("regrow.corpus.build.tokens.tokenise", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            build(inputs, tmp_path / "out", PARTS)
    parts = sorted((tmp_path / ".out.work").rglob("*.parquet"))
    assert len(parts) > 50
    for path in parts[::5]:
        path.write_bytes(path.read_bytes()[:-9])
    build(inputs, tmp_path / "out", PARTS)
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "whole")


@pytest.mark.parametrize(("group", "groups"), [(1 << 20, 1), (100, 20), (250, 7)])
def test_a_file_grows_in_groups_however_small_its_tables(
    group: int, groups: int, tmp_path: Path
) -> None:
    file = Growing(tmp_path / "grown.parquet", group=group)
    for i in range(20):
        file.add(pa.table({"number": [*range(13 * i, 13 * i + 13)]}))  # 104 bytes
    file.close()
    grown = pq.ParquetFile(tmp_path / "grown.parquet")
    assert grown.read()["number"].to_pylist() == [*range(260)]
    assert grown.num_row_groups == groups


def test_a_part_that_memory_does_not_suffice_for_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def starve(path: Path) -> None:
        raise pa.ArrowMemoryError(f"malloc failed for {path.name}")

    monkeypatch.setattr(pq, "ParquetFile", starve)
    with pytest.raises(MemoryError, match=r"part\.parquet"):
        read_pages(tmp_path / "part.parquet")


def test_a_finished_build_is_left_alone_until_it_is_damaged_or_asked_for_differently(
    inputs: dict[str, list[Path]], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = build(inputs, out, SMALL)
    made = (out / "decisions.parquet").stat().st_mtime_ns
    assert build(inputs, out, SMALL) == first
    assert (out / "decisions.parquet").stat().st_mtime_ns == made
    whole = snapshot(out)
    (out / "tokens/web.bin").write_bytes(b"\0" * (out / "tokens/web.bin").stat().st_size)
    assert damaged(out) == ["tokens/web.bin"]
    build(inputs, out, SMALL)
    assert damaged(out) == []
    assert snapshot(out) == whole
    other = SMALL.model_copy(update={"stages": ("rules",)})
    report = build(inputs, out, other)
    assert [row["stage"] for row in report["funnel"]["stages"]] == ["read", "extract", "rules"]


def test_a_build_whose_named_files_changed_is_made_anew(
    inputs: dict[str, list[Path]], tmp_path: Path
) -> None:
    words = tmp_path / "bad.txt"
    words.write_text("person7\n")
    rules = {"sets": ["c4"], "bad_words": str(words)}
    settings = SMALL.model_copy(update={"rules": RuleSettings.model_validate(rules)})
    build(inputs, tmp_path / "out", settings)
    before = snapshot(tmp_path / "out")
    words.write_text("person8\n")  # of the same size
    with pytest.raises(RegrowError, match="other documents or settings"):
        build(inputs, tmp_path / "out", settings, replace=False)
    build(inputs, tmp_path / "out", settings)
    assert snapshot(tmp_path / "out") != before


@pytest.mark.parametrize(
    ("changes", "reference"),
    [
        ({"rules": {"bad_words": "nowhere"}}, None),
        ({"tokenizer": {"path": "nowhere"}}, None),
        ({}, "nowhere"),
    ],
)
def test_a_named_file_that_is_missing_is_told_before_anything_is_read(
    inputs: dict[str, list[Path]], tmp_path: Path, changes: dict[str, Any], reference: str | None
) -> None:
    trusted = [tmp_path / reference] if reference else []
    with pytest.raises(RegrowError, match="nowhere"):
        build(inputs, tmp_path / "out", CorpusSettings.model_validate(changes), reference=trusted)
    assert not (tmp_path / ".out.work").exists()


def test_a_stage_that_stands_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="'rules' stands twice"):
        CorpusSettings.model_validate({"stages": ["rules", "near copy", "rules"]})


def test_a_second_build_into_the_same_folder_is_refused_and_costs_the_first_nothing(
    inputs: dict[str, list[Path]], tmp_path: Path
) -> None:
    from regrow.files import lock

    work = tmp_path / ".out.work"
    with lock(work):
        (work / "raw").mkdir()
        with pytest.raises(RegrowError, match="in use by process"):
            build(inputs, tmp_path / "out", SMALL)
        assert (work / "raw").is_dir()
    build(inputs, tmp_path / "out", SMALL)


def test_the_bytes_do_not_depend_on_how_much_a_task_compares(
    inputs: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copies = [f"{story(i)} Note {n} of the town clerk." for i in range(0, 60, 3) for n in range(3)]
    write_jsonl(tmp_path / "in/web/b.jsonl", copies)
    stages = ("exact copy", "near copy", "repeated lines")
    some = PARTS.model_copy(update={"stages": stages})
    report = build(inputs, tmp_path / "whole", some)
    assert report["near_copies"]["removed"] >= 40
    for stage, name in (
        ("exact", "DOCUMENTS"), ("near", "DOCUMENTS"), ("repeats", "UNITS"), ("pages", "ROWS"),
    ):  # fmt: skip
        monkeypatch.setattr(f"regrow.corpus.stages.{stage}.BUCKET_{name}", 80)
    again = build(inputs, tmp_path / "buckets", some)
    assert again["near_copies"] == report["near_copies"]
    assert snapshot(tmp_path / "buckets") == snapshot(tmp_path / "whole")


class Panic(BaseException):
    """What a parser written in Rust raises where it gives up: no Exception."""


@pytest.mark.parametrize("raised", [Panic, ValueError])
def test_what_a_parser_raises_costs_its_page_only(
    inputs: dict[str, list[Path]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    raised: type[BaseException],
) -> None:
    def extract(page: Page) -> None:
        if "Story 7 " in page.text:
            raise raised("too deep")
        parsed(page)

    parsed = pages.extract
    monkeypatch.setattr(pages, "extract", extract)
    monkeypatch.setattr("regrow.corpus.build._engine", lambda *_: Here())
    told = build(inputs, tmp_path / "out", SMALL)["funnel"]["sources"]["web"]
    assert told["reasons"]["extract: parser error"] == 2  # it stands there twice
    assert told["kept"] == 119


def test_a_full_disk_is_one_clear_error_and_the_build_goes_on_afterwards(
    inputs: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(inputs, tmp_path / "whole", PARTS)
    real, left = pq.write_table, 0

    def full(table: pa.Table, where: Any, *rest: Any, **options: Any) -> None:
        nonlocal left
        left -= 1
        if left < 0:
            Path(where).write_bytes(b"PAR1 half")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(where))
        real(table, where, *rest, **options)

    monkeypatch.setattr(pq, "write_table", full)
    monkeypatch.setattr("regrow.corpus.build._engine", lambda *_: Here())
    for written in (0, 5, 20):
        left = written
        with pytest.raises(RegrowError, match="No space left on device; free space and run again"):
            build(inputs, tmp_path / "out", PARTS)
        assert not (tmp_path / "out").exists()
    left = 1000
    build(inputs, tmp_path / "out", PARTS)
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "whole")


def engines() -> list[Any]:
    ray = pytest.mark.skipif(
        importlib.util.find_spec("ray") is None, reason="ray is not installed (regrow[ray])"
    )
    return [("local", 1), ("local", 3), pytest.param(("ray", 2), marks=ray)]


@pytest.mark.slow
@pytest.mark.parametrize("engine", engines())
def test_the_bytes_do_not_depend_on_who_does_the_work(
    inputs: dict[str, list[Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    engine: tuple[str, int],
) -> None:  # fmt: skip
    build(inputs, tmp_path / "here", PARTS)
    monkeypatch.setattr("regrow.corpus.build.SMALL", 0)
    kind, jobs = engine
    settings = PARTS.model_copy(update={"engine": kind, "jobs": jobs})
    build(inputs, tmp_path / "out", settings)
    assert snapshot(tmp_path / "out") == snapshot(tmp_path / "here")


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
    assert list(read_jsonl(tmp_path / "out/contamination.jsonl")) == found["hits"]
    assert found["hits"][0]["item"] == "k1" and found["hits"][0]["text"].startswith("In the year")
    assert report["funnel"]["sources"]["web"]["reasons"]["contaminated: dropped"] == 1
    spared = SMALL.model_copy(
        update={"decontaminate": SMALL.decontaminate.model_copy(update={"sources": ("code",)})}
    )
    report = build(inputs, tmp_path / "out", spared, items=[item])
    assert report["contamination"]["documents_left"] == {"web": {"knowledge": 1}}
    (hit,) = read_jsonl(tmp_path / "out/contamination.jsonl")
    assert (hit["item"], hit["pieces_kept"]) == ("k1", None)
    assert report["funnel"]["sources"]["web"]["kept"] == 121


def judged(**more: Any) -> CorpusSettings:
    return SMALL.model_copy(update={"quality": QualitySettings(sources=("web",)), **more})


def test_a_reference_of_html_is_learnt_from(inputs: dict[str, list[Path]], tmp_path: Path) -> None:
    trusted = tmp_path / "trusted"
    trusted.mkdir()
    for i in range(20):
        (trusted / f"{i}.html").write_text(f"<html><body><p>{story(i)}</p></body></html>")
    report = build(inputs, tmp_path / "out", judged(), reference=[trusted])
    assert report["quality"]["used"] and report["quality"]["reference"] == 20


def test_a_reference_that_cannot_be_learnt_from_is_one_clear_error(
    inputs: dict[str, list[Path]], tmp_path: Path
) -> None:
    few = write_jsonl(tmp_path / "few.jsonl", [story(i) for i in range(19)])
    broken = tmp_path / "broken.parquet"
    broken.write_bytes(b"PAR1 no")
    empty = tmp_path / "empty.html"
    empty.write_text("<html><body></body></html>")
    for path, told in (
        (few, "holds 19 texts of the 20"),
        (broken, r"holds 0 texts of the 20 .*; .*broken\.parquet: Arrow"),
        (empty, r"holds 0 texts of the 20 .*; empty\.html: extract: empty"),
    ):
        with pytest.raises(RegrowError, match=told):
            build(inputs, tmp_path / "out", judged(), reference=[path])


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
    assert "cut inside" in report["problems"][0]["reason"]

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


def test_a_worker_killed_after_its_last_page_blames_no_page(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "watch", 60.0)
    pages = watch.over([Page("web", "a", text="one"), Page("web", "b", text="two")], "rules")
    next(pages)
    next(pages)
    assert watch.culprit() == 1
    assert next(pages, None) is None
    assert watch.culprit() is None
