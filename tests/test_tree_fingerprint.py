"""What a step is made of: digests of files, and what counts as a change."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tree_kit import Garden

from regrow.errors import RegrowError
from regrow.tree.edge import Edge, read_edge, write_edge
from regrow.tree.fingerprint import (
    Digests,
    Inputs,
    corpus_inputs,
    flatten,
    inputs_of,
    measure_inputs,
    node_inputs,
)
from regrow.tree.load import load_recipe

RIVERS = """\
title: Rivers
source: own
data: [rivers.jsonl]
question: "{{ ask }}"
templates: {a: "{{ q }}", b: "Q: {{ q }}", c: "Question: {{ q }}"}
answers: said
metric: open
"""


@pytest.fixture
def garden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Garden:
    return Garden(tmp_path, monkeypatch)


def _node(*overrides: str, name: str = "oak", parent: str | None = None) -> Inputs:
    return node_inputs(load_recipe("sapling.yaml", overrides), name, parent, "c0", Digests())


def test_nested_values_get_dotted_keys() -> None:
    assert flatten({"a": {"b": 1, "c": {"d": None}}, "e": [2]}) == {
        "a.b": 1,
        "a.c.d": None,
        "e": [2],
    }


@pytest.mark.parametrize(
    ("override", "change"),
    [
        ("nodes.oak.settings.rate=0.01", "settings.rate: 0.02 -> 0.01"),
        ("nodes.oak.tokens=3k", "tokens: 1000 -> 3000"),
        ("models.base.layers=2", "model.layers: 1 -> 2"),
        ("mixtures.text.code=1", "mixture.town: 1.0 -> 0.5"),
        ("seed=5", "seed: 0 -> 5"),
    ],
)
def test_what_matters_to_a_node_is_a_change(
    garden: Garden,
    override: str,
    change: str,
) -> None:
    before, after = _node(), _node(override)
    assert change in after.changes_from(before.values)
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize(
    "override",
    ["nodes.fern.tokens=9k", "nodes.oak.claim=A1", "mixtures.both.code=7", "abilities.items=3"],
)
def test_what_does_not_concern_a_node_is_none(garden: Garden, override: str) -> None:
    assert _node(override).changes_from(_node().values) == []


def test_other_benchmarks_ask_for_another_measurement(garden: Garden) -> None:
    given = ["data.folder=real", "data.benchmarks=[quiz.jsonl]"]
    (garden.folder / "real").mkdir()
    (garden.folder / "real" / "quiz.jsonl").write_text("one")
    plain = measure_inputs(load_recipe("sapling.yaml"), "n0", Digests())
    before = measure_inputs(load_recipe("sapling.yaml", given), "n0", Digests())
    (garden.folder / "real" / "quiz.jsonl").write_text("another")
    after = measure_inputs(load_recipe("sapling.yaml", given), "n0", Digests())
    assert len({plain.fingerprint, before.fingerprint, after.fingerprint}) == 3
    assert "benchmarks" not in plain.values


def test_an_ability_of_ones_own_asks_for_another_measurement_and_a_cleaner_corpus(
    garden: Garden,
) -> None:
    given = ["abilities.own=[rivers.yaml]", "abilities.data=."]
    plain, own = load_recipe("sapling.yaml"), load_recipe("sapling.yaml", given)
    assert "abilities.data" not in measure_inputs(plain, "n0", Digests()).values
    with pytest.raises(RegrowError, match=r"no task .*rivers\.yaml"):
        measure_inputs(own, "n0", Digests())
    (garden.folder / "rivers.yaml").write_text(RIVERS)
    with pytest.raises(RegrowError, match=r"rivers\.jsonl is not there"):
        corpus_inputs(own, "w0", Digests())
    (garden.folder / "rivers.jsonl").write_text("one")
    measured, cleaned = (
        measure_inputs(own, "n0", Digests()), corpus_inputs(own, "w0", Digests())
    )  # fmt: skip
    (garden.folder / "rivers.jsonl").write_text("another")
    assert measured.fingerprint != measure_inputs(own, "n0", Digests()).fingerprint
    assert cleaned.fingerprint != corpus_inputs(own, "w0", Digests()).fingerprint


def test_a_parent_grown_anew_is_a_change(garden: Garden) -> None:
    before = _node(name="acorn", parent="p1")
    assert _node(name="acorn", parent="p2").changes_from(before.values) == [
        "parent: oak p1 -> oak p2"
    ]


def test_a_setting_that_a_new_version_adds_is_no_change(garden: Garden) -> None:
    now = _node()
    older = {key: value for key, value in now.values.items() if key != "settings.z_loss"}
    assert now.changes_from(older) == []
    stated = _node("nodes.oak.settings.z_loss=0.5")
    assert stated.changes_from(older) == ["settings.z_loss: nothing -> 0.5"]


def test_a_source_that_was_dropped_is_a_change() -> None:
    now = inputs_of({"mixture": {"town": 1.0}})
    assert now.changes_from({"mixture.town": 1.0, "mixture.code": 0.2}) == [
        "mixture.code: 0.2 -> nothing"
    ]


def test_an_accepted_change_leaves_the_fingerprint_alone(tmp_path: Path) -> None:
    old, new = inputs_of({"tokens": 1}), inputs_of({"tokens": 2})
    edge = Edge("oak", "pretrain", None, old.fingerprint, old.values, "", "", 1.0)
    assert edge.changes(new) == ["tokens: 1 -> 2"]
    write_edge(tmp_path, edge.accept(new))
    found = read_edge(tmp_path)
    assert found is not None
    assert found.changes(new) == []
    assert found.changes(old) == ["tokens: 2 -> 1"]
    assert found.fingerprint == old.fingerprint
    assert found.accepted[0]["changes"] == ["tokens: 1 -> 2"]


def test_a_digest_follows_names_and_bytes_and_not_times(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_text("one")
    first = Digests().paths([str(tmp_path)])
    os.utime(tmp_path / "in" / "a.txt", (1, 1))
    assert Digests().paths([str(tmp_path)]) == first
    (tmp_path / "in" / "a.txt").write_text("two")
    assert Digests().paths([str(tmp_path)]) != first
    (tmp_path / "in" / "a.txt").write_text("one")
    (tmp_path / "in" / "a.txt").rename(tmp_path / "in" / "b.txt")
    assert Digests().paths([str(tmp_path)]) != first


def test_a_pattern_takes_the_files_that_it_matches(tmp_path: Path) -> None:
    (tmp_path / "d" / "deep").mkdir(parents=True)
    (tmp_path / "d" / "a.md").write_text("one")
    (tmp_path / "d" / "deep" / "b.md").write_text("two")
    pattern = str(tmp_path / "d" / "**" / "*.md")
    first = Digests().paths([pattern])
    (tmp_path / "d" / "c.txt").write_text("no match")
    assert Digests().paths([pattern]) == first
    (tmp_path / "d" / "deep" / "b.md").write_text("2wo")
    assert Digests().paths([pattern]) != first
    url = (tmp_path / "d" / "a.md").as_uri()
    assert Digests().paths([url]) == Digests().paths([str(tmp_path / "d" / "a.md")])
    with pytest.raises(RegrowError, match=r"no documents .*\.tex"):
        Digests().paths([str(tmp_path / "d" / "*.tex")])


def test_of_urls_a_digest_holds_what_their_store_tells() -> None:
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe_file("/digests/a.txt", b"one")
    try:
        first = Digests().paths(["memory://digests"])
        assert Digests().paths(["memory://digests"]) == first
        store.pipe_file("/digests/a.txt", b"three")
        assert Digests().paths(["memory://digests"]) != first
        with pytest.raises(RegrowError, match="nowhere does not exist"):
            Digests().paths(["memory://nowhere"])
    finally:
        store.rm("/digests", recursive=True)


def test_files_are_read_once_until_they_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from regrow.tree import fingerprint

    read: list[str] = []
    real = fingerprint.sha256_file
    monkeypatch.setattr(fingerprint, "sha256_file", lambda p: read.append(p.name) or real(p))
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("one")
    memory = tmp_path / "digests.json"
    first = Digests(memory).paths([str(tmp_path / "texts")])
    assert Digests(memory).paths([str(tmp_path / "texts")]) == first
    assert read == ["a.txt"]


def test_missing_empty_and_unreadable_documents_are_named(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match="nowhere is not there"):
        Digests().paths([str(tmp_path / "nowhere")])
    with pytest.raises(RegrowError, match="holds no files"):
        Digests().paths([str(tmp_path)])
    (tmp_path / "no.txt").touch()
    with pytest.raises(RegrowError, match=r"no\.txt: nothing but empty files"):
        Digests().paths([str(tmp_path / "no.txt")])
    if os.getuid():
        (tmp_path / "a.txt").touch(mode=0)
        with pytest.raises(RegrowError, match=r"cannot read .*a\.txt"):
            Digests().paths([str(tmp_path)])
