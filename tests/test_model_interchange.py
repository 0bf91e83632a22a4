"""Every family of transformers comes in with the same logits and goes out with the same bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from regrow.errors import RegrowError
from regrow.files import read_json, write_json
from regrow.generate.sampler import Sampling, generate
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.families import FAMILIES
from regrow.model.folder import check_model, config_from_hf, hf_config, load_model, save_model
from regrow.model.presets import preset

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
    ("OPT", {**OPT, "word_embed_proj_dim": 22, "do_layer_norm_before": False}),
    ("Bloom", BLOOM),
    ("GPTNeoX", NEOX),
    ("Llama", LLAMA),
    ("Cohere", {**LLAMA, "num_key_value_heads": 1, "head_dim": 8, "logit_scale": 0.3}),
    ("GPT2", {**GPT2, "n_inner": 44, "n_head": 2, "activation_function": "gelu"}),
    ("GPT2", {**GPT2, "tie_word_embeddings": False, "layer_norm_epsilon": 1e-3}),
    ("OPT", OPT),
    ("OPT", {**OPT, "word_embed_proj_dim": 22, "tie_word_embeddings": False}),
    ("OPT", {**OPT, "enable_bias": False, "activation_function": "gelu"}),
    ("OPT", {**OPT, "_remove_final_layer_norm": True}),
    ("Bloom", {**BLOOM, "n_head": 8, "layer_norm_epsilon": 1e-3}),
    ("Bloom", {**BLOOM, "n_head": 3, "tie_word_embeddings": False}),
    ("GPTNeoX", {**NEOX, "use_parallel_residual": False, "rotary_pct": 1.0}),
    ("GPTNeoX", {**NEOX, "rotary_emb_base": 500.0, "hidden_act": "gelu_fast"}),
    ("GPTNeoX", {**NEOX, "attention_bias": False, "tie_word_embeddings": True}),
    ("Llama", {**LLAMA, "num_key_value_heads": 1, "tie_word_embeddings": True}),
    ("Llama", {**LLAMA, "num_key_value_heads": 6, "head_dim": 10, "rope_theta": 500.0}),
    ("Llama", {**LLAMA, "attention_bias": True, "mlp_bias": True, "rms_norm_eps": 1e-3}),
    ("Llama", {**LLAMA, "hidden_act": "gelu"}),
    ("Mistral", {**LLAMA, "num_key_value_heads": 3, "sliding_window": None}),
    ("Cohere", {**LLAMA, "tie_word_embeddings": False}),
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


def close(found: torch.Tensor, expected: torch.Tensor) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "settings"), CASES, ids=NAMES)
def test_a_family_comes_and_goes(tmp_path: Path, name: str, settings: dict[str, Any]) -> None:
    from transformers import AutoModelForCausalLM

    model = theirs(name, settings)
    model.save_pretrained(tmp_path / "in")
    ours = load_model(tmp_path / "in")
    x = ids(2, 21)
    with torch.no_grad():
        expected = model(x).logits
        text = model.generate(
            x[:1, :9], max_new_tokens=12, do_sample=False, attention_mask=torch.ones(1, 9),
            pad_token_id=0,
        )  # fmt: skip
    close(logits(ours, x), expected)
    found = generate(ours, Spaced(), [x[0, :9].tolist()], Sampling(max_tokens=12))[0][0]
    assert found.ids == text[0, 9:].tolist()

    save_model(ours, tmp_path / "out")
    was, now = (load_file(tmp_path / folder / "model.safetensors") for folder in ("in", "out"))
    assert was.keys() == now.keys()
    for key, tensor in was.items():
        assert torch.equal(tensor, now[key]), key
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert type(again) is (type(model) if name != "Mistral" else type(theirs("Llama", LLAMA)))
    with torch.no_grad():
        close(again(x).logits, expected)


def test_fields_survive_a_config_json_of_every_family() -> None:
    sizes = {"vocabulary": 61, "width": 24, "layers": 2, "heads": 3, "kv_heads": 3, "hidden": 96}
    layered = {"norm": "layer", "norm_bias": True, "attention_bias": True, "mlp_bias": True}
    learned = {**layered, "positions": "learned"}
    for kind, switches in (
        ("llama", {"kv_heads": 1, "head_dim": 6, "attention_bias": True, "tied": False}),
        ("gpt2", {**learned, "activation": "gelu-tanh", "dropout": 0.1, "init": "gpt2"}),
        ("opt", {**learned, "activation": "relu", "position_offset": 2}),
        ("bloom", {
            **layered, "activation": "gelu-tanh", "positions": "alibi", "embedding_norm": True,
            "init": "bloom", "embedding_gradient": 0.1,
        }),
        ("gpt_neox", {**layered, "activation": "gelu", "parallel": True, "rope_share": 0.25}),
        ("cohere", {
            "norm": "layer", "parallel": True, "shared_norm": True, "kv_heads": 1,
            "logit_scale": 0.25, "init": "palm",
        }),
        ("regrow", {"positions": "alibi"}),
        ("regrow", {**learned, "activation": "gelu-tanh", "local_window": 8, "dropout": 0.2}),
        ("regrow", {**layered, "activation": "geglu", "norm_place": "post", "residual_scale": 2.0}),
        ("regrow", {"parallel": True, "shared_norm": True, "head_bias": True}),
    ):  # fmt: skip
        config = ModelConfig(**{**sizes, "context": 40, **switches})
        values = hf_config(config, "float32")
        assert (values["model_type"], config_from_hf(values)) == (kind, config)


KEYS = sorted({key for f in FAMILIES for keys in f.keys.values() for key in keys.split()})
WILD = [None, True, False, -1, 0, 3, 0.5, "", "gelu", [1], {}]


@given(
    kind=st.sampled_from([*[f.model_type for f in FAMILIES], "regrow", "mamba", None]),
    changes=st.dictionaries(
        st.sampled_from([*KEYS, "rope_parameters", "regrow"]), st.sampled_from(WILD), max_size=6
    ),
)
def test_a_wild_config_json_is_a_shape_or_one_line(kind: Any, changes: dict[str, Any]) -> None:
    try:
        config = config_from_hf({**dict.fromkeys(KEYS, 4), **changes, "model_type": kind})
    except RegrowError as error:
        assert "\n" not in str(error)
    else:
        assert config.width > 0


@pytest.mark.parametrize(
    ("preset_name", "kind"),
    [
        ("gpt2-1.5b", "gpt2"),
        ("gpt3-175b", "regrow"),  # local attention in every second layer
        ("opt-350m", "opt"),
        ("bloom-176b", "bloom"),
        ("palm-540b", "cohere"),
        ("glm-130b", "regrow"),
        ("llama2-70b", "llama"),
        ("pythia-12b", "gpt_neox"),
    ],
)
def test_a_preset_goes_out_as_the_family_that_computes_it(preset_name: str, kind: str) -> None:
    config = preset(preset_name).config
    values = hf_config(config, "float32")
    assert (values["model_type"], config_from_hf(values)) == (kind, config)


def test_a_shape_of_our_own_comes_back_and_transformers_refuses_it(tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    config = ModelConfig(61, 24, 2, 3, 1, 40, 40, positions="alibi", local_window=8, tied=False)
    model = Decoder(config, seed=3)
    save_model(model, tmp_path)
    assert load_file(tmp_path / "model.safetensors").keys() == dict(model.named_parameters()).keys()
    assert torch.equal(logits(load_model(tmp_path), ids(1, 20)), logits(model, ids(1, 20)))
    with pytest.raises(ValueError, match="regrow"):
        AutoModelForCausalLM.from_pretrained(tmp_path)


def test_shards_are_read_through_their_index(tmp_path: Path) -> None:
    model = theirs("GPTNeoX", NEOX)
    model.save_pretrained(tmp_path, max_shard_size="20KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 3
    with torch.no_grad():
        expected = model(ids(1, 20)).logits
    close(logits(load_model(tmp_path), ids(1, 20)), expected)
    next(tmp_path.glob("model-00002*")).unlink()
    with pytest.raises(RegrowError, match=r"model-00002-of-\d+\.safetensors is missing"):
        load_model(tmp_path)


def test_bare_models_and_old_buffers_are_read_too(tmp_path: Path) -> None:
    """As the published gpt2 has it: no "transformer." before the names, masks among the weights."""
    model = theirs("GPT2", GPT2)
    model.save_pretrained(tmp_path)
    tensors = load_file(path := tmp_path / "model.safetensors")
    tensors = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    mask = torch.ones(1, 1, 40, 40).tril()
    save_file({**tensors, "h.0.attn.bias": mask, "lm_head.weight": tensors["wte.weight"] * 1}, path)
    with torch.no_grad():
        expected = model(ids(1, 20)).logits
    close(logits(load_model(tmp_path), ids(1, 20)), expected)


def test_a_tensor_that_does_not_belong_is_named(tmp_path: Path) -> None:
    theirs("Bloom", BLOOM).save_pretrained(tmp_path)
    tensors = load_file(path := tmp_path / "model.safetensors")
    joined = "transformer.h.1.self_attention.query_key_value.weight"
    for change, says in (
        ({"extra.weight": torch.ones(1)}, r"extra\.weight is there"),
        ({joined: None}, rf"{joined} is missing, config\.json wants \(144, 48\)"),
        ({joined: torch.ones(48, 48)}, rf"{joined} is of shape \(48, 48\)"),
    ):
        changed = {k: v for k, v in {**tensors, **change}.items() if v is not None}
        save_file(changed, path)
        for read in (load_model, check_model):
            with pytest.raises(RegrowError, match=says):
                read(tmp_path)


def test_a_setting_that_we_do_not_compute_is_refused(tmp_path: Path) -> None:
    theirs("GPT2", GPT2).save_pretrained(tmp_path)
    values = read_json(tmp_path / "config.json")
    write_json(tmp_path / "config.json", {**values, "scale_attn_by_inverse_layer_idx": True})
    with pytest.raises(RegrowError, match="scale_attn_by_inverse_layer_idx True"):
        load_model(tmp_path)


def test_a_prompt_longer_than_the_table_of_positions_is_refused(tmp_path: Path) -> None:
    theirs("GPT2", GPT2).save_pretrained(tmp_path)
    ours = load_model(tmp_path)
    with pytest.raises(RegrowError, match="41 tokens do not fit the context of 40"):
        ours(ids(1, 41))
    with pytest.raises(RegrowError, match="no room in a context of 40"):
        generate(ours, Spaced(), [ids(1, 40)[0].tolist()], Sampling(max_tokens=5))
