"""Where a recipe takes its text from: the world, documents and data of one's own, mixtures."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from regrow.errors import nearest
from regrow.strict import Strict
from regrow.tree.settings import Count, Share

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]


Taste = Literal["true", "informative", "balanced", "polite", "proper", "admits"]


class RatersSpec(Strict):
    """The panel that rates answers to the world's prompts (regrow.worlds.raters).

    `tastes` are weights of what speaks for and against an answer, 1 where none is given: with
    `{admits: 0}` saying "I do not know" is worth nothing in itself, and `{true: 1, ...: 0}` heeds
    truth alone.
    """

    count: int = Field(default=5, gt=0, description="raters of what is learnt from")
    held: int = Field(default=5, gt=0, description="other raters, who only test reward models")
    noise: float = Field(
        default=0.5, ge=0, description="error of a judgement, on a scale of 1 to 7"
    )
    spread: float = Field(default=0.25, ge=0, description="how far raters differ in their tastes")
    tastes: dict[Taste, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)


#: The kinds of pages in the town (regrow.worlds.genres).
Genre = Literal[
    "reference", "news", "diary", "letters", "forum", "dialogue", "table", "list", "qa"
]  # fmt: skip


#: What the world writes (regrow.worlds.macondo.SOURCES).
SOURCES = ("town", "sheets", "textbook", "code")


class WorldSpec(Strict):
    """The built-in world: which one, and how much of it. `characters` is clean text by source."""

    name: Name = "macondo"
    variant: Literal["a", "b"] = "a"
    seed: int = 0
    people: int = Field(default=400, ge=32)
    characters: dict[str, Count]
    items: int = Field(default=200, gt=0, description="items an ability cell")
    sheets: Literal["together", "apart"] = Field(
        default="together", description="whether exercises of one task stand on one sheet"
    )
    leak: Share = Field(
        default=0.0, description="share of evaluation items given away in training text on purpose"
    )
    mess: float = Field(
        default=1.0,
        ge=0,
        le=10,
        description="bad pages of the town's crawl, times the usual number",
    )
    trusted: tuple[Genre, ...] = Field(
        default=(),
        description="genres of the quality classifier's reference; all where none is named",
    )
    raters: RatersSpec = RatersSpec()

    @field_validator("characters")
    @classmethod
    def _sources_are_written(cls, given: Mapping[str, int]) -> Mapping[str, int]:
        for source in given:
            if source not in SOURCES:
                raise ValueError(f"the world has no source {source!r}{nearest(source, SOURCES)}")
        return given


class DocumentsSpec(Strict):
    """The user's documents: files or folders, and their share of every pretraining mixture."""

    paths: tuple[str, ...] = Field(min_length=1)
    share: Share = 0.5


class DataSpec(Strict):
    """Real data for tuning and measuring: paths under `folder`.

    Without a `folder` the built-in world's data are used alone. `share` is the part of tuning
    examples, prompts and comparisons that comes from these files. `ratings` gives FeedME and RLHF
    nodes by name a file that `regrow rate` wrote, to be learnt from in place of the world's raters.
    """

    folder: str | None = None
    share: Share = 0.5
    instructions: tuple[str, ...] = ()
    dialogues: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    comparisons: tuple[str, ...] = ()
    benchmarks: tuple[str, ...] = ()
    ratings: dict[Name, str] = Field(default_factory=dict)

    def files(self, kind: str) -> tuple[Path, ...]:
        """The files of a kind (instructions, dialogues ...); none without a folder."""
        if self.folder is None:
            return ()
        return tuple(Path(self.folder) / name for name in getattr(self, kind))


class MixtureSpec(Strict):
    """How much of every source is read, by weights or by the temperature of `sources`.

    Weights are written beside the rest: `{town: 3, code: 1, max_epochs: 4}`. No source is read more
    often than `max_epochs`; the others share what it gives up.
    """

    weights: dict[str, Annotated[float, Field(ge=0)]] = Field(default_factory=dict)
    sources: tuple[str, ...] = ()
    temperature: float | None = Field(default=None, gt=0)
    max_epochs: float | None = Field(default=None, gt=0)

    @model_validator(mode="before")
    @classmethod
    def _sources_are_weights(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        weights = {key: value for key, value in given.items() if key not in cls.model_fields}
        rest = {key: value for key, value in given.items() if key in cls.model_fields}
        return {"weights": weights, **rest} if weights else rest

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if (self.temperature is None) == bool(self.sources):
            raise ValueError("sources and temperature go together")
        if self.sources and self.weights:
            raise ValueError("give weights, or sources and their temperature, not both")
        if not self.sources and not sum(self.weights.values()):
            raise ValueError("a mixture has no weight")
        return self
