"""A start that already looks back: an induction circuit in the initial weights.

In-context learning needs a head that attends to the previous token and, one layer up, a head that
finds earlier places whose previous token was the present one and copies what followed (Olsson et
al. 2022). Large models form the pair within some tens of millions of tokens; a model that reads
only ten million in all may never. Here one head of each of the first two layers *starts* near that
circuit, as other structured initialisations start attention near the identity (Trockman & Kolter
2023). The architecture stays a plain decoder and every weight stays free to move.

Embeddings start at N(0, 1) and the last gain at 1/sqrt(width), which scales the logits as PaLM does
(Chowdhery et al. 2022, sec. 5.1): at the usual N(0, 0.02) Adam rewrites the embeddings, and with
them the circuit, within twenty steps.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from regrow.model.decoder import Block, Decoder

HEADS = 2  # in each of the two layers
CONSTANT = 5.0  # channel 0 of every embedding: what a query can hold on to whatever the token
SHARPNESS = 2.0  # of the previous-token head
FREQUENCIES = 6  # the fastest rotary pairs, which tell neighbours apart
MATCH = 2.0  # how strongly equal tokens attend to each other
COPY = 8.0  # what the copied token adds to the residual stream


@torch.no_grad()
def wire_induction(model: Decoder, seed: int) -> None:
    """Set embeddings, the last gain, and two heads of the first two layers.

    Raises RegrowError for a shape that cannot hold the circuit.
    """
    config = model.config
    config.check_induction()
    assert model.norm is not None
    generator = torch.Generator().manual_seed(seed)
    model.embedding.normal_(0.0, 1.0, generator=generator)
    model.embedding[:, 0] = CONSTANT
    model.norm.weight.fill_(config.width**-0.5)
    look_back, find = (cast(Block, model.blocks[n]).attention for n in (0, 1))
    d, heads = config.head_dim, min(HEADS, config.heads)
    query, key = _previous(d, config.rope_theta)
    token = _directions(heads * d, config.width, generator)  # how a token is read
    before = _directions(heads * d, config.width, generator)  # where the one before is written
    copied = _directions(heads * d, config.width, generator)  # how the answer is read and written
    for head in range(heads):
        rows = slice(head * d, (head + 1) * d)
        for weight, constant in ((look_back.q.weight, query), (look_back.k.weight, key)):
            weight[rows] *= 0.3
            weight[rows, 0] = constant * SHARPNESS
        look_back.v.weight[rows] = token[rows]
        look_back.out.weight[:, rows] = before[rows].t()
        find.q.weight[rows] = token[rows] * MATCH
        find.k.weight[rows] = before[rows] * MATCH
        find.v.weight[rows] = copied[rows]
        find.out.weight[:, rows] = copied[rows].t() * COPY


def _directions(rows: int, width: int, generator: torch.Generator) -> Tensor:
    """Orthonormal rows that leave channel 0 alone, [rows, width]."""
    out = torch.empty(rows, width)
    torch.nn.init.orthogonal_(out, generator=generator)
    out[:, 0] = 0.0
    return out


def _previous(d: int, theta: float) -> tuple[Tensor, Tensor]:
    """A constant query and key whose rotary product peaks one token back, each [d].

    Rotating the query by minus one position makes it equal to the key one place earlier.
    """
    half = d // 2
    rate = theta ** (-torch.arange(half, dtype=torch.float32) * 2 / d)
    on = (torch.arange(half) < FREQUENCIES).float()
    key = torch.cat([on, torch.zeros(half)])
    query = torch.cat([on * rate.cos(), -on * rate.sin()])
    return query, key
