"""One decoder for training and for generation. It knows nothing of devices or parallel layouts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from regrow.errors import RegrowError
from regrow.model import fused
from regrow.model.config import ModelConfig


class Cache:
    """Keys and values of up to `length` tokens for each of `rows`, filled from the left.

    All rows share one write position; short prompts are padded on the left and masked. Keys are
    kept transposed, as the product with the queries reads them.
    """

    def __init__(
        self,
        config: ModelConfig,
        rows: int,
        length: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        shape = (config.layers, rows, config.kv_heads)
        d = config.head_dim
        self.keys = torch.zeros((*shape, d, length), dtype=dtype, device=device)
        self.values = torch.zeros((*shape, length, d), dtype=dtype, device=device)
        self.filled = 0

    def append(self, layer: int, k_bktd: Tensor, v_bktd: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values after `filled`; returns all keys so far, [b, kv_heads, d, s],
        and all values, [b, kv_heads, s, d]."""
        end = self.filled + k_bktd.shape[2]
        self.keys[layer, ..., self.filled : end] = k_bktd.transpose(2, 3)
        self.values[layer, :, :, self.filled : end] = v_bktd
        return self.keys[layer, ..., :end], self.values[layer, :, :, :end]

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be repeated."""
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]


class Attention(nn.Module):
    """Grouped-query attention with rotary positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        d, kv = config.width, config.kv_heads * config.head_dim
        self.heads, self.kv_heads, self.head_dim = config.heads, config.kv_heads, config.head_dim
        self.q = nn.Linear(d, d, bias=False)
        self.k = nn.Linear(d, kv, bias=False)
        self.v = nn.Linear(d, kv, bias=False)
        self.out = nn.Linear(d, d, bias=False)

    def project(self, x_btd: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [b, t, heads, d] and keys and values [b, t, kv_heads, d]."""
        b, t, _ = x_btd.shape
        return (
            self.q(x_btd).view(b, t, self.heads, self.head_dim),
            self.k(x_btd).view(b, t, self.kv_heads, self.head_dim),
            self.v(x_btd).view(b, t, self.kv_heads, self.head_dim),
        )

    def forward(self, x_btd: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Causal attention over whole rows."""
        mixed = fused.causal_attention(*self.project(x_btd), cos, sin)
        y: Tensor = self.out(mixed.flatten(2))
        return y

    def attend(
        self,
        x_btd: Tensor,
        cos: Tensor,
        sin: Tensor,
        bias_b1ts: Tensor,
        cache: Cache | None,
        layer: int,
    ) -> Tensor:
        """Attention under an explicit additive bias, over the cache and these tokens."""
        b, t, _ = x_btd.shape
        q, k, v = (z.transpose(1, 2) for z in self.project(x_btd))
        q, k = fused.rotate(q, cos, sin), fused.rotate(k, cos, sin)
        k_bkds = k.transpose(2, 3)
        if cache is not None:
            k_bkds, v = cache.append(layer, k, v)
        group = self.heads // self.kv_heads
        q = q.reshape(b, self.kv_heads, group * t, self.head_dim) * self.head_dim**-0.5
        scores = q @ k_bkds
        scores = scores.view(b, self.kv_heads, group, t, -1) + bias_b1ts[:, :, None]
        weights = torch.softmax(scores, -1).view(b, self.kv_heads, group * t, -1)
        mixed = (weights @ v).view(b, self.heads, t, self.head_dim).transpose(1, 2)
        y: Tensor = self.out(mixed.reshape(b, t, -1))
        return y


class Block(nn.Module):
    """Pre-norm attention and SwiGLU (Shazeer 2020) on a residual stream."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.eps = config.norm_eps
        self.attention_norm = nn.Parameter(torch.ones(config.width))
        self.attention = Attention(config)
        self.mlp_norm = nn.Parameter(torch.ones(config.width))
        self.gate = nn.Linear(config.width, config.hidden, bias=False)
        self.up = nn.Linear(config.width, config.hidden, bias=False)
        self.down = nn.Linear(config.hidden, config.width, bias=False)

    def mlp(self, x_btd: Tensor) -> Tensor:
        """The feed-forward half, residual included."""
        y = fused.rms_norm(x_btd, self.mlp_norm, self.eps)
        # Gate and up stay apart: silu over a strided half costs twice as much as two products.
        out: Tensor = x_btd + self.down(functional.silu(self.gate(y)) * self.up(y))
        return out

    def forward(self, x_btd: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Whole causal rows."""
        y = fused.rms_norm(x_btd, self.attention_norm, self.eps)
        return self.mlp(x_btd + self.attention(y, cos, sin))

    def attend(
        self, x_btd: Tensor, cos: Tensor, sin: Tensor, bias: Tensor, cache: Cache | None, layer: int
    ) -> Tensor:
        """Under an explicit bias, with or without a cache."""
        y = fused.rms_norm(x_btd, self.attention_norm, self.eps)
        return self.mlp(x_btd + self.attention.attend(y, cos, sin, bias, cache, layer))


class Decoder(nn.Module):
    """A Llama-shaped language model.

    Weights start at N(0, 1/width), embeddings at N(0, 0.02), and the projections that write to
    the residual stream at 0, so that every block starts as the identity (research/microworld.md).
    """

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Parameter(torch.empty(config.vocabulary, config.width))
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.Parameter(torch.ones(config.width))
        self.head = (
            None if config.tied else nn.Parameter(torch.empty(config.vocabulary, config.width))
        )
        cos, sin = fused.rope_tables(config.context, config.head_dim, config.rope_theta)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.reset(seed)

    @torch.no_grad()
    def reset(self, seed: int) -> None:
        """Draw all weights anew."""
        generator = torch.Generator().manual_seed(seed)
        for name, weight in self.named_parameters():
            if weight.ndim == 1:
                weight.fill_(1.0)
            elif name.endswith(("out.weight", "down.weight")):
                weight.zero_()
            else:
                std = 0.02 if name in ("embedding", "head") else weight.shape[1] ** -0.5
                weight.normal_(0.0, std, generator=generator)

    def forward(
        self,
        ids_bt: Tensor,
        positions_bt: Tensor | None = None,
        mask_bt: Tensor | None = None,
        cache: Cache | None = None,
    ) -> Tensor:
        """Hidden states after the last norm, [b, t, width], in the dtype of the weights.

        Without further arguments: causal rows of real tokens at positions 0..t-1 (the fast path).
        `mask_bs` marks real tokens among all keys, the cached ones first (s = cached + t);
        positions default to the count of real tokens before. Raises RegrowError past the context.
        """
        x = fused.embed(self.embedding, ids_bt)
        if positions_bt is None and mask_bt is None and cache is None:
            cos, sin = self._tables(ids_bt.shape[1])
            for block in self.blocks:
                x = block(x, cos, sin)
            return fused.rms_norm(x, self.norm, self.config.norm_eps)
        past = cache.filled if cache is not None else 0
        bias, positions = self._bias(ids_bt, mask_bt, positions_bt, past)
        cos, sin = (table[positions][:, None] for table in self._tables(int(positions.max()) + 1))
        for layer, block in enumerate(self.blocks):
            x = block.attend(x, cos, sin, bias, cache, layer)  # type: ignore[operator]
        if cache is not None:
            cache.filled += ids_bt.shape[1]
        return fused.rms_norm(x, self.norm, self.config.norm_eps)

    def _tables(self, length: int) -> tuple[Tensor, Tensor]:
        if length > self.config.context:
            raise RegrowError(
                f"{length} tokens do not fit the context of {self.config.context}; shorten them"
            )
        dtype = self.embedding.dtype
        cos, sin = self.get_buffer("cos"), self.get_buffer("sin")
        return cos[:length].to(dtype), sin[:length].to(dtype)

    def _bias(
        self, ids_bt: Tensor, mask_bs: Tensor | None, positions_bt: Tensor | None, past: int
    ) -> tuple[Tensor, Tensor]:
        """Additive attention bias [b, 1, t, past + t] and positions [b, t]."""
        b, t = ids_bt.shape
        device = ids_bt.device
        if mask_bs is None:
            mask_bs = torch.ones(b, past + t, dtype=torch.bool, device=device)
        if positions_bt is None:
            positions_bt = mask_bs.long().cumsum(1)[:, past:].sub_(1).clamp_(min=0)
        keys = torch.arange(past + t, device=device)
        seen = keys[None] <= keys[past:, None]  # [t, s]
        allowed = mask_bs[:, None, :].bool() & seen[None]
        # A padded query sees itself, so that its row stays finite; nobody reads it.
        allowed |= (keys[None] == keys[past:, None])[None]
        bias = torch.zeros(b, 1, t, past + t, dtype=self.embedding.dtype, device=device)
        return bias.masked_fill_(~allowed[:, None], float("-inf")), positions_bt

    @property
    def head_weight(self) -> Tensor:
        """The output matrix, [vocabulary, width]."""
        return self.embedding if self.head is None else self.head

    def logits(self, hidden: Tensor) -> Tensor:
        """Float32 logits [..., vocabulary]; the product itself runs in float32."""
        return hidden.float() @ self.head_weight.float().t()

    def loss(
        self,
        ids_bt: Tensor,
        targets_bt: Tensor,
        weights_bt: Tensor | None = None,
        z_loss: float = 0.0,
    ) -> tuple[Tensor, int]:
        """The mean loss over targets of weight above 0, and their number.

        The mean is weighted where weights are not all 0 or 1. `z_loss` (1e-4 in PaLM) adds
        z_loss * log(Z)^2 to each token's loss. Without any weighted target the loss is 0.
        """
        hidden_nd = self(ids_bt).flatten(0, 1)
        targets = targets_bt.flatten()
        if weights_bt is None:
            weights = torch.ones(targets.shape, dtype=torch.float32, device=targets.device)
        else:
            weights = weights_bt.flatten().float()
            kept = weights.nonzero().squeeze(1)
            if len(kept) == 0:
                return hidden_nd.sum() * 0.0, 0
            hidden_nd, targets, weights = hidden_nd[kept], targets[kept], weights[kept]
        loss = fused.cross_entropy(hidden_nd, self.head_weight, targets, weights, z_loss)
        return loss, len(targets)
