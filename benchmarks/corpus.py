"""Speed of the corpus engine in CPU-seconds, beside its peers, stage by stage and end to end.

    python benchmarks/corpus.py DOCUMENTS.jsonl.gz [--warc CRAWL.warc.gz ...] [--only warc]

Every engine does the same work on the same texts, in turn; CPU-seconds count all threads and child
processes, the imports of the first process left out, and the median of the rounds is told, with all
of them. For near-duplicates see near.py; enlarge.py makes a larger WARC of a small one. A peer
without an environment is skipped (see peers/launch.py).
"""

from __future__ import annotations

import argparse
import gzip
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from peers.launch import ENVIRONMENTS, launch
from planted import chunks

from regrow.corpus.tokenizer import sample_texts, train_tokenizer
from regrow.files import read_jsonl

Answer = dict[str, Any]


def in_turn(engines: dict[str, tuple[str, str]], source: Path, options: argparse.Namespace,
            **task_options: Any) -> dict[str, Answer]:  # fmt: skip
    """The median answer of each engine over the rounds, by CPU-seconds, with all of them."""
    told: dict[str, list[Answer]] = {}
    for _ in range(options.rounds):
        for name, (peer, task) in engines.items():
            answer = launch(peer, task, source, options.environments, **task_options)
            if answer:
                told.setdefault(name, []).append(answer)
    found = {}
    for name, answers in told.items():
        answers.sort(key=lambda answer: answer["cpu_s"])
        found[name] = answers[len(answers) // 2] | {"all": [a["cpu_s"] for a in answers]}
    return found


def show(title: str, answers: dict[str, Answer], megabytes: float, notes: dict[str, str]) -> None:
    print(f"\n{title}, {megabytes:.1f} MB")
    for name, answer in answers.items():
        cpu = answer["cpu_s"]
        print(f"  {name:28}{cpu:8.2f} CPU-s{megabytes / cpu:9.2f} MB/CPU-s"
              f"{answer['peak_mb']:8.0f} MB peak  {notes.get(name, '')}  "
              f"({' '.join(f'{one:.2f}' for one in answer['all'])})")  # fmt: skip


def same(answers: dict[str, Answer], model: str) -> dict[str, str]:
    """How many of an engine's results are those of the model engine."""
    if model not in answers:
        return {}
    wanted = answers[model]["result"]
    notes = {}
    for name, answer in answers.items():
        equal = sum(a == b for a, b in zip(wanted, answer["result"], strict=True))
        notes[name] = f"{equal} of {len(wanted)} results as {model}"
    return notes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--warc", type=Path, nargs="+", default=[])
    parser.add_argument("--only", choices=("rules", "encode", "warc"))
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--vocabulary", type=int, default=16384)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS)
    options = parser.parse_args()
    texts = chunks((row["text"] for row in read_jsonl(options.path)), 5_000)
    texts = list(sample_texts(texts, int(options.megabytes * 1e6)))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "texts.parquet"
        pq.write_table(pa.table({"id": range(len(texts)), "text": texts}), source)
        vocabulary = Path(folder) / "tokenizer.json"
        train_tokenizer(sample_texts(texts, 4_000_000), options.vocabulary, vocabulary)
        megabytes = sum(len(text.encode()) for text in texts) / 1e6
        if options.only in ("rules", None):
            rules(source, megabytes, options)
        if options.only in ("encode", None):
            engines = {"regrow": ("regrow", "encode"), "tiktoken": ("tiktoken", "encode")}
            answers = in_turn(engines, source, options, tokenizer=str(vocabulary))
            show(f"BPE, {options.vocabulary} entries", answers, megabytes, same(answers, "regrow"))
        if options.only in ("warc", None):
            for path in options.warc:
                warc_to_shards(path, vocabulary, options)


def rules(source: Path, megabytes: float, options: argparse.Namespace) -> None:
    engines = {
        "the rules as plain Python": ("regrow", "plain_rules"),
        "Polars": ("polars", "rules"),
        "Daft": ("daft", "rules"),
        "regrow": ("regrow", "rules"),
        "regrow, repetition too": ("regrow", "all_rules"),
        "datatrove (its own reading)": ("datatrove", "rules"),
    }
    answers = in_turn(engines, source, options)
    notes = same(answers, "the rules as plain Python")
    show("Gopher's rules on words and lines", answers, megabytes, notes)


def warc_to_shards(path: Path, vocabulary: Path, options: argparse.Namespace) -> None:
    engines = {"regrow": ("regrow", "end_to_end"), "datatrove": ("datatrove", "end_to_end")}
    answers = in_turn(engines, path, options, tokenizer=str(vocabulary))
    notes = {name: f"{row['result']['tokens']} tokens" for name, row in answers.items()}
    with gzip.open(path) as file:
        size = sum(map(len, iter(lambda: file.read(1 << 20), b""))) / 1e6
    show(f"WARC to shards, {path.name}, unpacked size", answers, size, notes)
    stages = answers["regrow"]["result"]["seconds"] if "regrow" in answers else {}
    for stage, seconds in stages.items():
        print(f"    regrow {stage:22}{seconds:8.2f} s of wall clock")


if __name__ == "__main__":
    main()
