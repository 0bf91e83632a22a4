"""Training speed: tokens/s, GFLOP/s and the fraction of the measured matrix-product rate.

Beside it `transformers`' LlamaForCausalLM with torch's fused AdamW on the same shapes, in fp32 and
in bf16 autocast (fp32 weights). Rounds are interleaved, so that a busy machine slows all alike;
the best step counts. `--cpu-time` divides by processor time instead of wall-clock time.

    python benchmarks/train.py [--threads 1] [--shape M ...] [--rounds 6]
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from torch import Tensor

from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.model.folder import hf_config
from regrow.train.optim import OptimSettings, build
from regrow.train.precision import choose, gemm_rate

#: name: (shape, rows)
SHAPES = {
    "S": (ModelConfig(2048, 64, 4, 2, 2, 176, 256), 16),
    "M": (ModelConfig(2048, 128, 5, 4, 4, 352, 256), 16),
    "L": (ModelConfig(2048, 192, 6, 6, 6, 512, 256), 16),
    "17M": (ModelConfig(8192, 384, 6, 6, 6, 1024, 256), 16),
    "68M": (ModelConfig(16384, 768, 6, 12, 12, 2048, 512), 8),
}
Step = Callable[[Tensor], None]


def ours(config: ModelConfig, dtype: str, optimizer: str) -> Step:
    model = Decoder(config)
    optim = build(model, OptimSettings(optimizer, rate=1e-3), choose(dtype))

    def step(ids: Tensor) -> None:
        optim.zero_grad()
        model.loss(ids[:, :-1], ids[:, 1:])[0].backward()
        optim.trainable.gather()
        optim.step()

    return step


def theirs(config: ModelConfig, autocast: bool) -> Step:
    from transformers import LlamaConfig, LlamaForCausalLM

    model = LlamaForCausalLM(LlamaConfig(**hf_config(config, "float32"))).train()
    optim = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step(ids: Tensor) -> None:
        optim.zero_grad(set_to_none=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = model(ids[:, :-1], use_cache=False).logits
        loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        optim.step()

    return step


def measure(
    steps: dict[str, Step], ids: Tensor, rounds: int, clock: Callable[[], float]
) -> dict[str, float]:
    best = dict.fromkeys(steps, float("inf"))
    for round_ in range(rounds + 1):
        for name, step in steps.items():
            start = clock()
            step(ids)
            if round_:  # the first step sets up kernels and buffers
                best[name] = min(best[name], clock() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--shape", nargs="+", choices=SHAPES, default=["S", "M", "L"])
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--cpu-time", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    clock = time.process_time if options.cpu_time else time.perf_counter
    shared = options.threads if options.cpu_time else 1
    rates = {
        name: shared * max(gemm_rate(dtype, 512, 0.3, clock) for _ in range(3))
        for name, dtype in (("bf16", torch.bfloat16), ("fp32", torch.float32))
    }
    print(
        f"{options.threads} threads; products: {rates['bf16']:.0f} GFLOP/s bf16, "
        f"{rates['fp32']:.0f} fp32"
    )
    print(f"{'shape':6}{'who':34}{'tokens/s':>10}{'GFLOP/s':>9}{'fraction':>10}")
    for shape in options.shape:
        config, rows = SHAPES[shape]
        ids = torch.randint(config.vocabulary, (rows, config.context + 1))
        steps = {
            "regrow bf16 muon": ours(config, "bf16", "muon"),
            "regrow bf16 adamw": ours(config, "bf16", "adamw"),
            "regrow fp32 adamw": ours(config, "fp32", "adamw"),
            "transformers bf16 autocast adamw": theirs(config, True),
            "transformers fp32 adamw": theirs(config, False),
        }
        tokens = rows * config.context
        for name, took in measure(steps, ids, options.rounds, clock).items():
            took /= shared
            speed = config.flops_per_token() * tokens / took / 1e9
            share = speed / rates["bf16" if "bf16" in name else "fp32"]
            print(f"{shape:6}{name:34}{tokens / took:10.0f}{speed:9.0f}{share:10.2f}")


if __name__ == "__main__":
    main()
