"""What a recipe says of a model: a published one by name, or its sizes and switches."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, model_validator

from regrow.errors import RegrowError
from regrow.model.config import Activation, Init, ModelConfig, Norm, NormPlace, Positions
from regrow.strict import Strict


class ModelSpec(Strict):
    """The shape of a decoder: sizes and switches, which `regrow.model.config` explains one by one.

    `preset` takes those that are not written beside it from a published model (`regrow presets`);
    scales that follow from sizes follow the sizes written here. (A recipe that extends another
    writes beside what stands there; null takes a key away.) The embedding has a row for each token
    of the corpus's tokenizer, or `vocabulary` rows. `init` says how weights start: `plain`
    (blocks start as the identity), `induction` (`regrow.model.induction`; plain Llama shapes,
    tied, with as many kv_heads as heads) or as published (`regrow.model.init`).
    """

    preset: str | None = None
    vocabulary: int | None = Field(default=None, gt=0)
    width: int = Field(gt=0)
    layers: int = Field(gt=0)
    heads: int = Field(gt=0)
    kv_heads: int = Field(gt=0)
    hidden: int = Field(gt=0)
    context: int = Field(gt=0)
    rope_theta: float = Field(default=10000.0, gt=0)
    norm_eps: float = Field(default=1e-5, gt=0)
    tied: bool = True
    head_dim: int = Field(default=0, ge=0, description="0: width / heads")
    positions: Positions = "rope"
    rope_share: float = Field(default=1.0, gt=0, le=1)
    position_offset: int = Field(default=0, ge=0)
    norm: Norm = "rms"
    norm_bias: bool = False
    norm_place: NormPlace = "pre"
    residual_scale: float = Field(default=1.0, gt=0)
    embedding_norm: bool = False
    final_norm: bool = True
    activation: Activation = "swiglu"
    parallel: bool = False
    shared_norm: bool = False
    attention_bias: bool = False
    mlp_bias: bool = False
    head_bias: bool = False
    embedding_width: int = Field(default=0, ge=0)
    embedding_gradient: float = Field(default=1.0, gt=0, le=1)
    logit_scale: float = Field(default=1.0, gt=0)
    local_window: int = Field(default=0, ge=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    embedding_dropout: float = Field(default=0.0, ge=0, lt=1)
    init: Literal["plain", "induction", "gpt2", "opt", "bloom", "palm", "small", "deepnorm"] = (
        "plain"
    )

    @model_validator(mode="before")
    @classmethod
    def _preset_fills_in(cls, given: Any) -> Any:
        if not isinstance(given, Mapping) or not isinstance(given.get("preset"), str):
            return given
        from regrow.model.presets import shape

        try:
            said = shape(given["preset"], given)
        except RegrowError as error:
            raise ValueError(str(error)) from error
        del said["vocabulary"]
        if said.get("init") == "identity":
            said["init"] = "plain"
        return {**said, **given}

    @model_validator(mode="after")
    def _is_possible(self) -> Self:
        try:
            config = self.config(1)
            if self.init == "induction":
                config.check_induction()
        except RegrowError as error:
            raise ValueError(str(error)) from error
        return self

    def config(self, vocabulary: int) -> ModelConfig:
        """The model's shape with a tokenizer of so many tokens; raises RegrowError."""
        shape = self.model_dump(exclude={"preset", "init", "vocabulary"})
        init: Init = "identity"
        if self.init != "plain" and self.init != "induction":
            init = self.init
        return ModelConfig(vocabulary=self.vocabulary or vocabulary, init=init, **shape)

    def inputs(self) -> dict[str, Any]:
        """What makes the model what it is, for fingerprints: switches at rest are not named, so
        that a new one leaves grown nodes as they are; nor is the preset, only what it stands for.
        """
        said = self.model_dump(mode="json", exclude={"preset"}, exclude_defaults=True)
        return {**said, "rope_theta": self.rope_theta, "init": self.init}
