"""Growing with real worker processes: side by side, killed, stopped, locked out."""

from __future__ import annotations

import json
import random
import signal
import time
from pathlib import Path

import pytest
from tree_fakes import LINKS
from tree_kit import Garden

NODES = ["oak", "acorn", "twig", "leaf", "fern"]


@pytest.fixture
def garden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Garden:
    return Garden(tmp_path, monkeypatch)


def _until(condition: object, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_run_grows_measures_and_reports_each_step_once(garden: Garden) -> None:
    code, out, errors = garden.finish("--jobs", "2")
    assert (code, errors) == (0, "")
    assert sorted(garden.links()) == sorted(
        [f"{node} {link}" for node in NODES for link in range(LINKS)]
        + [f"{node} measured" for node in NODES]
    )
    done = garden.links()
    assert done.index("oak 11") < done.index("acorn 0")
    assert done.index("acorn 11") < done.index("leaf 0")
    for node in NODES:
        assert (garden.run / node / "README.md").is_file()
        assert not (garden.run / node / "checkpoints").exists()
        assert not (garden.run / node / "growing.json").exists()
    edge = json.loads((garden.run / "leaf" / "edge.json").read_text())
    parent = json.loads((garden.run / "acorn" / "edge.json").read_text())
    assert edge["inputs"]["parent"] == f"acorn {parent['fingerprint']}"
    assert edge["record"]["threads"] == edge["threads"]
    assert edge["measured"]["scores"][0]["score"] == 0.5
    assert "| knowledge | shots 8 | 10 | 0.500 |" in (garden.run / "leaf" / "README.md").read_text()
    assert "regrow chat" in out and "index.html" in out

    code, out, _ = garden.finish("--jobs", "2")
    assert code == 0
    assert "nothing to do" in out and "timing this machine" not in out
    assert garden.links() == done


@pytest.mark.slow
def test_the_number_of_workers_changes_nothing(garden: Garden, tmp_path: Path) -> None:
    garden.finish("--jobs", "1", "--runs", "alone")
    garden.finish("--jobs", "4")
    alone = {p.parent.name: p.read_text() for p in tmp_path.glob("alone/*/*/model.safetensors")}
    assert garden.weights() == alone


@pytest.mark.slow
def test_a_run_killed_at_any_moment_goes_on_to_the_same_weights(garden: Garden) -> None:
    garden.finish("--runs", "whole")
    draw = random.Random(3)
    for _ in range(4):
        process = garden.start("--jobs", "2", FAKE_DELAY="0.03")
        time.sleep(draw.uniform(0.8, 2.5))
        process.kill()
        process.communicate()
    code, _, errors = garden.finish("--jobs", "2")
    assert (code, errors) == (0, "")
    whole = garden.folder / "whole" / "sapling"
    assert garden.weights() == {
        p.parent.name: p.read_text() for p in whole.glob("*/model.safetensors")
    }
    grown = [line for line in garden.links() if not line.endswith("measured")]
    repeats = len(grown) - len(set(grown))
    assert repeats <= 4 * 2  # at most the link under way, for each worker and kill


def test_workers_do_not_outlive_a_killed_run(garden: Garden) -> None:
    process = garden.start("--jobs", "2", FAKE_DELAY="0.2")
    _until(lambda: len(garden.links()) >= 2)
    process.kill()
    process.communicate()
    time.sleep(0.5)
    before = garden.links()
    time.sleep(0.6)
    assert garden.links() == before


def test_ctrl_c_stops_the_workers_and_says_how_to_go_on(garden: Garden) -> None:
    process = garden.start("--jobs", "2", FAKE_DELAY="1")
    _until(lambda: len(garden.links()) >= 2)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "nothing is lost: the same command goes on from here" in errors
    assert "Traceback" not in errors
    before = garden.links()
    time.sleep(1.2)
    assert garden.links() == before
    assert garden.finish()[0] == 0


def test_a_second_run_on_the_same_folder_is_refused(garden: Garden) -> None:
    process = garden.start(FAKE_DELAY="1")
    _until(lambda: len(garden.links()) >= 1)
    code, _, errors = garden.finish()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=20)
    assert code == 1
    assert f"is in use by process {process.pid}" in errors


@pytest.mark.parametrize(
    ("trouble", "says"),
    [
        ("dies", "the worker of acorn was killed by signal 9, often for want of memory"),
        ("bug", "acorn: ValueError: a mistake of ours (log: runs/sapling/workers/acorn/log.txt)"),
    ],
)
def test_a_worker_in_trouble_stops_the_run_with_one_line(
    garden: Garden, trouble: str, says: str
) -> None:
    code, _, errors = garden.finish("--to", "acorn", FAKE_TROUBLE=f"acorn {trouble}")
    assert code == 1
    assert says in errors
    assert len(errors.strip().splitlines()) == 1
    assert "a library speaks" in (garden.run / "workers" / "acorn" / "log.txt").read_text()
