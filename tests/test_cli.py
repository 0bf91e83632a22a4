"""The commands as a user meets them: help, one-line errors, JSON, nothing heavy imported."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tree_kit import Garden

from regrow import cli


@pytest.fixture
def garden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Garden:
    return Garden(tmp_path, monkeypatch)


@pytest.fixture
def grown(garden: Garden) -> Garden:
    assert garden.grow()[0] == 0
    return garden


def _loaded_by(code: str) -> set[str]:
    """The modules in memory after the code has run in a new process."""
    script = f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    return set(done.stderr.split())


HEAVY = {"torch", "transformers", "numpy", "pyarrow", "sklearn", "matplotlib", "fastapi", "scipy"}


def test_the_command_line_imports_nothing_heavy() -> None:
    loaded = _loaded_by("import regrow.cli")
    assert "typer" in loaded
    assert not loaded & (HEAVY | {"pydantic", "yaml", "rich.markdown"})


def test_a_run_with_nothing_to_do_imports_no_torch(grown: Garden) -> None:
    loaded = _loaded_by(
        "sys.argv = ['regrow', 'run', 'sapling.yaml']\n"
        "from regrow.cli import main\n"
        "try: main()\nexcept SystemExit: pass"
    )
    assert "regrow.tree.run" in loaded
    assert not loaded & HEAVY


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "tree",
        "report",
        "eval",
        "trace",
        "chat",
        "serve",
        "export",
        "import",
        "presets",
        "corpus build",
        "corpus inspect",
    ],
)
def test_every_command_explains_itself_with_an_example(garden: Garden, command: str) -> None:
    code, out, _ = garden.call(*command.split(), "--help")
    assert code == 0
    assert f"regrow {command}" in out.split("Example", 1)[1]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "seedlin"], "there is no recipe 'seedlin'; did you mean 'seedling'?"),
        (["run", "laptop", "seedling"], "one recipe at a time: laptop or seedling"),
        (["run", "sapling.yaml", "--to", "lef"], "no node 'lef'; did you mean 'leaf'?"),
        (["run", "sapling.yaml", "--regrow", "lef"], "no node 'lef'; did you mean 'leaf'?"),
        (["run", "gone.yaml"], "recipe file gone.yaml is not there"),
        (["run", "sapling.yaml", "--documents", "nowhere"], "nowhere is not there"),
        (["run", "sapling.yaml", "--documents", "empty"], "empty holds no files"),
        (["tree"], "nothing is grown in runs yet; start with `regrow run`"),
        (["tree", "laptop"], "no run 'laptop' in runs; start with `regrow run laptop`"),
        (["chat", "leaf"], "nothing is grown in runs yet"),
    ],
)
def test_bad_input_is_one_line_and_exit_1(garden: Garden, words: list[str], says: str) -> None:
    Path("empty").mkdir()
    code, _, errors = garden.call(*words)
    assert code == 1
    assert says in errors
    assert errors.startswith("error: ")
    assert len(errors.strip().splitlines()) == 1


def test_an_unknown_node_is_answered_with_the_nearest(grown: Garden) -> None:
    for command in (["chat", "lef"], ["trace", "lef"], ["eval", "lef"], ["export", "lef", "x"]):
        code, _, errors = grown.call(*command)
        assert (code, "did you mean 'leaf'?" in errors) == (1, True)


def test_a_node_that_is_not_grown_is_answered_with_its_command(garden: Garden) -> None:
    garden.grow("--to", "oak")
    _, _, errors = garden.call("chat", "leaf")
    assert "leaf is not grown yet; run `regrow run sapling --to leaf`" in errors


def test_tree_tells_what_is_grown(garden: Garden) -> None:
    garden.grow("--to", "acorn")
    code, out, _ = garden.call("tree", "--json")
    assert code == 0
    rows = {row["node"]: row for row in json.loads(out)}
    states = {name: row["state"] for name, row in rows.items()}
    assert states == {
        "oak": "grown", "acorn": "grown", "twig": "missing", "leaf": "missing", "fern": "missing",
    }  # fmt: skip
    assert rows["acorn"]["scores"] == {"knowledge": 0.5}
    _, out, _ = garden.call("tree")
    assert "acorn supervised 0.0001M tokens" in out
    assert "knowledge 0.50" in out


def test_tree_shows_three_abilities_whole_and_where_the_rest_is(
    grown: Garden, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = grown.run / "leaf" / "edge.json"
    edge = json.loads(path.read_text())
    names = ("knowledge", "in_context", "instructions", "code_generation")
    edge["measured"]["scores"] = [{"ability": name, "score": 0.25} for name in names]
    path.write_text(json.dumps(edge))
    _, out, _ = grown.call("tree")
    assert "knowledge 0.25  in_context 0.25  instructions 0.25\n" in out.replace(" \n", "\n")
    assert "code_generation" not in out
    assert "all scores: regrow report sapling" in out


def test_tree_shows_nodes_that_the_recipe_lacks(grown: Garden) -> None:
    less = "extends: sapling\nname: sapling\nnodes: {acorn: null, leaf: null}\n"
    Path("less.yaml").write_text(less)
    assert grown.call("run", "less.yaml")[0] == 0
    rows = {row["node"]: row for row in json.loads(grown.call("tree", "--json")[1])}
    assert list(rows) == ["oak", "twig", "fern", "acorn", "leaf"]
    assert (rows["leaf"]["parent"], rows["leaf"]["stage"]) == ("acorn", "rlhf")
    shutil.rmtree(grown.run / "acorn")
    rows = {row["node"]: row for row in json.loads(grown.call("tree", "--json")[1])}
    assert rows["leaf"]["parent"] is None
    assert "leaf rlhf" in grown.call("tree")[1]


def test_the_run_that_was_used_last_is_meant_though_it_had_nothing_to_do(grown: Garden) -> None:
    assert grown.grow("--seed", "1", "--to", "oak")[0] == 0
    _, out, _ = grown.grow()
    assert "nothing to do" in out
    assert "regrow chat fern --run sapling\n" in out  # there are two runs now
    assert grown.call("trace", "leaf", "--json")[0] == 0
    grown.grow("--seed", "1", "--to", "oak", "--dry-run")  # is no use
    assert grown.call("trace", "leaf", "--json")[0] == 0


def test_trace_goes_from_the_root_down(grown: Garden) -> None:
    _, out, _ = grown.call("trace", "leaf", "--json")
    assert [edge["name"] for edge in json.loads(out)] == ["oak", "acorn", "leaf"]
    _, out, _ = grown.call("trace", "leaf")
    assert "acorn: supervised from oak" in out


def test_eval_measures_anew(grown: Garden) -> None:
    before = len(grown.links())
    code, out, _ = grown.call("eval", "leaf", "--json")
    assert (code, json.loads(out)[0]["ability"]) == (0, "knowledge")
    assert grown.links()[before:] == ["leaf measured"]


@pytest.mark.parametrize("words", [["--limit", "5"], ["--all-templates"]])
def test_scores_of_the_tree_are_not_overwritten_by_another_measuring(
    grown: Garden, words: list[str]
) -> None:
    before = (grown.run / "leaf" / "scores.json").read_bytes()
    code, _, errors = grown.call("eval", "leaf", "--abilities", "knowledge", *words)
    assert code == 1
    assert "the tree measures knowledge on 200 items a cell with templates: split" in errors
    assert (grown.run / "leaf" / "scores.json").read_bytes() == before
    _, _, errors = grown.call("eval", "leaf", "--abilities", "in_context", *words)
    assert "model_type" in errors  # further ones go on as far as a fake model allows


def test_report_is_written_when_it_is_out_of_date(grown: Garden) -> None:
    page = grown.run / "report" / "index.html"
    page.write_text("as it was")
    assert grown.call("report", "--json")[0] == 0
    assert page.read_text() == "as it was"
    scores = grown.run / "leaf" / "scores.json"  # as after `regrow eval leaf --abilities ...`
    scores.write_text(scores.read_text() + "\n")
    assert grown.call("report")[0] == 0
    assert page.read_text() == "<html></html>"


def test_an_exported_node_is_a_plain_folder(grown: Garden) -> None:
    for ours in ("items.jsonl.gz", "held-rated.jsonl.gz"):
        (grown.run / "leaf" / ours).write_text("many")
    for other in ("reward", "dialogue"):
        (grown.run / "leaf" / other).mkdir()
    assert grown.call("export", "leaf", "out")[0] == 0
    names = {path.name for path in Path("out").iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md"} <= names
    assert not names & {"items.jsonl.gz", "checkpoints", "growing.json", "held-rated.jsonl.gz"}
    assert not names & {"reward", "dialogue"}
    code, _, errors = grown.call("export", "oak", "out")
    assert (code, "choose another folder" in errors) == (1, True)


def test_patterns_after_documents_may_be_expanded_by_the_shell(garden: Garden) -> None:
    for name in ("a.txt", "b.txt"):
        Path(name).write_text(name)
    assert garden.grow("--to", "corpus", "--documents", "a.txt", "b.txt")[0] == 0
    recipe = json.loads((garden.run / "recipe.json").read_text())
    assert [Path(path).name for path in recipe["documents"]["paths"]] == ["a.txt", "b.txt"]


def test_json_of_a_run_lists_what_was_done(garden: Garden) -> None:
    _, out, _ = garden.grow("--to", "oak", "--json")
    told = json.loads(out)
    assert told["grown"] == ["world", "corpus", "oak", "oak/measure", "report"]


def test_want_of_memory_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def starve() -> None:
        raise MemoryError("Unable to allocate 9 GiB")

    monkeypatch.setattr(cli, "app", starve)
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 1
    assert capsys.readouterr().err == (
        "error: out of memory (Unable to allocate 9 GiB); free some, or take less at once"
        " (a corpus: jobs, part_mb; training: rows)\n"
    )
