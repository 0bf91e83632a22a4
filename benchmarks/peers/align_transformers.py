"""transformers: `generate` with its cache, the samples of a prompt in one call.

Settings: `fp32`, `bf16`; each also `static` (a cache of fixed size).
"""

from __future__ import annotations

import torch
from laps import Laps, endless
from posttrain import EOS, PAD, Data, llama, request
from transformers import LlamaForCausalLM

wanted = request()
laps = Laps()
assert wanted.task == "rollout"
model = LlamaForCausalLM(llama(wanted=wanted)).eval()
if wanted.setting.startswith("bf16"):
    model = model.bfloat16()
prompts = Data(wanted).prompts()


def step(number: int) -> float:
    start = number * wanted.prompts % len(prompts)
    chosen = prompts[start : start + wanted.prompts]
    width = max(map(len, chosen))
    ids = torch.tensor([[PAD] * (width - len(p)) + p for p in chosen])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in chosen])
    with torch.inference_mode():
        found = model.generate(
            input_ids=ids,
            attention_mask=mask,
            do_sample=True,
            top_k=0,
            temperature=1.0,
            max_new_tokens=wanted.answer,
            num_return_sequences=wanted.samples,
            pad_token_id=PAD,
            eos_token_id=EOS,
            cache_implementation="static" if "static" in wanted.setting else None,
        )
    return float(found.shape[1])


endless(step, laps)
