"""regrow: the step of `regrow.train.loop`, with its own optimizers."""

from __future__ import annotations

from laps import Laps, endless, request

from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.train.optim import OptimSettings, build
from regrow.train.precision import choose

wanted = request()
w = wanted
laps = Laps()
shape = ModelConfig(w.vocabulary, w.width, w.layers, w.heads, w.heads, w.hidden, w.context,
                    tied=False)  # fmt: skip
precision, optimizer = w.setting.split()
model = Decoder(shape, w.seed)
adam = OptimSettings("adamw", w.rate, betas=w.betas, decay=w.decay, clip=w.clip)
muon = OptimSettings("muon", clip=w.clip)
optim = build(model, adam if optimizer == "adamw" else muon, choose(precision))


def step(number: int) -> float:
    ids = wanted.batch(number)
    optim.zero_grad()
    loss, _ = model.loss(ids[:, :-1], ids[:, 1:])
    optim.backward(loss)
    norm = optim.gradient_norm()
    optim.step(wanted.scale(number), norm)
    return float(loss.detach())


endless(step, laps)
