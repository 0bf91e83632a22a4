"""TRL: SFTTrainer, RewardTrainer and GRPOTrainer, with torch's fused AdamW.

Settings: `autocast` (bf16 autocast over fp32 weights), `bf16` (bf16 weights and moments), `fp32`;
each also `compiled`. Tuning takes `wrapped` packing (full rows, samples see each other) unless
`bfd` is named (whole samples, none sees another). GRPO takes the reward of `posttrain.likes` and
keeps a reference, as published.
"""

from __future__ import annotations

import tempfile
from typing import Any

from datasets import Dataset
from laps import Laps
from posttrain import Data, likes, llama, request, words
from torch import Tensor
from transformers import LlamaForCausalLM, LlamaForSequenceClassification, TrainerCallback
from trl import (
    GRPOConfig,
    GRPOTrainer,
    RewardConfig,
    RewardTrainer,
    SFTConfig,
    SFTTrainer,
)

wanted = request()
laps = Laps()


class EachStep(TrainerCallback):
    loss: Any = 0.0

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        if wanted.task != "grpo":
            laps(self.loss)

    def on_log(self, args: Any, state: Any, control: Any, logs: Any, **kwargs: Any) -> None:
        if wanted.task == "grpo" and "reward" in logs:
            laps(logs["reward"], logs["kl"] * wanted.answer)  # it tells KL by token


watch = EachStep()


class Watched:
    """Notes the loss of a step, whatever the trainer."""

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss: Tensor = super().training_step(*args, **kwargs)  # type: ignore[misc]
        watch.loss = loss
        return loss


class Tuning(Watched, SFTTrainer):
    pass


class Judging(Watched, RewardTrainer):
    pass


def common(folder: str) -> dict[str, Any]:
    return {
        "output_dir": folder,
        "use_cpu": True,
        "bf16": wanted.setting.startswith("autocast"),
        "torch_compile": wanted.compiled,
        "optim": "adamw_torch_fused",
        "gradient_checkpointing": False,
        "max_steps": 10**6,
        "learning_rate": wanted.rate,
        "lr_scheduler_type": "constant",
        "logging_strategy": "no",
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "dataloader_pin_memory": False,
    }


def tuning(folder: str) -> SFTTrainer:
    """Packed rows of the context's length; only answers count."""
    talks = Data(wanted).conversations()
    rows = Dataset.from_list(
        [
            {"input_ids": p + a, "completion_mask": [0] * len(p) + [1] * len(a)}
            for p, a in talks
        ]
    )  # fmt: skip
    strategy = "bfd" if "bfd" in wanted.setting else "wrapped"
    settings = SFTConfig(
        **common(folder),
        per_device_train_batch_size=wanted.rows,
        packing=True,
        packing_strategy=strategy,
        max_length=wanted.context,
        completion_only_loss=True,
    )
    model = LlamaForCausalLM(llama(wanted=wanted, use_cache=False))
    return Tuning(cast(model), settings, train_dataset=rows, processing_class=words(wanted),
                  callbacks=[watch])  # fmt: skip


def judging(folder: str) -> RewardTrainer:
    """All pairs of every prompt's answers, as many in a batch as the other side has."""
    pairs = [
        {"chosen_ids": prompt + answers[i], "rejected_ids": prompt + answers[j]}
        for prompt, answers in Data(wanted).ranked()
        for i in range(wanted.samples)
        for j in range(i + 1, wanted.samples)
    ]
    settings = RewardConfig(
        **common(folder), per_device_train_batch_size=wanted.pairs, max_length=wanted.context
    )
    model = LlamaForSequenceClassification(llama(wanted=wanted, num_labels=1, use_cache=False))
    return Judging(cast(model), settings, train_dataset=Dataset.from_list(pairs),
                   processing_class=words(wanted), callbacks=[watch])  # fmt: skip


def reasoning(folder: str) -> GRPOTrainer:
    """Groups of answers to the same prompts, one update a step."""
    settings = GRPOConfig(
        **common(folder) | {"logging_strategy": "steps"},
        logging_steps=1,
        per_device_train_batch_size=wanted.prompts * wanted.samples,
        gradient_accumulation_steps=1,
        num_generations=wanted.samples,
        max_completion_length=wanted.answer,
        beta=0.04,
        seed=wanted.seed,
    )
    asked = [{"prompt": " ".join(map(str, prompt))} for prompt in Data(wanted).prompts()]
    place = f"{folder}/start"  # where the trainer reads its reference from
    cast(LlamaForCausalLM(llama(wanted=wanted))).save_pretrained(place)
    model = LlamaForCausalLM.from_pretrained(place, dtype="auto")
    return GRPOTrainer(model, liked, settings, train_dataset=Dataset.from_list(asked),
                       processing_class=words(wanted), callbacks=[watch])  # fmt: skip


def liked(completion_ids: list[list[int]], **others: Any) -> list[float]:
    return likes(completion_ids)


def cast(model: Any) -> Any:
    return model.bfloat16() if wanted.setting.startswith("bf16") else model


with tempfile.TemporaryDirectory() as folder:
    {"sft": tuning, "reward": judging, "grpo": reasoning}[wanted.task](folder).train()
