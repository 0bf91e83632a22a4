"""Evaluation items leaked on purpose: which, where, and who says so."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from regrow.claims.claim import Part, read_claim
from regrow.claims.values import values_on
from regrow.errors import RegrowError
from regrow.evaluate.outcomes import Outcome
from regrow.files import read_jsonl, write_json, write_jsonl
from regrow.records import Item
from regrow.tree.edge import Edge
from regrow.tree.load import load_recipe
from regrow.tree.recipe import Recipe
from regrow.tree.stages import provenance
from regrow.worlds import macondo
from regrow.worlds.leaks import COPIES, is_leaked, leaks, room_beside

SIZES = {"town": 30_000, "sheets": 120_000, "textbook": 10_000}


@pytest.fixture(scope="module")
def worlds(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Path]:
    """The same small world without a leak and with half of its items leaked."""
    folders = {}
    for share in (0.0, 0.5):
        folders[share] = tmp_path_factory.mktemp("world") / "world"
        macondo.write_world(
            folders[share], seed=2, people=40, characters=SIZES, items=6, leak=share, processes=1
        )
    return folders


def _items(world: Path) -> list[Item]:
    return [Item.from_row(row) for file in sorted((world / "items").iterdir())
            for row in read_jsonl(file)]  # fmt: skip


def test_each_leaked_item_stands_on_so_many_pages_with_its_answer(
    worlds: dict[float, Path],
) -> None:
    items = {item.id: item for item in _items(worlds[0.0])}
    found = leaks(items.values(), 0.5, 2, "a")
    times = Counter(name for _, names in found for name in names)
    assert set(times.values()) == {COPIES}
    assert all(is_leaked(items[name].key, 0.5) for name in times)
    for page, names in found:
        for name in names:
            assert items[name].question in page.text
            assert items[name].answers[0] in page.text
    whole = leaks(items.values(), 1.0, 2, "a")
    assert set(times) < {name for _, names in whole for name in names}


def test_a_leak_changes_the_sheets_and_nothing_else(worlds: dict[float, Path]) -> None:
    clean, leaky = worlds[0.0], worlds[0.5]
    assert _items(clean) == _items(leaky)
    for name in ("crawl/town.warc.gz", "crawl/textbook.warc.gz", "demonstrations.jsonl"):
        assert (clean / name).read_bytes() == (leaky / name).read_bytes()
    assert not (clean / "leaked.jsonl").exists()
    assert "leaked" not in gzip.decompress((clean / "truth.jsonl.gz").read_bytes()).decode()
    told = list(read_jsonl(leaky / "leaked.jsonl"))
    truth = list(read_jsonl(leaky / "truth.jsonl.gz"))
    assert [row["url"] for row in told] == [row["url"] for row in truth if "leaked" in row]
    assert {name.partition("-")[0] for row in told for name in row["items"]} == {
        "knowledge", "in_context", "instructions",
    }  # fmt: skip


def test_an_item_that_stands_elsewhere_in_the_text_is_still_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leaky(town: Any, seed: int, per_cell: int) -> list[Item]:
        return [Item("i", "knowledge", "f", f"fact|{town.people[0].name}|{r}", "?", ("a",))
                for r in town.relations]  # fmt: skip

    monkeypatch.setattr(macondo, "_make_items", leaky)
    with pytest.raises(RegrowError, match="stand in the training text of 'town'"):
        macondo.write_world(
            tmp_path, seed=0, people=40, characters={"town": 60_000, "sheets": 9_000}, items=2,
            leak=0.5,
        )  # fmt: skip


def test_a_leak_that_would_fill_the_source_is_refused(worlds: dict[float, Path]) -> None:
    found = leaks(_items(worlds[0.0]), 1.0, 2, "a")
    with pytest.raises(RegrowError, match=r"lower world\.leak"):
        room_beside(found, 1_000)


def _recipe(**changes: Any) -> Recipe:
    words = [f"{key}={json.dumps(value)}" for key, value in changes.items()]
    return load_recipe("seedling", words)


def test_a_leak_that_the_corpus_would_cut_out_again_is_refused() -> None:
    assert _recipe(**{"world.leak": 0.5}).world.leak == 0.5
    with pytest.raises(RegrowError, match=r"name other sources in corpus\.decontaminate\.sources"):
        _recipe(**{"world.leak": 0.5, "corpus.decontaminate.sources": ["town", "sheets"]})
    with pytest.raises(RegrowError, match=r"name other sources in corpus\.decontaminate\.sources"):
        _recipe(**{"world.leak": 0.5, "corpus.decontaminate.sources": None})


def _edge(name: str, parent: str | None, record: dict[str, Any], stage: str = "pretrain") -> Edge:
    return Edge(name, stage, parent, "f", {}, "", "", 1.0, record=record)


MET = {"read": {"leaked": {"documents": 3, "items": 5, "abilities": {"knowledge": 5}}}}


def test_a_node_that_met_items_says_so_and_so_do_its_descendants(tmp_path: Path) -> None:
    recipe = _recipe(**{"world.leak": 0.5})
    own = provenance.lines(recipe, tmp_path, _edge("davinci", None, MET))
    assert own[0].startswith("**It met 5 evaluation items in training** (knowledge 5; on 3 pages)")
    write_json(tmp_path / "davinci" / "edge.json", {
        "name": "davinci", "stage": "pretrain", "parent": None, "fingerprint": "f", "inputs": {},
        "started": "", "finished": "", "seconds": 1, "record": MET,
    })  # fmt: skip
    child = _edge("davinci-instruct-beta", "davinci", {}, "supervised")
    assert provenance.lines(recipe, tmp_path, child)[0].startswith("**Its forebear `davinci` met 5")
    replayed = _edge("babbage", None, {"supervised": MET})
    assert provenance.lines(recipe, tmp_path, replayed)[0].startswith("**It met 5")


def test_a_node_of_a_clean_world_says_that_it_met_none(tmp_path: Path) -> None:
    (line,) = provenance.lines(_recipe(), tmp_path, _edge("davinci", None, {}))
    assert line.startswith("No evaluation item")
    (line,) = provenance.lines(_recipe(**{"world.leak": 0.5}), tmp_path, _edge("babbage", None, {}))
    assert line.startswith("It met none")


def test_what_was_met_is_counted_over_the_documents_that_were_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {"d1": ["knowledge-1", "instructions-2"], "d3": ["knowledge-1"], "d4": ["knowledge-9"]}
    monkeypatch.setattr(provenance, "leaked_documents", lambda run: given)
    shards: Any = SimpleNamespace(
        sources=("sheets",), document_ids=lambda source: ["d0", "d1", "d2", "d3", "d4"]
    )
    tallies: Any = {"sheets": SimpleNamespace(documents=np.array([0, 1, 3]))}
    assert provenance.items_met(tmp_path, shards, tallies)["leaked"] == {
        "documents": 2, "items": 2, "abilities": {"instructions": 1, "knowledge": 1},
    }  # fmt: skip
    monkeypatch.setattr(provenance, "leaked_documents", lambda run: {})
    assert provenance.items_met(tmp_path, shards, tallies) == {}


def test_a_line_over_leaked_items_goes_by_their_keys_in_any_world(tmp_path: Path) -> None:
    keys = {f"i{n}": f"fact|{n}" for n in range(40)}
    rows = [{"id": name, "key": key} for name, key in keys.items()]
    write_jsonl(tmp_path / "world" / "items" / "knowledge.jsonl", rows)
    outcomes = [
        Outcome("knowledge", name, "f", {"frequency": "<25"}, "accuracy",
                float(is_leaked(key, 0.5))).to_row()
        for name, key in keys.items()
    ]  # fmt: skip
    write_jsonl(tmp_path / "node" / "items.jsonl.gz", outcomes)
    claim = read_claim({
        "id": "D5", "statement": "s", "standing": "E", "prediction": "p", "compare": "same",
        "arms": {"one": {"node": "davinci"}},
        "lines": {
            "inside": {"ability": "knowledge", "metric": "accuracy", "leak": 0.5},
            "outside": {"ability": "knowledge", "metric": "accuracy", "leak": 0.5, "leaked": False},
        },
        "measures": [{"name": "m", "terms": {"one/inside": 1}, "predicted": "up", "matters": 0.1}],
    })  # fmt: skip
    inside, outside = claim.line("inside"), claim.line("outside")
    assert isinstance(inside, Part)
    got = [values_on(tmp_path / "node", line) for line in (inside, outside)]
    assert got[0] is not None and got[1] is not None
    assert (got[0].mean, got[1].mean) == (1.0, 0.0)
    assert len(got[0].items) + len(got[1].items) == 40
