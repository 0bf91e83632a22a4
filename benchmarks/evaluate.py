"""Scoring beside lm-evaluation-harness's `hf` backend: same model, same items, in turn.

    python benchmarks/evaluate.py NODE DATA [--items 24] [--rounds 3] [--precisions fp32 bf16]

NODE is a folder of a model, DATA the folder with the benchmarks' files. Needs the extra `lm-eval`
and accelerate. Both backends get the harness's own requests; what is timed is the answering of
them on one thread, in CPU seconds (a busy machine counts for neither), each in the batch that is
fastest for it on the first items. Ratios are medians over rounds in which the two take turns;
beside them stands how far the answers agree.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
#: (task, shots): two without examples, two with shared ones, one that writes.
PLAN = (("arc", 0), ("piqa", 0), ("arc", 5), ("mmlu", 5), ("last_letters", 4))
BATCHES = (1, 4, 16)


def tasks(data: Path, items: int, folder: Path) -> list[str]:
    """Harness tasks that hold our prompts, choices and stop strings; their names."""
    from regrow.evaluate.taskfile import load_task
    from regrow.evaluate.taskitems import questions

    names = []
    for name, shots in PLAN:
        task, label = load_task(name), f"{name}_{shots}shot"
        rows = [
            {"prompt": "".join(q.parts), "choices": list(q.choices), "gold": q.gold[0] if q.gold
             else 0, "target": q.target}
            for q in questions(task, data, shots=shots, limit=items)
        ]  # fmt: skip
        told: dict[str, Any] = {"doc_to_text": "{{prompt}}", "target_delimiter": ""}
        if task.kind == "choice":
            told |= {"output_type": "multiple_choice", "doc_to_choice": "{{choices}}",
                     "doc_to_target": "gold"}  # fmt: skip
        else:
            told |= {
                "output_type": "generate_until", "doc_to_target": "{{target}}",
                "generation_kwargs": {"until": list(task.stop), "max_gen_toks": task.max_tokens,
                                      "do_sample": False},
            }  # fmt: skip
        names.append(write(folder, label, rows, told))
    pages = [{"text": row} for row in texts(data, max(4, items // 4))]
    told = {"output_type": "loglikelihood_rolling", "doc_to_text": "", "doc_to_target": "{{text}}",
            "metric_list": [{"metric": "bits_per_byte"}]}  # fmt: skip
    return [*names, write(folder, "pages", pages, told)]


def texts(data: Path, count: int) -> list[str]:
    """Passages of BoolQ as running text."""
    from regrow.files import read_jsonl

    path = next((data / "boolq").glob("data.jsonl*"))
    return [row["query"] for row, _ in zip(read_jsonl(path), range(count))]


def write(folder: Path, name: str, rows: Sequence[dict[str, Any]], told: dict[str, Any]) -> str:
    import yaml

    file = folder / f"{name}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    head = {"task": name, "dataset_path": "json", "test_split": "test",
            "dataset_kwargs": {"data_files": {"test": str(file)}}}  # fmt: skip
    (folder / f"{name}.yaml").write_text(yaml.safe_dump(head | told, sort_keys=False))
    return name


def requests(names: Sequence[str], folder: Path) -> dict[str, list[Any]]:
    """The harness's requests of each task."""
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(folder), include_defaults=False)
    found = {}
    for name in names:
        task = manager.load([name])["tasks"][name]
        task.build_all_requests(rank=0, world_size=1)
        found[name] = list(task.instances)
    return found


def ask(model: Any, asked: Sequence[Any]) -> tuple[list[Any], float]:
    """The answers of a model, and the CPU seconds they took."""
    method = getattr(model, asked[0].request_type)
    began = time.process_time()
    answers = method(asked, disable_tqdm=True)
    return answers, time.process_time() - began


def choose_batch(model: Any, asked: Sequence[Any]) -> int:
    """Set the batch in which a model answers these requests fastest, and say it."""
    name = "batch" if hasattr(model, "batch") else "batch_size_per_gpu"
    took = {}
    for batch in BATCHES:
        setattr(model, name, batch)
        took[batch] = ask(model, asked)[1]
    best = min(took, key=lambda batch: took[batch])
    setattr(model, name, best)
    return best


def agreement(ours: Sequence[Any], theirs: Sequence[Any]) -> str:
    """How far two lists of answers are the same."""
    if isinstance(ours[0], str):
        same = sum(a == b for a, b in zip(ours, theirs, strict=True))
        return f"{same} of {len(ours)} texts the same"
    a = [x[0] if isinstance(x, tuple) else x for x in ours]
    b = [x[0] if isinstance(x, tuple) else x for x in theirs]
    off = max(abs(x - y) / max(1.0, abs(y)) for x, y in zip(a, b, strict=True))
    greedy = ""
    if isinstance(ours[0], tuple):
        same = sum(x[1] == y[1] for x, y in zip(ours, theirs, strict=True))
        greedy = f", {same} of {len(ours)} greedy flags the same"
    return f"relative difference at most {off:.1e}{greedy}"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("node", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--items", type=int, default=24)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precisions", nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--tasks", nargs="*", default=[])
    given = parser.parse_args()

    import torch
    from lm_eval.models.huggingface import HFLM

    from regrow.evaluate.harness import NodeLM

    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        names = [n for n in tasks(given.data, given.items, folder) if n in given.tasks or not
                 given.tasks]  # fmt: skip
        asked = requests(names, folder)
        for precision in given.precisions:
            dtype = {"fp32": "float32", "bf16": "bfloat16"}[precision]
            ours = NodeLM(given.node, precision=precision)
            theirs = HFLM(pretrained=str(given.node), device="cpu", dtype=dtype, batch_size=1)
            for name in names:
                few = [r for r in asked[name] if r.doc_id < max(4, given.items // 4)]
                batches = [choose_batch(model, few) for model in (ours, theirs)]
                ratios, seconds = [], []
                for _ in range(given.rounds):
                    mine, took = ask(ours, asked[name])
                    other, slower = ask(theirs, asked[name])
                    ratios.append(slower / took)
                    seconds.append(took)
                print(
                    f"{precision} {name}: {statistics.median(ratios):.2f} times "
                    f"({min(ratios):.2f}-{max(ratios):.2f}), ours {statistics.median(seconds):.2f}"
                    f" s for {len(asked[name])} requests, batches {batches[0]} and {batches[1]}; "
                    f"{agreement(mine, other)}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
