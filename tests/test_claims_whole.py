"""Whole recipes as arms: they may differ in all that makes a model of text, at equal compute."""

from __future__ import annotations

from typing import Any

import pytest

from regrow.claims.arms import check
from regrow.claims.claim import Claim, ledger
from regrow.claims.evidence import recipes_of
from regrow.errors import RegrowError
from regrow.tree.recipe import Recipe
from regrow.tree.stages.materials import training


@pytest.fixture(scope="module")
def claim() -> Claim:
    return ledger()["E10"]


def _with(claim: Claim, arm: str, **changes: Any) -> dict[str, Recipe]:
    arms = dict(claim.arms)
    arms[arm] = arms[arm].model_copy(update={"set": changes})
    return recipes_of(claim.model_copy(update={"arms": arms}))


def test_five_recipes_differ_as_wholes_at_one_compute(claim: Claim) -> None:
    recipes = recipes_of(claim)
    check(claim, recipes)
    models = [recipes[name].models[arm.node].config(3072) for name, arm in claim.arms.items()]
    assert len({model.flops_per_token() for model in models}) == 1
    kinds = [(m.positions, m.activation, m.init, m.parallel, m.embedding_norm) for m in models]
    assert len(set(kinds)) == len(kinds) == 5
    settings = [recipes[name].nodes[arm.node].settings for name, arm in claim.arms.items()]
    assert len({s.model_dump_json(exclude={"rate"}) for s in settings}) == 5


def test_more_compute_than_the_control_is_refused(claim: Claim) -> None:
    for changes in ({"nodes.palm-style.tokens": "1.7M"}, {"models.palm-style.hidden": 512}):
        with pytest.raises(RegrowError, match=r"arm palm takes 1\.\d\d times the compute of gpt3"):
            check(claim, _with(claim, "palm", **changes))


def test_what_is_no_part_of_a_recipe_may_not_differ(claim: Claim) -> None:
    with pytest.raises(RegrowError, match=r"in more than whole recipe: world\.people"):
        check(claim, _with(claim, "palm", **{"world.people": 50}))


def test_schedules_are_those_published_as_shares_of_the_run(claim: Claim) -> None:
    recipes, total = recipes_of(claim), 1_500_000 // 256

    def loop(style: str) -> Any:
        return training(recipes[style].nodes[f"{style}-style"].settings, total, 0, 256)

    opt, palm, bloom = loop("opt"), loop("palm"), loop("bloom")
    assert opt.schedule.scale(10_000, 0.5) == pytest.approx(0.55, abs=0.01)  # half-way to a tenth
    assert palm.ramp.at == ((197, 4), (453, 8))
    assert palm.schedule.scale(4 * 40 - 1, 0.2) == pytest.approx(0.5)  # 1/sqrt after step 40
    assert bloom.schedule.scale(10_000, 1.0) > 0.1  # its cosine ends after the run
