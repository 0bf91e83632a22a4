"""What prompts have in common is computed once, and nothing else changes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_families import SWITCHES, family, lively
from test_generate_sampler import LETTERS
from torch import Tensor

from regrow.generate import scoring
from regrow.generate.prefixes import prefill, shared_prefixes
from regrow.generate.sampler import Sampling, generate
from regrow.generate.scoring import EVEN, FULL, LONGEST, Pair, _Row, _side_by_side, score
from regrow.model import attention
from regrow.model.attention import QUERY_BLOCK
from regrow.model.decoder import Decoder

SHOTS, OTHERS = list(range(1, 13)), list(range(20, 29))
MODELS = {name: lively(family(name)) for name in SWITCHES}


def test_rows_that_begin_alike_share_their_beginning() -> None:
    rows = [[*SHOTS, 30], [*OTHERS, 31, 32], [*SHOTS, 33, 34], [5], [*OTHERS, 35]]
    assert shared_prefixes(rows) == [12, 9, 12, 0, 9]


def test_the_longer_beginning_of_fewer_rows_wins_where_it_spares_more() -> None:
    # Together 8 * 3 = 24 tokens are spared; in two pairs 20 + 20.
    first, second = SHOTS[:8] + [40] * 12, SHOTS[:8] + [41] * 12
    rows = [[*first, 1], [*first, 2], [*second, 1], [*second, 2]]
    assert shared_prefixes(rows) == [20] * 4
    # With 4 more tokens of their own it is 24 against 12 + 12: one group.
    rows = [SHOTS[:8] + [40 + n // 2] * 4 + [n] for n in range(4)]
    assert shared_prefixes(rows) == [8] * 4


LONG = [[*SHOTS, *([n] * 60)] for n in (1, 2)]


@pytest.mark.parametrize("rows", [[], [[]], [[1, 2]], [SHOTS[:7]] * 9, LONG])
def test_little_or_nothing_in_common_is_not_shared(rows: list[list[int]]) -> None:
    assert shared_prefixes(rows) == [0] * len(rows)


def test_rows_nested_deeply_are_grouped_without_recursion() -> None:
    rows = [[7] * n for n in range(1, 3000)]
    assert max(shared_prefixes(rows)) > 0


beginnings = st.lists(st.integers(1, 4), max_size=14)
ends = st.lists(st.integers(1, 40), min_size=1, max_size=5)


@st.composite
def few_shot(draw: st.DrawFn) -> list[Pair]:
    """Prompts from a few beginnings, some of them with several continuations."""
    shots = draw(st.lists(beginnings, min_size=1, max_size=3))
    found = []
    for _ in range(draw(st.integers(1, 8))):
        prompt = [*draw(st.sampled_from(shots)), *draw(ends)]
        found += [(prompt, draw(ends)) for _ in range(draw(st.integers(1, 3)))]
    return found


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(SWITCHES)),
    few_shot(),
    st.integers(1, 9),
    st.sampled_from([0, LONGEST]),
    st.sampled_from([3, QUERY_BLOCK]),
)
def test_scores_are_the_same_with_and_without_sharing(
    name: str, pairs: list[Pair], batch: int, longest: int, block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scoring, "LONGEST", longest)
        patch.setattr(attention, "QUERY_BLOCK", block)
        shared = score(MODELS[name], pairs, batch)
    for mine, alone in zip(shared, score(MODELS[name], pairs, batch, share=False), strict=True):
        np.testing.assert_allclose(mine.logprobs, alone.logprobs, atol=1e-5)


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(sorted(SWITCHES)), few_shot(), st.integers(1, 3), st.sampled_from([0.0, 1.0])
)
def test_texts_are_the_same_with_and_without_sharing(
    name: str, pairs: list[Pair], samples: int, heat: float
) -> None:
    prompts = [prompt for prompt, _ in pairs]
    sampling = Sampling(5, heat, stop_ids=(3, 4))
    shared = generate(MODELS[name], LETTERS, prompts, sampling, samples)
    for mine, alone in zip(
        shared, generate(MODELS[name], LETTERS, prompts, sampling, samples, share=False)
    ):
        assert [c.ids for c in mine] == [c.ids for c in alone]
        for a, b in zip(mine, alone):
            np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)


def tokens_read(
    model: Decoder, monkeypatch: pytest.MonkeyPatch, pairs: list[Pair], **how: Any
) -> int:
    read = 0
    forward = Decoder.forward

    def counted(self: Decoder, ids: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        nonlocal read
        read += ids.numel()
        return forward(self, ids, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Decoder, "forward", counted)
        score(model, pairs, **how)
    return read


def test_a_shared_beginning_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [([*SHOTS, n], [1]) for n in range(20, 30)]
    model = MODELS["llama"]
    assert tokens_read(model, monkeypatch, pairs) == 12 + 10 * 1
    assert tokens_read(model, monkeypatch, pairs, share=False) == 10 * 13


def test_choices_share_their_prompt_and_prompts_their_examples(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pairs = [([*SHOTS, n, n, 1], [c]) for n in range(20, 30) for c in (5, 6, 7)]
    # The examples, and ten questions: nothing follows a choice of one token.
    assert tokens_read(MODELS["llama"], monkeypatch, pairs) == 12 + 10 * 3


def test_choices_of_several_tokens_stand_in_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = [([n] * 10, [c] * 4) for n in range(20, 23) for c in (5, 6, 7)]
    assert tokens_read(MODELS["llama"], monkeypatch, pairs) == 3 * (10 + 3 * 3)
    monkeypatch.setattr(scoring, "LONGEST", 0)  # as many tokens of choices as of the prompt
    pairs = [([20] * 10, [c] * 6) for c in (5, 6, 7)]
    # Two rows, which share all of the prompt but its last token; the shorter is padded.
    assert tokens_read(MODELS["llama"], monkeypatch, pairs) == 9 + 2 * (1 + 2 * 5)
    long = [([20], [c] * 9) for c in (5, 6, 7)]  # next to nothing would be spared
    assert tokens_read(MODELS["llama"], monkeypatch, long) == 3 * 9


@pytest.mark.parametrize("owners", [[3, 0, 0, 0, 0, 0, 1], [1, 0, 3, 2], [0, 0, 1, 2, 3, 3]])
def test_rows_of_any_number_and_order_share(owners: list[int]) -> None:
    model = MODELS["llama-gqa"]
    stems = [[1, 2, 3], [4, 5], [6], [7, 8]]
    owner = torch.tensor(owners)
    new = torch.arange(10, 10 + len(owners))[:, None]
    with torch.inference_mode():
        _, cache = prefill(model, stems, [0] * 4)
        found = model(new, cache=cache.branch(owner, 1))[:, 0]
        for row, (stem, token) in enumerate(zip(owner.tolist(), new[:, 0].tolist())):
            alone = model(torch.tensor([[*stems[stem], token]]))[0, -1]
            torch.testing.assert_close(found[row], alone, atol=1e-5, rtol=1e-5)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 900), st.booleans()), max_size=30), st.integers(1, 9))
def test_rows_go_in_order_in_batches_of_a_kind_and_alike_long(
    sizes: list[tuple[int, bool]], batch: int
) -> None:
    rows = [_Row([1] * size, [[1, 1]] * (2 if tree else 1)) for size, tree in sizes]
    groups = list(_side_by_side(rows, batch))
    assert [row for some in groups for row in some] == rows
    for some in groups:
        assert len(some) <= batch and len({row.kind for row in some}) == 1
        read = [row.size for row in some]
        full = max(sum(read[:-1]), read[-1]) >= FULL
        assert len(read) == 1 or not full or sum(read) >= EVEN * max(read) * len(read)
