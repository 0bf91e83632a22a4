"""Every family of transformers comes in with the same logits and goes out with the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from regrow.errors import RegrowError
from regrow.files import read_json, write_json
from regrow.generate.sampler import Sampling, generate
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.folder import check_model, family_of, load_model, save_model

GPT2 = {"vocab_size": 61, "n_embd": 30, "n_layer": 2, "n_head": 5, "n_positions": 40}
OPT = {
    "vocab_size": 61, "hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 3,
    "ffn_dim": 52, "max_position_embeddings": 40, "word_embed_proj_dim": 36,
}  # fmt: skip
BLOOM = {"vocab_size": 61, "hidden_size": 48, "n_layer": 2, "n_head": 6}
NEOX = {
    "vocab_size": 61, "hidden_size": 60, "num_hidden_layers": 2, "num_attention_heads": 3,
    "intermediate_size": 44, "max_position_embeddings": 40, "rotary_pct": 0.3,
}  # fmt: skip
LLAMA = {
    "vocab_size": 61, "hidden_size": 36, "num_hidden_layers": 2, "num_attention_heads": 6,
    "num_key_value_heads": 2, "intermediate_size": 52, "max_position_embeddings": 40,
}  # fmt: skip
CASES: list[tuple[str, dict[str, Any]]] = [
    ("GPT2", GPT2),
    ("GPT2", {**GPT2, "n_inner": 44, "n_head": 2, "activation_function": "gelu"}),
    ("GPT2", {**GPT2, "tie_word_embeddings": False, "layer_norm_epsilon": 1e-3}),
    ("OPT", OPT),
    ("OPT", {**OPT, "word_embed_proj_dim": 22, "do_layer_norm_before": False}),
    ("OPT", {**OPT, "word_embed_proj_dim": 22, "tie_word_embeddings": False}),
    ("OPT", {**OPT, "enable_bias": False, "activation_function": "gelu"}),
    ("OPT", {**OPT, "_remove_final_layer_norm": True}),
    ("Bloom", BLOOM),
    ("Bloom", {**BLOOM, "n_head": 8, "layer_norm_epsilon": 1e-3}),
    ("Bloom", {**BLOOM, "n_head": 3, "tie_word_embeddings": False}),
    ("GPTNeoX", NEOX),
    ("GPTNeoX", {**NEOX, "use_parallel_residual": False, "rotary_pct": 1.0}),
    ("GPTNeoX", {**NEOX, "rotary_emb_base": 500.0, "hidden_act": "gelu_fast"}),
    ("GPTNeoX", {**NEOX, "attention_bias": False, "tie_word_embeddings": True}),
    ("Llama", LLAMA),
    ("Llama", {**LLAMA, "num_key_value_heads": 1, "tie_word_embeddings": True}),
    ("Llama", {**LLAMA, "num_key_value_heads": 6, "head_dim": 10, "rope_theta": 500.0}),
    ("Llama", {**LLAMA, "attention_bias": True, "mlp_bias": True, "rms_norm_eps": 1e-3}),
    ("Mistral", {**LLAMA, "num_key_value_heads": 3, "sliding_window": None}),
    ("Cohere", {**LLAMA, "logit_scale": 0.3}),
    ("Cohere", {**LLAMA, "num_key_value_heads": 1, "head_dim": 8, "tie_word_embeddings": False}),
]
NAMES = [f"{name}-{n}" for n, (name, _) in enumerate(CASES)]


class Spaced:
    assistant = -1

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))


def theirs(name: str, settings: dict[str, Any]) -> Any:
    """A model of transformers whose every weight is random, norms and biases too."""
    import transformers

    torch.manual_seed(0)
    tokens = {"bos_token_id": None, "eos_token_id": None, "pad_token_id": None}
    config = getattr(transformers, f"{name}Config")(**settings, **tokens)
    head = "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM"
    model = getattr(transformers, head)(config).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(1.0 if p.ndim == 1 else 0.0, 0.3 if p.ndim == 1 else p.shape[-1] ** -0.5)
    return model


def ids(rows: int, length: int) -> torch.Tensor:
    return torch.randint(61, (rows, length), generator=torch.Generator().manual_seed(1))


def logits(model: Decoder, x: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model.eval().logits(model(x))


@pytest.mark.parametrize(("name", "settings"), CASES, ids=NAMES)
def test_a_family_comes_and_goes(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    from transformers import AutoModelForCausalLM

    model = theirs(name, settings)
    model.save_pretrained(tmp_path / "in")
    ours = load_model(tmp_path / "in")
    x = ids(2, 33)
    with torch.no_grad():
        expected = model(x).logits
        text = model.generate(
            x[:1, :9], max_new_tokens=24, do_sample=False, attention_mask=torch.ones(1, 9),
            pad_token_id=0,
        )  # fmt: skip
    torch.testing.assert_close(logits(ours, x), expected, atol=1e-5, rtol=0)
    found = generate(ours, Spaced(), [x[0, :9].tolist()], Sampling(max_tokens=24))[0][0]
    assert found.ids == text[0, 9:].tolist()

    save_model(ours, tmp_path / "out")
    was, now = (load_file(tmp_path / folder / "model.safetensors") for folder in ("in", "out"))
    assert was.keys() == now.keys()
    for key, tensor in was.items():
        assert torch.equal(tensor, now[key]), key
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert type(again) is (type(model) if name != "Mistral" else type(theirs("Llama", LLAMA)))
    with torch.no_grad():
        torch.testing.assert_close(again(x).logits, expected, atol=1e-5, rtol=0)
