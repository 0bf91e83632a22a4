"""The page of a corpus and the command that builds one, as a person meets them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from regrow.corpus.inspect.decisions import likeness, read_decisions, scores
from regrow.corpus.inspect.documents import mark_shared
from regrow.corpus.inspect.funnel import stages
from regrow.corpus.inspect.page import inspect
from regrow.corpus.items import read_items
from regrow.errors import RegrowError
from regrow.files import read_json, write_json, write_jsonl
from regrow.records import Item
from regrow.tree.corpus import Request, load_settings, parse_inputs

SHARED = Path(os.environ.get("REGROW_SHARED", Path(__file__).parents[2] / "shared")) / "data"
CRAWL = SHARED / "messy_crawl" / "crawl.warc.gz"
BASE = {
    "location": "l", "source": "web", "url": "", "domain": "a.org", "format": "prose",
    "language": "en", "detail": "", "kept": True, "stage": "", "reason": "", "characters": 10,
    "quality": None, "head": "",
}  # fmt: skip


def decide(id_: str, **fields: Any) -> dict[str, Any]:
    row = {**BASE, "id": id_, "head": f"head of {id_}", **fields}
    row["kept"] = not row["stage"]
    return row


ROWS = [
    *(decide(f"good{i}", quality=0.9) for i in range(12)),
    *(decide(f"code{i}", source="code", format="code", language="") for i in range(3)),
    *(decide(f"short{i}", stage="rules", reason="too short", characters=2) for i in range(9)),
    decide("gone", stage="extract", reason="http status 4xx", characters=0, head=""),
    *(decide(f"twin{i}", stage="exact copy", reason="of another", detail="good0")
      for i in range(5)),
    decide("like", stage="near copy", reason="of another", detail="good1 0.871"),
    decide("leak", stage="contaminated", reason="cut into pieces", detail="quiz|1"),
    decide("leak-1", characters=6),
]  # fmt: skip
HIT = {
    "document": "leak", "source": "web", "url": "http://leak.example", "item": "quiz|1",
    "ability": "quiz", "text": "who was the baker of the town?", "pieces_kept": 1,
}  # fmt: skip
REPORT = {
    "funnel": {"stages": [{"stage": s, "documents": 0} for s in (
        "read", "extract", "language", "rules", "exact copy", "quality", "near copy",
        "contaminated")]},
    "tokens": {"vocabulary": 400, "sources": {"web": {"tokens": 77, "bytes_per_token": 3.1}},
               "fertility": {"language": {"en": {"tokens_per_word": 1.25}}}},
    "contamination": {"items": 4, "items_too_short": 1, "documents_hit": 1, "hits": [HIT]},
    "problems": [{"source": "web", "path": "broken.gz", "reason": "EOFError: at 17"}],
    "seconds": {"read": 1.5, "extract": 200.0},
}  # fmt: skip


def built(
    folder: Path, rows: Sequence[Mapping[str, Any]] = ROWS, drop: Sequence[str] = (), **report: Any
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    kept = [{key: value for key, value in row.items() if key not in drop} for row in rows]
    pq.write_table(pa.Table.from_pylist(kept), folder / "decisions.parquet")
    (folder / "report.json").write_text(json.dumps(REPORT | report))
    return folder


class Words(HTMLParser):
    """The text of a page, and whether its elements close in order."""

    VOID = frozenset({"meta", "link", "br", "line", "circle", "path", "rect"})

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in self.VOID:
            return
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] not in ("style", "script"):
            self.text.append(data)


def seen(folder: Path, items: Sequence[Item] = (), seed: int = 0) -> str:
    html = inspect(folder, items, seed).read_text(encoding="utf-8")
    words = Words()
    words.feed(html)
    assert (words.wrong, words.open) == ([], [])
    return re.sub(r"\s+", " ", " ".join(words.text))


def call(*words: str) -> tuple[int, str, str]:
    from regrow.cli import main

    out, errors, code = io.StringIO(), io.StringIO(), 0
    old, sys.argv = sys.argv, ["regrow", *words]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            main()
        except SystemExit as exit_:
            code = exit_.code if isinstance(exit_.code, int) else 0
        finally:
            sys.argv = old
    return code, out.getvalue(), errors.getvalue()


def test_the_funnel_counts_what_each_stage_left_of_each_source(tmp_path: Path) -> None:
    rows = stages(read_decisions(built(tmp_path)), REPORT)
    left = {stage: {n: (a.documents, a.characters) for n, a in by.items()} for stage, by in rows}
    assert left["read"] == {"web": (29, 208), "code": (3, 30)}
    assert left["extract"]["web"] == (28, 208)
    assert left["rules"]["web"] == (19, 190)
    assert left["exact copy"]["web"] == (14, 140)
    assert left["contaminated"] == {"web": (12, 120), "code": (3, 30)}  # the piece left out


def test_the_page_tells_counts_reasons_texts_and_times(tmp_path: Path) -> None:
    text = seen(built(tmp_path))
    assert "Of 32 documents 15 were kept (47%)" in text
    assert "“rules: too short” (9)" in text
    assert "Removed, 6 of 9 at random" in text
    assert len(set(re.findall(r"head of short\d", text))) == 6
    assert "1 clean pieces of contaminated documents were kept" in text
    assert "No text was kept of this document." in text
    assert "tokens per word en 1.25" in text
    assert "EOFError: at … 1" in text
    assert "3 min" in text


def test_samples_are_drawn_by_seed_alone(tmp_path: Path) -> None:
    folder, backward = built(tmp_path / "a"), built(tmp_path / "b", ROWS[::-1])
    shown = [
        {row["id"] for row in read_decisions(where, seed=seed).removed["rules", "too short"]}
        for where, seed in ((folder, 0), (backward, 0), (folder, 1))
    ]
    assert shown[0] == shown[1] != shown[2]


def test_a_cluster_shows_its_survivor_beside_the_copies(tmp_path: Path) -> None:
    found = read_decisions(built(tmp_path))
    clusters = [(n, survivor and survivor["id"], len(rows)) for n, survivor, rows in found.clusters]
    assert clusters == [(5, "good0", 4), (1, "good1", 1)]
    text = seen(tmp_path)
    assert "6 alike" in text and "Copies, 4 of 5" in text
    assert "near copy, likeness 0.87" in text and "exact copy, likeness 1.00" in text


def test_a_survivor_column_is_taken_at_its_word(tmp_path: Path) -> None:
    rows = [
        decide("a", survivor="", scores='{"words": 4.5}'),
        decide("b", survivor="a", stage="near copy", scores='{"jaccard": 0.9}'),
    ]
    ((count, survivor, members),) = read_decisions(built(tmp_path, rows)).clusters
    assert (count, survivor and survivor["id"], likeness(members[0])) == (1, "a", 0.9)
    assert "words 4.5" in seen(tmp_path)


@pytest.mark.parametrize(
    "told", ['{"a": 1, "b": null}', [("a", 1), ("b", None)], {"a": 1, "b": None}]
)
def test_scores_are_read_however_they_are_stored(told: Any) -> None:
    assert scores({"scores": told, "quality": None}) == {"a": 1}


def test_item_and_passage_stand_side_by_side_with_shared_words_marked(tmp_path: Path) -> None:
    first, second = mark_shared("Ask: who was the <baker>?", "So who WAS the baker, then")
    assert first == "Ask: <mark>who was the &lt;baker</mark>&gt;?"
    assert second == "So <mark>who WAS the baker</mark>, then"
    assert "Its text is not at hand." in seen(built(tmp_path))
    item = Item("quiz|1", "quiz", "f", "k", "Tell me: who was the baker of the town?", ("Rosa",))
    assert "Tell me:" in seen(tmp_path, [item])


def test_an_item_text_in_the_report_needs_no_file(tmp_path: Path) -> None:
    hit = HIT | {"item_text": "Sworn: who was the baker of the town?"}
    told = REPORT["contamination"] | {"hits": [hit]}  # type: ignore[operator]
    assert "Sworn:" in seen(built(tmp_path, contamination=told))
    told["hits"] = [hit | {"pieces_kept": None}]
    assert "left as it is" in seen(built(tmp_path / "left", contamination=told))


def test_diversity_is_told_before_and_after_in_all_and_by_source(tmp_path: Path) -> None:
    found = read_decisions(built(tmp_path))
    before, after = found.before.summary(), found.after.summary()
    assert before["documents"] == 31 and after["documents"] == 16
    assert before["near_copies"] == {"documents": 1, "rate": round(1 / 31, 5)}
    assert after["sources"]["code"]["format"]["shares"] == {"code": 1.0}
    assert after["quality"][18] == 12  # 0.9 in bins of 0.05
    growth = {"words": 3000, "distinct": 500, "growth": [[1000, 300], [3000, 500]]}
    text = seen(built(tmp_path, diversity={"after": {"vocabulary": growth}}))
    assert "after 500 distinct words" in text
    assert "3.2% 1 of 31 documents" in text


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    evil = "<script>alert(1)</script> {{version}} </pre> \u202e 'x\" onclick='y"
    rows = [
        decide("a", head=evil, url=evil, source="w'<b>", domain=evil),
        decide("b", head=evil, stage="rules", reason=evil, detail=evil),
    ]
    text = seen(built(tmp_path, rows, problems=[{"path": evil, "reason": evil + "\ud800"}]))
    html = (tmp_path / "inspect.html").read_text()
    assert html.count("<script") == 1 and "<script>alert(1)</script> {{version}}" in text
    assert not re.search(r"<[^>]* onclick='y", html)


def test_the_page_needs_no_network(tmp_path: Path) -> None:
    html = inspect(built(tmp_path)).read_text()
    assert not re.search(r"""(src|href)=["']?(https?:)?//|url\(|@import""", html)


def test_old_builds_with_few_columns_are_shown_as_far_as_they_go(tmp_path: Path) -> None:
    folder = built(tmp_path, drop=("head", "quality", "url", "detail", "domain", "location"))
    write_json(folder / "report.json", {})
    text = seen(folder)
    for said in (
        "No text was kept of this document.", "No evaluation items were given",
        "No document was scored", "did not count words", "did not measure its tokenizer",
        "Everything could be read.", "wrote no times", "No copies were found.",
    ):  # fmt: skip
        assert said in text


def test_kept_heads_come_from_the_documents_where_decisions_hold_none(tmp_path: Path) -> None:
    built(tmp_path, drop=("head",))
    (tmp_path / "documents").mkdir()
    texts = {"id": ["good0", "code1"], "text": ["the kept text " * 60, "print(1)"]}
    pq.write_table(pa.table(texts), tmp_path / "documents" / "web.parquet")
    found = read_decisions(tmp_path)
    heads = {row["id"]: row["head"] for row in found.survivors["code"]}
    assert heads["code1"] == "print(1)"
    survivor = found.clusters[0][1]
    assert survivor and len(survivor["head"]) == 400


def test_rejects_are_grouped_by_reason(tmp_path: Path) -> None:
    rows = [{"source": "web", "path": f"f{i}", "reason": f"cut at byte {i}"} for i in range(8)]
    built(tmp_path)
    write_jsonl(tmp_path / "rejects" / "part-0.jsonl", rows)
    text = seen(tmp_path)
    assert "cut at byte … 8" in text and "web: f4" in text and "web: f5" not in text


def test_nothing_kept_and_nothing_removed_are_shown(tmp_path: Path) -> None:
    gone = [decide("a", stage="rules", reason="too short")]
    assert "Of 1 documents 0 were kept (0%)" in seen(built(tmp_path / "gone", gone))
    assert "All 1 documents were kept." in seen(built(tmp_path / "all", [decide("a")]))


def test_a_folder_without_a_build_is_one_line(tmp_path: Path) -> None:
    code, _, errors = call("corpus", "inspect", str(tmp_path))
    assert code == 1 and len(errors.splitlines()) == 1
    assert "holds no report.json; give a folder that `regrow corpus build` wrote" in errors


def story(i: int) -> str:
    return (
        f"Story {i} is about person{i} of the town. In the year {1900 + i} she lived in street{i} "
        f"and had a pet{i}. The people of the square said that dish{i} was what she liked best."
    )


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    rows = [{"text": story(i)} for i in [*range(40), 3]]
    write_jsonl(tmp_path / "texts" / "a.jsonl", rows)
    write_jsonl(tmp_path / "quiz" / "b.jsonl", [{"question": story(5), "answer": "yes"}])
    return tmp_path


def test_build_says_where_evaluation_items_are_left(texts: Path) -> None:
    write_jsonl(texts / "web" / "c.jsonl", [{"text": story(50)}])
    code, shown, _ = call(
        "corpus", "build", "--input", f"town={texts / 'texts'}", "--output", str(texts / "out"),
        "--input", f"web={texts / 'web'}",
        "--decontaminate", str(texts / "quiz"), "--vocabulary", "400", "--jobs", "1",
        "decontaminate.sources=[web]", "heldout_share=0",
    )  # fmt: skip
    assert code == 0 and "town: 40 of 41 documents kept" in shown
    said = "holds evaluation items, as decontaminate.sources does not name it: b in 1 documents"
    assert said in " ".join(shown.split())


def test_build_shows_the_funnel_and_what_to_try_next(texts: Path) -> None:
    out = texts / "out"
    code, shown, errors = call(
        "corpus", "build", "--input", f"town={texts / 'texts'}", "--output", str(out),
        "--decontaminate", str(texts / "quiz"), "--vocabulary", "400", "--jobs", "1",
        "heldout_share=0",
    )  # fmt: skip
    assert code == 0
    assert errors.split("\n")[0] == "corpus: read"  # one line a phase where there is no terminal
    assert errors.strip().endswith("corpus: done")
    assert re.search(r"exact copy +█+ +40 +-1", shown)
    assert re.search(r"contaminated +█+ +39 +-1", shown)
    assert "town: 39 of 41 documents kept" in shown
    assert f"regrow corpus inspect {out} --open" in shown
    assert call("corpus", "inspect", str(out))[1] == f"{out / 'inspect.html'}\n"
    report = read_json(out / "report.json")
    assert set(report["diversity"]["after"]["sources"]) == {"town"}
    for stage, by_source in stages(read_decisions(out), report):
        (told,) = (r for r in report["funnel"]["stages"] if r["stage"] == stage)
        assert by_source["town"].documents == told["documents"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "no documents are given; name some, as in --input web=crawl.warc.gz"),
        (("nowhere",), "nowhere does not exist"),
        (("--input", "web="), "'web=' is no input; write PATH or name=PATH"),
        (("texts", "deduplcate.threshold=1"), "unknown key 'deduplcate'; did you mean"),
        (("texts", "deduplicate.threshold=2"), "'deduplicate.threshold': input should be less"),
        (("texts", "--recipe", "gone.yaml"), "cannot read recipe gone.yaml"),
        (("texts", "--decontaminate", "gone*.jsonl"), "gone*.jsonl holds no items"),
        (("texts/a.jsonl", "--decontaminate", "texts/b.jsonl"), "would be trained on; quote"),
        (("texts", "--decontaminate", "odd.jsonl"), "odd.jsonl line 1 has no question"),
    ],
)
def test_bad_input_is_one_line_with_the_fix(
    texts: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], says: str
) -> None:
    monkeypatch.chdir(texts)
    write_jsonl(Path("texts/b.jsonl"), [{"text": "beside"}])
    write_jsonl(Path("odd.jsonl"), [{"name": "x"}])
    code, _, errors = call("corpus", "build", *words, "--output", "out")
    assert code == 1 and says in errors
    assert len(errors.strip().splitlines()) == 1
    assert not Path("out").exists()


def test_sources_are_named_by_their_inputs() -> None:
    assert parse_inputs(["a.txt", "web=crawl/", "web=more", "x/y=z"]) == {
        "documents": [Path("a.txt"), Path("x/y=z")],
        "web": [Path("crawl/"), Path("more")],
    }


def test_options_lie_over_settings_and_settings_over_the_recipe(tmp_path: Path) -> None:
    recipe = tmp_path / "corpus.yaml"
    recipe.write_text("languages: [de]\nseed: 3\ndeduplicate: {threshold: 0.6, ngram: 4}\n")
    request = Request(
        tmp_path, ["texts", "deduplicate.threshold=0.7", "languages=[fr]"], recipe=recipe,
        options={"languages": ["en", "zh"], "jobs": None}, reference=[recipe],
    )  # fmt: skip
    got = load_settings(request, ["web"])
    assert (got.seed, got.languages, got.jobs) == (3, ("en", "zh"), 0)
    assert (got.deduplicate.threshold, got.deduplicate.ngram) == (0.7, 4)
    assert (got.tokenizer.vocabulary, got.quality.sources) == (8192, ("web",))
    recipe.write_text("name: x\nnodes: {}\ncorpus: {seed: 9}\n")
    assert load_settings(Request(tmp_path, recipe=recipe), ["web"]).seed == 9


@pytest.mark.parametrize(
    ("words", "options", "says"),
    [
        (["quality=5"], {}, "corpus: 'quality': input should be a valid dictionary"),
        (["stages=5"], {"mask_pii": True}, "corpus: 'stages': input should be a valid tuple"),
    ],
)
def test_settings_of_a_wrong_type_are_named(
    tmp_path: Path, words: list[str], options: dict[str, bool], says: str
) -> None:
    request = Request(tmp_path, words, reference=[tmp_path / "a.txt"], options=options)
    with pytest.raises(RegrowError, match=says):
        load_settings(request, ["web"])


def test_a_recipe_whose_corpus_is_no_mapping_is_named(tmp_path: Path) -> None:
    recipe = tmp_path / "corpus.yaml"
    recipe.write_text("corpus: 5\n")
    with pytest.raises(RegrowError, match=r"corpus\.yaml: corpus must be a mapping"):
        load_settings(Request(tmp_path, recipe=recipe), ["web"])


def test_items_are_read_from_rows_and_lines(tmp_path: Path) -> None:
    own = Item("i1", "knowledge", "f", "k", "Who?", ("Rosa",))
    rows = [
        {"question": "What is it?", "choices": ["a cat", "a dog"], "answer": "A"},
        {"query": "Where?", "answer": "here"},
        {"question": "Why?", "choices": {"text": ["rain", "sun"], "label": ["A", "B"]}},
        {"text": "a whole passage"},
        own.to_row(),
    ]
    write_jsonl(tmp_path / "quiz" / "data.jsonl.gz", rows)
    (tmp_path / "quiz" / "lines.txt").write_text("first item\n\nsecond item\n")
    found = read_items([tmp_path / "quiz"])
    assert [(i.id, i.question, i.answers) for i in found] == [
        ("quiz|1", "What is it?", ("a cat", "a dog")),
        ("quiz|2", "Where?", ("here",)),
        ("quiz|3", "Why?", ("rain", "sun")),
        ("quiz|4", "a whole passage", ()),
        ("i1", "Who?", ("Rosa",)),
        ("lines|1", "first item", ()),
        ("lines|3", "second item", ()),
    ]
    assert read_items([tmp_path / "quiz" / "*.txt"]) == found[5:]


@pytest.mark.slow
@pytest.mark.skipif(not CRAWL.is_file(), reason="the shared crawl is not here")
def test_a_real_crawl_is_shown_with_the_numbers_of_its_report(tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call("corpus", "build", f"{CRAWL}", "--output", f"{out}", "--vocabulary", "1000")[0] == 0
    report = json.loads((out / "report.json").read_text())
    found = read_decisions(out)
    for stage, by_source in stages(found, report):
        (told,) = (r for r in report["funnel"]["stages"] if r["stage"] == stage)
        assert by_source["documents"].documents == told["documents"]
        if "characters" in told:
            assert by_source["documents"].characters == told["characters"]
    assert "1,583 documents read" in seen(out)
