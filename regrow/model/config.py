"""The shape of a decoder: sizes, and one switch for each choice that tells the families apart."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from regrow.errors import RegrowError

Positions = Literal["rope", "learned", "alibi", "none"]
Norm = Literal["rms", "layer"]
NormPlace = Literal["pre", "post"]
Activation = Literal["swiglu", "geglu", "gelu", "gelu-tanh", "relu"]
Init = Literal["identity", "gpt2", "opt", "bloom", "palm", "small", "deepnorm"]


@dataclass(frozen=True, slots=True)
class ModelConfig:
    """A decoder-only transformer. The defaults are Llama's: RMSNorm, RoPE, SwiGLU, no bias.

    Sizes: `vocabulary`, `width`, `hidden` (of the feed-forward half) and `context` count rows,
    channels, channels and tokens. `kv_heads` < `heads` is grouped-query attention (Ainslie et al.
    2023), 1 is multi-query (Shazeer 2019). `head_dim` 0 means width / heads.

    Positions: `rope` (Su et al. 2021) on the first `rope_share` of each head's channels, in the
    half-split layout; `learned`, a table whose first `position_offset` rows are never read (OPT has
    2); `alibi` (Press et al. 2022).

    Norms: `rms` or `layer`, with a bias where `norm_bias`; before each half (`pre`) or after the
    residual sum (`post`), where the residual is first multiplied by `residual_scale` (DeepNorm's
    alpha, Wang et al. 2022). `embedding_norm` normalises the embeddings (BLOOM), `final_norm` the
    output. `parallel` adds attention and feed-forward to one sum (PaLM section 2); with
    `shared_norm` both read one norm.

    Embeddings: `tied` shares the embedding with the output head; `embedding_width` > 0 is a
    narrower embedding with projections in and out (OPT-350M). `embedding_gradient` < 1 shrinks the
    gradient that reaches the embedding (GLM-130B section 2.2). `logit_scale` multiplies the logits.

    Attention: every second layer sees `local_window` tokens only, 0 for none (GPT-3 section 2.1).
    Packed documents are kept apart and prefixes made bidirectional by the batch, not by the shape.

    `dropout` falls on what each half adds to the residual stream, `embedding_dropout` on the
    embeddings (OPT has none there).

    Raises RegrowError for impossible shapes.
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
    head_dim: int = 0
    positions: Positions = "rope"
    rope_share: float = 1.0
    position_offset: int = 0
    norm: Norm = "rms"
    norm_bias: bool = False
    norm_place: NormPlace = "pre"
    residual_scale: float = 1.0
    embedding_norm: bool = False
    final_norm: bool = True
    activation: Activation = "swiglu"
    parallel: bool = False
    shared_norm: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    embedding_width: int = 0
    embedding_gradient: float = 1.0
    logit_scale: float = 1.0
    local_window: int = 0
    dropout: float = 0.0
    embedding_dropout: float = 0.0
    init: Init = "identity"

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.type == "float":  # a whole number in a file, as in rope_theta: 100000
                object.__setattr__(self, field.name, float(getattr(self, field.name)))
        for name in ("vocabulary", "width", "layers", "heads", "kv_heads", "hidden", "context"):
            if getattr(self, name) < 1:
                raise RegrowError(f"model {name} must be at least 1, not {getattr(self, name)}")
        for name, allowed in _CHOICES.items():
            if getattr(self, name) not in allowed:
                raise RegrowError(
                    f"model {name} is {getattr(self, name)!r}; use {', '.join(allowed)}"
                )
        if not self.head_dim:
            if self.width % self.heads:
                raise RegrowError(
                    f"model width {self.width} must be a multiple of heads {self.heads}"
                )
            object.__setattr__(self, "head_dim", self.width // self.heads)
        if self.heads % self.kv_heads:
            raise RegrowError(f"kv_heads {self.kv_heads} must divide heads {self.heads}")
        if self.positions == "rope" and (self.rotary < 2 or self.rotary % 2):
            raise RegrowError(
                f"rotary positions need an even number of channels a head, not {self.rotary}: "
                "change width, heads or rope_share"
            )
        if self.shared_norm and not self.parallel:
            raise RegrowError("shared_norm needs parallel: two halves in turn have a norm each")
        if self.norm_place == "post" and self.parallel:
            raise RegrowError("parallel needs norm_place pre: one sum has no place between halves")
        if self.norm_place == "pre" and self.residual_scale != 1:
            raise RegrowError("residual_scale needs norm_place post (DeepNorm)")
        for name in ("dropout", "embedding_dropout"):
            if not 0 <= getattr(self, name) < 1:
                raise RegrowError(f"{name} is a share between 0 and 1, not {getattr(self, name)}")

    @property
    def rotary(self) -> int:
        """Channels of a head that rotary positions turn."""
        return int(self.head_dim * self.rope_share) if self.positions == "rope" else 0

    def window(self, layer: int) -> int:
        """How many tokens a query of this layer sees, itself included; 0 for all before it."""
        return self.local_window if layer % 2 else 0

    @property
    def gated(self) -> bool:
        """Whether the feed-forward half has a gate, and so three matrices."""
        return self.activation in ("swiglu", "geglu")

    @property
    def llama_shaped(self) -> bool:
        """Whether a plain Llama computes the same: no switch but sizes, theta, eps and tying."""
        plain = ModelConfig(1, 2, 1, 1, 1, 1, 1)
        free = {
            "rope_theta",
            "norm_eps",
            "tied",
            "head_dim",
            "dropout",
            "embedding_dropout",
            "init",
        }
        switches = [f.name for f in fields(self) if f.name not in free][7:]
        return all(getattr(self, name) == getattr(plain, name) for name in switches)

    def check_induction(self) -> None:
        """Raise RegrowError where `regrow.model.induction` cannot wire this shape: its heads need
        keys of their own, and what they copy is read and written by one embedding."""
        if self.layers < 2 or not self.llama_shaped:
            raise RegrowError("init: induction needs two layers of a plain Llama shape")
        if self.kv_heads != self.heads or not self.tied:
            raise RegrowError("init: induction needs kv_heads equal to heads, and tied: true")

    @property
    def parameters(self) -> int:
        """Trainable numbers, the tied embedding counted once."""
        d, e, h = self.width, self.embedding_width or self.width, self.hidden
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        norm = d * (1 + self.norm_bias)
        attention = 2 * d * q + 2 * d * kv + self.attention_bias * (q + 2 * kv + d)
        mlp = (2 + self.gated) * d * h + self.mlp_bias * ((1 + self.gated) * h + d)
        block = attention + mlp + norm * (1 if self.shared_norm else 2)
        outer = self.vocabulary * e * (1 if self.tied else 2) + self.vocabulary * self.head_bias
        outer += 2 * d * e if e != d else 0
        outer += (self.context + self.position_offset) * d if self.positions == "learned" else 0
        return outer + self.layers * block + norm * (self.embedding_norm + self.final_norm)

    def flops_per_token(self, context: int | None = None) -> float:
        """Training FLOPs a token: 6 for each matrix weight plus causal attention.

        A query sees half the context on average: 2 products of 2 * (context / 2) * width, three
        times for forward and backward.
        """
        d, q, kv = self.width, self.heads * self.head_dim, self.kv_heads * self.head_dim
        block = 2 * d * q + 2 * d * kv + (2 + self.gated) * d * self.hidden
        attention = 6.0 * self.layers * (self.context if context is None else context) * q
        e = self.embedding_width or d
        ends = self.vocabulary * e + (2 * d * e if e != d else 0)
        return 6.0 * (self.layers * block + ends) + attention

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


_CHOICES: dict[str, tuple[str, ...]] = {
    "positions": get_args(Positions),
    "norm": get_args(Norm),
    "norm_place": get_args(NormPlace),
    "activation": get_args(Activation),
    "init": get_args(Init),
}
