"""lm-evaluation-harness asks our nodes, and item by item gets what its own backend gives.

Needs the extra `lm-eval`, and accelerate for the harness's own backend. With REGROW_SMOLLM (see
test_model_smollm.py) the same is asked of SmolLM2-135M.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("lm_eval", reason="the extra lm-eval is not installed")
pytest.importorskip("accelerate", reason="the harness's own backend needs accelerate")
from lm_eval.evaluator import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from regrow.corpus.tokenizer import train_tokenizer
from regrow.errors import RegrowError
from regrow.evaluate.harness import NodeLM, run_harness
from regrow.evaluate.taskitems import TaskSettings
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.folder import save_model

SMOLLM = Path(os.environ.get("REGROW_SMOLLM", "none")).absolute()
ROWS = [
    {"q": f"What is {a} and {b}?", "options": [str(a + b), str(a), f"{a} and {b} more"],
     "gold": (a + b) % 3, "text": f"The sum of {a} and {b} is {a + b}. " * (1 + a)}
    for a in range(1, 5) for b in range(1, 4)
]  # fmt: skip
HEAD = "dataset_path: json\ndataset_kwargs: {data_files: {test: DATA}}\ntest_split: test\n"
CHOICE = "output_type: multiple_choice\ndoc_to_choice: '{{options}}'\ndoc_to_target: gold\n"
TASKS = {
    "sums": CHOICE + 'doc_to_text: "Q: {{q}}\\nA:"\n',
    "sums_shots": CHOICE + 'doc_to_text: "Q: {{q}}\\nA:"\nfewshot_split: test\nnum_fewshot: 2\n',
    "sums_bare": CHOICE + "doc_to_text: ''\n",
    "told": (
        'output_type: generate_until\ndoc_to_text: "Q: {{q}}\\nA:"\n'
        'doc_to_target: "{{options[0]}}"\n'
        'generation_kwargs: {until: ["\\n", "."], max_gen_toks: 12, do_sample: false}\n'
    ),
    "pages": (
        'output_type: loglikelihood_rolling\ndoc_to_text: ""\ndoc_to_target: "{{text}}"\n'
        "metric_list: [{metric: bits_per_byte}]\n"
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")
    for name, body in TASKS.items():
        head = HEAD.replace("DATA", str(folder / "rows.jsonl"))
        (folder / f"{name}.yaml").write_text(f"task: {name}\n{head}{body}")
    return folder


@pytest.fixture(scope="module", params=["tiny", "smollm"])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp(request.param) / "node"
    if request.param == "smollm":
        if not SMOLLM.is_file():
            pytest.skip("REGROW_SMOLLM names no GGUF file")
        from regrow.model.gguf import read_gguf

        read_gguf(SMOLLM, folder)
        return folder
    tokenizer = train_tokenizer([row["q"] + str(row["text"]) for row in ROWS], 330, folder)
    torch.manual_seed(3)
    model = Decoder(ModelConfig(tokenizer.vocabulary, 32, 2, 2, 2, 64, 96))
    for weights in model.parameters():
        torch.nn.init.normal_(weights, std=0.3)
    save_model(model, folder)
    return folder


def samples(lm: Any, tasks: Path) -> dict[str, list[dict[str, Any]]]:
    manager = TaskManager(include_path=str(tasks), include_defaults=False)
    found = simple_evaluate(lm, tasks=list(TASKS), task_manager=manager, bootstrap_iters=0)
    return dict(found["samples"])


def test_every_item_of_five_tasks_gets_what_the_harness_itself_gives(
    node: Path, tasks: Path
) -> None:
    ours = samples(NodeLM(node, batch_size=4, precision="fp32"), tasks)
    theirs = samples(HFLM(pretrained=str(node), device="cpu", dtype="float32", batch_size=4), tasks)
    for name in TASKS:
        pairs = list(zip(ours[name], theirs[name], strict=True))
        assert len(pairs) == len(ROWS)
        for mine, other in pairs:
            a, b = mine["resps"], other["resps"]
            if name == "told":
                assert a == b
            elif name == "pages":
                assert a[0][0] == pytest.approx(b[0][0], rel=1e-5)
            else:
                for (x, greedy), (y, their_greedy) in zip([r[0] for r in a], [r[0] for r in b]):
                    assert float(x) == pytest.approx(float(y), rel=1e-5, abs=1e-4)
                    assert greedy == their_greedy
                assert mine["acc"] == other["acc"]


def test_results_come_as_rows_with_intervals_and_nothing_is_asked_twice(
    node: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = TaskSettings(tasks, precision="fp32", limit=6)
    rows = run_harness(node, ["sums"], settings)
    (row,) = [row for row in rows if row["metric"] == "acc"]
    assert (row["task"], row["n"]) == ("harness:sums", 6)
    assert 0 <= row["low"] <= row["score"] <= row["high"] <= 1
    monkeypatch.setattr(NodeLM, "_loglikelihood_tokens", None)
    assert run_harness(node, ["sums"], settings) == rows


def test_a_conversation_is_put_into_the_nodes_own_template(node: Path) -> None:
    from regrow.corpus.tokenizer import Tokenizer
    from regrow.records import Message

    text = NodeLM(node, precision="fp32").apply_chat_template([{"role": "user", "content": "sum"}])
    lm = NodeLM(node, precision="fp32")
    ours = Tokenizer.load(node).chat([Message("user", "sum")], answer=True)[0]
    assert lm.tok_encode(text, add_special_tokens=False) == ours


def test_an_unknown_task_is_named(node: Path, tasks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Empty(TaskManager):  # its own list takes ten seconds to read
        def __init__(self, **told: Any) -> None:
            super().__init__(**{**told, "include_defaults": False})

    monkeypatch.setattr("lm_eval.tasks.TaskManager", Empty)
    with pytest.raises(RegrowError, match="no task 'summs'"):
        run_harness(node, ["summs"], TaskSettings(tasks))
