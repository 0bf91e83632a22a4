"""What rows of tokens have in common at their beginning, so that it is computed once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from regrow.model.cache import Cache
from regrow.model.decoder import Decoder
from regrow.model.rows import right_pad

#: A beginning is shared if that spares this share of the tokens of its rows, and it has so many:
#: rows over a cache take the slower path through attention.
SPARES, LEAST = 0.3, 8


@dataclass(slots=True)
class _Open:
    """Rows in sorted order that have `length` tokens in common, while more may follow."""

    length: int
    members: list[int] = field(default_factory=list)
    saved: int = 0
    groups: list[tuple[int, list[int]]] = field(default_factory=list)

    def add(self, inner: _Open) -> None:
        self.members += inner.members
        self.saved += inner.saved
        self.groups += inner.groups

    def close(self) -> _Open:
        """The better of one group of all members and the groups within."""
        together = self.length * (len(self.members) - 1)
        if together >= self.saved:
            self.saved, self.groups = together, [(self.length, self.members)]
        return self


def shared_prefixes(rows: Sequence[Sequence[int]]) -> list[int]:
    """How many first tokens each row should share with others; 0 where sharing is not worth it.

    Rows with the same first so many tokens form a group. Of all ways to group them the one that
    spares the most tokens is taken (a walk over the tree of common beginnings).
    """
    order = sorted(range(len(rows)), key=lambda i: tuple(rows[i]))
    open_: list[_Open] = [_Open(0)]
    for place, index in enumerate(order):
        after = rows[order[place + 1]] if place + 1 < len(order) else ()
        common = _common(rows[index], after)
        done = _Open(len(rows[index]), [index])
        while open_[-1].length > common:
            open_[-1].add(done)
            done = open_.pop().close()
        if open_[-1].length < common:
            open_.append(_Open(common))
        open_[-1].add(done)
    out = [0] * len(rows)
    for length, members in open_[0].groups:
        spared = length * (len(members) - 1)
        if length >= LEAST and spared >= SPARES * sum(len(rows[i]) for i in members):
            for i in members:
                out[i] = length
    return out


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    for n, (x, y) in enumerate(zip(a, b)):
        if x != y:
            return n
    return min(len(a), len(b))


def prefill(
    model: Decoder, rows: Sequence[Sequence[int]], cuts: Sequence[int]
) -> tuple[Tensor, Cache]:
    """The last hidden state of each row [b, width], and a cache of them all.

    The first `cuts` tokens of a row, but never its last one, are computed once for all rows that
    begin with them.
    """
    device, dtype = model.embedding.device, model.embedding.dtype
    cuts = [min(cut, max(0, len(row) - 1)) for row, cut in zip(rows, cuts)]
    rest = [row[cut:] for row, cut in zip(rows, cuts)]
    ids, lengths = right_pad(rest, device=device)
    length = ids.shape[1]
    real = torch.arange(length, device=device) < lengths[:, None]
    stems = list(dict.fromkeys(tuple(row[:cut]) for row, cut in zip(rows, cuts)))
    if any(stems):
        places = {stem: n for n, stem in enumerate(stems)}
        owner = [places[tuple(row[:cut])] for row, cut in zip(rows, cuts)]
        _, trunk = prefill(model, stems, [0] * len(stems))
        cache = trunk.branch(torch.tensor(owner, device=device), length)
    else:
        cache = Cache(model.config, len(rows), length, dtype, device)
    hidden = model(ids, mask_bt=real, cache=cache)
    return hidden[torch.arange(len(rows), device=device), lengths - 1], cache
