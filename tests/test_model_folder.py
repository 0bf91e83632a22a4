"""Saved models are ordinary Hugging Face folders."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_model_decoder import CONFIG, ids, random_model

from regrow.errors import RegrowError
from regrow.files import read_json, write_json
from regrow.generate.sampler import Sampling, generate
from regrow.model.config import ModelConfig
from regrow.model.folder import config_from_hf, load_model, save_model

UNTIED = ModelConfig(50, 16, 2, 4, 4, 24, 80, rope_theta=500.0, norm_eps=1e-6, tied=False)


class Spaced:
    assistant = -1

    def decode(self, ids: list[int]) -> str:
        return " ".join(map(str, ids))


@pytest.mark.parametrize("config", [CONFIG, UNTIED])
def test_transformers_reads_the_same_logits_and_greedy_text(
    tmp_path: Path, config: ModelConfig
) -> None:
    from transformers import AutoModelForCausalLM

    model = random_model(config)
    save_model(model, tmp_path, eos=0, pad=1)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    x = ids(3, 70)
    with torch.no_grad():
        torch.testing.assert_close(model.logits(model(x)), theirs(x).logits, atol=1e-4, rtol=0)
        greedy = theirs.generate(
            x[:1, :9],
            max_new_tokens=30,
            do_sample=False,
            attention_mask=torch.ones(1, 9),
            eos_token_id=None,
            pad_token_id=1,
        )
    ours = generate(model, Spaced(), [x[0, :9].tolist()], Sampling(max_tokens=30))[0][0]
    assert ours.ids == greedy[0, 9:].tolist()


def test_a_folder_written_by_transformers_loads_here(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    theirs = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=50,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=80,
            tie_word_embeddings=False,
        )
    ).eval()
    theirs.save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    x = ids(2, 30)
    with torch.no_grad():
        torch.testing.assert_close(ours.logits(ours(x)), theirs(x).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize("config", [CONFIG, UNTIED])
def test_saving_and_loading_gives_the_same_bits(tmp_path: Path, config: ModelConfig) -> None:
    model = random_model(config)
    save_model(model, tmp_path)
    again = load_model(tmp_path)
    assert again.config == config
    for (name, a), (_, b) in zip(model.named_parameters(), again.named_parameters()):
        assert torch.equal(a, b), name
    assert load_model(tmp_path, torch.bfloat16).embedding.dtype == torch.bfloat16


def test_missing_broken_and_foreign_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match=r"config\.json is missing"):
        load_model(tmp_path)
    save_model(random_model(), tmp_path)
    config = read_json(tmp_path / "config.json")
    write_json(tmp_path / "config.json", {**config, "intermediate_size": 32})
    with pytest.raises(RegrowError, match=r"gate_proj.*shape"):
        load_model(tmp_path)
    write_json(tmp_path / "config.json", config)
    (tmp_path / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(RegrowError, match=r"model\.safetensors is broken"):
        load_model(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(RegrowError, match=r"model\.safetensors is missing"):
        load_model(tmp_path)


def test_what_the_decoder_does_not_compute_is_refused() -> None:
    llama = {
        "model_type": "llama",
        "vocab_size": 9,
        "hidden_size": 8,
        "num_attention_heads": 2,
        "num_hidden_layers": 1,
        "intermediate_size": 8,
        "max_position_embeddings": 8,
    }
    assert config_from_hf(llama).kv_heads == 2
    for change, says in (
        ({"model_type": "mamba"}, "'mamba' is none that the decoder computes; those are bloom, co"),
        ({"hidden_act": "tanh"}, "hidden_act 'tanh'; the decoder computes silu"),
        ({"rope_scaling": {"rope_type": "llama3"}}, "rope_type 'llama3'"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "rope_type 'linear'"),
        ({"model_type": "mistral", "sliding_window": 16}, "sliding_window 16"),
        ({"model_type": "mistral"}, "sliding_window 4096"),
        ({"vocab_size": None}, "lacks vocab_size"),
        ({"vocab_size": "many"}, "describes no model"),
        ({"num_attention_heads": 3}, "multiple of heads"),
    ):
        with pytest.raises(RegrowError, match=says):
            config_from_hf({**llama, **change})
