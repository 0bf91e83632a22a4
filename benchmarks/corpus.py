"""How fast the corpus pipeline is: seconds and MB/s by stage on real documents or a world.

python benchmarks/corpus.py PATH [PATH ...] [--jobs 2] [--vocabulary 2048]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from regrow.corpus.build import build
from regrow.corpus.settings import CorpusSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--jobs", type=int, default=0)
    parser.add_argument("--vocabulary", type=int, default=2048)
    chosen = parser.parse_args()
    settings = CorpusSettings.model_validate(
        {"jobs": chosen.jobs, "tokenizer": {"vocabulary": chosen.vocabulary}}
    )
    start, before = time.perf_counter(), os.times()
    with tempfile.TemporaryDirectory() as folder:
        report = build({"documents": chosen.paths}, Path(folder) / "corpus", settings)
    wall, after = time.perf_counter() - start, os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    characters = report["diversity"]["before"]["characters"]
    print(f"{characters / 1e6:.1f} MB of text, {report['diversity']['before']['documents']} pages")
    for stage, seconds in report["seconds"].items():
        print(f"{stage:14s} {seconds:7.2f} s  {characters / 1e6 / max(seconds, 1e-3):8.1f} MB/s")
    print(f"{'all':14s} {wall:7.2f} s  {characters / 1e6 / wall:8.1f} MB/s  {cpu:.1f} CPU-s")


if __name__ == "__main__":
    main()
