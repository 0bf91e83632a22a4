"""How often 95 % intervals hold the truth at the designs that are really used, by simulation.

python benchmarks/coverage.py [--draws 2000]

Items lie in families whose sizes are those of the laptop recipe's abilities; families differ in
how hard they are (intraclass correlation), seeds in how able they are. The last table draws whole
grids of a child against its parent with nothing between them and counts those in which any cell
stands out after Holm.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np

from regrow.evaluate.replication import crossed
from regrow.evaluate.statistics import clustered_mean, holm, paired_difference

#: Family sizes of measured items, variant a, laptop.
DESIGNS: dict[str, list[int]] = {
    "held-out instructions": [34, 31, 15],
    "improper requests": [19, 19, 15, 14, 7, 3, 1, 1, 1],
    "chain of thought": [40, 25, 18, 15, 10, 8, 6, 5, 4, 4, 3, 3, 2, 2, 2, 2, 2, 2] + [1] * 7,
    "facts": [8, 8, 8, 8, 8, 7, 7, 6, 5, 4, 4, 3, 2, 1, 1],
    "rules": [9, 7, 6, 5, 5, 4, 4, 4, 4, 4, 4, 4, 4, 3, 3, 2, 2, 2, 2, 1, 1],
    "both sides": [6, 5, 4, 4, 4, 4, 4, 4, 4, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2, 2, 2] + [1] * 7,
    "unknown people": [1] * 160,
}


def labels(sizes: Sequence[int]) -> list[int]:
    return np.repeat(np.arange(len(sizes)), sizes).tolist()


def skills(draw: np.random.Generator, mean: float, alike: float, count: int) -> np.ndarray:
    """Chances of families: beta with this mean and intraclass correlation."""
    if alike == 0:
        return np.full(count, mean)
    whole = (1 - alike) / alike
    return draw.beta(mean * whole, (1 - mean) * whole, count)


def rate_covers(draw: np.random.Generator, sizes: list[int], mean: float, alike: float) -> bool:
    families = labels(sizes)
    chance = skills(draw, mean, alike, len(sizes))[families]
    got = clustered_mean((draw.random(len(families)) < chance) * 1.0, families)
    return got.low <= mean <= got.high


def effect_covers(
    draw: np.random.Generator, sizes: list[int], seeds: int, of_seeds: float, of_families: float
) -> bool:
    families = labels(sizes)
    cells = draw.normal(0, of_seeds, (seeds, 1)) + draw.normal(0, of_families, len(sizes))
    cells = cells + draw.normal(0, 0.1, (seeds, len(sizes)))
    noise = draw.normal(0, 0.6, (seeds, len(families)))
    same = draw.normal(0, 0.3, len(families))
    got = crossed(cells[:, families] + noise + same, families)
    return got.low <= 0 <= got.high


def table(heads: Sequence[str], covers: Callable[[list[int], int], bool], times: int) -> None:
    """A row a design, a column a case: the share of draws that cover."""
    print("| ability | families | " + " | ".join(heads) + " |")
    print("|---" * (len(heads) + 2) + "|")
    for name, sizes in DESIGNS.items():
        row = [sum(covers(sizes, case) for _ in range(times)) / times for case in range(len(heads))]
        shown = " | ".join(f"{share:.3f}" for share in row)
        print(f"| {name} | {len(sizes)} | {shown} |", flush=True)


def single_rates(draw: np.random.Generator, times: int) -> None:
    print("A rate of one node: intervals clustered by family (chance, intraclass correlation)\n")
    cases = [(0.5, 0.0), (0.5, 0.1), (0.5, 0.3), (0.85, 0.0), (0.85, 0.1), (0.85, 0.3)]
    heads = [f"p {mean}, icc {alike}" for mean, alike in cases]
    table(heads, lambda sizes, case: rate_covers(draw, sizes, *cases[case]), times)


def effects_over_seeds(draw: np.random.Generator, times: int) -> None:
    print("\nA paired effect over seeds and families (standard deviations of seeds and families)\n")
    spreads = [(0.0, 0.0), (0.1, 0.0), (0.0, 0.15), (0.1, 0.1), (0.05, 0.3)]
    cases = [(seeds, *spread) for seeds in (3, 5) for spread in spreads]
    heads = [f"{seeds} seeds, {a}/{b}" for seeds, a, b in cases]
    table(heads, lambda sizes, case: effect_covers(draw, sizes, *cases[case]), times)


def grids(draw: np.random.Generator, times: int, edges: int = 12) -> None:
    print("\nGrids of a child against its parent with no difference: share with any finding\n")
    print("| skill | intraclass correlation | before Holm, a cell | after Holm, a grid |")
    print("|---|---|---|---|")
    for mean, alike in ((0.5, 0.0), (0.5, 0.2), (0.8, 0.2), (0.05, 0.1)):
        single, any_, cells = 0, 0, 0
        for _ in range(times):
            found = []
            for sizes in DESIGNS.values():
                families = labels(sizes)
                chance = skills(draw, mean, alike, len(sizes))[families]
                for _ in range(edges):
                    # both have families of their own moved up and down, and differ in nothing
                    moved = draw.normal(0, 0.1, (2, len(sizes)))[:, families]
                    a, b = draw.random((2, len(families))) < np.clip(chance + moved, 0, 1)
                    found.append(paired_difference(a * 1.0, b * 1.0, families).p)
            single += sum(p < 0.05 for p in found)
            cells += len(found)
            any_ += min(holm(found)) < 0.05
        print(f"| {mean} | {alike} | {single / cells:.3f} | {any_ / times:.3f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    times = parser.parse_args().draws
    began = time.time()
    draw = np.random.default_rng(7)
    single_rates(draw, times)
    effects_over_seeds(draw, times // 2)
    grids(draw, max(50, times // 10))
    print(
        f"\n{times} draws a cell (half for effects, a tenth for grids), {time.time() - began:.0f} s"
    )


if __name__ == "__main__":
    main()
