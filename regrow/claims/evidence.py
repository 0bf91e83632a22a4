"""Where the arms of a claim lie: grown for it, or nodes of finished trees."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from pathlib import Path
from typing import Any

from regrow.claims.arms import SWEEP_SEED, check, folder_of, place
from regrow.claims.claim import Arm, Claim
from regrow.claims.effects import Evidence
from regrow.claims.values import values_on
from regrow.errors import RegrowError
from regrow.evaluate.abilities import line
from regrow.tree.recipe import Recipe


def evidence_of(
    claim: Claim, runs: Path, variants: Sequence[str], seeds: Sequence[int]
) -> list[Evidence]:
    """The arms of a claim that are grown and measured, by variant and seed."""
    found = []
    for variant, seed in product(variants, seeds):
        nodes = {}
        for name, arm in claim.arms.items():
            chosen = swept(claim, arm, runs, variant)
            if chosen is None:
                continue
            folder = folder_of(runs, place(claim, arm, variant, seed, chosen))
            if (folder / "scores.json").is_file():
                nodes[name] = folder
        if nodes.keys() == claim.arms.keys():
            found.append(Evidence(variant, seed, nodes))
    return found


def in_tree(claim: Claim) -> bool:
    """Whether a finished tree may hold all arms: they are its nodes as they are."""
    return not any(arm.set or arm.sweep for arm in claim.arms.values())


def evidence_from(claim: Claim, folders: Sequence[Path]) -> list[Evidence]:
    """Finished trees read as seeds and variants of a claim whose arms are nodes of the tree.

    Raises RegrowError where a tree is no run, or two differ in more than seed and world variant.
    """
    if not in_tree(claim):
        return []
    found: list[Evidence] = []
    for folder, recipe in _alike(folders):
        if any(arm.node not in recipe.nodes for arm in claim.arms.values()):
            continue
        check(claim, dict.fromkeys(claim.arms, recipe))
        nodes = {name: folder / arm.node for name, arm in claim.arms.items()}
        if all((node / "scores.json").is_file() for node in nodes.values()):
            found.append(Evidence(recipe.world.variant, recipe.seed, nodes))
    return found


def _alike(folders: Sequence[Path]) -> list[tuple[Path, Recipe]]:
    from regrow.tree.runs import recipe_of

    read = [(folder, recipe_of(folder)) for folder in folders]
    seen: dict[tuple[str, int], Path] = {}
    plain: dict[str, Any] | None = None
    for folder, recipe in read:
        row = recipe.model_dump(mode="json", exclude={"name": True, "seed": True,
                                                      "world": {"variant"}})  # fmt: skip
        if plain is not None and row != plain:
            raise RegrowError(
                f"{folder} and {folders[0]} were grown from recipes that differ in more than seed "
                "and world variant; give trees of one recipe"
            )
        plain = row
        where = recipe.world.variant, recipe.seed
        if where in seen:
            raise RegrowError(f"{folder} and {seen[where]} have the same variant and seed; "
                              "give one of them")  # fmt: skip
        seen[where] = folder
    return read


def candidates(arm: Arm) -> list[dict[str, Any]]:
    """All combinations of a sweep's values; one empty one without a sweep."""
    return [dict(zip(arm.sweep, values)) for values in product(*arm.sweep.values())]


def swept(claim: Claim, arm: Arm, runs: Path, variant: str) -> dict[str, Any] | None:
    """The values with the lowest bits per byte at the sweep's own seed; None before it was run.

    Of the held-out text that the claim's first measure reads, else of all but code.
    """
    if not arm.sweep:
        return {}
    read = claim.line(claim.lines_of(claim.measures[0])[0])
    by = read if read.ability == "language_modelling" else line("no_code")
    scored = []
    for number, values in enumerate(candidates(arm)):
        folder = folder_of(runs, place(claim, arm, variant, SWEEP_SEED, values))
        got = values_on(folder, by)
        if got is None:
            return None
        scored.append((got.mean, number, values))
    return min(scored)[2]


def recipes_of(claim: Claim, variant: str = "a", seed: int = 0) -> dict[str, Recipe]:
    """The resolved recipes of a claim's arms, with the first value of any sweep."""
    return {
        name: place(claim, arm, variant, seed, candidates(arm)[0]).resolve()
        for name, arm in claim.arms.items()
    }
