"""The shape of a decoder."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from regrow.errors import RegrowError


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A Llama-shaped decoder: RMSNorm, rotary positions, SwiGLU, no bias.

    `vocabulary`, `width`, `hidden` (of the SwiGLU) and `context` are counts of rows, channels,
    channels and tokens; `kv_heads` < `heads` is grouped-query attention (Ainslie et al. 2023);
    `tied` shares the embedding with the output head. Raises RegrowError for impossible shapes.
    """

    vocabulary: int
    width: int
    layers: int
    heads: int
    kv_heads: int
    hidden: int
    context: int
    rope_theta: float = 10000.0
    norm_eps: float = 1e-5
    tied: bool = True

    def __post_init__(self) -> None:
        for name in ("vocabulary", "width", "layers", "heads", "kv_heads", "hidden", "context"):
            if getattr(self, name) < 1:
                raise RegrowError(f"model {name} must be at least 1, not {getattr(self, name)}")
        if self.width % self.heads or self.width // self.heads % 2:
            raise RegrowError(
                f"model width {self.width} must be an even multiple of heads {self.heads}"
            )
        if self.heads % self.kv_heads:
            raise RegrowError(f"kv_heads {self.kv_heads} must divide heads {self.heads}")

    @property
    def head_dim(self) -> int:
        """Channels of one attention head."""
        return self.width // self.heads

    @property
    def parameters(self) -> int:
        """Trainable numbers, the tied embedding counted once."""
        d, kv = self.width, self.kv_heads * self.head_dim
        block = 2 * d * d + 2 * d * kv + 3 * d * self.hidden + 2 * d
        return self.vocabulary * d * (1 if self.tied else 2) + self.layers * block + d

    def flops_per_token(self, context: int | None = None) -> float:
        """Training FLOPs a token: 6 for each matrix weight plus causal attention.

        A query sees half the context on average: 2 products of 2 * (context / 2) * width, three
        times for forward and backward.
        """
        d, kv = self.width, self.kv_heads * self.head_dim
        matrices = self.layers * (2 * d * d + 2 * d * kv + 3 * d * self.hidden)
        attention = 6.0 * self.layers * (self.context if context is None else context) * d
        return 6.0 * (matrices + self.vocabulary * d) + attention

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)
