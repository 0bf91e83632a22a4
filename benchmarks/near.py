"""Near-duplicates against truth and peers: recall, losses, speed and memory on planted copies.

    python benchmarks/near.py DOCUMENTS.jsonl.gz [--documents 20000] [--threshold 0.8 0.7 0.5]

All engines remove near-duplicates from the same texts in turn. Recall is the share of pairs of
exact likeness in a range of which not both survive; a removed text is lost when no surviving text
is as like it as the threshold, and lost badly when none reaches .5; precision is the share of
removed texts that are not lost. A cluster is a planted original with the copies as like it as the
threshold, where all of them are as like each other: exactly one should survive.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import combinations
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from peers.launch import ENVIRONMENTS, launch
from planted import Planted, plant

ENGINES = {
    "regrow": ("regrow", "near"),
    "daft": ("daft", "near"),
    "datasketch": ("minhash", "near_datasketch"),
    "rensa": ("minhash", "near_rensa"),
}
WIDTHS = (8, 8, 8, 8, 8, 6, 5, 7, 5, 8, 9, 8)
HEADS = (
    *("r>=.8", ".7-.8", ".5-.7", ".3-.5", "precis.", "lost", "<.5", "one", "none"),
    *("CPU-s", "MB/CPU-s", "peak-MB"),
)
RANGES = ((0.8, 1.01), (0.7, 0.8), (0.5, 0.7), (0.3, 0.5))


def best_survivors(planted: Planted, gone: set[int]) -> dict[int, float]:
    """For each removed text its likeness to the survivor most like it."""
    best = dict.fromkeys(gone, 0.0)
    for (i, j), likeness in planted.pairs.items():
        for own, other in ((i, j), (j, i)):
            if own in gone and other not in gone:
                best[own] = max(best[own], likeness)
    return best


def judge(planted: Planted, removed: list[int], threshold: float) -> list[str]:
    """The cells of one engine's row."""
    gone = set(removed)
    cells = []
    for low, high in RANGES:
        pairs = [pair for pair, likeness in planted.pairs.items() if low <= likeness < high]
        found = sum(i in gone or j in gone for i, j in pairs)
        cells.append(f"{found / max(1, len(pairs)):.4f}")
    best = best_survivors(planted, gone)
    lost = [i for i, likeness in best.items() if likeness < threshold]
    badly = sum(best[i] < 0.5 for i in lost)
    cells += [f"{1 - len(lost) / max(1, len(gone)):.4f}", str(len(lost)), str(badly)]
    alive = []

    def twins(i: int, j: int) -> bool:
        return planted.pairs.get((min(i, j), max(i, j)), 0.0) >= threshold

    for original, copies in planted.originals.items():
        like = [c for c in copies if twins(original, c)]
        members = [original, *like]
        if like and all(twins(a, b) for a, b in combinations(like, 2)):
            # a cluster that is itself a copy of another text may go as a whole
            if all(m in gone and best[m] >= threshold for m in members):
                continue
            alive.append(sum(member not in gone for member in members))
    one = sum(n == 1 for n in alive) / max(1, len(alive))
    return [*cells, f"{one:.3f}", str(alive.count(0))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--characters", type=int, default=1_400, help="of a chunk")
    parser.add_argument("--share", type=float, default=0.2, help="of planted copies")
    parser.add_argument("--threshold", type=float, nargs="+", default=[0.8, 0.7, 0.5])
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS)
    options = parser.parse_args()
    planted = plant(options.path, options.documents, options.characters, options.share)
    megabytes = sum(len(text.encode()) for text in planted.texts) / 1e6
    counts = [sum(a <= x < b for x in planted.pairs.values()) for a, b in RANGES]
    print(f"{len(planted.texts)} texts, {megabytes:.1f} MB, planted copies "
          f"{sum(map(len, planted.originals.values()))}; pairs by exact J: "
          + ", ".join(f"{a}-{min(b, 1)}: {n}" for (a, b), n in zip(RANGES, counts)))  # fmt: skip
    print(f"{'J >=':5}{'engine':12}" + "".join(f"{h:>{w}}" for h, w in zip(HEADS, WIDTHS)))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "texts.parquet"
        table = pa.table({"id": range(len(planted.texts)), "text": planted.texts})
        pq.write_table(table, source)
        for threshold in options.threshold:
            for name in options.engines:
                peer, task = ENGINES[name]
                answer = launch(peer, task, source, options.environments, threshold=threshold)
                if answer is None:
                    continue
                cpu = answer["cpu_s"]
                cells = judge(planted, answer["result"], threshold)
                cells += [f"{cpu:.1f}", f"{megabytes / cpu:.2f}", f"{answer['peak_mb']:.0f}"]
                row = "".join(f"{cell:>{width}}" for cell, width in zip(cells, WIDTHS))
                print(f"{threshold:<5}{name:12}{row}", flush=True)


if __name__ == "__main__":
    main()
