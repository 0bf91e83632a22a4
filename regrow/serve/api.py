"""An OpenAI-compatible server for all nodes of a run.

Tuned nodes answer chats; base nodes continue texts. Without a key it listens on this machine only.
"""

from __future__ import annotations

import ipaddress
import secrets
import socket
import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response, StreamingResponse
from starlette.exceptions import HTTPException

from regrow.errors import RegrowError
from regrow.generate.sampler import Completion, Sampling
from regrow.serve.engine import Engine
from regrow.serve.requests import MOST, UNSUPPORTED, Asked, ChatAsked, CompletionAsked
from regrow.serve.shapes import ChatShape, TextShape, event, problem
from regrow.serve.speaker import Speaker

_NOTHING = Completion([], "", np.zeros(0, np.float32), False)


class Refusal(Exception):
    """A request that cannot be served, and how OpenAI's API would say so."""

    def __init__(
        self, status: int, message: str, *, param: str | None = None, code: str | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.param, self.code = status, param, code


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine only."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def create_app(nodes: Mapping[str, Path], *, key: str | None = None) -> FastAPI:
    """The application over these node folders; with `key`, every request has to carry it.

    Without a key it answers only requests that name this machine as their host, so that no page in
    a browser reaches it under another name (DNS rebinding).
    """

    def admit(request: Request) -> None:
        if key is None:
            if not is_loopback(request.url.hostname or ""):
                raise Refusal(403, "this server answers on localhost only; start it with a key")
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not secrets.compare_digest(given.encode(), key.encode()):
            raise Refusal(401, "the API key is missing or wrong", code="invalid_api_key")

    app = FastAPI(
        title="regrow", docs_url=None, redoc_url=None, openapi_url=None,
        dependencies=[Depends(admit)],
    )  # fmt: skip
    engine = Engine(nodes)
    app.state.engine = engine
    _add_errors(app)

    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [_model(name, engine) for name in engine.nodes]}

    @app.get("/v1/models/{name}")
    async def model(name: str) -> dict[str, Any]:
        _known(name, engine)
        return _model(name, engine)

    @app.post("/v1/completions")
    async def completions(asked: CompletionAsked) -> Response:
        speaker = await _speaker(asked, engine)
        prompts = [_text_ids(prompt, speaker) for prompt in asked.prompts()]
        if asked.best_of not in (None, asked.n):
            raise Refusal(400, "best_of other than n is not supported", param="best_of")
        if not 1 <= len(prompts) * asked.n <= MOST:
            raise Refusal(400, f"ask for 1 to {MOST} completions at once", param="prompt")
        for prompt in prompts:
            _fits(prompt, asked.max_tokens, speaker, "prompt")
        shape = TextShape(asked, _id("cmpl"), int(time.time()))
        sampling = asked.sampling(max(1, asked.max_tokens), speaker.stop_ids)
        if asked.stream:
            if asked.logprobs is not None or asked.echo or asked.max_tokens == 0:
                raise Refusal(400, "logprobs and echo cannot be streamed", param="stream")
            return _streaming(engine, speaker, prompts, sampling, shape)
        if asked.max_tokens:
            found = await engine.complete(speaker, prompts, sampling, asked.n)
        else:
            found = [[_NOTHING] * asked.n for _ in prompts]
        choices: list[dict[str, Any]] = []
        for prompt, text, group in zip(prompts, asked.prompts(), found):
            for completion in group:
                start = _shown_from(text, prompt, asked.echo)
                logprobs = None
                if asked.logprobs is not None:
                    ids = [*prompt, *_shown(completion, speaker)]
                    logprobs = await engine.logprobs(speaker, ids, start, asked.logprobs)
                echoed = speaker.tokenizer.decode(prompt[start:]) if asked.echo else ""
                choices.append(shape.choice(len(choices), echoed, completion, logprobs))
        return JSONResponse(shape.whole(choices, *_counts(prompts, found)))

    @app.post("/v1/chat/completions")
    async def chat(asked: ChatAsked) -> Response:
        speaker = await _speaker(asked, engine)
        if not speaker.chat:
            raise Refusal(
                400, f"{asked.model} is a base model and answers no chats; use /v1/completions",
                param="model",
            )  # fmt: skip
        prompt = speaker.chat_prompt([message.message() for message in asked.messages])
        wanted = asked.max_completion_tokens or asked.max_tokens
        _fits(prompt, wanted or 1, speaker, "messages")
        sampling = asked.sampling(wanted or speaker.context, speaker.stop_ids)
        shape = ChatShape(asked, _id("chatcmpl"), int(time.time()))
        if asked.stream:
            return _streaming(engine, speaker, [prompt], sampling, shape)
        found = await engine.complete(speaker, [prompt], sampling, asked.n)
        choices = [shape.choice(i, completion) for i, completion in enumerate(found[0])]
        return JSONResponse(shape.whole(choices, *_counts([prompt], found)))

    return app


def serve(
    nodes: Mapping[str, Path], *, host: str = "127.0.0.1", port: int = 8000, key: str | None = None
) -> None:
    """Serve until interrupted. Raises RegrowError where the address is taken, where there is
    nothing to serve, or where others could reach it without a key."""
    if not nodes:
        raise RegrowError("there is no node to serve yet; grow one with `regrow run`")
    if not key and not is_loopback(host):
        raise RegrowError(f"{host} is open to others; give a key with --key or REGROW_KEY")
    listen(
        create_app(nodes, key=key), host, port,
        f"serving {', '.join(nodes)} at {{address}}/v1 (Ctrl-C stops)",
    )  # fmt: skip


def listen(app: FastAPI, host: str, port: int, says: str) -> None:
    """Run an application until interrupted. `says` is printed with its {address} filled in.

    Raises RegrowError where the address is taken.
    """
    import uvicorn

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host.strip("[]"), port))
        except OSError as error:
            raise RegrowError(
                f"cannot listen on {host}:{port} ({error.strerror}); choose another --port"
            ) from error
        listening.listen()  # before it is said, so that who reads it is answered
        port = listening.getsockname()[1]
        shown = f"[{host}]" if ":" in host else host
        print(says.replace("{address}", f"http://{shown}:{port}"), flush=True)
        config = uvicorn.Config(app, log_level="warning")
        uvicorn.Server(config).run(sockets=[listening])


def _streaming(
    engine: Engine,
    speaker: Speaker,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    shape: TextShape | ChatShape,
) -> StreamingResponse:
    return StreamingResponse(
        _events(engine, speaker, prompts, sampling, shape),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


async def _events(
    engine: Engine,
    speaker: Speaker,
    prompts: Sequence[list[int]],
    sampling: Sampling,
    shape: TextShape | ChatShape,
) -> AsyncIterator[bytes]:
    """One choice after the other, as server-sent events. Closing the stream ends the generation."""
    found: list[list[Completion]] = []
    for prompt in prompts:
        found.append([])
        for sample in range(shape.asked.n):
            index = sum(map(len, found))
            for chunk in shape.opening(index):
                yield event(chunk)
            async for piece in engine.stream(speaker, prompt, sampling, sample):
                if isinstance(piece, Completion):
                    found[-1].append(piece)
                    yield event(shape.closing(index, piece))
                elif piece:
                    yield event(shape.piece(index, piece))
    if shape.asked.stream_options.include_usage:
        yield event(shape.usage(*_counts(prompts, found)))
    yield b"data: [DONE]\n\n"


async def _speaker(asked: Asked, engine: Engine) -> Speaker:
    _known(asked.model, engine)
    return await engine.speaker(asked.model)


def _known(name: str, engine: Engine) -> None:
    if name not in engine.nodes:
        raise Refusal(
            404, f"there is no model {name!r}; there are {', '.join(engine.nodes)}",
            param="model", code="model_not_found",
        )  # fmt: skip


def _model(name: str, engine: Engine) -> dict[str, Any]:
    created = int((engine.nodes[name] / "config.json").stat().st_mtime)
    return {"id": name, "object": "model", "created": created, "owned_by": "regrow"}


def _text_ids(prompt: str | list[int], speaker: Speaker) -> list[int]:
    """The ids of a text, which begins a document, or the ids as they were given."""
    if isinstance(prompt, str):
        return speaker.text_prompt(prompt)
    if not prompt or min(prompt) < 0 or max(prompt) >= speaker.tokenizer.vocabulary:
        raise Refusal(
            400, f"token ids are 0 to {speaker.tokenizer.vocabulary - 1}, at least one",
            param="prompt",
        )  # fmt: skip
    return prompt


def _fits(prompt: list[int], wanted: int, speaker: Speaker, param: str) -> None:
    if len(prompt) + wanted > speaker.context:
        raise Refusal(
            400,
            f"this model's context is {speaker.context} tokens, but {len(prompt)} in the {param} "
            f"and {wanted} to complete were asked for; shorten one of them",
            param=param,
            code="context_length_exceeded",
        )


def _shown_from(given: str | list[int], prompt: list[int], echo: bool) -> int:
    """From where on a prompt is shown: the mark before a text is not part of it."""
    if not echo:
        return len(prompt)
    return 1 if isinstance(given, str) else 0


def _shown(completion: Completion, speaker: Speaker) -> list[int]:
    """The ids that the text shows something of: not what ended it."""
    ids = list(completion.ids)
    if ids and ids[-1] in speaker.stop_ids:
        return ids[:-1]
    while ids and len(speaker.tokenizer.decode(ids[:-1])) >= len(completion.text):
        ids.pop()
    return ids


def _counts(prompts: Sequence[list[int]], found: Sequence[Sequence[Completion]]) -> tuple[int, int]:
    return sum(map(len, prompts)), sum(len(c.ids) for group in found for c in group)


def _id(kind: str) -> str:
    return f"{kind}-{uuid.uuid4().hex}"


def _add_errors(app: FastAPI) -> None:
    """Every error in the shape of OpenAI's API."""

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> JSONResponse:
        return JSONResponse(
            problem(str(error), error.status, error.param, error.code), error.status
        )

    @app.exception_handler(RegrowError)
    async def failed(request: Request, error: RegrowError) -> JSONResponse:
        return JSONResponse(problem(str(error), 500), 500)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        message = f"{where}: {first['msg']}" if where else str(first["msg"])
        name = where.partition(".")[0]
        if name in UNSUPPORTED or (name == "logprobs" and first["type"] == "literal_error"):
            message = f"{name} is not supported here; leave it out"
        return JSONResponse(problem(message, 400, where or None), 400)

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> JSONResponse:
        message = f"{request.method} {request.url.path}: {error.detail}"
        return JSONResponse(problem(message, error.status_code), error.status_code)

    @app.exception_handler(Exception)
    async def unexpected(request: Request, error: Exception) -> JSONResponse:
        return JSONResponse(problem("the server failed on this request; see its log", 500), 500)
