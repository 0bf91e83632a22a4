"""Task files: what they may say, how rows become questions, and that nothing is measured twice."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from regrow.corpus.tokenizer import train_tokenizer
from regrow.errors import RegrowError
from regrow.evaluate import jail, taskrun
from regrow.evaluate.taskfile import Task, load_task, names
from regrow.evaluate.taskitems import TaskSettings, program_of, questions
from regrow.evaluate.taskrun import run_tasks
from regrow.evaluate.taskscore import Answered, results
from regrow.evaluate.typos import misspelt
from regrow.files import read_json, read_jsonl, write_json
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.folder import save_model

SHARED = Path(os.environ.get("REGROW_SHARED", Path(__file__).parents[1] / ".." / "shared")) / "data"
ROWS = [
    {"q": f"what comes after {n}?", "options": ["moon", str(n + 1)], "right": 1,
     "kind": "even" if n % 2 == 0 else "odd"}
    for n in range(12)
]  # fmt: skip
CHOICE = {
    "title": "What comes after", "source": "here", "data": ["after/rows.jsonl"],
    "question": "{{ q }}", "templates": {"Q/A": "Q: {{ q }}\nA:", "bare": "{{ q }}"},
    "choices": "options", "gold": "right", "metric": "accuracy", "chance": "1 / n",
}  # fmt: skip
TEXT = {k: v for k, v in CHOICE.items() if k not in ("choices", "gold", "chance")} | {
    "answers": "options[right]", "metric": "exact", "max_tokens": 4,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "after").mkdir()
    (tmp_path / "after" / "rows.jsonl").write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    return tmp_path


def written(folder: Path, told: dict[str, Any], name: str = "after") -> Task:
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(told, sort_keys=False))
    return load_task(str(folder / f"{name}.yaml"))


def test_the_shipped_tasks_are_whole_and_know_their_source() -> None:
    found = [load_task(name) for name in names()]
    wanted = (
        "gsm8k svamp mawps aqua strategyqa bbh mmlu arc openbookqa commonsenseqa truthfulqa "
        "nq_open triviaqa boolq piqa siqa mbpp humaneval cruxeval last_letters coin_flip "
        "natural_instructions"
    )
    assert set(wanted.split()) <= set(names())
    assert all(task.source and task.title and task.setting for task in found)


@pytest.mark.parametrize("name", [name for name in names() if name != "humaneval"])
def test_real_files_become_questions_with_a_right_answer(name: str) -> None:
    if not SHARED.is_dir():
        pytest.skip(f"{SHARED} is not there; set REGROW_SHARED to read real data")
    task = load_task(name)
    found = questions(task, SHARED, limit=10, every_template=True)
    assert len({q.id for q in found}) == 10
    assert len(found) == 10 * len(task.templates)
    for one in found:
        assert one.shots == task.shots.count + task.head_shots
        assert one.target.strip()
        assert 0 <= one.chance < 1
        # A worked answer holds the answer where the task looks for it.
        if task.kind == "text" and task.metric != "rouge_l":
            right = Answered(one, text=one.target, gold=0.0)
            assert results(task, "node", [right], TaskSettings(SHARED))[0].score == 1, one.target


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"templates": {}}, "'templates' is empty; give at least one"),
        ({"templates": {"a": "Question:"}}, r"template 'a' has no \{\{ q \}\}"),
        ({"templates": {"a": "{{ q"}}, "unexpected end of template"),
        ({"metric": "accurracy"}, "metric 'accurracy' is none of accuracy, mass"),
        ({"gold": ""}, "a task with choice answers needs 'gold'"),
        ({"shot": 3}, "unknown key 'shot'; did you mean 'shots'"),
        ({"question": None}, "'question': input should be a valid string"),
        ({"extract": ["answer"]}, "needs one group"),
        ({"shots": {"count": 2, "rows": [{"q": "x"}]}}, "2 wanted, 1 written"),
    ],
)
def test_a_task_file_that_is_not_whole_is_refused_with_the_reason(
    folder: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RegrowError, match=f"after.yaml: .*{reason}"):
        written(folder, CHOICE | change)


def test_a_key_that_is_missing_and_a_file_that_is_no_yaml_are_named(folder: Path) -> None:
    with pytest.raises(RegrowError, match="'templates' is missing"):
        written(folder, {k: v for k, v in CHOICE.items() if k != "templates"})
    (folder / "broken.yaml").write_text("a: [")
    with pytest.raises(RegrowError, match="not valid YAML"):
        load_task(str(folder / "broken.yaml"))
    with pytest.raises(RegrowError, match="no task 'gsm8'; did you mean 'gsm8k'"):
        load_task("gsm8")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"question": "{{ query }}"}, "column missing in after.rows.0: 'query' is undefined"),
        ({"choices": "candidates"}, "'candidates' is undefined"),
        ({"gold": "7"}, "no right choice among 2"),
        ({"choices": "right"}, "does not fit"),
        ({"keep": "right == 0"}, "no row is left"),
        ({"data": ["other.jsonl"]}, "other.jsonl is not there; name the folder with --data"),
        ({"question": "{{ ''.__class__.__mro__ }}"}, "unsafe"),
        ({"join": {"data": "after/rows.jsonl", "column": "id"}}, "no column 'id'; it has q"),
    ],
)  # fmt: skip
def test_data_that_do_not_fit_the_task_are_refused_with_the_reason(
    folder: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RegrowError, match=reason):
        questions(written(folder, CHOICE | change), folder)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"chance": "1 / n"}, r"after.rows.0 does not fit '1 / n': .*zero"),
        ({"answers": "'' if right else q"}, "after.rows.0 has no answer"),
    ],
)
def test_a_text_task_that_does_not_fit_names_the_row(
    folder: Path, change: dict[str, Any], reason: str
) -> None:
    with pytest.raises(RegrowError, match=reason):
        questions(written(folder, TEXT | change), folder)


def test_examples_are_the_same_for_all_and_are_not_asked(folder: Path) -> None:
    task = written(folder, CHOICE | {"shots": {"count": 2}})
    found = questions(task, folder)
    assert len(found) == 10
    assert {q.parts[:-1] for q in found} == {found[0].parts[:-1]}
    assert found[0].parts[-1] == "Q: what comes after 0?\nA:"
    shown = "".join(found[0].parts[:-1])
    assert not any(q.parts[-1] in shown for q in found)
    assert shown.count("\n\n") == 2
    assert len(questions(task, folder, shots=0)) == 12


def test_examples_can_be_of_the_items_own_kind(folder: Path) -> None:
    task = written(folder, CHOICE | {"shots": {"count": 1, "within": "kind"}})
    for one in questions(task, folder):
        number = int(one.parts[1].split()[4].rstrip("?"))
        assert ("even" if number % 2 == 0 else "odd") == one.row["kind"]


def test_a_limit_takes_the_same_items_for_everyone_and_a_larger_one_adds(folder: Path) -> None:
    task = written(folder, CHOICE)
    few = [q.id for q in questions(task, folder, limit=4)]
    assert few == [q.id for q in questions(task, folder, limit=6)][:4]


def test_typos_are_in_the_question_and_nowhere_else(folder: Path) -> None:
    task = written(folder, CHOICE | {"shots": {"count": 2}})
    plain, slips = questions(task, folder), questions(task, folder, typos=True)
    assert [q.id for q in plain] == [q.id for q in slips]
    for before, after in zip(plain, slips):
        assert before.parts[:-1] == after.parts[:-1]
        assert before.parts[-1] != after.parts[-1]
        assert sorted(before.parts[-1]) == sorted(after.parts[-1])
        assert after.parts[-1].endswith(f"{before.row['q'].split()[-1]}\nA:")
        assert after.choices == before.choices
    assert slips == questions(task, folder, typos=True)
    assert misspelt("a 12 of it", "key") == "a 12 of it"
    assert misspelt("word", "key") == "wrod"


def node_of(folder: Path, seed: int | None = 1) -> Path:
    """A node that knows nothing (None: finds everything equally likely)."""
    node = folder / "davinci"
    tokenizer = train_tokenizer([row["q"] + " moon" for row in ROWS], 300, node)
    torch.manual_seed(seed or 0)
    model = Decoder(ModelConfig(tokenizer.vocabulary, 32, 1, 1, 1, 32, 96))
    if seed is None:
        torch.nn.init.zeros_(model.embedding)
    save_model(model, node)
    write_json(node / "edge.json", {"name": "davinci", "fingerprint": "abc"})
    return node


def test_a_node_that_finds_all_alike_scores_at_chance_with_an_interval_around_it(
    folder: Path,
) -> None:
    task = written(folder, CHOICE | {"by": "kind", "per": "token"})
    found = run_tasks(node_of(folder, None), [task], TaskSettings(folder, precision="fp32"))
    whole, *cells = found
    assert (whole.n, whole.score, whole.chance, whole.cell) == (12, 0.5, 0.5, "")
    assert whole.low <= 0.5 <= whole.high
    assert whole.twin == pytest.approx(0.5, abs=0.01)
    assert whole.calibration_error == pytest.approx(0, abs=0.01)
    assert {(one.cell, one.n) for one in cells} == {("even", 6), ("odd", 6)}
    rows = read_json(folder / "davinci" / "tasks" / "results.json")
    assert [row["cell"] for row in rows] == ["", "even", "odd"]


def test_nothing_is_measured_twice(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    node, choice, text = node_of(folder), written(folder, CHOICE), written(folder, TEXT, "said")
    settings = TaskSettings(folder, limit=5, precision="fp32")
    first = run_tasks(node, [choice, text], settings)
    asked: list[int] = []
    real = taskrun._Node._ask

    def counted(self: Any, task: Task, items: Any, prompts: Any) -> Any:
        asked.append(len(items))
        return real(self, task, items, prompts)

    monkeypatch.setattr(taskrun._Node, "_ask", counted)
    assert run_tasks(node, [choice, text], settings) == first
    assert asked == []
    run_tasks(node, [choice], TaskSettings(folder, limit=8, precision="fp32"))
    assert asked == [3]
    write_json(node / "edge.json", {"name": "davinci", "fingerprint": "another"})
    (other,) = run_tasks(node, [choice], settings)
    assert asked == [3, 5]
    rows = read_json(node / "tasks" / "results.json")
    assert [row["fingerprint"] for row in rows] == ["another"] == [other.fingerprint]
    assert first[0].fingerprint == "abc"


def test_what_was_answered_before_a_stop_is_kept(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    node, task = node_of(folder), written(folder, CHOICE)
    monkeypatch.setattr(taskrun, "_CHUNK", 4)
    real, calls = taskrun._Node._ask, []

    def stops(self: Any, *args: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(self, *args)

    monkeypatch.setattr(taskrun._Node, "_ask", stops)
    with pytest.raises(KeyboardInterrupt):
        run_tasks(node, [task], TaskSettings(folder, precision="fp32"))
    assert len(list(read_jsonl(node / "tasks" / "after.jsonl.gz"))) == 4


def test_a_short_context_drops_examples_and_says_so(folder: Path) -> None:
    node = node_of(folder)
    task = written(folder, TEXT | {"shots": {"count": 6}})
    (found,) = run_tasks(node, [task], TaskSettings(folder, precision="fp32"))
    assert found.shortened == found.n == 6


def test_texts_are_written_and_the_right_one_has_a_likelihood(folder: Path) -> None:
    (found,) = run_tasks(
        node_of(folder), [written(folder, TEXT)], TaskSettings(folder, precision="fp32")
    )
    assert (found.n, found.metric, found.chance) == (12, "exact", 0)
    assert found.twin is not None
    assert found.twin < 0


def test_choices_are_compared_by_sum_by_token_or_by_byte(folder: Path) -> None:
    answered = []
    for one in questions(written(folder, CHOICE), folder, limit=1):
        # " moon" is 4 bytes in 2 tokens, a digit 1 byte in 1 token
        answered.append(Answered(one, choices=(-3.0, -2.0), tokens=(2, 1), gold=None))
    scores = {
        per: results(written(folder, CHOICE | {"per": per}), "n", answered, TaskSettings(folder))[0]
        for per in ("sum", "token", "byte")
    }
    assert {per: found.score for per, found in scores.items()} == {"sum": 1, "token": 0, "byte": 0}


def test_programs_are_run_and_those_that_were_not_count_in_no_score(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        {"task_id": n, "prompt": "def double(n):\n", "entry_point": "double",
         "canonical_solution": "    return 2 * n\n",
         "test": "def check(candidate):\n    assert candidate(2) == 4\n"}
        for n in range(3)
    ]  # fmt: skip
    (folder / "humaneval").mkdir()
    (folder / "humaneval" / "data.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    task = load_task("humaneval")
    monkeypatch.setattr(jail, "why_not_wrapped", lambda: "bubblewrap is not installed")
    bodies = ("    return 2 * n\n", "    return n\n", "    import math\n    return 2 * n\n")
    found = questions(task, folder)
    assert program_of(task, found[0], bodies[0]) == "def double(n):\n    return 2 * n\n"
    answered = [Answered(one, text=body) for one, body in zip(found, bodies)]
    (score,) = results(task, "n", answered, TaskSettings(folder))
    assert (score.n, score.score, score.not_run) == (2, 0.5, 1)
    assert "import" in score.why_not
    (none,) = results(task, "n", answered[2:], TaskSettings(folder))
    assert (none.to_row()["score"], none.n, none.not_run) == (None, 0, 1)
