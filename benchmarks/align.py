"""Post-training beside its peers: tuning, reward models, rollouts and PPO.

    python benchmarks/align.py [--task sft reward4 reward9 ...] [--rounds 3] [--cpu-time]
    python benchmarks/align.py --task learn learn-grpo [--steps 60] [--seeds 3]

Every contestant is a process of its own that works by its own loop (peers/align_*.py) on the same
shape, made-up token ids, batch and threads, a few steps in turn each round; the median step
counts, and the spread is that of the middle half. `--cpu-time` ranks by processor seconds instead
of the clock: the one to take on a machine that others use. A peer without environment is skipped
(see peers/launch.py). `learn` asks what PPO learns (`learn-grpo`: GRPO) and not how fast its steps
are: the reward reached at equal KL from the start, and the seconds to a reward, of runs with the
same made-up reward, rates, batches and KL weight from random weights.
"""

from __future__ import annotations

import argparse
import os
import statistics
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers.launch import ENVIRONMENTS, python_of
from train import Contestant, rate

#: Of each task: what a step holds, its unit, and who does it in which settings (ours first).
TASKS: dict[str, tuple[dict[str, Any], str, tuple[str, ...]]] = {
    "sft": (
        {"task": "sft", "rows": 16, "context": 256},
        "tokens/s",
        ("regrow bf16", "regrow bf16 across", "trl autocast", "trl bf16"),
    ),
    "reward4": (
        {"task": "reward", "prompts": 8, "samples": 4},
        "pairs/s",
        ("regrow bf16", "trl autocast", "trl bf16"),
    ),
    "reward9": (
        {"task": "reward", "prompts": 2, "samples": 9},
        "pairs/s",
        ("regrow bf16", "trl autocast", "trl bf16"),
    ),
    "rollout": (
        {"task": "rollout", "prompts": 32, "samples": 4, "answer": 32},
        "samples/s",
        ("regrow bf16", "transformers bf16", "transformers fp32"),
    ),
    "ppo": (
        {"task": "ppo", "prompts": 64, "samples": 1, "answer": 32},
        "steps/s",
        ("regrow bf16", "trl_ppo bf16", "trl_ppo autocast"),
    ),
    "grpo": (
        {"task": "grpo", "prompts": 16, "samples": 8, "answer": 32},
        "steps/s",
        ("regrow bf16", "trl autocast", "trl bf16"),
    ),
    "learn": (
        {"task": "learn", "prompts": 64, "samples": 1, "answer": 32, "rate": 3e-4},
        "reward",
        ("regrow bf16", "trl_ppo autocast"),
    ),
    "learn-grpo": (
        {"task": "grpo", "prompts": 16, "samples": 8, "answer": 32, "rate": 3e-4},
        "reward",
        ("regrow bf16", "trl autocast"),
    ),
}
#: What is learnt, not how fast a step is.
LEARNING = {"learn": "PPO", "learn-grpo": "GRPO"}
#: Where learning curves are compared: KL in nats an answer, and rewards.
KLS, REWARDS = (0.5, 1.0, 2.0, 4.0), (0.5, 1.0)
#: Steps whose mean is a point of a learning curve.
SMOOTH = 5


def units(size: dict[str, Any]) -> float:
    """How many of its unit a step of a task holds."""
    if size["task"] == "sft":
        return float(size["rows"] * size["context"])
    if size["task"] == "reward":
        return size["prompts"] * size["samples"] * (size["samples"] - 1) / 2
    return float(size["prompts"] * size["samples"]) if size["task"] == "rollout" else 1.0


def learn(options: argparse.Namespace, task: str) -> None:
    """Print what the curves of one seed after the other come to."""
    size, _, names = TASKS[task]
    print(f"\n| {LEARNING[task]} | seed | reward at KL " + " | at ".join(f"{kl:g}" for kl in KLS)
          + " | at the end (KL) | " + " | ".join(f"seconds to {r:g}" for r in REWARDS) + " |\n"
          + "|---" * (4 + len(KLS) + len(REWARDS) - 1) + "|")  # fmt: skip
    for seed in range(options.seeds):
        for name in options.only or names:
            python = python_of(name.split()[0], options.environments)
            if not python:
                continue
            request = {**size, "threads": options.threads, "seed": seed}
            one = Contestant(name, python, request, options.environments / "compiled", "align")
            first, rest = one.answer(), one.run(options.steps)
            one.close()
            if first and rest:
                rows = np.array(first["rows"] + rest["rows"])
                reward, kl = (smooth(rows[:, column]) for column in (2, 3))
                spent = rows[:, int(options.cpu_time)].cumsum()[SMOOTH - 1 :]
                ends = [reached(kl, reward, level) for level in KLS]
                times = [reached(reward, spent, level) for level in REWARDS]
                print(f"| {name} | {seed} | " + " | ".join(ends)
                      + f" | {reward[-1]:.2f} ({kl[-1]:.2f}) | " + " | ".join(times) + " |",
                      flush=True)  # fmt: skip


def smooth(values: np.ndarray) -> np.ndarray:
    return np.convolve(values, np.ones(SMOOTH) / SMOOTH, "valid")


def reached(values: np.ndarray, others: np.ndarray, level: float) -> str:
    """What `others` was where `values` first came to a level, between the steps."""
    above = np.flatnonzero(values >= level)
    if not len(above) or not above[0]:
        return "-"
    n = above[0]
    share = (level - values[n - 1]) / (values[n] - values[n - 1])
    return f"{others[n - 1] + share * (others[n] - others[n - 1]):.2f}"


def compare(options: argparse.Namespace, task: str) -> None:
    """Print the rows of the table for one task."""
    size, unit, names = TASKS[task]
    request = {**size, "threads": options.threads, "vocabulary": options.vocabulary}
    started = []
    for name in options.only or names:
        python = python_of(name.split()[0], options.environments)
        if python:
            cache = options.environments / "compiled"
            started.append(Contestant(name, python, request, cache, "align"))
    running = [one for one in started if one.answer()]
    took: dict[str, list[tuple[float, float]]] = {one.name: [] for one in running}
    for _ in range(options.rounds):
        for one in running:
            answer = one.run(options.steps)
            if answer:
                took[one.name] += [(row[0], row[1]) for row in answer["rows"]]
    for one in started:
        one.close()
    ours = None
    for name, rows in took.items():
        seconds = sorted(row[options.cpu_time] for row in rows)
        if not seconds:
            continue
        step = statistics.median(seconds)
        low, high = seconds[len(seconds) // 4], seconds[-1 - len(seconds) // 4]
        ours = ours or step
        per_step = units(size)
        rates = [f"{per_step / one:.4g}" for one in (step, high, low)]
        print(f"| {task} | {name} | {rates[0]} {unit} | {rates[1]} to {rates[2]} "
              f"| {step / ours:.2f} | {len(seconds)} |", flush=True)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--task", nargs="+", choices=TASKS, 
                        default=[task for task in TASKS if task not in LEARNING])  # fmt: skip
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2, help="steps of a turn; of `learn` all")
    parser.add_argument("--seeds", type=int, default=3, help="runs of `learn`")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--vocabulary", type=int, default=512)
    parser.add_argument("--only", nargs="+", help="contestants, as 'trl autocast compiled'")
    parser.add_argument("--cpu-time", action="store_true")
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    product = rate(options.threads, options.cpu_time)
    clock = "processor seconds" if options.cpu_time else "the clock"
    print(f"{options.threads} threads, torch {torch.__version__}, bf16 products at {product:.0f} "
          f"GFLOP/s, by {clock}\n\n| task | contestant | rate | middle half | regrow is faster by "
          "| steps |\n|---|---|---|---|---|---|")  # fmt: skip
    for task in options.task:
        (learn if task in LEARNING else compare)(options, task)


if __name__ == "__main__":
    main()
