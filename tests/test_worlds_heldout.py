"""Held-out text that no corpus chooses, and crawls that are as bad as a recipe asks."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from regrow.errors import RegrowError
from regrow.evaluate.reading import heldout as chosen
from regrow.records import Document
from regrow.tree.load import load_recipe
from regrow.tree.stages.outcome import heldout
from regrow.worlds.crawl import MESS_SHARES, write_crawl
from regrow.worlds.heldout import COUNT, held_out
from regrow.worlds.programs import held_out as of_items
from regrow.worlds.prose import render_reference, render_town
from regrow.worlds.repositories import render_repositories
from regrow.worlds.sheets import render_sheets
from regrow.worlds.town import Town

SOURCES = ["town", "sheets", "textbook", "code"]


@pytest.fixture(scope="module")
def apart() -> list[Document]:
    return held_out(Town(3, "a", 40), 3, SOURCES)


def test_each_source_has_the_same_number_of_documents(apart: list[Document]) -> None:
    assert Counter(page.source for page in apart) == dict.fromkeys(SOURCES, COUNT)
    assert len({page.id for page in apart}) == len(apart)
    assert held_out(Town(3, "a", 40), 3, ["town"]) == apart[:COUNT]


def test_none_of_it_is_published(apart: list[Document]) -> None:
    published = {page.text for page in render_town(Town(3, "a", 40), 60_000)}
    published |= {page.text for page in render_sheets(3, "a", 60_000)}
    published |= {text for _, text in render_repositories(3, "a", 60_000)}
    assert not published & {page.text for page in apart}


def test_its_programs_are_none_of_those_that_items_ask_for(apart: list[Document]) -> None:
    keys: set[str] = set()
    list(render_repositories(3, "a", 60_000, keys=keys, first=1_000_000))
    assert not {key for key in keys if key.startswith("program|")} & of_items(3, "a")


def test_reading_a_town_apart_counts_for_no_mention() -> None:
    town = Town(3, "a", 40)
    list(render_town(town, 5_000))
    before = json.dumps(town.counts)
    held_out(town, 3, ["town"])
    assert json.dumps(town.counts) == before


@pytest.mark.parametrize("where", ["corpus", "world"])
def test_a_recipe_says_whose_held_out_text_is_read(where: str, tmp_path: Path) -> None:
    recipe = load_recipe("seedling", [f"abilities.heldout={where}"])
    assert heldout(recipe, tmp_path) == tmp_path / where / "heldout.jsonl"
    with pytest.raises(RegrowError, match="is missing"):
        chosen(heldout(recipe, tmp_path), 3)


def _kinds(folder: Path, documents: list[Document], **more: Any) -> Counter[str]:
    truth = write_crawl(
        folder / "town.warc.gz", documents, seed=1, variant="a", source="town", **more
    )
    return Counter(row["kind"] for row in truth)


def test_a_messier_crawl_has_more_bad_pages_and_as_many_copies(tmp_path: Path) -> None:
    documents = list(render_town(Town(1, "a", 40), 60_000))
    usual, messy = _kinds(tmp_path, documents), _kinds(tmp_path, documents, mess_times=6)
    count = len(documents)
    assert messy["spam"] == int(6 * MESS_SHARES["spam"] * count) > usual["spam"]
    assert messy["exact_duplicate"] == usual["exact_duplicate"]
    assert _kinds(tmp_path, documents, mess_times=0)["spam"] == 0


def test_trusted_texts_are_of_the_genres_that_are_named() -> None:
    town = Town(1, "a", 40)
    some = render_reference(town, 30, ("reference", "news"))
    assert {page.domain for page in some} == {"reference", "news"}
    assert len(some) == 30
    assert len({page.domain for page in render_reference(town, 60)}) > 5
    with pytest.raises(RegrowError, match="trusted"):
        load_recipe("seedling", ['world.trusted=["gossip"]'])
