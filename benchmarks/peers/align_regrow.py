"""regrow: its own loops as its stages call them, from data to update.

Settings: `bf16` or `fp32`. Tuning lets a sample see its own tokens only, unless `across` is named.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from laps import Laps, endless
from posttrain import EOS, PAD, Data, likes, request

from regrow.align.fit import fit_reward, fit_rows
from regrow.align.grpo import Grpo, GrpoLoop
from regrow.align.ppo import PpoSettings
from regrow.align.reward import Ranked, RewardModel
from regrow.align.rlhf import Rlhf, RlhfLoop
from regrow.align.rollouts import Drawn
from regrow.align.rows import ConversationRows
from regrow.generate.sampler import Sampling, generate
from regrow.model.config import ModelConfig
from regrow.model.decoder import Decoder
from regrow.records import Conversation, Message
from regrow.train import loop
from regrow.train.loop import TrainSettings
from regrow.train.optim import OptimSettings
from regrow.train.precision import choose

wanted = w = request()
laps = Laps()
shape = ModelConfig(w.vocabulary, w.width, w.layers, w.heads, w.heads, w.hidden, w.context,
                    tied=False)  # fmt: skip
name = wanted.setting.split()[0]
precision = choose(name)
adam = OptimSettings("adamw", wanted.rate, clip=1.0)


class Numbers:
    """A tokenizer whose texts are token ids in figures; a talk is its prompt and its answer."""

    pad, eos, end, start, assistant = PAD, EOS, EOS, EOS, 2
    vocabulary, holds_system = wanted.vocabulary, True

    def decode(self, ids: Sequence[int]) -> str:
        return " ".join(map(str, ids))

    def drops(self, messages: Sequence[Message]) -> str | None:
        return None

    def chat(self, messages: Sequence[Message], answer: bool = False) -> tuple[list[int], Any]:
        parts = [list(map(int, message.content.split())) for message in messages]
        mask = [n % 2 for n, part in enumerate(parts) for _ in part]
        return [i for part in parts for i in part], mask


def talk(prompt: list[int], *answers: list[int]) -> Conversation:
    roles = ("user", "assistant")
    parts = zip(roles, (prompt, *answers), strict=False)
    return Conversation(tuple(Message(role, numbers.decode(ids)) for role, ids in parts))


numbers: Any = Numbers()


def each_step(step: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def lapped(*args: Any) -> dict[str, Any]:
        values = step(*args)
        laps(values["loss"])
        return values

    return lapped


loop.Run.step = each_step(loop.Run.step)  # type: ignore[method-assign]


def settings(rows: int) -> TrainSettings:
    return TrainSettings(10**5 * rows, rows=rows, precision=name, optim=adam, every=10**9)


def sft(folder: Path) -> None:
    talks = [talk(*one) for one in Data(wanted).conversations()]
    rows = ConversationRows(talks, numbers, wanted.context, 0)
    packing = "across" if "across" in wanted.setting else "within"
    fit_rows(Decoder(shape), rows, settings(wanted.rows), folder, packing=packing)


def reward(folder: Path) -> None:
    ranked = [
        Ranked(tuple(tuple(p + a) for a in answers), tuple(range(len(answers), 0, -1)))
        for p, answers in Data(wanted).ranked()
    ]
    model = RewardModel(Decoder(shape))
    fit_reward(model, ranked, [], settings(wanted.prompts), folder, pad=PAD, epochs=1000, held=0.01)


def rollout(folder: Path) -> None:
    model = Decoder(shape).to(precision.dtype).eval()
    prompts = Data(wanted).prompts()

    def step(number: int) -> float:
        start = number * wanted.prompts % len(prompts)
        sampling = Sampling(wanted.answer, 1.0, stop_ids=(EOS,), seed=number)
        chosen = prompts[start : start + wanted.prompts]
        found = generate(model, numbers, chosen, sampling, wanted.samples, batch=256)
        return float(sum(len(one.ids) for group in found for one in group))

    endless(step, laps)


def ppo(folder: Path) -> None:
    prompts = [talk(p) for p in Data(wanted).prompts()]
    plan = RlhfLoop(10**6, wanted.prompts, wanted.samples, wanted.answer, minibatches=4,
                    rate=wanted.rate, value_rate=wanted.rate, checkpoint_every=10**9,
                    ppo=PpoSettings(no_end_score=None) if w.task == "learn" else PpoSettings(),
                    )  # fmt: skip
    policy, judge = Decoder(shape, w.seed), RewardModel(Decoder(shape, w.seed + 1))
    kind = Learning if w.task == "learn" else Modelled
    kind(policy, judge, numbers, prompts, plan, seed=w.seed, precision=precision).run(folder)


def grpo(folder: Path) -> None:
    prompts = [talk(p) for p in Data(wanted).prompts()]
    plan = GrpoLoop(10**6, wanted.prompts, wanted.samples, wanted.answer, minibatches=1,
                    rate=wanted.rate, checkpoint_every=10**9)  # fmt: skip
    Verified(Decoder(shape, w.seed), lambda *_: [], numbers, prompts, plan, seed=w.seed,
             precision=precision).run(folder)  # fmt: skip


class Lapped:
    """A step ends when the KL weight is set; nothing is measured on prompts held out."""

    def settle(self, figures: Mapping[str, float], answers: int) -> None:
        super().settle(figures, answers)  # type: ignore[misc]
        laps(figures["reward"], figures["kl_answer"])

    def look(self) -> dict[str, float]:
        return {}


class Liked(Lapped):
    """Learns what `posttrain.likes` says, not what a model or a verifier does."""

    def worth(self, drawn: Sequence[Drawn]) -> np.ndarray:
        return np.array(likes([one.answer.ids for one in drawn]), np.float32)


class Modelled(Lapped, Rlhf):
    pass


class Learning(Liked, Rlhf):
    pass


class Verified(Liked, Grpo):
    pass


TASKS = {"sft": sft, "reward": reward, "rollout": rollout, "ppo": ppo, "learn": ppo, "grpo": grpo}
with tempfile.TemporaryDirectory() as place:
    TASKS[wanted.task](Path(place))
