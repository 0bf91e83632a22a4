"""Run tasks on a node: ask what was not asked before, judge, and give scores with intervals.

What a node answered is kept in `<node>/tasks/<task>.jsonl.gz` under a hash of all that it depends
on (the node's fingerprint, prompt, choices or decoding, precision). So nothing is measured twice:
with a larger limit only new items are asked, and with another metric none are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from regrow.evaluate.taskfile import Task
from regrow.evaluate.taskitems import Question, TaskSettings, questions
from regrow.evaluate.taskscore import Answered, Result, results
from regrow.files import read_json, read_jsonl, sha256_file, sha256_json, write_json, write_jsonl
from regrow.progress import Progress, silent
from regrow.records import Message

if TYPE_CHECKING:
    from regrow.evaluate.answering import Subject

_CHUNK = 256  # questions between two steps of the progress bar


def run_tasks(
    node_folder: Path,
    tasks: Sequence[Task],
    settings: TaskSettings,
    progress: Progress = silent,
) -> list[Result]:
    """Measure tasks on a node, and add the results to its tasks/results.json.

    Every task is read whole before anything is measured. Raises RegrowError where a task, its data
    or the node do not fit.
    """
    mark = fingerprint(node_folder)
    found = [
        result
        for task, rows in zip(tasks, answered(node_folder, tasks, settings, progress))
        for result in results(task, node_folder.name, rows, settings, mark)
    ]
    _keep(node_folder / "tasks" / "results.json", found, mark)
    return found


def answered(
    node_folder: Path,
    tasks: Sequence[Task],
    settings: TaskSettings,
    progress: Progress = silent,
    subject: Subject | None = None,
) -> Iterator[list[Answered]]:
    """What a node answers to each task in turn; `subject` where it is loaded already."""
    asked = [
        questions(
            task, settings.data, shots=settings.shots, limit=settings.limit,
            every_template=settings.every_template, deal=settings.deal, typos=settings.typos,
        )
        for task in tasks
    ]  # fmt: skip
    node = _Node(node_folder, settings, sum(map(len, asked)), progress, subject)
    for task, items in zip(tasks, asked):
        yield node.answer(task, items)


def _keep(path: Path, found: Sequence[Result], mark: str) -> None:
    """Write results over earlier ones of the same task asked the same way.

    What an earlier state of the node scored is dropped: it says nothing of this one.
    """
    names = ("task", "template", "cell", "shots", "typos", "chat", "n")
    rows = read_json(path) if path.is_file() else []
    rows = [row for row in rows if row.get("fingerprint") == mark]
    by_name = {tuple(row.get(name) for name in names): row for row in rows}
    for result in found:
        row = result.to_row()
        by_name[tuple(row.get(name) for name in names)] = row
    write_json(path, list(by_name.values()))


def fingerprint(node_folder: Path) -> str:
    """What the node's answers depend on: its edge record's fingerprint, else its files' digests."""
    edge = node_folder / "edge.json"
    known = read_json(edge).get("fingerprint") if edge.is_file() else None
    if known:
        return str(known)
    files = sorted([*node_folder.glob("*.safetensors"), *node_folder.glob("*.json")])
    return sha256_json([[path.name, sha256_file(path)] for path in files])[:16]


class _Node:
    """A node that is loaded when the first question comes that was not asked before."""

    def __init__(
        self,
        folder: Path,
        settings: TaskSettings,
        total: int,
        progress: Progress,
        subject: Subject | None = None,
    ) -> None:
        from regrow.corpus.tokenizer import Tokenizer
        from regrow.model.folder import config_from_hf
        from regrow.train.precision import choose as choose_precision

        self.folder, self.settings = folder, settings
        self.tokenizer = Tokenizer.load(folder)
        self.precision = choose_precision(settings.precision)
        self.depends = [fingerprint(folder), self.precision.name, settings.chat]
        self.context = config_from_hf(read_json(folder / "config.json")).context
        self.total, self.done, self.progress = total, 0, progress
        self._subject = subject

    @property
    def subject(self) -> Subject:
        from regrow.evaluate.answering import Subject
        from regrow.model.folder import load_model

        if self._subject is None:
            model = load_model(self.folder, self.precision.dtype)
            model.eval()
            name = self.folder.name
            self._subject = Subject(name, model, self.tokenizer, self.settings.batch)
        return self._subject

    def answer(self, task: Task, items: Sequence[Question]) -> list[Answered]:
        """The answers to all questions of a task, those from before among them."""
        path = self.folder / "tasks" / f"{task.name}.jsonl.gz"
        kept = {row["key"]: row for row in read_jsonl(path)} if path.is_file() else {}
        known = len(kept)
        prompts = [self._prompt(task, item) for item in items]
        keys = [self._key(task, item, ids) for item, (ids, _) in zip(items, prompts)]
        new = [n for n, key in enumerate(keys) if key not in kept]
        self.done += len(items) - len(new)
        self.progress(self.done, self.total, phase=task.name)
        try:
            # Long prompts first: like lengths run together, and the time left is not too hopeful.
            new.sort(key=lambda n: -len(prompts[n][0]))
            for low in range(0, len(new), _CHUNK):
                chunk = new[low : low + _CHUNK]
                rows = self._ask(task, [items[n] for n in chunk], [prompts[n][0] for n in chunk])
                for n, row in zip(chunk, rows):
                    kept[keys[n]] = {"key": keys[n], "item": items[n].id, **row}
                self.done += len(chunk)
                self.progress(self.done, self.total, phase=task.name)
        finally:  # what is known is kept when a run is stopped
            if len(kept) > known:
                write_jsonl(path, kept.values())
        return [
            Answered(
                item, tuple(kept[key].get("choices", ())), tuple(kept[key].get("tokens", ())),
                kept[key].get("text", ""), kept[key].get("gold"), cut,
            )
            for item, key, (_, cut) in zip(items, keys, prompts)
        ]  # fmt: skip

    def _key(self, task: Task, item: Question, ids: list[int]) -> str:
        wanted = item.choices or (item.target, task.max_tokens, task.stop)
        return sha256_json([*self.depends, ids, wanted])[:24]

    def _prompt(self, task: Task, item: Question) -> tuple[list[int], bool]:
        """The ids of a prompt, and whether it was cut to leave room for the answer.

        The first examples are left out first, then the start of the question.
        """
        room = self.context - 1 - self._longest(task, item)
        head, *examples, asked = item.parts
        for first in range(len(examples) + 1):
            ids = self._encode("".join((head, *examples[first:], asked)))
            if len(ids) <= room:
                return ids, first > 0
        return ids[-room:], True

    def _longest(self, task: Task, item: Question) -> int:
        if item.choices:
            longest = max(len(self.tokenizer.encode(choice)) for choice in item.choices)
            return min(longest, self.context // 2)
        return min(task.max_tokens, self.context // 2)

    def _encode(self, text: str) -> list[int]:
        if self.settings.chat:
            return self.tokenizer.chat([Message("user", text)], answer=True)[0]
        return [self.tokenizer.start, *self.tokenizer.encode(text)]

    def _continuation(self, text: str) -> list[int]:
        """The ids of an answer; in the chat template it opens the turn without a space."""
        if self.settings.chat:
            return self.tokenizer.answer(text.strip())[: self.context // 2]
        return self.tokenizer.encode(text)[: self.context // 2]

    def _ask(
        self, task: Task, items: Sequence[Question], prompts: Sequence[list[int]]
    ) -> list[dict[str, Any]]:
        if task.kind == "choice":
            return self._compare(task, items, prompts)
        return self._write(task, items, prompts)

    def _compare(
        self, task: Task, items: Sequence[Question], prompts: Sequence[list[int]]
    ) -> list[dict[str, Any]]:
        """The sums of log-probabilities of the choices, and their lengths in tokens."""
        pairs = [
            (ids, self._continuation(choice))
            for item, ids in zip(items, prompts)
            for choice in item.choices
        ]
        scored = iter(zip(self._score(pairs), pairs))
        rows = []
        for item in items:
            found = [next(scored) for _ in item.choices]
            sums, lengths = [total for total, _ in found], [len(ids) for _, (_, ids) in found]
            rows.append({"choices": sums, "tokens": lengths})
        return rows

    def _write(
        self, task: Task, items: Sequence[Question], prompts: Sequence[list[int]]
    ) -> list[dict[str, Any]]:
        """Greedy texts, and how likely the right ones were."""
        from regrow.evaluate.answering import draw
        from regrow.evaluate.plans import Decoding

        longest = min(task.max_tokens, self.context // 2)
        texts = draw(self.subject, list(prompts), Decoding(longest, task.stop))
        pairs = [
            (ids, self._continuation(item.target)[: self.context - len(ids)])
            for item, ids in zip(items, prompts)
        ]
        sums = self._score(pairs)
        return [
            {"text": drawn[0], "gold": float(total / len(ids))}
            for drawn, total, (_, ids) in zip(texts, sums, pairs)
        ]

    def _score(self, pairs: Sequence[tuple[list[int], list[int]]]) -> list[float]:
        from regrow.generate.sampler import score

        found = score(self.subject.model, pairs, batch=self.settings.batch)
        return [float(np.asarray(one.logprobs, dtype=np.float64).sum()) for one in found]
