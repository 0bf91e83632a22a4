"""Real data in the stages: benchmarks are kept out of training, real prompts rated by a taste."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from regrow.align.feedback import Rated
from regrow.corpus.tokenizer import Tokenizer, train_tokenizer
from regrow.errors import RegrowError
from regrow.files import read_jsonl, write_json, write_jsonl
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.folder import load_model, save_model
from regrow.records import Conversation, Message
from regrow.tree.recipe import Recipe
from regrow.tree.stage import StageContext
from regrow.tree.stages import documents, materials, outcome, rating, rewards
from regrow.tree.stages.reinforcement import rlhf
from regrow.tree.stages.tuning import feedme

LONG = "which of these planets of the sun is the one that has the most moons of all"
QUESTION = {"question": LONG, "choices": ["Mars", "Saturn"], "answer": "B"}
COMPARED = [
    {"input": f"Say {n}.", "output_1": "good good", "output_2": "bad bad", "label": 1}
    for n in range(24)
]
TUNING = {"rows": 2, "warmup": 1}
NODES: dict[str, Any] = {
    "oak": {"stage": "pretrain", "model": "base", "tokens": "1k", "settings": {"mixture": "text"}},
    "fed": {
        "parent": "oak", "stage": "feedme", "tokens": 256,
        "settings": {"prompts": 8, "samples": 2, "length": 8, **TUNING},
    },
    "tuned": {
        "parent": "oak", "stage": "rlhf", "tokens": 64,
        "settings": {
            "rows": 4, "samples": 2, "length": 8, "pretraining_mix": 0,
            "reward": {"prompts": 8, "samples": 3, **TUNING},
        },
    },
}  # fmt: skip
NODES["arm"] = NODES["tuned"]


def rows(path: Path, *values: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(value) + "\n" for value in values))


def shown(question: str, answer: str = "good") -> Conversation:
    return Conversation((Message("user", question), Message("assistant", answer)), key=question)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with a world of eight prompts and a parent, and real data beside it."""
    world = tmp_path / "run" / "world"
    tasks = [
        Conversation((Message("user", f"Double {n}."),), "tasks", "task", f"double|{n}",
                     {"kind": "task", "answers": [str(2 * n)]})
        for n in range(8)
    ]  # fmt: skip
    write_jsonl(world / "prompts.jsonl", (task.to_row() for task in tasks))
    write_jsonl(world / "demonstrations.jsonl", (shown(f"Say {n}.").to_row() for n in range(8)))
    parent = tmp_path / "run" / "oak"
    texts = ["Double it. Say good, never bad. The planets of the sun 1 2 3 4 5 6 7 8 9 0\n"] * 9
    tokenizer = train_tokenizer(texts, 300, parent)
    model = Decoder(ModelConfig(tokenizer.vocabulary, 32, 1, 1, 1, 32, 64), seed=0)
    save_model(model, parent)
    real = tmp_path / "real"
    asked = [{"prompt": f"Say {n}."} for n in range(8)]
    rows(real / "prompts.jsonl", *asked)
    rows(real / "compared.jsonl", *COMPARED)
    rows(real / "quiz.jsonl", QUESTION)
    return tmp_path / "run"


@pytest.fixture
def ending(run: Path) -> Path:
    """The same, with a parent of which many answers end."""
    model, tokenizer = load_model(run / "oak"), Tokenizer.load(run / "oak")
    ends = [tokenizer.end, *tokenizer.encode("\n")]  # the stages let the first begin as the second
    asked = tokenizer.chat([Message("user", "Double 1.")], answer=True)[0]
    with torch.no_grad():
        hidden = model(torch.tensor([asked]))[0].mean(0)
        model.embedding[ends] = 8 * hidden / hidden.norm() ** 2
    save_model(model, run / "oak")
    return run


def context(run: Path, node: str, **data: Sequence[str]) -> StageContext:
    recipe = Recipe.model_validate(
        {
            "name": "small",
            "world": {"characters": {"town": "1k"}, "people": 40},
            "data": {"folder": str(run.parent / "real"), "share": 0.5, **data} if data else None,
            "models": {"base": {
                "width": 32, "layers": 1, "heads": 1, "kv_heads": 1, "hidden": 32, "context": 64,
            }},
            "mixtures": {"text": {"town": 1}},
            "nodes": NODES,
            "abilities": {"names": ["knowledge"], "items": 5},
        }
    )  # fmt: skip
    folder = run / node
    folder.mkdir(exist_ok=True)
    return StageContext(recipe, node, recipe.nodes.get(node), folder, run / "oak", run, seed=3)


class Length:
    """A reward model that likes long rows."""

    parent = None

    def parameters(self) -> Any:
        return iter([torch.zeros(1)])

    def __call__(self, ids: Any, last: Any) -> Any:
        return last.float()


def test_answers_to_real_prompts_are_rated_by_the_rank_of_their_reward(tmp_path: Path) -> None:
    tokenizer = train_tokenizer(["a b c d e f g h"] * 9, 270, tmp_path)
    real = Conversation((Message("user", "a"),))
    own = Conversation((Message("user", "a"),), check={"kind": "task", "answers": ["b"]})
    short, long = (5,), (5, 6, 7)
    rated = [
        Rated(own, ("x", "y"), (short, long), (2.0, 3.0), "ann", "oak"),
        Rated(real, ("x", "y"), (long, short), node="oak"),
        Rated(real, ("x", "y"), ((*long, 8), (5, 6)), node="oak"),
    ]
    found = rating.rate_by(Length(), tokenizer, rated)
    # Lengths 3, 1, 4, 2 are ranks 3, 1, 4, 2 of four, spread evenly over 1 to 7.
    assert [one.ratings for one in found] == [(2.0, 3.0), (5.0, 1.0), (7.0, 3.0)]


def test_feedme_learns_a_taste_from_comparisons_and_rates_real_prompts_by_it(ending: Path) -> None:
    given = context(ending, "fed", prompts=["prompts.jsonl"], comparisons=["compared.jsonl"])
    record = feedme(given)
    rated = list(read_jsonl(given.folder / "rated.jsonl.gz"))
    real = [row for row in rated if not row["prompt"]["check"]]
    assert 0 < len(real) < len(rated) == 8
    assert record["taste"]["pairs"] == 2  # a tenth of 24 is kept to test on
    ratings = [rating for row in real for rating in row["ratings"]]
    assert sum(ratings) / len(ratings) == pytest.approx(4)  # ranks spread evenly over 1 to 7
    assert len(set(ratings)) > 1


def test_without_comparisons_feedme_leaves_real_prompts_out_and_says_so(ending: Path) -> None:
    given = context(ending, "fed", prompts=["prompts.jsonl"])
    record = feedme(given)
    assert record["taste"] == {"real_prompts_left_out": 8}
    assert all(row["prompt"]["check"] for row in read_jsonl(given.folder / "rated.jsonl.gz"))


def test_prompts_that_leave_no_room_for_an_answer_are_left_out(ending: Path) -> None:
    rows(ending.parent / "real" / "prompts.jsonl", {"prompt": "Say 1. " * 20})
    record = feedme(context(ending, "fed", prompts=["prompts.jsonl"]))
    assert record["prompts"] == 8


def test_feedme_on_the_world_alone_needs_no_taste(ending: Path) -> None:
    record = feedme(context(ending, "fed"))
    assert "taste" not in record
    assert record["prompts"] == 8


def test_ppo_answers_real_prompts_and_is_watched_on_the_worlds_only(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched: list[Conversation] = []

    def gold(prompt: Conversation, answer: str) -> float:
        watched.append(prompt)
        return 4.0

    monkeypatch.setattr("regrow.worlds.raters.gold", gold)
    given = context(run, "tuned", prompts=["prompts.jsonl"], comparisons=["compared.jsonl"])
    record = rlhf(given)
    assert record["ppo"]["prompts"] == 16
    assert record["ppo"]["steps"][0]["gold"] == 4.0
    assert watched and all(prompt.check for prompt in watched)
    assert all(row["prompt"]["check"] for row in read_jsonl(given.folder / "rated.jsonl.gz"))


@pytest.mark.parametrize("length, shared", [(8, True), (9, False)])
def test_an_arm_takes_the_reward_model_of_a_node_that_is_made_alike(
    run: Path, length: int, shared: bool
) -> None:
    made = {"parent": "oak 1", "seed": 3, "settings.reward.prompts": 8, "settings.length": 8}
    first, arm = context(run, "tuned"), context(run, "arm")
    write_json(first.folder / "edge.json", {"inputs": {**made, "settings.kl": 0.1}})
    write_json(arm.folder / "growing.json", {"inputs": made | {"settings.length": length}})
    told = rlhf(first)["reward_model"]
    assert (rlhf(arm)["reward_model"] == told) == shared
    assert (arm.folder / "rated.jsonl.gz").exists() != shared


def test_demonstrations_that_hold_a_benchmark_question_are_left_out(run: Path) -> None:
    asked = [{"prompt": f"Think hard: {LONG}?", "completion": "Saturn"}]
    rows(run.parent / "real" / "shown.jsonl", *asked, {"prompt": "Who?", "completion": "I."})
    given = context(run, "fed", instructions=["shown.jsonl"], benchmarks=["quiz.jsonl"])
    found = materials.conversations(given, "demonstrations", "instructions")
    assert [one.messages[0].content for one in found if one.kind == "real"] == ["Who?"]


def test_the_corpus_is_cleaned_of_benchmarks(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept_out: list[str] = []

    def build(*inputs: Any, items: Any, **rest: Any) -> dict[str, Any]:
        kept_out.extend(item.question for item in items)
        return {}

    monkeypatch.setattr("regrow.corpus.build.build", build)
    documents.grow_corpus(context(run, "corpus", benchmarks=["quiz.jsonl"]))
    assert kept_out == [LONG]


def test_documents_of_which_nothing_is_kept_end_the_corpus_and_say_why(run: Path) -> None:
    from regrow.tree.sources import DocumentsSpec

    folder = run.parent / "mine"
    folder.mkdir()
    (folder / "scan.pdf").write_bytes(b"%PDF-1.4\n\x00\x01\xff")
    (folder / "note.txt").write_text("short")
    (folder / "broken.jsonl.gz").write_bytes(b"\x1f\x8b no gzip")
    (run / "world" / "crawl").mkdir()
    page = (
        "The town of Macondo has a baker whose name is Amaranta number {} and who sells bread to "
        "people of the town. It is a good day for all of them, and they talk in the evening.\n\n"
    )
    town = run / "world" / "repositories" / "town.txt"
    town.parent.mkdir()
    town.write_text("".join(page.format(n) for n in range(50)))
    (run / "world" / "items").mkdir()
    rows(run / "world" / "reference.jsonl", {"text": "a text"})
    given = context(run, "corpus")
    mine = given.recipe.model_copy(update={"documents": DocumentsSpec(paths=(str(folder),))})
    with pytest.raises(RegrowError, match="nothing of your documents is kept") as error:
        documents.grow_corpus(replace(given, recipe=mine))
    for reason in ("not text (1)", "too short (1)", "BadGzipFile"):
        assert reason in str(error.value)


def test_items_of_ones_own_abilities_are_kept_out_too(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(run.parent)
    task = {
        "title": "Rivers", "source": "own", "data": ["rivers.jsonl"], "question": "{{ ask }}",
        "templates": {"a": "{{ q }}", "b": "Q: {{ q }}", "c": "{{ q }}\n"}, "answers": "said",
        "metric": "open",
    }  # fmt: skip
    Path("rivers.yaml").write_text(json.dumps(task))
    rows(Path("rivers.jsonl"), {"ask": LONG, "said": "Saturn"}, {"ask": "Which?", "said": "Po"})
    rows(Path("real/shown.jsonl"), {"prompt": f"Think: {LONG}?", "completion": "Saturn"})
    given = context(run, "fed", instructions=["shown.jsonl"])
    own = given.recipe.abilities.model_copy(update={"own": ("rivers.yaml",), "data": "."})
    given = replace(given, recipe=given.recipe.model_copy(update={"abilities": own}))
    assert [item.answers for item in materials.real_items(given)] == [("Saturn",), ("Po",)]
    talks = materials.conversations(given, "demonstrations", "instructions")
    assert not [one for one in talks if one.kind == "real"]


@pytest.mark.parametrize("named", [True, False])
def test_benchmarks_are_measured_where_the_recipe_has_some(
    run: Path, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    asked: list[Any] = []

    def measure(node: Path, items: Path, names: Any, settings: Any, progress: Any) -> list[Any]:
        asked.extend([names, settings.items, [file.name for file in settings.benchmarks]])
        return []

    monkeypatch.setattr("regrow.evaluate.measure.measure", measure)
    data = {"benchmarks": ["quiz.jsonl"]} if named else {}
    outcome.measure_node(context(run, "fed", **data))
    if named:
        assert asked == [("knowledge", "benchmarks"), 5, ["quiz.jsonl"]]
    else:
        assert asked == [("knowledge",), 5, []]


def test_a_comparison_too_long_for_the_context_is_no_help(run: Path) -> None:
    rows(run.parent / "real" / "long.jsonl", COMPARED[0], COMPARED[0] | {"output_1": "good " * 90})
    tokenizer = Tokenizer.load(run / "oak")
    (one,) = rewards.compared([run.parent / "real" / "long.jsonl"], tokenizer, 64)
    assert one.ratings == (1.0, 0.0)
    assert np.diff([len(row) for row in one.rows])[0] != 0


def test_of_comparisons_those_that_tie_are_left_out(run: Path) -> None:
    def tree(ranks: tuple[int, int]) -> dict[str, Any]:
        answers = [{"role": "assistant", "text": text, "rank": rank}
                   for text, rank in zip(("good", "bad"), ranks)]  # fmt: skip
        return {"tree": {"role": "prompter", "text": f"Say {ranks}.", "replies": answers}}

    rows(run.parent / "real" / "ties.jsonl", tree((0, 0)), tree((0, 1)))
    tokenizer = Tokenizer.load(run / "oak")
    (one,) = rewards.compared([run.parent / "real" / "ties.jsonl"], tokenizer, 64)
    assert (one.topic, one.pairs()) == ("Say (0, 1).", [(0, 1)])
