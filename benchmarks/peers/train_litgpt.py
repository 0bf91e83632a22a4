"""litgpt: its GPT and the steps of `litgpt.pretrain.fit` under Lightning Fabric.

Settings: `32-true`, `bf16-mixed`, `bf16-true` (Fabric's names), each also `compiled`, which
`litgpt pretrain` always does. AdamW is torch's fused one, which litgpt itself takes on GPUs only.
"""

from __future__ import annotations

import lightning
import torch
from laps import Laps, endless, request
from litgpt.config import Config
from litgpt.model import GPT
from litgpt.pretrain import initialize_weights
from litgpt.utils import chunked_cross_entropy, instantiate_torch_optimizer

wanted = request()
laps = Laps()
config = Config(
    name="llama",
    block_size=wanted.context,
    vocab_size=wanted.vocabulary,
    padded_vocab_size=wanted.vocabulary,
    n_layer=wanted.layers,
    n_head=wanted.heads,
    n_embd=wanted.width,
    rotary_percentage=1.0,
    parallel_residual=False,
    bias=False,
    norm_class_name="RMSNorm",
    norm_eps=1e-5,
    mlp_class_name="LLaMAMLP",
    intermediate_size=wanted.hidden,
)
fabric = lightning.Fabric(
    accelerator="cpu", devices=1, precision=wanted.setting.removesuffix(" compiled")
)
fabric.seed_everything(wanted.seed, verbose=False)
with fabric.init_module(empty_init=False):
    model = GPT(config)
initialize_weights(fabric, model, n_layer=config.n_layer, n_embd=config.n_embd)
if wanted.compiled:
    model = torch.compile(model)
model = fabric.setup(model)
optimizer = instantiate_torch_optimizer(
    {
        "class_path": "torch.optim.AdamW",
        "init_args": {"lr": wanted.rate, "betas": wanted.betas, "weight_decay": wanted.decay},
    },
    model.parameters(),
    fused=True,
)
optimizer = fabric.setup_optimizers(optimizer)


def step(number: int) -> float:
    ids = wanted.batch(number)
    for group in optimizer.param_groups:
        group["lr"] = wanted.rate * wanted.scale(number)
    logits = model(ids[:, :-1].contiguous())
    loss = chunked_cross_entropy(logits, ids[:, 1:].contiguous())
    fabric.backward(loss)
    fabric.clip_gradients(model, optimizer, max_norm=wanted.clip)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


endless(step, laps)
