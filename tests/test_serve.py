"""The server as the real `openai` client sees it."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
import uvicorn
from fastapi import FastAPI

from regrow.corpus.tokenizer import Tokenizer, train_tokenizer
from regrow.errors import RegrowError
from regrow.generate.sampler import Sampling, generate, score
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.folder import save_model
from regrow.records import Message
from regrow.serve import api
from regrow.serve.api import create_app, is_loopback, serve
from regrow.serve.speaker import Speaker

PAGE = "The mill stands by the river. It grinds corn for the town. " * 3
QUESTION, ANSWER = "Where is the mill?", "By the river."
SECOND, SECOND_ANSWER = "What does it do?", "It grinds corn."
CONTEXT = 160


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two nodes with the same weights, which know one page and one dialogue by heart."""
    folder = tmp_path_factory.mktemp("run")
    tokenizer = train_tokenizer([PAGE, QUESTION, ANSWER, SECOND, SECOND_ANSWER], 330, folder)
    config = ModelConfig(
        vocabulary=tokenizer.vocabulary, width=32, layers=2, heads=2, kv_heads=2, hidden=64,
        context=CONTEXT,
    )  # fmt: skip
    model = Decoder(config, seed=1)
    turns = [Message("user", QUESTION), Message("assistant", ANSWER)]
    turns += [Message("user", SECOND), Message("assistant", SECOND_ANSWER)]
    texts = [[tokenizer.eos, *tokenizer.encode(PAGE), tokenizer.eos], tokenizer.chat(turns)[0]]
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for step in range(120):
        ids = torch.tensor([texts[step % 2]])
        loss, _ = model.loss(ids[:, :-1], ids[:, 1:])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    for name, stage, parent in (("base", "pretrain", None), ("tuned", "supervised", "base")):
        save_model(model, folder / name, eos=tokenizer.eos, pad=tokenizer.pad)
        tokenizer.save(folder / name)
        (folder / name / "edge.json").write_text(json.dumps({"stage": stage, "parent": parent}))
    return folder


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """Serve on a free port of this machine; yields the address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture(scope="module")
def nodes(run: Path) -> dict[str, Path]:
    return {"base": run / "base", "tuned": run / "tuned"}


@pytest.fixture(scope="module")
def application(nodes: dict[str, Path]) -> FastAPI:
    return create_app(nodes)


@pytest.fixture(scope="module")
def address(application: FastAPI) -> Iterator[str]:
    with running(application) as found:
        yield found


def client_of(address: str, key: str = "none") -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{address}/v1", api_key=key, max_retries=0)


@pytest.fixture(scope="module")
def client(address: str) -> openai.OpenAI:
    return client_of(address)


@pytest.fixture(scope="module")
def speaker(run: Path) -> Speaker:
    return Speaker.load(run / "tuned")


def ask(content: str = QUESTION) -> Any:
    return [{"role": "user", "content": content}]


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


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"temperature": 3}, "temperature", None),
        ({"top_p": 0}, "top_p", None),
        ({"n": 0}, "n", None),
        ({"stop": ["a", "b", "c", "d", "e"]}, "stop", None),
        ({"stop": ""}, "stop.0", None),
        ({"logit_bias": {"5": 1.0}}, "logit_bias", None),
        ({"presence_penalty": 0.5}, "presence_penalty", None),
        ({"logprobs": 9}, "logprobs", None),
        ({"best_of": 2}, "best_of", None),
        ({"prompt": []}, "prompt", None),
        ({"prompt": [999999]}, "prompt", None),
        ({"prompt": ["a"] * 100, "n": 2}, "prompt", None),
        ({"stream": True, "logprobs": 1}, "stream", None),
        ({"prompt": PAGE * 20}, "prompt", "context_length_exceeded"),
        ({"max_tokens": CONTEXT}, "prompt", "context_length_exceeded"),
    ],
)
def test_a_bad_request_names_the_field(
    client: openai.OpenAI, fields: dict, param: str, code: str | None
) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.completions.create(**{"model": "base", "prompt": "The", **fields})
    assert caught.value.type == "invalid_request_error"
    assert (caught.value.param, caught.value.code) == (param, code)


def test_what_is_not_supported_is_called_so(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="presence_penalty is not supported here"):
        client.completions.create(model="base", prompt="The", presence_penalty=0.5)
    old: Any = {"functions": [{"name": "f", "parameters": {}}]}
    for asked in ({"logprobs": True}, old, {"response_format": {"type": "json_object"}}):
        with pytest.raises(openai.BadRequestError, match=f"{next(iter(asked))} is not supported"):
            client.chat.completions.create(model="tuned", messages=ask(), **asked)


def test_best_of_as_many_as_are_wanted_is_no_wish(client: openai.OpenAI) -> None:
    answer = client.completions.create(
        model="base", prompt="The", n=2, max_tokens=2, extra_body={"best_of": 2}
    )
    assert len(answer.choices) == 2


def test_logprobs_end_where_the_text_does(client: openai.OpenAI) -> None:
    asked: Any = {"model": "base", "prompt": "The mill", "max_tokens": 8, "temperature": 0}
    text = client.completions.create(**asked).choices[0].text
    for end in range(2, len(text)):
        choice = client.completions.create(**asked, logprobs=1, stop=text[end:]).choices[0]
        assert choice.logprobs is not None and choice.logprobs.tokens is not None
        tokens = choice.logprobs.tokens
        assert "".join(tokens).startswith(choice.text)
        assert len("".join(tokens[:-1])) < len(choice.text)


def test_fields_that_are_null_or_neutral_are_fine(client: openai.OpenAI) -> None:
    neutral: Any = {
        "stop": None, "seed": None, "logprobs": None, "frequency_penalty": 0.0, "logit_bias": {},
        "best_of": 1, "user": "somebody", "max_tokens": 2, "temperature": 0,
    }  # fmt: skip
    answer = client.completions.create(model="base", prompt="The", **neutral)
    assert answer.choices[0].text.startswith(" mill")


def test_an_unknown_model_is_not_found(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="there are base, tuned") as caught:
        client.chat.completions.create(model="gpt-9", messages=ask())
    assert caught.value.code == "model_not_found"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt-9")


def test_a_base_node_answers_no_chats(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="use /v1/completions"):
        client.chat.completions.create(model="base", messages=ask())


def test_a_chat_that_is_too_long_or_asks_for_tools_is_refused(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="tuned", messages=ask(PAGE * 20))
    assert caught.value.code == "context_length_exceeded"
    tool: Any = {"type": "function", "function": {"name": "f", "parameters": {}}}
    with pytest.raises(openai.BadRequestError, match="tools"):
        client.chat.completions.create(model="tuned", messages=ask(), tools=[tool])


def test_what_is_not_json_or_not_there_is_said_in_the_same_shape(address: str) -> None:
    broken = httpx.post(
        f"{address}/v1/completions", content="{", headers={"content-type": "application/json"}
    )
    assert broken.status_code == 400
    assert broken.json()["error"]["type"] == "invalid_request_error"
    missing = httpx.get(f"{address}/v1/nothing")
    assert missing.status_code == 404
    assert "/v1/nothing" in missing.json()["error"]["message"]
    assert httpx.get(f"{address}/v1/completions").status_code == 405


def test_a_broken_node_is_named_and_the_others_go_on(run: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((run / "base" / "config.json").read_text())
    with running(create_app({"base": run / "base", "broken": tmp_path})) as found:
        client = client_of(found)
        with pytest.raises(openai.InternalServerError, match="is missing; grow"):
            client.completions.create(model="broken", prompt="The")
        assert client.completions.create(model="base", prompt="The").choices


def test_with_a_key_nobody_else_is_served(nodes: dict[str, Path]) -> None:
    with running(create_app(nodes, key="sesame")) as found:
        for wrong in ("none", "sesam", "sesameé"):
            answer = httpx.get(
                f"{found}/v1/models", headers={"Authorization": f"Bearer {wrong}".encode()}
            )
            assert answer.status_code == 401
        with pytest.raises(openai.AuthenticationError) as caught:
            client_of(found, "wrong").models.list()
        assert caught.value.code == "invalid_api_key"
        assert httpx.get(f"{found}/v1/models").status_code == 401
        assert len(client_of(found, "sesame").models.list().data) == 2


def test_without_a_key_other_host_names_are_refused(address: str) -> None:
    headers = {"Host": "evil.example:80"}
    assert httpx.get(f"{address}/v1/models", headers=headers).status_code == 403


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True), ("localhost", True), ("::1", True), ("[::1]", True),
        ("127.8.8.8", True), ("0.0.0.0", False), ("10.0.0.1", False), ("localhost.evil", False),
        ("", False),
    ],
)  # fmt: skip
def test_loopback_is_this_machine_only(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


def test_the_server_refuses_what_would_not_work(nodes: dict[str, Path]) -> None:
    with pytest.raises(RegrowError, match="give a key"):
        serve(nodes, host="0.0.0.0")
    with pytest.raises(RegrowError, match="no node to serve"):
        serve({})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(RegrowError, match="choose another --port"):
            serve(nodes, port=taken.getsockname()[1])


def test_the_server_says_where_it_listens(
    nodes: dict[str, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(uvicorn.Server, "run", lambda self, sockets: None)
    serve(nodes, port=0)
    said = capsys.readouterr().out
    assert said.startswith("serving base, tuned at http://127.0.0.1:")


def test_api_imports_nothing_of_the_tree() -> None:
    assert "regrow.tree" not in Path(api.__file__).read_text()


def test_tokenizer_of_another_model_is_refused(run: Path, tmp_path: Path) -> None:
    save_model(
        Decoder(
            ModelConfig(
                vocabulary=270, width=16, layers=1, heads=1, kv_heads=1, hidden=16, context=16
            )
        ),
        tmp_path,
    )
    Tokenizer.load(run / "base").save(tmp_path)
    with pytest.raises(RegrowError, match="the tokenizer has"):
        Speaker.load(tmp_path)


def test_half_a_surrogate_pair_is_asked_as_a_question_mark(run: Path) -> None:
    speaker = Speaker.load(run / "tuned")
    halves, marks = ([Message("user", f"Why{end}")] for end in ("\ud800", "?"))
    assert speaker.chat_prompt(halves) == speaker.chat_prompt(marks)
    assert speaker.text_prompt("Why\ud800") == speaker.text_prompt("Why?")
