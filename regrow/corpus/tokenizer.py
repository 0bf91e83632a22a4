"""Byte-level BPE with split digits, a chat layout and special tokens that text cannot forge.

Byte-level BPE after GPT-2 (Radford et al. 2019); every digit is a token of its own as in PaLM
(Chowdhery et al. 2022, sec. 2.2), so that arithmetic sees numbers in one way only.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from regrow.corpus.encoder import PATTERN, suits, tiktoken_encoder
from regrow.errors import RegrowError
from regrow.files import write_atomic, write_json
from regrow.records import Message

if TYPE_CHECKING:
    import tiktoken
    import tokenizers

#: Special tokens, in the order of their ids from 0.
SPECIALS = (
    "<|endoftext|>",
    "<|pad|>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|end|>",
    "<|fim_prefix|>",
    "<|fim_middle|>",
    "<|fim_suffix|>",
)
ROLES = ("system", "user", "assistant")

#: Text that spells a special token is broken by one space before it is encoded, here and in
#: `Tokenizer.chat`, so that transformers and vLLM give the same ids and users cannot forge turns.
_BREAK = "".join(f".replace('{special}', '< {special[1:]}')" for special in SPECIALS)
CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{%- if message['role'] not in ['system', 'user', 'assistant'] -%}"
    "{{- raise_exception('a role is system, user or assistant') -}}"
    "{%- endif -%}"
    "{{- '<|' + message['role'] + '|> ' + message['content']" + _BREAK + " + '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)


def break_specials(text: str) -> str:
    """Put a space into every spelled-out special token, as the chat template does."""
    if "<|" in text:
        for special in SPECIALS:
            text = text.replace(special, "< " + special[1:])
    return text


def train_tokenizer(texts: Iterable[str], vocabulary: int, path: Path) -> Tokenizer:
    """Learn a BPE of `vocabulary` entries (special tokens and 256 bytes among them) and write it.

    `path` is a folder or a `tokenizer.json`. The result depends on the texts only. A corpus too
    small for that many merges gives a smaller vocabulary. Raises RegrowError below 265 entries.
    """
    from tokenizers import Regex, decoders, models, pre_tokenizers, trainers
    from tokenizers import Tokenizer as Backend

    if vocabulary < 256 + len(SPECIALS):
        raise RegrowError(
            f"a byte-level vocabulary needs at least {256 + len(SPECIALS)} entries, "
            f"not {vocabulary}; raise corpus.tokenizer.vocabulary"
        )
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIALS),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    backend.train_from_iterator((break_specials(text) for text in texts), trainer)
    tokenizer = Tokenizer(backend)
    tokenizer.save(path)
    return tokenizer


class Tokenizer:
    """Text to ids and back; the ids of the special tokens are attributes.

    `holds_system` tells whether the chat layout has a place for a system turn.
    """

    holds_system: bool = True

    def __init__(self, backend: tokenizers.Tokenizer) -> None:
        backend.encode_special_tokens = True  # text that spells a special token stays text
        self.backend = backend
        ids = {special: backend.token_to_id(special) for special in SPECIALS}
        if missing := [special for special, id_ in ids.items() if id_ is None]:
            raise RegrowError(
                f"the tokenizer lacks {', '.join(missing)}; train one with `regrow corpus build`"
            )
        self.special: dict[str, int] = {
            special: id_ for special, id_ in ids.items() if id_ is not None
        }
        self.eos: int = self.special["<|endoftext|>"]
        self.start: int = self.eos  # what stands before a plain text
        self.pad: int = self.special["<|pad|>"]
        self.system: int = self.special["<|system|>"]
        self.user: int = self.special["<|user|>"]
        self.assistant: int = self.special["<|assistant|>"]
        self.end: int = self.special["<|end|>"]
        self.vocabulary: int = backend.get_vocab_size()

    @staticmethod
    def load(folder_or_file: Path) -> Tokenizer:
        """Read `tokenizer.json`, or the one in a folder.

        A model's folder may have a tokenizer without our special tokens (`foreign.Foreign`).
        """
        from tokenizers import Tokenizer as Backend

        folder = path = Path(folder_or_file)
        path = path / "tokenizer.json" if path.is_dir() else path
        if not path.exists():
            raise RegrowError(f"{path} is missing; build the corpus first (`regrow corpus build`)")
        try:
            backend = Backend.from_file(str(path))
            ours = all(backend.token_to_id(special) is not None for special in SPECIALS)
            if not ours and (folder / "config.json").is_file():
                from regrow.corpus.foreign import Foreign

                return Foreign(backend, folder)
            return Tokenizer(backend)
        except RegrowError:
            raise
        except Exception as error:  # tokenizers raises bare Exception on a broken file
            raise RegrowError(
                f"{path} is not a tokenizer ({error}); delete it and build the corpus again"
            ) from error

    @cached_property
    def _fast(self) -> tiktoken.Encoding | None:
        return tiktoken_encoder(self.backend)

    def encode(self, text: str) -> list[int]:
        """The ids of a text; never a special token, whatever the text spells."""
        if self._fast and suits(text):
            return self._fast.encode_ordinary(text)
        return self.backend.encode(text, add_special_tokens=False).ids

    def encode_batch(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of many texts, on RAYON_NUM_THREADS threads or one a core."""
        from regrow.corpus.engine import cores

        texts = list(texts)
        if self._fast and all(map(suits, texts)):
            threads = cores(int(os.environ.get("RAYON_NUM_THREADS") or 0))
            if threads == 1:  # a pool of one costs a third more
                return [self._fast.encode_ordinary(text) for text in texts]
            return self._fast.encode_ordinary_batch(texts, num_threads=threads)
        encodings = self.backend.encode_batch_fast(texts, add_special_tokens=False)
        return [encoding.ids for encoding in encodings]

    def decode(self, ids: Sequence[int], specials: bool = False) -> str:
        """The text of ids; special tokens are dropped unless `specials`."""
        return self.backend.decode([int(id_) for id_ in ids], skip_special_tokens=not specials)

    def answer(self, text: str) -> list[int]:
        """The ids of what an assistant says, as `chat` writes it."""
        return self.encode(f" {text}")

    def chat(
        self, messages: Sequence[Message], answer: bool = False
    ) -> tuple[list[int], list[int]]:
        """Ids and loss mask (both [t]) of `<|role|> content<|end|>` turns.

        The space before the content matters: it gives a word at the start of an answer the token
        that it has in running text, where pretraining met it. `generate` drops it from answers.
        The mask is 1 on what the assistant writes, its `<|end|>` included. With `answer` the ids
        end with `<|assistant|>`, ready to generate. Raises RegrowError on an unknown role.
        """
        ids: list[int] = []
        mask: list[int] = []
        for message in messages:
            if message.role not in ROLES:
                raise RegrowError(f"unknown role {message.role!r}; use system, user or assistant")
            content = [*self.encode(" " + break_specials(message.content)), self.end]
            ids += [self.special[f"<|{message.role}|>"], *content]
            mask += [0, *[int(message.role == "assistant")] * len(content)]
        if answer:
            ids.append(self.assistant)
            mask.append(0)
        return ids, mask

    def drops(self, messages: Sequence[Message]) -> str | None:
        """The role of a turn that the chat layout leaves out; None where it keeps all."""
        return None

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json (a path ending in .json: that file only).

        The folder loads in transformers (`AutoTokenizer`) with the same ids and chat template.
        """
        folder = Path(folder)
        if folder.suffix == ".json":
            write_atomic(folder, self.backend.to_str(pretty=True))
            return
        write_atomic(folder / "tokenizer.json", self.backend.to_str(pretty=True))
        write_json(folder / "tokenizer_config.json", tokenizer_config())


def tokenizer_config() -> Mapping[str, Any]:
    """The tokenizer_config.json that transformers, vLLM and llama.cpp read."""
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": "<|endoftext|>",
        "pad_token": "<|pad|>",
        "additional_special_tokens": list(SPECIALS[2:]),
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1_000_000,
        "chat_template": CHAT_TEMPLATE,
    }


def sample_texts(texts: Sequence[str], characters: int) -> Iterator[str]:
    """Evenly spaced texts of about `characters` in all: enough to train a tokenizer on."""
    total = sum(map(len, texts))
    stride = max(1.0, total / max(1, characters))
    position = 0.0
    while int(position) < len(texts):
        yield texts[int(position)]
        position += stride
