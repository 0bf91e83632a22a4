"""Models of others become nodes that speak, serve and are measured, and go out again."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
import torch
from foreign_kit import write_model, write_tokenizer
from rich.console import Console
from test_evaluate_measure import quickly, small_items
from tree_kit import Garden

from regrow.errors import RegrowError
from regrow.evaluate.measure import measure
from regrow.generate.sampler import Sampling, generate
from regrow.serve.chat import chat
from regrow.serve.speaker import Speaker


@pytest.fixture
def garden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Garden:
    """A run in which something is grown, so that a node can be put into it."""
    garden = Garden(tmp_path, monkeypatch)
    assert garden.grow("--to", "oak")[0] == 0
    return garden


def test_a_gpt2_folder_becomes_a_node_and_comes_out_the_same(garden: Garden) -> None:
    write_model(Path("in"))
    write_tokenizer(Path("in"))
    code, _, errors = garden.call("import", "in", "--name", "guest")
    assert (code, errors) == (0, "")
    edge = json.loads((garden.run / "guest" / "edge.json").read_text())
    assert (edge["stage"], edge["parent"], edge["record"]["chat"]) == ("import", None, True)
    assert garden.call("export", "guest", "out")[0] == 0
    for name in ("model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"):
        assert Path("out", name).read_bytes() == Path("in", name).read_bytes()
    _, _, errors = garden.call("import", "in", "--name", "guest")
    assert "is there already; choose another name" in errors


def test_an_imported_node_continues_as_transformers_does(tmp_path: Path) -> None:
    theirs = write_model(tmp_path)
    write_tokenizer(tmp_path, template=None)
    speaker = Speaker.load(tmp_path)
    assert not speaker.chat
    prompt = speaker.text_prompt("The mill stands")
    found = generate(speaker.model, speaker.tokenizer, [prompt], Sampling(20))[0][0]
    with torch.no_grad():
        expected = theirs.generate(
            torch.tensor([prompt]), max_new_tokens=20, do_sample=False, eos_token_id=None,
            attention_mask=torch.ones(1, len(prompt)), pad_token_id=0,
        )  # fmt: skip
    assert found.ids == expected[0, len(prompt) :].tolist()


def test_it_answers_in_its_own_template(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_tokenizer(tmp_path)
    screen, lines = io.StringIO(), iter(["Who is there?", "/quit"])
    chat(tmp_path, console=Console(file=screen, width=200), read=lambda: next(lines), max_tokens=5)
    assert " answers. " in screen.getvalue()


def test_it_is_served(tmp_path: Path) -> None:
    from fastapi.testclient import TestClient

    from regrow.serve.api import create_app

    write_model(tmp_path)
    write_tokenizer(tmp_path)
    client = TestClient(create_app({"guest": tmp_path}), base_url="http://localhost")
    asked = {"model": "guest", "max_tokens": 4, "temperature": 0}
    turn = {"role": "user", "content": "Who?"}
    said = client.post("/v1/chat/completions", json={**asked, "messages": [turn]})
    assert (said.status_code, said.json()["usage"]["completion_tokens"] > 0) == (200, True)
    long = client.post("/v1/completions", json={**asked, "prompt": "mill " * 64})
    assert (long.status_code, "64" in long.json()["error"]["message"]) == (400, True)


def test_it_is_measured(tmp_path: Path) -> None:
    write_model(tmp_path / "guest")
    write_tokenizer(tmp_path / "guest")
    items = small_items(tmp_path / "items")
    rows = measure(tmp_path / "guest", items, ["instructions", "knowledge"], quickly())
    assert {row.ability for row in rows} == {"instructions", "knowledge"}


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("model.safetensors", None, "has no *.safetensors"),
        ("tokenizer.json", None, "lacks tokenizer.json"),
        ("config.json", '{"model_type": "mamba"}', "'mamba' is none that the decoder computes"),
        ("model.safetensors", "text", "model.safetensors is broken"),
        ("tokenizer_config.json", '{"eos_token": "x"}', None),
    ],
)
def test_a_folder_that_cannot_be_a_node_is_refused(
    garden: Garden, file: str, content: str | None, says: str | None
) -> None:
    write_model(Path("in"))
    write_tokenizer(Path("in"))
    if content is None:
        Path("in", file).unlink()
    else:
        Path("in", file).write_text(content)
    code, _, errors = garden.call("import", "in", "--name", "guest")
    assert (code, (says or "") in errors) == (int(says is not None), True)
    assert (garden.run / "guest").exists() == (says is None)


def test_a_file_that_is_not_there_is_named(garden: Garden) -> None:
    _, _, errors = garden.call("import", "no.gguf", "--name", "guest")
    assert "there is no no.gguf; give a Hugging Face folder or a GGUF file" in errors


def test_a_run_that_cannot_begin_leaves_nothing(garden: Garden) -> None:
    code, _, errors = garden.call("run", "gsm8k")
    assert (code, Path("runs/gsm8k").exists()) == (1, False)
    assert "for node given; give a model's folder or GGUF file: nodes.given.settings" in errors


def test_a_tokenizer_larger_than_the_model_is_refused(garden: Garden) -> None:
    write_model(Path("in"), vocab_size=300)
    write_tokenizer(Path("in"))
    _, _, errors = garden.call("import", "in", "--name", "guest")
    assert "entries, the model 300; these do not belong together" in errors


def test_a_shape_of_our_own_is_exported_with_a_word_of_warning(garden: Garden) -> None:
    from regrow.model.config import ModelConfig
    from regrow.model.decoder import Decoder
    from regrow.model.folder import save_model

    save_model(Decoder(ModelConfig(320, 24, 1, 3, 1, 40, 40, positions="alibi")), Path("ours"))
    code, _, errors = garden.call("export", "ours", "out")
    assert (code, "only regrow loads the folder" in errors) == (0, True)
    code, _, errors = garden.call("export", "ours", "other", "--precision", "f32")
    assert (code, "is of GGUF files" in errors, Path("other").exists()) == (1, True, False)
    code, _, errors = garden.call("export", "ours", "out.gguf")
    assert (code, "is no Llama" in errors, Path("out.gguf").exists()) == (1, True, False)


def test_speech_beyond_the_table_of_positions_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    write_tokenizer(tmp_path)
    speaker = Speaker.load(tmp_path)
    with pytest.raises(RegrowError, match="no room in a context of 64"):
        generate(speaker.model, speaker.tokenizer, [[1] * 64], Sampling(1))
