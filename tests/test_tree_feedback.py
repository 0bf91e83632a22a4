"""People's ratings, rejection sampling and reward models in the stages."""

from __future__ import annotations

import copy
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from test_tree_real_data import COMPARED, context, ending, rows, run
from tree_kit import Garden

from regrow.align.feedback import (
    Rated,
    best_of,
    best_rated,
    load_rated,
    rank,
    sample_answers,
    save_rated,
)
from regrow.align.reward import RewardModel, save_reward
from regrow.corpus.tokenizer import Tokenizer
from regrow.errors import RegrowError
from regrow.files import read_json, read_jsonl
from regrow.generate.sampler import Sampling, generate
from regrow.model.decoder import Decoder
from regrow.model.folder import load_model
from regrow.records import Conversation, Message
from regrow.serve.chat import chat
from regrow.tree.edge import weights_of
from regrow.tree.fingerprint import Digests, node_inputs, world_inputs
from regrow.tree.recipe import Recipe
from regrow.tree.stage import StageContext
from regrow.tree.stages import rating
from regrow.tree.stages.materials import world_rows
from regrow.tree.stages.reinforcement import rlhf
from regrow.tree.stages.tuning import feedme
from regrow.worlds.raters import panel

__all__ = ["ending", "run"]


class Lengthy(RewardModel):
    """Likes long rows."""

    def forward(self, ids: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        return last.float()


def changed(given: StageContext, **parts: Any) -> StageContext:
    """The same stage under a recipe with other parts."""
    row = given.recipe.model_dump(mode="json", exclude_defaults=True)
    for dotted, value in parts.items():
        place: dict[str, Any] = row
        *path, last = dotted.split("__")
        for key in path:
            place = place.setdefault(key, {})
        place[last] = value
    recipe = Recipe.model_validate(row)
    node = recipe.nodes[given.name]
    return StageContext(recipe, given.name, node, given.folder, given.parent, given.run, given.seed)


def people(
    run: Path,
    path: Path,
    change: Callable[[Rated], Rated] = lambda one: one,
    temperature: float = 2.0,
) -> Path:
    """A file in which ann and bob rated samples of oak for the world's prompts; bob likes less."""
    given = context(run, "fed")
    model, tokenizer = load_model(run / "oak"), Tokenizer.load(run / "oak")
    found = sample_answers(
        model, tokenizer, world_rows(given, "prompts"), node="oak",
        weights=str(weights_of(run / "oak")), samples=3, length=8, temperature=temperature,
        seed=1,
    )  # fmt: skip
    said = [
        Rated(one.prompt, one.answers, one.tokens, ratings, who, one.node, one.weights, "2026")
        for one in found
        for who, ratings in (("ann", (7.0, 4.0, 1.0)), ("bob", (5.0, 3.0, 1.0)))
    ]
    save_rated([change(one) if n == 2 else one for n, one in enumerate(said)], path)
    return path


def by_people(run: Path, node: str, file: Path) -> StageContext:
    return changed(context(run, node), data__ratings={node: str(file)})


def test_feedme_tunes_on_what_people_rated_highest(ending: Path) -> None:
    file = people(ending, ending / "r.jsonl", temperature=0.8)
    given = by_people(ending, "fed", file)
    record = feedme(given)
    kept = load_rated(given.folder / "rated.jsonl.gz")
    assert {one.ratings for one in kept} == {(6.0, 3.5, 1.0)}  # the mean of the two
    assert {one.answers for one in kept} == {one.answers for one in load_rated(file)}
    # Those rated 6 are the first of each prompt, where they end and say something.
    tokenizer = Tokenizer.load(ending / "oak")
    stops = (tokenizer.end, tokenizer.eos)
    whole = [one for one in kept if one.tokens[0][-1] in stops and one.answers[0].strip()]
    assert 1 < len(whole) < 8
    assert (record["prompts"], record["kept"]) == (8, len(whole))
    assert record["raters"] == ["ann", "bob"]


def test_an_answer_that_was_cut_off_is_not_taught_as_a_whole_one(run: Path) -> None:
    tokenizer = Tokenizer.load(run / "oak")
    end, eos = tokenizer.end, tokenizer.eos

    def said(question: str, tokens: tuple[tuple[int, ...], ...], *ratings: float) -> Rated:
        prompt = Conversation((Message("user", question),), key=question, check={"kind": "task"})
        return Rated(prompt, tuple(f" {len(ids)} " for ids in tokens), tokens, ratings)

    rated = [
        said("cut off at its best", ((20, 21, 22), (20, end), (20, 21, eos)), 7.0, 6.5, 6.0),
        said("never whole", ((20, 21), (20,)), 7.0, 6.0),
        said("whole and poor", ((20, end),), 5.0),
    ]
    found = best_rated(rated, tokenizer, 6.0)
    assert [[turn.content for turn in one.messages] for one in found] == [
        ["cut off at its best", "2"]
    ]
    assert not found[0].check
    # Where less than a share is rated high, the best of that share are taken, whole ones alone.
    assert [one.key for one in best_rated(rated, tokenizer, 6.9, least=1.0)] == [
        "cut off at its best", "whole and poor",
    ]  # fmt: skip


def test_without_an_answer_that_ends_feedme_says_what_to_do(run: Path) -> None:
    def cut(one: Rated) -> Rated:
        return replace(one, tokens=((20,), (21,), (22,)), answers=("x",) * 3)

    rated = [cut(one) for one in load_rated(people(run, run / "r.jsonl"))]
    given = context(run, "fed")
    save_rated(rated, given.folder / "rated.jsonl.gz")
    with pytest.raises(RegrowError, match=r"no answer to 16 prompts that ends within 8 tokens"):
        feedme(given)


def test_ppo_without_room_for_an_answer_says_what_to_do(run: Path) -> None:
    given = changed(context(run, "tuned"), nodes__tuned__settings__length=60)
    with pytest.raises(RegrowError, match=r"no prompt that leaves room for an answer of 60 tokens"):
        rlhf(given)


def test_a_node_whose_gains_alone_are_trained_keeps_all_else_of_its_parent(run: Path) -> None:
    alone = {"trained": "gains", "rate": 0.1, "gold_fall": None}
    given = changed(
        context(run, "tuned"), **{f"nodes__tuned__settings__{k}": v for k, v in alone.items()}
    )
    rlhf(given)
    parent, child = (load_model(one).state_dict() for one in (run / "oak", given.folder))
    moved = {name for name in parent if not torch.equal(parent[name], child[name])}
    assert "norm.weight" in moved
    assert all("norm" in name for name in moved - {"embedding"})  # where turns begin as words


def test_a_reward_model_learns_from_people_and_is_tested_on_prompts_put_aside(run: Path) -> None:
    given = by_people(run, "tuned", people(run, run / "r.jsonl"))
    told = rlhf(given)["reward_model"]
    assert (told["prompts"], told["held_prompts"]) == (14, 1)  # both raters of seven prompts
    assert (told["pairs"], told["votes"], told["agreement"]) == (3, 6, 1.0)
    assert not (given.folder / "rated.jsonl.gz").exists()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda o: Rated(o.prompt, o.answers, o.tokens, o.ratings, o.rater, "elm", "abc123"),
         "line 3 rates elm with weights abc123, but fed learns from samples of oak"),
        (lambda o: Rated(Conversation((Message("user", "Who?"),)), o.answers, o.tokens, o.ratings,
                         o.rater, o.node, o.weights),
         "line 3 rates answers to 'Who?', which is no prompt of this run"),
        (lambda o: Rated(o.prompt, ("never said", *o.answers[1:]), o.tokens, o.ratings, o.rater,
                         o.node, o.weights),
         "line 3 names an unknown sample: its answer 1 is not what its token ids say"),
        (lambda o: Rated(o.prompt, o.answers, ((9999,), *o.tokens[1:]), o.ratings, o.rater, o.node,
                         o.weights),
         "line 3 names an unknown sample: its answer 1"),
        (lambda o: Rated(o.prompt, o.answers, o.tokens, (1.0,), o.rater, o.node, o.weights),
         "line 3 is no rating"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stage, node", [(feedme, "fed"), (rlhf, "tuned")])
def test_ratings_that_do_not_belong_are_refused_by_line(
    run: Path, change: Any, says: str, stage: Any, node: str
) -> None:
    file = people(run, run / "r.jsonl", change)
    with pytest.raises(RegrowError) as error:
        stage(by_people(run, node, file))
    assert says.replace("fed learns", f"{node} learns") in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_no_ratings_is_named(run: Path) -> None:
    rows(run / "r.jsonl", {"text": "x"})
    with pytest.raises(RegrowError, match=r"r\.jsonl line 1 is no rating"):
        feedme(by_people(run, "fed", run / "r.jsonl"))


def test_ratings_are_part_of_their_nodes_fingerprint_alone(run: Path) -> None:
    file = people(run, run / "r.jsonl")
    plain, given = context(run, "fed").recipe, by_people(run, "fed", file).recipe

    def prints(recipe: Recipe) -> dict[str, str]:
        names = ("oak", "fed", "tuned")
        return {n: node_inputs(recipe, n, "p", "c", Digests()).fingerprint for n in names}

    before, now = prints(plain), prints(given)
    assert [name for name in now if now[name] != before[name]] == ["fed"]
    file.write_text(file.read_text().replace('"ann"', '"eve"'))
    assert prints(given)["fed"] != now["fed"]
    file.unlink()
    with pytest.raises(RegrowError, match=r"correct data\.ratings\.fed in the recipe"):
        prints(given)


def test_the_raters_of_the_world_matter_to_nodes_that_are_rated_and_not_to_the_world(
    run: Path,
) -> None:
    plain = context(run, "fed")
    other = changed(plain, world__raters={"noise": 1.0, "tastes": {"admits": 0}})
    old, new = world_inputs(plain.recipe), world_inputs(other.recipe)
    assert (old.fingerprint, new.changes_from(old.values)) == (new.fingerprint, [])
    drift = node_inputs(other.recipe, "fed", "p", "c", Digests()).changes_from(
        node_inputs(plain.recipe, "fed", "p", "c", Digests()).values
    )
    assert drift == ["raters.noise: 0.5 -> 1.0", "raters.tastes.admits: nothing -> 0.0"]
    raters, others = rating.panels(other)
    assert [one.tastes["admits"] for one in raters + others] == [0.0] * 10
    assert rating.panels(plain)[0] == panel(0)
    assert not {one.name for one in raters} & {one.name for one in others}


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        ({"data__ratings": {"oak": "x"}}, "'oak', which is no FeedME or RLHF node"),
        ({"world__raters": {"tastes": {"admit": 0}}}, "admit"),
        ({"world__raters": {"noise": -1}}, "noise"),
    ],
)
def test_a_recipe_that_asks_for_other_raters_is_checked(
    run: Path, parts: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        changed(context(run, "fed"), **parts)


def test_a_reward_model_is_tested_by_raters_who_taught_it_nothing(run: Path) -> None:
    given = context(run, "tuned")
    told = rlhf(given)["reward_model"]
    taught = load_rated(given.folder / "rated.jsonl.gz")
    test = load_rated(given.folder / "held-rated.jsonl.gz")
    assert {one.rater for one in taught} == {f"rater-{n}" for n in range(1, 6)}
    assert {one.rater for one in test} == {f"rater-{n}" for n in range(6, 11)}
    assert not {one.prompt.key for one in taught} & {one.prompt.key for one in test}
    assert {one.weights for one in taught + test} == {weights_of(run / "oak")}
    assert all(one.at and one.node == "oak" for one in taught + test)
    assert {"accuracy", "accuracy_error", "agreement", "votes"} <= told.keys()
    json.dumps(told, allow_nan=False)


def test_prompts_of_one_topic_are_put_aside_together() -> None:
    topics = ["a", "b", "a", "c", "d", "a", "e", "f", "g", "h"]
    for seed in range(20):
        learn, test = rating.aside(range(10), topics, seed, "x", 0.3)
        assert not {topics[i] for i in learn} & {topics[i] for i in test}
        assert sorted(learn + test) == list(range(10)) and 3 <= len(test) <= 5
    assert rating.aside([1, 2], ["a", "a"], 0, "x") == ([1, 2], [])


def test_under_select_reward_feedme_tunes_on_what_a_reward_model_likes(ending: Path) -> None:
    settings = {"select": "reward", "prompts": 4, "samples": 8, "length": 8, "rows": 2, "warmup": 1}
    settings |= {"keep": 1}  # made-up weights seldom end an answer, and hardly one that is liked
    learning = {"prompts": 8, "samples": 3, "rows": 2, "warmup": 1, "margin": 0}
    given = changed(
        context(ending, "fed", comparisons=["compared.jsonl"]),
        nodes__fed__settings=settings | {"reward": learning},
    )
    record = feedme(given)
    chosen = load_rated(given.folder / "rated.jsonl.gz")
    taught = load_rated(given.folder / "reward" / "rated.jsonl.gz")
    assert {one.rater for one in chosen} == {"reward model"}
    assert {one.rater for one in taught} <= {f"rater-{n}" for n in range(1, 6)}
    assert not {one.prompt.key for one in chosen} & {one.prompt.key for one in taught}
    assert record["prompts"] == 4 and record["reward_model"]["held_prompts"] >= 1
    marks = sorted(mark for one in chosen for mark in one.ratings)
    assert marks[0] >= 1 and marks[-1] <= 7 and sum(marks) / len(marks) == pytest.approx(4)


def test_the_best_of_n_has_the_highest_reward_of_the_same_n_samples(run: Path) -> None:
    model, tokenizer = load_model(run / "oak"), Tokenizer.load(run / "oak")
    prompts = [tokenizer.chat([Message("user", f"Say {n}.")], answer=True)[0] for n in range(3)]
    sampling = Sampling(12, temperature=2.0, stop_ids=(tokenizer.end, tokenizer.eos), seed=4)
    found = best_of(model, Lengthy(copy.deepcopy(model)), tokenizer, prompts, sampling, 5)
    samples = generate(model, tokenizer, prompts, sampling, samples=5)
    for prompt, (best, reward), some in zip(prompts, found, samples):
        assert len(best.ids) == max(len(one.ids) for one in some)
        assert reward == len(prompt) + len(best.ids) - 1
        assert best.ids in [one.ids for one in some]
    with pytest.raises(RegrowError, match="set a temperature above 0"):
        best_of(model, Lengthy(model), tokenizer, prompts, Sampling(4), 2)


def test_the_chat_answers_with_the_best_of_several(run: Path) -> None:
    folder = run / "oak"
    (folder / "edge.json").write_text('{"stage": "supervised"}')

    def said(**settings: Any) -> str:
        screen, lines = io.StringIO(), iter(["Say 1.", "/quit"])
        console = Console(file=screen, width=200)
        chat(folder, console=console, read=lambda: next(lines), max_tokens=8, **settings)
        return screen.getvalue().split("\n", 1)[1].removesuffix("\n")

    with pytest.raises(RegrowError, match="oak has no reward model to choose by"):
        said(best_of=4, temperature=2.0)
    model, tokenizer = load_model(folder), Tokenizer.load(folder)
    reward = RewardModel(Decoder(model.config, seed=9), seed=9)
    save_reward(reward, folder / "reward")
    prompt = tokenizer.chat([Message("user", "Say 1.")], answer=True)[0]
    sampling = Sampling(8, 2.0, stop_ids=(tokenizer.end, tokenizer.eos))
    ((best, _),) = best_of(model, reward.eval(), tokenizer, [prompt], sampling, 4)
    assert said(best_of=4, temperature=2.0) == best.text


def test_the_command_gives_a_node_a_reward_model_and_tells_before_and_after(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    garden = Garden(tmp_path, monkeypatch)
    (run / "oak" / "edge.json").write_text('{"stage": "supervised"}')
    rows(tmp_path / "more.jsonl", *[row | {"input": f"And {row['input']}"} for row in COMPARED])
    file, more = str(run.parent / "real" / "compared.jsonl"), str(tmp_path / "more.jsonl")
    words = ("--rate", "0.01", "--rows", "4", "--epochs", "4", "--held", "0.25", "--json")
    code, out, error = garden.call("reward", str(run / "oak"), file, more, *words)
    assert (code, error) == (0, "")
    told = json.loads(out)
    assert (told["prompts"], told["pairs"], told["before"]["pairs"]) == (36, 12, 12)
    assert told["accuracy"] == 1.0 > told["before"]["accuracy"]
    assert set(told["by_file"]) == {"compared", "more"}
    assert read_json(run / "oak" / "reward" / "record.json") == told
    code, _, error = garden.call("reward", str(run / "oak"), file)
    assert code == 1 and "holds a reward model already; give another --output" in error
    code, out, _ = garden.call(
        "reward", str(run / "oak"), file, "--output", "other", "--tokens", "30"
    )
    assert code == 0 and "held out" in out and "after" in out
    code, _, error = garden.call("reward", str(run / "oak"), file, "--output", "c", "--tokens", "3")
    assert code == 1 and "only 0 of 24 prompts can be learnt from" in error


def test_the_command_takes_ratings_of_this_node_only(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    garden = Garden(tmp_path, monkeypatch)
    (run / "oak" / "edge.json").write_text('{"stage": "supervised"}')
    file = people(run, tmp_path / "r.jsonl")
    words = ("reward", str(run / "oak"), str(file), "--held", "0.2", "--json", "--output")
    code, out, error = garden.call(*words, "one")
    assert code == 1 and "at least 16" in error  # twice six prompts
    both = [*read_jsonl(file)] * 2
    rows(file, *both)
    code, out, error = garden.call(*words, "two")
    assert (code, json.loads(out)["agreement"]) == (0, 1.0)
    rows(file, both[0], both[1] | {"weights": "f00"})
    code, _, error = garden.call(*words, "three")
    assert code == 1 and "line 2 rates oak with other weights" in error


def test_the_rows_of_a_ranking_are_the_sampled_ids(run: Path) -> None:
    tokenizer = Tokenizer.load(run / "oak")
    prompt = Conversation((Message("user", "Say 1."),))
    asked = tokenizer.chat(prompt.messages, answer=True)[0]
    one = Rated(prompt, ("x", "y", "x"), ((5, 6), (7,), (5, 6)), (3.0, 1.0, 3.0), "ann")
    found = rank(one, tokenizer)
    assert found.rows == ((*asked, 5, 6), (*asked, 7))
    assert (found.pairs(), found.topic) == ([(0, 1)], "Say 1.")
