"""The server as the real `openai` client sees it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from fastapi import FastAPI
from serve_kit import (
    ANSWER,
    PAGE,
    QUESTION,
    SECOND,
    SECOND_ANSWER,
    address,
    application,
    ask,
    client,
    client_of,
    nodes,
    run,
    running,
    speaker,
)

from regrow.generate.sampler import Sampling, generate, score
from regrow.records import Message
from regrow.serve.api import create_app
from regrow.serve.speaker import Speaker

__all__ = ["address", "application", "client", "nodes", "run", "speaker"]


def test_nodes_are_loaded_when_first_asked_for(nodes: dict[str, Path]) -> None:
    app = create_app(nodes)
    with running(app) as found:
        assert app.state.engine.loaded == []
        client_of(found).completions.create(model="base", prompt="The", max_tokens=1)
        assert app.state.engine.loaded == ["base"]


def test_all_nodes_are_listed_by_name(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["base", "tuned"]
    model = client.models.retrieve("tuned")
    assert (model.id, model.object, model.owned_by) == ("tuned", "model", "regrow")


def test_a_tuned_node_answers_a_chat(client: openai.OpenAI, speaker: Speaker) -> None:
    answer = client.chat.completions.create(model="tuned", messages=ask(), temperature=0)
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant"
    assert answer.choices[0].message.content == ANSWER
    assert answer.choices[0].finish_reason == "stop"
    asked = len(speaker.chat_prompt([Message("user", QUESTION)]))
    said = len(speaker.tokenizer.encode(f" {ANSWER}")) + 1  # and the end of the turn
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (asked, said)
    assert answer.usage.total_tokens == asked + said


def test_a_chat_goes_over_several_turns(client: openai.OpenAI) -> None:
    turns = [*ask(), {"role": "assistant", "content": ANSWER}, *ask(SECOND)]
    answer = client.chat.completions.create(model="tuned", messages=turns, temperature=0)
    assert answer.choices[0].message.content == SECOND_ANSWER


def test_content_may_come_in_text_parts(client: openai.OpenAI) -> None:
    parts = [{"type": "text", "text": QUESTION[:5]}, {"type": "text", "text": QUESTION[5:]}]
    turns: Any = [{"role": "user", "content": parts}]
    answer = client.chat.completions.create(model="tuned", messages=turns, temperature=0)
    assert answer.choices[0].message.content == ANSWER


def test_a_chat_streams_the_same_answer_in_pieces(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="tuned", messages=ask(), temperature=0, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    *spoken, last = chunks
    assert spoken[0].choices[0].delta.role == "assistant"
    pieces = [chunk.choices[0].delta.content for chunk in spoken if chunk.choices[0].delta.content]
    assert len(pieces) > 1
    assert "".join(pieces) == ANSWER
    assert [chunk.choices[0].finish_reason for chunk in spoken][-1] == "stop"
    assert last.choices == []
    assert last.usage is not None and last.usage.completion_tokens > len(pieces) - 1


def test_a_base_node_continues_a_text(client: openai.OpenAI, speaker: Speaker) -> None:
    answer = client.completions.create(model="base", prompt=PAGE[:8], max_tokens=6, temperature=0)
    expected = generate(
        speaker.model, speaker.tokenizer, [speaker.text_prompt(PAGE[:8])], Sampling(6)
    )
    assert answer.object == "text_completion"
    assert answer.choices[0].text == expected[0][0].text == PAGE[8:][: len(answer.choices[0].text)]
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None and answer.usage.completion_tokens == 6


def test_a_stop_string_ends_the_text_before_it(client: openai.OpenAI) -> None:
    for stop in ("stands", ["nowhere", "stands"]):
        answer = client.completions.create(
            model="base", prompt="The", max_tokens=40, temperature=0, stop=stop
        )
        assert answer.choices[0].text == " mill "
        assert answer.choices[0].finish_reason == "stop"


def test_a_streamed_text_holds_back_the_start_of_a_stop_string(client: openai.OpenAI) -> None:
    chunks = list(
        client.completions.create(
            model="base", prompt="The", max_tokens=40, temperature=0, stop="river. It", stream=True
        )
    )
    assert "".join(chunk.choices[0].text for chunk in chunks) == " mill stands by the "
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_several_prompts_come_back_in_order_with_their_samples(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="base", prompt=["The mill", "It grinds"], n=2, max_tokens=3, temperature=0
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    texts = [choice.text for choice in answer.choices]
    assert texts[0] == texts[1] != texts[2] == texts[3]


def test_a_prompt_may_be_token_ids(client: openai.OpenAI, speaker: Speaker) -> None:
    ids = speaker.text_prompt("The mill")
    for prompt in (ids, [ids]):
        answer = client.completions.create(model="base", prompt=prompt, max_tokens=4, temperature=0)
        by_text = client.completions.create(
            model="base", prompt="The mill", max_tokens=4, temperature=0
        )
        assert answer.choices[0].text == by_text.choices[0].text


def test_a_seed_repeats_the_draw_and_other_samples_differ(client: openai.OpenAI) -> None:
    def draw(seed: int) -> list[str]:
        answer = client.completions.create(
            model="base", prompt="corn", n=4, temperature=2, max_tokens=12, seed=seed
        )
        return [choice.text for choice in answer.choices]

    assert draw(5) == draw(5)
    assert draw(5) != draw(6)
    assert len(set(draw(5))) > 1


def test_streamed_samples_are_those_of_the_same_seed(client: openai.OpenAI) -> None:
    how: Any = {"model": "base", "prompt": "corn", "n": 3, "temperature": 2, "seed": 5}
    whole = client.completions.create(max_tokens=12, **how)
    streamed = ["", "", ""]
    for chunk in client.completions.create(max_tokens=12, stream=True, **how):
        streamed[chunk.choices[0].index] += chunk.choices[0].text
    assert streamed == [choice.text for choice in whole.choices]


def test_logprobs_are_those_of_the_model(client: openai.OpenAI, speaker: Speaker) -> None:
    answer = client.completions.create(
        model="base", prompt="The mill", max_tokens=5, temperature=0, logprobs=3
    )
    found = answer.choices[0].logprobs
    assert found is not None and found.tokens is not None and found.token_logprobs is not None
    assert found.top_logprobs is not None and found.text_offset is not None
    assert "".join(found.tokens) == answer.choices[0].text
    ids = speaker.tokenizer.encode(answer.choices[0].text)
    (expected,) = score(speaker.model, [(speaker.text_prompt("The mill"), ids)])
    assert found.token_logprobs == pytest.approx(expected.logprobs.tolist(), abs=1e-5)
    for token, logprob, top in zip(found.tokens, found.token_logprobs, found.top_logprobs):
        assert len(top) <= 3 and max(top.values()) == pytest.approx(logprob)
        assert token in top
    assert found.text_offset[:2] == [0, len(found.tokens[0])]


def test_a_prompt_is_scored_by_echo_without_new_tokens(
    client: openai.OpenAI, speaker: Speaker
) -> None:
    answer = client.completions.create(
        model="base", prompt="The mill stands", max_tokens=0, echo=True, logprobs=1
    )
    found = answer.choices[0].logprobs
    assert answer.choices[0].text == "The mill stands"
    assert found is not None and found.token_logprobs is not None
    ids = speaker.tokenizer.encode("The mill stands")
    (expected,) = score(speaker.model, [([speaker.tokenizer.eos], ids)])
    assert found.token_logprobs == pytest.approx(expected.logprobs.tolist(), abs=1e-5)
    by_ids = client.completions.create(
        model="base", prompt=[ids], max_tokens=0, echo=True, logprobs=1
    )
    found = by_ids.choices[0].logprobs
    assert found is not None and found.token_logprobs is not None
    assert found.token_logprobs[0] is None
    assert len(found.token_logprobs) == len(ids)


def test_two_streams_run_side_by_side(client: openai.OpenAI) -> None:
    how: Any = {"model": "base", "max_tokens": 30, "temperature": 0, "stream": True}
    first = client.completions.create(prompt="The mill", **how)
    second = client.completions.create(prompt=PAGE[:39], **how)
    texts = ["The mill", PAGE[:39]]
    for one, other in zip(first, second):
        texts[0] += one.choices[0].text
        texts[1] += other.choices[0].text
    assert texts[0][:30] == PAGE[:30]
    assert texts[1][:60] == PAGE[:60]


def test_generation_stops_when_the_client_goes(
    application: FastAPI, client: openai.OpenAI, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = 0

    def endless(self: Speaker, *arguments: object) -> Iterator[str]:
        nonlocal steps
        while steps < 2000:
            steps += 1
            time.sleep(0.002)
            yield "word "

    monkeypatch.setattr(Speaker, "stream", endless)
    chunks = client.completions.create(model="base", prompt="The", stream=True)
    next(iter(chunks))
    chunks.close()
    time.sleep(0.3)
    at = steps
    time.sleep(0.2)
    assert steps == at < 2000
    monkeypatch.undo()
    answer = client.completions.create(model="base", prompt="The", max_tokens=1, temperature=0)
    assert answer.choices[0].text == " mill"
