"""The recipe: one typed value that declares a whole tree."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

import regrow
from regrow.corpus.settings import CorpusSettings
from regrow.errors import RegrowError
from regrow.strict import Strict
from regrow.tree import graph
from regrow.tree.models import ModelSpec
from regrow.tree.settings import (
    Count,
    DpoSettings,
    FeedmeSettings,
    GrpoSettings,
    ImportSettings,
    PretrainSettings,
    RlhfSettings,
    SupervisedSettings,
)
from regrow.tree.sources import DataSpec, DocumentsSpec, MixtureSpec, Name, WorldSpec

#: Folders beside the nodes in a run; no node may take their names.
RESERVED = frozenset({"world", "corpus", "report", "workers", "all"})


def ability_names() -> list[str]:
    """The names in regrow.evaluate's registry, by its files, so that a recipe is read quickly."""
    folder = Path(regrow.__file__).parent / "evaluate" / "abilities"
    return sorted(path.stem for path in folder.glob("*.yaml"))


class AbilitiesSpec(Strict):
    """What is measured on every node, and how finely.

    `own` are task files of one's own abilities (docs/abilities.md), over rows in the folder `data`;
    their items are kept out of training as all others are.
    """

    names: tuple[str, ...]
    own: tuple[str, ...] = ()
    data: str = "data"
    items: int = Field(default=200, gt=0, description="at most so many items an ability cell")
    templates: Literal["split", "all"] = "split"
    on_the_way: tuple[str, ...] = Field(
        default=("language_modelling", "knowledge", "in_context"),
        description="what is measured where a stage has measure_at",
    )
    heldout: Literal["corpus", "world"] = Field(
        default="corpus",
        description="whose held-out text is read: the corpus's own, or the world's, which is the "
        "same for every corpus",
    )

    @field_validator("names", "on_the_way")
    @classmethod
    def _abilities_are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        known = ability_names()
        for name in names:
            if name not in known:
                raise ValueError(f"there is no ability {name!r}{graph.nearest(name, known)}")
        return names

    @model_validator(mode="after")
    def _models_on_the_way_have_items(self) -> Self:
        for name in ("memorisation", "benchmarks"):
            if name in self.on_the_way:
                raise ValueError(f"{name} is measured on finished nodes only, not on the way")
        return self


class _Node(Strict):
    parent: str | None = None
    model: str | None = None
    tokens: Count = Field(default=0, ge=0)
    stands_for: str = ""
    claim: str = ""
    arm: bool = False


class PretrainNode(_Node):
    """Pretraining: with a model from nothing, with a parent continued."""

    stage: Literal["pretrain"]
    settings: PretrainSettings


class SupervisedNode(_Node):
    """Tuning on demonstrations."""

    stage: Literal["supervised"]
    settings: SupervisedSettings = SupervisedSettings()


class FeedmeNode(_Node):
    """Tuning on top-rated samples."""

    stage: Literal["feedme"]
    settings: FeedmeSettings = FeedmeSettings()


class RlhfNode(_Node):
    """Reward model and PPO."""

    stage: Literal["rlhf"]
    settings: RlhfSettings = RlhfSettings()


class GrpoNode(_Node):
    """GRPO on answers that can be verified."""

    stage: Literal["grpo"]
    settings: GrpoSettings = GrpoSettings()


class DpoNode(_Node):
    """DPO on rated samples."""

    stage: Literal["dpo"]
    settings: DpoSettings = DpoSettings()


class ImportNode(_Node):
    """A Hugging Face folder taken as it is."""

    stage: Literal["import"]
    settings: ImportSettings


NodeSpec = PretrainNode | SupervisedNode | FeedmeNode | RlhfNode | GrpoNode | DpoNode | ImportNode


class Recipe(Strict):
    """A tree: where its text comes from, its shapes, its nodes, and what is measured on them."""

    name: Name
    seed: int = 0
    world: WorldSpec
    documents: DocumentsSpec | None = None
    data: DataSpec | None = None
    corpus: CorpusSettings = CorpusSettings()
    models: dict[Name, ModelSpec]
    mixtures: dict[Name, MixtureSpec]
    nodes: dict[Name, Annotated[NodeSpec, Field(discriminator="stage")]]
    abilities: AbilitiesSpec

    @field_validator("nodes")
    @classmethod
    def _names_are_free(cls, nodes: Mapping[str, NodeSpec]) -> Mapping[str, NodeSpec]:
        if taken := RESERVED & nodes.keys():
            raise ValueError(f"a node may not be called {sorted(taken)[0]!r}")
        return nodes

    @model_validator(mode="after")
    def _tree_holds_together(self) -> Self:
        try:
            graph.order({name: node.parent for name, node in self.nodes.items()})
        except RegrowError as error:
            raise ValueError(str(error)) from error
        for name, node in self.nodes.items():
            _check_node(self, name, node)
        rated = {name for name, node in self.nodes.items() if node.stage in ("feedme", "rlhf")}
        for name in self.data.ratings if self.data else ():
            if name not in rated:
                raise ValueError(
                    f"data.ratings is for {name!r}, which is no FeedME or RLHF node"
                    + graph.nearest(name, rated)
                )
        tokens = self.corpus.tokenizer.vocabulary
        for name, model in self.models.items():
            if model.vocabulary is not None and model.vocabulary < tokens:
                raise ValueError(
                    f"model {name!r} has a vocabulary of {model.vocabulary} and the tokenizer one "
                    f"of {tokens}; leave the model's out, or make it as large"
                )
        self._leak_is_not_cut()
        sources = {*self.world.characters, "documents"}
        for name, mixture in self.mixtures.items():
            for source in (*mixture.weights, *mixture.sources):
                if source == "documents" and not self.documents:
                    raise ValueError(
                        f"mixture {name!r} draws on documents; name them with --documents PATH"
                    )
                if source not in sources:
                    raise ValueError(
                        f"mixture {name!r} draws on {source!r}, which is no source"
                        + graph.nearest(source, sources)
                    )
        return self

    def _leak_is_not_cut(self) -> None:
        """What is leaked on purpose has to arrive in training text."""
        cut = self.corpus.decontaminate.sources
        if self.world.leak and "sheets" not in self.world.characters:
            raise ValueError(
                "world.leak gives items away among the sheets; give some in characters"
            )
        if self.world.leak and (cut is None or "sheets" in cut):
            raise ValueError(
                "world.leak gives items away among the sheets, out of which this corpus cuts them; "
                "name other sources in corpus.decontaminate.sources"
            )

    def parents(self) -> dict[str, str | None]:
        """Each node's parent."""
        return {name: node.parent for name, node in self.nodes.items()}

    def root(self, node: str) -> str:
        """The node without a parent from which `node` descends (itself, perhaps)."""
        parent = self.nodes[node].parent
        return node if parent is None else self.root(parent)

    def model_name(self, node: str) -> str | None:
        """The model of a node, which is that of its root; None for imported folders."""
        return self.nodes[self.root(node)].model

    def mixture(self, name: str, tokens: Mapping[str, int] | None = None) -> dict[str, float]:
        """The weights of a mixture, summing to 1, with the user's documents at their share.

        A temperature needs the `tokens` of its sources; without them they weigh the same.
        """
        spec = self.mixtures[name]
        weights = {source: weight for source, weight in spec.weights.items() if weight}
        if spec.temperature is not None:
            from regrow.corpus.mixture import temperature_weights

            sizes = {source: (tokens or {}).get(source, 1) for source in spec.sources}
            weights = temperature_weights(sizes, spec.temperature)
        if self.documents and "documents" not in weights and self.documents.share:
            rest = (1 - self.documents.share) / sum(weights.values())
            weights = {source: weight * rest for source, weight in weights.items() if rest}
            weights["documents"] = self.documents.share
        total = sum(weights.values())
        return {source: weight / total for source, weight in weights.items()}


def _check_node(recipe: Recipe, name: str, node: NodeSpec) -> None:
    for settings in (node.settings, getattr(node.settings, "tuning", None)):
        mixture = getattr(settings, "mixture", None)
        if mixture is not None and mixture not in recipe.mixtures:
            raise ValueError(
                f"node {name!r} wants mixture {mixture!r}, which is not declared"
                + graph.nearest(mixture, recipe.mixtures)
            )
        if mixture is None and getattr(settings, "pretraining_mix", None):
            raise ValueError(
                f"node {name!r} mixes in pretraining and so needs settings.mixture; "
                "or give pretraining_mix 0"
            )
    if node.stage == "import":
        if node.parent or node.model:
            raise ValueError(f"imported node {name!r} takes no parent and no model")
        return
    if not node.tokens:
        raise ValueError(f"node {name!r} needs tokens, for example 1M")
    if node.parent is not None and node.model is not None:
        raise ValueError(f"node {name!r} has a parent and so takes no model of its own")
    if node.model is not None and getattr(node.settings, "context", None):
        raise ValueError(f"node {name!r} has a model; give its context there, not in the settings")
    if node.parent is None and node.stage != "pretrain":
        raise ValueError(f"node {name!r} is tuned and so needs a parent")
    if node.parent is None and node.model not in recipe.models:
        raise ValueError(
            f"node {name!r} needs one of the models that are declared"
            + graph.nearest(node.model or "", recipe.models)
        )
