"""A plain PyTorch loop: a short Llama, torch's fused AdamW, and `torch.compile` where asked.

Settings: `fp32`, `autocast` (bf16 autocast over fp32 weights), `masters` (bf16 weights, their fp32
masters in the optimizer), each also `compiled`.
"""

from __future__ import annotations

import torch
from laps import Laps, endless, request
from torch import Tensor, nn
from torch.nn import functional as F

wanted = request()
laps = Laps()


class Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.RMSNorm(width, eps=1e-5), nn.RMSNorm(width, eps=1e-5)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.gate = nn.Linear(width, hidden, bias=False)
        self.up = nn.Linear(width, hidden, bias=False)
        self.down = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        b, t, d = x.shape
        y = self.qkv(self.norm1(x)).view(b, t, 3, self.heads, d // self.heads)
        q, k, v = y.permute(2, 0, 3, 1, 4)
        q, k = (z * cos + torch.cat((-z.chunk(2, -1)[1], z.chunk(2, -1)[0]), -1) * sin
                for z in (q, k))  # fmt: skip
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).reshape(b, t, d))
        y = self.norm2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


class Llama(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        w, d = wanted, wanted.width // wanted.heads
        self.embedding = nn.Embedding(w.vocabulary, w.width)
        self.blocks = nn.ModuleList(Block(w.width, w.heads, w.hidden) for _ in range(w.layers))
        self.norm = nn.RMSNorm(w.width, eps=1e-5)
        self.head = nn.Linear(w.width, w.vocabulary, bias=False)
        for weight in self.parameters():
            if weight.ndim == 2:
                nn.init.normal_(weight, std=0.02)
        for block in self.blocks:
            for write in (block.out, block.down):
                nn.init.normal_(write.weight, std=0.02 / (2 * w.layers) ** 0.5)
        angle = torch.outer(torch.arange(w.context), 1e4 ** (-torch.arange(0, d, 2) / d))
        angle = torch.cat((angle, angle), -1)
        self.register_buffer("cos", angle.cos())
        self.register_buffer("sin", angle.sin())

    def forward(self, ids: Tensor, targets: Tensor) -> Tensor:
        x = self.embedding(ids)
        cos, sin = self.cos.to(x.dtype), self.sin.to(x.dtype)
        for block in self.blocks:
            x = block(x, cos, sin)
        logits = self.head(self.norm(x))
        return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


masters = wanted.setting.startswith("masters")
model: nn.Module = Llama()
working = list(model.parameters())
weights = working
if masters:
    weights = [nn.Parameter(p.detach().clone()) for p in working]
    model = model.bfloat16()
optimizer = torch.optim.AdamW(
    weights, wanted.rate, wanted.betas, weight_decay=wanted.decay, fused=True
)
run = torch.compile(model) if wanted.compiled else model


def step(number: int) -> float:
    ids = wanted.batch(number)
    with torch.autocast("cpu", torch.bfloat16, enabled=wanted.setting.startswith("autocast")):
        loss = run(ids[:, :-1].contiguous(), ids[:, 1:].contiguous())
    loss.backward()
    if masters:
        for master, p in zip(weights, working, strict=True):
            master.grad, p.grad = p.grad.float(), None
    nn.utils.clip_grad_norm_(weights, wanted.clip)
    for group in optimizer.param_groups:
        group["lr"] = wanted.rate * wanted.scale(number)
    optimizer.step()
    optimizer.zero_grad()
    if masters:
        torch._foreach_copy_([p.detach() for p in working], [p.detach() for p in weights])
    return float(loss.detach())


endless(step, laps)
