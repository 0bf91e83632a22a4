"""What can be chosen about a corpus; every number has a source or a reason beside it."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from regrow.strict import Strict

RuleSet = Literal["default", "gopher", "c4", "fineweb"]


class RuleSettings(Strict):
    """Heuristic filters: sets by name, in this order; `default` spares technical pages."""

    sets: tuple[RuleSet, ...] = ("default",)
    bad_words: str | None = None  # a file, a word a line: C4 leaves out pages that hold one
    sources: tuple[str, ...] | None = None  # None: all sources
    min_characters: int = Field(default=60, ge=0)
    max_characters: int = Field(default=2_000_000, ge=1)


class QualitySettings(Strict):
    """GPT-3's quality classifier (Brown et al. 2020, App. A); off where `sources` is empty."""

    sources: tuple[str, ...] = ()
    model: Literal["logistic", "fasttext"] = "logistic"  # the latter needs regrow[fasttext]
    alpha: float = Field(default=9.0, gt=0)  # Pareto shape of the keep rule
    characters: int = Field(default=8_000, ge=100)  # read from the start of each document


class DeduplicateSettings(Strict):
    """Exact copies, then MinHash bands with every edge verified."""

    ngram: int = Field(default=5, ge=1)
    threshold: float = Field(default=0.5, gt=0, le=1)  # Jaccard on sets of word n-grams
    hashes: int = Field(default=160, ge=8, le=1024)


class RepeatSettings(Strict):
    """Lines and passages that many documents hold, cut out of all but the first."""

    line: int = Field(default=60, ge=1)  # characters of a line that is looked at
    documents: int = Field(default=3, ge=2)  # a line in so many is repeated
    passage: int = Field(default=50, ge=5)  # words of a repeated passage, at least
    rest: float = Field(default=0.2, ge=0, le=1)  # a document left with less of itself goes


class DecontaminateSettings(Strict):
    """GPT-3's n-gram rule (App. C)."""

    sources: tuple[str, ...] | None = None  # where hits are cut; elsewhere counted; None: all
    ngram: int = Field(default=13, ge=1)
    min_words: int = Field(default=8, ge=1)  # shorter items cannot be told from ordinary text
    common: int = Field(default=10, ge=1)  # a gram in more documents than this is ordinary text
    window: int = Field(
        default=200, ge=0
    )  # characters cut on each side, and the shortest piece kept
    max_pieces: int = Field(default=10, ge=1)


class TokenizerSettings(Strict):
    """Byte-level BPE, learned here or taken from elsewhere."""

    vocabulary: int = Field(default=2048, ge=265)
    characters: int = Field(default=20_000_000, ge=1)  # read to learn it
    path: str | None = None  # use this tokenizer and learn none


Stage = Literal[
    "language", "rules", "personal data", "exact copy", "quality", "near copy", "repeated lines",
    "repeated passages", "contaminated",
]  # fmt: skip
#: What is done by default. "personal data" masks addresses and numbers; "repeated lines" and
#: "repeated passages" cut out what other documents hold already.
STAGES: tuple[Stage, ...] = (
    "language", "rules", "exact copy", "quality", "near copy", "contaminated",
)  # fmt: skip


class CorpusSettings(Strict):
    """How documents become shards."""

    seed: int = 0
    stages: tuple[Stage, ...] = STAGES  # after reading and extraction, in this order
    languages: tuple[str, ...] = ("en",)  # empty: all; code and what cannot be told is kept
    rules: RuleSettings = RuleSettings()
    quality: QualitySettings = QualitySettings()
    deduplicate: DeduplicateSettings = DeduplicateSettings()
    repeats: RepeatSettings = RepeatSettings()
    decontaminate: DecontaminateSettings = DecontaminateSettings()
    tokenizer: TokenizerSettings = TokenizerSettings()
    heldout_share: float = Field(default=0.01, ge=0, lt=1)
    heldout_most: int = Field(default=300, ge=0)  # documents a source
    engine: Literal["local", "ray"] = "local"  # ray: the cluster at RAY_ADDRESS, or one here
    part_mb: float = Field(default=8.0, gt=0)  # raw text that a task holds at once, about
    jobs: int = Field(default=0, ge=0)  # worker processes; 0: as many as there are cores
    time_limit_s: float = Field(default=10.0, gt=0)  # to extract one page

    @field_validator("stages")
    @classmethod
    def _each_stage_once(cls, stages: tuple[str, ...]) -> tuple[str, ...]:
        if twice := [stage for n, stage in enumerate(stages) if stage in stages[:n]]:
            raise ValueError(f"the stage {twice[0]!r} stands twice; name each once")
        return stages
