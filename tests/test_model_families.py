"""Every switch of the decoder: what a token sees, the cache, the loss, and learning."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from model_families import CONTEXT, SWITCHES, VOCABULARY, family, lively, tokens
from torch import Tensor
from torch.nn import functional

from regrow.errors import RegrowError
from regrow.generate.sampler import Sampling, generate, score
from regrow.model.attention import QUERY_BLOCK, alibi_slopes
from regrow.model.cache import Cache
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.train.optim import OptimSettings, build
from regrow.train.precision import Precision

every_family = pytest.mark.parametrize("name", SWITCHES)


def close(ours: Tensor, wanted: Tensor, atol: float = 1e-5) -> None:
    torch.testing.assert_close(ours, wanted, atol=atol, rtol=1e-5)


def in_steps(model: Decoder, ids: Tensor, first: int, **more: Any) -> Tensor:
    """Hidden states token by token after a prefill of `first`."""
    cache = Cache(model.config, *ids.shape)
    parts = [model(ids[:, :first], cache=cache, **more)]
    parts += [model(ids[:, i : i + 1], cache=cache) for i in range(first, ids.shape[1])]
    return torch.cat(parts, 1)


@every_family
def test_the_cache_and_left_padding_give_what_whole_rows_give(name: str) -> None:
    model = lively(family(name))
    x = tokens(2, 20)
    whole = model.logits(model(x))
    close(model.logits(in_steps(model, x, 12)), whole)
    padded = torch.cat((torch.full((2, 5), 9), x), 1)
    mask = (torch.arange(25) >= 5).expand(2, 25)
    close(model.logits(model(padded, mask_bt=mask)[:, 5:]), whole)


@st.composite
def shapes(draw: st.DrawFn) -> ModelConfig:
    kv_heads = draw(st.sampled_from([1, 2, 3]))
    heads = kv_heads * draw(st.sampled_from([1, 2, 3]))
    place = draw(st.sampled_from(["pre", "post"]))
    parallel = place == "pre" and draw(st.booleans())
    return ModelConfig(
        vocabulary=11, width=12, layers=3, heads=heads, kv_heads=kv_heads, hidden=10, context=16,
        head_dim=draw(st.sampled_from([4, 6])), tied=draw(st.booleans()),
        positions=draw(st.sampled_from(["rope", "learned", "alibi", "none"])),
        rope_share=draw(st.sampled_from([1.0, 0.67])), position_offset=draw(st.integers(0, 2)),
        norm=draw(st.sampled_from(["rms", "layer"])), norm_bias=draw(st.booleans()),
        norm_place=place, residual_scale=1.5 if place == "post" else 1.0,
        embedding_norm=draw(st.booleans()), final_norm=draw(st.booleans()),
        activation=draw(st.sampled_from(["swiglu", "geglu", "gelu", "gelu-tanh", "relu"])),
        parallel=parallel, shared_norm=parallel and draw(st.booleans()),
        attention_bias=draw(st.booleans()), mlp_bias=draw(st.booleans()),
        head_bias=draw(st.booleans()), embedding_width=draw(st.sampled_from([0, 7])),
        logit_scale=draw(st.sampled_from([1.0, 0.3])),
        local_window=draw(st.sampled_from([0, 1, 3])),
    )  # fmt: skip


@given(config=shapes(), first=st.integers(1, 15))
@settings(max_examples=40, deadline=None)
def test_any_mix_of_switches_counts_its_parameters_and_decodes_alike(
    config: ModelConfig, first: int
) -> None:
    model = lively(config)
    assert sum(p.numel() for p in model.parameters()) == config.parameters
    x = tokens(2, 16) % 11
    with torch.no_grad():
        whole = model(x)
        scale = whole.abs().max().clamp_(min=1.0)  # without a last norm states may be large
        close(in_steps(model, x, first) / scale, whole / scale)


def seen_by(model: Decoder, length: int, **more: Any) -> list[str]:
    """For each token the tokens that its hidden state depends on, as a row of x and dots."""
    embeddings = model.embedding.detach().clone()
    ids = torch.arange(length)[None]
    base, rows = model(ids, **more), []
    for j in range(length):
        with torch.no_grad():
            model.embedding[j] = embeddings[j] + torch.linspace(-1, 1, len(embeddings[j]))
            rows.append((model(ids, **more) - base).abs().amax(-1)[0] > 1e-6)
            model.embedding.copy_(embeddings)
    return ["".join("x" if seen[i] else "." for seen in rows) for i in range(length)]


@every_family
def test_no_token_sees_a_later_one(name: str) -> None:
    config = replace(family(name), local_window=0)
    assert seen_by(lively(config), 5) == ["x....", "xx...", "xxx..", "xxxx.", "xxxxx"]


def test_every_second_layer_of_gpt3_sees_a_band() -> None:
    config = family("gpt3", local_window=2)
    model = lively(config)
    for layer in (0, 1):
        assert config.window(layer) == (0, 2)[layer]
    torch.nn.init.zeros_(model.blocks[0].attention.out.weight)
    assert seen_by(model, 5) == ["x....", "xx...", ".xx..", "..xx.", "...xx"]


@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom", "opt-350m"])
def test_packed_documents_do_not_see_each_other(name: str) -> None:
    documents = torch.tensor([[0, 0, 1, 1, 1]])
    seen = seen_by(lively(family(name)), 5, documents_bt=documents)
    assert seen == ["x....", "xx...", "..x..", "..xx.", "..xxx"]


@every_family
def test_a_packed_row_is_its_documents_one_by_one(name: str) -> None:
    model = lively(family(name))
    x = tokens(2, 12)
    packed = model(x, documents_bt=torch.tensor([[3] * 5 + [1] * 7, [0] * 12]))
    close(packed[0, :5], model(x[:1, :5])[0])
    close(packed[0, 5:], model(x[:1, 5:])[0])
    close(packed[1], model(x)[1])


@pytest.mark.parametrize("name", ["glm", "llama", "gpt2", "bloom"])
def test_the_tokens_of_a_prefix_see_each_other(name: str) -> None:
    model = lively(family(name))
    seen = seen_by(model, 5, prefix_b=torch.tensor([3]))
    assert seen == ["xxx..", "xxx..", "xxx..", "xxxx.", "xxxxx"]


@every_family
def test_a_prefix_is_read_alike_with_cache_and_padding(name: str) -> None:
    model = lively(family(name))
    x, prefix = tokens(2, 12), torch.tensor([4, 6])
    whole = model(x, prefix_b=prefix)
    close(in_steps(model, x, 8, prefix_b=prefix), whole)
    padded, mask = torch.cat((x[:, :3], x), 1), (torch.arange(15) >= 3).expand(2, 15)
    close(model(padded, mask_bt=mask, prefix_b=prefix)[:, 3:], whole)


def test_rows_longer_than_a_block_of_queries_agree_with_the_cache() -> None:
    length = QUERY_BLOCK + 70
    for name in ("bloom", "gpt3", "llama"):
        model = lively(family(name, context=length, layers=2))
        x = tokens(1, length)
        prefix = torch.tensor([QUERY_BLOCK + 9])
        with torch.no_grad():
            close(in_steps(model, x, length - 2), model(x), atol=2e-5)
            close(in_steps(model, x, length - 2, prefix_b=prefix), model(x, prefix_b=prefix), 2e-5)


def test_documents_and_a_cache_do_not_go_together() -> None:
    model = lively(family("llama"))
    with pytest.raises(RegrowError, match="whole rows"):
        model(tokens(1, 4), cache=Cache(model.config, 1, 4), documents_bt=torch.zeros(1, 4))


def test_slopes_of_linear_biases_are_the_published_ones() -> None:
    assert alibi_slopes(8) == [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]
    assert alibi_slopes(3) == [2**-4, 2**-8, 2**-2]
    assert alibi_slopes(6) == [2**-2, 2**-4, 2**-6, 2**-8, 2**-1, 2**-3]


def test_alibi_lowers_a_score_by_its_slope_a_token() -> None:
    model = lively(family("local-alibi-gqa", local_window=0, layers=1, heads=2, kv_heads=1))
    attention = model.blocks[0].attention
    torch.nn.init.zeros_(attention.q.weight)  # all scores 0: what is left is the bias
    x = tokens(1, 3)
    y = model.blocks[0].attention_norm(model.embedding[x])
    v = attention.v(y)[0]
    slopes = [2**-4, 2**-8]
    heads = []
    for slope in slopes:
        weights = torch.tensor([math.exp(-2 * slope), math.exp(-slope), 1.0])
        heads.append((weights / weights.sum()) @ v)
    seen: list[Tensor] = []
    attention.out.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model(x)
    close(seen[0][0, 2], torch.cat(heads))


def test_partial_rotation_turns_the_first_channels_only() -> None:
    """One head of 4 channels, 2 of them turned: a score falls with the angle between places."""
    config = ModelConfig(5, 4, 1, 1, 1, 4, 8, rope_share=0.5, norm="layer")
    model = lively(config)
    q, k = torch.tensor([1.0, 0.0, 0.3, 0.2]), torch.tensor([2.0, 0.0, 0.5, 0.1])
    attention = model.blocks[0].attention
    ones = torch.nn.Linear(4, 4)
    torch.nn.init.zeros_(ones.weight)
    attention.q, attention.k, attention.v = ones, torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)
    with torch.no_grad():
        attention.q.bias.copy_(q)
        attention.k.weight.zero_()
        attention.k.bias.copy_(k)
        attention.v.bias.zero_()
    x = torch.tensor([[1, 2, 3]])
    v = attention.v(model.blocks[0].attention_norm(model.embedding[x]))[0]
    scores = [(2 * math.cos(gap) + 0.15 + 0.02) / 2 for gap in (2, 1, 0)]
    seen: list[Tensor] = []
    attention.out.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model(x)
    close(seen[0][0, 2], torch.softmax(torch.tensor(scores), 0) @ v)


def test_post_norm_multiplies_the_residual_before_the_sum() -> None:
    model = lively(family("glm", layers=1))
    block, x = model.blocks[0], tokens(1, 6)
    taken: list[Tensor] = []
    block.attention.register_forward_hook(lambda _, __, out: taken.append(out))
    out = model(x)
    start = functional.layer_norm(
        model.embedding[x], (16,), model.embedding_norm.weight, model.embedding_norm.bias
    )
    norm = block.attention_norm
    middle = functional.layer_norm(2 * start + taken[0], (16,), norm.weight, norm.bias)
    gate, up = functional.gelu(block.gate(middle)), block.up(middle)
    norm = block.mlp_norm
    wanted = functional.layer_norm(
        2 * middle + block.down(gate * up), (16,), norm.weight, norm.bias
    )
    close(out, wanted)


@pytest.mark.parametrize("name", ["palm", "neox"])
def test_a_parallel_block_adds_both_halves_to_one_sum(name: str) -> None:
    model = lively(family(name, layers=1))
    block, x = model.blocks[0], tokens(1, 6)
    taken: list[Tensor] = []
    block.attention.register_forward_hook(lambda _, __, out: taken.append(out))
    out, start = model(x), model.embedding[x]
    norm = block.attention_norm if name == "palm" else block.mlp_norm
    assert (block.mlp_norm is None) == (name == "palm")
    y = functional.layer_norm(start, (16,), norm.weight, norm.bias)
    if name == "palm":
        half = block.down(functional.silu(block.gate(y)) * block.up(y))
    else:
        half = block.down(functional.gelu(block.up(y)))
    close(out, model.norm(start + taken[0] + half))


@every_family
@pytest.mark.parametrize("z_loss", [0.0, 0.01])
def test_the_loss_is_the_cross_entropy_of_the_logits_and_so_is_its_gradient(
    name: str, z_loss: float
) -> None:
    model = lively(family(name))
    x, y = tokens(2, 9), tokens(2, 9, 1)
    logits = model.logits(model(x)).flatten(0, 1)
    wanted = functional.cross_entropy(logits, y.flatten())
    wanted = wanted + z_loss * logits.logsumexp(-1).square().mean()
    wanted_grads = torch.autograd.grad(wanted, list(model.parameters()))
    loss, n = model.loss(x, y, z_loss=z_loss)
    assert n == 18
    close(loss, wanted)
    grads = torch.autograd.grad(loss, list(model.parameters()))
    for (label, _), ours, theirs in zip(model.named_parameters(), grads, wanted_grads):
        torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-3, msg=label)


def test_logits_are_projected_scaled_and_shifted() -> None:
    model = lively(family("opt-350m", logit_scale=0.5, head_bias=True))
    hidden = torch.linspace(-1, 1, 16)
    narrow = model.project_out.weight @ hidden
    assert narrow.shape == (8,)
    close(model.logits(hidden), 0.5 * (model.embedding @ narrow) + model.head_bias)


def test_a_shrunk_embedding_gradient_is_a_tenth_and_changes_no_state() -> None:
    whole, shrunk = (lively(family("llama", tied=False, embedding_gradient=g)) for g in (1.0, 0.1))
    x, y = tokens(2, 9), tokens(2, 9, 1)
    for model in (whole, shrunk):
        model.loss(x, y)[0].backward()
    close(shrunk(x), whole(x))
    close(shrunk.embedding.grad, 0.1 * whole.embedding.grad)
    close(shrunk.head.grad, whole.head.grad)


def test_dropout_is_off_in_evaluation_and_drawn_by_torch_in_training() -> None:
    model = lively(family("gpt2", dropout=0.5))
    still = lively(family("gpt2"))
    x = tokens(1, 8)
    assert torch.equal(model(x), still(x))
    model.train()
    torch.manual_seed(0)
    first, second = model(x), model(x)
    torch.manual_seed(0)
    assert torch.equal(model(x), first)
    assert not torch.equal(first, second)


def test_dropout_of_embeddings_is_a_switch_of_its_own() -> None:
    config = family("opt", embedding_dropout=0.5, layers=1, final_norm=False)
    model = lively(config)
    for half in (model.blocks[0].attention.out, model.blocks[0].down):
        torch.nn.init.zeros_(half.weight)
        torch.nn.init.zeros_(half.bias)
    model.train()
    x = tokens(4, 40)
    start = model.embedding[x] + model.position_embedding[2:42]
    kept = model(x) != 0
    assert 0.4 < kept.float().mean() < 0.6
    close(model(x, documents_bt=torch.zeros_like(x)).abs().amax(), 2 * start.abs().amax(), 1.0)


def test_texts_and_scores_are_those_of_evaluation_whatever_the_mode() -> None:
    model = lively(family("gpt2", dropout=0.3)).train()

    class Numbers:
        assistant = -1

        def decode(self, ids: list[int]) -> str:
            return " ".join(map(str, ids))

    prompt = tokens(1, 5)[0].tolist()
    found = generate(model, Numbers(), [prompt], Sampling(max_tokens=6))[0][0].ids
    scored = score(model, [(prompt, found)])[0]
    assert model.training
    assert scored.greedy
    still = lively(family("gpt2"))
    assert generate(still, Numbers(), [prompt], Sampling(max_tokens=6))[0][0].ids == found


@pytest.mark.parametrize("name", ["bloom", "palm", "opt-350m", "glm", "gpt3", "gpt-j"])
def test_greedy_text_is_the_argmax_of_whole_rows(name: str) -> None:
    model = lively(family(name))

    class Numbers:
        assistant = -1

        def decode(self, ids: list[int]) -> str:
            return " ".join(map(str, ids))

    prompts = [[1, 2, 3, 4], [5], [6, 7]]
    found = generate(model, Numbers(), prompts, Sampling(max_tokens=8))
    for prompt, (completion,) in zip(prompts, found):
        ids = list(prompt)
        for _ in range(8):
            ids.append(int(model.logits(model(torch.tensor([ids])))[0, -1].argmax()))
        assert completion.ids == ids[len(prompt) :]


@every_family
def test_bf16_follows_fp32(name: str) -> None:
    model = lively(family(name))
    x, y = tokens(4, 30), tokens(4, 30, 1)
    exact, _ = model.loss(x, y)
    rough, _ = model.bfloat16().loss(x, y)
    assert rough.dtype == torch.float32
    assert abs(exact.item() - rough.item()) < 0.03 * exact.item()


@every_family
def test_every_family_learns_and_all_its_gradients_are_finite(name: str) -> None:
    """Rows that count upwards: the next token is the present one plus one."""
    torch.manual_seed(0)
    model = Decoder(family(name, dropout=0.0 if name == "llama" else 0.05), seed=0)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for step in range(25):
        start = torch.arange(8)[:, None] * 5 + step % 5
        row = (start + torch.arange(9)) % VOCABULARY
        loss, _ = model.loss(row[:, :-1], row[:, 1:], z_loss=1e-4)
        optimizer.zero_grad()
        loss.backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.9 * math.log(VOCABULARY)
    assert losses[-1] < 0.75 * losses[0]


@pytest.mark.parametrize("name", ["llama", "gpt2", "bloom"])
def test_a_row_longer_than_the_context_is_refused(name: str) -> None:
    with pytest.raises(RegrowError, match=f"context of {CONTEXT}"):
        lively(family(name))(tokens(1, CONTEXT + 1))


@every_family
def test_muon_takes_the_matrices_of_the_blocks_and_adam_the_rest(name: str) -> None:
    model = lively(family(name)).train()
    optimizer = build(model, OptimSettings(), Precision(torch.float32, "for the test"))
    matrices = {
        label
        for label in optimizer.trainable.masters()
        if label.startswith("blocks.") and label.endswith(".weight") and "norm" not in label
    }
    assert {label for group in optimizer.groups.muon for label in group} == matrices
    before = {label: w.clone() for label, w in optimizer.trainable.masters().items()}
    optimizer.trainable.zero_grad()
    loss, _ = model.loss(tokens(8, 40), tokens(8, 40, 1))
    loss.backward()
    optimizer.trainable.gather()
    optimizer.step()
    for label, weight in optimizer.trainable.masters().items():
        assert weight.isfinite().all()
        assert not torch.equal(weight, before[label]), label
