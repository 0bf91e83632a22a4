"""Small models as others save them: a class of transformers and a byte-level tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from regrow.files import write_json

TEMPLATE = (
    "{% for message in messages %}"
    "{% if loop.first and message['role'] != 'system' %}<|im_start|>system\nBe kind<|im_end|>\n"
    "{% endif %}"
    "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
TEXT = "The mill stands by the river. It grinds corn for the town. Who is there? user assistant"
SPECIALS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def write_tokenizer(folder: Path, digits: bool = False, template: str | None = TEMPLATE) -> None:
    """A byte-level BPE as GPT-2's, or as SmolLM's with a token for every digit."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    backend = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    apart = pre_tokenizers.Digits(individual_digits=True)
    backend.pre_tokenizer = pre_tokenizers.Sequence([apart, level]) if digits else level
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        special_tokens=SPECIALS,
        initial_alphabet=sorted(level.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator([TEXT] * 3, trainer)
    folder.mkdir(parents=True, exist_ok=True)
    backend.save(str(folder / "tokenizer.json"))
    told: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": "<|endoftext|>",
        "eos_token": "<|im_end|>" if template else "<|endoftext|>",
        "clean_up_tokenization_spaces": False,
    }
    write_json(folder / "tokenizer_config.json", told)
    if template:
        (folder / "chat_template.jinja").write_text(template)


def write_model(folder: Path, name: str = "GPT2", **changes: Any) -> Any:
    """A random model of transformers and its folder; returns the model."""
    import torch
    import transformers

    settings: dict[str, Any] = {"vocab_size": 320, "bos_token_id": 0, "eos_token_id": 0}
    if name == "GPT2":
        settings |= {"n_embd": 24, "n_layer": 1, "n_head": 3, "n_positions": 64}
    else:
        settings |= {
            "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
            "num_attention_heads": 6, "num_key_value_heads": 2, "max_position_embeddings": 64,
        }  # fmt: skip
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**{**settings, **changes})
    head = "GPT2LMHeadModel" if name == "GPT2" else f"{name}ForCausalLM"
    model = getattr(transformers, head)(config).eval()
    model.save_pretrained(folder)
    return model
