"""The time of one optimizer step beside torch's own, on one model's weights with made-up gradients.

regrow's AdamW against torch.optim.AdamW(fused=True), and its Muon with Adam on the rest against
torch.optim.Muon with fused AdamW on the rest, all in fp32 over the same shapes. Measured in turn,
so that a busy machine slows all alike; the median of the rounds' ratios is printed with its spread.

    python benchmarks/optim.py [--threads 1] [--shape L ...] [--rounds 9] [--before] [--cpu-time]
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn
from train import SHAPES

from regrow.model.decoder import Decoder
from regrow.train.optim import OptimSettings, build
from regrow.train.precision import choose

Step = Callable[[], None]


def gradients(model: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for p in model.parameters():
        grad = torch.randn(p.shape, generator=generator) * 1e-3
        p.grad = grad if p.grad is None else p.grad.copy_(grad)


def ours(model: nn.Module, name: str) -> Step:
    optimizer = build(model, OptimSettings(name, rate=1e-3), choose("fp32"))
    gradients(model)
    optimizer.trainable.gather()
    return optimizer.step


def torch_adamw(model: nn.Module) -> Step:
    gradients(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    return lambda: optimizer.step()


def torch_muon(model: nn.Module) -> Step:
    gradients(model)
    named = list(model.named_parameters())
    matrices = [p for name, p in named if name.startswith("blocks.") and p.ndim == 2]
    inside = {id(p) for p in matrices}
    rest = [p for _, p in named if id(p) not in inside]
    muon = torch.optim.Muon(matrices, lr=1e-3)
    adamw = torch.optim.AdamW(rest, lr=1e-3, fused=True)

    def step() -> None:
        muon.step()
        adamw.step()

    return step


def by_hand(model: nn.Module) -> Step:
    """AdamW as regrow had it before: four operations over flat buffers."""
    size = sum(p.numel() for p in model.parameters())
    master, grad = torch.randn(size), torch.randn(size) * 1e-3
    first, second = torch.zeros(size), torch.zeros(size)

    def step() -> None:
        root: Tensor
        master.mul_(1 - 1e-3 * 0.05)
        first.lerp_(grad, 0.1)
        second.mul_(0.98).addcmul_(grad, grad, value=0.02)
        root = second.sqrt().div_(0.5).add_(1e-8)
        master.addcdiv_(first, root, value=-1e-3)

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=["L", "17M", "68M"])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--before", action="store_true", help="time the AdamW before the kernel")
    parser.add_argument("--cpu-time", action="store_true", help="processor time, not wall-clock")
    options = parser.parse_args()
    clock = time.process_time if options.cpu_time else time.perf_counter
    torch.set_num_threads(options.threads)
    print(f"{'shape':7}{'optimizer':12}{'ours ms':>9}{'torch ms':>10}{'torch/ours':>12}  spread")
    for shape in options.shape:
        config, _ = SHAPES[shape]
        pairs = {
            "adamw": (ours(Decoder(config), "adamw"), torch_adamw(Decoder(config))),
            "muon": (ours(Decoder(config), "muon"), torch_muon(Decoder(config))),
        }
        if options.before:
            pairs["by hand"] = (pairs["adamw"][0], by_hand(Decoder(config)))
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in pairs}
        for round_ in range(options.rounds + 1):
            for name, steps in pairs.items():
                both = []
                for step in steps:
                    start = clock()
                    step()
                    both.append(clock() - start)
                if round_:  # the first step makes its state
                    times[name].append((both[0], both[1]))
        for name, found in times.items():
            ratios = sorted(b / a for a, b in found)
            mine, other = (min(pair[n] for pair in found) * 1e3 for n in (0, 1))
            print(
                f"{shape:7}{name:12}{mine:9.1f}{other:10.1f}{statistics.median(ratios):12.2f}"
                f"  {ratios[0]:.2f} to {ratios[-1]:.2f}"
            )


if __name__ == "__main__":
    main()
