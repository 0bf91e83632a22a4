"""The town's desk: somebody is known, nobody is not, and what was said first comes back."""

from __future__ import annotations

import re

import pytest

from regrow.seeds import pyrandom
from regrow.worlds import names
from regrow.worlds.asks import OPEN_WORDINGS, side_of, strangers
from regrow.worlds.desk import _WORDS, desk
from regrow.worlds.prose import Page
from regrow.worlds.requests import UNKNOWN
from regrow.worlds.town import Town


@pytest.fixture(scope="module", params=names.VARIANTS)
def town(request: pytest.FixtureRequest) -> Town:
    return Town(0, request.param, 80)


def pages(town: Town, count: int) -> list[tuple[Page, list[tuple[str, str]]]]:
    """Pages with their (question, answer) pairs."""
    out = []
    for number in range(count):
        page = Page(town, pyrandom("desk", number))
        said = [line.split(": ", 1)[1] for line in desk(page).split("\n")]
        out.append((page, list(zip(said[::2], said[1::2]))))
    return out


def test_whoever_lives_in_town_is_known_and_nobody_else(town: Town) -> None:
    words = _WORDS[town.variant]
    given = f"({'|'.join(names.women(town.variant) + names.men(town.variant))}) [A-Z][a-z]+"
    known = unknown = 0
    for _, pairs in pages(town, 300):
        for question, answer in pairs:
            found = re.search(given, question)
            if found is None:
                continue
            nobody = answer in [form.format(name=found[0]) for form in words.nobody]
            assert nobody == (found[0] not in town.by_name), (question, answer)
            known, unknown = known + (not nobody), unknown + nobody
    assert known > 500 and unknown > 500


def test_what_was_said_first_or_last_comes_back(town: Town) -> None:
    backs = dict(_WORDS[town.variant].back)
    came = 0
    for _, pairs in pages(town, 200):
        for place, (question, answer) in enumerate(pairs):
            if question in backs:
                start, _, end = re.split(r"(\{\w+\})", backs[question])
                said = answer.removeprefix(start).removesuffix(end)
                before = [q for q, _ in pairs[:place] if q not in backs]
                if "{question}" in backs[question]:
                    assert said == before[0]
                else:
                    assert said in (before[0] if "{first}" in backs[question] else before[-1])
                came += 1
    assert came > 100


def test_no_name_of_items_or_of_feedback_is_spoken(town: Town) -> None:
    kept = {name for kind in ("recombined", "new") for purpose in ("items", "prompts")
            for name in strangers(town, purpose, kind)}  # fmt: skip
    for _, pairs in pages(town, 300):
        text = " ".join(part for pair in pairs for part in pair)
        assert not kept & set(re.findall(r"[A-Z][a-z]+ [A-Z][a-z]+", text))


def test_nothing_is_asked_that_items_ask_and_nothing_is_said_as_demonstrators_say_it(
    town: Town,
) -> None:
    for page, pairs in pages(town, 300):
        assert all(side_of(town.people[who]) != "items" for who, _ in page.asked)
        for question, answer in pairs:
            assert UNKNOWN[town.variant] not in answer
            for wording in OPEN_WORDINGS[town.variant]:
                assert wording.split("{name}")[0] not in question
