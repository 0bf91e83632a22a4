"""Who attends to whom: over whole rows for training, over a cache for generation."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

from regrow.model import fused
from regrow.model.cache import UNSEEN, Branching, Cache
from regrow.model.config import ModelConfig

#: Queries handled together under an explicit bias, so that a causal or local row reads no key that
#: it cannot see.
QUERY_BLOCK = 256


def _packed(x: Tensor) -> Tensor:
    """Without holes, where that helps: on a CPU batched products of short numbers would fill holes
    themselves, and not as well; those of fp32, and an accelerator's, read over them."""
    return x.contiguous() if x.device.type == "cpu" and x.dtype != torch.float32 else x


class View(Protocol):
    """What a layer's queries see of its keys and values."""

    def __call__(self, layer: int, q_bthd: Tensor, k_btkd: Tensor, v_btkd: Tensor) -> Tensor:
        """Mixed values, [b, t, heads, d]."""
        ...


def rotate(x_bhtd: Tensor, cos_tr: Tensor, sin_tr: Tensor) -> Tensor:
    """Rotary positions on the first r channels; none where the tables are empty."""
    r = cos_tr.shape[-1]
    if r == x_bhtd.shape[-1]:
        return fused.rotate(x_bhtd, cos_tr, sin_tr)
    if r == 0:
        return x_bhtd
    return torch.cat((fused.rotate(x_bhtd[..., :r], cos_tr, sin_tr), x_bhtd[..., r:]), -1)


def alibi_slopes(heads: int) -> list[float]:
    """Slopes of linear biases: 2^(-8/heads), its square, and so on (Press et al. 2022, sec. 3).

    Where heads are no power of two: those of the power below, then every second one of the power
    above (as in the authors' code and in BLOOM).
    """
    power = 2 ** int(math.log2(heads))
    slopes = [2 ** (-8 * (n + 1) / power) for n in range(power)]
    return slopes + [2 ** (-4 * (2 * n + 1) / power) for n in range(heads - power)]


class Sight:
    """Which key a query sees, and how strongly: an additive bias made of every rule in force.

    Tokens are counted along the row. `documents_bs` keeps equal ids together; the first `prefix_b`
    tokens see each other (GLM, Du et al. 2022, sec. 2.1).
    """

    def __init__(
        self,
        config: ModelConfig,
        dtype: torch.dtype,
        device: torch.device,
        *,
        documents_bs: Tensor | None = None,
        prefix_b: Tensor | None = None,
    ) -> None:
        self.config, self.dtype, self.device = config, dtype, device
        self.documents_bs, self.prefix_b = documents_bs, prefix_b

    def bias(self, layer: int, queries: range, keys: range) -> Tensor:
        """The bias of these queries on these keys, [b or 1, heads or 1, t, s]; -inf is unseen."""
        query = torch.arange(queries.start, queries.stop, device=self.device)
        key = torch.arange(keys.start, keys.stop, device=self.device)
        ahead_ts = key - query[:, None]
        seen = (ahead_ts <= 0)[None]
        if self.prefix_b is not None:
            last_b1 = self.prefix_b[:, None]
            seen = seen | ((query < last_b1)[:, :, None] & (key < last_b1)[:, None])
        if window := self.config.window(layer):
            seen = seen & (ahead_ts.abs() < window)
        if self.documents_bs is not None:
            of = self.documents_bs
            same = of[:, queries.start : queries.stop, None] == of[:, None, keys.start : keys.stop]
            seen = seen & same
        strength = torch.zeros((), dtype=self.dtype, device=self.device)
        if self.config.positions == "alibi":
            slopes = torch.tensor(alibi_slopes(self.config.heads), device=self.device)
            strength = (ahead_ts.clamp(max=0) * slopes[:, None, None]).to(self.dtype)
        return torch.where(seen[:, None], strength, float("-inf"))


class WholeRows:
    """Rows without padding and without a cache, for training and scoring.

    Causal attention, also within packed documents, takes the fused path; ALiBi, local layers and
    prefixes take torch's `scaled_dot_product_attention` with a bias that all layers alike share.
    """

    def __init__(self, sight: Sight, length: int, cos_tr: Tensor, sin_tr: Tensor) -> None:
        self.sight, self.length, self.cos, self.sin = sight, length, cos_tr, sin_tr
        self._biases: dict[int, list[tuple[range, range, Tensor]]] = {}

    def __call__(self, layer: int, q_bthd: Tensor, k_btkd: Tensor, v_btkd: Tensor) -> Tensor:
        """Mixed values, [b, t, heads, d]."""
        config, d = self.sight.config, q_bthd.shape[-1]
        causal = self.sight.prefix_b is None and not config.window(layer)
        if causal and config.positions != "alibi":
            if self.cos.shape[-1] == d:
                return fused.causal_attention(
                    q_bthd, k_btkd, v_btkd, self.cos, self.sin, self._apart
                )
            cos, sin = self.cos[:, None], self.sin[:, None]
            still, none = q_bthd.new_ones(self.length, d), q_bthd.new_zeros(self.length, d)
            q_bthd, k_btkd = rotate(q_bthd, cos, sin), rotate(k_btkd, cos, sin)
            return fused.causal_attention(q_bthd, k_btkd, v_btkd, still, none, self._apart)
        q, k, v = (x.transpose(1, 2) for x in (q_bthd, k_btkd, v_btkd))
        q, k = rotate(q, self.cos, self.sin), rotate(k, self.cos, self.sin)
        return _under(self._biased(layer), q, k, v).transpose(1, 2)

    @cached_property
    def _apart(self) -> list[tuple[int, Tensor]] | None:
        of = self.sight.documents_bs
        return None if of is None else fused.apart(of, self.sight.dtype)

    def _biased(self, layer: int) -> list[tuple[range, range, Tensor]]:
        window = self.sight.config.window(layer)
        if window not in self._biases:
            parts = []
            for low in range(0, self.length, QUERY_BLOCK):
                queries = range(low, min(low + QUERY_BLOCK, self.length))
                first = max(0, low - window + 1) if window else 0
                last = queries.stop if self.sight.prefix_b is None else self.length
                keys = range(first, last)
                parts.append((queries, keys, self.sight.bias(layer, queries, keys)))
            self._biases[window] = parts
        return self._biases[window]


def _under(
    parts: Iterable[tuple[range, range, Tensor]], q_bhtd: Tensor, k_bktd: Tensor, v_bktd: Tensor
) -> Tensor:
    """Attention of each block of queries to its keys, [b, heads, t, d]."""
    grouped = q_bhtd.shape[1] != k_bktd.shape[1]
    mixed = [
        functional.scaled_dot_product_attention(
            q_bhtd[:, :, queries.start : queries.stop],
            k_bktd[:, :, keys.start : keys.stop],
            v_bktd[:, :, keys.start : keys.stop],
            attn_mask=bias,
            enable_gqa=grouped,
        )
        for queries, keys, bias in parts
    ]
    return torch.cat(mixed, 2)


class Filling:
    """The first tokens of a cache, in rows with padding behind them, which no real token sees."""

    def __init__(
        self,
        rows: WholeRows,
        cache: Cache,
        positions_bt: Tensor,
        real_bt: Tensor,
        cos_b1tr: Tensor,
        sin_b1tr: Tensor,
    ) -> None:
        self.rows, self.cache, self.cos, self.sin = rows, cache, cos_b1tr, sin_b1tr
        cache.take(positions_bt, real_bt)

    def __call__(self, layer: int, q_bthd: Tensor, k_btkd: Tensor, v_btkd: Tensor) -> Tensor:
        """Mixed values, [b, t, heads, d]."""
        keys = rotate(k_btkd.transpose(1, 2), self.cos, self.sin)
        self.cache.append(layer, keys, v_btkd.transpose(1, 2))
        return self.rows(layer, q_bthd, k_btkd, v_btkd)


class Cached:
    """New tokens after those of a cache (or none); padding may stand anywhere.

    A query sees keys by their positions, not by where they stand in memory; of branches of the new
    tokens it sees its own.
    """

    def __init__(
        self,
        config: ModelConfig,
        cache: Cache | None,
        positions_bt: Tensor,
        real_bt: Tensor,
        cos_b1tr: Tensor,
        sin_b1tr: Tensor,
        prefix_b: Tensor | None = None,
        branches_bt: Tensor | None = None,
    ) -> None:
        self.config, self.cache, self.cos, self.sin = config, cache, cos_b1tr, sin_b1tr
        self.positions, self.prefix, self.branches = positions_bt, prefix_b, branches_bt
        self.first = 0  # where the new tokens stand among all keys
        if cache is None:
            self.trunks: list[Branching] = []
            places = [positions_bt.masked_fill(~real_bt, UNSEEN)]
        else:
            cache.take(positions_bt, real_bt)
            self.trunks = cache.trunk.chain if cache.trunk else []
            places = [t.cache.places[t.owner, : t.cache.filled] for t in self.trunks]
            places.append(cache.places[:, : cache.reach(positions_bt.shape[1])])
            self.first += sum(t.cache.filled for t in self.trunks) + cache.filled
        self.places_bs = torch.cat(places, 1)
        self._biases: dict[int, Tensor] = {}

    def __call__(self, layer: int, q_bthd: Tensor, k_btkd: Tensor, v_btkd: Tensor) -> Tensor:
        """Mixed values, [b, t, heads, d]."""
        b, t, heads, d = q_bthd.shape
        kv = k_btkd.shape[2]
        q, k, v = (x.transpose(1, 2) for x in (q_bthd, k_btkd, v_btkd))
        q, k = rotate(q, self.cos, self.sin), rotate(k, self.cos, self.sin)
        if self.cache is None and self.branches is not None:
            return _under(self._blocks(layer, q.dtype), q, k, v).transpose(1, 2)
        if self.cache is not None:
            k, v = self.cache.append(layer, k, v)
        q = (q.to(v.dtype) * d**-0.5).reshape(b, kv, heads // kv * t, d)
        shared = [(one, *one.cache.held(layer, one.cache.filled)) for one in self.trunks]
        parts = [one.product(q, _packed(keys).transpose(2, 3)) for one, keys, _ in shared]
        parts.append(q @ _packed(k).transpose(2, 3))
        scores = torch.cat(parts, -1) if shared else parts[0]
        scores = scores.view(b, heads, t, -1) + self._bias(layer, scores.dtype)
        weights = torch.softmax(scores, -1).view(b, kv, heads // kv * t, -1)
        mixed = weights[..., -v.shape[2] :] @ _packed(v)
        at = 0
        for one, _, values in shared:
            size = values.shape[2]
            mixed = mixed + one.product(weights[..., at : at + size], _packed(values))
            at += size
        return mixed.view(b, heads, t, d).transpose(1, 2).to(q_bthd.dtype)

    def _blocks(self, layer: int, dtype: torch.dtype) -> Iterator[tuple[range, range, Tensor]]:
        """Queries, the keys before and among them, and their bias: a branch stands after what it
        goes on from."""
        bias = self._bias(layer, dtype)
        for low in range(0, bias.shape[2], QUERY_BLOCK):
            high = min(low + QUERY_BLOCK, bias.shape[2])
            yield range(low, high), range(high), bias[:, :, low:high, :high]

    def _bias(self, layer: int, dtype: torch.dtype) -> Tensor:
        """The bias of the queries on all keys, [b, heads or 1, t, s]; -inf is unseen."""
        window = self.config.window(layer)
        if window not in self._biases:
            ahead_bts = self.places_bs[:, None] - self.positions[:, :, None]
            seen = ahead_bts <= 0
            if self.prefix is not None:
                last = self.prefix[:, None]
                inside = (self.positions < last)[:, :, None] & (self.places_bs < last)[:, None]
                seen = seen | inside
            if window:
                seen = seen & (ahead_bts.abs() < window)
            if self.branches is not None:
                own, t = self.branches, self.branches.shape[1]
                same = (own[:, None] == own[:, :, None]) | (own[:, None] == 0)
                seen[:, :, self.first : self.first + t] &= same
            # A padded query sees itself, so that its row stays finite; nobody reads it.
            seen[:, :, self.first :].diagonal(dim1=1, dim2=2).fill_(True)
            strength = torch.zeros((), dtype=dtype, device=seen.device)
            if self.config.positions == "alibi":
                slopes = torch.tensor(alibi_slopes(self.config.heads), device=seen.device)
                strength = (ahead_bts.clamp(max=0)[:, None] * slopes[:, None, None]).to(dtype)
            self._biases[window] = torch.where(seen[:, None], strength, float("-inf"))
        return self._biases[window]
