"""One decoder for training and for generation. It knows nothing of devices or parallel layouts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from regrow.errors import RegrowError
from regrow.model import folded, fused
from regrow.model.attention import Cached, Filling, Sight, View, WholeRows
from regrow.model.cache import Cache
from regrow.model.config import ModelConfig
from regrow.model.init import draw_weights
from regrow.model.norms import Norm, is_product, through


class Linear(nn.Linear):
    """A linear map whose weights the decoder draws; torch's own draw would be thrown away."""

    def reset_parameters(self) -> None:
        """Leave the weights as they are."""


class Attention(nn.Module):
    """Multi-head, grouped-query or multi-query attention: the projections around a view."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.layer, self.head_dim = layer, config.head_dim
        self.heads, self.kv_heads = config.heads, config.kv_heads
        d, bias = config.width, config.attention_bias
        self.q = Linear(d, config.heads * config.head_dim, bias)
        self.k = Linear(d, config.kv_heads * config.head_dim, bias)
        self.v = Linear(d, config.kv_heads * config.head_dim, bias)
        self.out = Linear(config.heads * config.head_dim, d, bias)

    def project(self, x_btd: Tensor, norm: Norm | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [b, t, heads, d] and keys and values [b, t, kv_heads, d] of norm(x)."""
        q, k, v = (
            y.view(*y.shape[:2], -1, self.head_dim)
            for y in through(norm, x_btd, self.q, self.k, self.v)
        )
        return q, k, v

    def forward(self, x_btd: Tensor, view: View, norm: Norm | None = None) -> Tensor:
        """Attend to what the view lets this layer see of norm(x)."""
        y: Tensor = self.out(view(self.layer, *self.project(x_btd, norm)).flatten(2))
        return y


class Block(nn.Module):
    """Attention and a feed-forward half on a residual stream."""

    def __init__(self, config: ModelConfig, layer: int) -> None:
        super().__init__()
        self.config = config
        d, h, bias = config.width, config.hidden, config.mlp_bias
        self.attention_norm = Norm(config)
        self.attention = Attention(config, layer)
        self.mlp_norm = None if config.shared_norm else Norm(config)
        self.gate = Linear(d, h, bias) if config.gated else None
        self.up = Linear(d, h, bias)
        self.down = Linear(h, d, bias)

    def forward(self, x: Tensor, view: View) -> Tensor:
        """[b, t, width] to the same."""
        config = self.config
        if config.parallel:
            y = self.attention_norm(x)
            z = y if self.mlp_norm is None else self.mlp_norm(x)
            return x + self._drop(self.attention(y, view)) + self._drop(self.mlp(z))
        assert self.mlp_norm is not None
        if config.norm_place == "post":
            a = config.residual_scale
            x = self.attention_norm(a * x + self._drop(self.attention(x, view)))
            return self.mlp_norm(a * x + self._drop(self.mlp(x)))
        x = x + self._drop(self.attention(x, view, self.attention_norm))
        return x + self._drop(self.mlp(x, self.mlp_norm))

    def mlp(self, x: Tensor, norm: Norm | None = None) -> Tensor:
        """The feed-forward half on norm(x); gates as in Shazeer 2020."""
        kind = self.config.activation
        # Gate and up stay apart: silu over a strided half costs twice as much as two products.
        if self.gate is not None:
            gate, up = through(norm, x, self.gate, self.up)
            if kind == "swiglu" and is_product(self.down):
                return folded.gated_map(gate, up, self.down.weight)
            hidden = (functional.silu(gate) if kind == "swiglu" else functional.gelu(gate)) * up
        else:
            (up,) = through(norm, x, self.up)
            approximate = "tanh" if kind == "gelu-tanh" else "none"
            hidden = (
                functional.relu(up)
                if kind == "relu"
                else functional.gelu(up, approximate=approximate)
            )
        y: Tensor = self.down(hidden)
        return y

    def _drop(self, x: Tensor) -> Tensor:
        return dropped(x, self.config.dropout, self.training)


def dropped(x: Tensor, share: float, training: bool) -> Tensor:
    """Dropout by torch's random numbers; none drawn where there is nothing to drop."""
    return functional.dropout(x, share) if share and training else x


class Decoder(nn.Module):
    """A language model of the shape that `config` describes; see `ModelConfig`.

    Weights start as `config.init` says (`regrow.model.init`). Under `torch.device("meta")` only the
    tables of rotary positions are allocated.
    """

    def __init__(self, config: ModelConfig, seed: int = 0) -> None:
        super().__init__()
        self.config = config
        v, d, e = config.vocabulary, config.width, config.embedding_width or config.width
        places = config.context + config.position_offset
        learned = config.positions == "learned"
        self.embedding = nn.Parameter(torch.empty(v, e))
        self.position_embedding = nn.Parameter(torch.empty(places, d)) if learned else None
        self.head = None if config.tied else nn.Parameter(torch.empty(v, e))
        self.head_bias = nn.Parameter(torch.empty(v)) if config.head_bias else None
        self.norm = Norm(config) if config.final_norm else None
        self.embedding_norm = Norm(config) if config.embedding_norm else None
        self.project_in = Linear(e, d, bias=False) if e != d else None
        self.project_out = Linear(d, e, bias=False) if e != d else None
        self.blocks = nn.ModuleList(Block(config, layer) for layer in range(config.layers))
        with torch.device("cpu"):  # real also where the weights are not
            cos, sin = fused.rope_tables(
                config.context,
                config.rotary,
                config.rope_theta,
                None if self.embedding.is_meta else self.embedding.device,
            )
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        self.reset(seed)

    def reset(self, seed: int) -> None:
        """Draw all weights anew."""
        draw_weights(self.named_parameters(), self.config, seed)

    def forward(
        self,
        ids_bt: Tensor,
        positions_bt: Tensor | None = None,
        mask_bt: Tensor | None = None,
        cache: Cache | None = None,
        *,
        documents_bt: Tensor | None = None,
        prefix_b: Tensor | None = None,
        branches_bt: Tensor | None = None,
    ) -> Tensor:
        """Hidden states after the last norm, [b, t, width], in the dtype of the weights.

        Without further arguments: causal rows of real tokens at positions 0..t-1 (the fast path).
        `mask_bt` marks the real tokens among the new ones; positions default to the count of real
        tokens before, those of the cache included. The first tokens of a cache take the fast path
        too, if padding stands behind them only. `documents_bt` numbers
        the documents packed into a row: tokens see their own only, and positions start anew with
        each. The first `prefix_b` tokens of a row see each other. New tokens of which `branches_bt`
        numbers several branches see what is in branch 0 and their own (a tree in one row: Miao et
        al. 2023, sec. 4). Raises RegrowError past the context.
        """
        dtype, device, t = self.embedding.dtype, ids_bt.device, ids_bt.shape[1]
        view: View
        if positions_bt is None and mask_bt is None and cache is None:
            if documents_bt is not None and self.position_embedding is not None:
                positions_bt = _restarted(documents_bt)
            sight = Sight(self.config, dtype, device, documents_bs=documents_bt, prefix_b=prefix_b)
            view = WholeRows(sight, t, *self._tables(t))
        else:
            if documents_bt is not None:
                raise RegrowError("packed documents need whole rows: no cache, mask or positions")
            if mask_bt is None:
                mask_bt = torch.ones_like(ids_bt, dtype=torch.bool)
            mask_bt = mask_bt.bool()
            if positions_bt is None:
                before = 0 if cache is None else cache.tokens[:, None]
                positions_bt = (mask_bt.cumsum(1) - 1 + before).clamp_(min=0)
            tables = self._tables(int(positions_bt.max()) + 1)
            cos, sin = (table[positions_bt][:, None] for table in tables)
            plain = prefix_b is None and branches_bt is None
            if cache is not None and plain and cache.begins(positions_bt, mask_bt):
                rows = WholeRows(Sight(self.config, dtype, device), t, *self._tables(t))
                view = Filling(rows, cache, positions_bt, mask_bt, cos, sin)
            else:
                view = Cached(
                    self.config, cache, positions_bt, mask_bt, cos, sin, prefix_b, branches_bt
                )
        x = self._embed(ids_bt, positions_bt)
        for block in self.blocks:
            x = block(x, view)
        if cache is not None:
            cache.filled += t
        return x if self.norm is None else self.norm(x)

    def _embed(self, ids_bt: Tensor, positions_bt: Tensor | None) -> Tensor:
        x = fused.embed(self.embedding, ids_bt)
        if (share := self.config.embedding_gradient) < 1:
            x = x * share + x.detach() * (1 - share)
        if self.project_in is not None:
            x = self.project_in(x)
        if self.embedding_norm is not None:
            x = self.embedding_norm(x)
        if self.position_embedding is not None:
            first = self.config.position_offset
            if positions_bt is None:
                x = x + self.position_embedding[first : first + ids_bt.shape[1]]
            else:
                x = x + fused.embed(self.position_embedding, positions_bt + first)
        return dropped(x, self.config.embedding_dropout, self.training)

    def _tables(self, length: int) -> tuple[Tensor, Tensor]:
        if length > self.config.context:
            raise RegrowError(
                f"{length} tokens do not fit the context of {self.config.context}; shorten them"
            )
        dtype = self.embedding.dtype
        cos, sin = self.get_buffer("cos"), self.get_buffer("sin")
        return cos[:length].to(dtype), sin[:length].to(dtype)

    @property
    def head_weight(self) -> Tensor:
        """The output matrix, [vocabulary, width] (or the embedding's own width)."""
        return self.embedding if self.head is None else self.head

    def _before_head(self, hidden: Tensor) -> Tensor:
        if self.project_out is not None:
            hidden = functional.linear(hidden, self.project_out.weight.to(hidden.dtype))
        scale = self.config.logit_scale
        return hidden if scale == 1.0 else hidden * scale

    def logits(self, hidden: Tensor, head: Tensor | None = None) -> Tensor:
        """Float32 logits [..., vocabulary]; the product itself runs in float32.

        `head` is `head_weight` in float32, for callers that ask often and would convert it often.
        """
        head = self.head_weight.float() if head is None else head
        logits = self._before_head(hidden.float()) @ head.t()
        return logits if self.head_bias is None else logits + self.head_bias.float()

    def loss(
        self,
        ids_bt: Tensor,
        targets_bt: Tensor,
        weights_bt: Tensor | None = None,
        z_loss: float = 0.0,
        *,
        documents_bt: Tensor | None = None,
        prefix_b: Tensor | None = None,
    ) -> tuple[Tensor, int]:
        """The mean loss over targets of weight above 0, and their number.

        The mean is weighted where weights are not all 0 or 1. `z_loss` (1e-4 in PaLM) adds
        z_loss * log(Z)^2 to each token's loss. Without any weighted target the loss is 0.
        `documents_bt` and `prefix_b` are those of `forward`.
        """
        hidden_nd = self(ids_bt, documents_bt=documents_bt, prefix_b=prefix_b).flatten(0, 1)
        targets = targets_bt.flatten()
        if weights_bt is None:
            weights = torch.ones(targets.shape, dtype=torch.float32, device=targets.device)
        else:
            weights = weights_bt.flatten().float()
            kept = weights.nonzero().squeeze(1)
            if len(kept) == 0:
                return hidden_nd.sum() * 0.0, 0
            hidden_nd, targets, weights = hidden_nd[kept], targets[kept], weights[kept]
        hidden_nd, head = self._before_head(hidden_nd), self.head_weight
        if self.head_bias is not None:  # one more channel, always 1, so that no logits are held
            hidden_nd = torch.cat((hidden_nd, hidden_nd.new_ones(len(hidden_nd), 1)), 1)
            head = torch.cat((head, self.head_bias[:, None]), 1)
        return fused.cross_entropy(hidden_nd, head, targets, weights, z_loss), len(targets)


def _restarted(documents_bt: Tensor) -> Tensor:
    """Positions that start at 0 with each document, [b, t]."""
    place = torch.arange(documents_bt.shape[1], device=documents_bt.device).expand_as(documents_bt)
    starts = torch.zeros_like(documents_bt, dtype=torch.bool)
    starts[:, 1:] = documents_bt[:, 1:] != documents_bt[:, :-1]
    return place - (place * starts).cummax(1).values
