"""What a recipe may say, and what it is told when it is wrong."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tree_kit import Garden

import regrow
from regrow.errors import RegrowError
from regrow.tree.fingerprint import Digests, node_inputs, real_data
from regrow.tree.load import find_recipe, load_recipe, recipe_names


@pytest.fixture
def garden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Garden:
    return Garden(tmp_path, monkeypatch)


@pytest.mark.parametrize(
    ("override", "says"),
    [
        ("nodes.oak.tokns=3", "unknown key 'nodes.oak.tokns'; did you mean 'tokens'?"),
        ("nodes.oak.settings.mixtur=a", "'nodes.oak.settings.mixtur'; did you mean 'mixture'?"),
        (
            "nodes.oak.settings.guard.mod=ignore",
            "'nodes.oak.settings.guard.mod'; did you mean 'mode'?",
        ),
        ("nodes.oak.settings.guard.mode=script", "a script of interventions go together"),
        ("nodes.aok.tokens=3", "no node 'aok'; did you mean 'oak'?"),
        ("wrld.people=3", "unknown key 'wrld'; did you mean 'world'?"),
        ("corpus.rules.min_character=3", "did you mean 'min_characters'?"),
        ("nodes.acorn.parent=aok", "'aok', which is not declared; did you mean 'oak'?"),
        ("nodes.acorn.stage=supervise", "nodes.acorn.stage: 'supervise' is none of"),
        ("nodes.oak.settings.mixture=txt", "'txt', which is not declared; did you mean 'text'?"),
        ("mixtures.text.twon=1", "'twon', which is no source; did you mean 'town'?"),
        ("mixtures.txt.town=1", "no mixture 'txt'; did you mean 'text'?"),
        ("mixtures.text.documents=0.5", "'text' draws on documents; name them with --doc"),
        ("world.characters.twon=1k", "world.characters: the world has no source 'twon'; did"),
        ("abilities.names=[knowlege]", "abilities.names: there is no ability 'knowlege'; did you"),
        ("abilities.on_the_way=[incontext]", "'incontext'; did you mean 'in_context'?"),
        ("nodes.acorn.settings.replay=0.3", "nodes.acorn.settings: replay needs a mixture"),
        ("nodes.twig.settings={replay: 0.6, dialogues: 0.5, mixture: text}", "together at most 1"),
        ("nodes.leaf.settings.tuning={replay: 0.3, mixture: txt}", "did you mean 'text'?"),
        ("nodes.leaf.settings.mixture=null", "node 'leaf' mixes in pretraining and so needs"),
        ("models.base.heads=3", "models.base: model width 8 must be a multiple of heads 3"),
        ("models.base.kv_heads=3", "models.base: kv_heads 3 must divide heads"),
        ("models.base.vocabulary=9", "has a vocabulary of 9 and the tokenizer one of"),
        ("models.base.positions=alibbi", "is 'alibbi'; did you mean 'alibi'?"),
        ("models.base.activation=geglue", "'models.base.activation' is 'geglue'; did you mean"),
        ("models.base.init=deep", "did you mean 'deepnorm'?"),
        ("models.base.position=alibi", "'models.base.position'; did you mean 'positions'?"),
        ("models.base.prest=opt-8m", "'models.base.prest'; did you mean 'preset'?"),
        ("models.base.preset=opt-8n", "no preset 'opt-8n'; did you mean 'opt-8m'?"),
        ("models.base.residual_scale=2", "residual_scale needs norm_place post"),
        ("models.base={preset: gpt2-124m, init: induction}", "needs two layers of a plain Llama"),
        (
            "models.base={width: 8, layers: 2, heads: 2, kv_heads: 1, hidden: 8, context: 8, "
            "init: induction}",
            "init: induction needs kv_heads equal to heads",
        ),
        ("nodes.acorn.tokens=0", "node 'acorn' needs tokens"),
        ("nodes.acorn.model=base", "has a parent and so takes no model"),
        ("nodes.oak.settings.context=8", "has a model; give its context there"),
        ("nodes.twig.parent=null", "tuned and so needs a parent"),
        ("seed", "'seed' is no setting; write key=value"),
        ("seed=one", "'seed': input should be a valid integer"),
        ("nodes=5", "'nodes': input should be a valid dictionary (got 5)"),
        ("nodes=[a]", "'nodes': input should be a valid dictionary (got ['a'])"),
        ("documents.share=0.5", "name them with --documents PATH"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_fix(
    garden: Garden,
    override: str,
    says: str,
) -> None:
    with pytest.raises(RegrowError) as error:
        load_recipe("sapling.yaml", [override])
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_world_that_is_too_small_to_write_is_refused_early(garden: Garden) -> None:
    from regrow.worlds.town import LEAST_PEOPLE

    with pytest.raises(RegrowError, match=f"world.people.: .*{LEAST_PEOPLE}"):
        load_recipe("sapling.yaml", [f"world.people={LEAST_PEOPLE - 1}"])
    load_recipe("sapling.yaml", [f"world.people={LEAST_PEOPLE}"])


def test_names_that_are_checked_early_are_those_that_are_there() -> None:
    from regrow.evaluate.abilities import ABILITIES
    from regrow.tree import sources
    from regrow.tree.recipe import ability_names
    from regrow.worlds import macondo

    assert set(ability_names()) == set(ABILITIES)
    assert sources.SOURCES == macondo.SOURCES


def test_a_model_may_be_a_preset_with_changes(garden: Garden) -> None:
    written = "models.base={preset: palm-8b, width: 64, layers: 2, heads: 4, head_dim: 16}"
    config = load_recipe("sapling.yaml", [written]).models["base"].config(300)
    assert (config.vocabulary, config.width, config.kv_heads, config.head_dim) == (300, 64, 1, 16)
    assert (config.parallel, config.norm, config.init) == (True, "layer", "palm")
    assert config.logit_scale == 1 / 8


def test_a_preset_alone_is_the_published_model_with_the_tokens_of_the_corpus(
    garden: Garden,
) -> None:
    from regrow.model.presets import names, preset

    for name in names():
        spec = load_recipe("sapling.yaml", [f"models.base={{preset: {name}}}"]).models["base"]
        published = preset(name).config
        assert spec.config(published.vocabulary) == published
        assert spec.config(300).vocabulary == 300


def test_a_recipe_says_every_switch_of_a_model() -> None:
    from dataclasses import fields

    from regrow.model.config import ModelConfig
    from regrow.tree.models import ModelSpec

    mine = {name: field for name, field in ModelSpec.model_fields.items() if name != "preset"}
    assert mine.keys() == {field.name for field in fields(ModelConfig)}
    for field in fields(ModelConfig):
        if not mine[field.name].is_required() and field.name not in ("vocabulary", "init"):
            assert mine[field.name].default == field.default, field.name


def test_a_preset_and_its_sizes_written_out_are_the_same_model(garden: Garden) -> None:
    def inputs(model: str) -> dict[str, object]:
        recipe = load_recipe("sapling.yaml", [f"models.base={model}"])
        return dict(node_inputs(recipe, "oak", None, "corpus", Digests()).values)

    written = "width: 128, layers: 5, heads: 4, kv_heads: 4, hidden: 352, context: 256"
    assert inputs("{preset: regrow-1m}") == inputs(f"{{{written}, tied: false}}")
    assert inputs("{preset: regrow-1m, tied: true}") == inputs(f"{{{written}}}")


def test_switches_at_rest_leave_the_fingerprint_of_a_plain_model_as_it_was(garden: Garden) -> None:
    recipe = load_recipe("sapling.yaml")
    model = {
        key.removeprefix("model."): value
        for key, value in node_inputs(recipe, "oak", None, "corpus", Digests()).values.items()
        if key.startswith("model.")
    }
    assert model == {
        "width": 8, "layers": 1, "heads": 1, "kv_heads": 1, "hidden": 16, "context": 16,
        "rope_theta": 10000.0, "init": "plain",
    }  # fmt: skip


def test_nodes_that_grow_from_each_other_are_refused(garden: Garden) -> None:
    text = garden.recipe.read_text().replace(
        "{parent: oak, stage: sup", "{parent: leaf, stage: sup"
    )
    garden.recipe.write_text(text)
    with pytest.raises(RegrowError, match="grow from each other: acorn <- leaf <- acorn"):
        load_recipe("sapling.yaml")


def test_counts_may_carry_a_unit(garden: Garden) -> None:
    written = ["7M", "8.2M", "600k", "1.5e6", "2_000"]
    read = [
        load_recipe("sapling.yaml", [f"nodes.oak.tokens={w}"]).nodes["oak"].tokens for w in written
    ]
    assert read == [7_000_000, 8_200_000, 600_000, 1_500_000, 2_000]


def test_an_override_of_a_part_leaves_the_rest(garden: Garden) -> None:
    recipe = load_recipe("sapling.yaml", ["nodes.leaf.settings.kl=0.1", "world.seed=4"])
    assert recipe.nodes["leaf"].settings.kl == 0.1  # type: ignore[union-attr]
    assert recipe.world.seed == 4
    assert recipe.world.people == 40


def test_a_mixture_sums_to_one_and_makes_room_for_documents(garden: Garden) -> None:
    plain = load_recipe("sapling.yaml")
    assert plain.mixture("both") == {"town": 0.75, "code": 0.25}
    mixed = load_recipe("sapling.yaml", ["documents.share=0.6"], [str(garden.folder)])
    assert mixed.mixture("both") == pytest.approx({"town": 0.3, "code": 0.1, "documents": 0.6})


def test_a_temperature_weighs_sources_by_their_tokens(garden: Garden) -> None:
    set_it = "mixtures.both={temperature: 2, sources: [town, code]}"
    recipe = load_recipe("sapling.yaml", [set_it])
    assert recipe.mixture("both", {"town": 900, "code": 100}) == pytest.approx(
        {"town": 0.75, "code": 0.25}
    )


def test_a_mixture_caps_epochs_and_says_so_in_the_inputs_of_a_node(garden: Garden) -> None:
    def inputs(*overrides: str) -> dict[str, object]:
        recipe = load_recipe("sapling.yaml", overrides)
        return dict(node_inputs(recipe, "fern", None, "corpus", Digests()).values)

    plain, capped = inputs(), inputs("mixtures.both.max_epochs=2")
    assert not any(key.startswith("sampling") for key in plain)
    assert capped == plain | {"sampling.max_epochs": 2.0}
    warm = inputs("mixtures.both={temperature: 2, sources: [town, code]}")
    assert warm["sampling.temperature"] == 2.0
    assert not any(key.startswith("mixture.") for key in warm)


def test_extending_changes_adds_and_removes(garden: Garden) -> None:
    Path("bush.yaml").write_text(
        "extends: sapling\nname: bush\nworld: {people: 33}\n"
        "nodes: {leaf: null, oak: {tokens: 5k}, moss: {parent: oak, stage: feedme, tokens: 1k}}\n"
    )
    bush = load_recipe("bush.yaml")
    assert list(bush.nodes) == ["oak", "acorn", "twig", "fern", "moss"]
    assert bush.nodes["oak"].tokens == 5000
    assert (bush.world.people, bush.world.characters) == (33, {"town": 1000, "code": 1000})


def test_a_recipe_that_extends_itself_is_refused(garden: Garden) -> None:
    Path("a.yaml").write_text("extends: b\nname: a\n")
    Path("b.yaml").write_text("extends: a\nname: b\n")
    with pytest.raises(RegrowError, match="extends itself"):
        load_recipe("a.yaml")


def test_broken_yaml_is_named_with_its_line(garden: Garden) -> None:
    garden.recipe.write_text("name: x\nworld: {people: [}\n")
    with pytest.raises(RegrowError, match=r"recipe sapling\.yaml line 2"):
        load_recipe("sapling.yaml")


def test_documents_of_a_wrong_type_are_named(garden: Garden) -> None:
    Path("listed.yaml").write_text("extends: sapling\ndocuments: [a.txt]\n")
    with pytest.raises(RegrowError, match="'documents': input should be a valid dictionary"):
        load_recipe("listed.yaml", documents=[str(garden.folder)])


def test_an_unknown_recipe_is_answered_with_the_nearest() -> None:
    with pytest.raises(RegrowError, match="did you mean 'seedling'"):
        load_recipe("seedlin")


def test_paths_mean_the_same_from_any_folder(garden: Garden) -> None:
    words = [
        "data.folder=real", "data.ratings.leaf=rated.jsonl", "abilities.own=[a.yaml, gsm8k]",
        "abilities.data=rows",
    ]  # fmt: skip
    recipe = load_recipe("sapling.yaml", words, ["texts", "d/*.md", "s3://b/c"])
    assert recipe.documents is not None and recipe.data is not None
    here = [str(garden.folder / name) for name in ("texts", "d/*.md")]
    assert recipe.documents.paths == (*here, "s3://b/c")
    assert recipe.data.folder == str(garden.folder / "real")
    assert recipe.data.ratings == {"leaf": str(garden.folder / "rated.jsonl")}
    assert recipe.abilities.own == (str(garden.folder / "a.yaml"), "gsm8k")
    assert recipe.abilities.data == str(garden.folder / "rows")


def test_recipes_come_with_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    package = Path(regrow.__file__).parent
    assert find_recipe("laptop").is_relative_to(package)
    assert {"laptop", "seedling", "documents"} <= set(recipe_names())


@pytest.mark.parametrize("name", ["laptop", "seedling"])
def test_the_shipped_recipes_have_the_eight_nodes_by_their_stages(name: str) -> None:
    nodes = load_recipe(name).nodes
    declared = {n: (spec.parent, spec.stage) for n, spec in nodes.items() if not spec.arm}
    assert declared == {
        "davinci": (None, "pretrain"),
        "davinci-instruct-beta": ("davinci", "supervised"),
        "text-davinci-001": ("davinci-instruct-beta", "feedme"),
        "babbage": (None, "pretrain"),
        "code-cushman-001": ("babbage", "pretrain"),
        "code-davinci-002": (None, "pretrain"),
        "text-davinci-002": ("code-davinci-002", "feedme"),
        "text-davinci-003": ("text-davinci-002", "rlhf"),
        "chatgpt": ("text-davinci-002", "rlhf"),
    }


@pytest.mark.parametrize("name", ["laptop", "seedling"])
@pytest.mark.parametrize(
    ("arm", "node"),
    [
        ("babbage-text", "code-cushman-001"),
        ("davinci-code", "davinci-text"),
        ("text-davinci-003-no-mix", "text-davinci-003"),
        ("text-davinci-003-placebo", "text-davinci-003"),
    ],
)
def test_an_arm_has_the_parent_and_the_tokens_of_what_it_is_compared_with(
    name: str, arm: str, node: str
) -> None:
    nodes = load_recipe(name).nodes
    assert nodes[arm].arm
    assert (nodes[arm].parent, nodes[arm].tokens) == (nodes[node].parent, nodes[node].tokens)


def test_the_documents_recipe_wants_documents(tmp_path: Path) -> None:
    with pytest.raises(RegrowError, match="name them with --documents PATH"):
        load_recipe("documents")
    assert load_recipe("documents", documents=[str(tmp_path)]).mixture("code")["documents"] == 0.3


def test_the_documents_recipe_reads_real_data_only_where_their_folder_is_given(
    tmp_path: Path,
) -> None:
    given = [str(tmp_path)]
    without = load_recipe("documents", documents=given)
    assert without.data is not None and without.data.folder is None
    assert without.data.files("benchmarks") == ()
    assert real_data(without, Digests()) is None
    recipe = load_recipe("documents", ["data.folder=" + str(tmp_path)], given)
    assert recipe.data is not None
    assert tmp_path / "mmlu" / "data.jsonl.gz" in recipe.data.files("benchmarks")


def test_real_data_that_are_missing_are_named(tmp_path: Path) -> None:
    gone = load_recipe("documents", ["data.folder=nowhere"], [str(tmp_path)])
    with pytest.raises(RegrowError, match=r"nowhere is not there; correct data\.folder=PATH"):
        real_data(gone, Digests())
    empty = load_recipe("documents", ["data.folder=" + str(tmp_path)], [str(tmp_path)])
    with pytest.raises(RegrowError, match=r"not there; correct data\.instructions in the recipe"):
        real_data(empty, Digests())


def test_the_documents_recipe_keeps_the_tokens_of_arms_and_nodes_alike(tmp_path: Path) -> None:
    nodes = load_recipe("documents", documents=[str(tmp_path)]).nodes
    for arm, node in (
        ("babbage-text", "code-cushman-001"),
        ("davinci-code", "davinci-text"),
        ("text-davinci-002-no-code", "text-davinci-002"),
        ("text-davinci-003-no-mix", "text-davinci-003"),
    ):
        assert nodes[arm].tokens == nodes[node].tokens


def test_the_guard_is_told_by_the_recipe(garden: Garden) -> None:
    from regrow.tree.stages.materials import training

    hands = "nodes.oak.settings.guard={mode: script, script: [{at: 9, rewind: 4, rate: 0.5}]}"
    told = load_recipe("sapling.yaml", [hands]).nodes["oak"].settings
    guard = training(told, 1000, 0, 32).guard  # type: ignore[arg-type]
    assert (guard.mode, guard.script[0].rewind, guard.script[0].rate) == ("script", 4, 0.5)
    plain = training(load_recipe("sapling.yaml").nodes["oak"].settings, 1000, 0, 32)  # type: ignore[arg-type]
    assert (plain.guard.mode, plain.guard.before) == ("guard", None)


def test_a_recipe_that_says_nothing_of_the_guard_leaves_grown_nodes_as_they_are(
    garden: Garden,
) -> None:
    now = node_inputs(load_recipe("sapling.yaml"), "oak", None, "corpus", Digests())
    older = {key: value for key, value in now.values.items() if ".guard." not in key}
    assert len(older) < len(now.values)
    assert now.changes_from(older) == []


def test_the_readme_grows_blooms_choices_with_its_own_words(tmp_path: Path) -> None:
    text = (Path(__file__).parents[1] / "README.md").read_text()
    (told,) = re.findall(r"`(models: {base: {preset: bloom.*}})`", text)
    path = tmp_path / "blooming.yaml"
    path.write_text(f"extends: laptop\nname: blooming\n{told}\n")
    config = load_recipe(str(path)).models["base"].config(100)
    assert (config.positions, config.embedding_norm, config.init) == ("alibi", True, "bloom")
