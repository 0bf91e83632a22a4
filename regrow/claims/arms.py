"""Arms as resolved recipes, and the proof that they differ in the named ingredient alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from regrow.claims.claim import WHOLE, Arm, Claim
from regrow.errors import RegrowError
from regrow.files import sha256_json
from regrow.tree.fingerprint import flatten
from regrow.tree.graph import lineage, nearest
from regrow.tree.load import load_recipe
from regrow.tree.recipe import Recipe

#: Values of a sweep are chosen with this seed, which no claim measures.
SWEEP_SEED = 1000
#: By how much whole recipes may differ in compute.
_COMPUTE = 0.05
#: What names a thing and does not make it what it is.
_NAMES = ("name", "stands_for", "claim", "arm", "parent", "model", "settings.mixture")


def tree_of(run: str) -> str:
    """The name of a run without the digest of what a claim changed (`Place.run`)."""
    return re.sub(r"-[0-9a-f]{8}$", "", run)


@dataclass(frozen=True)
class Place:
    """Where an arm grows: a run of the claim's recipe with overrides, and the node in it.

    Arms with equal overrides share a run.
    """

    recipe: str
    overrides: tuple[str, ...]
    node: str
    variant: str
    seed: int

    @property
    def run(self) -> str:
        """The run's name: readable, and of its own for each set of overrides."""
        base = f"{Path(self.recipe).stem}-{self.variant}-{self.seed}"
        return f"{base}-{sha256_json(sorted(self.overrides))[:8]}" if self.overrides else base

    @property
    def words(self) -> list[str]:
        """What `regrow run` is told."""
        return [self.recipe, f"world.variant={self.variant}", f"seed={self.seed}",
                f"name={self.run}", *self.overrides]  # fmt: skip

    @property
    def command(self) -> str:
        """The same as a line for the shell."""
        quoted = " ".join(f"'{word}'" if set(word) & set("{[ \"'") else word for word in self.words)
        return f"regrow run {quoted} --to {self.node} --runs runs/claims"

    def resolve(self) -> Recipe:
        """The recipe that grows it. Raises RegrowError for an override that it does not take."""
        return _resolved(self.words[0], tuple(self.words[1:]))


@cache
def _resolved(name: str, overrides: tuple[str, ...]) -> Recipe:
    return load_recipe(name, overrides)


def place(
    claim: Claim, arm: Arm, variant: str, seed: int, chosen: Mapping[str, Any] | None = None
) -> Place:
    """Where an arm of a claim grows; `chosen` are the values that a sweep came to."""
    changes = {**arm.set, **(chosen or {})}
    overrides = tuple(f"{key}={json.dumps(value)}" for key, value in changes.items())
    return Place(claim.recipe, overrides, arm.node, variant, seed)


def check(claim: Claim, recipes: Mapping[str, Recipe]) -> None:
    """Refuse a claim whose arms differ in more than it says; `recipes` are those of its arms.

    Twins: everything that the target and its forebears are made of (stage, tokens, settings, model,
    mixture weights; world, corpus) is compared with the control's; only keys under `differ` and
    swept ones may differ, and whole recipes take the same compute. Edge: all arms descend from the
    control in the same recipe.
    """
    for name, arm in claim.arms.items():
        if arm.node not in recipes[name].nodes:
            raise RegrowError(f"claim {claim.id}: recipe {claim.recipe} has no node {arm.node!r}"
                              + nearest(arm.node, recipes[name].nodes))  # fmt: skip
    if claim.compare == "edge":
        _one_descent(claim, recipes)
    if claim.compare != "twins":
        return
    if WHOLE in claim.differ:
        _same_compute(claim, recipes)
    made = {name: made_of(recipes[name], arm.node) for name, arm in claim.arms.items()}
    swept = {_in_made(claim, key) for arm in claim.arms.values() for key in arm.sweep}
    for name, values in made.items():
        against = claim.arms[name].control or claim.control
        control = made[against]
        extra = [
            f"{key} ({control.get(key, 'nothing')} and {values.get(key, 'nothing')})"
            for key in sorted({*values, *control})
            if values.get(key) != control.get(key)
            and not _allowed(key, [*claim.may_differ, *swept])
        ]
        if extra:
            raise RegrowError(
                f"claim {claim.id}: arm {name} differs from {against} in more than "
                f"{', '.join(claim.differ)}: {'; '.join(extra[:4])}"
                + (" ..." if len(extra) > 4 else "")
            )


def _same_compute(claim: Claim, recipes: Mapping[str, Recipe]) -> None:
    """Arms of whole recipes, whose shapes differ, take the training FLOPs of the control."""
    flops = {name: _flops(recipes[name], arm.node) for name, arm in claim.arms.items()}
    wanted = flops[claim.control]
    for name, own in flops.items():
        if abs(own / wanted - 1) > _COMPUTE:
            raise RegrowError(
                f"claim {claim.id}: arm {name} takes {own / wanted:.2f} times the compute of "
                f"{claim.control}; change its sizes or tokens (within {_COMPUTE:.0%})"
            )


def _flops(recipe: Recipe, node: str) -> float:
    """Training FLOPs of a node that has a model of its own."""
    spec = recipe.nodes[node]
    if spec.model is None:
        raise RegrowError(f"{node} has a parent, and so is no whole recipe")
    shape = recipe.models[spec.model].config(recipe.corpus.tokenizer.vocabulary)
    return spec.tokens * float(shape.flops_per_token())


def _in_made(claim: Claim, key: str) -> str:
    """The key of a swept setting as `made_of` names it: node.settings.rate."""
    parts = key.split(".")
    nodes = {arm.node for arm in claim.arms.values()}
    if parts[0] == "nodes" and parts[1] in nodes:
        return ".".join(["node", *parts[2:]])
    return key


def _allowed(key: str, prefixes: Sequence[str]) -> bool:
    return any(key == prefix or key.startswith(prefix + ".") for prefix in prefixes)


def made_of(recipe: Recipe, node: str) -> dict[str, Any]:
    """All that a node is made of, as dotted keys: node.*, parent.*, parent.parent.*, world.* ...

    Names do not count, what they stand for does: a mixture by its weights, a model by its shape.
    """
    said: dict[str, Any] = {
        "world": recipe.world.model_dump(mode="json"),
        "corpus": recipe.corpus.model_dump(mode="json"),
        "documents": recipe.documents.model_dump(mode="json") if recipe.documents else None,
        "data": recipe.data.model_dump(mode="json") if recipe.data else None,
        "seed": recipe.seed,
    }
    flat = flatten(said)
    for depth, name in enumerate(lineage(recipe.parents(), node)):
        spec = recipe.nodes[name]
        prefix = ".".join(["parent"] * depth) or "node"
        row = flatten(spec.model_dump(mode="json"), prefix)
        for word in _NAMES:
            row.pop(f"{prefix}.{word}", None)
        if mixture := getattr(spec.settings, "mixture", None):
            row |= flatten(recipe.mixtures[mixture].model_dump(mode="json"), f"{prefix}.mixture")
        if spec.model:
            row |= flatten(recipe.models[spec.model].model_dump(mode="json"), f"{prefix}.model")
        flat |= row
    return flat


def _one_descent(claim: Claim, recipes: Mapping[str, Recipe]) -> None:
    """All arms descend from the control, in the same recipe but for what they are asked."""
    control = claim.arms[claim.control].node
    for name, arm in claim.arms.items():
        if arm.sweep or not all(key.startswith("abilities.") for key in arm.set):
            raise RegrowError(
                f"claim {claim.id}: arm {name} of an edge takes no overrides but of abilities"
            )
        if control not in lineage(recipes[name].parents(), arm.node):
            raise RegrowError(f"claim {claim.id}: {arm.node} does not descend from {control}")


def differences(one: Recipe, other: Recipe, node: str, second: str) -> list[str]:
    """`key: one -> other` for everything in which two nodes are made differently."""
    a, b = made_of(one, node), made_of(other, second)
    keys = [*a, *(key for key in b if key not in a)]
    return [
        f"{key}: {a.get(key, 'nothing')} -> {b.get(key, 'nothing')}"
        for key in keys
        if a.get(key) != b.get(key)
    ]


def folder_of(runs: Path, place: Place) -> Path:
    """The folder of an arm's node under the folder of all claim runs."""
    return runs / place.run / place.node
