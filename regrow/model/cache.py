"""Keys and values of the tokens before, for generation and for scoring over shared prompts."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn import functional

from regrow.model.config import ModelConfig

#: The place of a key that is padding, or not there yet: no query stands behind it.
UNSEEN = 1 << 40
#: A cache grows and is read in whole pieces of so many places: torch multiplies batches of matrices
#: with fewer numbers one number at a time, which takes longer than the unfilled places do.
PIECE = 16


class Cache:
    """Keys and values of up to `length` tokens for each of `rows`, filled from the left.

    All rows share one write position; what is padded is masked, wherever it stands, for `places`
    knows the position of every key. A cache may go on from the rows of another (`branch`), whose
    keys it shares: a prompt is computed and kept once for all its answers.
    """

    def __init__(
        self,
        config: ModelConfig,
        rows: int,
        length: int,
        dtype: torch.dtype = torch.float32,
        device: torch.device | None = None,
    ) -> None:
        self.config, self.length = config, length
        shape = (config.layers, rows, config.kv_heads, 0, config.head_dim)
        self.keys = torch.zeros(shape, dtype=dtype, device=device)
        self.values = torch.zeros(shape, dtype=dtype, device=device)
        self.places = torch.full((rows, 0), UNSEEN, device=device)
        self.tokens = torch.zeros(rows, dtype=torch.long, device=device)  # real ones so far
        self.filled = 0
        self.trunk: Branching | None = None

    def branch(self, owner_b: Tensor, length: int) -> Cache:
        """An empty cache for rows that go on from rows `owner_b` of this one."""
        like = self.keys
        branch = Cache(self.config, len(owner_b), length, like.dtype, like.device)
        branch.tokens = self.tokens[owner_b]
        branch.trunk = Branching(self, owner_b)
        return branch

    def to(self, dtype: torch.dtype) -> Cache:
        """The same in another number format, with what it goes on from; itself where it has it."""
        if self.keys.dtype == dtype:
            return self
        other = copy.copy(self)
        other.keys, other.values = self.keys.to(dtype), self.values.to(dtype)
        if self.trunk is not None:
            other.trunk = Branching(self.trunk.cache.to(dtype), self.trunk.owner)
        return other

    def begins(self, positions_bt: Tensor, real_bt: Tensor) -> bool:
        """Whether these would be its first tokens, in whole rows with padding behind them alone."""
        if self.filled or self.trunk is not None:
            return False
        place = torch.arange(positions_bt.shape[1], device=positions_bt.device)
        return torch.equal(real_bt, place < real_bt.sum(1, keepdim=True)) and bool(
            ((positions_bt == place) | ~real_bt).all()
        )

    def take(self, positions_bt: Tensor, real_bt: Tensor) -> None:
        """Note the positions of new tokens, and make room, before their keys come."""
        end = self.filled + positions_bt.shape[1]
        if (room := self.places.shape[1]) < end:
            # Twice the room each time: what is filled lies close together, and is copied seldom.
            more = min(self.length, -(-max(end, 2 * room) // PIECE) * PIECE) - room
            self.keys = functional.pad(self.keys, (0, 0, 0, more))
            self.values = functional.pad(self.values, (0, 0, 0, more))
            self.places = functional.pad(self.places, (0, more), value=UNSEEN)
        self.places[:, self.filled : end] = positions_bt.masked_fill(~real_bt, UNSEEN)
        self.tokens += real_bt.sum(1)

    def append(self, layer: int, k_bktd: Tensor, v_bktd: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values after `filled`; returns all of these rows' own so far, both
        [b, kv_heads, reach, d]."""
        end = self.filled + k_bktd.shape[2]
        self.keys[layer, :, :, self.filled : end] = k_bktd
        self.values[layer, :, :, self.filled : end] = v_bktd
        return self.held(layer, self.reach(k_bktd.shape[2]))

    def reach(self, new: int) -> int:
        """How many places are read once so many new tokens are there, whole pieces."""
        return min(self.places.shape[1], -(-(self.filled + new) // PIECE) * PIECE)

    def held(self, layer: int, end: int) -> tuple[Tensor, Tensor]:
        """Keys and values of the first `end` places."""
        return self.keys[layer, :, :, :end], self.values[layer, :, :, :end]

    def select(self, rows: Tensor) -> None:
        """Keep these rows, in this order; a row may be repeated.

        What they go on from is shared as before; once a quarter of it is unused that is dropped.
        """
        self.keys, self.values = self.keys[:, rows], self.values[:, rows]
        self.places, self.tokens = self.places[rows], self.tokens[rows]
        if self.trunk is not None:
            trunk, owner = self.trunk.cache, self.trunk.owner[rows]
            used, place = owner.unique(return_inverse=True)
            if len(used) <= 0.75 * len(trunk.tokens):
                trunk, owner = copy.copy(trunk), place
                trunk.select(used)
            self.trunk = Branching(trunk, owner)


class Branching:
    """Which row of a cache each of some rows goes on from.

    Rows of one owner stand side by side in a product with its keys: [b, kv, r, d] becomes
    [owners, kv, most * r, d], with nothing in the places of an owner that has fewer than most.
    """

    def __init__(self, cache: Cache, owner_b: Tensor) -> None:
        self.cache, self.owner = cache, owner_b
        up = cache.trunk
        #: All that these rows go on from, the nearest first.
        self.chain: list[Branching] = [
            self,
            *(Branching(up.cache, up.owner[owner_b]).chain if up else []),
        ]
        sizes = owner_b.bincount(minlength=len(cache.places))
        order = owner_b.argsort(stable=True)
        rank = torch.empty_like(order)
        firsts = sizes.cumsum(0) - sizes
        rank[order] = torch.arange(len(order), device=order.device) - firsts[owner_b[order]]
        self.most = int(sizes.max())
        self.slots = owner_b * self.most + rank
        #: Uneven rows would mostly multiply nothing; then each gets a copy of its owner's keys.
        self.uneven = len(sizes) * self.most > 2 * len(owner_b)
        in_order = torch.arange(len(order), device=order.device)
        self.whole = len(sizes) * self.most == len(order) and torch.equal(self.slots, in_order)

    def product(self, x_bkrn: Tensor, shared_pknm: Tensor) -> Tensor:
        """x times the matrix of its owner, [b, kv, r, m]."""
        if self.uneven:
            return x_bkrn @ shared_pknm[self.owner]
        kv, r, n = x_bkrn.shape[1:]
        g = self.most
        if self.whole:
            x = x_bkrn
        else:
            x = x_bkrn.new_zeros(len(shared_pknm) * g, kv, r, n)
            x[self.slots] = x_bkrn
        x = x.view(-1, g, kv, r, n).transpose(1, 2).reshape(-1, kv, g * r, n) @ shared_pknm
        x = x.view(-1, kv, g, r, x.shape[-1]).transpose(1, 2).reshape(-1, kv, r, x.shape[-1])
        return x if self.whole else x[self.slots]
