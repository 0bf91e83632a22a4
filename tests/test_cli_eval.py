"""`regrow eval --tasks`: tasks told, measured, and shown beside published scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import yaml
from typer.testing import CliRunner

from regrow.cli import app
from regrow.corpus.tokenizer import train_tokenizer
from regrow.errors import RegrowError
from regrow.evaluate.report import write_report
from regrow.files import write_json
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.folder import save_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A node that finds all equally likely, and nine items of PIQA's shape."""
    folder = Path(tmp_path_factory.mktemp("eval"))
    tokenizer = train_tokenizer(["Question: warm milk Answer: use ice fire"] * 9, 300, folder / "n")
    model = Decoder(ModelConfig(tokenizer.vocabulary, 32, 1, 1, 1, 32, 64))
    torch.nn.init.zeros_(model.embedding)
    save_model(model, folder / "n")
    rows = [
        {"query": f"Question: warm milk {n}\n", "choices": ["use ice", "a fire"], "gold": n % 2}
        for n in range(9)
    ]
    (folder / "piqa").mkdir()
    (folder / "piqa" / "data.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def call(*words: str) -> str:
    found = CliRunner().invoke(app, ["eval", *words])
    if found.exception is not None:
        raise found.exception
    return str(found.stdout)


def test_tasks_are_listed_for_people_and_for_programs() -> None:
    assert "Grade-school mathematics" in call("--tasks", "list")
    told = {task["name"]: task for task in json.loads(call("--tasks", "list", "--json"))}
    assert told["mmlu"]["shots"]["count"] == 5


def test_a_folder_of_a_model_is_measured_and_published_scores_stand_beside_it(
    folder: Path,
) -> None:
    asked = (str(folder / "n"), "--tasks", "piqa", "--data", str(folder), "--limit", "6")
    (row,) = json.loads(call(*asked, "--precision", "fp32", "--json"))
    assert (row["task"], row["n"], row["chance"], row["shots"]) == ("piqa", 6, 0.5, 0)
    assert row["low"] <= row["score"] <= row["high"]
    davinci = row["published"][0]
    assert (davinci["model"], davinci["benchmark"]) == ("davinci", "PIQA")
    assert "zero-shot" in davinci["setting"]
    shown = call(*asked, "--precision", "fp32")
    assert "published, piqa (compare only like settings" in shown
    assert f"davinci {davinci['score']:g}: zero-shot" in shown


def test_what_cannot_be_measured_is_refused_in_one_line(folder: Path) -> None:
    with pytest.raises(RegrowError, match="name a node to measure"):
        call("--tasks", "piqa")
    with pytest.raises(RegrowError, match="no task 'piqua'; did you mean 'piqa'"):
        call(str(folder / "n"), "--tasks", "piqua", "--data", str(folder))
    with pytest.raises(RegrowError, match=r"arc.data.jsonl is not there; name the folder"):
        call(str(folder / "n"), "--tasks", "piqa,arc", "--data", str(folder))


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (
            ["--abilities", "knowledge", "--precision", "fp32"],
            "--precision does not go with --",
        ),
        (["--abilities", "knowledge", "--tasks", "piqa"], "--tasks does not go with --abilities"),
        (["--limit", "5"], "--limit goes with --tasks or --abilities"),
        (["--helm", "--shots", "0"], "--shots does not go with --helm"),
        (["--tasks", "harness:x", "--typos"], "--typos is not for tasks of the harness"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(words: list[str], why: str) -> None:
    with pytest.raises(RegrowError, match=why):
        call("n", *words)


def test_without_the_harness_its_tasks_say_what_to_install(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lm_eval", None)
    monkeypatch.delitem(__import__("sys").modules, "regrow.evaluate.harness", raising=False)
    with pytest.raises(RegrowError, match=r"install regrow\[lm-eval\]"):
        call(str(folder / "n"), "--tasks", "harness:arc_easy", "--data", str(folder))


def test_abilities_are_listed_with_how_they_are_asked() -> None:
    assert "memorisation" in call("--abilities", "list")
    told = {one["name"]: one for one in json.loads(call("--abilities", "list", "--json"))}
    assert list(told["prompting"]["metrics"]) == ["accuracy", "accuracy of long chains"]
    assert told["knowledge"]["metrics"]["accuracy"]["chance"] == 0.03
    assert len(told["knowledge"]["templates"]) == 3


def test_an_ability_of_ones_own_is_a_task_file_with_three_templates(
    folder: Path, tmp_path: Path
) -> None:
    told = {
        "title": "Milk", "source": "my own", "data": ["piqa/data.jsonl"],
        "question": "{{ query }}", "choices": "choices", "gold": "gold", "metric": "accuracy",
        "chance": "1 / n", "templates": {"bare": "{{ q }}", "Q": "Question: {{ q }}"},
    }  # fmt: skip
    path = tmp_path / "milk.yaml"
    asked = (str(folder / "n"), "--abilities", str(path), "--data", str(folder), "--json")
    path.write_text(yaml.safe_dump(told))
    with pytest.raises(RegrowError, match=r"milk.yaml: 'templates' has 2; give at least 3"):
        call(*asked)
    told["templates"] |= {"A": "{{ q }}Answer:"}
    path.write_text(yaml.safe_dump(told))
    (row,) = json.loads(call(*asked))
    assert (row["ability"], row["n"], row["chance"]) == ("milk", 9, 0.5)
    assert set(row["templates"]) == {"bare", "Q", "A"}
    assert row["line"] == "milk"
    write_json(folder / "n" / "edge.json", {"name": "n", "stage": "pretrain"})
    page = write_report(folder).read_text()
    assert page.count('<th scope="row">Milk</th>') == 1
    assert "twin: " in page and "share of probability on right choices" in page
    shown = json.loads(call(str(folder / "n"), "--helm", "--json"))
    assert set(shown) == {"accuracy", "calibration"}  # nothing was written, only chosen
    assert "robustness,fairness" in call(str(folder / "n"), "--helm")
    (again,) = json.loads(call(*asked, "--limit", "4", "--all-templates"))
    assert (again["n"], set(again["templates"])) == (12, {"bare", "Q", "A"})
    path.rename(tmp_path / "knowledge.yaml")
    with pytest.raises(RegrowError, match="'knowledge' is an ability of the registry"):
        call(asked[0], "--abilities", str(tmp_path / "knowledge.yaml"))
