"""TRL: SFTTrainer and RewardTrainer, with torch's fused AdamW.

Settings: `autocast` (bf16 autocast over fp32 weights), `bf16` (bf16 weights and moments), `fp32`;
each also `compiled`. Tuning takes `wrapped` packing (full rows, samples see each other) unless
`bfd` is named (whole samples, none sees another).
"""

from __future__ import annotations

import tempfile
from typing import Any

from datasets import Dataset
from laps import Laps
from posttrain import Data, llama, request, words
from torch import Tensor
from transformers import LlamaForCausalLM, LlamaForSequenceClassification, TrainerCallback
from trl import RewardConfig, RewardTrainer, SFTConfig, SFTTrainer

wanted = request()
laps = Laps()


class EachStep(TrainerCallback):
    loss: Any = 0.0

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        laps(self.loss)


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


def cast(model: Any) -> Any:
    return model.bfloat16() if wanted.setting.startswith("bf16") else model


with tempfile.TemporaryDirectory() as folder:
    {"sft": tuning, "reward": judging}[wanted.task](folder).train()
