"""The switches that no interchange format carries, against the models of transformers."""

from __future__ import annotations

import pytest
import torch
from model_families import tokens
from torch import Tensor, nn

from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder

SIZES = {"vocabulary": 50, "width": 32, "layers": 2, "heads": 4, "kv_heads": 4, "hidden": 48,
         "context": 40, "norm": "layer", "norm_bias": True, "activation": "gelu-tanh",
         "mlp_bias": True}  # fmt: skip


def drawn(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters():
            p.normal_(0.5 if p.ndim == 1 else 0.0, 0.2, generator=generator)
    return model.eval()


def take(ours: nn.Module, theirs: nn.Module) -> None:
    with torch.no_grad():
        ours.weight.copy_(theirs.weight)
        if theirs.bias is not None:
            ours.bias.copy_(theirs.bias)


@pytest.mark.filterwarnings("ignore")
def test_local_layers_are_those_of_gpt_neo() -> None:
    """GPT-Neo does not divide scores by sqrt(head_dim), and its queries have no bias."""
    from transformers import GPTNeoConfig, GPTNeoForCausalLM

    theirs = drawn(
        GPTNeoForCausalLM(
            GPTNeoConfig(
                vocab_size=50, max_position_embeddings=40, hidden_size=32, num_layers=2,
                num_heads=4, intermediate_size=48, window_size=5, bos_token_id=0, eos_token_id=0,
                attention_types=[[["global", "local"], 1]], attn_implementation="eager",
            )
        )
    )  # fmt: skip
    config = ModelConfig(**SIZES, positions="learned", attention_bias=True, local_window=5)
    ours, body = Decoder(config), theirs.transformer
    take(ours.norm, body.ln_f)
    with torch.no_grad():
        ours.embedding.copy_(body.wte.weight)
        ours.position_embedding.copy_(body.wpe.weight)
    for mine, block in zip(ours.blocks, body.h):
        attention = block.attn.attention
        take(mine.attention_norm, block.ln_1)
        take(mine.mlp_norm, block.ln_2)
        take(mine.up, block.mlp.c_fc)
        take(mine.down, block.mlp.c_proj)
        for name in ("q", "k", "v", "out"):
            take(getattr(mine.attention, name), getattr(attention, f"{name}_proj"))
        with torch.no_grad():
            mine.attention.q.weight.mul_(8**0.5)
    agree(ours, theirs)


@pytest.mark.filterwarnings("ignore")
def test_gpt_j_is_partial_rotation_a_shared_norm_and_a_head_bias() -> None:
    from transformers import GPTJConfig, GPTJForCausalLM

    theirs = drawn(
        GPTJForCausalLM(
            GPTJConfig(
                vocab_size=50, n_positions=40, n_embd=32, n_layer=2, n_head=4, rotary_dim=4,
                n_inner=48, bos_token_id=0, eos_token_id=0, attn_implementation="eager",
            )
        )
    )  # fmt: skip
    config = ModelConfig(
        **SIZES, rope_share=0.5, parallel=True, shared_norm=True, head_bias=True, tied=False
    )
    ours, body = Decoder(config), theirs.transformer
    take(ours.norm, body.ln_f)
    with torch.no_grad():
        ours.embedding.copy_(body.wte.weight)
        ours.head.copy_(theirs.lm_head.weight)
        ours.head_bias.copy_(theirs.lm_head.bias)
    for mine, block in zip(ours.blocks, body.h):
        take(mine.attention_norm, block.ln_1)
        take(mine.up, block.mlp.fc_in)
        take(mine.down, block.mlp.fc_out)
        take(mine.attention.v, block.attn.v_proj)
        take(mine.attention.out, block.attn.out_proj)
        with torch.no_grad():
            mine.attention.q.weight.copy_(half_split(block.attn.q_proj.weight))
            mine.attention.k.weight.copy_(half_split(block.attn.k_proj.weight))
    agree(ours, theirs)


def half_split(weight: Tensor, heads: int = 4, rotary: int = 4) -> Tensor:
    """Rows of the rotary channels from interleaved pairs to two halves."""
    rows = weight.view(heads, weight.shape[0] // heads, -1)
    turned = rows[:, :rotary]
    return torch.cat((turned[:, 0::2], turned[:, 1::2], rows[:, rotary:]), 1).reshape(weight.shape)


def agree(ours: Decoder, theirs: nn.Module) -> None:
    x = tokens(2, 30)
    with torch.no_grad():
        wanted = theirs(x).logits
        torch.testing.assert_close(ours.logits(ours(x)), wanted, atol=1e-5, rtol=1e-5)
