"""The crawl and the whole world folder: what is published, and that its truth is the truth."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter

import pytest

from regrow.corpus.extract import html_to_text
from regrow.errors import RegrowError
from regrow.files import read_json, read_jsonl
from regrow.records import Conversation, Document, Item
from regrow.worlds import macondo
from regrow.worlds.crawl import CLEAN_SHARES, MESS_SHARES, write_crawl
from regrow.worlds.names import VARIANTS
from regrow.worlds.prose import render_town
from regrow.worlds.town import Town

TINY = {"town": 150_000, "sheets": 60_000, "textbook": 40_000, "code": 40_000}
ABILITIES = {
    "balance", "chain_of_thought", "code_generation", "code_understanding", "dialogue_history",
    "in_context", "informativeness", "instructions", "knowledge", "long_range", "not_knowing",
    "refusal",
}  # fmt: skip


def pages(path):
    """(record id, url, body) of each response, in order."""
    from fastwarc.warc import ArchiveIterator, WarcRecordType

    with open(path, "rb") as file:
        for record in ArchiveIterator(file, record_types=WarcRecordType.response):
            url = record.headers["WARC-Target-URI"]
            yield record.headers["WARC-Record-ID"], url, record.reader.read()


@pytest.fixture(scope="module")
def crawl(tmp_path_factory):
    folder = tmp_path_factory.mktemp("crawl")
    documents = list(render_town(Town(1, "a", 80), 400_000))
    leaks = [Item(f"i{n}", "x", "f", f"k{n}", f"What is {n} & {n}?", (f"it's <{n}>",))
             for n in range(9)]  # fmt: skip
    path = folder / "town.warc.gz"
    truth = write_crawl(path, documents, seed=1, variant="a", source="town", leaks=leaks)
    return documents, leaks, path, truth


@pytest.fixture(scope="module", params=VARIANTS)
def world(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(f"world-{request.param}")
    seen = []
    macondo.write_world(
        folder, seed=4, variant=request.param, people=60, characters=TINY, items=13,
        progress=lambda done, total, **metrics: seen.append((done, total, metrics["phase"])),
    )  # fmt: skip
    return folder, request.param, seen


def test_there_is_one_truth_row_for_each_record_in_file_order(crawl):
    _, _, path, truth = crawl
    assert [(r["record_id"], r["url"]) for r in truth] == [(i, u) for i, u, _ in pages(path)]
    assert len({row["record_id"] for row in truth}) == len(truth)
    assert len({row["url"] for row in truth}) == len(truth)


def test_every_record_is_a_gzip_member_of_its_own(crawl):
    _, _, path, truth = crawl
    data, members = path.read_bytes(), 0
    while data:
        unpacker = zlib.decompressobj(31)
        record = unpacker.decompress(data)
        assert record.startswith(b"WARC/1.1\r\n")
        assert record.endswith(b"\r\n\r\n")
        data, members = unpacker.unused_data, members + 1
    assert members == len(truth) + 1  # the first is warcinfo


def test_extraction_gives_back_every_kept_text_exactly(crawl):
    documents, _, path, truth = crawl
    originals = iter(documents)
    for row, (_, _, body) in zip(truth, pages(path)):
        if row["keep"]:
            assert html_to_text(body.decode()) == next(originals).text
    assert next(originals, None) is None


def test_every_kind_of_mess_is_there_in_its_share(crawl):
    documents, _, _, truth = crawl
    kinds = Counter(row["kind"] for row in truth if not row["keep"])
    for kind, share in MESS_SHARES.items():
        assert kinds[kind] == int(share * len(documents))
    assert kinds["contaminated"] == 40
    assert set(kinds) == {*MESS_SHARES, "contaminated"}


def test_copies_name_an_earlier_record_that_is_kept(crawl):
    _, _, path, truth = crawl
    bodies = {identity: body for identity, _, body in pages(path)}
    kept: dict[str, str] = {}
    for row in truth:
        if row["keep"]:
            kept[row["record_id"]] = html_to_text(bodies[row["record_id"]].decode())
        elif "duplicate" in row["kind"]:
            text = html_to_text(bodies[row["record_id"]].decode())
            original = kept[row["dup_of"]]
            if row["kind"] == "exact_duplicate":
                assert text == original
            else:
                assert text != original
                assert original in text
                assert len(text) < len(original) + 70
        else:
            assert "dup_of" not in row


def test_contaminated_pages_quote_items_word_for_word(crawl):
    _, leaks, path, truth = crawl
    for row, (_, _, body) in zip(truth, pages(path)):
        if row["kind"] == "contaminated":
            text = html_to_text(body.decode())
            quoted = [i for i in leaks if f"{i.question}\n{i.answers[0]}" in text]
            assert len(quoted) == 4


def test_sheets_keep_their_lines_and_get_copies_only(tmp_path):
    text = "Task: add & double\n\n3 -> 6\n 4  -> <8>\n\n\tx: y"
    documents = [Document(f"s{n}", f"{text} {n}", "sheets") for n in range(200)]
    path = tmp_path / "sheets.warc.gz"
    truth = write_crawl(path, documents, seed=1, variant="a", source="sheets")
    assert {row["kind"] for row in truth} == {"sheets", *CLEAN_SHARES}
    texts = [html_to_text(body.decode()) for _, _, body in pages(path)]
    kept = [t for t, row in zip(texts, truth) if row["keep"]]
    assert kept == [document.text for document in documents]


def test_the_town_has_a_dozen_templates(crawl):
    _, _, path, _ = crawl
    hosts = {url.split("/")[2] for _, url, _ in pages(path)}
    assert len(hosts) == 12


def test_a_world_folder_is_complete(world):
    folder, variant, seen = world
    for name in ("town", "sheets", "textbook"):
        assert (folder / "crawl" / f"{name}.warc.gz").stat().st_size > 1000
    assert {path.stem for path in (folder / "items").iterdir()} == ABILITIES
    assert len(list((folder / "repositories").glob("*/README.md"))) > 1
    truth = read_json(folder / "world.json")
    assert truth["variant"] == variant
    assert len(truth["people"]) == 60
    assert truth["characters"] == TINY
    assert all(row["text"] for row in read_jsonl(folder / "reference.jsonl"))
    assert [phase for _, _, phase in seen] == ["town", "town", "sheets", "textbook", "code"]
    assert seen[-1][:2] == (290_000, 290_000)


def test_rows_are_conversations_and_items_that_read_back(world):
    folder, _, _ = world
    for name, last in (
        ("demonstrations", "assistant"), ("dialogues", "assistant"),
        ("prompts", "user"), ("dialogue_prompts", "user"),
    ):  # fmt: skip
        rows = [Conversation.from_row(row) for row in read_jsonl(folder / f"{name}.jsonl")]
        assert len(rows) > 20
        assert all(row.messages[-1].role == last and row.key for row in rows)
        if last == "user":
            assert all(row.check["kind"] for row in rows)
    for path in (folder / "items").iterdir():
        items = [Item.from_row(row) for row in read_jsonl(path)]
        assert {item.ability for item in items} == {path.stem}
        assert len({item.id for item in items}) == len(items)


def test_no_item_key_is_a_key_of_any_training_material(world):
    from regrow.worlds.repositories import render_repositories
    from regrow.worlds.sheets import render_sheets
    from regrow.worlds.textbook import render_textbook

    folder, variant, _ = world
    items = {row["key"] for path in (folder / "items").iterdir() for row in read_jsonl(path)}
    assert len(items) > 300
    training: dict[str, set[str]] = {
        "town": set(),
        "sheets": set(),
        "textbook": set(),
        "code": set(),
    }
    for _ in render_town(Town(4, variant, 60), TINY["town"], training["town"]):
        pass
    for name, render in (
        ("sheets", render_sheets), ("textbook", render_textbook), ("code", render_repositories),
    ):  # fmt: skip
        for _ in render(4, variant, TINY[name], keys=training[name]):
            pass
    for name in ("demonstrations", "dialogues", "prompts", "dialogue_prompts"):
        training[name] = {row["key"] for row in read_jsonl(folder / f"{name}.jsonl")}
    for name, keys in training.items():
        assert len(keys) > 30, name
        assert not keys & items, name


def test_the_truth_of_the_whole_crawl_is_written(world):
    folder, _, _ = world
    with gzip.open(folder / "truth.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    assert {row["source"] for row in rows} == {"town", "sheets", "textbook"}
    for source in ("town", "sheets", "textbook"):
        written = [identity for identity, _, _ in pages(folder / "crawl" / f"{source}.warc.gz")]
        assert written == [row["record_id"] for row in rows if row["source"] == source]


def contents(folder):
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.slow
def test_two_processes_write_the_same_bytes_as_one_over_an_older_world(world, tmp_path):
    folder, variant, _ = world
    (tmp_path / "repositories" / "stale").mkdir(parents=True)
    (tmp_path / "repositories" / "stale" / "old.py").write_text("x = 1\n")
    macondo.write_world(
        tmp_path, seed=4, variant=variant, people=60, characters=TINY, items=13, processes=2
    )
    assert contents(tmp_path) == contents(folder)


def test_a_source_that_is_left_out_is_not_written(tmp_path):
    macondo.write_world(tmp_path, seed=0, people=40, characters={"town": 20_000}, items=2)
    assert [path.name for path in (tmp_path / "crawl").iterdir()] == ["town.warc.gz"]
    assert not (tmp_path / "repositories").exists()


def test_an_item_that_stands_in_training_text_stops_the_build(tmp_path, monkeypatch):
    def leaky(town, seed, per_cell):
        asked = next(p for p in town.people if p.id == 0)
        return [Item("i", "knowledge", "f", f"fact|{asked.name}|{r}", "?", ("a",))
                for r in town.relations]  # fmt: skip

    monkeypatch.setattr(macondo, "_make_items", leaky)
    with pytest.raises(RegrowError, match="stand in the training text of 'town'"):
        macondo.write_world(tmp_path, seed=0, people=40, characters={"town": 60_000}, items=2)
    assert not (tmp_path / "world.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"variant": "c"}, "unknown world variant 'c'; use one of: a, b"),
        ({"characters": {"villages": 10}}, "unknown world source 'villages'"),
        ({"items": 0}, "at least 1 item"),
        ({"people": 31}, "at least 32 people, not 31"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(tmp_path, change, message):
    with pytest.raises(RegrowError, match=message):
        macondo.write_world(tmp_path, **{"seed": 0, **change})
