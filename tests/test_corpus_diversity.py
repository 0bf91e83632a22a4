"""What diversity counts, by hand and under any split."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow.corpus.diversity import Diversity, entropy, spread
from regrow.corpus.grams import hash_words
from regrow.corpus.vocabulary import Vocabulary


def vocabulary(words: list[int], limit: int = 1 << 18) -> Vocabulary:
    found = Vocabulary(limit)
    found.add(np.asarray(words, np.uint64))
    return found


def uniform(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, n, np.uint64)


DOCUMENTS = st.lists(
    st.tuples(
        st.sampled_from(["web", "code"]),
        st.sampled_from(["a.org", "b.org", ""]),
        st.sampled_from(["en", "zh"]),
        st.text("ab c", max_size=12),
        st.one_of(st.none(), st.floats(0, 1)),
        st.one_of(st.none(), st.booleans()),
        st.integers(0, 3),  # the worker that meets it
    ),
    max_size=40,
)


def counted(rows: list, order: list[int]) -> dict:
    workers = [Diversity() for _ in range(4)]
    for source, domain, language, text, quality, near, worker in rows:
        traits = {"source": source, "domain": domain, "format": "prose", "language": language}
        words = hash_words([text]).hashes
        workers[worker].add(traits, len(text), words=words, quality=quality, near_copy=near)
    whole = Diversity()
    for i in order:
        whole.merge(workers[i])
    return whole.summary()


@settings(deadline=None, max_examples=60)
@given(DOCUMENTS, st.permutations(range(4)), st.randoms())
def test_any_split_and_any_order_of_merging_give_the_same_numbers(
    rows: list, order: list[int], shuffler: random.Random
) -> None:
    alone = counted([(*row[:-1], 0) for row in rows], [0])
    shuffled = list(rows)
    shuffler.shuffle(shuffled)
    assert counted(shuffled, order) == alone


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 1000), st.integers(1, 5))
def test_a_vocabulary_past_its_limit_holds_the_same_words_in_any_order(
    seed: int, pieces: int
) -> None:
    draw = np.random.default_rng(seed)
    words = draw.choice(uniform(300, seed), 2000)
    whole = Vocabulary(limit=40)
    whole.add(words)
    parts = [Vocabulary(limit=40) for _ in range(pieces)]
    for part, own in zip(parts, np.array_split(draw.permutation(words), pieces)):
        part.add(own)
    merged = Vocabulary(limit=40)
    for part in parts:
        merged.merge(part)
    assert merged.growth() == whole.growth()
    assert (merged.level, merged.words) == (whole.level, 2000)
    assert len(merged._hashes) <= 40


def test_distinct_words_of_a_part_are_those_one_expects() -> None:
    found = vocabulary([1, 1, 1, 2])  # half of four words: 1 - 1/8 and 1 - 1/2
    assert found.distinct(2) == pytest.approx(7 / 8 + 1 / 2)
    assert found.distinct(4) == 2
    assert found.growth() == [(4, 2)]


def test_growth_is_told_at_round_numbers_and_at_the_end() -> None:
    found = vocabulary(list(range(20_000)))
    assert [read for read, _ in found.growth()] == [1000, 3000, 10_000, 20_000]
    assert [distinct for _, distinct in found.growth()] == [1000, 3000, 10_000, 20_000]


def test_a_sampled_vocabulary_is_near_the_true_number() -> None:
    found = Vocabulary(limit=4096)
    found.add(uniform(100_000))
    assert found.distinct(100_000) == pytest.approx(100_000, rel=0.05)
    assert found.level == 5  # 100,000 / 2 ** 5 fits into 4096


def test_nothing_counted_has_no_growth() -> None:
    assert Vocabulary().growth() == []
    assert Diversity().summary()["documents"] == 0


def test_each_source_and_the_whole_are_told() -> None:
    found = Diversity()
    web = {"source": "web", "domain": "a.org", "format": "prose", "language": "en"}
    code = {"source": "code", "domain": "", "format": "code", "language": ""}
    found.add(web, 30, quality=0.02, near_copy=False)
    found.add(web, 30, quality=1.0, near_copy=True)
    found.add(code, 60)
    told = found.summary()
    assert told["source"]["shares"] == {"code": 0.5, "web": 0.5}
    assert told["format"]["entropy_bits"] == 1.0
    assert told["sources"]["code"]["domain"]["shares"] == {"unknown": 1.0}
    assert told["near_copies"] == {"documents": 1, "rate": 0.5}
    assert told["quality"] == [1, *[0] * 18, 1]
    assert "quality" not in told["sources"]["code"]
    assert "vocabulary" not in told


def test_one_group_has_no_entropy_and_equals_are_listed_by_name() -> None:
    assert entropy({"a": 5}) == 0.0
    assert str(entropy({"a": 5})) == "0.0"
    assert list(spread({"b": 1, "a": 1})["shares"]) == ["a", "b"]
