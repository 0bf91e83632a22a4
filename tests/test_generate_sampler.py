"""Generation and scoring: what is said depends on model, prompt and seed alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from test_model_decoder import CONFIG, random_model

from regrow.errors import RegrowError
from regrow.generate.sampler import (
    Completion,
    Sampling,
    choose,
    generate,
    rows_together,
    score,
    stream,
)
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder


class Letters:
    """Token i is the letter i of the alphabet; 40 and above are halves of a two-byte character."""

    assistant = -1

    def decode(self, ids: list[int]) -> str:
        return bytes(97 + i if i < 26 else 65 + i - 26 if i < 40 else 0xC3 for i in ids).decode(
            errors="replace"
        )


LETTERS = Letters()
PROMPTS = [[1, 2, 3], [4], [5, 6, 7, 8, 9, 10], [1, 2, 4], [11, 12]]
SAMPLED = Sampling(max_tokens=12, temperature=1.0, seed=5)


@pytest.fixture(scope="module")
def model() -> Decoder:
    return random_model()


def plain_greedy(model: Decoder, prompt: list[int], count: int) -> list[int]:
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(count):
            ids.append(int(model.logits(model(torch.tensor([ids])))[0, -1].argmax()))
    return ids[len(prompt) :]


def texts(found: list[list[Completion]]) -> list[list[str]]:
    return [[completion.text for completion in group] for group in found]


def test_greedy_is_the_argmax_of_whole_rows(model: Decoder) -> None:
    found = generate(model, LETTERS, PROMPTS, Sampling(max_tokens=10))
    for prompt, (completion,) in zip(PROMPTS, found):
        assert completion.ids == plain_greedy(model, prompt, 10)
        assert completion.text == LETTERS.decode(completion.ids)
        assert not completion.finished


@pytest.mark.parametrize("sampling", [Sampling(12), SAMPLED, Sampling(12, 0.7, 0.8, seed=1)])
def test_texts_do_not_depend_on_the_batch(model: Decoder, sampling: Sampling) -> None:
    together = generate(model, LETTERS, PROMPTS, sampling, samples=3)
    small = generate(model, LETTERS, PROMPTS, sampling, samples=3, batch=1)
    alone = [generate(model, LETTERS, [prompt], sampling, samples=3)[0] for prompt in PROMPTS]
    turned = generate(model, LETTERS, PROMPTS[::-1], sampling, samples=3)[::-1]
    assert texts(together) == texts(small) == texts(alone) == texts(turned)
    for a, b in zip(together, alone):
        for mine, theirs in zip(a, b):
            np.testing.assert_allclose(mine.logprobs, theirs.logprobs, atol=1e-4)


def test_a_small_model_draws_more_rows_at_once() -> None:
    def rows(layers: int, width: int, heads: int) -> int:
        return rows_together(ModelConfig(3072, width, layers, heads, heads, 2 * width, 256))

    # 48 MB over 2 * layers * width * 4 bytes * 32 tokens
    assert rows(5, 128, 4) == 292
    assert rows(1, 32, 1) == 512
    assert rows(30, 576, 9) == 64


def test_rows_that_end_early_leave_the_others_as_they_were(model: Decoder) -> None:
    stops = tuple(range(10))
    free = generate(model, LETTERS, PROMPTS, Sampling(20, 1.0, seed=5), samples=8)
    stopped = generate(model, LETTERS, PROMPTS, Sampling(20, 1.0, stop_ids=stops, seed=5), 8)
    lengths = set()
    for before, after in zip(itertools.chain(*free), itertools.chain(*stopped)):
        ends = [n for n, token in enumerate(before.ids) if token in stops]
        kept = before.ids[: ends[0] + 1] if ends else before.ids
        assert after.ids == kept
        assert after.finished == bool(ends)
        assert after.text == LETTERS.decode(kept[:-1] if ends else kept)
        lengths.add(len(after.ids))
    assert len(lengths) > 8  # rows left at many moments, so the cache was compacted on the way


def test_samples_of_a_prompt_and_of_its_double_differ(model: Decoder) -> None:
    found = generate(model, LETTERS, [[1, 2], [1, 2]], SAMPLED, samples=4)
    assert len({text for group in texts(found) for text in group}) == 8


def test_the_seed_decides(model: Decoder) -> None:
    again = generate(model, LETTERS, PROMPTS, SAMPLED)
    other = generate(model, LETTERS, PROMPTS, Sampling(12, 1.0, seed=6))
    assert texts(again) == texts(generate(model, LETTERS, PROMPTS, SAMPLED))
    assert texts(again) != texts(other)


def test_logprobs_are_those_of_scoring(model: Decoder) -> None:
    found = [group[0] for group in generate(model, LETTERS, PROMPTS, Sampling(9, 0.5, 0.9))]
    scored = score(model, [(p, c.ids) for p, c in zip(PROMPTS, found)])
    for completion, s in zip(found, scored):
        np.testing.assert_allclose(completion.logprobs, s.logprobs, atol=1e-4)


def test_a_stop_string_ends_the_text_before_it(model: Decoder) -> None:
    whole = generate(model, LETTERS, [[4]], Sampling(20, 1.0, seed=2))[0][0].text
    stop = whole[5:7]
    cut = generate(model, LETTERS, [[4]], Sampling(20, 1.0, stop_strings=(stop,), seed=2))[0][0]
    assert cut.text == whole[: whole.index(stop)]
    assert cut.finished


class Spaced(Letters):
    """The same, but what is said after token 4, as by an assistant, begins with a space."""

    assistant = 4

    def decode(self, ids: list[int]) -> str:
        return " " + super().decode(ids)


def test_the_space_of_the_chat_layout_is_no_stop(model: Decoder) -> None:
    whole = generate(model, Spaced(), [[4]], Sampling(9, 1.0, seed=2))[0][0].text
    for stops, told in (((" ",), whole), ((" ", whole[3:5]), whole[: whole.index(whole[3:5])])):
        sampling = Sampling(9, 1.0, stop_strings=stops, seed=2)
        assert generate(model, Spaced(), [[4]], sampling)[0][0].text == told


def test_text_ends_at_the_context(model: Decoder) -> None:
    prompt = [3] * (CONFIG.context - 4)
    found = generate(model, LETTERS, [prompt, [1]], Sampling(10))
    assert [len(group[0].ids) for group in found] == [4, 10]
    assert not found[0][0].finished


@pytest.mark.parametrize("prompt", [[], [1] * CONFIG.context])
def test_prompts_without_room_are_refused(model: Decoder, prompt: list[int]) -> None:
    with pytest.raises(RegrowError, match="1 to 79 tokens"):
        generate(model, LETTERS, [prompt], Sampling(5))


@pytest.mark.parametrize("stops", [(), ("ab",), ("e", "Lm")])
@pytest.mark.parametrize("seed", range(6))
def test_streaming_gives_the_generated_text(
    model: Decoder, seed: int, stops: tuple[str, ...]
) -> None:
    sampling = Sampling(30, 1.0, stop_ids=(7,), stop_strings=stops, seed=seed)
    pieces = list(stream(model, LETTERS, [1, 2], sampling))
    assert "".join(pieces) == generate(model, LETTERS, [[1, 2]], sampling)[0][0].text


def test_a_draw_picks_by_the_cumulative_distribution() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.2]]).log().expand(5, 3)
    draws = torch.tensor([0.0, 0.49, 0.51, 0.79, 0.81])
    ids, logprobs = choose(logits, Sampling(1, 1.0), draws)
    assert ids.tolist() == [0, 0, 1, 1, 2]
    torch.testing.assert_close(logprobs, torch.tensor([0.5, 0.5, 0.3, 0.3, 0.2]).log())


def test_top_p_keeps_the_smallest_sufficient_set() -> None:
    # .5 alone is not .6; .5 + .3 is: the draw runs over .5 / .8 = .625 and the rest
    logits = torch.tensor([[0.2, 0.5, 0.3]]).log().expand(3, 3)
    ids, _ = choose(logits, Sampling(1, 1.0, top_p=0.6), torch.tensor([0.62, 0.63, 0.999]))
    assert ids.tolist() == [1, 2, 2]


def test_a_low_temperature_sharpens() -> None:
    # squares of .6 and .4 are .36 and .16: .36 / .52 = .692
    logits = torch.tensor([[0.6, 0.4]]).log().expand(2, 2)
    ids, _ = choose(logits, Sampling(1, 0.5), torch.tensor([0.69, 0.70]))
    assert ids.tolist() == [0, 1]


def test_scores_are_the_same_for_shared_and_single_prompts(model: Decoder) -> None:
    prompt = [1, 2, 3, 4]
    pairs = [(prompt, [5]), (prompt, [6, 7, 8]), ([9], [1, 1]), ([9], [2]), ([3, 3], [4])]
    shared = score(model, pairs)
    for pair, found in zip(pairs, shared):
        alone = score(model, [pair])[0]
        np.testing.assert_allclose(found.logprobs, alone.logprobs, atol=1e-5)
        assert found.greedy == alone.greedy
        assert len(found.logprobs) == len(pair[1])


def test_scores_do_not_depend_on_the_batch_size(model: Decoder) -> None:
    pairs = [(p, [n, n + 1][: 1 + n % 2]) for p in PROMPTS for n in range(5)] + [([8], [9, 9, 9])]
    for a, b in zip(score(model, pairs), score(model, pairs, batch=2)):
        np.testing.assert_allclose(a.logprobs, b.logprobs, atol=1e-5)


def test_greedy_says_whether_every_token_was_the_likeliest(model: Decoder) -> None:
    best = plain_greedy(model, [1, 2], 4)
    other = [*best[:3], (best[3] + 1) % 50]
    assert [s.greedy for s in score(model, [([1, 2], best), ([1, 2], other)])] == [True, False]


@pytest.mark.parametrize("pair", [([], [1]), ([1], []), ([1] * 80, [1, 1])])
def test_unscorable_pairs_are_refused(model: Decoder, pair: tuple[list[int], list[int]]) -> None:
    with pytest.raises(RegrowError):
        score(model, [pair])


def test_bad_sampling_is_refused() -> None:
    for wrong in ({"max_tokens": 0}, {"temperature": -1.0}, {"top_p": 0.0}):
        with pytest.raises(RegrowError):
            Sampling(**{"max_tokens": 5, **wrong})  # type: ignore[arg-type]
