"""Memory and processor time of a corpus build as its input grows, under a limit for each process.

    python benchmarks/memory.py DOCUMENTS.jsonl.gz --sizes 25 50 100 200 [--limit 200] [key=value]
    python benchmarks/memory.py DOCUMENTS.jsonl.gz --sizes 10000 --limit 200 --work DIR

A build that takes hours may be stopped: with the same `--work` it goes on, and so do its figures.

Texts are made of the sentences of the given documents, drawn anew for each text, so that they are
plausible and any amount of them is as varied as wanted; 5 % are near-copies and 3 % exact copies of
others. Each process is sampled while it runs: the most memory it ever held (Linux's own mark), and
what all held together at one time, shared pages counted once (PSS). `--limit` sets RLIMIT_DATA: the
private memory in MB that the system grants each process, which is refused more; `private` is what
the one that asked for most had been granted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from regrow.files import read_jsonl

FILE_MB = 25
FIGURES = ("cpu_s", "wall_s", "parent", "worker", "together", "private")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")


def sentences(path: Path) -> list[str]:
    """Sentences of 40 to 400 characters that begin as such."""
    found = {
        " ".join(sentence.split())
        for row in read_jsonl(path)
        for sentence in _SENTENCE.split(row["text"])
    }
    return sorted(s for s in found if 40 <= len(s) <= 400 and s[0].isupper() and s[-1] in ".!?")


def texts(pool: Sequence[str], seed: int) -> Iterator[str]:
    """Texts without end: 300 to some thousand characters, now and then a copy of one before."""
    draw = random.Random(seed)
    held: list[list[str]] = []
    while True:
        kind = draw.random()
        if held and kind < 0.08:
            own = list(draw.choice(held))
            if kind < 0.05:
                own[draw.randrange(len(own))] = draw.choice(pool)
        else:
            own = draw.choices(pool, k=3 + int(draw.expovariate(1 / 8)))
            if len(held) < 1000:
                held.append(own)
            else:
                held[draw.randrange(1000)] = own
        yield "\n".join(" ".join(own[i : i + 4]) for i in range(0, len(own), 4))


def write(folder: Path, pool: Sequence[str], megabytes: int) -> None:
    """Texts of so many MB as JSONL, a file each `FILE_MB`."""
    for number, start in enumerate(range(0, megabytes, FILE_MB)):
        room = min(FILE_MB, megabytes - start) * 1_000_000
        with open(folder / f"{number:05d}.jsonl", "w", encoding="utf-8") as file:
            for text in texts(pool, number):
                file.write(json.dumps({"text": text}) + "\n")
                room -= len(text)
                if room <= 0:
                    break


def family(root: int) -> list[int]:
    """A process and all that descend from it."""
    children: dict[int, list[int]] = defaultdict(list)
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            children[int(path.read_text().rpartition(")")[2].split()[1])].append(
                int(path.parent.name)
            )
        except OSError:
            continue
    found = [root]
    for pid in found:
        found += children[pid]
    return found


def _field(pid: int, file: str, name: str) -> float:
    try:
        for line in Path(f"/proc/{pid}/{file}").read_text().splitlines():
            if line.startswith(name):
                return int(line.split()[1]) / 1024
    except OSError:
        pass
    return 0.0


def _seconds(pid: int) -> float:
    """Processor time of a process so far."""
    try:
        words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def measure(command: Sequence[str], limit_mb: int, seen: Path) -> dict[str, float]:
    """Run a command and tell its processor seconds and how much memory (MB) it took, with what an
    earlier run that was stopped has left in the file `seen`."""

    def limited() -> None:
        if limit_mb:
            resource.setrlimit(resource.RLIMIT_DATA, (limit_mb << 20, limit_mb << 20))
            resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 20))  # counted, a thread each

    before = json.loads(seen.read_text()) if seen.exists() else dict.fromkeys(FIGURES, 0.0)
    start = time.perf_counter()
    running = subprocess.Popen(
        command, preexec_fn=limited, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    row, used = dict(before), dict[int, float]()
    try:
        while running.poll() is None:
            pids = family(running.pid)
            for pid in pids:
                kind = "parent" if pid == running.pid else "worker"
                row[kind] = max(row[kind], _field(pid, "status", "VmHWM"))
                row["private"] = max(row["private"], _field(pid, "status", "VmData"))
                used[pid] = max(used.get(pid, 0.0), _seconds(pid))
            together = sum(_field(pid, "smaps_rollup", "Pss:") for pid in pids)
            row["together"] = max(row["together"], together)
            row["cpu_s"] = before["cpu_s"] + sum(used.values())
            row["wall_s"] = before["wall_s"] + time.perf_counter() - start
            seen.with_suffix(".new").write_text(json.dumps(row))
            seen.with_suffix(".new").replace(seen)
            time.sleep(0.5)
    finally:
        running.terminate()
        running.wait()
    if running.returncode:
        raise SystemExit(f"failed: {running.stderr.read()[-2000:]}")  # type: ignore[union-attr]
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[25, 50, 100, 200])
    parser.add_argument("--limit", type=int, default=0, help="RLIMIT_DATA of each process, MB")
    parser.add_argument("--work", type=Path, help="where to build, and to go on with that")
    options, words = parser.parse_known_args()
    pool = sentences(options.path)
    print(f"{len(pool)} sentences; limit {options.limit or 'none'}; {' '.join(words)}")
    print(f"{'MB':>6}{'documents':>11}{''.join(f'{name:>9}' for name in FIGURES)}")
    for size in options.sizes:
        with tempfile.TemporaryDirectory() as passing:
            folder = Path(options.work or passing) / str(size)
            made, out = folder / "in", folder / "out"
            if not made.exists():
                making = folder / "making"
                shutil.rmtree(making, ignore_errors=True)
                making.mkdir(parents=True)
                write(making, pool, size)
                making.rename(made)
            build = [sys.executable, "-m", "regrow.cli", "corpus", "build"]
            command = [*build, "--input", f"text={made}", "--output", str(out), *words]
            row = measure(command, options.limit, folder / "figures.json")
            report = json.loads((out / "report.json").read_text())
            shutil.rmtree(folder)
        documents = report["funnel"]["stages"][0]["documents"]
        figures = (f"{row[name]:9.0f}" for name in FIGURES)
        print(f"{size:6}{documents:11,}{''.join(figures)}", flush=True)


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    main()
