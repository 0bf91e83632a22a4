"""What the server refuses, and how it says so."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import uvicorn
from serve_kit import (
    CONTEXT,
    PAGE,
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

from regrow.corpus.tokenizer import Tokenizer
from regrow.errors import RegrowError
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.folder import save_model
from regrow.records import Message
from regrow.serve import api
from regrow.serve.api import create_app, is_loopback, serve
from regrow.serve.speaker import Speaker

__all__ = ["address", "application", "client", "nodes", "run", "speaker"]


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
