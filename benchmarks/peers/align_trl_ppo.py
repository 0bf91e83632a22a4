"""TRL 1.12, the last with PPO in it: policy, value, reward and reference as models of one shape.

In the task `learn` the reward is what `posttrain.likes` says, not a model. Settings: `bf16` (bf16
weights and moments), `autocast` (fp32 weights; the answers are drawn in fp32), `fp32`. Four
minibatches, one epoch.
"""

from __future__ import annotations

import tempfile
from types import SimpleNamespace
from typing import Any

import torch
from datasets import Dataset
from laps import Laps
from posttrain import Data, likes, llama, request, words
from torch import Tensor, nn
from transformers import LlamaForCausalLM, LlamaForSequenceClassification, TrainerCallback
from trl.experimental.ppo import PPOConfig, PPOTrainer

wanted = request()
laps = Laps()
learn = wanted.task == "learn"
assert learn or wanted.task == "ppo"


class EachStep(TrainerCallback):
    def on_log(self, args: Any, state: Any, control: Any, logs: Any, **kwargs: Any) -> None:
        laps(logs["objective/scores"], logs["objective/kl"])


class Likes(nn.Module):
    """Looks to the trainer like a reward model: its hidden state at every place is the reward."""

    base_model_prefix = "inner"

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.score = self._hidden, nn.Identity()

    def _hidden(self, input_ids: Tensor, **others: Any) -> Any:
        found = torch.tensor(likes(input_ids[:, -wanted.answer :].tolist()))
        hidden = found[:, None, None].expand(*input_ids.shape, 1)
        return SimpleNamespace(hidden_states=[hidden])


def made(kind: Any, **more: Any) -> Any:
    model = kind(llama(wanted=wanted, **more))
    return model.bfloat16() if wanted.setting == "bf16" else model


with tempfile.TemporaryDirectory() as folder:
    episodes = wanted.prompts * wanted.samples
    settings = PPOConfig(
        output_dir=folder,
        use_cpu=True,
        bf16=wanted.setting == "autocast",
        optim="adamw_torch_fused",
        gradient_checkpointing=False,
        per_device_train_batch_size=episodes,  # its step is this many, whatever the minibatches
        gradient_accumulation_steps=1,
        num_mini_batches=4,
        num_ppo_epochs=1,
        local_rollout_forward_batch_size=episodes,
        total_episodes=10**6 * episodes,
        response_length=wanted.answer,
        stop_token="eos",
        temperature=1.0,
        missing_eos_penalty=None if learn else 1.0,
        learning_rate=wanted.rate,
        seed=wanted.seed,
        num_sample_generations=0,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        dataloader_pin_memory=False,
    )
    # Each prompt as often as it is to be answered: this trainer draws one answer of a row.
    rows = [{"input_ids": p} for p in Data(wanted).prompts() for _ in range(wanted.samples)]
    PPOTrainer(
        settings,
        words(wanted),
        model=made(LlamaForCausalLM),
        ref_model=made(LlamaForCausalLM),
        reward_model=Likes() if learn else made(LlamaForSequenceClassification, num_labels=1),
        value_model=made(LlamaForSequenceClassification, num_labels=1),
        train_dataset=Dataset.from_list(rows),
        callbacks=[EachStep()],
    ).train()
