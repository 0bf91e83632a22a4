from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from regrow.corpus.mixture import Schedule, shares_of, temperature_weights
from regrow.errors import RegrowError
from regrow.tree.sources import MixtureSpec

PUBLISHED = yaml.safe_load((Path(__file__).parents[1] / "docs" / "mixtures.yaml").read_text())


def corpus(**tokens: int) -> SimpleNamespace:
    """Shards as far as a schedule counts them."""
    return SimpleNamespace(sources=tuple(tokens), count=tokens.__getitem__)


def epochs(weights: dict[str, float], tokens: dict[str, int], total: int) -> dict[str, float]:
    shares = shares_of(weights, tokens, total)
    return {source: shares[source] * total / tokens[source] for source in shares}


def test_gpt3s_epochs_follow_from_its_weights_and_sizes() -> None:
    weights = MixtureSpec.model_validate(PUBLISHED["mixtures"]["gpt-3"]).weights
    table = PUBLISHED["gpt-3"]
    found = epochs(weights, table["tokens"], table["total"])
    # by hand: 300 * 60 / 101 / 410 and so on
    expected = {"common-crawl": 0.43, "webtext2": 3.44, "books1": 1.98, "books2": 0.43}
    assert found == pytest.approx(expected | {"wikipedia": 2.97}, abs=0.006)


def test_gpt3s_printed_epochs_are_those_within_rounding_but_for_webtext2() -> None:
    table, weights = PUBLISHED["gpt-3"], PUBLISHED["mixtures"]["gpt-3"]
    outside = []
    for source, printed in table["epochs"].items():
        weight, tokens = weights[source], table["tokens"][source]
        least = table["total"] * (weight - 0.5) / 100 / (tokens + 0.5)
        most = table["total"] * (weight + 0.5) / 100 / (tokens - 0.5)
        if not least <= printed <= most:
            outside.append(source)
    assert outside == ["webtext2"]


def test_palms_weights_sum_to_a_hundred() -> None:
    assert sum(PUBLISHED["mixtures"]["palm"].values()) == 100


def test_temperature_lifts_small_sources() -> None:
    tokens = {"en": 1000, "sw": 10, "none": 0}
    assert temperature_weights(tokens, 1) == pytest.approx({"en": 1000 / 1010, "sw": 10 / 1010})
    # square roots of 900 and 100 are 30 and 10
    assert temperature_weights({"en": 900, "sw": 100}, 2) == pytest.approx({"en": 0.75, "sw": 0.25})
    assert temperature_weights(tokens, float("inf")) == {"en": 0.5, "sw": 0.5}
    with pytest.raises(RegrowError, match="more than 0"):
        temperature_weights(tokens, 0)


def test_a_schedule_says_what_was_capped() -> None:
    shards = corpus(web=4000, wiki=100)
    free = Schedule(shards, {"web": 1, "wiki": 1}, 10, seed=0, rows_total=100)  # type: ignore[arg-type]
    assert free.report() == {
        "mixture": {"web": 0.5, "wiki": 0.5},
        "epochs": {"web": 0.125, "wiki": 5.0},
        "capped": [],
    }
    capped = Schedule(shards, {"web": 1, "wiki": 1}, 10, 0, 100, max_epochs=2)  # type: ignore[arg-type]
    assert capped.report() == {
        "mixture": {"web": 0.8, "wiki": 0.2},
        "epochs": {"web": 0.2, "wiki": 2.0},
        "capped": ["wiki"],
    }


@given(
    st.lists(st.floats(0.01, 100), min_size=1, max_size=6),
    st.integers(1, 400),
    st.integers(0, 2**32),
)
@settings(deadline=None)
def test_every_prefix_keeps_the_shares(weights: list[float], rows: int, seed: int) -> None:
    names = [f"s{i}" for i in range(len(weights))]
    shards = corpus(**dict.fromkeys(names, 1000))
    schedule = Schedule(shards, dict(zip(names, weights)), 8, seed, rows)  # type: ignore[arg-type]
    drawn = np.array([schedule.source_of(i) for i in range(rows)])
    for name in names:
        seen = np.cumsum(drawn == name)
        assert seen[-1] == schedule.counts[name]
        even = schedule.counts[name] / rows * np.arange(1, rows + 1)
        # row k of c stands between k / c and (k + 1) / c of the way, so each source is less than
        # one row off its share of the way, and the way less than one row a source off the prefix
        assert (np.abs(seen - even) < 1 + len(names)).all()


def test_a_recipe_gives_weights_or_a_temperature_and_a_cap() -> None:
    assert MixtureSpec.model_validate({"town": 3, "code": 1}).weights == {"town": 3, "code": 1}
    spec = MixtureSpec.model_validate({"town": 1, "max_epochs": 4})
    assert (spec.weights, spec.max_epochs) == ({"town": 1}, 4)
    assert MixtureSpec.model_validate(spec.model_dump()) == spec
    MixtureSpec.model_validate({"temperature": 3.3, "sources": ["town", "code"]})
    for wrong, message in (
        ({"temperature": 2}, "go together"),
        ({"sources": ["town"]}, "go together"),
        ({"temperature": 2, "sources": ["a"], "b": 1}, "not both"),
        ({"town": 0}, "no weight"),
        ({"town": -1}, "greater than or equal to 0"),
        ({"town": 1, "max_epochs": 0}, "greater than 0"),
    ):
        with pytest.raises(ValueError, match=message):
            MixtureSpec.model_validate(wrong)
