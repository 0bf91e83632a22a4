"""transformers: LlamaForCausalLM under Trainer, with torch's fused AdamW.

Settings: `fp32`, `autocast` (bf16 autocast over fp32 weights), `bf16` (bf16 weights and moments),
each also `compiled`.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from laps import Laps, request
from torch import Tensor
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

wanted = request()
laps = Laps()


class Rows(torch.utils.data.IterableDataset[dict[str, Tensor]]):
    """The steps' rows one after the other; the model shifts the labels itself."""

    def __iter__(self) -> Any:
        for number in range(10**9):
            for row in wanted.batch(number):
                yield {"input_ids": row[:-1], "labels": row[:-1], "shift_labels": row[1:]}


class Watched(Trainer):
    loss: Any = 0.0

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        self.loss = super().training_step(*args, **kwargs)
        return self.loss


class EachStep(TrainerCallback):
    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        laps(trainer.loss)


config = LlamaConfig(
    vocab_size=wanted.vocabulary,
    hidden_size=wanted.width,
    intermediate_size=wanted.hidden,
    num_hidden_layers=wanted.layers,
    num_attention_heads=wanted.heads,
    max_position_embeddings=wanted.context,
    rms_norm_eps=1e-5,
    tie_word_embeddings=False,
    use_cache=False,
)
model = LlamaForCausalLM(config)
if wanted.setting.startswith("bf16"):
    model = model.bfloat16()
with tempfile.TemporaryDirectory() as folder:
    arguments = TrainingArguments(
        output_dir=folder,
        use_cpu=True,
        bf16=wanted.setting.startswith("autocast"),
        torch_compile=wanted.compiled,
        optim="adamw_torch_fused",
        per_device_train_batch_size=wanted.rows,
        max_steps=wanted.steps or 10**6,
        learning_rate=wanted.rate,
        adam_beta1=wanted.betas[0],
        adam_beta2=wanted.betas[1],
        weight_decay=wanted.decay,
        max_grad_norm=wanted.clip,
        lr_scheduler_type="linear",
        warmup_steps=max(1, wanted.steps // 20),
        logging_strategy="no",
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
        seed=wanted.seed,
    )
    trainer = Watched(model=model, args=arguments, train_dataset=Rows(), callbacks=[EachStep()])
    trainer.train()
