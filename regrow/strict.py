"""What is read from a file that a person wrote: unknown keys are errors, values do not change."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """The base of settings, recipes and declarations."""

    model_config = ConfigDict(extra="forbid", frozen=True)
