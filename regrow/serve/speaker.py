"""A node that speaks: its model, its tokenizer, and whether it answers or only continues."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

from regrow.align.rows import asked_ids
from regrow.corpus.tokenizer import Tokenizer
from regrow.errors import RegrowError
from regrow.evaluate.measure import speaks_chat
from regrow.generate.sampler import Completion, Sampling, stream
from regrow.model.decoder import Decoder
from regrow.model.folder import load_model
from regrow.records import Conversation, Message


def _whole(text: str) -> str:
    """With a question mark for half a surrogate pair, as broken input and JSON may hold."""
    return text.encode("utf-8", "replace").decode()


@dataclass(frozen=True)
class Speaker:
    """A loaded node. `chat` is false for base models, which continue a text."""

    name: str
    model: Decoder
    tokenizer: Tokenizer
    chat: bool

    @staticmethod
    def load(folder: Path, name: str = "") -> Speaker:
        """Read a node's folder; raises RegrowError that names a missing or broken file."""
        model = load_model(folder)
        model.eval()
        tokenizer = Tokenizer.load(folder)
        if tokenizer.vocabulary > model.config.vocabulary:
            raise RegrowError(
                f"{folder}: the tokenizer has {tokenizer.vocabulary} entries, the model "
                f"{model.config.vocabulary}; grow or export the node again"
            )
        return Speaker(name or folder.resolve().name, model, tokenizer, speaks_chat(folder))

    @property
    def context(self) -> int:
        """Tokens that the model sees at once, prompt and answer together."""
        return self.model.config.context

    @property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end what it says: the end of a turn and of a document."""
        return (self.tokenizer.end, self.tokenizer.eos)

    def text_prompt(self, text: str) -> list[int]:
        """The ids of a text to continue, as at the start of a document."""
        return [self.tokenizer.start, *self.tokenizer.encode(_whole(text))]

    def chat_prompt(self, messages: Sequence[Message]) -> list[int]:
        """The ids of a conversation, ready for the answer; a system turn as in tuning."""
        told = tuple(Message(one.role, _whole(one.content)) for one in messages)
        return asked_ids(Conversation(told, "", "", ""), self.tokenizer)

    def stream(
        self, prompt: list[int], sampling: Sampling, sample: int = 0
    ) -> Generator[str, None, Completion]:
        """Yield a completion piece by piece; the generator returns the whole."""
        return stream(self.model, self.tokenizer, prompt, sampling, sample)
