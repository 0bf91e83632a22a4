"""What tests of the server share: tiny nodes, the server that offers them, and its clients."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
import torch
import uvicorn
from fastapi import FastAPI

from regrow.corpus.tokenizer import train_tokenizer
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.folder import save_model
from regrow.records import Message
from regrow.serve.api import create_app
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
