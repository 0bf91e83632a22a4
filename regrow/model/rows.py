"""Token rows of unequal length: side by side with padding, and read without it."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from regrow.model.decoder import Decoder
from regrow.model.fused import QUERY_BLOCK

#: Tokens that stand in one row, if none is longer: what attention reads as one block of queries.
ROOM = QUERY_BLOCK
#: Rows are put together if that leaves at most this share of the places they take with padding.
WORTH = 0.9


def right_pad(
    rows: Sequence[Sequence[int]], pad: int = 0, device: torch.device | None = None
) -> tuple[Tensor, Tensor]:
    """Ids [b, t] padded on the right, where causal attention never sees it, and lengths [b]."""
    ids = np.full((len(rows), max(map(len, rows))), pad, dtype=np.int64)
    for n, row in enumerate(rows):
        ids[n, : len(row)] = row
    return torch.from_numpy(ids).to(device), torch.tensor(list(map(len, rows)), device=device)


def row_states(model: Decoder, ids_bt: Tensor, lengths_b: Tensor) -> Tensor:
    """Hidden states [b, t, width] of the first `lengths_b` tokens of each row.

    What stands behind them means nothing. Where padding is a good part of the rows they are read as
    documents of fewer rows (Krell et al. 2021, sec. 3), if attention within documents costs no
    more: not with ALiBi or local layers.
    """
    b, t = ids_bt.shape
    lengths = lengths_b.tolist()
    config = model.config
    local = any(config.window(layer) for layer in range(config.layers))
    if config.positions == "alibi" or local or max(lengths) > config.context:
        return model(ids_bt)
    bins = bins_of(lengths, max(max(lengths), min(config.context, ROOM)))
    width = max(sum(lengths[n] for n in own) for own in bins)
    if len(bins) * width > WORTH * b * t:
        return model(ids_bt)
    place, owner = np.zeros((len(bins), width), np.int64), np.full((len(bins), width), b)
    for row, own in enumerate(bins):
        stop = 0
        for n in own:
            start, stop = stop, stop + lengths[n]
            place[row, start:stop] = np.arange(n * t, n * t + lengths[n])
            owner[row, start:stop] = n
    device = ids_bt.device
    places, owners = torch.from_numpy(place).to(device), torch.from_numpy(owner).to(device)
    hidden = model(ids_bt.flatten()[places], documents_bt=owners)
    real = owners < b
    states = hidden.new_zeros(b * t, hidden.shape[-1]).index_copy(0, places[real], hidden[real])
    return states.view(b, t, -1)


def bins_of(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Which rows stand together: as few bins of at most `room` as fit, filled about alike.

    The longest rows are dealt first, each to the bin that holds least (Graham 1969).
    """
    order = sorted(range(len(lengths)), key=lambda n: (-lengths[n], n))
    count = -(-sum(lengths) // room)
    while True:
        bins: list[list[int]] = [[] for _ in range(count)]
        heap = [(0, place) for place in range(count)]
        for n in order:
            filled, place = heapq.heappop(heap)
            heapq.heappush(heap, (filled + lengths[n], place))
            bins[place].append(n)
        if max(heap)[0] <= room:
            return bins
        count += 1
